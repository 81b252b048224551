"""What a data set is scored by: its metric, masks and groups, by hand and through a whole run."""

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from conftest import CLASSES, QUIET
from sklearn.metrics import f1_score

import clipft
from clipft.boards.run_table import run_table
from clipft.boards.sweeps import Sweeps
from clipft.data.manifests import Manifest
from clipft.data.splits import ScoredBy
from clipft.errors import ConfigError
from clipft.evaluation.predictions import predictions
from clipft.evaluation.score import score
from clipft.figures.accuracy import accuracy_figure
from clipft.figures.trade_off import trade_off_figure
from clipft.figures.wise import sweep_figure, wise_curve_figure
from clipft.metrics import accuracy as metrics
from clipft.reports.exact import exact
from clipft.runs.folder import RunFolder
from clipft.runs.scores import metric_statistic

ALLOWED = (1, 3)


@pytest.mark.parametrize("seed", range(3))
def test_masked_softmax_is_numpy(seed):
    draw = np.random.default_rng(seed)
    logits = draw.normal(0, 3, (50, 5))
    labels = draw.choice(ALLOWED, 50)
    prediction, confidence, nll, *_ = predictions(
        torch.from_numpy(logits), torch.from_numpy(labels), ALLOWED
    )

    cut = np.exp(logits[:, ALLOWED])
    cut /= cut.sum(1, keepdims=True)
    of_label = cut[np.arange(50), np.searchsorted(ALLOWED, labels)]
    assert prediction.tolist() == np.array(ALLOWED)[cut.argmax(1)].tolist()
    assert confidence.numpy() == pytest.approx(cut.max(1), rel=1e-5)
    assert nll.numpy() == pytest.approx(-np.log(of_label), rel=1e-4, abs=1e-6)


def test_a_mask_by_hand():
    logits = torch.tensor([[9.0, 1.0, 5.0, 1.0]])
    prediction, confidence, nll, *_ = predictions(logits, torch.tensor([3]), ALLOWED)
    assert (prediction.item(), confidence.item()) == (1, 0.5)  # of tied ones the lower
    assert nll.item() == pytest.approx(np.log(2))
    assert predictions(logits, torch.tensor([3]))[0].item() == 0


@pytest.mark.parametrize("seed", range(3))
def test_metrics_are_those_of_the_libraries(seed):
    draw = np.random.default_rng(seed)
    frame = pd.DataFrame({"label": draw.integers(0, 4, 60), "group": draw.choice(list("abc"), 60)})
    frame["prediction"] = draw.integers(0, 6, 60)
    frame["right"] = frame.label == frame.prediction
    told = [frame[name].to_numpy() for name in ("prediction", "label", "group")]
    # As WILDS has it: over the classes that have images.
    own = f1_score(frame.label, frame.prediction, average="macro", labels=frame.label.unique())
    assert metric_statistic("macro_f1", *told).value == pytest.approx(own)
    assert metric_statistic("worst_group", *told).value == frame.groupby("group").right.mean().min()
    by_class = frame.groupby("label").right.mean().mean()
    assert metric_statistic("class_accuracy", *told).value == pytest.approx(by_class)
    assert metric_statistic("accuracy", *told).value == frame.right.mean()


def test_worst_group_leaves_out_what_is_in_no_group():
    right = np.array([True, False, True, False])
    worst = metrics.worst(right, np.array(["a", "a", "b", ""]))
    assert worst.value == 0.5
    # A resample without group a: b alone counts.
    assert worst.of(np.array([[0.0, 0, 4, 0]])).tolist() == [1.0]
    with pytest.raises(ConfigError, match="no image is in a group"):
        metrics.worst(right, np.array([""] * 4))


def written(world, folder, **changes):
    values = yaml.safe_load(world.manifest_file.read_text()) | {"classes": CLASSES} | changes
    file = folder / "own.yaml"
    file.write_text(yaml.safe_dump(values))
    return file


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"metric": "worst_group"}, "worst_group needs groups; wanted: class"),
        ({"mask": {"sketsch": "found"}}, "mask: unknown domain of mini 'sketsch'"),
        ({"mask": {"sketch": []}}, "mask of sketch has no class"),
        ({"metric": "f1"}, "metric: got 'f1'; wanted: accuracy"),
    ],
)
def test_a_protocol_that_cannot_be(world, tmp_path, changes, words):
    with pytest.raises(ConfigError, match=words):
        Manifest.open(written(world, tmp_path, **changes))


def test_masks_and_groups_of_rows(world, tmp_path):
    two = CLASSES[:2]
    manifest = Manifest.open(written(world, tmp_path, mask={"sketch": two}, groups="class"))
    with pytest.raises(ConfigError, match=f"of sketch/test are masked, e.g. {CLASSES[2]!r}"):
        manifest.split("sketch/test")
    with pytest.raises(ConfigError, match="mask of clipart: unknown class 'nothing'"):
        Manifest.open(written(world, tmp_path, mask={"clipart": ["nothing"]})).split("clipart/test")

    found = Manifest.open(written(world, tmp_path, mask={"sketch": "found"}, groups="class"))
    split = found.split("sketch/test")
    assert split.allowed == tuple(range(len(CLASSES)))
    assert split.groups == tuple(CLASSES[label] for label in split.labels)
    assert split.take([6, 0]).groups == (split.groups[6], split.groups[0])
    assert found.split("real/test").allowed == ()


def test_the_defaults_leave_a_digest_as_it_is(world, tmp_path):
    plain = Manifest.open(written(world, tmp_path)).digest()
    default = written(world, tmp_path, metric="accuracy", mask={}, groups="")
    assert Manifest.open(default).digest() == plain
    for key, value in (("metric", "macro_f1"), ("mask", {"sketch": "found"}), ("groups", "class")):
        manifest = Manifest.open(written(world, tmp_path, **{key: value}))
        assert manifest.digest() != plain
        assert Manifest.from_copy(manifest.copy_for_run()).digest() == manifest.digest()


def test_a_run_is_told_in_its_data_sets_metric(world, tree, tmp_path):
    # The sketches have two of the classes, and only these may be predicted.
    data = tmp_path / "data" / "mini"
    data.mkdir(parents=True)
    for file in (tree / "mini").iterdir():
        (data / file.name).symlink_to(file)
    listed = (data / "sketch_test.txt").read_text().splitlines()
    (data / "sketch_test.txt").unlink()
    kept = [line for line in listed if int(line.split()[-1]) in ALLOWED]
    (data / "sketch_test.txt").write_text("\n".join(kept) + "\n")
    metric = {"reference": "accuracy", "shift": "worst_group", "together": "harmonic"}
    protocol = {"metric": metric, "mask": {"sketch": "found"}, "groups": "class"}
    own = written(world, tmp_path, name="own", root=str(data), **protocol)

    run = world.train(manifest=str(own), steps=4, eval_every=4)
    (scored,) = score(run, [0, 0.5, 1], reading=QUIET)
    images = scored.folder.images()
    of_sketch = images[images.domain == "sketch"]
    assert set(of_sketch.label) == set(ALLOWED) and set(of_sketch.prediction) <= set(ALLOWED)

    images["right"] = images.label == images.prediction
    worst = images.groupby(["split", "alpha", "label"], observed=True).right.mean()
    worst = worst.groupby(["split", "alpha"], observed=True).min()
    mean = images.groupby(["split", "alpha"], observed=True).right.mean()
    table = clipft.results(scored)
    of_metric = table[table.metric == "worst_group"].set_index(["split", "alpha"])
    assert of_metric["mean"].to_dict() == pytest.approx(worst.to_dict())
    by_role = table.groupby("role").scored_by.unique().map(list).to_dict()
    assert by_role == {role: ["accuracy"] for role in ("reference", "val")} | {
        "shift": ["worst_group"]
    }

    paths = clipft.paths(table).set_index("alpha")
    assert paths["sketch/test"][1.0] == worst["sketch/test", 1.0]
    assert paths.reference_accuracy[1.0] == paths["real/test"][1.0] == mean["real/test", 1.0]
    told = clipft.results_table(table)
    assert told.metric.unique().tolist() == ["accuracy / worst-group accuracy"]
    seen, unseen = paths.reference_accuracy[1.0], paths.shift_accuracy[1.0]
    harmonic = 200 * seen * unseen / (seen + unseen) if unseen else 0.0
    assert float(told["harmonic mean"].iloc[1]) == pytest.approx(harmonic, abs=0.05)
    assert run_table(table)["sketch/test"].tolist() == [
        pytest.approx(100 * worst["sketch/test", 1.0], abs=0.05)
    ]

    sweep = scored.sweep()
    place = sweep.splits.index("sketch/test")
    assert sweep.accuracy[:, place].tolist() == [worst["sketch/test", a] for a in (0, 0.5, 1)]
    told_in_page = Sweeps.of([sweep]).scores({"run": scored.id}).json
    assert told_in_page["metric"] == "accuracy / worst-group accuracy"
    assert told_in_page["accuracies"] == sweep.accuracy.tolist()
    assert sweep.accuracy[:, 0].tolist() == [mean["real/test", a] for a in (0, 0.5, 1)]
    at_half = exact(sweep, 0.5).set_index("split")
    assert at_half.exact.to_dict() == pytest.approx(at_half.line.to_dict())
    figures = [
        accuracy_figure(scored.table()),
        wise_curve_figure(table),
        sweep_figure(sweep),
        trade_off_figure(table),
    ]
    for figure in figures:
        assert "worst-group accuracy" in figure.to_json()
    assert RunFolder(scored.folder.path).scored_by == ScoredBy(**metric)
