"""What all explorers share: a picture that is JSON, a static twin, a place in the page, an end."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import traitlets
from conftest import CLASSES
from explorers import NAMES, energy_map, explorers
from looking import drawn, plots, texts, widgets
from test_sweep import toy, toy_sweep

pytest.importorskip("anywidget")

import IPython
import ipywidgets as W

from clipft.errors import ConfigError, RunError
from clipft.figures.pages import FIGURE
from clipft.runs.folder import THUMBNAILS
from clipft.runs.run import read_sweep
from clipft.runs.sweep import Sweep
from clipft.runs.table import results as results_
from clipft.widgets import base
from clipft.widgets.calibration import ReliabilityExplorer
from clipft.widgets.distortion import DistortionExplorer
from clipft.widgets.energy_gap import EnergyGapExplorer
from clipft.widgets.energy_map import EnergyMapExplorer
from clipft.widgets.form import FineTuneForm
from clipft.widgets.run_browser import RunBrowser
from clipft.widgets.view import FigureView
from clipft.widgets.wise import WiseExplorer

EVIL = "<script>alert('1')</script>"
WIDGET = "application/vnd.jupyter.widget-view+json"


@pytest.fixture(autouse=True)
def live(monkeypatch):
    monkeypatch.delenv("CLIPFT_HEADLESS", raising=False)


@pytest.fixture
def results(scored):
    return results_(scored.runs)


@pytest.fixture(params=NAMES)
def explorer(request, at_home, results):
    return explorers(at_home, results)[request.param]()


@pytest.fixture
def displayed(monkeypatch):
    """What is displayed, in order."""
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    return shown


def every_setting(explorer):
    """Turn each menu through all of its options, and yield at each."""
    menus = [part for part in widgets(explorer) if isinstance(part, W.Dropdown | W.SelectMultiple)]
    for menu in menus:
        several = [value for _, value in menu._options_full]
        if isinstance(menu, W.SelectMultiple):
            several = [(), tuple(several), *((value,) for value in several)]
        for value in [*several, several[-1] if len(several) > 1 else several[0]]:
            menu.value = value
            yield value


def test_pictures_are_plain_json_in_every_setting(explorer):
    """`drawn` refuses what is not; every move has a value at each alpha."""
    count = 0
    for chosen in every_setting(explorer) if not isinstance(explorer, FineTuneForm) else [()]:
        for plot in plots(explorer):
            assert drawn(plot) == {} or drawn(plot)["data"]
            json.dumps(plot.moves, allow_nan=False)
            for move in plot.moves.get("traces", ()):
                lengths = {len(table) for table in move["keys"].values()}
                assert lengths == {len(plot.moves["t"])}
            count += 1
        assert chosen is not None
    assert count


def test_numbers_of_points_are_as_many_as_its_points(explorer):
    for plot in plots(explorer):
        for trace in drawn(plot).get("data", ()):
            meta = trace.get("meta") or {}
            for name in ("id", "with"):
                if isinstance(meta.get(name), list):
                    x = trace["x"]
                    count = len(x) if isinstance(x, list) else x.get("shape") or None
                    assert count is None or len(meta[name]) == count


def test_an_output_is_a_figure_and_a_text_below_a_place_for_the_widgets(
    explorer, displayed, monkeypatch
):
    """Not the widgets themselves: a saved notebook would show an error in their stead."""
    found = explorer._repr_mimebundle_(include=None, exclude=None)
    assert found.keys() == {FIGURE, "text/plain"}
    assert found["text/plain"].startswith(f"{type(explorer).__name__}(")
    assert found[FIGURE]["config"]["showSendToCloud"] is False
    assert found[FIGURE]["config"]["displaylogo"] is False
    (place,) = displayed
    assert place.data == f"<div class='{explorer.stage.place}'></div>"
    assert explorer.stage.child is explorer.widget

    monkeypatch.setenv("CLIPFT_HEADLESS", "1")
    assert explorer._repr_mimebundle_().keys() == {FIGURE, "text/plain"}
    assert len(displayed) == 1


def test_twins_hold_no_nan(explorer):
    def refuse(word):
        raise AssertionError(word)

    json.loads(explorer.figure().to_json(), parse_constant=refuse)


def test_a_closed_explorer_leaves_no_widget_behind(explorer, displayed):
    explorer._repr_mimebundle_()
    every = [*widgets(explorer), explorer.stage, *explorer.links]
    explorer.close()
    assert displayed and [widget for widget in every if widget.comm is not None] == []
    assert repr(explorer)


@pytest.fixture
def cell(monkeypatch):
    """A cell that runs, as JupyterLab tells it: `cell("a")` is another execution of cell a."""
    count = iter(range(99))
    shell = SimpleNamespace(user_ns={})
    kernel = SimpleNamespace(shell=shell, get_parent=None)
    monkeypatch.setattr(IPython, "get_ipython", lambda: SimpleNamespace(kernel=kernel))
    monkeypatch.setattr(base, "shown", base.Shown())

    def run(name):
        request = {"metadata": {"cellId": name}, "header": {"msg_id": str(next(count))}}
        kernel.get_parent = lambda: request
        return shell.user_ns

    return run


def is_open(explorer):
    return "widget" in vars(explorer)


def shown_in(explorer):
    explorer._repr_mimebundle_()
    return explorer


def test_what_a_cell_showed_is_closed_when_it_runs_again(cell, displayed):
    cell("a")
    first, second = shown_in(WiseExplorer(toy_sweep())), shown_in(WiseExplorer(toy_sweep()))
    cell("b")
    other = shown_in(WiseExplorer(toy_sweep()))
    assert all(map(is_open, (first, second, other)))
    cell("a")
    third = shown_in(WiseExplorer(toy_sweep()))
    assert [is_open(one) for one in (first, second, other, third)] == [False, False, True, True]
    assert len(displayed) == 4


def test_what_is_shown_elsewhere_or_has_a_name_stays_open(cell, displayed):
    twice, named, again = (WiseExplorer(toy_sweep()) for _ in range(3))
    cell("a")
    for explorer in (twice, named, again):
        shown_in(explorer)
    cell("b")
    shown_in(twice)
    cell("a")["wise"] = named
    shown_in(again)
    assert is_open(twice) and is_open(named) and is_open(again) and displayed


def test_a_figure_is_saved_where_a_folder_is_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    explorer = WiseExplorer(toy_sweep())
    explorer.save("", "wise")
    assert list(tmp_path.iterdir()) == []
    explorer.save("out", "wise", "a caption")
    assert sorted(file.name for file in Path("out").iterdir()) == ["wise.html", "wise.json"]
    kept = json.loads(Path("out/wise.json").read_text())
    assert kept == {"figure": json.loads(explorer.figure().to_json()), "caption": "a caption"}


def test_a_figure_with_a_slider_is_shown_with_the_pages_own(displayed):
    figure = WiseExplorer(toy_sweep(), 0.25).figure()
    view = FigureView(figure)
    (slider,) = [part for part in widgets(view) if isinstance(part, W.FloatSlider)]
    assert slider.value == view.plot.alpha == 0.25
    assert "sliders" not in drawn(view.plot)["layout"] or not drawn(view.plot)["layout"]["sliders"]
    assert view.figure() is figure and view.figure().layout.sliders
    assert len(view.links) == 1 and not displayed


def test_class_names_and_files_are_escaped():
    scores = [replace(one, ids=tuple(f"{EVIL}'\"{name}" for name in one.ids)) for one in toy(n=12)]
    sweep = Sweep.of(scores, "real", EVIL, [EVIL] * 4)
    lasso = EnergyMapExplorer(energy_map(sweep), sweep, selection=(0, 1))
    for text in (texts(WiseExplorer(sweep, 0.6)), texts(lasso)):
        assert "<script" not in text
        assert "&lt;script&gt;" in text


def test_run_ids_of_odd_characters_are_escaped(scored, tmp_path):
    folder = shutil.copytree(scored.runs, tmp_path / "runs")
    odd = "a <i>b' & ü"
    (folder / scored.scored[0].id).rename(folder / odd)
    (folder / scored.begun.name).rename(folder / "<i>begun")
    (folder / odd / "images.parquet").unlink()
    table = results_(folder)
    browser = RunBrowser(table, folder)
    browser.first = odd
    for shown in (browser, EnergyGapExplorer(table, folder, selection=odd)):
        assert "a &lt;i&gt;b" in texts(shown)
        assert "<i>" not in texts(shown)


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
    assert drawn(gap.curve)["data"]
    browser = RunBrowser(table, elsewhere)
    assert "McNemar" in browser.compared.value and scored.begun.name in browser.list.value
    assert plots(ReliabilityExplorer(sweep))
