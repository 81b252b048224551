"""The papers' batches: planned whole, looked at before they run, and run in small to the end."""

import json
import re
from concurrent.futures import Future
from pathlib import Path

import pytest
import yaml
from test_batch import folder as folder, notebook, spec_file
from test_cli import run_cli
from test_notebooks import execute, kernel as kernel, some_runs as some_runs

from clipft.batch import engine, forecast as looking
from clipft.batch.forecast import forecast, images_of
from clipft.batch.runner import run_batch
from clipft.batch.spec import Spec, in_small, plan, read_spec
from clipft.config import RunConfig
from clipft.data.manifests import load_manifest, manifests_folder
from clipft.errors import ConfigError, RunError
from clipft.runs.estimate import Costs, costs, macs_of_step, size_of_weights, towers_of
from clipft.runs.recipes import load_preset
from clipft.runs.table import results

ROOT = Path(__file__).parents[2]
SPECS = ROOT / "papermill_runs"
TRAIN = str(ROOT / "notebooks/01_fine_tune.ipynb")
COMBINE = str(ROOT / "notebooks/07_soups.ipynb")
PAPERS = (
    *("lipsum_ft_domainnet", "lipsum_ft_imagenet", "wise_ft_imagenet", "flyp_imagenet"),
    *("flyp_wilds", "flyp_few_shot", "cub_gzsl"),
)
MODELS = {"ViT-B-32", "ViT-B-16", "ViT-L-14"}


# --- the seven batches


@pytest.mark.parametrize("name", PAPERS)
def test_a_papers_batch_is_whole(name, tmp_path):
    """Five seeds or more, three models, every run at a preset's settings; items come last."""
    spec = read_spec(SPECS / f"{name}.yaml")
    stages = plan(spec, SPECS, tmp_path, absent={})
    configs = [config for jobs in stages for job in jobs for config in job.work.trainings]
    assert {config.seed for config in configs} >= {0, 1, 2, 3, 4}
    assert {config.model for config in configs} >= MODELS
    assert {config.pretrained for config in configs} == {"openai"}
    assert all(job.parameters.get("preset") for job in stages[0])
    assert {job.notebook.stem for job in stages[-1]} == {"08_tables"}
    # What a combination is made of is trained by the first stage.
    trained = {config.id for job in stages[0] for config in job.work.trainings}
    assert {config.id for config in configs} == trained
    assert trained == {config.id for config in configs if config.manifest != "emoji_shift"}


@pytest.mark.parametrize("name", PAPERS)
def test_a_papers_batch_in_small_is_on_emojis_and_short(name, tmp_path):
    whole = read_spec(SPECS / f"{name}.yaml")
    small = in_small(whole, SPECS)
    stages = plan(small, SPECS, tmp_path)
    assert small.name == f"{name}_small"
    assert [job.notebook.stem for jobs in stages for job in jobs[:1]] == [
        Path(stage.notebook).stem for stage in whole.stages
    ]
    configs = [config for jobs in stages for job in jobs for config in job.work.trainings]
    assert {(config.manifest, config.model) for config in configs} == {
        ("emoji_start", "emoji-tiny")
    }
    assert max(config.steps for config in configs) <= 10
    assert sum(len(jobs) for jobs in stages) <= 40
    manifest = load_manifest("emoji_start")
    for config in configs:
        assert config.reference in ("", *manifest.domains)
    # `where` of the items names settings of runs that are made.
    for job in stages[-1]:
        where = job.parameters["where"]
        own = [
            config.model_dump() | {"reference": config.reference or "twemoji"} for config in configs
        ]
        assert any(all(row[key] == value for key, value in where.items()) for row in own), where


class AtOnce:
    """A pool of no thread: a kernel's client stays with the loop that it was opened in."""

    def __init__(self, count):
        """Of whatever size."""

    def submit(self, run, job):
        outcome = Future()
        outcome.set_result(run(job))
        return outcome

    def shutdown(self, **_):
        """Nothing runs beside the caller."""


def few_emojis(folder):
    """EmojiShift with a tenth of its concepts, as a file."""
    values = yaml.safe_load((manifests_folder() / "emoji_start.yaml").read_text())
    concepts = yaml.safe_load((manifests_folder() / values["classes"]).read_text())[::10]
    values["emoji"] |= {"artwork": "", "lists": ""}
    file = folder / "few.yaml"
    file.write_text(yaml.safe_dump(values | {"name": "few", "classes": concepts}))
    return str(file)


def test_a_batch_in_small_runs_to_its_page(tmp_path, kernel, monkeypatch):
    """Train, combine, score, items: in one kernel, whose imports take longer than what it does."""
    monkeypatch.setenv("CLIPFT_CACHE", str(tmp_path / "cache"))

    def in_one_kernel(_attempts, job, _share):
        job.folder.mkdir(parents=True)
        execute(job.notebook, job.parameters, job.folder, kernel, monkeypatch)
        status = {"state": "ok", "seconds": 0.0}
        (job.folder / "status.json").write_text(json.dumps(status))
        return status

    monkeypatch.setattr(engine.Attempts, "run", in_one_kernel)
    monkeypatch.setattr(engine, "ThreadPoolExecutor", AtOnce)
    spec = yaml.safe_load((SPECS / "cub_gzsl.yaml").read_text())
    for stage in spec["stages"]:
        stage["notebook"] = str((SPECS / stage["notebook"]).resolve())
    spec["images"] = []
    del spec["stages"][-1]["grid"][1:]  # of the items one part
    spec["small"]["settings"]["manifest"] = few_emojis(tmp_path)
    path = tmp_path / "cub_gzsl.yaml"
    path.write_text(yaml.safe_dump(spec))
    out = run_batch(path, jobs=1, small=True)
    assert out == tmp_path / "out/cub_gzsl_small"

    table = results(out / "runs")
    assert set(table.method) == {"ft", "lipsum", "lipsum+tpgm"}
    assert set(table.alpha) == {0.0, 0.5, 1.0}
    figures = {file.stem for file in out.glob("figures/*.json")}
    assert figures == {"lipsum_ft_table_11_vit_b_16", "lipsum_ft_figure_04_vit_b_16"}
    page = (out / "index.html").read_text()
    assert "Generalised zero-shot on CUB, in small" in page
    assert "clipft batch" in page and "--small" in page

    ahead = forecast(path, small=True)
    assert [(stage.jobs, stage.to_do) for stage in ahead.stages] == [(2, 0), (1, 0), (1, 0)]
    assert ahead.size == 0 and not ahead.missing


# --- what it says beforehand


def test_a_forecast_counts_jobs_hours_and_bytes(tmp_path, monkeypatch):
    """Of a model of which nobody measured a step, on data that is not here: all by hand."""
    monkeypatch.delenv("CLIPFT_DATA", raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    settings = {"manifest": "domainnet", "model": "ViT-B-16", "pretrained": "openai", "steps": 100}
    settings |= {"batch_size": 10, "precision": "bf16-mixed", "eval_every": 1000}
    train = {
        "notebook": TRAIN,
        "parameters": {"runs": "{out}/runs", "preset": "soups/domainnet_b16"},
    }
    train["grid"] = [{"seed": [0, 1], "settings": [settings], "alphas": [[]]}]
    combine = {"notebook": COMBINE, "parameters": {"runs": "{out}/runs", "name": "tpgm"}}
    member = {"preset": "soups/domainnet_b16"} | settings
    combine["grid"] = [{"members": [[member]], "seed": [0, 1], "alphas": [[0.0, 1.0]]}]
    path = spec_file(tmp_path, stages=[train, combine])

    ahead = forecast(path)
    first, second = ahead.stages
    assert (first.jobs, first.to_do, first.trainings) == (2, 2, 2)
    assert (second.jobs, second.trainings) == (2, 0)  # its members are trained before
    forward = 17.564043264e9
    step = 10 * 3 * forward * 2 / (312e12 * 0.35)
    assert first.seconds == pytest.approx(2 * 100 * step)
    projection = 200 * 64 * 3 * forward * 2 / (19.5e12 * 0.6)
    # scored as it trained
    scoring = (12091 + 124993) * 2 * forward * 2 / (312e12 * 0.35)
    assert second.seconds == pytest.approx(2 * (projection + scoring))
    weights = 4 * (86192640 + 345 * 513)
    assert first.size == 2 * weights
    assert second.size > 2 * weights
    train["parameters"]["keep_weights"] = False
    assert forecast(spec_file(tmp_path, stages=[train])).size == 0
    kinds = {row.name: (row.kind, row.line) for row in ahead.missing}
    assert kinds["domainnet"][0] == "data" and "$CLIPFT_DATA/domainnet" in kinds["domainnet"][1]
    assert "timm/vit_base_patch16_clip_224.openai" in kinds["ViT-B-16 openai"][1]
    assert not (tmp_path / "out").exists()

    (tmp_path / "data/domainnet").mkdir(parents=True)
    monkeypatch.setenv("CLIPFT_DATA", str(tmp_path / "data"))
    hub = tmp_path / "hub/models--timm--vit_base_patch16_clip_224.openai"
    (hub / "snapshots/1").mkdir(parents=True)
    (hub / "snapshots/1/open_clip_model.safetensors").touch()
    assert forecast(path).missing == []


def test_what_is_finished_costs_nothing_and_what_was_measured_goes_first(world, tmp_path):
    """A run that is there is not trained again; its seconds of a step price the one that is not."""
    run = world.train(seed=1, steps=6)
    settings = world.settings(seed=1, steps=6)
    del settings["seed"]
    method = settings.pop("method")
    values = {"runs": str(world.runs), "preset": "emoji/ft", "alphas": []}
    stage = {"notebook": TRAIN, "parameters": values | {"settings": settings | {"method": method}}}
    stage["grid"] = [{"seed": [1, 2]}]
    ahead = forecast(spec_file(tmp_path, stages=[stage]))
    (found,) = ahead.stages
    assert (found.jobs, found.to_do, found.trainings) == (2, 2, 1)
    assert found.seconds == pytest.approx(6 * run.made.seconds_per_step)
    assert "1 measured on" in ahead.notes[0] and ahead.unit == "hours"
    assert ahead.missing == []


@pytest.mark.parametrize(
    ("model", "macs", "image", "text"),
    [
        ("ViT-B-32", 4.4e9, 87849216, 63428097),
        ("ViT-B-16", 17.6e9, 86192640, 63428097),
        ("ViT-L-14", 81.1e9, 303966208, 123650305),
    ],
)
def test_the_size_of_a_model_is_that_of_its_papers(model, macs, image, text):
    """The weights are those of the models that open_clip builds; multiply-adds as published."""
    towers = towers_of(model)
    assert towers.image.macs == pytest.approx(macs, rel=0.005)
    assert towers.image.weights == image
    assert towers.text.weights == pytest.approx(text, rel=1e-4)
    assert towers_of("RN50") is None


def test_a_step_costs_what_its_method_asks():
    towers = towers_of("ViT-B-16")
    image = towers.image.macs
    text = towers.text.macs

    def macs(method, **changes):
        return macs_of_step(RunConfig(method=method, batch_size=10, **changes), towers, classes=7)

    assert macs("ft") == 30 * image
    assert macs("kd") == 40 * image
    assert macs("lipsum", text_count=80) == 40 * image + 80 * text
    assert macs("flyp") == 30 * image + 30 * text
    assert macs("flyp_image") == 30 * image + 10 * text
    assert macs("flyp_ce") == 30 * image + 21 * text
    assert macs("self_distill") == 40 * image
    assert macs("carot") == macs("tracer") == 40 * image + 40 * text
    assert macs("lp") == 0
    head = 4 * 7 * 513
    assert size_of_weights(RunConfig(method="lp"), towers, 7) == head
    assert size_of_weights(RunConfig(), towers, 7) == 4 * towers.image.weights + head


def test_a_table_of_steps_goes_before_an_estimate():
    row = {"model": "ViT-B-16", "method": "ft", "precision": "32-true", "batch_size": 256}
    about = {"steps_per_second": 4.0, "card": "some", "source": "somebody"}
    table = Costs.read(costs().model_dump() | {"measured": [row | about]})
    assert table.of_steps(RunConfig(model="ViT-B-16")) == 0.25
    assert table.of_steps(RunConfig(model="ViT-B-32")) != table.of_steps(RunConfig())  # both NaN


def test_images_are_counted_where_they_are(world, tmp_path):
    config = RunConfig(**world.settings())
    counted = images_of(config, load_manifest(config.manifest))
    assert counted.model_dump() == {"train": 24, "val": 8, "tests": 60}
    emoji = images_of(RunConfig(manifest="emoji_start"), load_manifest("emoji_start"))
    assert emoji.model_dump() == {"train": 600, "val": 200, "tests": 1600}


def test_the_command_says_it_in_tables(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("CLIPFT_DATA", raising=False)
    out = ("--out", tmp_path / "out")
    spec = SPECS / "lipsum_ft_domainnet.yaml"
    code, said, _ = run_cli(monkeypatch, capsys, "batch", spec, *out, "--dry-run", "--only", "tpgm")
    assert code == 0
    assert re.search(r"2 07_soups +10 +0 +10 +10 +\S+ +\S+", said)
    assert re.search(r"data +domainnet +expected in \$CLIPFT_DATA/domainnet", said)
    assert "assumed" in said and "not measured yet" in said and "GB at most" in said
    assert not (tmp_path / "out").exists()


def test_a_manifest_that_cannot_be_opened_is_listed_and_stops_a_run(tmp_path):
    (tmp_path / "odd.yaml").write_text("name: odd")
    values = {"preset": "emoji/ft", "settings": {"manifest": "odd.yaml"}}
    path = spec_file(tmp_path, stages=[{"notebook": TRAIN, "parameters": values}])
    (row,) = forecast(path).missing
    assert row.kind == "data" and "odd.yaml: domains: missing" in row.line
    with pytest.raises(ConfigError, match=r"odd\.yaml: domains: missing"):
        run_batch(path, tmp_path / "out")


def test_an_extra_that_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(looking.util, "find_spec", lambda name: None)
    path = spec_file(tmp_path, stages=[{"notebook": TRAIN}])
    (row,) = forecast(path).missing
    assert (row.kind, row.line) == ("extra", "pip install 'clipft[notebooks]'")
    fast = {"settings": {"decoder": "fast"}}
    path = spec_file(tmp_path, stages=[{"notebook": TRAIN, "parameters": fast}])
    _, row = forecast(path).missing
    want = ("extra", "torchcodec", "pip install 'clipft[fast]'")
    assert (row.kind, row.name, row.line) == want


# --- what is wrong is said before anything runs


def stages_of(**values):
    return [{"notebook": TRAIN, "parameters": values}]


TINY = {"preset": "emoji/ft"}


@pytest.mark.parametrize("dry", [False, True], ids=["run", "dry-run"])
@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ({"stages": stages_of(preset="emoji/fft")}, "unknown preset 'emoji/fft'; did you mean"),
        ({"stages": stages_of(settings={"lrr": 1.0})}, "unknown key 'lrr'; did you mean 'lr'"),
        ({"stages": stages_of(settings={"steps": 0})}, "steps: Input should be greater"),
        ({"stages": stages_of(method="fit")}, "unknown method 'fit'; did you mean 'ft'"),
        (
            {"stages": [{"notebook": COMBINE, "parameters": {"name": "soup"}}]},
            "unknown post-hoc method 'soup'",
        ),
        (
            {"stages": [{"notebook": COMBINE, "parameters": {"name": "tpgm", "members": []}}]},
            "tpgm takes one run, got 0",
        ),
        (
            {
                "stages": [
                    {"notebook": COMBINE, "parameters": {"members": [{"preset": "emoji/no"}]}}
                ]
            },
            "unknown preset 'emoji/no'",
        ),
        (
            {"stages": [{"notebook": TRAIN, "grid": [{"crop.low": [1]}]}]},
            r"crop is \(0.6, 1.0\)|unknown parameter|crop",
        ),
    ],
)
def test_settings_that_are_none_stop_a_batch(tmp_path, values, wanted, dry):
    path = spec_file(tmp_path, **values)
    with pytest.raises(ConfigError, match=wanted) as caught:
        forecast(path) if dry else run_batch(path, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "out").glob("notebooks/*"))


@pytest.mark.parametrize(
    ("small", "wanted"),
    [
        (None, "tiny has no block small"),
        ({"stettings": {}}, "unknown key 'small.stettings'|did you mean"),
        ({"settings": {"modell": "x"}}, "unknown setting in small of tiny 'modell'; did you mean"),
        ({"scaled": {"model": 2.0}}, "unknown number to scale in small of tiny 'model'"),
        ({"options": {"stepps": 2}}, "unknown option in small of tiny 'stepps'; did you mean"),
        ({"parameters": {"alpas": []}}, "unknown parameter in small of tiny 'alpas'; did you mean"),
        ({"settings": {"batch_size": -1}}, "batch_size: Input should be greater"),
    ],
)
def test_a_block_small_that_fits_nothing_is_refused(tmp_path, small, wanted):
    values = {"stages": stages_of(**TINY)}
    if small is not None:
        values["small"] = small
    with pytest.raises(ConfigError, match=wanted) as caught:
        run_batch(spec_file(tmp_path, **values), tmp_path / "out", small=True)
    assert "\n" not in str(caught.value)


def test_small_is_laid_over_presets_settings_members_and_items(folder):
    notebook(folder / "look.ipynb", "where: dict = {}\nseed: int = 0")
    lipsum = load_preset("lipsum_ft/domainnet_b16").settings
    stages = [
        {
            "notebook": TRAIN,
            "parameters": {"preset": "lipsum_ft/domainnet_b16"},
            "grid": [{"settings.reference": ["sketch", "real", "clipart"], "seed": [0, 1]}],
        },
        {
            "notebook": COMBINE,
            "parameters": {"name": "greedy_soup", "seed": 5},
            "grid": [{"members": [[{"lr": 1.0, "steps": number} for number in (10, 20, 30)]]}],
        },
        {"notebook": "look.ipynb", "parameters": {"where": {"lr": 1.0e-5, "reference": "sketch"}}},
    ]
    small = {
        "settings": {"reference": {"sketch": "line"}, "manifest": "emoji_start"},
        "scaled": {"steps": 0.01, "lr": 10},
        "parameters": {"seed": 3},
        "first": 2,
    }
    spec = Spec.read({"name": "t", "small": small, "stages": stages})
    first, second, last = plan(in_small(spec, folder), folder, folder / "out")
    settings = [job.parameters["settings"] for job in first]
    assert [row["reference"] for row in settings] == ["line", "real"]
    assert {row["steps"] for row in settings} == {lipsum["steps"] // 100}
    assert {row["lr"] for row in settings} == {1e-4}
    assert {job.parameters["seed"] for job in first} == {3}
    ((job,), (look,)) = (second, last)
    assert [member["steps"] for member in job.parameters["members"]] == [1, 1]
    assert {member["lr"] for member in job.parameters["members"]} == {10.0}
    assert look.parameters == {"where": {"lr": 1e-4, "reference": "line"}, "seed": 3}


def test_a_dotted_key_goes_into_its_group(folder):
    grid = [{"settings.lr": [1.0, 2.0], "settings": [{"lr": 9.0, "steps": 3}]}]
    spec = Spec.read({"name": "t", "stages": [{"notebook": TRAIN, "grid": grid}]})
    (jobs,) = plan(spec, folder, folder / "out")
    assert [job.parameters["settings"] for job in jobs] == [
        {"lr": 1.0, "steps": 3},
        {"lr": 2.0, "steps": 3},
    ]
    assert "lr=2.0 steps=3" in jobs[1].title and "2.0" in jobs[1].words


def test_jobs_that_are_alike_are_one(folder):
    spec = Spec.read(
        {"name": "t", "stages": [{"notebook": "add.ipynb", "grid": [{"a": [1, 1, 2]}]}]}
    )
    (jobs,) = plan(spec, folder, folder / "out")
    assert [job.parameters["a"] for job in jobs] == [1, 2]


# --- results of some runs


def test_results_of_runs_with_some_settings(some_runs):
    table = results(some_runs, {"seed": 1, "reference": "real", "batch_size": 8})
    assert set(table.seed) == {1} and table.run.nunique() == 2
    assert set(results(some_runs, {"method": "ft"}).method) == {"ft"}
    assert results(some_runs, {}).run.nunique() == 4
    with pytest.raises(RunError, match=r"none of the 4 scored runs under .* has lr=7\.0"):
        results(some_runs, {"lr": 7.0})
    with pytest.raises(ConfigError, match="unknown setting or column 'larning_rate'"):
        results(some_runs, {"larning_rate": 7.0})
