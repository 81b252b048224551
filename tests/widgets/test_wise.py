"""The WiSE explorer without a page: its traits, its pictures, and what is exact."""

import json

import numpy as np
import pandas as pd
import pytest
import traitlets
from looking import asked, drawn, moves, moving, named, table_of, traces, values
from sklearn.metrics import accuracy_score
from test_sweep import toy_sweep

pytest.importorskip("anywidget")

from clipft.errors import ClipftError
from clipft.figures.wise import sweep_figure
from clipft.runs.run import read_sweep
from clipft.widgets.wise import WiseExplorer


def picture(explorer):
    """What a page shows at first."""
    return asked(explorer, "figure wise", run=explorer.run)


def test_the_picture_holds_the_curve_the_bars_and_the_other_runs():
    one = toy_sweep()
    other = toy_sweep(5, alphas=(0.0, 1.0))
    shown = picture(WiseExplorer([one, other]))
    mark = moving(shown, "at alpha")
    np.testing.assert_allclose(np.ravel(mark["x"]), 100 * one.accuracy[:, 0])
    np.testing.assert_allclose(np.ravel(mark["y"]), 100 * one.accuracy[:, 1:].mean(1))
    np.testing.assert_allclose(np.ravel(mark["customdata"]), one.alphas)
    assert moves(shown)["t"] == one.alphas.tolist() and not moves(shown)["nearest"]
    (thin,) = [trace for trace in traces(shown) if trace.get("meta") == {"id": 1}]
    np.testing.assert_allclose(values(thin["x"]), 100 * other.accuracy[:, 0])

    bars = {trace["name"]: trace for trace in traces(shown) if trace["type"] == "bar"}
    assert bars["zero-shot"]["x"] == ["real", "clipart", "sketch"]
    np.testing.assert_allclose(values(bars["zero-shot"]["y"]), 100 * one.accuracy[0])
    np.testing.assert_allclose(values(bars["tuned"]["y"]), 100 * one.accuracy[-1])
    place = traces(shown).index(bars["at alpha"])
    (heights,) = [move["keys"]["y"] for move in moves(shown)["traces"] if move["place"] == place]
    np.testing.assert_allclose(heights, 100 * one.accuracy)


def test_the_live_picture_is_the_static_one_at_every_alpha():
    """Its slider's steps are what the page moves by: the picture exists once."""
    explorer = WiseExplorer([toy_sweep(), toy_sweep(3)])
    others = [sweep for run, sweep in explorer.sweeps.items() if run != explorer.run]
    for number, alpha in enumerate(explorer.sweep.alphas):
        figure = sweep_figure(explorer.sweep, alpha, beside=others)
        live = traces(picture(explorer))
        for move in moves(picture(explorer))["traces"]:
            live[move["place"]] |= {key: table[number] for key, table in move["keys"].items()}
        for ours, theirs in zip(live, json.loads(figure.to_json())["data"], strict=True):
            for key in ("x", "y", "text", "name"):
                assert values(ours.get(key)) == values(theirs.get(key))


def test_the_static_twin_follows_alpha():
    explorer = WiseExplorer(toy_sweep(), 0.2)
    assert explorer.figure().layout.sliders[0].active == 1
    explorer.alpha = 0.9
    assert explorer.figure().layout.sliders[0].active == 3


def test_the_picture_says_which_run_it_shows(at_home):
    run = at_home.scored[0]
    explorer = WiseExplorer(run)
    assert explorer.run == run.id
    title = drawn(picture(explorer))["layout"]["title"]["text"]
    for word in ("FT", "lr 0.003", "seed 0", run.id):
        assert word in title
    assert run.id in named(picture(explorer), "tuned")["hovertemplate"]


def test_without_an_alpha_it_begins_at_a_scored_one():
    assert WiseExplorer(toy_sweep(alphas=(0.0, 0.35, 1.0))).alpha == 0.35
    assert WiseExplorer(toy_sweep(alphas=(0.0, 0.35, 1.0)), 0.5).alpha == 0.5


def test_wise_without_a_shift_draws_accuracy_over_alpha():
    shown = picture(WiseExplorer(toy_sweep(splits=("real/val", "real/test"))))
    assert np.ravel(moving(shown, "at alpha")["x"]) == pytest.approx([0, 25, 60, 100])
    assert drawn(shown)["layout"]["xaxis"]["title"]["text"] == "100 alpha"


def test_wise_chooses_among_runs():
    sweeps = [toy_sweep(n=20), toy_sweep(1, splits=("real/test", "art/test"), n=20)]
    explorer = WiseExplorer(sweeps)
    assert explorer.run == "sweep-0" and explorer.sweep is sweeps[0]
    assert [run for _, run in explorer.about["runs"]] == ["sweep-0", "sweep-1"]
    explorer.run = "sweep-1"
    assert explorer.sweep is sweeps[1]
    assert asked(explorer, "sweep", run=explorer.run).json["splits"] == ["real/test", "art/test"]
    turned = WiseExplorer(sweeps[::-1])
    assert picture(explorer).json == picture(turned).json
    assert "40 test images" in explorer.figure().layout.title.text
    explorer.run = "sweep-0"
    assert "60 test images" in explorer.figure().layout.title.text


def test_wise_keeps_no_run_that_is_not_there():
    explorer = WiseExplorer([toy_sweep(), toy_sweep(1)])
    with pytest.raises(ClipftError, match="unknown run 'sweep-2'"):
        explorer.run = "sweep-2"
    assert explorer.run == "sweep-0", "the explorer is left on a run that it does not have"
    for name in ("kind", "against"):
        with pytest.raises(traitlets.TraitError):
            setattr(explorer, name, "nothing")


def percents(answer):
    """The table of the button in the page, by split."""
    return table_of(answer.json["said"]["table"]).set_index("split")


def test_exact_here_at_a_scored_alpha_says_what_was_scored(at_home):
    explorer = WiseExplorer(read_sweep(at_home.scored[0].path), 0.5, probe=1000)
    found = explorer.exact().set_index("split").loc[explorer.sweep.splits]
    np.testing.assert_allclose(found.exact, explorer.sweep.accuracy[1])
    np.testing.assert_allclose(found.line, explorer.sweep.accuracy[1])
    answer = asked(explorer, "exact", run=explorer.run, alpha=0.5)
    shown = percents(answer).loc[found.index]
    for column in ("exact %", "on the line %"):
        assert shown[column].astype(float).tolist() == pytest.approx(100 * found.exact, abs=0.051)
    assert "alpha 0.50 on the same images" in answer.json["said"]["paragraphs"][0]


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


def test_exact_is_of_the_run_and_alpha_that_the_page_asks_for(at_home):
    """The kernel may hear of them late."""
    first, second = at_home.scored
    explorer = WiseExplorer([read_sweep(run.path) for run in at_home.scored], 0.0, probe=1000)
    assert explorer.run == first.id
    shown = percents(asked(explorer, "exact", run=second.id, alpha=1.0))
    want = 100 * second.sweep().accuracy[-1]
    splits = second.sweep().splits
    assert shown.loc[splits, "exact %"].astype(float).tolist() == pytest.approx(want, abs=0.051)


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
        with pytest.raises(ClipftError, match=why) as caught:
            asked(explorer, "exact", run=explorer.run, alpha=0.3)
        assert "\n" not in str(caught.value)
        with pytest.raises(ClipftError, match=why):
            explorer.exact()
