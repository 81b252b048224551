"""Recipes: the shipped ones say what their papers say; a sweep's choice follows its rule."""

import json
import math
import re
import shutil

import pandas as pd
import pytest
import yaml

from clipft.config import RunConfig
from clipft.data.manifests import available, load_manifest, manifests_folder
from clipft.disk.files import append_json, write_json
from clipft.errors import ClipftError, ConfigError, RunError
from clipft.methods import METHODS, POSTHOC
from clipft.options import check_options
from clipft.runs import recipes as module
from clipft.runs.recipes import (
    Collection,
    Preset,
    candidates,
    load_preset,
    presets,
    recipe,
    write_presets,
)

SHIPPED = presets()
TRAINED = {name: preset for name, preset in SHIPPED.items() if not preset.after}


# --- what is shipped


@pytest.mark.parametrize("name", TRAINED)
def test_a_shipped_recipe_is_a_configuration(name):
    config = recipe({"preset": name})
    preset = TRAINED[name]
    check_options(config.method, config.options, METHODS[config.method].options)
    assert preset.title and preset.source
    assert config.lam is None or METHODS[config.method].lam is not None
    assert set(preset.tuned) <= preset.values.keys()
    assert not set(preset.tuned) & set(preset.unknown)
    assert set(preset.unknown) <= RunConfig.model_fields.keys()
    if config.manifest in available():
        load_manifest(config.manifest).check_domain(
            config.reference or load_manifest(config.manifest).reference
        )
    else:
        with pytest.raises(ConfigError, match=f"unknown data set '{config.manifest}'"):
            load_manifest(config.manifest)


def test_recipes_after_training_are_post_hoc_methods_with_their_options():
    after = {name: preset for name, preset in SHIPPED.items() if preset.after}
    assert after
    for name, preset in after.items():
        POSTHOC[preset.after].check(1, preset.settings)
        assert name.split("/")[1] == preset.after and set(preset.tuned) <= preset.settings.keys()


def test_every_method_has_a_tuned_recipe_on_emojishift():
    for name in METHODS:
        config = recipe({"preset": f"emoji/{name}"})
        assert (config.method, config.manifest, config.model) == (name, "emoji_shift", "emoji-tiny")


LIPSUM = {
    "method": "lipsum",
    "lam": 1.0,
    "text_count": 80,
    "text_length": 8,
    "lr": 1e-5,
    "betas": (0.9, 0.999),
    "weight_decay": 0.0,
    "warmup": 0.1,
    "batch_size": 256,
    "clip_norm": None,
    "crop": (0.08, 1.0),
    "flip": True,
    "precision": "bf16-mixed",
    "eval_every": 1000,
    "head": "fixed",
    "pretrained": "openai",
}
RECIPE = {key: LIPSUM[key] for key in LIPSUM.keys() - {"method", "lam"}}
BASELINE = RECIPE | {"model": "ViT-B-16", "steps": 5000, "manifest": "domainnet"}
IMAGENET = {"steps": 50000, "manifest": "imagenet"}
WISE = {
    "method": "ft",
    "head": "absorbed",
    "lr": 3e-5,
    "weight_decay": 0.1,
    "batch_size": 512,
    "clip_norm": 1.0,
    "crop": (0.9, 1.0),
    "flip": False,
    "selection": "last",
    "pretrained": "openai",
    "manifest": "imagenet",
}
FLYP = {
    "method": "flyp",
    "lr": 1e-5,
    "model": "ViT-B-16",
    "pretrained": "openai",
    "crop": (0.9, 1.0),
    "flip": False,
    "clip_norm": None,
}
TRANSFER = FLYP | {"weight_decay": 0.0, "batch_size": 256}
FEW_SHOT = FLYP | {
    "warmup": 0.0,
    "shots": 16,
    "batch_size": 32,
    "steps": 20,
    "eval_every": 1,
    "selection": "loss",
}
PAPERS = {
    "lipsum_ft/domainnet_b32": LIPSUM
    | {"model": "ViT-B-32", "steps": 5000, "manifest": "domainnet"},
    "lipsum_ft/domainnet_b16": LIPSUM
    | {"model": "ViT-B-16", "steps": 5000, "manifest": "domainnet"},
    "lipsum_ft/domainnet_l14": LIPSUM | {"model": "ViT-L-14", "steps": 5000, "batch_size": 128},
    "lipsum_ft/imagenet_b32": LIPSUM
    | {"model": "ViT-B-32", "steps": 50000, "manifest": "imagenet"},
    "lipsum_ft/imagenet_b16": LIPSUM | {"model": "ViT-B-16", "steps": 50000},
    "lipsum_ft/imagenet_l14": LIPSUM | {"model": "ViT-L-14", "steps": 50000, "batch_size": 128},
    "wise_ft/imagenet_b32": WISE | {"model": "ViT-B-32"},
    "wise_ft/imagenet_b16": WISE | {"model": "ViT-B-16"},
    "wise_ft/imagenet_l14": WISE | {"model": "ViT-L-14"},
    "flyp/imagenet": FLYP | {"weight_decay": 0.1, "batch_size": 512, "steps": 25030},
    "flyp/iwildcam": FLYP | {"weight_decay": 0.2, "batch_size": 256, "steps": 10160},
    "flyp/fmow": FLYP | {"weight_decay": 0.2, "batch_size": 256, "steps": 6020},
    "flyp/caltech101": TRANSFER,
    "flyp/cars": TRANSFER,
    "flyp/flowers102": TRANSFER,
    "flyp/patchcamelyon": TRANSFER | {"lr": 1e-6, "warmup": 0.0},
    "flyp/rendered_sst2": TRANSFER | {"weight_decay": 0.2, "warmup": 0.0},
    "flyp/few_shot": FEW_SHOT | {"weight_decay": 0.2, "manifest": "rendered_sst2"},
    "flyp/few_shot_patchcamelyon": FEW_SHOT
    | {"lr": 1e-6, "weight_decay": 0.0, "manifest": "patchcamelyon"},
    "lipsum_baselines/domainnet_ema": BASELINE | {"method": "ema", "ema": 0.999},
    "lipsum_baselines/domainnet_l2sp": BASELINE | {"method": "l2sp"},
    "lipsum_baselines/domainnet_kd": BASELINE | {"method": "kd"},
    "lipsum_baselines/domainnet_car": BASELINE | {"method": "car"},
    "lipsum_baselines/imagenet_ema": BASELINE | IMAGENET | {"method": "ema", "ema": 0.999},
    "lipsum_baselines/imagenet_l2sp": BASELINE | IMAGENET | {"method": "l2sp"},
    "lipsum_baselines/imagenet_kd": BASELINE | IMAGENET | {"method": "kd"},
    "lipsum_baselines/imagenet_car": BASELINE | IMAGENET | {"method": "car"},
    "soups/domainnet_b16": {
        "method": "ft",
        "steps": 5000,
        "model": "ViT-B-16",
        "manifest": "domainnet",
    },
    "soups/imagenet_b16": {"method": "ft", "steps": 50000, "model": "ViT-B-16"},
}


@pytest.mark.parametrize("name", PAPERS)
def test_a_paper_is_taken_at_its_word(name):
    config = recipe({"preset": name})
    assert {key: getattr(config, key) for key in PAPERS[name]} == PAPERS[name]


def test_what_the_paper_lost_of_its_baselines_is_unknown_and_swept():
    """Each key that is unknown has several values in the sweep, clipft's default among them."""
    root = manifests_folder().parent
    spec = yaml.safe_load((root / "papermill_runs/tune_domainnet.yaml").read_text())
    tried = {}
    for entry in spec["stages"][0]["grid"]:
        tried[entry["preset"][0]] = entry["settings"]
    baselines = {name: p for name, p in SHIPPED.items() if name.startswith("lipsum_baselines/")}
    for name, preset in baselines.items():
        (key,) = preset.unknown
        assert key == ("ema" if name.endswith("ema") else "lam")
        values = [row[key] for row in tried[name.replace("imagenet", "domainnet")]]
        assert len(set(values)) == len(values) >= 4 and preset.settings[key] in values
    assert len(tried) == 4 and len(baselines) == 8


def test_a_recipe_says_whether_its_data_set_has_a_manifest():
    assert Preset(title="x", settings={"manifest": "nowhere"}).lacks_manifest
    assert not SHIPPED["lipsum_ft/domainnet_b16"].lacks_manifest
    assert not SHIPPED["wise_ft/imagenet_b16"].lacks_manifest
    assert not SHIPPED["emoji/ft"].lacks_manifest
    assert (SHIPPED["emoji/tpgm_c"].manifest, SHIPPED["emoji/tpgm_c"].lacks_manifest) == ("", False)


def test_every_paper_is_looked_at():
    assert {
        name for name in SHIPPED if name.split("/")[0] not in ("emoji", "emoji_tiny")
    } == PAPERS.keys()


@pytest.mark.parametrize(
    ("name", "epochs", "images", "batch"),
    [
        ("wise_ft/imagenet_b16", 10, 1_281_167, 512),
        ("flyp/imagenet", 10, 1_281_167, 512),
        ("flyp/iwildcam", 20, 129_809, 256),
        ("flyp/fmow", 20, 76_863, 256),
        ("flyp/caltech101", 100, 5_206, 256),
        ("flyp/cars", 100, 6_515, 256),
        ("flyp/flowers102", 100, 1_020, 256),
        ("flyp/few_shot", 20, 32, 32),
        ("flyp/few_shot_patchcamelyon", 20, 32, 32),
    ],
)
def test_steps_are_epochs_of_batches(name, epochs, images, batch):
    config = recipe({"preset": name})
    assert config.batch_size == batch
    # The last batch of an epoch is short: epochs are rounded up, as the releases do.
    assert config.steps == epochs * math.ceil(images / batch)
    assert config.eval_every == math.ceil(images / batch)
    warm_up = 0 if config.shots else min(500, config.steps)
    assert round(config.warmup * config.steps) == warm_up


# --- by name


def test_another_method_leaves_the_presets_own_settings_behind():
    preset = "lipsum_ft/domainnet_b16"
    assert recipe({"preset": preset}).lam == 1.0
    other = recipe({"preset": preset}, method="ft")
    assert (other.lam, other.lr, other.model) == (None, 1e-5, "ViT-B-16")
    assert recipe({"preset": "emoji/ema", "method": "ft"}).ema is None
    assert recipe({"preset": "emoji/ema", "ema": None}).ema is None


def test_a_sweep_without_learning_rates_or_with_a_broken_run_is_one_line(tmp_path, world):
    run = world.train(lr=1e-3)
    with pytest.raises(RunError, match="no run of flyp that chooses a learning rate"):
        write_presets(run.folder.path.parent, tmp_path / "made.yaml")
    assert not (tmp_path / "made.yaml").exists()
    write_json(run.folder.path / "config.json", [])
    with pytest.raises(RunError, match="no run's configuration"):
        candidates(run.folder.path.parent)


@pytest.mark.parametrize("name", ["emoji/lipsun", "lipsum", 3, ["a"]])
def test_an_unknown_recipe_names_the_nearest(name):
    with pytest.raises(ConfigError, match=re.escape(f"unknown preset {str(name)!r}")) as caught:
        recipe({"preset": name})
    assert "\n" not in str(caught.value)
    if name == "emoji/lipsun":
        assert "did you mean 'emoji/lipsum'" in str(caught.value)


def test_later_settings_win():
    base = load_preset("lipsum_ft/domainnet_b16").settings
    given = {"preset": "lipsum_ft/domainnet_b16", "lr": 1.0, "steps": 7}
    assert recipe(given, steps=8) == RunConfig(**base | {"lr": 1.0, "steps": 8})
    assert given == {"preset": "lipsum_ft/domainnet_b16", "lr": 1.0, "steps": 7}  # left as it was
    assert recipe({"preset": "emoji/kd"}).id == recipe(load_preset("emoji/kd").settings).id
    assert recipe({}, seed=3) == RunConfig(seed=3)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"preset": "emoji/tpgm_c"},
            "is a post-hoc recipe; use it so: clipft combine emoji/tpgm_c RUN",
        ),
        ({"preset": "emoji/ft", "stepz": 3}, "emoji/ft: unknown key 'stepz'; did you mean 'steps'"),
        ({"preset": "emoji/ft", "steps": 0}, "emoji/ft: steps"),
        ({"lr": -1}, "settings: lr"),
    ],
)
def test_a_bad_recipe_is_one_line(settings, words):
    with pytest.raises(ConfigError, match=words) as caught:
        recipe(settings)
    assert "\n" not in str(caught.value)


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """Recipes in a folder of the test's own."""
    shutil.copytree(manifests_folder() / "presets", tmp_path / "manifests/presets")
    monkeypatch.setattr(module, "manifests_folder", lambda: tmp_path / "manifests")
    return tmp_path / "manifests/presets"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[]", "expected a mapping"),
        ("", "expected a mapping"),
        ("{", "is not valid YAML"),
        ("presets: {}", "source: Field required"),
        (
            "source: x\npresets: {a: {title: t, settings: {}, tunde: [lr]}}",
            "unknown key 'tunde'; did you mean 'tuned'",
        ),
        ("source: x\npresets: {a: {title: t}}", "settings: Field required"),
        ("source: x\npresets: [a]", "presets"),
    ],
)
def test_a_malformed_file_is_one_line(shipped, content, words):
    (shipped / "mine.yaml").write_text(content)
    with pytest.raises(ConfigError, match=r"mine\.yaml") as caught:
        presets()
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_of_ones_own(shipped):
    own = {
        "source": "me",
        "common": {"method": "kd", "lam": 2.0},
        "presets": {
            "a": {"title": "A", "settings": {"lam": 3.0}},
            "b": {"title": "B", "settings": {}, "source": "you"},
            "c": {"title": "C", "after": "wise", "settings": {"alpha": 0.3}},
        },
    }
    (shipped / "mine.yaml").write_text(yaml.safe_dump(own))
    found = presets()
    assert found.keys() - SHIPPED.keys() == {"mine/a", "mine/b", "mine/c"}
    assert (recipe({"preset": "mine/a"}), found["mine/a"].source) == (
        RunConfig(method="kd", lam=3.0),
        "me",
    )
    assert (recipe({"preset": "mine/b"}).lam, found["mine/b"].source) == (2.0, "you")
    assert found["mine/c"].settings == {"alpha": 0.3}  # the common settings are of trained recipes


# --- what a sweep chooses; the miniature world holds out 8 images


@pytest.fixture
def sweep(world):
    """`sweep(accuracy, after=(name, options), **settings)` leaves a run's folder, never trained."""

    def add(accuracy, after=None, val=(0.25,), **settings):
        config = RunConfig.read(world.settings() | settings).model_dump(mode="json")
        if after:
            config["after"] = {"name": after[0], "options": after[1], "of": [], "members": ["x"]}
        folder = world.runs / f"run{len(list(world.runs.glob('*')))}"
        write_json(folder / "config.json", config | {"model_digest": "m", "manifest_digest": "d"})
        for step, value in enumerate(
            [*val, accuracy, 0.0]
        ):  # the kept weights are the best ones, not the last
            append_json(folder / "metrics.jsonl", {"step": step, "val_accuracy": value})
            append_json(folder / "metrics.jsonl", {"step": step, "loss": 99.0})

    add.runs = world.runs
    return add


def chosen(runs):
    rows = candidates(runs)
    return {(row.method, row.key): row.value for row in rows[rows.chosen].itertuples()}


def by_the_rule(accuracies, larger, count=8):
    """One standard error, transcribed: {value: accuracy} -> value."""
    best = max(accuracies.values())
    bound = best - math.sqrt(best * (1 - best) / count)
    near = [value for value, accuracy in accuracies.items() if accuracy >= bound]
    return max(near) if larger else min(near)


@pytest.mark.parametrize(
    "accuracies",
    [
        {0.1: 0.9, 1.0: 0.85, 10.0: 0.5},  # the second best is near enough
        {0.1: 0.5, 1.0: 0.9, 10.0: 0.5},
        {0.1: 0.5, 1.0: 0.4, 10.0: 0.9},
        {0.1: 0.9, 1.0: 0.9, 10.0: 0.9},
        {0.1: 0.5, 1.0: 0.45, 10.0: 0.33},  # one error is 0.177: just within
        {0.1: 0.5, 1.0: 0.45, 10.0: 0.32},  # just beyond
        {0.1: 1.0, 1.0: 1.0, 10.0: 0.999},  # no error at all
    ],
    ids=str,
)
def test_the_one_standard_error_rule(sweep, accuracies):
    for value, accuracy in accuracies.items():
        sweep(accuracy, method="kd", lam=value)
        sweep(accuracy, method="ema", ema=value / 10)
        sweep(accuracy, method="ft", lr=value)
        sweep(accuracy, method="spd", options={"decay": value})
        sweep(accuracy, after=("tpgm_c", {"mu": value}), method="ft", lr=1.0)
    nearest = by_the_rule(accuracies, True)
    farthest = by_the_rule(accuracies, False)
    assert chosen(sweep.runs) == {
        ("kd", "lam"): nearest,
        ("ema", "ema"): nearest / 10,
        ("spd", "options.decay"): nearest,
        ("ft+tpgm_c", "mu"): nearest,
        ("ft", "lr"): farthest,
    }


def test_candidates_are_means_over_seeds(sweep):
    for seed, accuracy in enumerate((0.4, 0.6, 0.8)):
        sweep(accuracy, method="ft", lr=0.1, seed=seed)
    sweep(0.7, method="ft", lr=0.2)
    sweep(0.3, method="kd", lam=1.0)
    rows = candidates(sweep.runs)
    assert list(rows.columns) == ["method", "key", "value", "seeds", "accuracy", "error", "chosen"]
    want = [("ft", "lr", 0.1, 3, 0.6), ("ft", "lr", 0.2, 1, 0.7), ("kd", "lam", 1.0, 1, 0.3)]
    for row, expected in zip(rows.itertuples(index=False), want, strict=True):
        assert tuple(row)[:4] == expected[:4]
        assert row.accuracy == pytest.approx(expected[4])
        assert row.error == pytest.approx(math.sqrt(row.accuracy * (1 - row.accuracy) / 8))
    assert rows.chosen.tolist() == [True, False, True]


def test_the_weights_that_were_kept_count(sweep):
    sweep(0.5, method="ft", lr=0.1, val=(0.25, 0.9))
    assert candidates(sweep.runs).accuracy.tolist() == [0.9]


def test_methods_stand_in_the_order_of_the_registry(sweep):
    for name in reversed([name for name, entry in METHODS.items() if entry.lam is not None]):
        sweep(0.5, method=name, lam=1.0)
    order = [name for name in METHODS if METHODS[name].lam is not None]
    assert candidates(sweep.runs).method.tolist() == order


def test_runs_chosen_on_the_reported_split_have_no_say(sweep):
    sweep(0.3, method="ft", lr=0.1)
    for selection in ("paper", "last"):
        sweep(0.99, method="ft", lr=0.2, selection=selection)
    assert chosen(sweep.runs) == {("ft", "lr"): 0.1}


def test_runs_that_were_not_evaluated_are_left_out(sweep):
    sweep(0.3, method="ft", lr=0.1)
    config = json.loads((sweep.runs / "run0/config.json").read_text())
    write_json(sweep.runs / "begun/config.json", config | {"lr": 0.2})
    assert candidates(sweep.runs).value.tolist() == [0.1]


def test_the_reference_says_how_many_images_there_are(sweep):
    sweep(0.5, method="ft", lr=0.1, reference="sketch")
    assert candidates(sweep.runs).error.tolist() == pytest.approx([math.sqrt(0.25 / 8)])


@pytest.mark.parametrize("fill", [None, "paper"])
def test_nothing_to_choose_from_is_one_line(sweep, fill):
    if fill:
        sweep(0.5, selection=fill)
    with pytest.raises(RunError, match="no run chosen on held-out images under") as caught:
        candidates(sweep.runs)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("other", [{"manifest": "emoji_shift"}, {"reference": "sketch"}])
def test_two_data_sets_are_refused(sweep, other):
    sweep(0.5, method="ft")
    sweep(0.5, method="ft", **other)
    with pytest.raises(ConfigError, match="several data sets or references") as caught:
        candidates(sweep.runs)
    assert "\n" not in str(caught.value)


# --- what is written


@pytest.fixture
def swept(sweep):
    """A sweep of every kind: the choice is lr 0.1 for FT, 0.4 for FLYP, lam 3, ema 0.9, decay 2,
    mu 0.2.
    """
    for lr, ft, flyp in ((0.1, 0.9, 0.1), (0.4, 0.1, 0.9)):
        sweep(ft, method="ft", lr=lr)
        sweep(flyp, method="flyp", lr=lr)
    for lam in (1.0, 3.0):
        sweep(lam / 4, method="kd", lr=0.1, lam=lam)
    sweep(0.5, method="ema", lr=0.1, ema=0.9)
    for decay in (0.5, 2.0):
        sweep(decay / 4, method="spd", lr=0.1, options={"decay": decay})
    sweep(0.5, after=("tpgm_c", {"mu": 0.2}), method="ft", lr=0.1)
    return sweep.runs


def test_the_written_file_is_read_back(swept, tmp_path):
    write_presets(swept, tmp_path / "mini.yaml")
    found = Collection.read(yaml.safe_load((tmp_path / "mini.yaml").read_text()))
    assert found.presets.keys() == METHODS.keys() | {"tpgm_c"}
    for name, entry in METHODS.items():
        lr = 0.4 if entry.two_towers else 0.1
        own = {"kd": {"lam": 3.0}, "ema": {"ema": 0.9}, "spd": {"options": {"decay": 2.0}}}
        chosen_here = own.get(name, {})
        preset = found.presets[name]
        assert preset.settings == {"method": name, "lr": lr} | chosen_here
        keys = ["options.decay"] if name == "spd" else [*chosen_here]
        assert preset.tuned == (*([] if name == "lp" else ["lr"]), *keys)
        assert preset.unknown == (("lam",) if entry.lam is not None and name != "kd" else ())
    after = found.presets["tpgm_c"]
    assert (after.after, after.settings, after.tuned) == ("tpgm_c", {"mu": 0.2}, ("mu",))


def test_the_written_settings_are_those_of_the_sweep(swept, tmp_path, shipped, world):
    write_presets(swept, shipped / "mini.yaml")
    config = recipe({"preset": "mini/kd"})
    assert config == RunConfig.read(world.settings(method="kd", lr=0.1, lam=3.0))
    assert presets()["mini/kd"].source.startswith("papermill_runs/tune_emoji.yaml")


def test_the_shipped_file_is_what_its_sweep_writes():
    """Its head says so: the same keys, marks and common settings, whatever the values."""
    found = Collection.read(yaml.safe_load((manifests_folder() / "presets/emoji.yaml").read_text()))
    assert found.presets.keys() == METHODS.keys() | {"tpgm_c"}
    assert {"manifest", "model", "steps", "batch_size", "crop", "eval_every"} <= found.common.keys()
    assert not {"method", "lr", "lam", "ema", "seed"} & found.common.keys()
    for name, entry in METHODS.items():
        preset = found.presets[name]
        assert set(preset.tuned) == (set() if name == "lp" else preset.values.keys() - {"method"})
        assert {"lam"} & {*preset.tuned, *preset.unknown} == (
            {"lam"} if entry.lam is not None else set()
        )


def test_a_sweep_that_cannot_be_read_leaves_the_file(swept, tmp_path):
    file = tmp_path / "mini.yaml"
    file.write_text("old")
    for config in swept.glob("*/config.json"):
        config.unlink()
    with pytest.raises(ClipftError):
        write_presets(swept, file)
    assert file.read_text() == "old"


def test_a_table_for_the_eye(swept):
    rows = candidates(swept)
    assert (
        isinstance(rows, pd.DataFrame) and rows.groupby(["method", "key"]).chosen.sum().eq(1).all()
    )
