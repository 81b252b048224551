"""A data set of one domain, scored by its worst group, through a whole run: Waterbirds in small."""

import numpy as np
import pytest
import torch
from conftest import QUIET, made_once
from miniatures.wilds import write_waterbirds
from sklearn.metrics import f1_score
from typer.testing import CliRunner

import clipft
from clipft.cli.app import app
from clipft.data.splits import ScoredBy
from clipft.errors import ConfigError
from clipft.evaluation.predictions import ChosenBy
from clipft.evaluation.score import score
from clipft.evaluation.verify import verify_runs
from clipft.figures.accuracy import accuracy_figure
from clipft.figures.trade_off import trade_off_figure
from clipft.figures.wise import sweep_figure, wise_curve_figure
from clipft.runs.card import scored_rows
from clipft.runs.choosing import candidates
from clipft.runs.scores import Scores, table
from clipft.widgets.energy_gap import EnergyGapExplorer


@pytest.fixture
def run(world, shared, monkeypatch):
    """A scored run on it."""
    data = made_once(shared / "one_domain", lambda base: write_waterbirds(base / "waterbirds"))
    monkeypatch.setenv("CLIPFT_DATA", str(data))
    trained = world.train(manifest="waterbirds", steps=4, eval_every=2, selection="holdout")
    score(trained, [0, 0.5, 1], reading=QUIET)
    return trained


def test_one_domain_is_told_without_a_shift(run, tmp_path):
    results = clipft.results(run.folder.path.parent)
    told = clipft.results_table(results, calibration=True)
    assert "mean shift" not in told and "NLL shift" not in told
    assert set(told.metric) == {"worst-group accuracy"}
    assert (told["energy gap"] != "-").all()

    images = run.folder.images()
    right = images.assign(right=images.label == images.prediction)
    of_val = right[(right.part == "val") & (right.alpha == 1)]
    worst = of_val.groupby("group", observed=True).right.mean().min()
    # What was kept while it was trained was chosen by the same number.
    history = [row["val_accuracy"] for row in run.folder.history() if "val_accuracy" in row]
    assert max(history) == worst

    for figure in (
        accuracy_figure(run.table()),
        wise_curve_figure(results),
        sweep_figure(run.sweep()),
        trade_off_figure(results),
    ):
        assert "worst-group accuracy" in figure.to_json()
    with pytest.raises(ConfigError, match="no shift is scored"):
        clipft.energy_gap_figure(results)
    with pytest.raises(ConfigError, match=r"its data set has none: clipft.explore\(RUN\)"):
        EnergyGapExplorer(results)
    with pytest.raises(ConfigError, match="where the data set has a val and a shift"):
        candidates(results)

    (verified,) = verify_runs([run], [1.0], reading=QUIET)
    assert not verified.faults

    done = CliRunner().invoke(app, ["choose", "--runs", str(run.folder.path.parent)])
    assert "held-out reference worst-group accuracy (%)" in done.output

    card = (run.export(tmp_path / "out", 1.0) / "README.md").read_text()
    (of_test,) = [
        row for row in scored_rows(run, 1.0).to_dict("records")
        if row["metric"] == "worst_group" and row["part"] == "test"
    ]  # fmt: skip
    assert "| split | role | images | worst-group accuracy, % | energy gap |" in card
    assert f"| {100 * of_test['mean']:.1f} [" in card and "type: worst_group" in card


def test_weights_are_chosen_by_the_metric_and_mask_by_hand():
    prediction = torch.tensor([0, 0, 1, 1, 2])
    labels = torch.tensor([0, 1, 1, 1, 2])
    groups = ("a", "a", "b", "b", "")
    assert ChosenBy().accuracy(prediction, labels) == 4 / 5
    assert ChosenBy("worst_group", groups).accuracy(prediction, labels) == 1 / 2
    # Of some rows of the split: no image of group a was read.
    rows = torch.tensor([2, 3, 4])
    told = (prediction[rows], labels[rows], rows)
    assert ChosenBy("worst_group", groups).accuracy(*told) == 1
    f1 = f1_score(labels, prediction, average="macro")
    assert ChosenBy("macro_f1").accuracy(prediction, labels) == pytest.approx(f1)


def test_relative_accuracy_is_of_what_the_data_set_is_scored_by():
    label = np.array([0, 1, 2, 3] * 6)
    wrong = {"id/test": 3, "ood/test": 9}
    scores = []
    for split, count in wrong.items():
        prediction = label.copy()
        prediction[:count] = (label[:count] + 1) % 4
        group = np.where(np.arange(24) < 12, "Asia", "Europe")
        told = {"confidence": np.full(24, 0.5), "nll": np.ones(24), "group": group}
        ids = tuple(map(str, range(24)))
        scores.append(Scores(split, 1.0, ids, label, prediction, **told))
    relative = {}
    for told in (ScoredBy(), ScoredBy("accuracy", "worst_group")):
        rows = table(scores, "id", told=told)
        relative[told.shift] = rows[rows.metric == "relative_accuracy"]["mean"].item()
    assert relative == {
        "accuracy": pytest.approx((15 / 24) / (21 / 24)),
        "worst_group": pytest.approx((3 / 12) / (21 / 24)),
    }
