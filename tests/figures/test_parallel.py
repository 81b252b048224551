"""Parallel coordinates: every run crosses every axis at its value, read back from the traces."""

import numpy as np
import pytest
from test_table import TABLE, fake, mean, with_ensemble

from clipft.errors import ConfigError
from clipft.figures.parallel import UNKNOWN, parallel_figure
from clipft.runs.names import title_of

RATES = fake(recipes=[("ft", 1e-4), ("ft", 1e-5), ("ft", 1e-6), ("lipsum", 1e-4)])
RUNS = RATES.run.unique().tolist()


def titles(figure):
    return [text.replace("<br>", " ") for text in figure.layout.xaxis.ticktext]


def points(figure):
    """Run -> its height on each axis."""
    found = {}
    for trace in figure.data:
        if trace.mode == "markers":
            for number, place, height in zip(trace.meta["id"], trace.x, trace.y, strict=True):
                found.setdefault(number, {})[titles(figure)[place]] = height
    return {RUNS[number]: heights for number, heights in found.items()}


def ticks(figure, title):
    """Text -> its height on one axis."""
    place = titles(figure).index(title)
    return {note.text: note.y for note in figure.layout.annotations if note.x == place}


def test_every_run_crosses_every_axis():
    figure = parallel_figure(RATES)
    assert titles(figure) == [
        *("method", "learning rate", "reference accuracy (%)", "mean shift accuracy (%)"),
        "energy gap",
    ]
    heights = points(figure)
    assert set(heights) == set(RUNS)
    assert all(len(of_run) == 5 for of_run in heights.values())


@pytest.mark.parametrize(
    ("title", "role", "metric", "factor"),
    [
        ("reference accuracy (%)", "reference", "accuracy", 100),
        ("mean shift accuracy (%)", "shift", "accuracy", 100),
        ("energy gap", "shift", "energy_gap", 1),
    ],
)
def test_results_lie_where_the_numbers_beside_the_axis_say(title, role, metric, factor):
    figure = parallel_figure(RATES)
    beside = ticks(figure, title)
    values = sorted((height, float(text)) for text, height in beside.items())
    for run, heights in points(figure).items():
        want = factor * mean(RATES, run=run, role=role, metric=metric, alpha=1)
        got = np.interp(heights[title], *zip(*values, strict=True))
        assert got == pytest.approx(want, rel=1e-2)
    rises = values[-1][1] > values[0][1]
    assert rises == (metric != "energy_gap"), "good runs end at the top"


def test_settings_lie_in_bands_that_do_not_touch_on_a_log_axis():
    figure = parallel_figure(RATES)
    beside = ticks(figure, "learning rate")
    assert {text: pytest.approx(height) for text, height in beside.items()} == {
        "1e-06": 0,
        "1e-05": 0.5,
        "0.0001": 1,
    }
    heights = points(figure)
    for run in RATES.drop_duplicates("run").itertuples():
        place = heights[run.run]["learning rate"]
        nearest = min(beside, key=lambda text: abs(beside[text] - place))
        assert float(nearest) == run.lr
        of_method = ticks(figure, "method")
        place = heights[run.run]["method"]
        assert min(of_method, key=lambda text: abs(of_method[text] - place)) == title_of(run.method)
    places = [of_run["learning rate"] for of_run in heights.values()]
    assert len({*places}) == len(places), "each line can be followed"


def test_lines_and_points_are_of_the_same_runs_and_a_gap_is_between_two_lines():
    figure = parallel_figure(RATES)
    axes = len(titles(figure))
    lines = [trace for trace in figure.data if trace.meta and "with" in trace.meta]
    marks = [trace for trace in figure.data if trace.mode == "markers"]
    for line, mark in zip(lines, marks, strict=True):
        assert len(line.x) == len(line.meta["with"])
        assert all(height is None for height in line.y[axes :: axes + 1])
        told = [
            id_ for id_, height in zip(line.meta["with"], line.y, strict=True) if height is not None
        ]
        assert told == list(mark.meta["id"])
        assert [height for height in line.y if height is not None] == list(mark.y)
        assert line.line.color == mark.marker.color


def test_points_have_the_numbers_of_the_page():
    order = RUNS[::-1]
    figure = parallel_figure(RATES, runs=order)
    for trace in figure.data:
        if trace.mode == "markers":
            for number, text, to in zip(
                trace.meta["id"], trace.customdata, trace.meta["to"], strict=True
            ):
                assert f"run {order[number]}" in text
                assert to == f"run-{order[number]}"


def test_other_settings_that_differ_have_an_axis():
    settings = {}
    for number, run in enumerate(RUNS):
        lam = None if run.startswith("ft") else float(number % 2 + 1)
        settings[run] = {"lam": lam, "augment": number % 2 == 0, "batch_size": 64, "seed": number}
        settings[run] |= {"rows_digest": str(number), "crop": [0.9, 1 + number % 2]}
    figure = parallel_figure(RATES, settings)
    shown = titles(figure)
    assert shown[:2] == ["method", "learning rate"]
    assert {*shown[2:-3]} == {"weight λ", "augment", "crop"}
    assert set(ticks(figure, "augment")) == {"yes", "no"}
    beside = ticks(figure, "weight λ")
    assert beside == {"1": 0, "2": 1, "default": UNKNOWN}
    for run, heights in points(figure).items():
        assert (heights["weight λ"] < -0.05) == run.startswith("ft")


def test_an_ensemble_without_a_gap_lies_below_and_the_figure_is_json():
    table = with_ensemble()
    figure = parallel_figure(table)
    assert ticks(figure, "energy gap")["none"] == UNKNOWN
    assert "NaN" not in figure.to_json()


def test_one_run_is_drawn():
    figure = parallel_figure(fake(recipes=[("ft", 1e-4)], seeds=(0,)))
    assert titles(figure)[0] == "method"
    assert figure.layout.title.text.startswith("Hyper-parameters and results of 1 run<br>")


def test_no_shift_and_no_tuned_run():
    figure = parallel_figure(RATES[RATES.role != "shift"])
    assert "mean shift accuracy (%)" not in titles(figure)
    with pytest.raises(ConfigError, match="no run is scored at alpha 1"):
        parallel_figure(TABLE[TABLE.alpha != 1])
