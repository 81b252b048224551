"""The WiSE explorer without a page: menus and clicks are set, figures and texts are read back."""

import json

import numpy as np
import pandas as pd
import pytest
import traitlets
from conftest import CLASSES
from hypothesis import given, settings, strategies as st
from looking import drawn, moving, named, table_of, traces, values
from sklearn.metrics import accuracy_score
from test_sweep import toy_sweep

pytest.importorskip("anywidget")

from clipft.figures.wise import sweep_figure
from clipft.runs.run import read_sweep
from clipft.widgets.wise import WiseExplorer


def lost(sweep, alpha, kind="lost", against=0.0, split=None):
    """Rows of flipped images, the most confident first: a plain loop."""
    now, then = (int(np.argmin(np.abs(sweep.alphas - one))) for one in (alpha, against))
    found = []
    for row in range(len(sweep.ids)):
        a, b, label = sweep.prediction[now, row], sweep.prediction[then, row], sweep.label[row]
        right = {"lost": b == label, "gained": a == label, "all": True}[kind]
        test = sweep.split[row].endswith("/test") and split in (None, sweep.split[row])
        if a != b and right and test:
            found.append((-sweep.confidence[now, row], row))
    return [row for _, row in sorted(found)]


@settings(deadline=None, max_examples=15)
@given(
    st.integers(0, 10**6),
    st.integers(0, 100),
    st.sampled_from(["lost", "gained", "all"]),
    st.data(),
)
def test_wise_shows_the_images_that_flip(seed, hundredths, kind, draw):
    sweep = toy_sweep(seed, n=25)
    explorer = WiseExplorer(sweep)
    alpha = hundredths / 100
    explorer.alpha = alpha
    explorer.kind.value = kind
    explorer.against.value = against = draw.draw(st.sampled_from([0.0, 1.0]))
    explorer.split.value = split = draw.draw(st.sampled_from(["every split", *sweep.splits]))
    rows = lost(sweep, alpha, kind, against, None if split == "every split" else split)
    assert explorer.selection == tuple(sweep.ids[rows[:24]].tolist())
    assert explorer.tiles.value.count("<figure>") == len(rows[:24])
    wanted = f"{min(24, len(rows))} of {len(rows)} images" if rows else "no image"
    assert f"<p>{wanted}</p>" in explorer.tiles.value
    assert explorer.slider.value == alpha
    table = table_of(explorer.counts.value).set_index("split")
    for number, name in enumerate(sweep.splits):
        row = table.loc[name]
        assert float(row["accuracy %"]) == pytest.approx(
            100 * sweep.accuracy_at(alpha)[number], abs=0.051
        )
        change = 100 * (sweep.accuracy_at(alpha)[number] - sweep.accuracy[0, number])
        assert float(row["against zero-shot"]) == pytest.approx(change, abs=0.051)
        for column, what, end in (
            ("flips from zero-shot", "all", 0.0),
            ("gained", "gained", 0.0),
            ("lost", "lost", 0.0),
            ("flips from tuned", "all", 1.0),
        ):
            assert int(row[column]) == len(lost(sweep, alpha, what, end, name))


def test_wise_captions_name_both_predictions():
    sweep = toy_sweep(n=20)
    explorer = WiseExplorer(sweep, 1.0)
    row = lost(sweep, 1.0)[0]
    first = explorer.tiles.value.partition("</figure>")[0]
    label = CLASSES[sweep.label[row]]
    now = CLASSES[sweep.prediction[-1, row]]
    assert f"<b>{label}</b><br>✓ {label}<br>✗ {now}<" in first
    assert "clipft-grey" in first


def test_wise_slider_and_trait_are_one_and_the_chart_follows_in_the_page():
    explorer = WiseExplorer(toy_sweep(), 0.2)
    assert (explorer.slider.value, explorer.plot.alpha) == (0.2, 0.2)
    explorer.slider.value = 0.71
    assert explorer.alpha == 0.71
    assert (
        "alpha 0.71: accuracy on the line between scored alphas, images as at 0.60"
        in explorer.counts.value
    )
    explorer.alpha = 0.25
    assert explorer.slider.value == 0.25
    assert "alpha 0.25, scored on every image" in explorer.counts.value
    (link,) = explorer.links
    assert link.source == (explorer.slider, "value")
    assert link.target == (explorer.plot, "alpha")


def test_the_picture_holds_the_curve_the_bars_and_the_other_runs():
    one = toy_sweep()
    other = toy_sweep(5, alphas=(0.0, 1.0))
    plot = WiseExplorer([one, other]).plot
    mark = moving(plot, "at alpha")
    np.testing.assert_allclose(np.ravel(mark["x"]), 100 * one.accuracy[:, 0])
    np.testing.assert_allclose(np.ravel(mark["y"]), 100 * one.accuracy[:, 1:].mean(1))
    np.testing.assert_allclose(np.ravel(mark["customdata"]), one.alphas)
    assert plot.moves["t"] == one.alphas.tolist() and not plot.moves["nearest"]
    (thin,) = [trace for trace in traces(plot) if trace.get("meta") == {"id": 1}]
    np.testing.assert_allclose(values(thin["x"]), 100 * other.accuracy[:, 0])

    bars = {trace["name"]: trace for trace in traces(plot) if trace["type"] == "bar"}
    assert bars["zero-shot"]["x"] == ["real", "clipart", "sketch"]
    np.testing.assert_allclose(values(bars["zero-shot"]["y"]), 100 * one.accuracy[0])
    np.testing.assert_allclose(values(bars["tuned"]["y"]), 100 * one.accuracy[-1])
    place = [trace for trace in traces(plot)].index(bars["at alpha"])
    (heights,) = [move["keys"]["y"] for move in plot.moves["traces"] if move["place"] == place]
    np.testing.assert_allclose(heights, 100 * one.accuracy)


def test_the_live_picture_is_the_static_one_at_every_alpha():
    """Its slider's steps are what the page moves by: the picture exists once."""
    explorer = WiseExplorer([toy_sweep(), toy_sweep(3)])
    for number, alpha in enumerate(explorer.sweep.alphas):
        figure = sweep_figure(explorer.sweep, alpha, beside=explorer.sweeps[1:])
        live = traces(explorer.plot)
        for move in explorer.plot.moves["traces"]:
            live[move["place"]] |= {key: table[number] for key, table in move["keys"].items()}
        for ours, theirs in zip(live, json.loads(figure.to_json())["data"], strict=True):
            for key in ("x", "y", "text", "name"):
                assert values(ours.get(key)) == values(theirs.get(key))


def test_the_picture_says_which_run_it_shows(at_home):
    run = at_home.scored[0]
    explorer = WiseExplorer(run)
    title = drawn(explorer.plot)["layout"]["title"]["text"]
    for word in ("FT", "lr 0.003", "seed 0", run.id):
        assert word in title
    assert run.id in named(explorer.plot, "tuned")["hovertemplate"]


def test_without_an_alpha_it_begins_at_a_scored_one():
    assert WiseExplorer(toy_sweep(alphas=(0.0, 0.35, 1.0))).alpha == 0.35
    assert WiseExplorer(toy_sweep(alphas=(0.0, 0.35, 1.0)), 0.5).alpha == 0.5


def test_wise_without_a_shift_draws_accuracy_over_alpha():
    plot = WiseExplorer(toy_sweep(splits=("real/val", "real/test"))).plot
    assert np.ravel(moving(plot, "at alpha")["x"]) == pytest.approx([0, 25, 60, 100])
    assert drawn(plot)["layout"]["xaxis"]["title"]["text"] == "100 alpha"


def test_a_click_on_a_thin_curve_shows_its_run():
    sweeps = [toy_sweep(number, n=20) for number in range(3)]
    explorer = WiseExplorer(sweeps)
    for shown, clicked, wanted in ((0, 1, 1), (1, 1, 0), (0, 2, 2), (2, 2, 1)):
        assert explorer.run == shown
        explorer.plot.chosen = clicked
        assert explorer.run == explorer.runs.value == wanted
        assert explorer.plot.chosen == -1, "the same number could not be clicked again"


def test_wise_chooses_among_runs():
    sweeps = [toy_sweep(n=20), toy_sweep(1, splits=("real/test", "art/test"), n=20)]
    explorer = WiseExplorer(sweeps)
    explorer.split.value = "sketch/test"
    explorer.runs.value = 1
    assert explorer.run == 1 and explorer.sweep is sweeps[1]
    assert explorer.split.options == ("every split", "real/test", "art/test")
    assert explorer.split.value == "every split"
    assert explorer.plot.figure == WiseExplorer(sweeps[::-1]).plot.figure
    assert explorer.selection == tuple(sweeps[1].ids[lost(sweeps[1], 0.5)[:24]].tolist())
    explorer.run = 0
    assert explorer.runs.value == 0
    assert "60 test images" in explorer.figure().layout.title.text


def test_wise_keeps_no_run_that_is_not_there():
    explorer = WiseExplorer([toy_sweep(), toy_sweep(1)])
    with pytest.raises(traitlets.TraitError):
        explorer.run = 2
    assert explorer.run in (0, 1), "the explorer is left on a run that it does not have"


def test_exact_here_at_a_scored_alpha_says_what_was_scored(at_home):
    explorer = WiseExplorer(read_sweep(at_home.scored[0].path), 0.5, probe=1000)
    explorer.button.click()
    found = explorer.exact().set_index("split").loc[explorer.sweep.splits]
    np.testing.assert_allclose(found.exact, explorer.sweep.accuracy[1])
    np.testing.assert_allclose(found.line, explorer.sweep.accuracy[1])
    shown = table_of(explorer.note.value).set_index("split").loc[found.index]
    assert shown["exact %"].astype(float).tolist() == pytest.approx(100 * found.exact, abs=0.051)
    assert "alpha 0.50 on the same images" in explorer.note.value


def test_exact_here_between_alphas_is_the_mixture(at_home):
    run = at_home.scored[1]
    explorer = WiseExplorer(read_sweep(run.path), 0.3, probe=7)
    found = explorer.exact().set_index("split")
    assert set(found.images) == {7}
    for name in explorer.sweep.splits:
        whole = run.bench.manifest.split(name)
        part = whole.take(sorted({int(one) for one in np.linspace(0, len(whole) - 1, 7)}))
        (one,) = run.mixtures.score([part], [0.3])
        assert found.exact[name] == pytest.approx(accuracy_score(one.label, one.prediction))
        frame = pd.read_parquet(run.path / "images.parquet")
        frame = frame[(frame.split == name) & frame.id.isin(part.ids)]
        at = (frame.prediction == frame.label).groupby(frame.alpha).mean()
        assert found.line[name] == pytest.approx(0.4 * at[0.0] + 0.6 * at[0.5])


def test_exact_here_says_in_one_line_why_not(elsewhere, scored, at_home, monkeypatch):
    monkeypatch.delenv("CLIPFT_DATA")
    away = WiseExplorer(read_sweep(elsewhere / scored.scored[0].id), 0.3)
    no_data = WiseExplorer(read_sweep(scored.scored[0].path), 0.3)
    no_folder = WiseExplorer(toy_sweep(), 0.3)
    for explorer, why in (
        (away, "holds no open_clip_config.json"),
        (no_data, "CLIPFT_DATA"),
        (no_folder, "came without"),
    ):
        explorer.button.click()
        said = explorer.note.value
        assert said.startswith("<p>exact here is not possible: ") and why in said
        assert "\n" not in said
        assert explorer.exact() is None


def test_what_exact_says_is_of_the_alpha_that_is_shown(at_home):
    """After the slider moved, the table of another alpha stays only if it says of which it is."""
    explorer = WiseExplorer(read_sweep(at_home.scored[0].path), 0.5, probe=3)
    explorer.exact()
    explorer.alpha = 0.8
    assert explorer.note.value == "" or "alpha 0.50" in explorer.note.value
