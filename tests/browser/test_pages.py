"""Figures saved as HTML and a batch's page, opened from the disk; images of figures."""

import itertools
import re
from xml.etree import ElementTree

import plotly.graph_objects as go
import pytest

from clipft import (
    accuracy_figure,
    energy_gap_figure,
    open_runs,
    results,
    results_table,
    table_figure,
    trade_off_figure,
    training_figure,
    wise_curve_figure,
    wise_slider_figure,
)
from clipft.batch.overview import write_overview
from clipft.batch.spec import Spec
from clipft.data.images import decode
from clipft.figures import pages

from . import frames, lab

# what is drawn outside the figure's own box, and so cut: titles, legends, labels of axes
CUT = """() => [...document.querySelectorAll('.js-plotly-plot')].flatMap(plot => {
    const box = plot.querySelector('.main-svg').getBoundingClientRect();
    return [...plot.querySelectorAll('.infolayer text, .xtick text, .ytick text')].filter(text => {
        const at = text.getBoundingClientRect();
        return at.width && (at.left < box.left - 1 || at.right > box.right + 1
            || at.top < box.top - 1 || at.bottom > box.bottom + 1);
    }).map(text => text.textContent);
})"""


def test_a_saved_figure_opens_offline(browser, tmp_path):
    figure = go.Figure(
        go.Scatter(x=[1, 2, 3], y=[2, 1, 3], mode="markers"), layout={"title": "Saved"}
    )
    file = pages.save_figure(figure, tmp_path, "saved", "Three points.")
    with lab.page(browser, ("file:",), height=700) as page:
        page.goto(file.as_uri())
        lab.expect(page.locator(".js-plotly-plot .points path")).to_have_count(3)
        lab.expect(page.locator("figcaption")).to_have_text("Three points.")
        lab.shot(page, "saved_figure")
    assert page.outside == []
    assert page.errors == []


def test_images_are_laid_out_as_pages_are(browser, tmp_path):
    title = "WiSE-FT: slide alpha from zero-shot (0) to tuned (1), mean of 2 seeds"
    figure = go.Figure(go.Bar(x=["a"], y=[1]), layout={"title": title, "font": {"size": 14}})
    pages.save_figure(figure, tmp_path, "wise")
    line = pages.write_images(tmp_path, ["png", "svg", "pdf"], columns=[1, 2])
    assert line == "PNG, SVG, PDF: 5 written"

    with lab.page(browser, ("file:",)) as page:
        frames.prepare(page)
        high = "([text, width]) => fitted(JSON.parse(text), width).height"
        widths = (410, 850, 1100)
        heights = {w: page.evaluate(high, [figure.to_json(), w]) for w in widths}
    assert heights[410] > heights[850]  # the title takes more lines
    wide, tall = decode(tmp_path / "wise.png").size
    assert wide == 2 * 1100 and abs(tall - 2 * heights[1100]) < 2

    for name, inches, width in (("wise_1column", 3.25, 410), ("wise", 6.75, 850)):
        svg = ElementTree.parse(tmp_path / f"{name}.svg").getroot()
        assert float(svg.get("width")) == pytest.approx(96 * inches)
        box = [float(number) for number in svg.get("viewBox").split()]
        assert box == pytest.approx([0, 0, width, heights[width]])
        drawn = "".join(svg.find(".//*[@class='gtitle']").itertext())
        assert drawn.replace(" ", "") == title.replace(" ", "")
        pdf = (tmp_path / f"{name}.pdf").read_bytes()
        (found,) = re.findall(rb"/MediaBox \[0 0 ([0-9.]+)", pdf)
        assert float(found) == pytest.approx(72 * inches, abs=1)


@pytest.fixture(scope="module")
def index(demo_runs, tmp_path_factory):
    """The page of a batch whose runs are the demo's, with figures of every shape."""
    out = tmp_path_factory.mktemp("batch")
    (out / "runs").symlink_to(demo_runs)
    table = results(demo_runs)
    run = open_runs(demo_runs)[0]
    figures = {
        "1_slider": wise_slider_figure(table),
        "2_gap": energy_gap_figure(table),
        "3_curves": wise_curve_figure(table),
        "4_table": table_figure(results_table(table)),
        "5_trade_off": trade_off_figure(table),
        "6_training": training_figure(run.history()),
        "7_accuracy": accuracy_figure(run.table()),
    }
    for name, figure in figures.items():
        pages.save_figure(figure, out / "figures", name, f"Look at {name}.")
    spec = Spec.read({"name": "t", "title": "A batch", "stages": [], "images": []})
    write_overview(spec, [], out, "clipft batch t.yaml")
    return out / "index.html"


@pytest.mark.parametrize("width", [390, 900, 1100, 1400])
def test_nothing_of_a_figure_is_cut(browser, index, width):
    with lab.page(browser, ("file:",), width=width) as page:
        page.goto(index.as_uri())
        lab.expect(page.locator(".js-plotly-plot:has(.main-svg)")).to_have_count(7)
        assert page.evaluate(CUT) == []
        # a narrow page does not scroll sideways: its figures and tables do, in their own boxes
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_check_for_cut_titles_sees_one(browser, tmp_path):
    figure = go.Figure(go.Bar(x=["a"], y=[1]))
    place = {"x": "a", "y": 0.5, "xanchor": "left"}
    figure.add_annotation(text=20 * "a long note ", showarrow=False, **place)
    file = pages.save_figure(figure, tmp_path, "long")
    with lab.page(browser, ("file:",), width=900) as page:
        page.goto(file.as_uri())
        lab.expect(page.locator(".js-plotly-plot:has(.main-svg)")).to_have_count(1)
        assert len(page.evaluate(CUT)) == 1


# the name of the place that a figure's loneliest point leads to, and where in the window that point is
LONELY = """plot => {
    plot.scrollIntoView({block: 'center'});
    const {_fullLayout: {xaxis, yaxis}} = plot;
    const box = plot.getBoundingClientRect();
    const points = plot._fullData.filter((trace) => trace.meta?.to && trace.xaxis === 'x').flatMap(({x, y, meta}) =>
        meta.to.map((to, i) => [to, box.left + xaxis._offset + xaxis.l2p(x[i]), box.top + yaxis._offset + yaxis.l2p(y[i])]));
    const room = ([to, x, y]) => Math.min(...points.filter(([other]) => other !== to)
        .map(([, otherX, otherY]) => Math.hypot(x - otherX, y - otherY)));
    return points.sort((a, b) => room(b) - room(a))[0];
}"""


def test_a_click_on_a_point_goes_to_its_run(browser, index):
    with lab.page(browser, ("file:",)) as page:
        page.goto(index.as_uri())
        anchor, x, y = page.locator(".js-plotly-plot").nth(1).evaluate(LONELY)
        page.mouse.click(x, y)
        page.wait_for_function("() => location.hash")
        assert page.evaluate("location.hash") == f"#{anchor}"
        row = page.locator(f"tr:has(#{anchor})")
        lab.expect(row).to_contain_text(anchor.removeprefix("run-"))
        lab.expect(row).to_be_in_viewport()


def test_the_page_is_in_order_for_a_screen_reader(browser, index):
    with lab.page(browser, ("file:",)) as page:
        page.goto(index.as_uri())
        assert page.locator("main").count() == 1
        levels = page.locator("h1, h2, h3").evaluate_all(
            "all => all.map(heading => Number(heading.tagName[1]))"
        )
        assert levels[0] == 1 and levels.count(1) == 1
        steps = [after - before for before, after in itertools.pairwise(levels)]
        assert max(steps) == 1  # no level is left out
        outside = "all => all.filter(part => !part.closest('main')).length"
        assert page.locator("h1, h2, h3, p, figure, table, ul").evaluate_all(outside) == 0
        names = page.locator("figure").evaluate_all("all => all.map(f => f.ariaLabel)")
        assert len(names) == 7 and all(names)
        assert page.locator("th:not([scope])").count() == 0
