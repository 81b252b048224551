"""The house's rules about itself: floors, file lengths, who may touch what, and an import that costs nothing."""

import ast
import itertools
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import clipft

HOUSE = Path(clipft.__file__).parent
FILES = sorted(HOUSE.rglob("*.py"))


def statements(node):
    """Every node that runs: `if TYPE_CHECKING:` blocks are left out, functions are not."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from statements(child)


def imported(source, file=HOUSE / "x.py"):
    """Full dotted names of all that a file imports; relative imports are resolved."""
    here = ("clipft", *file.relative_to(HOUSE).parent.parts)
    found = set()
    for node in statements(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else ()
            parts = [*base, *(node.module.split(".") if node.module else ())]
            found |= {".".join([*parts, alias.name]) for alias in node.names}
    return found


IMPORTS = {file: imported(file.read_text(encoding="utf-8"), file) for file in FILES}


def test_the_reader_of_imports_sees_every_form():
    source = """
if TYPE_CHECKING:
    from .cli import a
def f():
    from . import pages
    from ..store import b
    import os.path, clipft
    from clipft.data import c
"""
    want = {"clipft.objectives.pages", "clipft.store.b", "os.path", "clipft", "clipft.data.c"}
    assert imported(source, HOUSE / "objectives/x.py") == want


METHOD_FILES = [file for file in FILES if file.parent.name in ("objectives", "posthoc")]


@pytest.mark.parametrize(
    "file",
    [file for file in METHOD_FILES if file.parent.name == "objectives" and file.stem != "registry"],
    ids=lambda file: file.stem,
)
def test_no_objective_is_long(file):
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 80


def blocks(source, size=6):
    """Every `size` consecutive lines of a file as one text; blank lines and imports are left out."""
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            lines[node.lineno - 1 : node.end_lineno] = [""] * (node.end_lineno - node.lineno + 1)
    lines = [line.strip() for line in lines if line.strip()]
    return {"\n".join(lines[i : i + size]) for i in range(len(lines) - size + 1)}


def test_the_finder_of_copies_sees_one():
    body = "x = [\n    1,\n    2,\n]\ny = x\n\nz = y\n"
    assert blocks("import os\n" + body) & blocks("from a import (\n  b,\n)\nq = 1\n" + body)
    assert not blocks("import a\nimport b\n" + body) & blocks(
        "import a\nimport b\n" + body.replace("2", "3")
    )


def test_no_method_copies_another():
    found = {file: blocks(file.read_text(encoding="utf-8")) for file in METHOD_FILES}
    assert len(found) > 10
    for one, other in itertools.combinations(METHOD_FILES, 2):
        assert found[one] & found[other] == set(), (
            f"{one.name} and {other.name} have six lines in common"
        )


def readers_and_writers(source):
    """Calls that read or write arrays: (name, whether pickle is forbidden)."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    found = [(ast.unparse(call.func).split(".")[-2:], ast.unparse(call)) for call in calls]
    names = {
        "load",
        "save",
        "savez",
        "savez_compressed",
        "fromfile",
        "memmap",
        "open_memmap",
        "read_pickle",
    }
    homes = {"torch", "np", "numpy", "pd", "format"}
    return [
        (".".join(name), "allow_pickle=False" in text)
        for name, text in found
        if len(name) == 2 and name[0] in homes and name[1] in names
    ]


def test_the_finder_of_pickles_sees_one():
    source = "torch.load(x)\nnp.load(x, allow_pickle=True)\nnp.save(x, y, allow_pickle=False)\njson.load(x)"
    assert readers_and_writers(source) == [
        ("torch.load", False),
        ("np.load", False),
        ("np.save", True),
    ]


def test_nothing_reads_or_writes_a_pickle():
    found = {
        file.name: calls
        for file in FILES
        if (calls := readers_and_writers(file.read_text(encoding="utf-8")))
    }
    assert found.keys() == {"cache.py"}
    assert set(found["cache.py"]) == {("np.load", True), ("np.save", True)}


@pytest.mark.parametrize("module", ["clipft", "clipft.cli"])
def test_importing_costs_nothing(module):
    code = f"import sys, {module}; print(sorted(set(sys.argv) & set(sys.modules)))"
    heavy = ["torch", "pandas", "plotly", "open_clip", "scipy", "numpy"]
    done = subprocess.run(
        [sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_every_public_name_is_there():
    for name, home in clipft._HOME.items():
        assert getattr(clipft, name) is getattr(import_module(f"clipft.{home}"), name)
    assert clipft.figures.__name__ == "clipft.figures"
    assert set(clipft.__all__) <= set(dir(clipft))
    with pytest.raises(AttributeError, match="no attribute 'trane'"):
        clipft.trane  # noqa: B018
