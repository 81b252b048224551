"""Flips, worst classes and groups against plain loops over images."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from clipft.errors import ConfigError
from clipft.figures.flips import class_losses_figure, flips_figure, group_figure
from clipft.reports.class_similarity import class_losses
from clipft.runs.flips import flips_table, group_table, worst_tenth
from clipft.runs.reading import class_table
from clipft.runs.run import Run


@pytest.fixture(scope="module")
def table(scored):
    return flips_table(scored.runs, alpha=0.5)


@pytest.fixture
def grouped(scored, monkeypatch):
    """A run whose images are in groups: of two classes each, some in none."""
    run = scored.scored[0]
    plain = Run.scores

    def with_groups(self, alpha):
        names = np.array(["odd", "even", "odd", ""])
        found = {}
        for split, scores in plain(self, alpha).items():
            found[split] = replace(scores, group=names[scores.label])
        return found

    monkeypatch.setattr(Run, "scores", with_groups)
    return run


def test_flips_are_counted_image_by_image(scored, table):
    assert len(table) == 2 * 3
    for run in scored.scored:
        for row in table[table.run == run.id].itertuples():
            before, after = run.scores(0)[row.split], run.scores(0.5)[row.split]
            lost = gained = 0
            for truth, then, now in zip(
                before.label, before.prediction, after.prediction, strict=True
            ):
                lost += then == truth != now
                gained += then != truth == now
            assert (row.lost * row.n, row.gained * row.n) == pytest.approx((lost, gained))
            assert row.lost_low <= row.lost <= row.lost_high
            assert row.gained - row.lost == pytest.approx(
                after.correct.mean() - before.correct.mean()
            )


def test_nothing_flips_at_zero_shot(scored):
    rows = flips_table(scored.scored[0], alpha=0)
    assert (rows.lost == 0).all() and (rows.gained == 0).all()
    assert (rows.worst_classes == rows.worst_classes_zero_shot).all()
    assert (rows.lost_high > 0).all()  # exact: none of n is no proof of none


@pytest.mark.parametrize("classes", [1, 4, 10, 23])
def test_the_worst_tenth_is_that_of_a_sorted_list(classes):
    rng = np.random.default_rng(classes)
    label = rng.integers(0, classes, 300) * 2  # every second class has no image
    correct = rng.random(300) < 0.5
    accuracies = sorted(correct[label == name].mean() for name in set(label.tolist()))
    most = int(np.ceil(len(accuracies) / 10))
    assert worst_tenth(label, correct) == pytest.approx(np.mean(accuracies[:most]))


def test_groups_are_averaged_by_pandas(grouped):
    rows = group_table(grouped, alpha=1)
    assert sorted(rows.group.unique()) == ["even", "odd"]
    for split, of_split in rows.groupby("split"):
        after, before = grouped.scores(1)[split], grouped.scores(0)[split]
        images = pd.DataFrame({"group": after.group, "now": after.correct, "then": before.correct})
        want = images.groupby("group").mean()
        for row in of_split.itertuples():
            assert (row.accuracy, row.zero_shot) == tuple(want.loc[row.group])
            assert row.low <= row.accuracy <= row.high
            assert row.worst == (row.accuracy == of_split.accuracy.min())
    traces = [trace for trace in group_figure(rows).data if trace.name == "tuned"]
    assert sorted(x for t in traces for x in t.x) == pytest.approx(sorted(100 * rows.accuracy))


def test_without_groups_there_are_none(scored):
    with pytest.raises(ConfigError, match="no image is in a group"):
        group_table(scored.runs)


def test_classes_stand_beside_their_nearest_neighbour(at_home):
    run = at_home.scored[0]
    rows = class_losses(run, "sketch/test", alpha=0.5)
    plain = class_table(run, "sketch/test", alpha=0.5)
    pd.testing.assert_series_equal(rows.change, plain.change)
    head = run.bench.zero_shot.double().numpy()
    cosines = head.T @ head / np.outer(*[np.linalg.norm(head, axis=0)] * 2) - 9 * np.eye(4)
    np.testing.assert_allclose(rows.cosine, cosines.max(1), rtol=1e-5)
    names = run.manifest.names
    assert rows.similar.tolist() == [names[place] for place in cosines.argmax(1)]
    assert rows.worst.sum() == 1 and rows.accuracy[rows.worst].min() == rows.accuracy.min()
    drawn = [
        y for trace in class_losses_figure(rows).data if trace.mode == "markers" for y in trace.y
    ]
    assert sorted(drawn) == pytest.approx(sorted(100 * rows.change))


def test_the_figure_draws_means_over_runs(table):
    figure = flips_figure(table)
    bars = [trace for trace in figure.data if trace.type == "bar"]
    means = table.groupby(["split", "method"])[["lost", "gained"]].mean()
    down = sorted(-bar.y[1] for bar in bars)
    assert down == pytest.approx(sorted(100 * means.lost))
