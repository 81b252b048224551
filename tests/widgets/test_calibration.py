"""The reliability explorer without a page, and explorers that share alpha, run and selection."""

import math
from dataclasses import replace
from types import SimpleNamespace

import IPython
import numpy as np
import pytest
import traitlets
from looking import asked, drawn, moves, moving, named, traces, values
from sklearn.metrics import accuracy_score
from test_sweep import toy_sweep
from test_table import fake

pytest.importorskip("anywidget")

import clipft
from clipft.boards.desk import Board, Desk
from clipft.errors import ConfigError
from clipft.figures.style import GREY, style
from clipft.runs.table import results
from clipft.widgets.base import Explorer
from clipft.widgets.calibration import ReliabilityExplorer
from clipft.widgets.energy_gap import EnergyGapExplorer
from clipft.widgets.run_browser import RunBrowser
from clipft.widgets.view import FigureView
from clipft.widgets.wise import WiseExplorer


def diagram(explorer):
    """The picture that a page shows at first."""
    split = explorer.shown_split
    return asked(explorer, "figure reliability", run=explorer.run, split=split)


def bins_of(sweep, split, alpha, bins):
    """(confidence, accuracy, images) of each bin, by a loop; None of an empty one."""
    place = sweep.alphas.tolist().index(alpha)
    rows = [row for row in range(len(sweep.ids)) if sweep.split[row] == split]
    found = []
    for number in range(bins):
        inside = []
        for row in rows:
            if min(math.floor(sweep.confidence[place, row] * bins), bins - 1) == number:
                inside.append(row)
        if not inside:
            found.append((None, None, 0))
            continue
        right = accuracy_score(sweep.label[inside], sweep.prediction[place, inside])
        found.append((float(np.mean(sweep.confidence[place, inside])), right, len(inside)))
    return found


def assert_bins(curve, bars, wanted):
    for axis, number in (("x", 0), ("y", 1)):
        for point, bin_ in zip(values(curve[axis]), wanted, strict=True):
            assert point == (None if bin_[2] == 0 else pytest.approx(bin_[number]))
    assert values(curve["customdata"]) == [images for *_, images in wanted]
    assert values(bars["y"]) == [images or None for *_, images in wanted]


def test_reliability_draws_bins_of_the_ends():
    sweep = toy_sweep(n=10)
    explorer = ReliabilityExplorer(sweep, 0.25, "clipart/test", 10)
    shown = diagram(explorer)
    for name, alpha in {"zero-shot (alpha 0)": 0.0, "tuned (alpha 1)": 1.0}.items():
        wanted = bins_of(sweep, "clipart/test", alpha, 10)
        assert any(images == 0 for *_, images in wanted), "no empty bin: nothing to look at"
        assert_bins(named(shown, name), named(shown, name, "bar"), wanted)
    explorer.shown_split = "real/test"
    assert traces(diagram(explorer)) != traces(shown)
    assert "real/test" in drawn(diagram(explorer))["layout"]["title"]["text"]


def test_reliability_moves_with_alpha_in_the_page():
    """What the page has is the bins of every scored alpha; it jumps to the nearest."""
    sweep = toy_sweep(n=40)
    shown = diagram(ReliabilityExplorer(sweep, 0.25, "sketch/test", 8))
    assert moves(shown)["nearest"] and moves(shown)["t"] == sweep.alphas.tolist()
    curve = moving(shown, "at alpha 0.60")
    (bars,) = [trace["keys"] for trace in moves(shown)["traces"] if trace["keys"] != curve]
    for place, alpha in enumerate(sweep.alphas.tolist()):
        of_alpha = [{key: table[place] for key, table in one.items()} for one in (curve, bars)]
        assert_bins(*of_alpha, bins_of(sweep, "sketch/test", alpha, 8))
        assert of_alpha[0]["name"] == of_alpha[1]["name"] == f"at alpha {alpha:.2f}"
    assert shown.json["bins"] == 8


def test_reliability_has_the_colours_of_its_method():
    sweep = replace(toy_sweep(), about={"method": "lipsum"})
    colour = style(["lipsum"])["lipsum"].colour
    shown = diagram(ReliabilityExplorer(sweep))
    zero_shot = named(shown, "zero-shot (alpha 0)")
    assert (zero_shot["marker"]["color"], zero_shot["marker"]["symbol"]) == (GREY, "star")
    for name, symbol, dash in (
        ("at alpha 0.60", "circle", "solid"),
        ("tuned (alpha 1)", "diamond-open", "dash"),
    ):
        trace = named(shown, name)
        assert trace["marker"]["color"] == trace["line"]["color"] == colour != GREY
        assert (trace["marker"]["symbol"], trace["line"]["dash"]) == (symbol, dash)


def test_the_static_twin_is_what_is_shown():
    sweep = toy_sweep(n=20)
    explorer = ReliabilityExplorer(sweep, 0.6, "real/test")
    names = [one["name"] for one in traces(diagram(explorer))]
    assert [trace.name for trace in explorer.figure().data] == names
    assert explorer.figure().layout.sliders[0].active == sweep.alphas.tolist().index(0.6)
    explorer.alpha = 0.0
    assert explorer.figure().layout.sliders[0].active == 0
    explorer.shown_split = "clipart/test"
    assert "clipart/test" in explorer.figure().layout.title.text


def test_reliability_begins_at_the_last_shift_and_nearest_to_a_half():
    explorer = ReliabilityExplorer(toy_sweep())
    assert (explorer.shown_split, explorer.alpha) == ("sketch/test", 0.6)
    assert ReliabilityExplorer(toy_sweep(splits=("real/test",))).shown_split == "real/test"


def test_a_split_that_is_not_there_is_refused():
    explorer = ReliabilityExplorer(toy_sweep())
    for split in ("real/val", "nowhere", ""):
        with pytest.raises(ConfigError, match="unknown split"):
            explorer.shown_split = split
        with pytest.raises(ConfigError, match="unknown split"):
            asked(explorer, "figure reliability", run=explorer.run, split=split)
    assert explorer.shown_split == "sketch/test"
    with pytest.raises(ConfigError, match="unknown split"):
        ReliabilityExplorer(toy_sweep(), split="nowhere")


# one alpha, one run, one selection


@pytest.fixture
def trio():
    sweep = toy_sweep()
    return WiseExplorer(sweep, 0.2), ReliabilityExplorer(sweep, 0.9), WiseExplorer(sweep, 0.4)


def alphas(*explorers):
    return {one.alpha for one in explorers}


def test_linked_explorers_have_one_alpha(trio):
    first, second, third = trio
    clipft.link(*trio)
    assert alphas(*trio) == {0.2}
    third.alpha = 0.73
    assert alphas(*trio) == {0.73}
    first.alpha = 0.25
    assert alphas(*trio) == {0.25}
    assert second.figure().layout.sliders[0].active == 1


def test_linked_explorers_have_one_selection(trio):
    first, second, third = trio
    second.selection = ["real/test/1.png"]
    first.selection = some = ["real/test/0.png", "sketch/test/3.png"]
    clipft.link(*trio)
    assert [one.selection for one in trio] == [some] * 3
    third.selection = []
    assert [one.selection for one in trio] == [[]] * 3
    second.selection = some
    assert [one.selection for one in trio] == [some] * 3


def test_linked_explorers_have_one_run():
    sweeps = [toy_sweep(number) for number in range(3)]
    first, second = WiseExplorer(sweeps), WiseExplorer(sweeps)
    first.run = "sweep-2"
    clipft.link(first, second)
    assert second.run == "sweep-2"
    second.run = "sweep-1"
    assert first.run == "sweep-1"


def test_a_run_that_one_does_not_know_stays_away(monkeypatch):
    many = WiseExplorer([toy_sweep(number) for number in range(3)])
    few = WiseExplorer([toy_sweep(number) for number in range(2)])
    clipft.link(many, few)
    many.run = "sweep-1"
    assert few.run == "sweep-1"
    many.run = "sweep-2"
    assert (many.run, few.run) == ("sweep-2", "sweep-1")
    few.run = "sweep-0"
    assert many.run == "sweep-0"
    # What the page moves the other cannot simply follow there, either.
    (bond,) = [link for link in many.links if link.name == "run"]
    assert bond.in_page is None
    of_page(monkeypatch)
    many.set_state({"run": "sweep-2"})
    assert few.run == "sweep-0"
    many.set_state({"run": "sweep-1"})
    assert few.run == "sweep-1"


def test_a_run_that_was_not_scored_at_this_alpha_can_be_linked(at_home):
    """The energy gap of all runs at alpha 0.5; one of them has none there: it has no point."""
    table = fake(seeds=(0, 1))
    gone = table.run.unique()[0]
    table = table[(table.run != gone) | (table.alpha != 0.5)]
    all_runs = EnergyGapExplorer(table)
    at_a_half = EnergyGapExplorer(table, alpha=0.5)
    clipft.link(all_runs, at_a_half)
    all_runs.run = gone
    assert at_a_half.run == gone and gone not in set(at_a_half.shown.run)
    assert at_a_half.figure().data


def test_a_gap_is_of_one_alpha_whatever_is_linked(at_home):
    """Its points are models of one alpha: run and selection alone are one."""
    table = results(at_home.runs)
    gap = EnergyGapExplorer(table, at_home.runs)
    slider = WiseExplorer([run.path for run in at_home.scored], 0.3)
    clipft.link(slider, gap)
    assert {link.name for link in gap.links} == {"run", "selection"} == {*gap.shared}
    slider.alpha = 0.7
    assert gap.alpha == 1
    slider.selection = some = [str(slider.sweep.ids[0])]
    slider.run = other = at_home.scored[1].id
    assert (gap.run, gap.selection) == (other, some)


def test_an_unknown_run_is_refused_by_all_that_show_one():
    table = fake()
    for explorer in (
        WiseExplorer(toy_sweep()), ReliabilityExplorer(toy_sweep()), EnergyGapExplorer(table),
        RunBrowser(table),
    ):  # fmt: skip
        run = explorer.run
        with pytest.raises(ConfigError, match="unknown run 'nobody'") as caught:
            explorer.run = "nobody"
        assert explorer.run == run and "\n" not in str(caught.value)


def test_where_no_run_is_known_anything_goes():
    class Own(Explorer):
        run = traitlets.Unicode().tag(sync=True)

    explorer = Own(Board([["wise"]], Desk(), {"run": "any"}))
    assert explorer.known_runs == set()
    explorer.run = "another"
    assert explorer.state == {"run": "another"}


def of_page(monkeypatch):
    """From here on a page moves."""
    kernel = SimpleNamespace(get_parent=lambda: {"header": {"msg_type": "comm_msg"}})
    monkeypatch.setattr(IPython, "get_ipython", lambda: SimpleNamespace(kernel=kernel))


def test_what_the_page_moved_is_not_moved_back(trio, monkeypatch):
    """The other one was moved there as well, and says so itself."""
    first, second, _ = trio
    clipft.link(first, second)
    bonds = {link.name: link for link in first.links if link in second.links}
    assert bonds.keys() == {"alpha", "run", "selection"}
    for name, bond in bonds.items():
        assert bond.in_page.source == (first, name)
        assert bond.in_page.target == (second, name)
    of_page(monkeypatch)
    first.set_state({"alpha": 0.5})
    assert (first.alpha, second.alpha) == (0.5, 0.2)
    second.set_state({"alpha": 0.5})
    assert alphas(first, second) == {0.5}


def test_a_closed_explorer_is_linked_no_more(trio):
    first, second, third = trio
    clipft.link(*trio)
    bond = second.links[-1]
    second.close()
    assert bond.in_page.comm is None and bond not in first.links
    first.alpha = 0.81
    assert alphas(first, third) == {0.81}
    first.close()
    third.alpha = 0.3
    assert alphas(third) == {0.3}


def test_what_shares_nothing_is_refused_in_one_line(trio):
    without = FigureView(RunBrowser(fake()).figure())
    for other, kind in ((without, "FigureView"), (0.5, "float"), (None, "NoneType")):
        with pytest.raises(ConfigError, match=f"a {kind} share no alpha") as caught:
            clipft.link(trio[0], trio[1], other)
        assert "\n" not in str(caught.value)
    assert trio[1].alpha == 0.9, "half of them were linked"
    with_slider = FigureView(trio[0].figure())
    clipft.link(trio[0], with_slider)
    trio[0].alpha = 0.6
    assert with_slider.alpha == 0.6


def test_a_table_of_runs_can_be_linked():
    """It has no alpha; of runs it knows those that it lists."""
    table = fake()
    browser, gap = RunBrowser(table), EnergyGapExplorer(table)
    clipft.link(gap, browser)
    assert [link.name for link in browser.links] == ["run"]
    assert browser.run == gap.run != ""
    for run in table.run.unique():
        browser.run = run
        assert gap.run == run
    gap.run = ""
    assert browser.run == ""
    slider = WiseExplorer(toy_sweep())
    clipft.link(slider, browser)
    assert (slider.run, browser.run) == ("sweep-0", "")
