"""The house's rules about itself: which room may use which, who touches what, and an import that
costs nothing.
"""

import ast
import itertools
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import clipft

HOUSE = Path(clipft.__file__).parent
# In order: a room imports rooms above it alone. `clipft` is what everybody may use.
READING = ["clipft", "disk", "metrics", "data", "runs", "figures", "boards", "batch"]
COMPUTING = [
    *("diagnostics", "inputs", "posthoc", "models"),
    *("objectives", "evaluation", "training", "reports"),
]
# A door asks a computing room only inside the function that needs it.
DOORS = ["papers", "widgets", "tuning", "testing", "cli"]
ROOMS = [*READING, *COMPUTING, *DOORS]
FILES = sorted(file for file in HOUSE.rglob("*.py") if file != HOUSE / "__init__.py")


def room_of(dotted):
    """The room of a dotted name: a folder, a door that is a file, or the ground floor."""
    first = dotted.split(".")[1] if "." in dotted else ""
    if first == "__main__":  # `python -m clipft` is the command line's door
        return "cli"
    return first if first in ROOMS else "clipft"


def module_of(file):
    parts = file.relative_to(HOUSE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(file) for file in FILES} | {"clipft"}


def statements(node, inside_functions=True):
    """Every statement that runs: `if TYPE_CHECKING:` blocks are left out."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and not inside_functions:
            continue
        yield child
        yield from statements(child, inside_functions)


def imported(source, file=HOUSE / "x.py", inside_functions=True):
    """Full dotted names of all that a file imports; relative imports are resolved."""
    here = ("clipft", *file.relative_to(HOUSE).parent.parts)
    names = set()
    for node in statements(ast.parse(source), inside_functions):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else ()
            parts = [*base, *(node.module.split(".") if node.module else ())]
            names |= {".".join([*parts, alias.name]) for alias in node.names}
    return names


IMPORTS = {file: imported(file.read_text(encoding="utf-8"), file) for file in FILES}
AT_IMPORT = {
    file: imported(file.read_text(encoding="utf-8"), file, inside_functions=False) for file in FILES
}


def modules_used(names):
    """The modules of the house that imported names come from."""
    used = set()
    for name in names:
        if name.split(".")[0] == "clipft":
            used.add(name if name in MODULES else name.rpartition(".")[0])
    return used


def rooms_used(names):
    return {room_of(module) for module in modules_used(names)}


def short(file):
    return str(file.relative_to(HOUSE))


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
    assert imported(source, HOUSE / "objectives/x.py", inside_functions=False) == set()


def test_every_file_is_in_a_room():
    folders = {file.relative_to(HOUSE).parts[0] for file in FILES if file.parent != HOUSE}
    assert folders == {room for room in ROOMS if (HOUSE / room).is_dir()}
    ground = {file.stem for file in FILES if file.parent == HOUSE}
    command = {"__main__"}
    assert ground == {
        *("errors", "options", "config", "progress", "methods", "parsing", "stops", "testing"),
        *command,
    }


@pytest.mark.parametrize("file", FILES, ids=short)
def test_a_room_imports_rooms_above_it_only(file):
    mine = room_of(module_of(file))
    allowed = set(ROOMS[: ROOMS.index(mine) + 1])
    assert rooms_used(IMPORTS[file]) <= allowed


@pytest.mark.parametrize("file", FILES, ids=short)
def test_the_reading_half_and_the_doors_import_no_computing_room(file):
    """Doors may, inside the function that needs it; so torch is not loaded by looking."""
    mine = room_of(module_of(file))
    if mine in READING:
        assert not rooms_used(IMPORTS[file]) & set(COMPUTING)
    if mine in DOORS and mine != "testing":
        assert not rooms_used(AT_IMPORT[file]) & set(COMPUTING)


def circle(graph):
    """Some circle of a graph node -> nodes, or []."""
    done, path = set(), []

    def visit(node):
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return []
        path.append(node)
        for other in sorted(graph.get(node, ())):
            if round_trip := visit(other):
                return round_trip
        done.add(path.pop())
        return []

    return next((found for node in sorted(graph) if (found := visit(node))), [])


def test_the_finder_of_circles_sees_one():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}}) == []


def test_no_files_import_each_other():
    """Not even inside a room; what a function imports when it is called counts where it stays in
    the room.
    """
    graph = {}
    for file in FILES:
        mine = module_of(file)
        used = modules_used(AT_IMPORT[file])
        used |= {other for other in modules_used(IMPORTS[file]) if room_of(other) == room_of(mine)}
        graph[mine] = used - {mine, "clipft"}
    assert circle(graph) == []


@pytest.mark.parametrize("file", [file for file in FILES if file.name == "__init__.py"], ids=short)
def test_a_rooms_front_holds_a_docstring_and_no_import(file):
    tree = ast.parse(file.read_text(encoding="utf-8"))
    assert len((ast.get_docstring(tree) or "").split()) > 8
    assert file.parent.name == "cli" or not IMPORTS[file]


def longest_function(source):
    """(name, lines) of the longest function; what its docstring says is not counted."""
    lengths = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            said = node.body[0] if ast.get_docstring(node) else None
            of_docstring = said.end_lineno - said.lineno + 1 if said else 0
            lengths[node.name] = node.end_lineno - node.lineno + 1 - of_docstring
    return max(lengths.items(), key=lambda item: item[1], default=("", 0))


def test_the_measure_of_functions_leaves_docstrings_out():
    source = 'def f():\n    """One.\n\n    Two.\n    """\n    return 1\n\ndef g():\n    a\n    b\n'
    assert longest_function(source) == ("g", 3)


@pytest.mark.parametrize("file", FILES, ids=short)
def test_no_function_is_long(file):
    assert longest_function(file.read_text(encoding="utf-8"))[1] <= 60


METHOD_FILES = [file for file in FILES if file.parent.name in ("objectives", "posthoc")]


@pytest.mark.parametrize(
    "file", [file for file in METHOD_FILES if file.parent.name == "objectives"], ids=short
)
def test_no_objective_is_long(file):
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 80


def blocks(source, size=6):
    """Every `size` consecutive lines of a file as one text; blank lines and imports are
    left out.
    """
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
        assert found[one] & found[other] == set(), f"{one.name}, {other.name}: six lines in common"


def importers(*packages):
    """The files that import one of these packages, anywhere."""
    return {
        short(file)
        for file, names in IMPORTS.items()
        if {name.split(".")[0] for name in names} & set(packages)
    }


@pytest.mark.parametrize(
    ("packages", "allowed"),
    [
        (
            ["PIL"],
            {
                *("data/found.py", "data/images.py", "data/emoji_shift.py"),
                *("data/layouts/arrays.py", "data/corruptions.py", "data/made_shifts.py"),
            },
        ),
        # CIFAR comes as pickles: arrays alone are let through.
        (
            ["pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"],
            {"data/layouts/arrays.py"},
        ),
        (
            ["open_clip"],
            {"models/load.py", "models/fit.py", "models/text_tower.py", "inputs/prompts.py"},
        ),
        (["papermill"], {"batch/notebook.py"}),
        (["ray"], {"batch/ray_engine.py"}),
        (["requests", "urllib", "socket"], set()),
        (["huggingface_hub"], {"models/load.py"}),  # tells it not to ask the network
        (["filelock"], {"disk/lock.py", "data/emoji_shift.py"}),
    ],
)
def test_who_may_import_what(packages, allowed):
    assert importers(*packages) <= allowed


@pytest.mark.parametrize(
    ("packages", "rooms"),
    [
        (["torch", "torchvision"], {*COMPUTING, "testing", "cli"}),  # doctor asks for devices
        # evaluation: which starts the ranks of both, and shows a run in TensorBoard
        (["lightning_fabric"], {"training", "evaluation"}),
        (["plotly"], {"figures"}),
        (["typer", "click"], {"cli"}),
    ],
)
def test_whose_room_a_package_is_at_home_in(packages, rooms):
    used_in = {name.partition("/")[0].removesuffix(".py") for name in importers(*packages)}
    assert used_in <= rooms


WRITERS = {"write_text", "write_bytes", "to_csv", "to_parquet", "mkstemp", "mkdtemp"}


def calls_of(source):
    """(called name, the whole call) of every call."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [(ast.unparse(call.func).split(".")[-1], ast.unparse(call)) for call in calls]


def writes(source):
    """The calls of a source that open a file for writing, or write one without the house's own
    functions.
    """
    found = []
    for name, call in calls_of(source):
        opens = name == "open" and any(f"'{mode}" in call for mode in ("w", "a", "x", "rb+", "wb"))
        if opens or (name in WRITERS and "." in call.partition("(")[0]):
            found.append(call)
    return found


def test_the_finder_of_writers_sees_one():
    source = "open(x, 'w')\nopen(x)\npath.write_text(t)\nwrite_text(path, t)\nframe.to_parquet(p)"
    assert writes(source) == ["open(x, 'w')", "path.write_text(t)", "frame.to_parquet(p)"]


def test_who_writes_to_disk():
    """All through `disk`, or into a temporary folder that is renamed; the log of a batch's job is
    the exception.
    """
    writers = {short(file) for file in FILES if writes(file.read_text(encoding="utf-8"))}
    disk = {"disk/files.py", "disk/lock.py", "disk/cache.py", "disk/packed.py"}
    temporary = {
        "data/emoji_shift.py",
        "data/shards.py",
    }  # folders that are renamed when they are whole
    temporary |= {"models/state_dicts.py", "runs/image_scores.py"}  # files that `atomic` renames
    in_memory = {"data/images.py", "cli/data.py"}  # a buffer, text for the terminal
    log = {"batch/attempt.py"}
    assert writers <= {*disk, *temporary, *in_memory, *log, *TEXTS}


# to_csv() and the like without a path: texts that `disk` writes
TEXTS = {"papers/paper.py", "cli/models.py", "cli/score.py", "batch/overview.py", "runs/recipes.py"}


def readers_and_writers(source):
    """Calls that read or write arrays: (name, whether it is told to run nothing)."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    found = [(ast.unparse(call.func).split(".")[-2:], ast.unparse(call)) for call in calls]
    names = {
        *("load", "save", "savez", "savez_compressed"),
        *("fromfile", "memmap", "open_memmap", "read_pickle"),
    }
    homes = {"torch", "jit", "np", "numpy", "pd", "format"}
    safe = ("allow_pickle=False", "weights_only=True")
    return [
        (".".join(name), any(option in text for option in safe))
        for name, text in found
        if len(name) == 2 and name[0] in homes and name[1] in names
    ]


def test_the_finder_of_pickles_sees_one():
    source = (
        "torch.load(x)\n"
        "torch.jit.load(x)\n"
        "torch.load(x, weights_only=True)\n"
        "np.load(x, allow_pickle=True)\n"
        "np.save(x, y, allow_pickle=False)\n"
        "json.load(x)"
    )
    assert readers_and_writers(source) == [
        ("torch.load", False),
        ("jit.load", False),
        ("torch.load", True),
        ("np.load", False),
        ("np.save", True),
    ]


def test_nothing_reads_a_pickle_or_keeps_one():
    found = {
        file.name: calls
        for file in FILES
        if (calls := readers_and_writers(file.read_text(encoding="utf-8")))
    }
    house = {"arrays.py", "cache.py", "packed.py", "shapes.py", "state_dicts.py"}
    assert found.keys() == house | {"image_scores.py"}
    assert set(found["image_scores.py"]) == {("np.load", True), ("np.savez", True)}
    assert set(found["arrays.py"]) == {("np.load", True)}  # data sets that come as arrays
    assert set(found["cache.py"]) == {("np.load", True), ("np.save", True)}
    # Plain bytes beside an index.
    assert set(found["packed.py"]) == {("np.load", True), ("np.save", True), ("np.memmap", False)}
    # Checkpoints of others, in one place; of TorchScript the tensors alone are taken.
    assert found["shapes.py"] == [("jit.load", False), ("torch.load", True)]
    # tensors alone, for libraries that read nothing else
    assert set(found["state_dicts.py"]) == {("torch.save", False)}


RUN_FILES = [
    *("config.json", "manifest.json", "made.json", "metrics.jsonl"),
    *("images.parquet", "scores.parquet"),
    *("weights.safetensors", "best.safetensors", "checkpoint.safetensors"),
]


def test_a_run_folder_alone_spells_its_files():
    """In code; documents may name them."""
    spelt = set()
    for file in FILES:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and node.value in RUN_FILES:
                spelt.add(short(file))
    # transformers' own file has the name of one of ours
    others = {"runs/formats.py", "runs/model_names.py"}
    assert spelt <= {"runs/folder.py", *others}


def separators(source):
    """Calls that take a text apart or join it by / or +."""
    return [
        call
        for name, call in calls_of(source)
        if name in ("split", "partition", "rpartition", "join") and ("'/'" in call or "'+'" in call)
    ]


def test_names_are_taken_apart_in_one_place():
    """`domain/part` by SplitName, `lipsum+tpgm` by MethodName; other slashes are those of paths and
    presets.
    """
    found = {short(file): separators(file.read_text(encoding="utf-8")) for file in FILES}
    found = {name: calls for name, calls in found.items() if calls}
    assert found.keys() <= {
        "data/splits.py",
        "runs/names.py",
        "data/manifests.py",  # the folder of an image's path
        "data/layouts/asked.py",  # the class folder of an image
        "batch/spec.py",  # the last part of a path among parameters
    }


@pytest.mark.parametrize("module", ["clipft", "clipft.cli"])
def test_importing_costs_nothing(module):
    code = f"import sys, {module}; print(sorted(set(sys.argv) & set(sys.modules)))"
    heavy = ["torch", "pandas", "plotly", "open_clip", "scipy", "numpy"]
    command = [sys.executable, "-c", code, *heavy]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_looking_imports_no_torch():
    """Every module outside the computing half, imported in one process."""
    rooms = {*READING, "papers", "widgets", "cli"}
    modules = sorted(name for name in MODULES if room_of(name) in rooms and "__main__" not in name)
    modules = [name for name in modules if name != "clipft.testing"]
    heavy = "sorted({'torch', 'open_clip'} & set(sys.modules))"
    code = f"import sys, {', '.join(modules)}; print({heavy})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_public_name_is_there():
    for name, home in clipft._HOME.items():
        assert getattr(clipft, name) is getattr(import_module(f"clipft{home}"), name)
    assert set(clipft.__all__) <= set(dir(clipft))
    with pytest.raises(AttributeError, match="no attribute 'trane'"):
        clipft.trane  # noqa: B018
