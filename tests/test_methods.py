"""Entries against the functions they name, the registries, and methods that other people bring."""

import hashlib
import importlib
import inspect
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import nbformat
import pytest
from test_cli import run_cli

import clipft
from clipft import methods
from clipft.config import RunConfig
from clipft.disk.files import read_jsonl
from clipft.errors import ConfigError
from clipft.methods import METHODS, PLUGINS, POSTHOC, Method, Posthoc, method, posthoc
from clipft.objectives.step import FIELDS, Step
from clipft.options import defaults

ENTRIES = {"method": METHODS, "post-hoc method": POSTHOC}
EVERY = [entry for registry in ENTRIES.values() for entry in registry.values()]
TEN_LINES = '''
"""Hold the length of each embedding where zero-shot had it."""

from clipft.methods import method


@method("norm_keep", title="Norm keeping", paper="ours", needs={"anchor"}, lam=0.01)
def norm_keep(step, power: float = 2.0):
    change = step.images.norm(dim=-1) - step.anchor.norm(dim=-1)  # (B,)
    return change.abs().pow(power).mean()
'''.lstrip()


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    """What a test registers or loads is gone after it."""
    monkeypatch.setenv(PLUGINS, "")
    modules = set(sys.modules)
    before = [(registry, dict(registry)) for registry in ENTRIES.values()]
    yield
    for registry, entries in before:
        registry.clear()
        registry.update(entries)
    for name in set(sys.modules) - modules:
        if name.startswith(("clipft_plugin_", "package_of_")):
            del sys.modules[name]


@pytest.fixture
def plugin(tmp_path):
    """`plugin(text)` writes a plugin file."""

    def write(text=TEN_LINES, name="mine.py"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


# --- the entries


@pytest.mark.parametrize("entry", EVERY, ids=lambda entry: entry.name)
def test_an_entry_says_what_its_function_says(entry):
    assert entry.title
    assert "arXiv:" in entry.paper
    assert entry.source_digest() == ""
    options = {}
    for named, function in zip(entry.functions, entry.loaded(), strict=True):
        options |= defaults(function)
        assert f"{function.__module__}:{function.__name__}" == named
        takes = 1 if isinstance(entry, Method) else 3
        assert len(inspect.signature(function).parameters) == takes + len(defaults(function))
    assert list(entry.options.items()) == list(options.items())


def test_needs_are_what_a_step_has():
    names = {field.name for field in fields(Step)}
    assert FIELDS.keys() == set(methods.get_args(methods.Need))
    assert {name for need in FIELDS.values() for name in need} <= names
    for entry in METHODS.values():
        assert isinstance(entry.needs, frozenset)
        assert entry.needs <= FIELDS.keys()


def test_entries_need_no_torch():
    code = """
import sys
from clipft.config import RunConfig
from clipft.methods import METHODS, method_tables
METHODS["kd"].check(RunConfig(method="kd", options={"tau": 2.0}))
method_tables()
print(sorted(set(sys.argv) & set(sys.modules)))
"""
    heavy = ["torch", "pandas", "plotly", "open_clip", "scipy", "numpy"]
    done = subprocess.run(
        [sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_the_tables_are_the_registries():
    training, after = methods.method_tables()
    assert [row["name"] for row in training] == [*METHODS]
    assert [row["name"] for row in after] == [*POSTHOC]
    for row in training:
        entry = METHODS[row["name"]]
        assert (row["title"], row["source"]) == (entry.title, entry.paper)
        assert row["lam"] == ("" if entry.lam is None else f"{entry.lam:g}")
        assert [part.split("=")[0] for part in row["options"].split()] == [*entry.all_options]
        assert row["trains"]
    takes = {row["name"]: row["takes"] for row in after}
    assert takes["wise"] == "a run"
    assert takes["uniform_soup"] == "runs"


# --- the registries


@pytest.mark.parametrize("kind", ENTRIES)
def test_a_registry_refuses_kindly(kind):
    registry = ENTRIES[kind]
    name = next(iter(registry))
    with pytest.raises(ConfigError, match=f"unknown {kind} '{name}x'; did you mean '{name}'"):
        registry[f"{name}x"]
    with pytest.raises(ConfigError, match=f"{kind} '{name}' is registered twice"):
        registry.add(registry[name])


def test_a_cell_adds_a_method_by_its_function():
    def hold(step, power: float = 2.0):
        return step.images.pow(power).mean()

    clipft.METHODS.add(Method("hold", "Hold", "ours", hold, lam=0.5))
    assert METHODS["hold"].options == {"power": 2.0}
    assert METHODS["hold"].load() is hold
    METHODS["hold"].check(RunConfig(method="hold", options={"power": 3.0}, lam=1.0))
    with pytest.raises(ConfigError, match="unknown option of hold 'pover'; did you mean 'power'"):
        METHODS["hold"].check(RunConfig(method="hold", options={"pover": 3.0}))


def test_decorators_leave_the_function_as_it_is():
    def first(anchor, members, held_out, share: float = 0.5):
        return members[0]

    assert posthoc("first", title="First", paper="ours", many=True)(first) is first
    assert POSTHOC["first"] == Posthoc(
        "first", "First", "ours", first, options={"share": 0.5}, many=True
    )
    POSTHOC["first"].check(2, {"share": 0.1})


def test_a_misspelt_need_names_the_nearest():
    with pytest.raises(ConfigError, match="unknown need of x 'anchors'; did you mean 'anchor'"):
        method("x", title="X", paper="ours", needs={"anchors"})(len)
    assert "x" not in METHODS
    with pytest.raises(ConfigError, match="unknown teacher of x 'movin'; did you mean 'moving'"):
        Method("x", "X", "ours", teacher="movin")


def test_hidden_states_belong_to_each_image():
    with pytest.raises(ConfigError, match="x reads hidden states, so it must be a mean"):
        Method("x", "X", "ours", needs={"hidden", "class_captions"}).check(RunConfig())
    with pytest.raises(ConfigError, match=r"ldifs reads hidden states, .*leave out compile"):
        RunConfig(method="ldifs", compile=True)


def test_a_word_that_an_option_does_not_take_names_the_nearest():
    assert RunConfig(method="ldifs", options={"over": "tokens"}).options == {"over": "tokens"}
    for word, words in (("token", "did you mean 'tokens'"), (2, "is 2, expected a word")):
        with pytest.raises(ConfigError, match=words):
            RunConfig(method="ldifs", options={"over": word})


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("clipft.objectives.kd:kdd", "no attribute 'kdd'"),
        ("clipft.objectives.nothing:kd", "No module named"),
        ("kd", "No module named 'kd'"),
        (":kd", "Empty module name"),
    ],
)
def test_a_function_that_is_not_there_is_one_line(function, reason):
    with pytest.raises(ConfigError, match=f"x: cannot load '{function}': .*{reason}") as caught:
        Method("x", "X", "ours", function).load()
    assert "\n" not in str(caught.value)


# --- the source of somebody else's function


def test_the_digest_is_of_the_functions_text(plugin):
    methods.load_plugin(plugin())
    text = TEN_LINES[TEN_LINES.index("@method") :]
    assert METHODS["norm_keep"].source_digest() == hashlib.sha256(text.encode()).hexdigest()[:12]


def test_a_digest_where_there_is_no_text():
    space = {}
    exec("def nowhere(step):\n    return step.images.sum()", space)
    assert Method("x", "X", "ours", space["nowhere"]).source_digest() == "unknown"
    assert Method("x", "X", "ours", len).source_digest() == "unknown"
    assert Method("x", "X", "ours").source_digest() == ""
    assert Method("x", "X", "ours", base=len).source_digest() == "unknown"
    assert Method("x", "X", "ours", METHODS["kd"].load()).source_digest() == ""


# --- plugins


def test_a_plugin_is_loaded_once(plugin):
    file = plugin()
    assert len(TEN_LINES.strip().splitlines()) <= 10
    methods.load_plugin(file)
    methods.load_plugin(str(file))
    entry = METHODS["norm_keep"]
    assert (entry.needs, entry.lam, entry.options) == ({"anchor"}, 0.01, {"power": 2.0})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import nothing_of_that_name", "ModuleNotFoundError: No module named"),
        ("def f(:", "SyntaxError: invalid syntax"),
        ("raise ValueError('two\\nlines')", "ValueError: two lines"),
        (TEN_LINES.replace('"norm_keep"', '"ft"'), "method 'ft' is registered twice"),
        (TEN_LINES + "\n1 / 0\n", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_plugin_with_a_mistake_is_one_line_and_leaves_nothing(plugin, text, reason):
    before = dict(METHODS)
    file = plugin(text)
    for _ in range(2):
        with pytest.raises(ConfigError, match=reason) as caught:
            methods.load_plugin(file)
        assert str(caught.value).startswith(f"plugin {file}: ")
        assert "\n" not in str(caught.value)
        assert before == METHODS
    file.write_text(TEN_LINES)
    methods.load_plugin(file)
    assert METHODS.keys() - before.keys() == {"norm_keep"}


def test_what_is_no_plugin_is_one_line(plugin, tmp_path):
    with pytest.raises(ConfigError, match="there is no such file"):
        methods.load_plugin(tmp_path / "nothing.py")
    with pytest.raises(ConfigError, match=r"expected a Python file, whose name ends in \.py"):
        methods.load_plugin(plugin(name="mine.txt"))


def test_the_environment_brings_plugins_when_a_name_is_unknown(plugin, monkeypatch):
    other = plugin(TEN_LINES.replace("norm_keep", "other"), "other.py")
    monkeypatch.setenv(PLUGINS, f"{plugin()}:{other}")
    assert "norm_keep" not in METHODS
    assert METHODS["norm_keep"].title == METHODS["other"].title == "Norm keeping"
    with pytest.raises(ConfigError, match="did you mean 'norm_keep'"):
        METHODS["norm_kept"]


def test_tables_show_plugins_too(plugin, monkeypatch):
    monkeypatch.setenv(PLUGINS, str(plugin()))
    training, _ = methods.method_tables()
    assert training[-1]["name"] == "norm_keep"
    assert training[-1]["options"] == "power=2.0"


def test_a_used_plugin_is_there_for_every_process_that_follows(plugin, tmp_path, monkeypatch):
    plugin()
    monkeypatch.chdir(tmp_path)
    methods.use_plugins(["mine.py"])
    methods.use_plugins(["mine.py"])
    code = "from clipft.methods import METHODS; print(METHODS['norm_keep'].title)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd="/", capture_output=True, text=True, check=True
    )
    assert done.stdout == "Norm keeping\n"
    assert methods.os.environ[PLUGINS] == str(tmp_path / "mine.py")


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """An installed package that brings a method by an entry point."""

    def install(name, text=TEN_LINES):
        (tmp_path / f"{name}.py").write_text(text)
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[clipft.methods]\nmine = {name}\n")

    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    return install


def test_an_entry_point_is_loaded_when_a_name_is_unknown(installed):
    installed("package_of_mine")
    assert METHODS["kd"].name == "kd"
    assert "package_of_mine" not in sys.modules
    assert METHODS["norm_keep"].title == "Norm keeping"
    methods.load_entry_points()


def test_an_entry_point_with_a_mistake_is_one_line(installed):
    installed("package_of_another", TEN_LINES + "\n1 / 0\n")
    with pytest.raises(ConfigError, match="plugin package_of_another: ZeroDivisionError") as caught:
        METHODS["norm_keep"]
    assert "\n" not in str(caught.value)
    assert "norm_keep" not in METHODS


def test_a_plugin_of_ten_lines_is_trained_and_scored(plugin, world, monkeypatch, capsys):
    settings = world.settings(method="norm_keep", options={"power": 1.0})
    given = [f"{key}={methods.json.dumps(value)}" for key, value in settings.items()]
    arguments = ["train", "--runs", str(world.runs), "--plugin", str(plugin())]
    code, _, err = run_cli(monkeypatch, capsys, *arguments, "--no-score", *given)
    assert code == 0, err
    (history,) = world.runs.glob("*/metrics.jsonl")
    assert "norm_keep" in read_jsonl(history)[0]


@pytest.mark.parametrize("command", [["train"], ["batch", "none.yaml"], ["lab"]])
def test_commands_refuse_a_plugin_with_a_mistake_first(plugin, command, monkeypatch, capsys):
    file = plugin("1 / 0")
    code, _, err = run_cli(monkeypatch, capsys, *command, "--plugin", str(file))
    assert code == 2
    assert err == f"clipft: plugin {file}: ZeroDivisionError: division by zero\n"


def test_lab_and_batch_take_a_plugin(plugin, tmp_path, monkeypatch, capsys):
    calls = []
    monkeypatch.setattr("clipft.batch.lab.open_lab", lambda *given, **more: calls.append("lab"))
    monkeypatch.setattr(
        "clipft.batch.runner.work_off", lambda *given, **more: calls.append("batch")
    )
    spec = tmp_path / "some.yaml"
    spec.write_text("{name: some, stages: [{notebook: empty.ipynb}]}")
    nbformat.write(nbformat.v4.new_notebook(), tmp_path / "empty.ipynb")
    monkeypatch.chdir(tmp_path)
    file = plugin()
    for command in (["lab"], ["batch", str(spec)]):
        code, _, err = run_cli(monkeypatch, capsys, *command, "--plugin", str(file))
        assert code == 0, err
        assert Path(methods.os.environ[PLUGINS]) == file
        monkeypatch.setenv(PLUGINS, "")
    assert calls == ["lab", "batch"]
