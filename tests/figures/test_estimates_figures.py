"""Figures of estimates and their record: what is drawn is what the table says."""

import numpy as np
import pytest
from test_track_record import estimates_of, family

from clipft.errors import ConfigError
from clipft.figures.without_labels import estimates_figure, record_figure, regret_figure
from clipft.runs.track_record import regrets, track_record


@pytest.fixture(scope="module")
def table():
    return estimates_of(*family())


def test_a_panel_for_each_estimator_that_estimates(table):
    figure = estimates_figure(table)
    titles = [note.text for note in figure.layout.annotations]
    wanted = ["Validation accuracy", "ATC, confidence", "Mean confidence"]
    assert titles == [*wanted, "Agreement on the line, S"]
    points = [trace for trace in figure.data if trace.mode == "markers"]
    assert len(points) == 4 * 2  # two shifts
    assert [trace.name for trace in points if trace.showlegend] == [
        "art, tuned on real",
        "sketch, tuned on real",
    ]
    confident = [trace for trace in points if trace.xaxis == "x3" and "sketch" in trace.name]
    rows = table[(table.estimator == "mean_confidence") & (table["split"] == "sketch/test")]
    np.testing.assert_allclose(confident[0].x, 100 * rows.accuracy)
    np.testing.assert_allclose(confident[0].y, 100 * rows.estimate)
    with pytest.raises(ConfigError, match="shifts with labels"):
        estimates_figure(table.assign(accuracy=np.nan))


def test_dots_and_bars_are_those_of_the_record(table):
    record = track_record(table)
    figure = record_figure(record, "tuned", ["spearman"])
    rows = record[(record.models == "tuned") & (record["split"] == "art/test")]
    (dots,) = [trace for trace in figure.data if trace.name == "art, tuned on real"]
    np.testing.assert_allclose(dots.x, rows.spearman)
    np.testing.assert_allclose(dots.x + dots.error_x.array, rows.spearman_high)
    np.testing.assert_allclose(dots.x - dots.error_x.arrayminus, rows.spearman_low)
    # From above as in ESTIMATORS.
    assert figure.layout.yaxis.ticktext[-1] == "Validation accuracy"
    for given in ({"models": "all"}, {"measures": ["rho"]}):
        with pytest.raises(ConfigError, match="known"):
            record_figure(record, **given)


def test_what_rules_lose_and_give_up(table):
    lost = regrets(table)
    figure = regret_figure(lost, "model", "all")
    names = figure.layout.yaxis.ticktext
    assert "Do nothing (zero-shot)" in names
    assert "Validation accuracy, agreement >= 0.8" in names
    rows = lost[(lost.chooses == "model") & (lost.candidates == "all")]
    rows = rows[rows["split"] == "sketch/test"]
    left, right = (trace for trace in figure.data if trace.name == "sketch, tuned on real")
    np.testing.assert_allclose(left.x, rows.regret)
    np.testing.assert_allclose(right.x, rows.val_lost)
    for given in ({"candidates": "near"}, {"chooses": "seed"}):
        with pytest.raises(ConfigError):
            regret_figure(lost, **given)
