"""The command line: what it prints, its exit codes, and one line for every mistake."""

import re
import shutil
import subprocess
import sys

import pandas as pd
import pytest

from clipft import cli
from clipft.reports.weight_paths import layer_table
from clipft.runs.confusion import confusion_table
from clipft.runs.reading import barrier_table, compare_runs, distortion_table


def run_cli(monkeypatch, capsys, *arguments):
    """Exit code, stdout, stderr of `clipft ...`, in this process."""
    monkeypatch.setattr(sys, "argv", ["clipft", *map(str, arguments)])
    try:
        cli.main()
        code = 0
    except SystemExit as leaving:
        code = leaving.code or 0
    return code, *capsys.readouterr()


@pytest.fixture
def clipft(monkeypatch, capsys, world):
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments):
        return run_cli(monkeypatch, capsys, *arguments)

    call.world = world
    return call


def settings(world, **changes):
    import json

    return [f"{key}={json.dumps(value)}" for key, value in world.settings(**changes).items()]


def first_words(out):
    """The first column of every printed line."""
    return [line.split()[0] for line in out.splitlines() if line.split()]


def test_lists(clipft):
    from clipft import METHODS
    from clipft.data.manifests import available
    from clipft.methods import POSTHOC

    code, out, _ = clipft("methods")
    assert code == 0 and {*METHODS, *POSTHOC} <= set(first_words(out))
    assert all(
        entry.title in out and entry.paper in out
        for entry in [*METHODS.values(), *POSTHOC.values()]
    )
    assert "tau=1.0" in out and "mu=1.0" in out
    code, out, _ = clipft("datasets")
    assert code == 0 and all(name in out for name in available())
    assert "CC-BY-SA" in clipft("datasets", "emoji_shift")[1]


def test_presets_are_listed_and_shown(clipft):
    import yaml

    from clipft.data.manifests import available
    from clipft.runs.recipes import Preset, load_preset, presets

    code, out, _ = clipft("presets")
    assert code == 0 and {*presets()} <= set(first_words(out)) and "tuned" in out
    rows = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    for name, preset in presets().items():
        said = f"{preset.manifest} (no manifest ships)" in rows[name]
        assert said == (preset.manifest not in ("", *available()))
    assert "no manifest" not in clipft("presets", "flyp/fmow")[1]
    assert "# no manifest" not in clipft("presets", "emoji/kd")[1]
    for name in ("wise_ft/imagenet_b16", "emoji/tpgm_c", "emoji/kd"):
        code, out, _ = clipft("presets", name)
        assert code == 0
        assert Preset.read(yaml.safe_load(out)) == Preset.read(
            load_preset(name).model_dump(mode="json")
        )


def test_train_then_score_then_results(clipft, tmp_path):
    world = clipft.world
    code, out, _ = clipft("train", *settings(world), "--runs", world.runs, "--device", "cpu")
    assert code == 0 and "sketch/test" in out
    folder = world.folder()
    code, out, _ = clipft("wise", folder, "--alpha", "0.25", "--device", "cpu")
    assert code == 0 and "0.25" in out
    assert clipft("evaluate", folder, "--device", "cpu")[0] == 0
    code, out, _ = clipft("results", "--runs", world.runs, "--csv", tmp_path / "table.csv")
    assert code == 0 and "zero-shot" in out
    import pandas as pd

    assert set(pd.read_csv(tmp_path / "table.csv").run) == {world.folder().name}


def test_settings_from_a_file_and_the_line(clipft, tmp_path):
    import yaml

    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(clipft.world.settings(steps=3)))
    code, _, _ = clipft(
        "train",
        "--config",
        file,
        "seed=5",
        "--no-score",
        "--runs",
        clipft.world.runs,
        "--device",
        "cpu",
    )
    assert code == 0
    assert (clipft.world.folder(steps=3, seed=5) / "weights.safetensors").exists()


def lines_of(clipft, *arguments):
    code, out, err = clipft(*arguments, "--device", "cpu")
    assert (code, err.startswith("clipft:")) == (0, False), err
    return out


def test_a_preset_is_the_base_of_the_settings(clipft):
    import json

    world = clipft.world
    lines_of(
        clipft,
        "train",
        "--preset",
        "emoji/kd",
        f"manifest={world.manifest}",
        f"model={world.model}",
        f"pretrained={world.pretrained}",
        "steps=2",
        "batch_size=8",
        "options.tau=2",
        "--no-score",
        "--runs",
        world.runs,
    )
    (file,) = world.runs.glob("*/config.json")
    config = json.loads(file.read_text())
    assert (config["method"], config["steps"], config["options"]) == ("kd", 2, {"tau": 2})
    assert (config["lam"], config["crop"], config["lr"]) == (
        0.1,
        [0.6, 1.0],
        0.001,
    )  # the preset's own


def test_combine_makes_a_run_that_is_scored(clipft):
    from clipft import Run

    run = clipft.world.train(steps=4)
    out = lines_of(clipft, "combine", "wise", run.path, "alpha=0.25")
    made = Run.open(
        next(iter({file.parent for file in clipft.world.runs.glob("*/config.json")} - {run.path}))
    )
    assert f"made {made.path} of {run.id}" in out and "sketch/test" in out
    assert (made.after.name, made.after.options) == ("wise", {"alpha": 0.25})
    out = lines_of(clipft, "combine", "emoji/tpgm_c", run.path, "steps=2", "batch=4", "--no-score")
    made = Run.open(out.split()[1])
    assert (made.after.name, made.after.options) == ("tpgm_c", {"mu": 0.03, "steps": 2, "batch": 4})
    assert "sketch/test" not in out and not (made.path / "scores.parquet").exists()


def test_results_as_markdown_with_calibration(clipft):
    clipft.world.train(steps=2).score([0.0, 1.0])
    code, out, _ = clipft("results", "--runs", clipft.world.runs, "--markdown", "--calibration")
    rows = []
    for line in out.splitlines():
        if "|" in line:
            rows.append([cell.strip() for cell in line.strip().split("|")[1:-1]])
    assert code == 0 and [row[0] for row in rows if not row[0].startswith("--")] == [
        "method",
        "zero-shot",
        "FT",
    ]
    assert {"NLL reference", "NLL shift", "ECE reference", "ECE shift"} <= set(rows[0])
    assert len({len(row) for row in rows}) == 1


def test_choose_shows_and_writes(clipft, tmp_path):
    import yaml

    from clipft.runs.recipes import Collection

    for method in ("ft", "flyp"):
        clipft.world.train(method=method, steps=2)
    code, out, _ = clipft("choose", "--runs", clipft.world.runs)
    assert code == 0 and [line.split()[:4] for line in out.splitlines() if "*" in line] == [
        ["ft", "lr", "0.001", "1"],
        ["flyp", "lr", "0.001", "1"],
    ]
    code, out, _ = clipft("choose", "--runs", clipft.world.runs, "--write", tmp_path / "mini.yaml")
    assert code == 0 and f"wrote {tmp_path / 'mini.yaml'}" in out
    assert (
        Collection.read(yaml.safe_load((tmp_path / "mini.yaml").read_text()))
        .presets["ft"]
        .settings["lr"]
        == 0.001
    )


def test_predict_prints_or_writes(clipft, tmp_path, tree):
    import pandas as pd

    folder = clipft.world.train(steps=2).export(tmp_path / "out")
    images = sorted((tree / "mini/real/bee").glob("*.png"))
    out = lines_of(clipft, "predict", folder, *images[:2], "--top", 3)
    assert [line.split()[1] for line in out.splitlines() if ".png" in line] == ["1", "2", "3"] * 2
    file = tmp_path / "found.csv"
    out = lines_of(clipft, "predict", folder, images[0].parent, images[0], "--csv", file)
    table = pd.read_csv(file)
    assert "rank" not in out and list(table.columns) == ["file", "rank", "label", "probability"]
    assert table.file.tolist() == [str(image) for image in [*images, images[0]]]
    assert table.probability.between(0.25, 1).all()  # of four classes


def test_predict_abstains_and_writes_json(clipft, tmp_path, tree):
    """Folders of any depth; an image without a label has one row, in every way to write it."""
    import json

    folder = clipft.world.train(steps=2).export(tmp_path / "out")
    file = tmp_path / "found.json"
    words = ("predict", folder, tree / "mini/real", "--top", 2, "--json", file)
    lines_of(clipft, *words)
    rows = json.loads(file.read_text())
    best = {row["file"]: row["probability"] for row in rows if row["rank"] == 1}
    assert (
        len(best) == 52
        and len(rows) == 104
        and set(rows[0]) == {*("file", "rank", "label", "probability")}
    )
    middle = sum(sorted(best.values())[25:27]) / 2
    out = lines_of(clipft, *words, "--abstain", middle, "--csv", tmp_path / "found.csv")
    unlabelled = {file for file, probability in best.items() if probability < middle}
    rows = json.loads(file.read_text())
    assert {row["file"] for row in rows if row["label"] is None} == unlabelled
    assert len(rows) == 104 - len(unlabelled)
    assert f"abstained on {len(unlabelled)} of 52 images" in out
    table = pd.read_csv(tmp_path / "found.csv")
    assert set(table.file[table.label.isna()]) == unlabelled
    out = lines_of(clipft, *words[:3], "--abstain", 1)
    assert "nan" not in out and "abstained on 52 of 52 images" in out


def test_predict_takes_other_classes_by_their_names(clipft, tmp_path, tree):
    """As open_clip scores them in the run's templates, with the tuned vision tower."""
    import open_clip
    import torch
    from PIL import Image

    folder = clipft.world.train(steps=2).export(tmp_path / "out")
    (tmp_path / "new.txt").write_bytes("\ufeffa bee\r\n\r\n  hot  dog \r\nÉclair\n".encode())
    file = tmp_path / "found.csv"
    image = next((tree / "mini/real/bee").glob("*.png"))
    words = ("predict", folder, image, "--classes", tmp_path / "new.txt", "--top", 3)
    out = lines_of(clipft, *words, "--csv", file)
    assert "3 classes by their names, zero-shot, in 2 templates; the tuned head is" in out
    (folder / "head.safetensors").unlink()  # not asked
    lines_of(clipft, *words, "--csv", file)
    found = pd.read_csv(file).set_index("label").probability

    net, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    columns = {}
    with torch.no_grad():
        for name in ("a bee", "hot dog", "Éclair"):
            texts = tokenizer([f"a photo of a {name}.", name])
            mean = net.eval().encode_text(texts, normalize=True).mean(0)
            columns[name] = mean / mean.norm()
        pixels = preprocess(Image.open(image).convert("RGB"))[None]
        logits = net.encode_image(pixels, normalize=True) @ torch.stack(list(columns.values())).T
        chances = (net.logit_scale.exp() * logits).softmax(-1)[0]
    for name, chance in zip(columns, chances.tolist(), strict=True):
        assert found[name] == pytest.approx(chance, abs=1e-5)


def test_other_classes_that_a_model_cannot_tell_apart_or_know(clipft, tmp_path, tree, capsys):
    from clipft import Predictor
    from clipft.errors import ConfigError
    from clipft.runs.model_names import EMOJI_TINY

    folder = clipft.world.train(method="flyp", steps=2).export(tmp_path / "out")
    with pytest.raises(ConfigError, match="'Crane' and 'crane' are one text to this model"):
        Predictor(folder, classes=["Crane", "cup", "crane"])
    Predictor(folder, classes=["crane"])
    assert "tuned head" not in capsys.readouterr().out  # FLYP's text tower makes every head
    Predictor(EMOJI_TINY, classes=["fox", "zygote"])
    said = capsys.readouterr().out
    assert "in 80 templates" in said and "1 of them have words that it never saw: zygote" in said


def test_export_says_how_it_is_loaded(clipft, tmp_path):
    run = clipft.world.train(steps=2)
    code, out, _ = clipft("export", run.path, tmp_path / "hf", "--format", "huggingface")
    assert code == 0
    assert out == f"wrote a CLIPModel of transformers; how it is loaded: {tmp_path}/hf/README.md\n"
    code, _, err = clipft("export", run.path, tmp_path / "oa", "--format", "openai")
    assert (code, err.count("\n"), (tmp_path / "oa").exists()) == (2, 1, False)
    assert "GELU for an activation" in err


def test_predict_names_what_is_wrong(clipft, tmp_path, tree):
    folder = clipft.world.train(steps=2).export(tmp_path / "out")
    image = next((tree / "mini/real/bee").glob("*.png"))
    (tmp_path / "empty").mkdir()
    for arguments, words in [
        ([image, tmp_path / "nowhere.png"], "nowhere.png"),
        ([tmp_path / "empty"], "no image in the folder"),
        ([folder / "open_clip_config.json"], "open_clip_config.json"),
        ([image, "--top", 0], "--top"),
        ([image, "--csv", image / "below.csv"], "cannot write"),
    ]:
        code, _, err = clipft("predict", folder, *arguments, "--device", "cpu")
        problems = [line for line in err.splitlines() if line.startswith("clipft: ")]
        assert (code, len(problems), "Traceback" in err) == (2, 1, False), err
        assert words in problems[0]
    (folder / "head.safetensors").write_bytes(b"")
    code, _, err = clipft("predict", folder, image, "--device", "cpu")
    assert (code, err.count("\n"), "head.safetensors" in err) == (2, 1, True)


@pytest.mark.parametrize("device", ["cuda:7"])
@pytest.mark.parametrize("command", ["train", "evaluate", "diagnose"])
def test_a_device_that_is_not_here_is_one_line(clipft, command, device):
    """The other mistakes are answered without torch, see test_front_door."""
    given = settings(clipft.world) if command == "train" else [clipft.world.train(steps=2).path]
    code, _, err = clipft(command, *given, "--device", device)
    problems = [line for line in err.splitlines() if line.startswith("clipft: ")]
    assert (code, len(problems), "Traceback" in err) == (2, 1, False), err
    assert f"no device {device!r}" in problems[0]


def test_full_disk_is_one_line(clipft, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("clipft.disk.files.os.fsync", full)
    code, _, err = clipft(
        "train", *settings(clipft.world), "--runs", clipft.world.runs, "--device", "cpu"
    )
    assert (code, err.count("\n")) == (2, 1) and "no space left on device" in err
    assert not list(clipft.world.runs.rglob("*.tmp"))


def test_unwritable_runs_folder_is_one_line(clipft, tmp_path):
    (tmp_path / "file").write_text("in the way")
    code, _, err = clipft(
        "train", *settings(clipft.world), "--runs", tmp_path / "file/runs", "--device", "cpu"
    )
    assert (code, err.count("\n")) == (2, 1) and "cannot write" in err


def test_truncated_tuned_weights_are_one_line(clipft):
    run = clipft.world.train()
    file = run.path / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:2000])
    code, _, err = clipft("evaluate", run.path, "--device", "cpu")
    assert (code, err.count("\n")) == (2, 1) and "weights.safetensors is truncated" in err
    assert not (run.path / "scores.parquet").exists()


def test_doctor_names_what_is_missing(clipft, monkeypatch):
    code, out, _ = clipft("doctor")
    assert code == 0 and "torch" in out and "devices" in out
    from clipft.cli import doctor

    monkeypatch.setattr(doctor.util, "find_spec", lambda name: None)
    assert "pip install 'clipft[emoji]'" in clipft("doctor")[1]


@pytest.mark.parametrize("arguments", [["-c", "import clipft"], ["-m", "clipft.cli", "--help"]])
def test_start_does_not_import_torch(arguments):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments], capture_output=True, text=True, check=True
    )
    imported = {
        line.rpartition("|")[2].strip()
        for line in done.stderr.splitlines()
        if line.startswith("import time")
    }
    assert "clipft" in imported and not imported & {
        "torch",
        "numpy",
        "pandas",
        "plotly",
        "open_clip",
    }


@pytest.mark.parametrize("content", ["[]", "{}", "{", ""])
def test_a_broken_run_folder_is_one_line(clipft, content):
    run = clipft.world.train()
    run.score([0.0, 1.0])
    (run.path / "config.json").write_text(content)
    for command in (
        ["evaluate", run.path, "--device", "cpu"],
        ["results", "--runs", clipft.world.runs],
    ):
        code, _, err = clipft(*command)
        assert (code, err.count("\n")) == (2, 1), err


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no table at all"])
def test_damaged_scores_are_one_line(clipft, content):
    run = clipft.world.train()
    run.score([0.0, 1.0])
    (run.path / "scores.parquet").write_bytes(content)
    for command in (
        ["evaluate", run.path, "--device", "cpu"],
        ["results", "--runs", clipft.world.runs],
    ):
        code, _, err = clipft(*command)
        assert (code, err.count("\n"), "is damaged" in err) == (2, 1, True), err


def test_damaged_images_are_one_line(clipft):
    run = clipft.world.train()
    run.score([0.0, 1.0])
    content = (run.path / "images.parquet").read_bytes()
    (run.path / "scores.parquet").unlink()  # a whole summary is read without them
    (run.path / "images.parquet").write_bytes(content[:-50])
    code, _, err = clipft("evaluate", run.path, "--device", "cpu")
    assert (code, err.count("\n"), "images.parquet is damaged" in err) == (2, 1, True), err


def test_a_damaged_summary_of_no_images_is_made_again(clipft):
    run = clipft.world.train()
    table = run.score([0.0, 1.0])
    (run.path / "images.parquet").unlink()
    (run.path / "scores.parquet").write_bytes(b"")
    pd.testing.assert_frame_equal(run.score([0.0, 1.0]), table)
    assert clipft("results", "--runs", clipft.world.runs)[0] == 0


def test_runs_of_several_kinds_are_several_tables(clipft):
    for reference in ("real", "sketch"):
        clipft.world.train(reference=reference).score([0.0, 1.0])
    code, out, _ = clipft("results", "--runs", clipft.world.runs)
    assert (code, out.count("reference real"), out.count("reference sketch")) == (0, 1, 1)


def test_yaml_numbers_as_people_write_them_and_a_board(clipft):
    clipft(
        "train",
        *settings(clipft.world, steps=3),
        "lr=1e-3",
        "--log",
        "tensorboard",
        "--no-score",
        "--runs",
        clipft.world.runs,
        "--device",
        "cpu",
    )
    folder = clipft.world.folder(steps=3, lr=1e-3)
    assert len(list(folder.glob("tensorboard/events.out.tfevents.*"))) == 1


# --- diagnostics


def numbers_after(out, *words):
    """The numbers of the lines that start with these words and hold only numbers behind them."""
    rows = []
    for line in out.splitlines():
        start = line.split()[: len(words)]
        cells = line.split()[len(words) :]
        are_numbers = all(re.fullmatch(r"[-+.e0-9]+|nan", cell) for cell in cells)
        if start == [*words] and are_numbers:
            rows.append([float(cell) for cell in cells])
    return rows


def test_diagnose_prints_the_reports(clipft):
    from clipft.reports import energy_gap as reports

    run = clipft.world.train(steps=6)
    out = lines_of(clipft, "diagnose", run.path)
    gap = reports.gap_table(run).set_index("split").loc["sketch/test"]
    distorted = distortion_table([run]).set_index(["split", "kind"]).loc[("sketch/test", "raw")]
    loss = barrier_table(run).set_index("split").loc["sketch/test"]
    rows = numbers_after(out, "sketch/test")
    assert rows[0] == pytest.approx(gap.tolist(), rel=2e-3)
    assert rows[-1] == pytest.approx(loss.tolist(), rel=2e-3, abs=1e-9)
    words = f"{distorted.reference:.4g} {distorted.shifted:.4g} {distorted.difference:.4g}".split()
    assert [line for line in out.splitlines() if line.split()[:5] == ["sketch/test", "raw", *words]]
    layers = layer_table(run).set_index("layer").loc["visual.conv1"]
    assert numbers_after(out, "visual.conv1") == [pytest.approx(layers.tolist(), rel=2e-3)]
    zero = lines_of(clipft, "diagnose", run.path, "--alpha", 0)
    assert numbers_after(zero, "sketch/test")[0][:4] == [0, 0, 0, 0]


def test_a_data_set_of_one_domain_is_diagnosed(clipft, tmp_path):
    from pathlib import Path

    import yaml

    from clipft.disk.files import read_yaml

    (tmp_path / "mini.classes.yaml").write_text(
        yaml.safe_dump(["apple", "bee", "ice_cream", "zebra"])
    )
    values = read_yaml(Path(clipft.world.manifest))
    (tmp_path / "one.yaml").write_text(yaml.safe_dump(values | {"domains": ["real"]}))
    run = clipft.world.train(steps=2, manifest=str(tmp_path / "one.yaml"))
    assert "real/test" in lines_of(clipft, "diagnose", run.path)


def test_confusions_prints_the_table(clipft):
    run = clipft.world.train(steps=6)
    run.score([0, 1])
    for split in ("", "sketch/test"):
        options = ["--split", split] if split else []
        code, out, _ = clipft("confusions", run.path, *options, "--most", 2)
        title = f"images of {split or 'all test splits'}, 2 of"
        assert code == 0 and title in " ".join(out.split())
        for row in confusion_table(run, split, most=2).to_dict("records"):
            *words, zero_shot, here, change, n = row.values()
            found = numbers_after(out, *" ".join(words).split())
            assert found == [[zero_shot, here, change, n]]
    assert "| class " in clipft("confusions", run.path, "--markdown")[1]


def test_compare_prints_both_models_and_p(clipft):

    first, second = (clipft.world.train(seed=seed, steps=6) for seed in (0, 1))
    code, out, _ = clipft("compare", first.path, second.path, "--alpha", 0.5)
    rows = compare_runs(first, second, 0.5).set_index("split")
    assert code == 0
    for split, row in rows.iterrows():
        assert numbers_after(out, split) == [pytest.approx(row.tolist(), rel=2e-3)]
    for run in (first, second):  # images are scored, no table of the run is begun
        assert (run.path / "images.parquet").exists()
        assert not (run.path / "scores.parquet").exists()


@pytest.mark.parametrize("among", ["alphas", "models"])
def test_pick_prints_the_choices_and_the_verdict(clipft, among):
    from clipft import results
    from clipft.runs import choosing

    for lr in (1e-3, 3e-3):
        clipft.world.train(lr=lr, steps=6).score([0.0, 0.5, 1.0])
    code, out, _ = clipft("pick", "--runs", clipft.world.runs, "--among", among)
    chosen = choosing.choices(results(clipft.world.runs), among)
    assert code == 0 and f"by energy gap instead of accuracy: {choosing.verdict(chosen)}" in out
    if among == "alphas":
        for row in chosen.itertuples(index=False):
            assert numbers_after(out, row.method, row.run) == [pytest.approx([*row[2:]], rel=2e-3)]
    else:
        for column in chosen:
            if column.endswith(": run"):
                assert all(run in out for run in chosen[column])


@pytest.mark.parametrize("among", ["alphas", "models"])
def test_pick_with_unlabelled_images(clipft, among):
    """The sketches without their labels; the choice is that of the library."""
    from clipft import results, shift_estimates
    from clipft.evaluation.beside import score_beside, unlabelled_split
    from clipft.runs import choosing
    from clipft.runs.shift_estimates import agreements

    for lr in (1e-3, 3e-3):
        run = clipft.world.train(lr=lr, steps=6)
        run.score([0.0, 0.5, 1.0])
    sketches = run.manifest.split("sketch/test")
    folder = sketches.root / "sketch" / "apple"
    runs = clipft.world.runs
    code, out, _ = clipft(
        "pick", "--runs", runs, "--among", among, "--unlabelled", folder, "--device", "cpu"
    )
    assert code == 0 and "no estimate can know what a shift does" in out

    split = unlabelled_split(folder, run.manifest)
    beside = score_beside(runs, [split], [0.0, 0.5, 1.0])
    said = shift_estimates(runs, estimators=["agreement"], beside=beside, resamples=0)
    chosen = choosing.choices(results(runs), among, agreements(said, [split.name]))
    assert f"by energy gap instead of accuracy: {choosing.verdict(chosen)}" in out
    assert split.name in out and "mean_confidence" in out
    if among == "alphas":
        for row in chosen.itertuples(index=False):
            numbers = [pytest.approx([*row[2:]], rel=2e-3)]
            assert numbers_after(out, row.method, row.run)[:1] == numbers
    else:
        assert chosen["agreement: run"].isin(out.split()).all()


def test_pick_looks_before_it_scores_what_is_unlabelled(clipft, monkeypatch):
    """Zero-shot is asked beside, too, and what cannot be chosen among costs nothing."""
    from clipft.evaluation import beside

    run = clipft.world.train(steps=2)
    run.score([0.5, 1.0])
    folder = run.manifest.split("sketch/test").root / "sketch" / "apple"
    words = ("pick", "--runs", clipft.world.runs, "--unlabelled", folder, "--device", "cpu")
    code, out, _ = clipft(*words)
    assert code == 0 and "agreement: alpha" in " ".join(out.split())

    asked = []
    monkeypatch.setattr(beside, "score_beside", lambda *_, **__: asked.append(1))
    clipft.world.train(steps=2, reference="sketch").score([1.0])
    code, _, err = clipft(*words)
    assert code == 2 and err.count("\n") == 1 and not asked


def test_cache_is_listed_and_pruned_and_data_sets_stay(clipft):
    import os
    from pathlib import Path

    rendered = Path(os.environ["CLIPFT_CACHE"]) / "emoji-00000000"
    rendered.mkdir(parents=True)
    (rendered / "image.png").write_bytes(b"0" * 3_000_000)
    run = clipft.world.train(steps=2)
    lines_of(clipft, "diagnose", run.path)
    code, out, _ = clipft("cache")
    assert code == 0 and {"embeddings", "texts"} <= set(first_words(out))
    assert "emoji-00000000 3.0" in " ".join(out.split()) and f" in {rendered.parent}" in out
    listed = int(out.splitlines()[-1].split()[0])
    assert listed == 1 + len([*(rendered.parent / "arrays").iterdir()])
    code, out, _ = clipft("cache", "--prune", 1)
    assert (code, out.split()[0]) == (0, "0")
    code, out, _ = clipft("cache", "--prune", 0)
    assert (code, out.splitlines()[-1].split()[0]) == (0, str(listed - 1)) and "removed from" in out
    assert (
        "data set" not in out
        and rendered.exists()
        and not [*(rendered.parent / "arrays").iterdir()]
    )
    code, out, _ = clipft("cache")
    assert code == 0 and out.splitlines()[-1].startswith("1 entries, 3.0 MB in ")
    assert numbers_after(lines_of(clipft, "diagnose", run.path), "sketch/test")  # made again


def test_wise_adds_alphas_where_accuracy_bends(clipft):
    run = clipft.world.train(steps=12, lr=3e-3)
    out = lines_of(clipft, "wise", run.path, "--adaptive", 0.08)
    table = pd.read_parquet(run.path / "scores.parquet")
    alphas = sorted(set(table.alpha))
    assert {0.0, 0.25, 0.5, 0.75, 1.0} <= set(alphas)
    curves = (
        table[table.metric == "accuracy"]
        .pivot(index="alpha", columns="split", values="mean")
        .to_numpy()
    )
    if len(alphas) < 65:  # where it stops
        for i in range(1, len(alphas) - 1):
            left, here, right = alphas[i - 1 : i + 2]
            share = (here - left) / (right - left)
            bend = curves[i] - (1 - share) * curves[i - 1] - share * curves[i + 1]
            if abs(bend).max() > 0.08:
                assert max(here - left, right - here) <= 1 / 128
    assert {float(line.split()[0]) for line in out.splitlines() if "sketch/test" in line} == set(
        alphas
    )
    straight = clipft.world.train(steps=12, lr=3e-3, seed=1)
    lines_of(clipft, "wise", straight.path, "--adaptive", 1)
    assert sorted(set(pd.read_parquet(straight.path / "scores.parquet").alpha)) == [
        0.0,
        0.25,
        0.5,
        0.75,
        1.0,
    ]


def test_an_ensemble_is_not_diagnosed(clipft):
    from clipft.training.combine import combine

    made = combine("output_ensemble", [clipft.world.train(steps=2, seed=s) for s in (0, 1)])
    for command in (["diagnose", made.path], ["wise", made.path, "--adaptive", 0.1]):
        code, _, err = clipft(*command, "--device", "cpu")
        assert (code, err.count("\n"), "ensemble" in err) == (2, 1, True), err


def test_a_missing_list_of_a_shift_is_said_before_training(clipft, tree, tmp_path, monkeypatch):
    """It would be asked at the end, by the scoring; a run that is not scored needs it not."""
    world = clipft.world
    data = shutil.copytree(tree, tmp_path / "data")
    (data / "mini/sketch_test.txt").unlink()
    monkeypatch.setenv("CLIPFT_DATA", str(data))
    asked = ["train", *settings(world), "--runs", world.runs, "--device", "cpu"]
    code, _, err = clipft(*asked)
    assert (code, err.count("\n")) == (2, 1) and "sketch_test.txt" in err
    assert not world.runs.exists()
    assert clipft(*asked, "--no-score")[0] == 0


def test_a_missing_image_is_said_before_training(clipft, tree, tmp_path, monkeypatch):
    """One of a shift, which only the scoring at the end would open; and the scoring alone."""
    world = clipft.world
    data = shutil.copytree(tree, tmp_path / "data")
    monkeypatch.setenv("CLIPFT_DATA", str(data))
    asked = ["train", *settings(world), "--runs", world.runs, "--device", "cpu"]
    assert clipft(*asked, "--no-score")[0] == 0
    (run,) = world.runs.iterdir()
    lost = next((data / "mini/sketch/bee").glob("*test*.png"))
    lost.unlink()

    monkeypatch.setattr("clipft.evaluation.bench.load_clip", None)  # not reached
    for command in ([*asked, "seed=5"], ["wise", run, "--device", "cpu"]):
        code, _, err = clipft(*command)
        assert (code, err.count("\n")) == (2, 1), err
        assert f"image missing: {lost}" in err
        assert "1 of sketch/test" in err
    assert list(world.runs.iterdir()) == [run]
    monkeypatch.undo()


def test_verify_says_in_a_line_whether_a_run_is_as_recorded(clipft):
    runs = [clipft.world.train(steps=2, seed=seed) for seed in (0, 1)]
    for run in runs:
        run.score((0.0, 1.0))
    first, second = runs
    command = ("verify", first.path, second.path, "--device", "cpu")
    code, out, _ = clipft(*command)
    assert code == 0 and out.count(" verified: ") == 2 and out.count("equal to the bit") == 2
    assert "at alpha 1 equal" in clipft(*command, "--alpha", "1")[1]

    with second.folder.weights_file.open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\0")
    code, out, _ = clipft(*command)
    assert code == 1 and [line.split()[:2] for line in out.splitlines() if line] == [
        [first.id, "verified:"],
        [second.id, "NOT"],
    ]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--alpha", "2"], "alpha is 2.0, expected 0 (zero-shot) ... 1 (tuned)"),
        (["--tolerance", "-1"], "--tolerance"),
        ([], "holds no scores of single images to compare with; score it: clipft wise"),
    ],
)
def test_what_cannot_be_verified_is_one_line(clipft, more, words):
    run = clipft.world.train(steps=2)
    code, out, err = clipft("verify", run.path, *more)
    assert code == 2 and not out and words in err and err.count("\n") == 1


def test_results_say_what_they_mix(clipft):
    for seed in (0, 1):
        clipft.world.train(steps=2, seed=seed).score((0.0, 1.0))
    code, out, _ = clipft("results", "--runs", clipft.world.runs)
    assert code == 0 and "this table mixes" not in out
    next(clipft.world.runs.glob("*/made.json")).unlink()
    _, out, _ = clipft("results", "--runs", clipft.world.runs)
    assert out.count("this table mixes versions (") == 1 and "not recorded in 1 run" in out


def test_precision_of_scores_on_the_command_line(clipft):
    run = clipft.world.train(steps=2, precision="bf16-mixed")
    assert clipft("evaluate", run.path, "--device", "cpu")[0] == 0
    for command in ("evaluate", "wise", "diagnose", "verify"):
        code, out, err = clipft(command, run.path, "--device", "cpu", "--precision", "32-true")
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "precision 32-true is asked for" in err and "was scored in bf16-mixed" in err
    assert clipft("verify", run.path, "--device", "cpu", "--precision", "bf16-mixed")[0] == 0


@pytest.mark.parametrize("command", ["evaluate", "wise", "diagnose", "verify", "predict", "adopt"])
def test_a_precision_that_there_is_not_is_one_line(clipft, command):
    given = ["x", "y"] if command == "predict" else ["x"]
    code, _, err = clipft(command, *given, "--precision", "bf61-mixed")
    assert (code, err.count("\n")) == (2, 1) and "bf16-mixed" in err
