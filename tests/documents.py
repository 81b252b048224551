"""The documents as data: code blocks, commands, links, and the parts that a command makes.

    python tests/documents.py write            every made part again, in place
    python tests/documents.py reference OUT [MODULE ...]    the HTML reference

A made part stands between two comments, `<!-- made by: COMMAND -->` and `<!-- end -->`. COMMAND
is `clipft ...` or `python -m MODULE`. One that reads a folder of runs stays where there is none.
"""

import contextlib
import io
import re
import shlex
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).parent.parent
FOLDERS = ("", ".github", "notebooks", "papermill_runs", "tests")
TREES = ("clipft", "data_manifests")  # folders with documents below


def documents() -> list[Path]:
    """Every Markdown file of the repository."""
    files = [file for folder in FOLDERS for file in (ROOT / folder).glob("*.md")]
    files += [file for folder in TREES for file in (ROOT / folder).rglob("*.md")]
    return sorted(files)


# --- code


@dataclass(frozen=True)
class Block:
    """A fenced block of code: its language, a file's name where it stands for one, and its text."""

    language: str
    file: str
    code: str


FENCED = re.compile(r"^```(\w*) ?([^\n`]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(text: str) -> list[Block]:
    """The fenced blocks, in order."""
    return [Block(*match.groups()) for match in FENCED.finditer(text)]


def commands(code: str) -> list[list[str]]:
    """A shell block's commands as words; `#` begins a comment, `&&` or `;` ends a command."""
    whole_lines = re.sub(r"\\\n\s*", " ", code)
    found: list[list[str]] = []
    for line in whole_lines.splitlines():
        words: list[str] = []
        for word in shlex.split(line, comments=True):
            if word in ("&&", ";"):
                found.append(words)
                words = []
            else:
                words.append(word)
        found.append(words)
    return [words for words in found if words]


def apply_change(diff: str, folder: Path) -> Path:
    """Write a unified diff of one file into a folder; returns the file.

    Line numbers are not looked at: the old lines of a hunk must stand in the file exactly once.
    """
    head, *hunks = re.split(r"^@@.*\n", diff, flags=re.MULTILINE)
    name = re.search(r"^\+\+\+ (?:b/)?(\S+)$", head, re.MULTILINE)
    if name is None or not hunks:
        raise ValueError(f"no change of one file:\n{diff}")
    file = folder / name[1]
    text = file.read_text(encoding="utf-8") if "/dev/null" not in head else ""
    for hunk in hunks:
        lines = hunk.splitlines(keepends=True)
        old = "".join(line[1:] for line in lines if not line.startswith("+"))
        new = "".join(line[1:] for line in lines if not line.startswith("-"))
        if old and text.count(old) != 1:
            raise ValueError(f"{name[1]} holds these lines {text.count(old)} times:\n{old}")
        text = text.replace(old, new) if old else text + new
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


# --- links


def prose(text: str) -> str:
    """A document without its code."""
    return re.sub(r"`[^`\n]*`", "", FENCED.sub("", text))


def links(text: str) -> list[str]:
    """Where links and pictures point to."""
    return re.findall(r"\]\(([^)\s]+)\)", prose(text)) + re.findall(r'src="([^"]+)"', prose(text))


def anchors(text: str) -> set[str]:
    """The names by which a link reaches a heading, as GitHub makes them."""
    names = set()
    for heading in re.findall(r"^#+ +(.+?)\s*$", FENCED.sub("", text), re.MULTILINE):
        words = re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower())
        names.add(words.replace(" ", "-"))
    return names


# --- what commands make


PART = re.compile(r"(<!-- made by: (.+?) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def made_parts(text: str) -> list[tuple[str, str]]:
    """(command, what stands there) of each part that a command makes."""
    return [(match[2], match[3]) for match in PART.finditer(text)]


def can_be_made(command: str) -> bool:
    """Whether the folder of runs that a command reads, if any, is here."""
    words = shlex.split(command)
    if "--runs" not in words:
        return True
    return (ROOT / words[words.index("--runs") + 1]).is_dir()


def make(command: str) -> str:
    """What a command prints, without spaces at the ends of lines; it runs in this process.

    Raises ValueError for a command that fails.
    """
    program, *arguments = shlex.split(command)
    if program == "clipft":
        module = "clipft.cli"
    elif program == "python" and arguments[0] == "-m":
        module = arguments[1]
        arguments = arguments[2:]
    else:
        raise ValueError(f"{command!r} is neither clipft nor python -m")

    printed = io.StringIO()
    with mock.patch.object(sys, "argv", [module, *arguments]), contextlib.chdir(ROOT):
        try:
            with contextlib.redirect_stdout(printed):
                import_module(module).main()
        except SystemExit as leaving:
            if leaving.code:
                raise ValueError(f"{command!r} left with {leaving.code}") from None
    lines = [line.rstrip() for line in printed.getvalue().strip("\n").splitlines()]
    return "\n".join(lines) + "\n"


def rewritten(text: str) -> str:
    """A document with every part made again that can be."""

    def again(match: re.Match[str]) -> str:
        if not can_be_made(match[2]):
            return match[0]
        return f"{match[1]}\n{make(match[2])}\n{match[4]}"

    return PART.sub(again, text)


# --- the reference


def public_modules() -> Iterator[str]:
    """The package, and each of its rooms and files that somebody may import."""
    import pkgutil

    import clipft

    yield "clipft"
    for module in pkgutil.iter_modules(clipft.__path__, "clipft."):
        if module.name not in ("clipft.cli", "clipft.__main__"):
            yield module.name


def write_reference(out: Path, modules: Iterable[str] = ()) -> None:
    """The docstrings as HTML pages that open without a network; the first lists the front door.

    modules: some of the public ones; default: all.
    """
    import pdoc
    import pdoc.render

    import clipft

    # The package loads its names when they are asked for; pdoc looks at what is loaded.
    for name in clipft.__all__:
        setattr(clipft, name, getattr(clipft, name))
    pdoc.render.configure(docformat="google", show_source=False)
    pdoc.pdoc(*(modules or public_modules()), output_directory=out)


def main() -> None:
    """`write` or `reference OUT [MODULE ...]`."""
    match sys.argv[1:]:
        case ["write"]:
            for file in documents():
                text = file.read_text(encoding="utf-8")
                file.write_text(rewritten(text), encoding="utf-8")
        case ["reference", out, *modules]:
            write_reference(Path(out), modules)
            print(f"open {Path(out) / 'index.html'}")
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
