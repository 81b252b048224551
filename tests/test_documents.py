"""Every document does what it says: its code runs, its links lead somewhere, its tables are made.

A document's blocks run in order, in a scratch folder with a small data set and two finished runs:
- python, bash: run, in one namespace per document;
- yaml: a batch spec, which is planned;
- any with a file's name behind its language: is that file;
- diff: applied to a copy of the package, in which the Python behind it runs, in its own process.

What is changed to make it small: training takes a miniature model, data set and recipe (`shrunk`),
and ID, ID2 or four letters of an id stand for the two runs.

Commands that are only looked at, see `LOOKED_AT` and `CHECKS`: those that serve until they are
stopped, start a kernel for each job or want a sweep of an hour (each has tests of its own), `make`
(its target must exist), Python files and modules (they must exist), and what is of the system.
"""

import ast
import doctest
import inspect
import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import documents
import pytest
from conftest import QUIET, World, draw_tree, made_once
from documents import ROOT
from test_architecture import ROOMS

import clipft
from clipft import cli, methods
from clipft.batch.spec import plan, read_spec
from clipft.runs import checks

DOCUMENTS = documents.documents()
TEXTS = {str(file.relative_to(ROOT)): file.read_text(encoding="utf-8") for file in DOCUMENTS}
LIMITS = {"README.md": 150, ".github/CONTRIBUTING.md": 40}  # lines
LONGEST_CHANGE = 34  # lines of a change to the package: 30, and its head
SMALL = {
    *("manifest", "reference", "train_domains", "model", "pretrained", "lr", "steps"),
    *("batch_size", "eval_every", "crop", "text_count", "text_length", "precision", "shots"),
}


# --- the scratch folder


@pytest.fixture(scope="session")
def used_folder(shared, tree, manifest_file, model_folder):
    """A reader's folder after a while: two finished and scored runs, made once for all workers."""
    world = World(manifest_file, model_folder, shared / "reader/runs")

    def make(folder):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("CLIPFT_DATA", str(tree))
            patch.setenv("CLIPFT_CACHE", str(folder / "cache"))
            for method in ("ft", "lipsum"):
                world.train(method=method).score()

    made_once(shared / "reader", make)
    return world


@pytest.fixture
def scratch(used_folder, tree, tmp_path, monkeypatch):
    """An own copy of it, which is the working folder; training there is small, and methods that a
    document adds are gone at the end.
    """
    from clipft.training import train as training

    monkeypatch.setenv(methods.PLUGINS, "")
    shutil.copytree(used_folder.runs, tmp_path / "runs")
    draw_tree(tmp_path / "photos", domains=["studio", "phone", "sketch"], classes=["cup", "key"])
    for lists in (tmp_path / "photos").glob("*.txt"):
        lists.unlink()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLIPFT_DATA", str(tree))
    monkeypatch.setenv("CLIPFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    train = training.train
    check = checks.check_training

    def train_small(config, *args, **kwargs):
        return train(shrunk(config, used_folder), *args, **{"reading": QUIET} | kwargs)

    def check_small(config, *args, **kwargs):
        return check(shrunk(config, used_folder), *args, **kwargs)

    monkeypatch.setattr(training, "train", train_small)
    monkeypatch.setattr(checks, "check_training", check_small)
    known = [(registry, dict(registry)) for registry in (methods.METHODS, methods.POSTHOC)]
    yield tmp_path
    for registry, entries in known:
        registry.clear()
        registry.update(entries)


def shrunk(config, world):
    """A configuration with the miniature's model, data and recipe; an own data set stays."""
    small = world.config().model_dump()
    is_own = any(Path(name).is_file() for name in (config.manifest, f"{config.manifest}.yaml"))
    kept = {"manifest", "reference"} if is_own else set()
    return config.model_copy(update={key: small[key] for key in SMALL - kept})


def with_ids(code, folder):
    """The code with the ids of the two runs for ID and ID2, or for four letters of an id."""
    ids = sorted(path.name for path in (folder / "runs").iterdir() if path.is_dir())
    names = dict.fromkeys(re.findall(r"\bruns/(ID2?|[0-9a-f]{4})\b", code))
    for name, run_id in zip(sorted(names, key=len), ids, strict=False):
        short = run_id if name.startswith("ID") else run_id[:6]
        code = re.sub(rf"\bruns/{name}\b", f"runs/{short}", code)
    return code


# --- shell


# command of clipft -> why a document's line is parsed, and not run
LOOKED_AT = {
    "lab": "serves until it is stopped: tests/cli and tests/browser",
    "batch": "starts a kernel for each job: tests/batch",
    "html": "wants an executed notebook: tests/batch",
    "fetch": "wants a network: tests/models",
    "adopt": "wants somebody's checkpoint: tests/training",
    "evaluate": "wants a published model and its data: tests/evaluation",
    "choose": "wants the runs of a sweep: tests/runs",
}


def run_clipft(words):
    """A line of clipft's, in this process: refused by nobody, exit code 0."""
    if words[0] in LOOKED_AT:
        command_of(words[0]).make_context(words[0], words[1:])
        assert_there([word for word in words[1:] if word.startswith(("papermill_", "notebooks/"))])
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["clipft", *words])
        try:
            cli.main()
            code: object = 0
        except SystemExit as leaving:
            code = leaving.code
    assert not code, f"clipft {' '.join(words)} left with {code}"


def command_of(name):
    from typer.main import get_command

    known = get_command(cli.app).commands
    assert name in known
    return known[name]


def assert_there(paths):
    missing = [path for path in paths if not (ROOT / path).exists()]
    assert missing == []


def check_make(words):
    """Targets, and variables that are set, are those of the Makefile."""
    known = re.findall(r"^([\w-]+ :=|[\w-]+:)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for word in words:
        name, equals, _ = word.partition("=")
        assert (f"{name} :=" if equals else f"{name}:") in known


def check_pip(words):
    """Extras that a line installs are those of pyproject.toml."""
    import tomllib

    assert words[0] == "install"
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = re.findall(r"\[(.*?)\]", " ".join(words))
    extras = {extra for group in wanted for extra in group.split(",")}
    assert extras <= set(known["optional-dependencies"])


def check_python(words):
    if words[0] == "-m" and words[1] == "pip":
        return check_pip(words[2:])
    if words[0] == "-m" and words[1] == "clipft":
        return run_clipft(words[2:])
    if words[0] == "-m":
        assert find_spec(words[1])
        words = words[2:]
    return assert_there([word for word in words if word.endswith(".py") or "tests/" in word])


def check_nothing(words):
    """A program of the system, which is none of ours."""


def check_sbatch(words):
    """What a job of a Slurm array runs."""
    command = words[words.index("--wrap") + 1]
    check_command(shlex.split(command.replace("$SLURM_ARRAY_TASK_ID", "1")))


CHECKS = {
    "clipft": run_clipft,
    "sbatch": check_sbatch,
    "make": check_make,
    "pip": check_pip,
    "python": check_python,
    **dict.fromkeys(["git", "cd", "ls", "cp", "export", "mkdir", "apt-get", "ruff"], check_nothing),
}


def check_spec(text, scratch):
    """A YAML block without a file's name is a batch spec of papermill_runs/: it is planned."""
    (scratch / "spec.yaml").write_text(text, encoding="utf-8")
    stages = plan(read_spec(scratch / "spec.yaml"), ROOT / "papermill_runs", scratch / "out")
    assert all(stages)


def check_command(words):
    """Run a command, or look at it."""
    while re.fullmatch(r"[A-Z_]+=.*", words[0]):  # variables before a command
        words = words[1:]
    program = words[0].removeprefix(".venv/bin/")
    assert program in CHECKS, f"no document's test knows {program!r}; teach it in CHECKS"
    CHECKS[program](words[1:])


def test_a_command_that_is_wrong_is_found(scratch):
    with pytest.raises(AssertionError, match="knows 'clpft'"):
        check_command(["clpft", "methods"])
    with pytest.raises(AssertionError, match="left with 2"):
        check_command(["clipft", "train", "lerning_rate=1"])
    with pytest.raises(AssertionError):
        check_command(["make", "tset"])
    with pytest.raises(AssertionError):
        check_command(["pip", "install", "clipft[emojis]"])
    with pytest.raises(AssertionError):
        check_command(["python", "tests/nothing.py"])
    with pytest.raises(clipft.ClipftError, match="stagse"):
        check_spec("name: wrong\nstagse: []\n", scratch)


# --- what reads documents


def test_a_shells_block_is_read_as_commands():
    code = "make demo   # ten models\n\nX=1 clipft train \\\n  method=ft && clipft results\n"
    want = [["make", "demo"], ["X=1", "clipft", "train", "method=ft"], ["clipft", "results"]]
    assert documents.commands(code) == want


def test_a_change_is_made_where_its_lines_stand_and_nowhere_else(tmp_path):
    (tmp_path / "a.py").write_text("one\ntwo\nthree\n")
    head = "--- a/a.py\n+++ b/a.py\n@@ here\n"
    documents.apply_change(f"{head} one\n-two\n+deux\n+zwei\n", tmp_path)
    assert (tmp_path / "a.py").read_text() == "one\ndeux\nzwei\nthree\n"
    documents.apply_change("--- /dev/null\n+++ b/b/c.py\n@@ new file\n+x = 1\n", tmp_path)
    assert (tmp_path / "b/c.py").read_text() == "x = 1\n"
    for wrong in (f"{head} two\n+zwei\n", "one\n+two\n"):
        with pytest.raises(ValueError, match=r"lines 0 times|no change"):
            documents.apply_change(wrong, tmp_path)


def test_links_and_headings_are_read_as_on_github():
    text = "# A `b` C, d!\n[x](y.md#a-b-c-d) `[no](z)` ![p](q.png)\n```bash\n# no\n[n](o)\n```\n"
    assert documents.links(text) == ["y.md#a-b-c-d", "q.png"]
    assert documents.anchors(text) == {"a-b-c-d"}


def test_what_is_made_is_replaced_and_what_reads_absent_runs_stays():
    text = "a\n<!-- made by: clipft datasets -->\nold\n<!-- end -->\nb\n"
    new = documents.rewritten(text)
    assert new.startswith("a\n<!-- made by: clipft datasets -->\n\n") and new.endswith("-->\nb\n")
    assert "emoji_shift" in new and "old" not in new
    absent = text.replace("datasets", "results --runs papermill_runs/out/nothing/runs")
    assert documents.rewritten(absent) == absent
    with pytest.raises(ValueError, match="left with 2"):
        documents.make("clipft datasets --markdwon")


# --- documents


@pytest.mark.parametrize("name", TEXTS)
def test_a_documents_code_runs(name, scratch):
    space: dict = {}
    changes = []
    in_changed_package = []
    for block in documents.blocks(TEXTS[name]):
        code = with_ids(block.code, scratch)
        if block.language == "diff":
            changes.append(code)
        elif block.file:
            (scratch / block.file).parent.mkdir(parents=True, exist_ok=True)
            (scratch / block.file).write_text(code, encoding="utf-8")
        elif block.language == "python" and changes:
            in_changed_package.append(code)
        elif block.language == "python":
            exec(compile(code, f"a block of {name}", "exec"), space)
        elif block.language == "bash":
            for words in documents.commands(code):
                check_command(words)
        elif block.language == "yaml":
            check_spec(code, scratch)
        else:
            assert block.language in ("", "text"), f"nothing is known of {block.language}"
    if changes:
        run_changed(changes, "\n".join(in_changed_package), scratch)


def run_changed(changes, code, scratch):
    """Run code on a copy of the package to which the changes of a document were made."""
    package = scratch / "package"
    parts = shutil.ignore_patterns("assets", "__pycache__", "*.md")
    shutil.copytree(ROOT / "clipft", package / "clipft", ignore=parts)
    shutil.copytree(ROOT / "data_manifests", package / "data_manifests", ignore=parts)
    (package / "clipft/assets").symlink_to(ROOT / "clipft/assets")
    for change in changes:
        assert len(change.splitlines()) <= LONGEST_CHANGE
        documents.apply_change(change, package)
    environment = os.environ | {"PYTHONPATH": str(package)}
    command = [sys.executable, "-W", "error::UserWarning", "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", TEXTS)
def test_a_documents_links_lead_somewhere(name):
    folder = (ROOT / name).parent
    for link in documents.links(TEXTS[name]):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = folder / path if path else ROOT / name
        assert target.exists(), link
        if anchor:
            assert anchor in documents.anchors(target.read_text(encoding="utf-8")), link


@pytest.mark.parametrize("name", TEXTS)
def test_what_a_command_makes_of_a_document_is_what_it_would_make(name):
    """`make documents` writes it again."""
    for command, text in documents.made_parts(TEXTS[name]):
        if documents.can_be_made(command):
            assert text == f"\n{documents.make(command)}\n"


@pytest.mark.parametrize("name", LIMITS)
def test_a_document_is_short(name):
    assert len(TEXTS[name].splitlines()) <= LIMITS[name]


def test_the_map_of_the_house_has_every_room_in_its_order():
    drawing = documents.blocks(TEXTS["clipft/README.md"])[0].code
    drawn = re.findall(r"^ (?:reading|computing|doors)? *(\w+)  ", drawing, re.MULTILINE)
    assert drawn == ROOMS


def test_documents_lie_where_they_are_looked_for():
    """No folder of what is shipped holds one that is not among them."""
    left_out = {".venv", "build", "dist", "out", "runs", "node_modules"}
    found = set()
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in left_out]
        found |= {Path(folder) / name for name in files if name.endswith(".md")}
    assert found == set(DOCUMENTS)


# --- docstrings


PUBLIC = {name: getattr(clipft, name) for name in clipft.__all__}
FOUNDATION = ("METHODS", "POSTHOC")  # instances, whose class is documented
SECTION = re.compile(r"^(Arguments|Returns|Raises|Example):\n((?:\n| +.*\n?)+)", re.MULTILINE)


def documented(name):
    """What carries the docstring of a public name."""
    return type(PUBLIC[name]) if name in FOUNDATION else PUBLIC[name]


def sections(thing):
    """Section -> its lines, of a docstring."""
    return {match[1]: match[2] for match in SECTION.finditer(inspect.getdoc(thing) + "\n")}


def examples_of(thing):
    """The examples of a function, or of a class and its methods."""
    finder = doctest.DocTestFinder()
    return [test for test in finder.find(thing, thing.__name__) if test.examples]


def arguments_of(thing):
    """Names of the arguments that a caller gives."""
    if isinstance(thing, type) and issubclass(thing, Exception):
        return set()
    return {name for name in inspect.signature(thing).parameters if name != "self"}


@pytest.mark.parametrize("name", PUBLIC)
def test_the_example_of_a_public_name_runs(name, scratch, capsys):
    tests = examples_of(documented(name))
    assert tests, f"{name} has no example"
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    for test in tests:
        test.globs = {"clipft": clipft}
        failures, _ = doctest.DocTestRunner(optionflags=flags).run(test)
        assert failures == 0, capsys.readouterr().out


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_says_what_it_takes_gives_and_refuses(name):
    """By its signature and its code: arguments by name, a result where there is one, and errors
    that it raises itself.
    """
    thing = documented(name)
    said = sections(thing)
    arguments = re.findall(r"^ {4}(\w+):", said.get("Arguments", ""), re.MULTILINE)
    assert set(arguments) >= arguments_of(thing)
    if inspect.isfunction(thing):
        gives = inspect.signature(thing).return_annotation not in (None, "None")
        assert ("Returns" in said) == gives
        raised = set(re.findall(r"raise (\w+Error)\(", inspect.getsource(thing)))
        assert raised <= set(re.findall(r"^ {4}(\w+):", said.get("Raises", ""), re.MULTILINE))


MODULES = sorted((ROOT / "clipft").rglob("*.py"))


def undocumented(tree, inside=""):
    """Public functions, classes and methods without a docstring."""
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        name = f"{inside}{node.name}"
        if node.name.startswith("_"):
            continue
        if not ast.get_docstring(node):
            yield name
        if isinstance(node, ast.ClassDef):
            yield from undocumented(node, f"{name}.")


def test_the_finder_of_missing_docstrings_sees_one():
    source = "class A:\n    'a'\n    def b(self): ...\n    def _c(self): ...\ndef d(): ..."
    assert list(undocumented(ast.parse(source))) == ["A.b", "d"]


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_public_docstring_is_missing(file):
    tree = ast.parse(file.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    assert list(undocumented(tree)) == []


def test_the_reference_builds_and_has_every_public_name(tmp_path, monkeypatch, capfd):
    """By what `make docs` calls; of the rooms' pages one stands for all."""
    for name, value in PUBLIC.items():  # all are loaded here, and are not once this test is over
        monkeypatch.setitem(vars(clipft), name, value)
    arguments = ["reference", str(tmp_path), "clipft", "clipft.runs"]
    monkeypatch.setattr(sys, "argv", ["tests/documents.py", *arguments])
    documents.main()
    done = capfd.readouterr()
    assert done.err == ""
    front = (tmp_path / "clipft.html").read_text()
    assert [name for name in PUBLIC if f'id="{name}"' not in front] == []
    assert "Traceback" not in done.out
    for page in tmp_path.rglob("*.html"):
        assert not re.search(r'src="(https?:)?//', page.read_text()), page
