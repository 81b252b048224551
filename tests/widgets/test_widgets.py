"""Explorers without a page: traits, menus and clicks are set, charts and texts are read back."""

import html
import itertools
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import traitlets
from conftest import CLASSES
from hypothesis import given, settings, strategies as st
from sklearn.metrics import accuracy_score
from test_sweep import toy, toy_sweep
from test_table import fake, with_ensemble

from clipft.config import Reading, RunConfig
from clipft.diagnostics.energy_map import EnergyMap
from clipft.errors import ConfigError, RunError
from clipft.runs.folder import THUMBNAILS
from clipft.runs.run import read_sweep
from clipft.runs.sweep import Sweep
from clipft.runs.thumbnails import Thumbnails

pytest.importorskip("anywidget")

from clipft.runs.table import results as results_
from clipft.widgets import base, energy_gap as runs, wise
from clipft.widgets.calibration import ReliabilityExplorer
from clipft.widgets.distortion import DistortionExplorer
from clipft.widgets.energy_gap import EnergyGapExplorer
from clipft.widgets.energy_map import EnergyMapExplorer
from clipft.widgets.form import FineTuneForm
from clipft.widgets.run_browser import RunBrowser
from clipft.widgets.wise import WiseExplorer

CPU = Reading(device="cpu")
TRAIN = "clipft.training.train.train"
FIGURE = "application/vnd.plotly.v1+json"
JS = (base.HERE / "chart.js").read_text()
EVIL = "<script>alert('1')</script>"


@pytest.fixture
def results(scored):
    return results_(scored.runs)


@pytest.fixture(autouse=True)
def live(monkeypatch):
    monkeypatch.delenv("CLIPFT_HEADLESS", raising=False)


def parts(widget):
    """A widget and all that lie in it."""
    yield widget
    for child in getattr(widget, "children", ()):
        yield from parts(child)


def charts(explorer):
    return [part for part in parts(explorer.widget) if isinstance(part, base.Chart)]


def drawn_marks(chart):
    return [mark for panel in chart.spec.get("panels", []) for mark in panel["marks"]]


def places(marks):
    """The points of several marks, in order."""
    return sorted(place for mark in marks for place in zip(mark["x"], mark["y"], strict=True))


def texts(explorer):
    return "".join(part.value for part in parts(explorer.widget) if isinstance(part, base.Html))


def table_of(text):
    """The last HTML table as a data frame of words."""
    rows = re.findall(r"<tr>(.*?)</tr>", text.rpartition("<table")[2])
    head, *body = (
        [html.unescape(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)]
        for row in rows
    )
    return pd.DataFrame(body, columns=head)


def every_setting(explorer):
    """Turn each menu through all of its options, and yield at each."""
    menus = [
        part
        for part in parts(explorer.widget)
        if isinstance(part, base.W.Dropdown | base.W.SelectMultiple)
    ]
    ranges = []
    for menu in menus:
        values = [value for _, value in menu._options_full]
        if isinstance(menu, base.W.SelectMultiple):
            values = [(), tuple(values), *((value,) for value in values)]
        ranges.append(values)
    for menu, values in zip(menus, ranges, strict=True):
        for value in [*values, values[-1] if len(values) > 1 else values[0]]:
            menu.value = value
            yield value


def assert_plain(explorer):
    """Specs are JSON, and chart.js can draw each mark with the looks it is given."""
    for spec in [chart.spec for chart in charts(explorer)]:
        json.dumps(spec, allow_nan=False)
        if not spec:
            continue
        assert {"title", "height", "panels"} <= spec.keys()
        for panel in spec["panels"]:
            assert {"width", "x", "y", "marks"} <= panel.keys()
            for mark in panel["marks"]:
                assert re.search(rf"^  {mark['kind']}\(", JS, re.MULTILINE), mark["kind"]
                lengths = {
                    len(mark[key])
                    for key in ("x", "y", "x1", "y1", "t", "id", "text")
                    if key in mark
                }
                assert len(lengths) == 1, mark
                assert_known_looks(mark)
                for group in mark.get("groups", ()):
                    labels = len(panel["x"]["labels"])
                    rows = (
                        group["table"] if "table" in group else [group["values"]] * len(mark["t"])
                    )
                    assert (len(rows), {len(row) for row in rows}) == (len(mark["t"]), {labels})
        for entry in spec.get("legend", ()):
            assert_known_looks(entry)


def assert_known_looks(mark):
    for key, block in (("symbol", "SHAPES"), ("dash", "DASHES")):
        known = re.search(rf"const {block} = {{(.*?)}};", JS, re.DOTALL).group(1)
        for name in np.atleast_1d(mark.get(key, [])).tolist():
            assert re.search(rf"(^|[\s,])\"?{re.escape(name)}\"?: ", known), name


def energy_map(sweep, per_split=4):
    rows = np.concatenate([rows[:per_split] for rows in sweep.rows.values()])
    rng = np.random.default_rng(1)
    places = [rng.normal(size=(len(rows), 2)).astype(np.float32) for _ in range(2)]
    return EnergyMap(
        tuple(sweep.split[rows].tolist()),
        tuple(sweep.ids[rows].tolist()),
        sweep.label[rows],
        *places,
    )


def distortions():
    rng = np.random.default_rng(2)
    rows = []
    for method, seed, split, kind in itertools.product(
        ("ft", "lipsum"), (0, 1), ("sketch/test", "clipart/test"), ("raw", "normalised")
    ):
        one, other = rng.uniform(1, 5, 2)
        verdict = ["holds", "open", "fails"][len(rows) % 3]
        rows.append(
            (
                f"{method}{seed}",
                method,
                seed,
                split,
                kind,
                one,
                other,
                other - one,
                -1.0,
                1.0,
                verdict,
            )
        )
    columns = [
        "run",
        "method",
        "seed",
        "split",
        "kind",
        "reference",
        "shifted",
        "difference",
        "low",
        "high",
        "verdict",
    ]
    return pd.DataFrame(rows, columns=columns)


def explorers(scored, results):
    sweep = toy_sweep(n=30)
    return {
        "wise": lambda: WiseExplorer([sweep, toy_sweep(3, gap=False)]),
        "wise, no shift": lambda: WiseExplorer(toy_sweep(splits=("real/val", "real/test"))),
        "wise, one image": lambda: WiseExplorer(toy_sweep(n=1, classes=1)),
        "reliability": lambda: ReliabilityExplorer(sweep),
        "reliability, one image": lambda: ReliabilityExplorer(toy_sweep(n=1)),
        "gap": lambda: EnergyGapExplorer(results, scored.runs, selection=scored.scored[0].id),
        "gap, many": lambda: EnergyGapExplorer(
            fake(recipes=[("ft", 1e-4), ("ft", 1e-5), ("lipsum", 1e-4)])
        ),
        "gap, with an ensemble": lambda: EnergyGapExplorer(with_ensemble()),
        "distortion": lambda: DistortionExplorer(distortions()),
        "map": lambda: EnergyMapExplorer(energy_map(sweep), sweep, selection=(0, 2)),
        "map, no gap": lambda: EnergyMapExplorer(
            energy_map(toy_sweep(gap=False)), toy_sweep(gap=False)
        ),
        "map, one image": lambda: EnergyMapExplorer(energy_map(toy_sweep(n=1), 1), toy_sweep(n=1)),
        "browser": lambda: RunBrowser(results, scored.runs),
        "form": lambda: FineTuneForm(RunConfig(), "none"),
    }


NAMES = (
    "wise",
    "wise, no shift",
    "wise, one image",
    "reliability",
    "reliability, one image",
    "gap",
    "gap, many",
    "gap, with an ensemble",
    "distortion",
    "map",
    "map, no gap",
    "map, one image",
    "browser",
    "form",
)


@pytest.fixture(params=NAMES)
def explorer(request, at_home, results):
    return explorers(at_home, results)[request.param]()


# what all share


def test_specs_are_plain_json_in_every_setting(explorer):
    count = 0
    for chosen in every_setting(explorer) if not isinstance(explorer, FineTuneForm) else [()]:
        for alpha in (0.0, 0.37, 1.0) if explorer.has_trait("alpha") else [None]:
            if alpha is not None:
                explorer.alpha = alpha
            assert_plain(explorer)
            count += 1
        assert chosen is not None
    assert count


def test_output_is_a_figure_a_text_and_a_view_where_a_page_is_live(explorer, monkeypatch):
    found = explorer._repr_mimebundle_(include=None, exclude=None)
    assert found.keys() == {FIGURE, "text/plain", base.VIEW}
    assert found["text/plain"].startswith(f"{type(explorer).__name__}(")
    assert found[base.VIEW]["model_id"] == explorer.widget.model_id
    assert found[FIGURE]["config"]["showSendToCloud"] is False
    assert found[FIGURE]["config"]["displaylogo"] is False
    monkeypatch.setenv("CLIPFT_HEADLESS", "1")
    assert explorer._repr_mimebundle_().keys() == {FIGURE, "text/plain"}


def test_a_figure_is_saved_where_a_folder_is_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    explorer = WiseExplorer(toy_sweep())
    explorer.save("", "wise")
    assert list(tmp_path.iterdir()) == []
    explorer.save("out", "wise", "a caption")
    assert sorted(file.name for file in Path("out").iterdir()) == ["wise.html", "wise.json"]
    kept = json.loads(Path("out/wise.json").read_text())
    assert kept == {"figure": json.loads(explorer.figure().to_json()), "caption": "a caption"}


def test_twins_hold_no_nan(explorer):
    def refuse(word):
        raise AssertionError(word)

    json.loads(explorer.figure().to_json(), parse_constant=refuse)


def test_the_chart_writes_texts_as_texts():
    """Hover texts, labels and legends are names of other people's classes and files: never HTML."""
    assert "innerHTML" not in JS and "insertAdjacentHTML" not in JS


def test_class_names_and_files_are_escaped(tmp_path):
    scores = [replace(one, ids=tuple(f"{EVIL}'\"{name}" for name in one.ids)) for one in toy(n=12)]
    sweep = Sweep.of(scores, "real", EVIL, [EVIL] * 4)
    shown = WiseExplorer(sweep, 0.6)
    lasso = EnergyMapExplorer(energy_map(sweep), sweep, selection=(0, 1))
    for text in (
        texts(shown),
        texts(lasso),
        runs.moved_html(sweep, "real/test", Thumbnails(sweep)),
    ):
        assert "<script" not in text
        assert "&lt;script&gt;" in text
        for tag in re.findall(r"<(?:img|div class='clipft-grey')[^>]*>", text):
            assert tag.count("'") % 2 == 0 and '"' not in tag


def test_run_ids_of_odd_characters_are_escaped(scored, results, tmp_path, monkeypatch):
    folder = shutil.copytree(scored.runs, tmp_path / "runs")
    odd = "a <i>b' & ü"
    (folder / scored.scored[0].id).rename(folder / odd)
    scored_begun = folder / scored.begun.name
    scored_begun.rename(folder / "<i>begun")
    (folder / odd / "images.parquet").unlink()
    table = results_(folder)
    browser = RunBrowser(table, folder)
    browser.first = odd
    gap = EnergyGapExplorer(table, folder, selection=odd)
    for shown in (browser, gap):
        assert "a &lt;i&gt;b" in texts(shown)
        assert "<i>" not in texts(shown)


# WiSE


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
    assert (explorer.slider.value, explorer.chart.alpha) == (0.2, 0.2)
    explorer.slider.value = 0.71
    assert explorer.alpha == 0.71
    assert (
        "alpha 0.71: accuracy on the line between scored alphas, images as at 0.60"
        in explorer.counts.value
    )
    explorer.alpha = 0.25
    assert explorer.slider.value == 0.25
    assert "alpha 0.25, scored on every image" in explorer.counts.value
    assert explorer.link.source == (explorer.slider, "value")
    assert explorer.link.target == (explorer.chart, "alpha")


def test_wise_spec_holds_the_curve_and_the_bars():
    one = toy_sweep()
    other = toy_sweep(5, alphas=(0.0, 1.0))
    curve, bars = wise.wise_spec([one, other], 0)["panels"]
    *_, path = curve["marks"]
    assert path["kind"] == "path"
    np.testing.assert_allclose(path["x"], 100 * one.accuracy[:, 0])
    np.testing.assert_allclose(path["y"], 100 * one.accuracy[:, 1:].mean(1))
    assert path["t"] == list(one.alphas)
    (grey,) = [mark for mark in curve["marks"] if mark["kind"] == "line"]
    np.testing.assert_allclose(grey["x"], 100 * other.accuracy[:, 0])
    zero, here, tuned = bars["marks"][0]["groups"]
    np.testing.assert_allclose(here["table"], 100 * one.accuracy)
    assert (zero["values"], tuned["values"]) == (here["table"][0], here["table"][-1])
    assert bars["x"]["labels"] == ["real", "clipart", "sketch"]
    for axis in "xy":
        low, high = curve[axis]["range"]
        drawn = [value for mark in curve["marks"] for value in mark[axis]]
        assert low < min(drawn) and max(drawn) < high


def test_wise_without_a_shift_draws_accuracy_over_alpha():
    curve, bars = WiseExplorer(toy_sweep(splits=("real/val", "real/test"))).chart.spec["panels"]
    assert curve["marks"][-1]["x"] == pytest.approx([0, 25, 60, 100])
    assert curve["x"]["title"] == "100 alpha"
    assert bars["x"]["labels"] == ["real"]


def test_wise_chooses_among_runs():
    sweeps = [toy_sweep(n=20), toy_sweep(1, splits=("real/test", "art/test"), n=20)]
    explorer = WiseExplorer(sweeps)
    explorer.split.value = "sketch/test"
    explorer.runs.value = 1
    assert explorer.run == 1 and explorer.sweep is sweeps[1]
    assert explorer.split.options == ("every split", "real/test", "art/test")
    assert explorer.split.value == "every split"
    assert explorer.chart.spec == wise.wise_spec(sweeps, 1)
    assert explorer.selection == tuple(sweeps[1].ids[lost(sweeps[1], 0.5)[:24]].tolist())
    explorer.run = 0
    assert explorer.runs.value == 0
    assert "60 test images" in explorer.figure().layout.title.text


def test_wise_keeps_no_run_that_is_not_there():
    explorer = WiseExplorer([toy_sweep(), toy_sweep(1)])
    with pytest.raises(traitlets.TraitError):
        explorer.run = 2
    assert explorer.run in (0, 1), "the explorer is left on a run that it does not have"


@pytest.mark.parametrize("alpha", [-0.1, 1.5])
def test_an_alpha_outside_0_and_1_is_refused(alpha):
    for make in (WiseExplorer, ReliabilityExplorer):
        with pytest.raises((traitlets.TraitError, ConfigError)):
            make(toy_sweep(), alpha)
        explorer = make(toy_sweep(), 0.4)
        with pytest.raises((traitlets.TraitError, ConfigError)):
            explorer.alpha = alpha
        assert explorer.alpha == explorer.slider.value == 0.4


@pytest.mark.parametrize("given", [[], "runs/ID", [toy_sweep(), "runs/ID"], None, 3, [3], {}])
@pytest.mark.parametrize(
    "make", [WiseExplorer, EnergyGapExplorer, RunBrowser, ReliabilityExplorer, DistortionExplorer]
)
def test_an_explorer_of_what_is_no_run_is_one_line(make, given):
    with pytest.raises(RunError, match=r"no run|no finished run|no scored run") as caught:
        make(given)
    assert "\n" not in str(caught.value)


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


# a folder of runs alone


@pytest.mark.parametrize("packed", [False, True])
def test_explorers_open_on_a_folder_of_runs_alone(elsewhere, scored, packed):
    if packed:
        shutil.copy(scored.pack, elsewhere / THUMBNAILS)
    table = results_(elsewhere)
    name = scored.scored[1].id
    sweep = read_sweep(elsewhere / name)
    shown = WiseExplorer(sweep, 1.0)
    shown.kind.value = "all"
    gap = EnergyGapExplorer(table, elsewhere, selection=name)
    lasso = EnergyMapExplorer(energy_map(sweep), sweep, selection=(0, 1, 2))
    for text in (
        gap.tiles.value,
        lasso.tiles.value,
        shown.tiles.value if shown.selection else gap.tiles.value,
    ):
        assert ("clipft-grey" in text) != packed
        assert ("<img src='data:image/webp;base64," in text) == packed
        assert re.search(rf"<b>({'|'.join(CLASSES)})</b>", text)
    assert gap.curve.spec["panels"]
    browser = RunBrowser(table, elsewhere)
    assert "McNemar" in browser.compared.value and scored.begun.name in browser.list.value
    for explorer in (shown, gap, lasso, browser, ReliabilityExplorer(sweep)):
        assert_plain(explorer)
        assert base.VIEW in explorer._repr_mimebundle_()
