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
FLOOR = {
    "errors": 0, "data.splits": 0, "progress": 0,
    "cli.terminal_tables": 0,
    "config": 1, "diagnostics.energies": 1, "metrics.accuracy": 1,
    "disk.files": 2, "diagnostics.energy_gap": 2, "training.linear_probe": 2, "objectives": 2, "posthoc": 2,
    "data.emoji_shift": 3, "runs.table": 3, "cli.doctor": 3,
    "data.manifests": 4, "figures": 4, "runs.choosing": 4,
    "inputs.prompts": 5, "inputs.batches": 5, "models.load": 5, "figures.pages": 5, "runs.recipes": 5,
    "disk.cache": 3, "diagnostics.energy_map": 2,
    "models.embeddings": 6, "batch.notebook": 6, "batch.runner": 7,
    "evaluation.score": 7, "runs.sweep": 8, "widgets": 14,
    "models.export": 8,
    "runs.run": 9,
    "training.observer": 10,
    "training.loop": 11,
    "training.combine": 12,
    "reports.energy_gap": 13, "papers.lipsum_ft": 14, "papers.beside": 5,
    "cli": 14,
    "__init__": 15,
}  # fmt: skip
FILES = sorted(HOUSE.rglob("*.py"))


def room(file):
    """The module that a file is, or the package of objectives/, posthoc/ and other small files that it belongs to."""
    return floor_of(file.relative_to(HOUSE).with_suffix("").parts)


def floor_of(parts):
    """The longest beginning of a dotted name that has a floor; a package's own file stands on the ground."""
    names = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
    return next((name for name in names if name in FLOOR), "__init__")


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


def rooms(file):
    """The rooms of the house that a file imports; `clipft` itself is the top floor."""
    inside = [name.split(".") for name in IMPORTS[file] if name.split(".")[0] == "clipft"]
    return {floor_of(parts[1:]) for parts in inside} - ({room(file)} if file.parent != HOUSE else set())


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


def test_every_module_has_a_floor():
    assert {room(file) for file in FILES} == FLOOR.keys()
    homes = [*clipft._HOME.values(), *clipft._MODULES.values()]
    assert {floor_of(home.split(".")) for home in homes} < FLOOR.keys()


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(HOUSE)))
def test_a_module_imports_lower_floors_only(file):
    assert {name: FLOOR[name] for name in rooms(file) if FLOOR[name] >= FLOOR[room(file)]} == {}


METHOD_FILES = [file for file in FILES if file.parent.name in ("objectives", "posthoc")]


@pytest.mark.parametrize(
    "file", [file for file in METHOD_FILES if file.parent.name == "objectives" and file.stem != "registry"],
    ids=lambda file: file.stem,
)  # fmt: skip
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
    assert not blocks("import a\nimport b\n" + body) & blocks("import a\nimport b\n" + body.replace("2", "3"))


def test_no_method_copies_another():
    found = {file: blocks(file.read_text(encoding="utf-8")) for file in METHOD_FILES}
    assert len(found) > 10
    for one, other in itertools.combinations(METHOD_FILES, 2):
        assert found[one] & found[other] == set(), f"{one.name} and {other.name} have six lines in common"


def importers(*packages):
    """The rooms that import one of these packages."""
    return {room(file) for file, names in IMPORTS.items() if {name.split(".")[0] for name in names} & set(packages)}


@pytest.mark.parametrize(
    ("packages", "allowed"),
    [
        (["PIL"], {"inputs.batches", "data.emoji_shift"}),
        (["pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"], set()),
        (["open_clip"], {"models.load", "inputs.prompts"}),
        (["plotly"], {"figures", "figures.pages"}),
        (["papermill", "ray"], {"batch.notebook"}),
        (["typer"], {"cli"}),
        (["lightning_fabric"], {"training.loop"}),
        (["requests", "urllib", "huggingface_hub", "socket"], set()),
    ],
)
def test_who_may_import_what(packages, allowed):
    assert importers(*packages) <= allowed


def readers_and_writers(source):
    """Calls that read or write arrays: (name, whether pickle is forbidden)."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    found = [(ast.unparse(call.func).split(".")[-2:], ast.unparse(call)) for call in calls]
    names = {"load", "save", "savez", "savez_compressed", "fromfile", "memmap", "open_memmap", "read_pickle"}
    homes = {"torch", "np", "numpy", "pd", "format"}
    return [
        (".".join(name), "allow_pickle=False" in text)
        for name, text in found
        if len(name) == 2 and name[0] in homes and name[1] in names
    ]


def test_the_finder_of_pickles_sees_one():
    source = "torch.load(x)\nnp.load(x, allow_pickle=True)\nnp.save(x, y, allow_pickle=False)\njson.load(x)"
    assert readers_and_writers(source) == [("torch.load", False), ("np.load", False), ("np.save", True)]


def test_nothing_reads_or_writes_a_pickle():
    found = {file.name: calls for file in FILES if (calls := readers_and_writers(file.read_text(encoding="utf-8")))}
    assert found.keys() == {"cache.py"}
    assert set(found["cache.py"]) == {("np.load", True), ("np.save", True)}


@pytest.mark.parametrize("module", ["clipft", "clipft.cli"])
def test_importing_costs_nothing(module):
    code = f"import sys, {module}; print(sorted(set(sys.argv) & set(sys.modules)))"
    heavy = ["torch", "pandas", "plotly", "open_clip", "scipy", "numpy"]
    done = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_public_name_is_there():
    for name, home in clipft._HOME.items():
        assert getattr(clipft, name) is getattr(import_module(f"clipft.{home}"), name)
    assert clipft.figures.__name__ == "clipft.figures"
    assert set(clipft.__all__) <= set(dir(clipft))
    with pytest.raises(AttributeError, match="no attribute 'trane'"):
        clipft.trane  # noqa: B018
