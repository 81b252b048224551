"""Detection of finished runs against scikit-learn on images.parquet; measures beside the scored."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score
from test_table import TABLE

from clipft.errors import ConfigError, RunError
from clipft.figures.detection import detection_figure
from clipft.figures.energy_gap import energy_gap_figure
from clipft.runs.detection import _pairs_of, detection_table
from clipft.runs.measures import explanations, with_measures
from clipft.runs.run import Run
from clipft.runs.scores import Scores
from clipft.runs.table import results


@pytest.fixture(scope="module")
def table(scored):
    return detection_table(scored.runs)


def images_of(run, split, alpha):
    frame = pd.read_parquet(run.path / "images.parquet")
    return frame[(frame.split == split) & (frame.alpha == alpha)]


@pytest.mark.parametrize(
    ("score", "column"), [("max_softmax", "confidence"), ("energy", "logsumexp")]
)
def test_every_shift_at_every_alpha_is_scikit_learns(scored, table, score, column):
    for run in scored.scored:
        rows = table[(table.run == run.id) & (table.score == score)]
        assert sorted(rows.split.unique()) == ["clipart/test", "sketch/test"]
        assert len(rows) == 2 * 3
        for row in rows.itertuples():
            inside = images_of(run, "real/test", row.alpha)[column]
            outside = images_of(run, row.split, row.alpha)[column]
            labels = [1] * len(inside) + [0] * len(outside)
            assert row.auroc == pytest.approx(roc_auc_score(labels, [*inside, *outside]))
            assert row.auroc_low <= row.auroc <= row.auroc_high
            assert (row.inside, row.outside) == (len(inside), len(outside))


def test_energy_is_high_inside():
    """The sign: log-sum-exp grows with every logit, as the probability of the largest does."""
    from clipft.runs.detection import SCORES

    assert SCORES["energy"] == "logsumexp"  # and not minus it, the energy


def test_classes_that_were_held_out_are_outside(scored):
    run = scored.scored[0]
    rows = detection_table(run, alphas=[1], unseen=["bee"])
    assert sorted(rows.split.unique()) == ["clipart/test", "real/test", "sketch/test"]
    label = run.manifest.names.index("bee")
    inside = images_of(run, "real/test", 1.0)
    outside = images_of(run, "sketch/test", 1.0)
    inside = inside[inside.label != label].confidence
    outside = outside[outside.label == label].confidence
    row = rows[(rows.split == "sketch/test") & (rows.score == "max_softmax")].iloc[0]
    labels = [1] * len(inside) + [0] * len(outside)
    assert row.auroc == pytest.approx(roc_auc_score(labels, [*inside, *outside]))
    with pytest.raises(ConfigError, match="fox"):
        detection_table(run, unseen=["fox"])


def test_a_shift_without_the_held_out_class_is_left_out():
    def of(split, labels):
        label = np.array(labels)
        ids = tuple(map(str, labels))
        return Scores(split, 1.0, ids, label, label, label / 10, nll=label / 10)

    scores = {"a/test": of("a/test", [0, 1, 2]), "b/test": of("b/test", [0, 1])}
    run = SimpleNamespace(reference="a", folder="a")
    (pair,) = _pairs_of(run, scores, held_out=[2])
    assert pair[:2] == ("a/test", "max_softmax")
    assert (pair[2].tolist(), pair[3].tolist()) == ([0.0, 0.1], [0.2])


def test_older_scores_have_no_energy(scored, monkeypatch):
    monkeypatch.setattr(
        "clipft.runs.detection.SCORES", {"max_softmax": "confidence", "energy": "wise_distance"}
    )
    assert detection_table(scored.scored[0], [1]).score.unique().tolist() == ["max_softmax"]


def test_a_run_without_its_reference_is_refused(scored, monkeypatch):
    run = scored.scored[0]
    monkeypatch.setattr(Run, "reference", "elsewhere")
    with pytest.raises(RunError, match="elsewhere/test"):
        detection_table(run, [1])


def test_measures_stand_beside_the_scored_ones(scored, table):
    everything = results(scored.runs)
    more = with_measures(everything, table)
    assert len(more[more.metric == "auroc_energy"]) == len(table) / 2
    pd.testing.assert_frame_equal(more.iloc[: len(everything)], everything)
    for row in table[table.score == "energy"].itertuples():
        models = (more.run == row.run) & (more.alpha == row.alpha) & (more.split == row.split)
        found = more[models & (more.metric == "auroc_energy")].iloc[0]
        assert (found["mean"], found.low, found.high) == (row.auroc, row.auroc_low, row.auroc_high)
    figure = energy_gap_figure(more, y="auroc_energy")
    assert "AUROC" in figure.layout.yaxis.title.text


def test_tables_of_something_else_are_refused(table):
    with pytest.raises(ConfigError, match="'alpha'"):
        with_measures(TABLE, pd.DataFrame({"run": ["a"], "split": ["b"]}))
    with pytest.raises(ConfigError, match="in common"):
        with_measures(TABLE, table)
    with pytest.raises(ConfigError, match="several rows"):
        with_measures(TABLE, pd.concat([table, table]))


def test_explanations_are_scipys_correlations_the_closest_first():
    found = explanations(TABLE, ["energy_gap", "nll", "unknown"])
    shifts = TABLE[(TABLE.role == "shift") & (TABLE.alpha == 1)]
    for row in found.itertuples():
        rows = shifts[shifts.split == row.split].pivot(index="run", columns="metric", values="mean")
        assert row.r == pytest.approx(stats.pearsonr(rows[row.measure], rows.accuracy)[0])
        assert row.spearman == pytest.approx(stats.spearmanr(rows[row.measure], rows.accuracy)[0])
        assert row.n == len(rows)
    assert found.groupby("split").r.apply(lambda r: r.abs().is_monotonic_decreasing).all()
    with pytest.raises(ConfigError, match="cka"):
        explanations(TABLE, ["cka"])
    with pytest.raises(ConfigError, match="metric"):
        explanations(TABLE, against="beauty")
    with pytest.raises(ConfigError, match="scored on a shift at alpha 1"):
        explanations(TABLE[TABLE.role != "shift"])


def test_the_figure_draws_the_table(table):
    figure = detection_figure(table, "fpr")
    traces = [trace for trace in figure.data if trace.mode == "lines+markers"]
    assert len(traces) == 2 * 2 * 2  # shifts, runs, scores
    drawn = sorted(value for trace in traces for value in trace.y)
    np.testing.assert_allclose(drawn, sorted(table.fpr))
    assert len({trace.name for trace in traces if trace.showlegend}) == 4
