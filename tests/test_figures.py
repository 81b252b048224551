"""Figures show the numbers of the table they are given: values read back from traces, sliders and titles."""

import itertools

import numpy as np
import pandas as pd
import pytest
from test_tables import ALPHAS, SPLITS, TABLE, fake, mean, with_ensemble

from clipft import figures, tables
from clipft.diagnostics import correlation
from clipft.errors import ConfigError
from clipft.objectives import METHODS
from clipft.posthoc import POSTHOC


def test_wise_slider_moves_the_markers_along_the_curves():
    figure = figures.wise_slider(TABLE)
    (slider,) = figure.layout.sliders
    assert [step.label for step in slider.steps] == ["0", "0.5", "1"]
    assert slider.active == 1
    for alpha, step in zip(ALPHAS, slider.steps, strict=True):
        changes, moving = step.args
        markers, bars = moving[::2], moving[1::2]
        for i, method in enumerate(("ft", "lipsum")):
            here = {"metric": "accuracy", "method": method, "alpha": alpha}
            x, y = (100 * mean(TABLE, role=role, **here) for role in ("reference", "shift"))
            assert changes["x"][2 * i] == pytest.approx([x])
            assert changes["y"][2 * i] == pytest.approx([y])
            want = [100 * mean(TABLE, split=split, **here) for split in ("real/test", "art/test", "sketch/test")]
            assert list(changes["y"][2 * i + 1]) == pytest.approx(want)
            curve = figure.data[markers[i] - 1]
            at = list(curve.customdata).index(alpha)
            assert (curve.x[at], curve.y[at]) == pytest.approx((x, y))
            if alpha == 0.5:  # where the slider stands at first
                assert (figure.data[markers[i]].x[0], figure.data[markers[i]].y[0]) == pytest.approx((x, y))
                assert list(figure.data[bars[i]].y) == pytest.approx(want)


def test_wise_slider_never_sends_a_null():
    """plotly.js's restyle deletes a property that it is given as null: bars would lose their names."""
    for step in figures.wise_slider(TABLE).layout.sliders[0].steps:
        changes, moving = step.args
        for values in changes.values():
            assert len(values) == len(moving)
            assert [value for value in values if value is None] == []


@pytest.mark.parametrize(("start", "active"), [(0.0, 0), (0.2, 0), (0.3, 1), (1.0, 2)])
def test_wise_slider_starts_at_the_nearest_alpha(start, active):
    assert figures.wise_slider(TABLE, start).layout.sliders[0].active == active


def test_energy_gap_shows_every_tuned_run_and_its_correlation():
    table = fake(recipes=[("ft", 1e-4), ("ft", 1e-5), ("lipsum", 1e-4)])
    figure = figures.energy_gap(table)
    titles = [note.text for note in figure.layout.annotations]
    tuned = table[(table.alpha == 1) & (table.role == "shift")]
    for column, shift in enumerate(("art", "sketch")):
        part = tuned[tuned.split == f"{shift}/test"].pivot(index="run", columns="metric", values="mean")
        assert titles[column] == f"{shift}<br><sub>{correlation(part.energy_gap, part.relative_accuracy)}</sub>"
        drawn = [t for t in figure.data if t.xaxis == ("x" if column == 0 else "x2")]
        points = sorted((x, y) for trace in drawn for x, y in zip(trace.x, trace.y, strict=True))
        assert points == sorted(zip(part.energy_gap, part.relative_accuracy, strict=True))
        assert len(points) == 6


def test_wise_curves_draw_every_recipe():
    table = fake(recipes=[("ft", 1e-4), ("ft", 1e-5), ("lipsum", 1e-4)])
    figure = figures.wise_curves(table)
    assert [(trace.name, trace.showlegend) for trace in figure.data] == [
        ("FT", True), ("FT", False), ("Lipsum-FT", True)
    ]  # fmt: skip
    for trace, (method, lr) in zip(figure.data, [("ft", 1e-5), ("ft", 1e-4), ("lipsum", 1e-4)], strict=True):
        assert list(trace.customdata) == list(ALPHAS)
        want = [100 * mean(table, metric="accuracy", method=method, lr=lr, role="shift", alpha=a) for a in ALPHAS]
        assert list(trace.y) == pytest.approx(want)


def test_training_curves_show_each_term():
    metrics = [{"step": s, "loss": 3.0 / s, "lr": 1e-5, "cross_entropy": 2.0 / s, "lipsum": 1.0 / s} for s in (1, 2)]
    figure = figures.training_curves([*metrics, {"step": 2, "val_accuracy": 0.25}])
    drawn = {trace.name: (list(trace.x), list(trace.y)) for trace in figure.data}
    assert drawn == {
        "loss": ([1, 2], [3.0, 1.5]),
        "cross entropy": ([1, 2], [2.0, 1.0]),
        "lipsum": ([1, 2], [1.0, 0.5]),
        "validation": ([2], [25.0]),
    }


def test_split_bars_show_percent_of_each_alpha():
    one = TABLE[TABLE.run == TABLE.run[0]]
    figure = figures.split_bars(one)
    assert [bar.name for bar in figure.data] == ["zero-shot", "WiSE, alpha 0.5", "tuned"]
    for bar, alpha in zip(figure.data, ALPHAS, strict=True):
        want = {s.split("/")[0]: 100 * mean(one, metric="accuracy", split=s, alpha=alpha) for s in list(SPLITS)[1:]}
        assert dict(zip(bar.x, bar.y, strict=True)) == pytest.approx(want)


def test_contact_sheet_puts_every_tile_in_its_place():
    tiles = {d: [np.full((4, 4, 3), 10 * row + col, np.uint8) for col in range(3)] for row, d in enumerate("ab")}
    figure = figures.contact_sheet(tiles, ["x", "y", "z"])
    grid = np.asarray(figure.data[0].z)
    for row, col in itertools.product(range(2), range(3)):
        assert (grid[4 * row : 4 * row + 4, 4 * col : 4 * col + 4] == 10 * row + col).all()
    assert list(figure.layout.xaxis.tickvals) == [2, 6, 10]
    assert list(figure.layout.yaxis.ticktext) == ["a", "b"]


def test_a_method_looks_the_same_whatever_is_beside_it_in_the_registry_order():
    assert list(figures.style(["flyp", "ft"])) == ["ft", "flyp"]
    assert len({look[1:] for look in figures.style(["ft", "lipsum", "flyp"]).values()}) == 3


def many(count):
    """Methods and combinations by name."""
    return [*METHODS, *(f"{name}+{after}" for name in METHODS for after in POSTHOC)][:count]


def test_64_methods_look_different():
    looks = figures.style(many(64))
    titles, colours, symbols, dashes = zip(*looks.values(), strict=True)
    assert len(set(titles)) == len({*zip(colours, symbols, strict=True)}) == 64
    assert len({*zip(colours[:32], dashes[:32], strict=True)}) == 32
    assert len({*colours[:8]}) == len({*symbols[:8]}) == 8  # few methods differ in both


def test_many_methods_are_drawn_without_numbers_on_the_bars():
    table = fake(recipes=[(name, 1e-4) for name in many(18)], seeds=(0,))
    few, figure = figures.wise_slider(TABLE), figures.wise_slider(table)
    for one, numbers in ((few, {"%{y:.0f}"}), (figure, {None})):
        assert {trace.texttemplate for trace in one.data if trace.type == "bar"} == numbers
    assert sum(trace.type == "bar" for trace in figure.data) == 18 + 1
    titles = [tables.title_of(name) for name in tables.ordered(many(18))]
    assert [trace.name for trace in figures.wise_curves(table).data] == titles
    assert len({trace.name for trace in figures.energy_gap(table).data}) == 18


def test_an_ensemble_is_drawn_wherever_it_has_numbers():
    table, title = with_ensemble(), "FT + output ensemble"
    assert title in {trace.name for trace in figures.wise_curves(table).data}
    assert "ft+output_ensemble" in {trace.legendgroup for trace in figures.wise_slider(table).data}
    gap = figures.energy_gap(table)
    assert {trace.name for trace in gap.data} == {"FT", "Lipsum-FT"}
    assert all(np.isfinite(trace.x).all() for trace in gap.data)
    without = figures.energy_gap(table[table.method != "ft+output_ensemble"])
    assert [note.text for note in gap.layout.annotations] == [note.text for note in without.layout.annotations]


def test_ensembles_alone_have_no_energy_gap():
    table = with_ensemble()
    with pytest.raises(ConfigError, match="no tuned model with energy_gap"):
        figures.energy_gap(table[table.method == "ft+output_ensemble"])


def test_table_shows_the_frame():
    frame = pd.DataFrame({"method": ["FT", "FLYP"], "accuracy": ["1.0", "2.0"]})
    drawn = figures.table(frame).data[0]
    assert list(drawn.header["values"]) == ["<b>method</b>", "<b>accuracy</b>"]
    assert [list(column) for column in drawn.cells["values"]] == [["FT", "FLYP"], ["1.0", "2.0"]]


@pytest.mark.parametrize("key", ["manifest", "manifest_digest", "model", "model_digest", "reference", "selection"])
def test_runs_that_cannot_be_compared_are_refused(key):
    table = TABLE.copy()
    table.loc[table.method == "ft", key] = "other"
    for figure in (figures.energy_gap, figures.wise_slider, figures.wise_curves, tables.results_table):
        with pytest.raises(ConfigError, match=f"several kinds of {key}"):
            figure(table)


def test_a_slider_needs_both_ends():
    for missing in (0.0, 1.0):
        with pytest.raises(ConfigError, match="alpha"):
            figures.wise_slider(TABLE[TABLE.alpha != missing])


def test_a_method_scored_at_fewer_alphas_is_not_slid():
    table = TABLE[~((TABLE.method == "ft") & (TABLE.alpha == 0.5))]
    figure = figures.wise_slider(table)
    assert [step.label for step in figure.layout.sliders[0].steps] == ["0", "0.5", "1"]
    assert {trace.legendgroup for trace in figure.data} == {"lipsum", None}
