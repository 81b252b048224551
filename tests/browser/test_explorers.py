"""Every explorer as a person uses it: mouse and keyboard in JupyterLab, and what is shown is what Python says.

Here: what all share, and WiSE. The others have files of their own.
"""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe

from . import lab
from .lab import PLOT, ask, becomes, cell, press, type_alpha, until

SET_UP = """
import json
import numpy as np
from pathlib import Path
from clipft import distortion_table, energy_map, read_sweep, results, show, wise_slider_figure
from clipft.widgets.calibration import ReliabilityExplorer
from clipft.widgets.distortion import DistortionExplorer
from clipft.widgets.energy_gap import EnergyGapExplorer
from clipft.widgets.energy_map import EnergyMapExplorer
from clipft.widgets.run_browser import RunBrowser
from clipft.widgets.wise import WiseExplorer
runs = Path({runs!r})
table = results(str(runs))
folders = [runs / run for run in sorted(table[table.metric == "energy_gap"].run.unique())]
sweeps = [read_sweep(folder) for folder in folders[:3]]

def wise_facts(w):
    # what the explorer is to show, from the arrays alone
    s, place = w.sweep, int(np.abs(w.sweep.alphas - w.alpha).argmin())
    then = s.prediction[int(np.abs(s.alphas - w.against.value).argmin())]
    rows = {{name: np.flatnonzero(s.split == name) for name in s.splits}}
    now, start = s.prediction[place], s.prediction[0]
    accuracy = [100 * float(np.interp(w.alpha, s.alphas, (s.prediction[:, r] == s.label[r]).mean(1)))
                for r in rows.values()]
    lost = {{n: r[(now[r] != then[r]) & (then[r] == s.label[r])] for n, r in rows.items()}}
    wanted = [i for n, r in lost.items() for i in r if w.split.value in (n, "every split")]
    return {{
        "alpha": w.alpha, "accuracy": accuracy, "flips": [int((now[r] != start[r]).sum()) for r in rows.values()],
        "lost": sorted(s.ids[wanted].tolist()), "tiles": list(w.selection),
        "title": ", ".join(s.called),
    }}
"""
WISE, SECOND, GAPS, MAP, DISTORTION, RELIABILITY, BROWSER, FIGURE = range(1, 9)
CELLS = (
    "wise = WiseExplorer(sweeps, 0.5)\nwise",
    "second = WiseExplorer(sweeps[0], 0.25)\nsecond",
    "gaps = EnergyGapExplorer(table, runs)\ngaps",
    "map = EnergyMapExplorer(energy_map(folders[0], 1.0, 20), sweeps[0])\nmap",
    "distortion = DistortionExplorer(distortion_table(folders[:4]))\ndistortion",
    "reliability = ReliabilityExplorer(sweeps[0])\nreliability",
    "browser = RunBrowser(table, runs)\nbrowser",
    "show(wise_slider_figure(table))",
)
NAMES = (
    "wise",
    "wise_second",
    "energy_gap",
    "energy_map",
    "distortion",
    "reliability",
    "run_browser",
    "figure",
)
# the least contrast ratio (WCAG 2) of the texts inside these elements, and the text that has it
CONTRAST = """elements => {
    const rgb = colour => (colour.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
    const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
        .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = element => {
        for (let e = element; e; e = e.parentElement) {
            const found = rgb(getComputedStyle(e).backgroundColor);
            if (!(e instanceof SVGElement) && (found[3] ?? 1) === 1) return found;
        }
        return [255, 255, 255];
    };
    let least = [99, ''];
    for (const element of elements) {
        const own = [...element.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
        if (!own || !element.getClientRects().length) continue;
        const style = getComputedStyle(element);
        const text = light(rgb(element instanceof SVGElement ? style.fill : style.color));
        const back = light(behind(element));
        const ratio = (Math.max(text, back) + 0.05) / (Math.min(text, back) + 0.05);
        if (ratio < least[0]) least = [ratio, `${element.tagName} ${element.className.baseVal ?? element.className}`
            + ` ${element.textContent.slice(0, 40)}`];
    }
    return least;
}"""


@pytest.fixture(scope="module")
def desk(server, browser, demo_runs):
    """One page with every explorer, shared by the tests below; what each test changes the others do not lean on."""
    sources = [SET_UP.format(runs=str(demo_runs)), *CELLS]
    with lab.desk(server, browser, server.root / "explorers.ipynb", sources) as view:
        yield view


def is_right(page, explorer, name: str) -> dict:
    """Wait until marker, bars, table and tiles of a WiseExplorer are what its arrays say; return what they say."""

    def check() -> dict:
        facts = ask(page, f"wise_facts({name})")
        accuracy = facts["accuracy"]
        shifts = accuracy[1:]
        mark = lab.drawn(explorer, "at alpha")
        assert mark["x"] == pytest.approx([accuracy[0]], abs=1e-6)
        assert mark["y"] == pytest.approx([sum(shifts) / len(shifts)], abs=1e-6)
        assert lab.drawn(explorer, "at alpha", "bar")["y"] == pytest.approx(accuracy, abs=1e-6)
        written = explorer.locator(".bartext").all_text_contents()
        values = [float(text) for text in written]
        count = len(accuracy)
        assert values[count : 2 * count] == pytest.approx(accuracy, abs=0.0501)
        rows = lab.rows(explorer.locator(".clipft-counts"))
        assert [float(row[2]) for row in rows] == pytest.approx(accuracy, abs=0.0501)
        assert [int(row[4]) for row in rows] == facts["flips"]
        assert f"alpha {facts['alpha']:.2f}" in explorer.locator(".clipft-counts").inner_text()
        ids = explorer.locator(".clipft-flips figure > :first-child").evaluate_all(
            "all => all.map(e => e.title)"
        )
        assert ids == facts["tiles"]
        assert len(ids) == min(24, len(facts["lost"]))
        assert set(ids) <= set(facts["lost"])
        return facts

    return until(check, page)


# --- alpha ----------------------------------------------------------------------------------------------------------


def test_wise_arrow_keys(desk):
    explorer = cell(desk, WISE)
    explorer.locator(".noUi-handle").focus()
    before = is_right(desk, explorer, "wise")
    press(desk, "ArrowRight", 3)
    lab.expect(explorer.locator(".widget-readout")).to_have_text("0.53")
    assert is_right(desk, explorer, "wise")["alpha"] == pytest.approx(before["alpha"] + 0.03)
    press(desk, "End")
    after = is_right(desk, explorer, "wise")
    assert after["alpha"] == 1
    assert after["flips"] != before["flips"]
    assert after["lost"], "no lost image in the demo runs: nothing to look at"
    pictures = explorer.locator(".clipft-flips img")
    assert pictures.count() == len(after["tiles"])
    assert min(pictures.evaluate_all("all => all.map(image => image.naturalWidth)")) > 0


def test_wise_mouse_and_typing(desk):
    explorer = cell(desk, WISE)
    explorer.locator(".noUi-handle").scroll_into_view_if_needed()
    rail = explorer.locator(".noUi-base").bounding_box()
    handle = explorer.locator(".noUi-handle").bounding_box()
    old = explorer.locator(PLOT).get_attribute("data-alpha")
    desk.mouse.move(handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2)
    desk.mouse.down()
    desk.mouse.move(rail["x"] + 0.6 * rail["width"], rail["y"] + 4, steps=4)
    lab.expect(explorer.locator(PLOT)).not_to_have_attribute(
        "data-alpha", old
    )  # before the button is up
    desk.mouse.move(rail["x"] + 0.2 * rail["width"], rail["y"] + 4, steps=8)
    desk.mouse.up()
    assert is_right(desk, explorer, "wise")["alpha"] == pytest.approx(0.2, abs=0.02)

    type_alpha(desk, explorer, 0.73)
    assert is_right(desk, explorer, "wise")["alpha"] == pytest.approx(0.73)


def test_wise_menus(desk):
    explorer = cell(desk, WISE)
    title = explorer.locator(PLOT)
    for number in (2, 0):
        explorer.locator(".clipft-run select").select_option(index=number)
        name = ask(desk, f"', '.join(sweeps[{number}].called)")
        lab.expect(title).to_have_attribute(
            "aria-label", re.compile(re.escape(name.split(", run")[0]))
        )
        assert is_right(desk, explorer, "wise")["title"] == name
    explorer.locator(".noUi-handle").focus()
    press(desk, "Home")
    assert is_right(desk, explorer, "wise")["alpha"] == 0
    lab.expect(explorer.locator(".clipft-flips")).to_have_text("no image")
    explorer.locator(".clipft-against select").select_option("tuned")
    from_tuned = is_right(desk, explorer, "wise")
    assert from_tuned["lost"]
    explorer.locator(".clipft-images select").select_option("all flips")
    every = sum(ask(desk, "[int(len(wise.sweep.flips(0, 1)['all']))]"))
    lab.expect(explorer.locator(".clipft-flips p")).to_have_text(
        f"{min(24, every)} of {every} images"
    )
    explorer.locator(".clipft-images select").select_option("lost (right to wrong)")
    split = explorer.locator(".clipft-split select option").nth(1).inner_text()
    explorer.locator(".clipft-split select").select_option(split)
    one = is_right(desk, explorer, "wise")
    assert set(one["lost"]) < set(from_tuned["lost"])
    explorer.locator(".clipft-split select").select_option("every split")
    explorer.locator(".clipft-against select").select_option("zero-shot")


def test_wise_exact_here(desk):
    explorer = cell(desk, WISE)
    type_alpha(desk, explorer, 0.37)
    explorer.locator(".clipft-exact-here").click()
    lab.expect(explorer.locator(".clipft-exact")).to_contain_text("alpha 0.37 on the same images")
    rows = explorer.locator(".clipft-exact tr")
    assert rows.count() == 1 + len(ask(desk, "wise.sweep.splits"))


# --- the page -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("theme", [lab.DARK, lab.LIGHT], ids=["dark", "light"])
def test_text_is_readable_in_both_themes(desk, theme):
    lab.theme(desk, theme)
    ground = {lab.DARK: "rgb(17, 17, 17)", lab.LIGHT: "rgb(255, 255, 255)"}[theme]
    grounds = f"""() => new Set([...document.querySelectorAll('{PLOT} .main-svg:first-child')]
        .map(svg => svg.style.background)).size === 1
        && document.querySelector('{PLOT} .main-svg').style.background === '{ground}'"""
    desk.wait_for_function(grounds)
    shade = theme.split()[-1].lower()
    problems = []
    for number, name in enumerate(NAMES, 1):
        ratio, text = cell(desk, number).locator(".jp-OutputArea-output *").evaluate_all(CONTRAST)
        if ratio <= 4.5:
            problems.append(f"{name}: contrast {ratio:.1f} of {text}")
        show(desk, number, f"explorer_{name}_{shade}")
    assert not problems


@pytest.mark.parametrize("theme", [lab.DARK, lab.LIGHT], ids=["dark", "light"])
def test_axe_finds_nothing_serious(desk, theme):
    lab.theme(desk, theme)
    found = Axe().run(desk, context=".clipft-explorer").response["violations"]
    serious = [
        f"{one['id']}: {one['help']}, {len(one['nodes'])} times, e.g. {one['nodes'][0]['html'][:200]}"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == []


@pytest.mark.parametrize("width", [390, 900, 1600, 2000])
def test_explorers_are_as_wide_as_the_page(desk, width):
    """Nothing reaches beyond its place, and beside the controls there is a picture where there is room."""
    size = desk.viewport_size
    desk.set_viewport_size({"width": width, "height": 1000})
    try:
        until(lambda: fits(desk), desk)
        for number, name in enumerate(NAMES, 1):
            show(desk, number, f"explorer_{name}_{width}")
        controls = cell(desk, WISE).locator(".clipft-controls").first.bounding_box()
        picture = cell(desk, WISE).locator(".clipft-pictures").first.bounding_box()
        is_beside = picture["x"] >= controls["x"] + controls["width"]
        assert is_beside == (width >= 1600)
    finally:
        desk.set_viewport_size(size)


def fits(page) -> None:
    """Each explorer keeps to its place, and its pictures are as wide as theirs."""
    found = page.evaluate(
        """plots => [...document.querySelectorAll('.clipft-explorer')].map(explorer => {
            const drawn = [...explorer.querySelectorAll(plots)].filter(e => e.getClientRects().length);
            return [explorer.scrollWidth - explorer.clientWidth,
                ...drawn.map(e => e._fullLayout.width - e.parentElement.clientWidth)];
        })""",
        PLOT,
    )
    assert max(abs(beyond) for explorer in found for beyond in explorer) <= 1, found


def show(page, number: int, name: str) -> None:
    """A picture of one cell's output, uncut."""
    page.evaluate(
        """number => {
            const output = document.querySelectorAll('.jp-CodeCell')[number].querySelector('.jp-OutputArea');
            output.scrollIntoView({block: 'start'});
        }""",
        number,
    )
    lab.shot(page, name)


def test_no_share_button_but_both_downloads(desk):
    buttons = desk.locator(f"{PLOT} .modebar-btn")
    titles = buttons.evaluate_all("all => all.map(button => button.dataset.title)")
    assert not [title for title in titles if "hare" in title or "loud" in title]
    assert {"Download as SVG", "Download plot as a PNG"} <= set(titles)


def test_every_picture_of_the_live_page_is_plotlys(desk):
    """And plotly's script is there once, whatever the number of pictures."""
    assert desk.locator(f"{PLOT} .main-svg").count() >= len(CELLS)
    loaded = "Object.keys(globalThis).filter(name => name.startsWith('clipft'))"
    assert desk.evaluate(loaded) == ["clipftPlotly"]


def test_reload_keeps_every_explorer(desk):
    """Saved and opened again, the explorers are as they were; their kernel still runs."""
    explorer = cell(desk, WISE)
    explorer.locator(".noUi-handle").focus()
    press(desk, "End")
    press(desk, "ArrowLeft", 7)
    is_right(desk, explorer, "wise")
    lab.save(desk)
    desk.reload()
    lab.expect(cell(desk, WISE).locator(PLOT)).to_be_visible()
    assert is_right(desk, explorer, "wise")["alpha"] == pytest.approx(0.93)
    lab.expect(explorer.locator(".widget-readout")).to_have_text("0.93")
    assert is_right(desk, cell(desk, SECOND), "second")["alpha"] == pytest.approx(0.25)
    for number in (GAPS, MAP, DISTORTION, RELIABILITY, BROWSER, FIGURE):
        lab.expect(cell(desk, number).locator(PLOT).first).to_be_visible()
    explorer.locator(".noUi-handle").focus()
    press(desk, "ArrowLeft")
    assert is_right(desk, explorer, "wise")["alpha"] == pytest.approx(0.92)


def test_a_run_has_its_name_on_its_thin_line_and_is_chosen_by_a_click(desk):
    explorer = cell(desk, WISE)
    ask(desk, "wise.set_trait('run', 0)")
    other = ", ".join(ask(desk, "list(sweeps[2].called)"))
    plot = explorer.locator(PLOT)
    until(lambda: is_right(desk, explorer, "wise"), desk)
    desk.mouse.move(5, 5)
    x, y = plot.evaluate(lab.THIN, 2)
    desk.mouse.move(x, y)
    hover = plot.locator(".hoverlayer .hovertext").first
    lab.expect(hover).to_contain_text(other.split(",")[0])
    lab.expect(hover).to_contain_text("alpha")
    desk.mouse.click(x, y)
    becomes(desk, "wise.run", 2)
    assert is_right(desk, explorer, "wise")["title"] == other


def test_a_cell_that_runs_again_has_one_live_view(desk):
    """The old view is gone from the page and from the kernel."""
    before = ask(desk, "len(__import__('ipywidgets').widgets.widget._instances)")
    for _ in range(2):
        lab.run_cells(desk, FIGURE, FIGURE + 1)
        lab.expect(cell(desk, FIGURE).locator(".clipft-live")).to_have_count(1)
        lab.expect(cell(desk, FIGURE).locator(PLOT)).to_be_visible()
    becomes(desk, "len(__import__('ipywidgets').widgets.widget._instances)", before)


# --- without its kernel ---------------------------------------------------------------------------------------------


def test_a_saved_notebook_shows_the_static_twins(desk):
    """Opened again where its kernel is gone: no `model not found`, and under 5 MB for all explorers.

    The last to use the desk: it ends the kernel.
    """
    lab.expect(desk.locator(".clipft-gone").first).to_be_hidden()
    desk.evaluate(
        "() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()"
    )
    lines = desk.locator(".clipft-gone")
    lab.expect(lines).to_have_count(len(CELLS))
    for number in range(len(CELLS)):
        lab.expect(lines.nth(number)).to_contain_text("run this cell again")
    cell(desk, WISE).locator(".noUi-handle").focus()
    press(desk, "Home")
    press(desk, "ArrowRight", 3)  # what needs no kernel still moves
    lab.expect(cell(desk, WISE).locator(PLOT)).to_have_attribute("data-alpha", "0.03")

    lab.save(desk)
    path = desk.path
    assert path.stat().st_size < 5e6
    print(f"\nsaved notebook of {len(CELLS)} explorers: {path.stat().st_size / 1e6:.2f} MB")
    desk.reload()
    # Lab shows a figure that is not looked at as an image.
    twins = desk.locator(".jp-OutputArea-output:is(:has(.main-svg), :has(img))")
    lab.expect(twins).to_have_count(len(CELLS))
    for number in range(len(CELLS)):
        lab.expect(twins.nth(number)).to_be_visible()
    assert desk.locator(".clipft-live").count() == 0
    assert "not found" not in desk.locator(".jp-Notebook").inner_text()
    lab.shot(desk, "saved_without_kernel", whole=True)


# --- whole notebooks ------------------------------------------------------------------------------------------------


def test_start_here_from_nothing(page, server, tmp_path):
    """The first notebook with an empty cache and an empty folder of runs; fewer classes, steps and
    alphas.
    """
    manifest = lab.first_classes("emoji_start", tmp_path, name="start_demo", count=20)
    few = {"steps": 10, "alphas": [0.0, 0.4, 1.0], "runs": str(tmp_path / "runs")}
    few["manifest"] = str(manifest)
    own_cache = f"%env CLIPFT_CACHE={tmp_path / 'cache'}\n"
    path = lab.copy(lab.ROOT / "notebooks/00_start_here.ipynb", server.root, own_cache, **few)
    lab.open_notebook(page, server, path)
    lab.theme(page, lab.LIGHT)
    lab.run_all(page)
    plot = page.locator(PLOT).first
    lab.expect(plot).to_have_attribute("data-alpha", "0.4")
    pictures = page.locator(".clipft-flips img")
    assert pictures.evaluate_all("all => all.every(image => image.naturalWidth > 0)")
    page.locator(".clipft-alpha .noUi-handle").focus()
    press(page, "ArrowRight")
    lab.expect(plot).to_have_attribute("data-alpha", "0.41")
    lab.shot(page, "00_start_here_light", whole=True)
