"""The reliability explorer without a page, and explorers whose alpha is one."""

import math
from dataclasses import replace
from types import SimpleNamespace

import IPython
import numpy as np
import pytest
from looking import drawn, moving, named, table_of, traces, values
from sklearn.metrics import accuracy_score
from test_sweep import toy_sweep

pytest.importorskip("anywidget")

import clipft
from clipft.errors import ConfigError
from clipft.figures.style import GREY, style
from clipft.widgets.calibration import ReliabilityExplorer
from clipft.widgets.view import FigureView
from clipft.widgets.wise import WiseExplorer


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


def test_reliability_draws_bins_and_ece():
    sweep = toy_sweep(n=10)
    explorer = ReliabilityExplorer(sweep, 0.25, "clipart/test", 10)
    ends = {"zero-shot (alpha 0)": 0.0, "at alpha 0.25": 0.25, "tuned (alpha 1)": 1.0}
    for name, alpha in ends.items():
        wanted = bins_of(sweep, "clipart/test", alpha, 10)
        assert any(images == 0 for *_, images in wanted), "no empty bin: nothing to look at"
        assert_bins(named(explorer.plot, name), named(explorer.plot, name, "bar"), wanted)

    explorer.alpha = 0.58
    table = table_of(explorer.note.value).set_index("model")
    for name, alpha in {"zero-shot": 0, "at alpha 0.60": 0.6, "tuned": 1}.items():
        wanted = 100 * sweep.ece("clipart/test", alpha)
        assert float(table["ECE %"][name]) == pytest.approx(wanted, abs=0.051)
        assert table["images"][name] == "10"
    before = traces(explorer.plot)
    explorer.split = "real/test"
    assert traces(explorer.plot) != before
    assert "real/test" in drawn(explorer.plot)["layout"]["title"]["text"]


def test_reliability_moves_with_alpha_in_the_page():
    """What the page has is the bins of every scored alpha; it jumps to the nearest."""
    sweep = toy_sweep(n=40)
    explorer = ReliabilityExplorer(sweep, 0.25, "sketch/test", 8)
    painted = explorer.plot.figure
    moves = explorer.plot.moves
    assert moves["nearest"] and moves["t"] == sweep.alphas.tolist()
    curve = moving(explorer.plot, "at alpha 0.25")
    (bars,) = [trace["keys"] for trace in moves["traces"] if trace["keys"] != curve]
    for place, alpha in enumerate(sweep.alphas.tolist()):
        of_alpha = [{key: table[place] for key, table in one.items()} for one in (curve, bars)]
        assert_bins(*of_alpha, bins_of(sweep, "sketch/test", alpha, 8))
        assert of_alpha[0]["name"] == of_alpha[1]["name"] == f"at alpha {alpha:.2f}"

    explorer.alpha = 0.9
    assert explorer.plot.figure == painted, "the kernel drew what the page moves itself"
    (link,) = explorer.links
    assert link.source == (explorer.slider, "value") and link.target == (explorer.plot, "alpha")


def test_reliability_has_the_colours_of_its_method():
    sweep = replace(toy_sweep(), about={"method": "lipsum"})
    colour = style(["lipsum"])["lipsum"].colour
    explorer = ReliabilityExplorer(sweep, 0.25)
    zero_shot = named(explorer.plot, "zero-shot (alpha 0)")
    here = named(explorer.plot, "at alpha 0.25")
    tuned = named(explorer.plot, "tuned (alpha 1)")
    assert (zero_shot["marker"]["color"], zero_shot["marker"]["symbol"]) == (GREY, "star")
    for trace, symbol, dash in ((here, "circle", "solid"), (tuned, "diamond-open", "dash")):
        assert trace["marker"]["color"] == trace["line"]["color"] == colour != GREY
        assert (trace["marker"]["symbol"], trace["line"]["dash"]) == (symbol, dash)


def test_the_static_twin_is_what_is_shown():
    sweep = toy_sweep(n=20)
    explorer = ReliabilityExplorer(sweep, 0.6, "real/test")
    twin = explorer.figure()
    assert [trace.name for trace in twin.data] == [one["name"] for one in traces(explorer.plot)]
    assert twin.layout.sliders[0].active == sweep.alphas.tolist().index(0.6)
    explorer.alpha = 0.0
    assert explorer.figure().layout.sliders[0].active == 0


def test_reliability_begins_at_the_last_shift_and_nearest_to_a_half():
    explorer = ReliabilityExplorer(toy_sweep())
    assert (explorer.split, explorer.alpha) == ("sketch/test", 0.6)
    assert explorer.slider.value == explorer.plot.alpha == 0.6
    assert ReliabilityExplorer(toy_sweep(splits=("real/test",))).split == "real/test"


# one alpha


@pytest.fixture
def trio():
    sweep = toy_sweep()
    return WiseExplorer(sweep, 0.2), ReliabilityExplorer(sweep, 0.9), WiseExplorer(sweep, 0.4)


def alphas(*explorers):
    """Of the traits, the sliders, and what is asked for."""
    return {value for one in explorers for value in (one.alpha, one.slider.value)}


def test_linked_explorers_have_one_alpha(trio):
    first, second, third = trio
    clipft.link(*trio)
    assert alphas(*trio) == {0.2}
    third.alpha = 0.73
    assert alphas(*trio) == {0.73}
    first.slider.value = 0.25
    assert alphas(*trio) == {0.25}
    assert "at alpha 0.25" in second.note.value


def test_what_the_page_moved_is_not_moved_back(trio, monkeypatch):
    """The other slider was moved there as well, and says so itself."""
    first, second, _ = trio
    clipft.link(first, second)
    (bond,) = [link for link in first.links if link in second.links]
    assert bond.in_page.source == (first.slider, "value")
    assert bond.in_page.target == (second.slider, "value")

    kernel = SimpleNamespace(get_parent=lambda: {"header": {"msg_type": "comm_msg"}})
    monkeypatch.setattr(IPython, "get_ipython", lambda: SimpleNamespace(kernel=kernel))
    first.slider.set_state({"value": 0.5})
    assert (first.alpha, second.alpha, second.slider.value) == (0.5, 0.2, 0.2)
    second.slider.set_state({"value": 0.5})
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


def test_what_has_no_alpha_is_refused_in_one_line(trio):
    without = FigureView(trio[0].figure())
    for other, kind in ((without, "FigureView"), (0.5, "float"), (None, "NoneType")):
        with pytest.raises(ConfigError, match=f"a {kind} has no alpha to link") as caught:
            clipft.link(trio[0], trio[1], other)
        assert "\n" not in str(caught.value)
    assert trio[1].alpha == 0.9, "half of them were linked"
