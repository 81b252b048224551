"""The index of papers: each method's paper, formula and file, and where a preset's values are from.

It is made of what stands in the entries of `clipft.methods`, on top of their files and in
`data_manifests/presets/`; `python -m clipft.papers.index` prints it. No method is imported for it.
"""

from __future__ import annotations

import ast
import re
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..methods import METHODS, POSTHOC, Entry
from ..runs.recipes import Collection, Preset, collections, presets

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# The file of methods whose loss is cross-entropy alone: they differ in what trains and where the
# head starts.
CROSS_ENTROPY = "clipft.objectives.cross_entropy"
SWEPT = "emoji"  # the collection of which a sweep chose the open values
ARXIV = re.compile(r"arXiv:(\d{4}\.\d{4,5})")
NAMED = ("method", "manifest")  # settings that say what is trained, and on what


def paper_index() -> str:
    """The whole index as Markdown, to stand in a file of `clipft/objectives/`."""
    files = collections()
    whole = presets()
    used_in = _presets_of_methods(files, whole)
    parts = ["## While training", _methods_table(METHODS.values(), used_in)]
    parts += [_file_section(*group) for group in _by_file(METHODS.values()).items()]
    parts += ["## After training", _methods_table(POSTHOC.values(), used_in)]
    parts += [_file_section(*group) for group in _by_file(POSTHOC.values()).items()]
    parts += ["## Presets", PRESETS_INTRODUCTION]
    for name, collection in files.items():
        parts.append(_collection_section(name, collection, whole))
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


PRESETS_INTRODUCTION = """\
"Paper" means stated in its text, "release" read in the authors' code, "ours" neither of them. A
value without a source is listed as unknown. `clipft presets NAME` shows one preset."""


# --- methods


def _methods_table(entries: Iterable[Entry], used_in: Mapping[str, list[str]]) -> str:
    """A row for each method: title, name, paper, file, presets."""
    rows = ["| method | name | paper | file | presets |", "| --- | --- | --- | --- | --- |"]
    for entry in entries:
        file = _file_of(entry)
        link = f"[{file.name}]({_beside_objectives(file)})"
        names = ", ".join(f"`{name}`" for name in used_in.get(entry.name, ())) or "none"
        cells = (entry.title, f"`{entry.name}`", _linked(entry.paper), link, names)
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _presets_of_methods(
    files: Mapping[str, Collection], whole: Mapping[str, Preset]
) -> dict[str, list[str]]:
    """Method -> the presets that use it; many of one file are named together, as `file/*`."""
    used_in: dict[str, list[str]] = {}
    for file, collection in files.items():
        names: dict[str, list[str]] = {}
        for name in (f"{file}/{short}" for short in collection.presets):
            preset = whole[name]
            method = preset.after or str(preset.settings["method"])
            names.setdefault(method, []).append(name)
        for method, of_method in names.items():
            used_in.setdefault(method, []).extend(
                of_method if len(of_method) < 3 else [f"{file}/*"]
            )
    return used_in


def _by_file(entries: Iterable[Entry]) -> dict[Path, list[Entry]]:
    groups: dict[Path, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(_file_of(entry), []).append(entry)
    return groups


def _file_of(entry: Entry) -> Path:
    """The file that an entry's formula stands in; nothing is imported but its package."""
    function = next(iter(entry.functions), CROSS_ENTROPY)
    module = function.__module__ if callable(function) else function.partition(":")[0]
    spec = find_spec(module)
    assert spec is not None and spec.origin is not None  # an entry of the package names its file
    return Path(spec.origin)


def _beside_objectives(file: Path) -> str:
    """How `clipft/objectives/README.md` names a file of the package."""
    if file.parent.name == "objectives":
        return file.name
    return f"../{file.parent.name}/{file.name}"


def _file_section(file: Path, entries: list[Entry]) -> str:
    """What stands on top of a file, under the titles of its methods; formulas as code."""
    titles = ", ".join(entry.title for entry in entries)
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return f"### {titles}\n\n{_as_markdown(docstring)}"


def _as_markdown(docstring: str) -> str:
    """A docstring whose indented lines are fenced and whose papers are links."""
    lines: list[str] = []
    is_code = False
    for line in docstring.splitlines():
        if line.startswith("    ") and not is_code:
            lines.append("```text")
            is_code = True
        elif is_code and line and not line.startswith("    "):
            # The blank line before this one belongs after the formula.
            lines.insert(len(lines) - (lines[-1] == ""), "```")
            is_code = False
        lines.append(line.removeprefix("    ") if is_code else _linked(line))
    return "\n".join([*lines, "```"] if is_code else lines)


def _linked(text: str) -> str:
    return ARXIV.sub(r"[arXiv:\1](https://arxiv.org/abs/\1)", text)


# --- presets


def _collection_section(name: str, collection: Collection, whole: Mapping[str, Preset]) -> str:
    """One file of presets: what is compared with the release, then where each value is from."""
    parts = [f"### `{name}`", f"Source: {_linked(collection.source)}."]
    if collection.agrees:
        parts.append("The same as in the authors' text and code:\n\n" + _bullets(collection.agrees))
    if collection.differs:
        parts.append("Not the same:\n\n" + _bullets(collection.differs))
    if name == SWEPT:
        parts.append(_swept_table(name, collection))
    else:
        parts.append(_values_table(name, collection, whole))
    return "\n\n".join(parts)


def _bullets(sentences: Iterable[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _values_table(name: str, collection: Collection, whole: Mapping[str, Preset]) -> str:
    """A row for each key and value: the presets that have it, and where it is from."""
    rows = ["| key | value | presets | from |", "| --- | --- | --- | --- |"]
    found: dict[tuple[str, str, str], list[str]] = {}
    for preset_name in collection.presets:
        preset = whole[f"{name}/{preset_name}"]
        for key, value in preset.values.items():
            if key not in NAMED:
                cell = (key, _shown(value), _origin(key, preset))
                found.setdefault(cell, []).append(preset_name)
    for (key, value, origin), names in found.items():
        those = "all" if len(names) == len(collection.presets) else ", ".join(names)
        rows.append(f"| {key} | {value} | {those} | {origin} |")
    return "\n".join(rows)


def _origin(key: str, preset: Preset) -> str:
    """Where a preset's value is from."""
    if key in preset.tuned:
        return "chosen on held-out reference images"
    if key in preset.unknown:
        return "unknown: ours, untried"
    return preset.sources.get(key, "ours")


def _swept_table(name: str, collection: Collection) -> str:
    """A row for each preset of a sweep, a column for each open value; * marks what was chosen."""
    keys: dict[str, None] = {}
    for preset in collection.presets.values():
        keys |= dict.fromkeys(key for key in preset.values if key not in NAMED)
    common = ", ".join(f"{key} {_shown(value)}" for key, value in collection.common.items())
    rows = [
        f"All share {common}.",
        "A star: chosen on held-out reference images by the one-standard-error rule, with",
        "`make tune-emoji`. What has no star is ours, untried.",
        "",
        f"| preset | {' | '.join(keys)} |",
        "| --- |" + " --- |" * len(keys),
    ]
    for preset_name, preset in collection.presets.items():
        cells = [_starred(key, preset.values, preset.tuned) for key in keys]
        rows.append(f"| `{name}/{preset_name}` | {' | '.join(cells)} |")
    return "\n".join(rows)


def _starred(key: str, settings: Mapping[str, Any], tuned: Iterable[str]) -> str:
    if key not in settings:
        return ""
    return _shown(settings[key]) + ("\\*" if key in tuned else "")


def _shown(value: Any) -> str:
    """A value as a person writes it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(_shown(item) for item in value)
    return str(value)


def main() -> None:
    """Print the index."""
    print(paper_index(), end="")  # noqa: T201, what this command is for


if __name__ == "__main__":
    main()
