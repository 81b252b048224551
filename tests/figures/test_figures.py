"""Figures show the numbers of the table they are given: read back from traces, sliders, titles."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st
from scipy import stats
from test_sweep import toy, toy_sweep
from test_table import ALPHAS, SPLITS, TABLE, fake, mean, with_ensemble

from clipft.diagnostics.energy_map import EnergyMap
from clipft.errors import ConfigError
from clipft.figures.accuracy import accuracy_figure
from clipft.figures.calibration import reliability_figure
from clipft.figures.confusions import confusion_figure
from clipft.figures.distortion import distortion_figure
from clipft.figures.energy_gap import Choice, class_figure, energy_gap_figure, leave_one_out_figure
from clipft.figures.energy_map import energy_map_figure
from clipft.figures.images import contact_sheet_figure
from clipft.figures.style import COLOURS, GREY, KNOWN_BEST, look_of, style
from clipft.figures.tables import table_figure, tables_figure
from clipft.figures.trade_off import choice_figure, trade_off_figure
from clipft.figures.training import moving_average, training_figure
from clipft.figures.weight_path import layer_figure, path_figure
from clipft.figures.wise import curves_figure, sweep_figure, wise_curve_figure, wise_slider_figure
from clipft.methods import METHODS, POSTHOC
from clipft.metrics.calibration import reliability
from clipft.metrics.correlation import Correlation, correlation
from clipft.papers.published import published
from clipft.runs import table as tables
from clipft.runs.confusion import confusion_table
from clipft.runs.names import ordered, title_of


def panel(figure, axis, mode=None):
    """The traces on one x axis, of one mode where it is given."""
    traces = [trace for trace in figure.data if trace.xaxis == axis]
    return [trace for trace in traces if mode in (None, trace.mode)]


def marks(traces):
    """Name -> the points of a trace of markers, in order."""
    return {t.name: [*zip(t.x, t.y, strict=True)] for t in traces if t.mode == "markers"}


def titles_of_panels(figure):
    return [note.text for note in figure.layout.annotations]


def test_wise_slider_moves_the_markers_along_the_curves():
    figure = wise_slider_figure(TABLE)
    (slider,) = figure.layout.sliders
    assert [step.label for step in slider.steps] == ["0", "0.5", "1"]
    assert slider.active == 1
    for alpha, step in zip(ALPHAS, slider.steps, strict=True):
        changes, moving = step.args
        markers = moving[::2]
        bars = moving[1::2]
        for i, method in enumerate(("ft", "lipsum")):
            here = {"metric": "accuracy", "method": method, "alpha": alpha}
            x, y = (100 * mean(TABLE, role=role, **here) for role in ("reference", "shift"))
            assert changes["x"][2 * i] == pytest.approx([x])
            assert changes["y"][2 * i] == pytest.approx([y])
            want = [
                100 * mean(TABLE, split=split, **here)
                for split in ("real/test", "art/test", "sketch/test")
            ]
            assert list(changes["y"][2 * i + 1]) == pytest.approx(want)
            curve = figure.data[markers[i] - 1]
            at = list(curve.customdata).index(alpha)
            assert (curve.x[at], curve.y[at]) == pytest.approx((x, y))
            if alpha == 0.5:  # where the slider stands at first
                assert (
                    figure.data[markers[i]].x[0],
                    figure.data[markers[i]].y[0],
                ) == pytest.approx((x, y))
                assert list(figure.data[bars[i]].y) == pytest.approx(want)


def test_wise_slider_never_sends_a_null():
    """plotly.js's restyle deletes a property that it is given as null: bars would lose names."""
    for step in wise_slider_figure(TABLE).layout.sliders[0].steps:
        changes, moving = step.args
        for values in changes.values():
            assert len(values) == len(moving)
            assert [value for value in values if value is None] == []


@pytest.mark.parametrize(("start", "active"), [(0.0, 0), (0.2, 0), (0.3, 1), (1.0, 2)])
def test_wise_slider_starts_at_the_nearest_alpha(start, active):
    assert wise_slider_figure(TABLE, start).layout.sliders[0].active == active


def numbered(traces):
    """Number -> the point that has it."""
    return {
        number: point
        for trace in traces
        if trace.meta
        for number, point in zip(trace.meta["id"], zip(trace.x, trace.y, strict=True), strict=True)
    }


GAPS = fake(recipes=[("ft", 1e-4), ("ft", 1e-5), ("lipsum", 1e-4)])
RUNS = sorted(GAPS.run.unique())


def of_shift(split, alpha=1.0, end="mean"):
    """A row per run of GAPS, a column per metric."""
    rows = GAPS[(GAPS.alpha == alpha) & (GAPS.split == split)]
    return rows.pivot(index="run", columns="metric", values=end)


@pytest.mark.parametrize(("axis", "shift"), [("x", "art"), ("x2", "sketch")])
def test_energy_gap_shows_every_tuned_run_and_its_correlation(axis, shift):
    figure = energy_gap_figure(GAPS)
    part = of_shift(f"{shift}/test")
    points = numbered(panel(figure, axis))
    assert {RUNS[number]: point for number, point in points.items()} == {
        run: (row.energy_gap, row.relative_accuracy) for run, row in part.iterrows()
    }

    title = titles_of_panels(figure)[("x", "x2").index(axis)]
    recipe = GAPS.drop_duplicates("run").set_index("run").recipe
    whole = correlation(part.energy_gap, part.relative_accuracy, list(recipe[part.index]))
    assert str(whole).endswith("n = 6 of 3 recipes")
    assert whole.short.endswith("n = 6 (3)")
    assert "n: runs (recipes)" in figure.layout.title.text
    changes = {}
    for pair in itertools.combinations(part.index, 2):
        rest = part.drop(index=list(pair))
        without = correlation(rest.energy_gap, rest.relative_accuracy, list(recipe[rest.index]))
        changes[abs(without.r - whole.r)] = without
    lines = [shift, f"<sub>{whole.short}</sub>"]
    lines.append(f"<sub>without two: {changes[max(changes)].bare}</sub>")
    assert title == "<br>".join(lines)


@pytest.mark.parametrize(("axis", "shift"), [("x", "art"), ("x2", "sketch")])
def test_energy_gap_has_the_tables_intervals_on_bars_and_hover(axis, shift):
    low = of_shift(f"{shift}/test", end="low")
    high = of_shift(f"{shift}/test", end="high")
    for trace in panel(energy_gap_figure(GAPS), axis):
        if not trace.meta:
            continue
        for i, number in enumerate(trace.meta["id"]):
            run = RUNS[number]
            ends = [
                (trace.x, trace.error_x, "energy_gap"),
                (trace.y, trace.error_y, "relative_accuracy"),
            ]
            for values, bars, metric in ends:
                assert values[i] + bars.array[i] == pytest.approx(high[metric][run])
                assert values[i] - bars.arrayminus[i] == pytest.approx(low[metric][run])
                name = metric.replace("_", " ")
                interval = f"[{low[metric][run]:.3f}, {high[metric][run]:.3f}]"
                assert f"{name} {values[i]:.3f} {interval}" in trace.customdata[i]
            assert f"run {run}<br>" in trace.customdata[i]
            about = GAPS[GAPS.run == run].iloc[0]
            called = f"{title_of(about.method)}, lr {about.lr:g}, 100 steps, seed {about.seed}<br>"
            assert trace.customdata[i].startswith(called)


def test_energy_gap_draws_the_line_and_its_interval():
    figure = energy_gap_figure(GAPS)
    for axis, shift in (("x", "art/test"), ("x2", "sketch/test")):
        part = of_shift(shift)
        band, line = panel(figure, axis, "lines")
        want = stats.linregress(part.energy_gap, part.relative_accuracy)
        np.testing.assert_allclose(line.y, want.intercept + want.slope * np.array(line.x))
        assert (min(line.x), max(line.x)) == (part.energy_gap.min(), part.energy_gap.max())
        half = len(band.x) // 2
        upper = np.array(band.y[:half]) - line.y
        lower = np.array(line.y) - band.y[half:][::-1]
        np.testing.assert_allclose(upper, lower)
        assert (upper > 0).all()


@pytest.mark.parametrize("count", [1, 2])
def test_energy_gap_of_few_runs_has_no_line(count):
    figure = energy_gap_figure(GAPS[GAPS.run.isin(RUNS[:count])])
    assert panel(figure, "x", "lines") == []
    assert "without two" not in json.dumps(titles_of_panels(figure))


def test_energy_gap_has_the_zero_shot_model_as_a_star_that_does_not_count():
    figure = energy_gap_figure(GAPS)
    for axis, shift in (("x", "art/test"), ("x2", "sketch/test")):
        (star,) = [trace for trace in panel(figure, axis) if trace.name == "zero-shot"]
        first = of_shift(shift, alpha=0.0).iloc[0]
        assert (*star.x, *star.y) == (first.energy_gap, first.relative_accuracy)
        assert star.marker.symbol == "star" and star.meta is None
    alone = energy_gap_figure(GAPS[GAPS.alpha == 1])
    assert "zero-shot" not in {trace.name for trace in alone.data}
    assert titles_of_panels(alone) == titles_of_panels(figure)


def test_energy_gap_tells_learning_rates_by_size_and_seeds_by_number():
    figure = energy_gap_figure(GAPS)
    sizes = {}
    for trace in panel(figure, "x"):
        for i, number in enumerate(trace.meta["id"] if trace.meta else ()):
            about = GAPS[GAPS.run == RUNS[number]].iloc[0]
            assert trace.text[i] == str(about.seed)
            sizes.setdefault(about.lr, set()).add(trace.marker.size[i])
    assert len(sizes[1e-4]) == len(sizes[1e-5]) == 1
    assert max(sizes[1e-5]) < min(sizes[1e-4])
    said = "larger marker: higher learning rate (1e-05, 0.0001); number: seed, where it has room"
    assert said in figure.layout.title.text

    one = energy_gap_figure(GAPS[(GAPS.seed == 0) & (GAPS.lr == 1e-4)])
    assert {trace.mode for trace in one.data if trace.meta} == {"markers"}
    assert "larger marker" not in one.layout.title.text and "number" not in one.layout.title.text


def test_energy_gap_of_a_choice():
    """Numbers and colours are those of the whole; the chosen run has a ring and is named."""
    whole = energy_gap_figure(GAPS)
    run = RUNS[0]
    figure = energy_gap_figure(GAPS, choice=Choice(["sketch/test"], ["ft"], run))
    (title,) = titles_of_panels(figure)
    assert title.startswith("sketch<br>") and "n = 4" in title
    colours = {trace.name: trace.marker.color for trace in whole.data if trace.meta}
    points = [trace for trace in figure.data if trace.meta]
    assert [(trace.name, trace.marker.color) for trace in points] == [("FT", colours["FT"])]
    every = numbered(panel(whole, "x2"))
    assert numbered(points) == {n: every[n] for n in every if RUNS[n].startswith("ft")}
    (ring,) = [t for t in figure.data if t.marker.symbol == "circle-open"]
    assert [*zip(ring.x, ring.y, strict=True)] == [every[RUNS.index(run)]]
    assert f"ringed: FT, lr 0.0001, 100 steps, seed 0, run {run}" in figure.layout.title.text
    with pytest.raises(ConfigError, match="no run with energy_gap"):
        energy_gap_figure(GAPS, choice=Choice(methods=[]))


def test_wise_curves_draw_every_recipe():
    table = fake(recipes=[("ft", 1e-4), ("ft", 1e-5), ("lipsum", 1e-4)])
    figure = wise_curve_figure(table)
    assert [(trace.name, trace.showlegend) for trace in figure.data] == [
        ("FT", True),
        ("FT", False),
        ("Lipsum-FT", True),
    ]
    for trace, (method, lr) in zip(
        figure.data, [("ft", 1e-5), ("ft", 1e-4), ("lipsum", 1e-4)], strict=True
    ):
        assert list(trace.customdata) == list(ALPHAS)
        want = [
            100 * mean(table, metric="accuracy", method=method, lr=lr, role="shift", alpha=a)
            for a in ALPHAS
        ]
        assert list(trace.y) == pytest.approx(want)


TRAINING = [
    {"step": s, "loss": 3.0 / s, "lr": 1e-5, "cross_entropy": 2.0 / s, "lipsum": 1.0 / s}
    for s in (1, 2)
] + [{"step": 2, "val_accuracy": 0.25}]


def test_training_curves_show_each_term():
    figure = training_figure(TRAINING)
    drawn = {trace.name: (list(trace.x), list(trace.y)) for trace in figure.data}
    # a row after the first weighs 1 against 0.9: (0.9 * 3 + 1.5) / 1.9
    assert drawn == {
        "loss as logged": ([1, 2], [3.0, 1.5]),
        "loss": ([1, 2], [3.0, pytest.approx(4.2 / 1.9)]),
        "cross entropy as logged": ([1, 2], [2.0, 1.0]),
        "cross entropy": ([1, 2], [2.0, pytest.approx(2.8 / 1.9)]),
        "lipsum as logged": ([1, 2], [1.0, 0.5]),
        "lipsum": ([1, 2], [1.0, pytest.approx(1.4 / 1.9)]),
        "validation": ([2], [25.0]),
    }
    (loss,) = [trace for trace in figure.data if trace.name == "loss"]
    assert list(loss.customdata) == [3.0, 1.5]  # what the hover says beside the average
    assert [trace.name for trace in figure.data if trace.showlegend is not False] == [
        "loss", "cross entropy", "lipsum", "validation"
    ]  # fmt: skip


def test_training_curves_end_at_the_last_step_and_are_named():
    figure = training_figure(TRAINING, title="FT, seed 3", last_step=50)
    assert {axis.range for axis in figure.select_xaxes()} == {(0, 50)}
    assert figure.layout.title.text == "FT, seed 3"
    assert {axis.range for axis in training_figure(TRAINING).select_xaxes()} == {None}
    assert len(training_figure([]).data) == 1  # before the first row


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60))
def test_the_moving_average_is_that_of_pandas(values):
    want = pd.Series(values).ewm(alpha=0.1, adjust=True).mean()
    assert moving_average(values) == pytest.approx(want.tolist(), abs=1e-6)


def test_the_moving_average_of_a_constant_is_that_constant():
    """Else the first rows would be drawn towards 0."""
    assert moving_average([2.5] * 100) == pytest.approx([2.5] * 100)


def test_split_bars_show_percent_of_each_alpha():
    one = TABLE[TABLE.run == TABLE.run[0]]
    figure = accuracy_figure(one)
    assert [bar.name for bar in figure.data] == ["zero-shot", "WiSE, alpha 0.5", "tuned"]
    for bar, alpha in zip(figure.data, ALPHAS, strict=True):
        want = {
            s.split("/")[0]: 100 * mean(one, metric="accuracy", split=s, alpha=alpha)
            for s in list(SPLITS)[1:]
        }
        assert dict(zip(bar.x, bar.y, strict=True)) == pytest.approx(want)


def test_contact_sheet_puts_every_tile_in_its_place():
    tiles = {
        d: [np.full((4, 4, 3), 10 * row + col, np.uint8) for col in range(3)]
        for row, d in enumerate("ab")
    }
    figure = contact_sheet_figure(tiles, ["x", "y", "z"])
    grid = np.asarray(figure.data[0].z)
    for row, col in itertools.product(range(2), range(3)):
        assert (grid[4 * row : 4 * row + 4, 4 * col : 4 * col + 4] == 10 * row + col).all()
    assert list(figure.layout.xaxis.tickvals) == [2, 6, 10]
    assert list(figure.layout.yaxis.ticktext) == ["a", "b"]


def test_a_method_looks_the_same_whatever_is_beside_it_in_the_registry_order():
    assert list(style(["flyp", "ft"])) == ["ft", "flyp"]
    assert len({look[1:] for look in style(["ft", "lipsum", "flyp"]).values()}) == 3


def many(count):
    """Methods and combinations by name."""
    return [*METHODS, *(f"{name}+{after}" for name in METHODS for after in POSTHOC)][:count]


def test_64_methods_look_different():
    looks = style(many(64))
    titles, colours, symbols, _ = zip(*looks.values(), strict=True)
    assert len(set(titles)) == len({*zip(colours, symbols, strict=True)}) == 64
    for count, kinds in ((32, ("colour", "dash")), (8, ("colour",)), (8, ("symbol",))):
        few = style(many(count)).values()
        assert len({tuple(getattr(look, kind) for kind in kinds) for look in few}) == count


def test_the_best_known_methods_look_alike_in_every_set():
    """A page may hold figures of several sets of runs; a colour means one method there."""
    every = style(METHODS)
    for method in KNOWN_BEST:
        assert (
            style([method])[method] == style([method, "lp", "mse_class"])[method] == every[method]
        )
    assert len({every[method].colour for method in KNOWN_BEST}) == 8


def test_methods_and_splits_share_no_colour():
    others = {look_of(number, "").colour for number in range(20)}
    assert others.isdisjoint({look.colour for look in style(many(20)).values()} | {GREY})


def test_many_methods_are_drawn_without_numbers_on_the_bars():
    table = fake(recipes=[(name, 1e-4) for name in many(18)], seeds=(0,))
    few = wise_slider_figure(TABLE)
    figure = wise_slider_figure(table)
    assert {bar.texttemplate for bar in few.select_traces({"type": "bar"})} == {"%{y:.0f}"}
    assert {bar.texttemplate for bar in figure.select_traces({"type": "bar"})} == {None}
    assert sum(trace.type == "bar" for trace in figure.data) == 18 + 1
    titles = [title_of(name) for name in ordered(many(18))]
    assert [trace.name for trace in wise_curve_figure(table).data] == titles
    assert len({trace.name for trace in energy_gap_figure(table).data if trace.meta}) == 18


def test_an_ensemble_is_drawn_wherever_it_has_numbers():
    table = with_ensemble()
    title = "FT + output ensemble"
    assert title in {trace.name for trace in wise_curve_figure(table).data}
    assert "ft+output_ensemble" in {trace.legendgroup for trace in wise_slider_figure(table).data}
    gap = energy_gap_figure(table)
    assert {trace.name for trace in gap.data if trace.meta} == {"FT", "Lipsum-FT"}
    assert all(np.isfinite(trace.x).all() for trace in gap.data)
    without = energy_gap_figure(table[table.method != "ft+output_ensemble"])
    assert titles_of_panels(gap) == titles_of_panels(without)


def test_ensembles_alone_have_no_energy_gap():
    table = with_ensemble()
    with pytest.raises(ConfigError, match="no run with energy_gap"):
        energy_gap_figure(table[table.method == "ft+output_ensemble"])


def test_table_shows_the_frame():
    frame = pd.DataFrame({"method": ["FT", "FLYP"], "accuracy": ["1.0", "2.0"]})
    drawn = table_figure(frame).data[0]
    assert list(drawn.header["values"]) == ["<b>method</b>", "<b>accuracy</b>"]
    assert [list(column) for column in drawn.cells["values"]] == [["FT", "FLYP"], ["1.0", "2.0"]]


@pytest.mark.parametrize("key", ["manifest_digest", "model_digest", "reference", "selection"])
def test_runs_that_cannot_be_compared_are_refused(key):
    table = TABLE.copy()
    table.loc[table.method == "ft", key] = "other"
    for figure in (energy_gap_figure, wise_slider_figure, wise_curve_figure, tables.results_table):
        with pytest.raises(ConfigError, match=f"several kinds of {key.removesuffix('_digest')}"):
            figure(table)


def test_a_slider_needs_both_ends():
    for missing in (0.0, 1.0):
        with pytest.raises(ConfigError, match="alpha"):
            wise_slider_figure(TABLE[TABLE.alpha != missing])


def test_a_method_scored_at_fewer_alphas_is_not_slid():
    table = TABLE[~((TABLE.method == "ft") & (TABLE.alpha == 0.5))]
    figure = wise_slider_figure(table)
    assert [step.label for step in figure.layout.sliders[0].steps] == ["0", "0.5", "1"]
    assert {trace.legendgroup for trace in figure.data} == {"lipsum", None}


# --- diagnostics


def numbers(figure):
    """The figure's JSON, which must hold no NaN: browsers cannot read it."""
    text = figure.to_json()
    assert "NaN" not in text and "Infinity" not in text
    return json.loads(text)


def distortions():
    """As `distortion_table` has them: three runs on two shifts."""
    rows = []
    for kind, size in (("raw", 10.0), ("normalised", 0.1)):
        for run, method in enumerate(["ft", "ft", "lipsum"]):
            names = {"run": f"r{run}", "method": method, "lr": 1e-4, "steps": 9, "seed": run}
            reference = size + run
            shifted = size - run / 10
            first = {"split": "sketch/test", "verdict": "holds", "shifted": shifted}
            second = {"split": "art/test", "verdict": "open", "shifted": shifted - 1}
            for shift in (first, second):
                difference = reference - shift["shifted"]
                interval = {"low": difference - 0.1, "high": difference + 0.3}
                means = {"kind": kind, "reference": reference, "difference": difference}
                rows.append(names | means | interval | shift)
    return pd.DataFrame(rows)


@pytest.mark.parametrize("kind", ["raw", "normalised"])
def test_distortion_draws_every_run_on_every_shift(kind):
    table = distortions()
    figure = distortion_figure(table, kind)
    for axis, split in (("x", "art/test"), ("x2", "sketch/test")):
        here = table[(table.kind == kind) & (table.split == split)].set_index("run")
        points = {f"r{n}": point for n, point in numbered(panel(figure, axis)).items()}
        assert points == {run: (row.reference, row.shifted) for run, row in here.iterrows()}
        (line,) = panel(figure, axis, "lines")
        assert list(line.x) == list(line.y)
    notes = titles_of_panels(figure)
    assert [note.split("<br>")[0] for note in notes] == ["art", "sketch"]
    assert (
        "holds in 0, fails in 0, open in 3" in notes[0]
        and "holds in 3, fails in 0, open in 0" in notes[1]
    )
    numbers(figure)


def test_a_bar_of_distortion_crosses_the_line_where_the_interval_holds_0():
    table = distortions().assign(low=-1.0, high=0.5, difference=0.0, verdict="open")
    table["shifted"] = table.reference
    table.loc[table.run == "r0", ["low", "high"]] = (0.2, 0.5)
    table.loc[table.run == "r0", "difference"] = 0.3
    table.loc[table.run == "r0", "shifted"] = table.reference - 0.3
    for trace in distortion_figure(table).data:
        for i, number in enumerate(trace.meta["id"] if trace.meta else ()):
            top = trace.y[i] + trace.error_y.array[i]
            bottom = trace.y[i] - trace.error_y.arrayminus[i]
            row = table[(table.run == f"r{number}") & (table.kind == "raw")].iloc[0]
            assert (bottom < trace.x[i] < top) == (row.low < 0 < row.high)
            assert (top - bottom) == pytest.approx(row.high - row.low)
            assert f"[{row.low:+.3f}, {row.high:+.3f}]: {row.verdict}" in trace.customdata[i]
            assert f"run r{number}<br>" in trace.customdata[i]


def test_distortion_of_one_shift_with_a_chosen_run():
    figure = distortion_figure(distortions(), shifts=["sketch/test"], run="r1")
    assert len(titles_of_panels(figure)) == 1
    (ring,) = [t for t in figure.data if t.marker.symbol == "circle-open"]
    assert (*ring.x, *ring.y) == numbered(figure.data)[1]
    assert "ringed: FT, lr 0.0001, 9 steps, seed 1, run r1" in figure.layout.title.text
    with pytest.raises(ConfigError, match="no feature distortion on nowhere"):
        distortion_figure(distortions(), shifts=["nowhere"])


def test_distortion_of_an_unknown_kind_is_refused():
    with pytest.raises(ConfigError, match="'rwa'"):
        distortion_figure(distortions(), "rwa")


def places_of(names, seed=0):
    """A map of images of these splits at random places."""
    draw = np.random.default_rng(seed)
    before, after = draw.normal(size=(2, len(names), 2))
    return EnergyMap(
        tuple(names), tuple("abcdefgh"[: len(names)]), np.arange(len(names)), before, after
    )


def test_energy_map_puts_every_image_where_it_lies():
    found = places_of(["real/test"] * 3 + ["art/test"] * 2)
    figure = energy_map_figure(found)
    for axis, places in (("x", found.before), ("x2", found.after)):
        traces = {trace.legendgroup: trace for trace in panel(figure, axis)}
        drawn = {split: np.stack([t.x, t.y], 1) for split, t in traces.items()}
        np.testing.assert_array_equal(drawn["real"], places[:3])
        np.testing.assert_array_equal(drawn["art"], places[3:])
        assert list(traces["art"].customdata) == ["class 3<br>art: d", "class 4<br>art: e"]
        assert [list(t.meta["id"]) for t in traces.values()] == [[0, 1, 2], [3, 4]]
    assert [t.showlegend for t in figure.data] == [True, False] * 2
    assert "5 images" in figure.layout.title.text


def test_energy_map_joins_both_places_of_an_image():
    found = places_of(["art/test", "real/test", "art/test"])
    figure = energy_map_figure(found, places="both")
    joined = {}
    for trace in figure.data:
        if trace.mode != "lines":
            continue
        for place in range(0, len(trace.x), 3):
            three = slice(place, place + 3)
            (number,) = set(trace.meta["with"][three])
            joined[number] = np.stack([trace.x[three], trace.y[three]], 1)
    for number in range(3):
        wanted = [found.before[number], found.after[number], [np.nan, np.nan]]
        np.testing.assert_array_equal(joined[number], wanted)
    assert [t.name for t in figure.data if t.showlegend] == ["art", "real"]


def test_energy_map_of_one_model():
    found = places_of(["art/test", "real/test"])
    for places, wanted in (("before", found.before), ("after", found.after)):
        figure = energy_map_figure(found, places=places)
        drawn = [[trace.x[0], trace.y[0]] for trace in figure.data]
        np.testing.assert_array_equal(drawn, wanted)


def test_energy_map_says_what_the_run_says_of_an_image():
    sweep = toy_sweep(n=6)
    rows = sweep.rows["sketch/test"]
    ids = tuple(sweep.ids[rows])
    nowhere = np.zeros((len(rows), 2))
    found = EnergyMap(("sketch/test",) * len(rows), ids, sweep.label[rows], nowhere, nowhere)
    (trace,) = energy_map_figure(found, sweep, places="after").data
    for said, row in zip(trace.customdata, rows, strict=True):
        name, image, *models, gap = said.split("<br>")
        assert name == sweep.classes[sweep.label[row]]
        assert image == f"sketch: {sweep.ids[row]}"
        for text, model, predicted in zip(
            models, ("zero-shot", "tuned"), sweep.prediction[[0, -1], row], strict=True
        ):
            sign = "✓" if predicted == sweep.label[row] else "✗"
            assert text == f"{model} {sign} {sweep.classes[predicted]}"
        assert float(gap.split()[2]) == pytest.approx(sweep.energy_gap[-1, row], abs=0.0051)


def test_energy_map_writes_names_as_names():
    """Plotly reads tags in hover texts."""
    sweep = replace(toy_sweep(n=2), classes=("<b>a</b> & b",) * 4)
    found = places_of(["sketch/test"])
    found = replace(found, ids=(str(sweep.ids[sweep.rows["sketch/test"]][0]),))
    (trace,) = energy_map_figure(found, sweep, places="after").data
    assert trace.customdata[0].startswith("&lt;b&gt;a&lt;/b&gt; &amp; b<br>")


def test_maps_of_two_runs_are_told_apart_by_their_titles(tmp_path):
    found = places_of(["sketch/test"])
    found = replace(found, ids=("sketch/test/0.png",))
    sweep = toy_sweep(n=2)
    titles = []
    for title, folder in (("FT, lr 1e-05, seed 0", "abc"), ("FT, lr 1e-05, seed 1", "abd")):
        run = replace(sweep, title=title, folder=tmp_path / folder)
        titles.append(energy_map_figure(found, run).layout.title.text)
    assert "FT, lr 1e-05, seed 0" in titles[0] and "run abc, 1 images" in titles[0]
    assert "FT, lr 1e-05, seed 1" in titles[1] and "run abd, 1 images" in titles[1]


def test_energy_map_without_gaps_is_coloured_by_split():
    found = places_of(["art/test", "real/test"])
    by_gap = energy_map_figure(found, colour="gap")
    assert by_gap.to_json() == energy_map_figure(found, colour="split").to_json()


def test_an_energy_map_of_unknown_places_or_colours_is_refused():
    found = places_of(["art/test"])
    for wrong in ({"places": "bth"}, {"colour": "clas"}):
        with pytest.raises(ConfigError, match="did you mean"):
            energy_map_figure(found, **wrong)


def test_an_energy_map_of_another_runs_images_is_refused():
    with pytest.raises(ConfigError, match="which toy was not scored on"):
        energy_map_figure(places_of(["art/test"]), toy_sweep())


def test_reliability_leaves_out_empty_bins():
    confidence = np.array([0.1, 0.15, 0.95, 0.99, 1.0])
    correct = np.array([0, 1, 1, 1, 0], bool)
    figure = reliability_figure({"FT": reliability(confidence, correct, 5)}, "On art")
    line, bars, ideal = figure.data
    nothing = [None, None, None]
    assert list(line.x) == [pytest.approx(0.125), *nothing, pytest.approx(0.98)]
    assert list(line.y) == [0.5, *nothing, pytest.approx(2 / 3)] and line.connectgaps
    assert list(line.customdata) == [2, 0, 0, 0, 3] and list(bars.y) == [2, *nothing, 3]
    np.testing.assert_allclose(bars.x, [0.1, 0.3, 0.5, 0.7, 0.9])
    np.testing.assert_allclose(bars.customdata[1], [0.2, 0.4])
    assert list(ideal.x) == list(ideal.y) == [0, 1] and figure.layout.title.text == "On art"
    numbers(figure)


def test_reliability_draws_methods_as_other_figures_do():
    diagram = reliability(np.array([0.3, 0.9]), np.array([True, False]), 5)
    names = ["zero-shot", "ft", "lipsum+tpgm", "my model"]
    figure = reliability_figure(dict.fromkeys(names, diagram))
    lines = [trace for trace in figure.data if trace.type == "scatter"][:-1]
    looks = style(["ft", "lipsum+tpgm"])
    assert [line.name for line in lines] == ["zero-shot", "FT", "Lipsum-FT + TPGM", "my model"]
    assert [line.marker.color for line in lines[1:3]] == [look.colour for look in looks.values()]
    assert (lines[0].marker.color, lines[0].marker.symbol) == (GREY, "star")
    assert lines[3].marker.color not in (GREY, *COLOURS)
    for line in lines:
        (bars,) = [one for one in figure.data if one.type == "bar" and one.name == line.name]
        assert (bars.marker.color, bars.legendgroup) == (line.marker.color, line.legendgroup)


def test_curves_of_two_runs_have_their_names():
    sweeps = [replace(toy_sweep(seed), title=f"toy {seed}") for seed in (0, 5)]
    figure = curves_figure(sweeps, alpha=None)
    assert not figure.layout.sliders and "at alpha" not in [trace.name for trace in figure.data]
    assert "toy 0" in figure.layout.title.text and "dotted: toy 5" in figure.layout.title.text
    (other,) = [trace for trace in figure.data if trace.name == "toy 5"]
    np.testing.assert_allclose(other.x, 100 * sweeps[1].accuracy[:, 0])
    assert other.showlegend and other.meta["id"] == 1
    assert other.marker.symbol[-1] == "diamond-open" and set(other.marker.symbol[:-1]) == {"circle"}

    moving = curves_figure(sweeps, alpha=0.6)
    (slider,) = moving.layout.sliders
    (mark,) = [trace for trace in moving.data if trace.name == "at alpha"]
    place = sweeps[0].alphas.tolist().index(0.6)
    assert slider.active == place
    assert mark.x[0] == pytest.approx(100 * sweeps[0].accuracy[place, 0])


def paths_of():
    """As `path_table` has them, in no order."""
    splits = {"real/val": "val", "real/test": "shift", "art/test": "shift"}
    rows = []
    for alpha in (1.0, 0.0, 0.5):
        for number, (split, role) in enumerate(splits.items()):
            wise = {"wise_accuracy": 0.5 + alpha / 4, "wise_nll": 1 + number}
            ensemble = {"ensemble_accuracy": 0.4 + number / 9, "ensemble_nll": 2 - alpha}
            rows.append({"alpha": alpha, "split": split, "role": role, **wise, **ensemble})
    return pd.DataFrame(rows)


def test_path_draws_both_kinds_on_every_test_split():
    table = paths_of()
    figure = path_figure(table)
    assert len(figure.data) == 2 * 2 * 2 and not [t for t in figure.data if "val" in t.legendgroup]
    for trace in figure.data:
        split, kind = trace.legendgroup.split()
        rows = table[table.split == split].sort_values("alpha")
        metric, factor = ("accuracy", 100) if trace.xaxis == "x" else ("nll", 1)
        assert list(trace.x) == [0.0, 0.5, 1.0]
        assert list(trace.y) == pytest.approx(list(factor * rows[f"{kind}_{metric}"]))
        assert trace.line.dash == ("solid" if kind == "wise" else "dot")


def test_layers_draw_what_moved_in_percent_with_the_head_last():
    table = pd.DataFrame(
        {
            "layer": ["head", "visual.conv1", "visual.transformer.resblocks.0", "logit_scale"],
            "distance": [1.0, 2.0, 0.0, 3.0],
            "relative": [0.1, 0.02, 0.0, np.nan],
        }
    )
    figure = layer_figure({"lipsum": table, "ft": table.assign(relative=table.relative * 2)})
    assert [trace.name for trace in figure.data] == ["FT", "Lipsum-FT"]
    assert [list(trace.x) for trace in figure.data] == [["conv1", "head"]] * 2
    assert list(figure.data[1].y) == pytest.approx([2.0, 10.0]) and list(
        figure.data[0].y
    ) == pytest.approx([4.0, 20.0])
    assert figure.layout.yaxis.type == "log"
    numbers(figure)


def test_leave_one_out_names_what_is_undefined():
    whole = Correlation(-0.5, -0.8, 0.1, 9)
    without = {
        "ft": Correlation(0.25, -0.5, 0.75, 6),
        "lipsum": Correlation(np.nan, np.nan, np.nan, 2),
    }
    figure = leave_one_out_figure({"art": (whole, without), "sketch": (without["lipsum"], {})})
    first, second = figure.data
    assert list(first.y) == ["all methods", "without FT", "without Lipsum-FT (undefined)"]
    assert list(first.x) == [-0.5, 0.25, None] and list(second.x) == [None]
    assert list(first.error_x.array) == [pytest.approx(0.6), 0.5, None]
    assert list(first.error_x.arrayminus) == [pytest.approx(0.3), 0.75, None]
    assert list(second.y) == ["all methods (undefined)"]
    assert titles_of_panels(figure) == ["art", "sketch"]
    assert numbers(figure)["data"][0]["x"] == [-0.5, 0.25, None]


def test_classes_draw_gap_against_change_and_name_the_most_moved():
    table = pd.DataFrame(
        {
            "class": ["bee", "ant", "owl", "fox"],
            "n": [3, 4, 5, 0],
            "zero_shot": [0.5, 0.5, 0.5, np.nan],
            "accuracy": [0.6, 0.4, 0.5, np.nan],
            "change": [0.1, -0.1, 0.0, np.nan],
            "energy_gap": [1.0, 3.0, 2.0, np.nan],
        }
    )
    figure = class_figure(table, labels=2)
    (trace,) = figure.data
    assert list(trace.x) == [3, 2, 1] and list(trace.y) == pytest.approx([-10, 0, 10])
    named = {note.text: (note.x, note.y) for note in figure.layout.annotations}
    assert named == {"ant": (3, pytest.approx(-10)), "owl": (2, 0)}
    assert [list(row) for row in trace.customdata] == [["ant", 4], ["owl", 5], ["bee", 3]]
    numbers(class_figure(table))


def test_classes_of_an_ensemble_have_no_gap_to_draw():
    table = pd.DataFrame(
        {"class": ["bee"], "n": [3], "zero_shot": [0.5], "accuracy": [0.6], "change": [0.1]}
    )
    with pytest.raises(ConfigError, match="energy gap"):
        class_figure(table)


def test_confusions_draw_both_counts_of_the_first_pairs():
    table = confusion_table(toy_sweep(n=60), "sketch/test", 0.6)
    figure = confusion_figure(table, most=3)
    before, after = figure.data
    rows = table.head(3)
    pairs = (rows["class"] + "<br>as " + rows["taken for"]).tolist()
    assert [trace.name for trace in figure.data] == ["zero-shot", "alpha 0.6"]
    for trace, column in ((before, "zero_shot"), (after, "here")):
        assert list(trace.y) == pairs and list(trace.x) == rows[column].tolist()
    first = rows.iloc[0]
    text = f"{first['class']} taken for {first['taken for']}<br>zero-shot {first.zero_shot} of"
    assert after.customdata[0].startswith(f"{text} {first.n} images<br>alpha 0.6 {first.here} (")
    title = figure.layout.title.text
    assert "toy" in title and f"sketch/test, 3 of {len(table)} pairs" in title
    numbers(figure)
    assert confusion_figure(confusion_table(toy_sweep(n=60))).data[1].name == "tuned"


def test_confusions_write_names_as_names():
    sweep = replace(toy_sweep(n=60), classes=("<b>a</b>", "b", "c", "<img>"), title="<i>x</i>")
    text = confusion_figure(confusion_table(sweep)).to_json()
    assert "&lt;img&gt;" in text
    for markup in ("<b>", "<img>", "<i>"):
        assert markup not in json.loads(text)["data"][0]["y"] and f'"{markup}' not in text


@pytest.mark.parametrize("wrong", [{"most": 0}, {"table": pd.DataFrame({"class": [1]})}])
def test_confusions_of_nothing_are_refused(wrong):
    given_ = {"table": confusion_table(toy_sweep(n=60))} | wrong
    with pytest.raises(ConfigError, match=r"most is 0|without 'taken for'; wanted: the table of"):
        confusion_figure(**given_)


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_trade_off_draws_the_changes(alpha):
    table = fake(recipes=[("ft", 1e-4), ("ft", 1e-5), ("lipsum", 1e-4)])
    figure = trade_off_figure(table, alpha=alpha)
    rows = tables.changes(table, alpha)
    drawn = marks(figure.data)
    assert {name: sorted(points) for name, points in drawn.items()} == {
        title_of(name): sorted(zip(100 * part.reference, 100 * part["shift"], strict=True))
        for name, part in rows.groupby("method")
    }
    (line,) = panel(figure, None, "lines")  # lipsum has one recipe: no line
    means = rows[rows.method == "ft"].groupby("lr")[["reference", "shift"]].mean()
    assert list(line.x) == pytest.approx(list(100 * means.reference))
    assert list(line.y) == pytest.approx(list(100 * means["shift"]))
    assert "6 runs" in figure.layout.title.text and "published" not in figure.layout.title.text


def test_trade_off_puts_the_papers_points_beside():
    paper = published("1")
    figure = trade_off_figure(TABLE, paper)
    ours = trade_off_figure(TABLE)
    assert [t.name for t in figure.data[: len(ours.data)]] == [t.name for t in ours.data]
    theirs = {t.name: (t.x[0], t.y[0]) for t in figure.data[len(ours.data) :]}
    zero = paper.set_index("method").loc["Zero-shot"]
    assert theirs == {
        f"{row.method}, published": pytest.approx(
            (100 * (row.reference - zero.reference), 100 * (row.shift - zero["shift"]))
        )
        for row in paper.itertuples()
        if row.method != "Zero-shot"
    }
    looks = {t.name: t.marker for t in figure.data if t.mode == "markers"}
    assert looks["FT, published"].color == looks["FT"].color
    assert looks["FT, published"].symbol == f"{looks['FT'].symbol}-open"
    assert "published" in figure.layout.title.text


def test_published_rows_without_zero_shot_are_refused():
    """Tables 6 to 10 have none to take a change against. The table is a notebook's parameter."""
    with pytest.raises(ConfigError, match=r"[Zz]ero-shot"):
        trade_off_figure(TABLE, published("6"))


def test_published_rows_are_compared_with_their_own_models_zero_shot():
    """Table 4 has three models; 06_trade_off passes a table as it is."""
    paper = published("4")
    figure = trade_off_figure(TABLE, paper)
    drawn = sorted(t.x[0] for t in figure.data if t.mode == "markers" and "published" in t.name)
    zero = paper[paper.method == "Zero-shot"].set_index("model").reference
    tuned = paper[paper.method != "Zero-shot"]
    assert drawn == pytest.approx(sorted(100 * (tuned.reference - tuned.model.map(zero))))


def test_choices_draw_a_point_per_run():
    table = pd.DataFrame(
        {
            "method": ["ft", "ft", "lipsum"],
            "accuracy: shift": [0.5, 0.6, 0.7],
            "energy_gap: shift": [0.55, 0.6, 0.65],
        }
    )
    figure = choice_figure(table, "what came of it")
    drawn = marks(figure.data)
    assert drawn["FT"] == [pytest.approx((50, 55)), pytest.approx((60, 60))]
    assert drawn["Lipsum-FT"] == [pytest.approx((70, 65))]
    assert "what came of it" in figure.layout.title.text
    models = choice_figure(table.drop(columns="method"))
    assert [(t.name, len(t.x)) for t in models.data] == [("models", 3), ("equal", 2)]


def sweep_steps(figure):
    """The slider's steps: label, what each trace becomes, layout."""
    (slider,) = figure.layout.sliders
    for step in slider.steps:
        changes, *layout, moving = step.args
        assert set(changes) == {"x", "y", "text", "customdata"}
        assert all(len(values) == len(moving) and None not in values for values in changes.values())
        places = {
            number: {key: values[i] for key, values in changes.items()}
            for i, number in enumerate(moving)
        }
        yield step.label, places, layout[0] if layout else {}


@pytest.mark.parametrize("seed", [0, 1])
def test_sweep_slider_moves_marker_bars_and_flips(seed):
    scores = toy(seed)
    sweep = toy_sweep(seed)
    figure = sweep_figure(sweep, 0.6)
    right = {(s.alpha, s.split): 100 * np.mean(s.prediction == s.label) for s in scores}
    predicted = {
        a: np.concatenate([s.prediction for s in scores if s.alpha == a and "val" not in s.split])
        for a in sweep.alphas
    }
    traces = list(enumerate(figure.data))
    names = {trace.name: number for number, trace in traces if trace.type == "scatter"}
    bars_named = {trace.name: number for number, trace in traces if trace.type == "bar"}
    assert figure.layout.sliders[0].active == 2
    for alpha, (label, places, _) in zip(sweep.alphas, sweep_steps(figure), strict=True):
        assert float(label) == alpha
        shift = np.mean([right[alpha, "clipart/test"], right[alpha, "sketch/test"]])
        bars = [right[alpha, f"{domain}/test"] for domain in ("real", "clipart", "sketch")]
        flips = [int(np.sum(predicted[alpha] != predicted[end])) for end in (0.0, 1.0)]
        marker, moved, counts = sorted(places)
        assert (marker, moved) == (names["at alpha"], bars_named["at alpha"])
        assert (*places[marker]["x"], *places[marker]["y"]) == pytest.approx(
            (right[alpha, "real/test"], shift)
        )
        assert list(places[moved]["y"]) == pytest.approx(bars)
        assert list(places[moved]["x"]) == ["real", "clipart", "sketch"]
        assert (list(places[counts]["x"]), list(places[counts]["y"])) == ([alpha, alpha], flips)
        assert list(places[counts]["text"]) == [f"zero-shot: {flips[0]}", f"tuned: {flips[1]}"]
        for name, count in zip(("against zero-shot", "against tuned"), flips, strict=True):
            curve = figure.data[names[name]]
            assert list(curve.y)[list(sweep.alphas).index(alpha)] == count
        if alpha == 0.6:  # where the slider stands at first
            for number, place in places.items():
                for key in ("x", "y"):
                    wanted = list(place[key])
                    if not isinstance(wanted[0], str):
                        wanted = pytest.approx(wanted)
                    assert list(figure.data[number][key]) == wanted
    for name, alpha in (("zero-shot", 0.0), ("tuned", 1.0)):
        want = [right[alpha, f"{domain}/test"] for domain in ("real", "clipart", "sketch")]
        assert list(figure.data[bars_named[name]].y) == pytest.approx(want)
    assert "27 test images" in figure.layout.title.text


@pytest.mark.parametrize(
    "splits", [("real/test",), ("real/val", "real/test"), ("real/test", "art/test")]
)
def test_sweep_is_json_without_nan(splits):
    """Without a shift, too: then accuracy is drawn over alpha."""

    def refuse(word):
        raise AssertionError(word)

    figure = sweep_figure(toy_sweep(splits=splits, n=1))
    json.loads(figure.to_json(), parse_constant=refuse)
    drawn = [value for trace in figure.data for key in ("x", "y") for value in trace[key]]
    assert not [value for value in drawn if isinstance(value, float) and np.isnan(value)]
    if "art/test" not in splits:
        assert figure.layout.xaxis.title.text == "100 alpha"
        assert list(figure.data[0].x) == pytest.approx([0, 25, 60, 100])


@pytest.mark.parametrize(("count", "shown"), [(2, True), (21, True), (22, False)])
def test_sweep_has_tiles_only_below_22_alphas(count, shown):
    sweep = toy_sweep(alphas=np.linspace(0, 1, count), n=30)
    figure = sweep_figure(sweep, 1.0, {name: f"data:{name}" for name in sweep.ids})
    assert bool(figure.layout.images) == shown
    assert any("zero-shot gets right" in note.text for note in figure.layout.annotations) == shown
    assert not sweep_figure(sweep, 1.0).layout.images
    for place, (_, _, layout) in enumerate(sweep_steps(figure)):
        lost = sweep.flips(sweep.alphas[place], 0.0)["lost"]
        want = sorted(lost, key=lambda row: -sweep.confidence[place, row])[:12] if shown else []
        assert [one["source"] for one in layout.get("images", [])] == [
            f"data:{sweep.ids[row]}" for row in want
        ]
    none = sweep_figure(sweep, 1.0, dict.fromkeys(sweep.ids))
    assert not none.layout.images


def test_sweep_starts_at_the_nearest_alpha():
    for alpha, place in ((0.0, 0), (0.1, 0), (0.2, 1), (0.5, 2), (0.9, 3)):
        assert sweep_figure(toy_sweep(), alpha).layout.sliders[0].active == place


def test_tables_lie_below_each_other_and_every_row_has_room():
    frames = {f"table of {rows}": pd.DataFrame({"name": ["row"] * rows}) for rows in (1, 40, 3)}
    figure = tables_figure(frames)
    inside = figure.layout.height - figure.layout.margin.t - figure.layout.margin.b
    edges = [1.0]
    for table, rows in zip(figure.data, (1, 40, 3), strict=True):
        bottom, top = table.domain.y
        assert 0 <= bottom < top < edges[-1] + 1e-9
        needed = table.header.height + rows * table.cells.height
        assert (top - bottom) * inside >= needed
        edges.append(bottom)
    assert edges[-1] == pytest.approx(0)
