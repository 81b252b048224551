"""A quick front door: a mistake is answered, and a list shown, without torch; the same door for
`clipft` and `python -m clipft`; what the Tab key offers.
"""

import json
import os
import subprocess
import sys

import pytest
import yaml

import clipft
from clipft import METHODS
from clipft.cli import PANELS
from clipft.data.manifests import available
from clipft.methods import POSTHOC
from clipft.runs.folder import RunFolder
from clipft.runs.recipes import presets

# One process for all: it takes every command, and torch cannot be imported in it.
WITHOUT_TORCH = """
import contextlib, io, json, sys

HEAVY = {"torch", "torchvision", "open_clip", "lightning_fabric"}

class NotHere:
    def find_spec(self, name, path=None, target=None):
        # Whether open_clip is there may be asked; to import it needs torch.
        if name.partition(".")[0] in HEAVY and name != "open_clip":
            raise ImportError(f"{name} was asked for")

sys.meta_path.insert(0, NotHere())
from clipft import cli

answers = []
for arguments in json.loads(sys.stdin.read()):
    out, err = io.StringIO(), io.StringIO()
    sys.argv = ["clipft", *arguments]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main()
        except SystemExit as leaving:
            code = leaving.code or 0
        except BaseException as error:
            code = f"{type(error).__name__}: {error}"
    loaded = sorted(HEAVY & set(sys.modules))
    answers.append([code, out.getvalue(), err.getvalue(), loaded])
print(json.dumps(answers))
"""

# Names in capitals stand for what `places` makes.
MISTAKES = [
    ("trian", "trian"),
    ("train lerning_rate=1", "did you mean 'lr'"),
    ("train epochs=3", "did you mean 'steps'"),
    ("train method=lipsumm", "did you mean 'lipsum'"),
    ("train method=tpgm", "clipft combine tpgm RUN"),
    ("train method=kd options.tua=1", "did you mean 'tau'"),
    ("train method=kd options.tau=-1", "option tau of kd is -1"),
    ("train method=ft lam=1", "ft has no regulariser"),
    ("train steps=0", "steps"),
    ("train lr", "wanted: KEY=VALUE"),
    ("train lr.x=3", "lr"),
    ("train options=3", "options"),
    ("train crop=[0.5", "lists are written [0.5, 1.0]"),
    ("train --workers -1", "--workers"),
    ("train preset=emoji/lipsun", "did you mean 'emoji/lipsum'"),
    ("train --preset emoji/lipsun", "did you mean 'emoji/lipsum'"),
    ("train --preset emoji/tpgm_c", "clipft combine emoji/tpgm_c RUN"),
    ("train device=cpu", "--device cpu"),
    ("train --device gpu", "no device 'gpu'; known: auto, cpu"),
    ("train --device cuda:x", "no device 'cuda:x'"),
    ("train manifest=emoji_shfit", "did you mean 'emoji_shift'"),
    ("train reference=twmoji", "did you mean 'twemoji'"),
    ("train train_domains=[lnie]", "did you mean 'line'"),
    ("train shifts=[lnie]", "did you mean 'line'"),
    ("train shifts=[twemoji]", "unknown shift of emoji_shift 'twemoji'"),
    ("train model=ViT-B-61", "did you mean 'ViT-B-16'"),
    ("train model=ViT-B-16", "a tag of: openai"),
    ("train model=ViT-B-16 pretrained=openia", "did you mean 'openai'"),
    ("train model=local-dir:NOWHERE", "holds no open_clip_config.json"),
    ("train pretrained=openai", "no checkpoint file 'openai'"),
    ("train manifest=domainnet model=ViT-B-16 pretrained=none", "set CLIPFT_DATA"),
    ("train manifest=FOLDER", "folder"),
    ("train --data NOWHERE --reference studio", "nowhere"),
    ("train --data FOLDER method=lipsumm", "did you mean 'lipsum'"),
    ("train --reference studio", "goes with --data"),
    ("train head_from=NOWHERE", "no head file"),
    ("train --config NOWHERE.yaml", "no such file"),
    ("train --config FOLDER", "cannot read"),
    ("train --config FILE", "expected a mapping"),
    ("train --plugin NOWHERE.py", "there is no such file"),
    ("train --runs FILE", "a file is there"),
    ("train --runs FILE/runs", "is a file"),
    ("train --no-keep-weights --no-score", "without them nothing would be left"),
    ("runs --runs EMPTY", "no run under"),
    ("runs --runs ROOF sead=1", "did you mean 'seed'"),
    ("runs --runs ROOF nothing", "no run at"),
    ("runs --runs ROOF lr=77", "lr=77"),
    ("runs --runs ROOF --weigths", "no option --weigths"),
    ("runs --runs ROOF --weights", "is for clipft runs prune"),
    ("runs prune --runs ROOF --keep-best", "wanted: --weights --keep-best"),
    ("runs prune --runs ROOF --unfinished -1", "expected 0 or more"),
    ("runs tag --runs ROOF RUN", "+TAG or -TAG"),
    ("runs tag --runs ROOF RUN +<img>", "is no tag of a run"),
    ("runs name --runs ROOF RUN", "a run and a text"),
    ("runs name --runs ROOF RUN ../x", "is no name of a run"),
    ("runs name --runs ROOF RUN beef", "the beginning of an id"),
    ("results --interval 3", "go with --watch"),
    ("results --watch --csv FILE", "--csv goes without --watch"),
    ("combine wyse RUN", "did you mean 'wise'"),
    ("combine lipsum RUN", "clipft train method=lipsum"),
    ("combine emoji/ft RUN", "clipft train --preset emoji/ft"),
    ("combine emoji/tpgm RUN", "did you mean 'emoji/tpgm_c'"),
    ("combine wise NOWHERE", "no run at"),
    ("combine wise", "RUN..."),
    ("combine wise alpha=0.5", "wise takes one run, got 0"),
    ("combine wise RUN RUN", "wise takes one run, got 2"),
    ("combine wise RUN alhpa=0.5", "did you mean 'alpha'"),
    ("combine wise RUN alpha=1.5", "expected 0 (zero-shot) ... 1 (tuned)"),
    ("combine tpgm RUN steps=0", "option steps of tpgm is 0"),
    ("combine tpgm RUN norm=mar", "did you mean 'mars'"),
    ("combine uniform_soup RUN OTHER", "keep to one"),
    ("combine uniform_soup RUN ENSEMBLE", "is an ensemble"),
    ("combine wise COPY", "without weights"),
    ("adopt FILE --model emoji-tiny", "--manifest"),
    ("adopt NOWHERE --model emoji-tiny --manifest emoji_shift", "no such file"),
    ("adopt FILE --model emoji-tyny --manifest emoji_shift", "did you mean 'emoji-tiny'"),
    ("adopt FILE --model ViT-B-16 --manifest emoji_shift", "needs `pretrained`"),
    ("adopt FILE --model ViT-B-16 --pretrained none --manifest emoji_shift", "random ones"),
    ("adopt FILE --model emoji-tiny --manifest emoji_shfit", "did you mean 'emoji_shift'"),
    ("adopt FILE --model emoji-tiny --manifest emoji_shift --reference twemojy", "'twemoji'"),
    ("adopt FILE --model emoji-tiny --manifest emoji_shift --name flyp", "another name"),
    ("adopt FILE --model emoji-tiny --manifest emoji_shift --name a+b", "cannot be called 'a+b'"),
    ("adopt FILE --model emoji-tiny --manifest emoji_shift --head NOWHERE", "no such file"),
    ("adopt FILE --model emoji-tiny --manifest emoji_shift --selection bset", "selection"),
    ("adopt FILE --model emoji-tiny --manifest emoji_shift --runs FILE", "a file is there"),
    ("evaluate", "what to evaluate?"),
    ("evaluate --model emoji-tiny", "--manifest NAME"),
    ("evaluate --model emoji-tyny --manifest emoji_shift", "did you mean 'emoji-tiny'"),
    ("evaluate --model ViT-B-16:opnai --manifest emoji_shift", "did you mean 'openai'"),
    ("evaluate --model emoji-tiny --manifest emoji_shfit", "did you mean 'emoji_shift'"),
    ("evaluate --model emoji-tiny --manifest emoji_shift --csv FOLDER", "a folder is there"),
    ("evaluate RUN --model emoji-tiny", "--model is for a model without a run"),
    ("evaluate RUN --csv FILE", "--csv is for a model without a run"),
    ("evaluate --model RN50:openai --pretrained openai --manifest emoji_shift", "leave out"),
    ("evaluate NOWHERE", "no run"),
    ("evaluate BEGUN", "is not finished"),
    ("wise RUN --alpha 1.5", "expected 0 (zero-shot) ... 1 (tuned)"),
    ("wise ENSEMBLE --adaptive 0.1", "is an ensemble"),
    ("wise RUN --adaptive 2", "--adaptive"),
    ("diagnose NOWHERE", "no run"),
    ("diagnose RUN --alpha -1", "expected 0 (zero-shot) ... 1 (tuned)"),
    ("diagnose ENSEMBLE", "is an ensemble"),
    ("compare RUN", "Missing argument"),
    ("compare RUN NOWHERE", "no run at"),
    ("compare RUN RUN --alpha 2", "expected 0 (zero-shot) ... 1 (tuned)"),
    ("confusions NOWHERE", "no run"),
    ("confusions RUN", "is not scored at alpha 0; score it"),
    ("confusions RUN --alpha 2", "expected 0 (zero-shot) ... 1 (tuned)"),
    ("confusions RUN --most 0", "--most"),
    ("export NOWHERE FOLDER/out", "no run at"),
    ("export RUN FOLDER/out --alpha 2", "expected 0 (zero-shot) ... 1 (tuned)"),
    ("export RUN FILE", "a file is there"),
    ("export ENSEMBLE FOLDER/out", "is an ensemble"),
    ("export COPY FOLDER/out", "without weights"),
    ("export RUN FOLDER/out --format hugingface", "did you mean 'huggingface'"),
    ("export RUN FOLDER/out --format onnx --half", "leave --half out"),
    ("export RUN OTHER --format huggingface", "was not written by an export"),
    ("predict FOR_ONNX FILE --classes FILE", "without a text tower; wanted: an export with"),
    ("predict EXPORTED FILE --classes NOWHERE", "no file of classes"),
    ("predict EXPORTED FILE --classes EMPTY", "names no class; wanted: one class a line"),
    ("predict EXPORTED FILE --classes TWICE", "'a cup' stands in lines 1 and 3"),
    ("predict EXPORTED FILE --classes LATIN", ":1: the byte 0xe9 is not utf-8"),
    ("predict EXPORTED FILE --abstain 2", "--abstain"),
    ("predict EXPORTED FILE --json FOLDER", "a folder is there"),
    ("predict EXPORTED", "Missing argument 'images'"),
    ("predict EXPORTED FILE --top 0", "--top"),
    ("predict NOWHERE FILE", "holds no open_clip_config.json"),
    ("predict FOLDER FILE", "holds no open_clip_config.json"),
    ("predict EXPORTED NOWHERE.png", "image missing"),
    ("predict EXPORTED FOLDER", "no image in the folder"),
    ("predict EXPORTED FILE --csv FOLDER", "a folder is there"),
    ("results --runs NOWHERE", "no scored run under"),
    ("results --runs FOLDER --markdown", "no scored run under"),
    ("results --csv FOLDER", "a folder is there"),
    ("pick --among alfas", "did you mean 'alphas'"),
    ("pick --runs NOWHERE", "no scored run under"),
    ("pick --unlabelled NOWHERE", "--unlabelled wants a folder"),
    ("choose --runs NOWHERE", "no run chosen"),
    ("choose --write FOLDER", "a folder is there"),
    ("thumbnails --runs NOWHERE", "no scored run under"),
    ("train --log tensorbord", "unknown tracker 'tensorbord'; did you mean 'tensorboard'?"),
    ("batch NOWHERE.yaml", "unknown batch spec"),
    ("batch FOLDER", "unknown batch spec"),
    ("html NOWHERE.ipynb", "no such file"),
    ("html FILE", "is not a notebook"),
    ("html FOLDER", "cannot read"),
    ("lab --folder NOWHERE", "no folder"),
    ("datasets new photos", "--root is missing"),
    ("datasets new photos --root NOWHERE --reference studio", "nowhere"),
    ("datasets domainet", "did you mean 'domainnet'"),
    ("presets emoji/lipsun", "did you mean 'emoji/lipsum'"),
    ("cache --prune all", "--prune"),
    ("cache --prune -1", "--prune"),
]
LISTS = ["--version", "--help", "train --help", "methods", "presets", "datasets", "cache"]
LISTS += ["runs --runs ROOF", "runs prune --runs ROOF --weights --unfinished 0"]


def recorded(folder, **about):
    """A run folder with what its configuration says, and no more."""
    made = RunFolder(folder)
    folder.mkdir(parents=True)
    made.write_config(clipft.RunConfig().model_dump(mode="json") | about)
    return made


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """What a command may be given, each by a name in capitals; no model was trained for it."""
    base = tmp_path_factory.mktemp("places")
    runs = base / "runs"
    members = {"after": {"name": "output_ensemble", "of": [], "among": 1, "members": ["run"]}}
    for name, about in {
        "run": {},
        "other": {"model_digest": "another"},
        "ensemble": members,
    }.items():
        recorded(runs / name, **about).weights_file.touch()
    recorded(runs / "begun")
    recorded(runs / "copy").images_file.touch()

    exported = base / "exported"
    exported.mkdir()
    (exported / "open_clip_config.json").touch()
    (exported / "head.safetensors").touch()
    (base / "for_onnx").mkdir()
    (base / "for_onnx/clipft.json").write_text('{"format": "onnx"}')
    (base / "empty").write_text(" \n\n")
    (base / "twice").write_text("a cup\na key\n a  cup\n")
    (base / "latin").write_bytes(b"a\xe9")
    (base / "folder").mkdir()
    (base / "file").write_text("[]")
    words = {name.upper(): runs / name for name in ("run", "other", "ensemble", "begun", "copy")}
    for name in (
        *("exported", "folder", "file", "nowhere"),
        *("for_onnx", "empty", "twice", "latin"),
    ):
        words[name.upper()] = base / name
    words["ROOF"] = runs  # of all runs
    return {word: str(path) for word, path in words.items()}


def filled(command, places):
    for word, path in places.items():
        command = command.replace(word, path)
    return command.split()


@pytest.fixture(scope="module")
def answers(places, tmp_path_factory):
    """Command -> (exit code, stdout, stderr, heavy packages that are loaded)."""
    commands = [*(command for command, _ in MISTAKES), *LISTS]
    environment = os.environ | {"CLIPFT_CACHE": str(tmp_path_factory.mktemp("cache"))}
    environment.pop("CLIPFT_DATA", None)
    environment.pop("CLIPFT_PLUGINS", None)
    environment["COLUMNS"] = "200"
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH],
        input=json.dumps([filled(command, places) for command in commands]),
        env=environment,
        cwd=tmp_path_factory.mktemp("elsewhere"),
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(zip(commands, json.loads(done.stdout), strict=True))


def test_the_process_without_torch_would_see_it(tmp_path):
    """A command that computes is not answered there."""
    given = json.dumps([["doctor"]])
    command = [sys.executable, "-c", WITHOUT_TORCH]
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=True)
    ((code, _, _, _),) = json.loads(done.stdout)
    assert code == "ImportError: torch was asked for"


@pytest.mark.parametrize(("command", "wanted"), MISTAKES, ids=[command for command, _ in MISTAKES])
def test_a_mistake_is_answered_in_one_line_without_torch(answers, command, wanted):
    code, out, err, loaded = answers[command]
    assert (code, out, loaded) == (2, "", []), err
    assert err.startswith("clipft: ") and err.count("\n") == 1
    assert wanted in err


@pytest.mark.parametrize("command", LISTS)
def test_a_list_needs_no_torch(answers, command):
    code, out, err, loaded = answers[command]
    assert (code, err, loaded) == (0, "", [])
    assert out.strip()


def test_the_version_is_the_packages(answers):
    assert answers["--version"][1] == f"clipft {clipft.__version__}\n"


def test_help_shows_every_command_once_in_the_order_of_its_panels(answers):
    lines = answers["--help"][1].splitlines()
    shown = [line.split()[1] for line in lines if line.startswith("│ ") and line[2] not in " -"]
    commands = [command.__name__ for commands in PANELS.values() for command in commands]
    assert shown == commands
    assert shown[:7] == ["lab", "tune", "train", "results", "wise", "export", "predict"]
    assert shown[-2:] == ["html", "doctor"]
    headings = [line.split(" ─")[0].strip("╭─ ") for line in lines if line.startswith("╭")]
    assert headings[1:] == list(PANELS)


@pytest.mark.parametrize("module", ["clipft", "clipft.cli"])
def test_the_package_is_the_command(module):
    command = [sys.executable, "-m", module, "presets", "emoji/kd"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert yaml.safe_load(done.stdout)["settings"]["method"] == "kd"


# --- the Tab key


def offered(shell, *words):
    """What a shell is offered behind these words, the last of them not yet complete."""
    about = {"_CLIPFT_COMPLETE": f"complete_{shell}"}
    if shell == "bash":
        about |= {"COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1)}
    else:
        about["_TYPER_COMPLETE_ARGS"] = " ".join(words)
    code = "import sys; sys.argv = ['clipft']; from clipft.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | about, capture_output=True, text=True
    )
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["tr"], ["train"]),
        (["train", "ste"], ["steps="]),
        (["train", "method", "=", "fl"], [name for name in METHODS if name.startswith("fl")]),
        (["train", "manifest", "=", "emo"], [n for n in available() if n.startswith("emo")]),
        (["train", "model", "=", "emoji"], ["emoji-tiny"]),
        (["train", "lr", "=", "1"], []),
        (["train", "--preset", "no"], ["none"]),
        (["train", "--preset", "emoji/tp"], []),
        (["combine", "gr"], [name for name in POSTHOC if name.startswith("gr")]),
        (["combine", "emoji/"], ["emoji/tpgm_c"]),
        (["datasets", "dom"], ["domainnet"]),
        (["presets", "wise"], [name for name in presets() if name.startswith("wise")]),
    ],
    ids=lambda value: " ".join(value),
)
def test_tab_offers_names_in_bash(words, wanted):
    assert offered("bash", "clipft", *words).split() == wanted


def test_tab_offers_values_where_the_shell_keeps_the_word():
    assert '"method=feat_kd"' in offered("zsh", "clipft", "train", "method=fea")
