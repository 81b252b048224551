"""Every explorer as a person uses it: mouse and keyboard in JupyterLab, and what is shown is what Python says."""

import ast
import json
import re
import time

import nbformat
import pytest

from . import lab

SET_UP = """
import json
import numpy as np
from pathlib import Path
from clipft import distortion_table, energy_map, read_sweep, results
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
    spec = w.chart.spec["panels"][0]
    return {{
        "alpha": w.alpha, "accuracy": accuracy, "flips": [int((now[r] != start[r]).sum()) for r in rows.values()],
        "lost": sorted(s.ids[wanted].tolist()), "tiles": list(w.selection),
        "x": spec["x"]["range"], "y": spec["y"]["range"], "title": s.title,
    }}
"""
WISE, SECOND, GAPS, MAP, DISTORTION, RELIABILITY, BROWSER = range(1, 8)
CELLS = (
    "wise = WiseExplorer(sweeps, 0.5)\nwise",
    "second = WiseExplorer(sweeps[0], 0.25)\nsecond",
    "gaps = EnergyGapExplorer(table, runs)\ngaps",
    "map = EnergyMapExplorer(energy_map(folders[0], 1.0, 20), sweeps[0])\nmap",
    "distortion = DistortionExplorer(distortion_table(folders[:4]))\ndistortion",
    "reliability = ReliabilityExplorer(sweeps[0])\nreliability",
    "browser = RunBrowser(table, runs)\nbrowser",
)
NAMES = (
    "wise",
    "wise_second",
    "energy_gap",
    "energy_map",
    "distortion",
    "reliability",
    "run_browser",
)
BIG = """
import numpy as np
from clipft.runs.sweep import Sweep
from clipft.widgets.wise import WiseExplorer
rng, A, S, per = np.random.default_rng(0), 101, 5, 10_000
alphas, N = np.linspace(0, 1, A), S * per
label, base, right = rng.integers(0, 1000, N), rng.integers(0, 1000, N), rng.random(N)
other = (base + (alphas[:, None] * 3).astype(int)) % 1000
prediction = np.where(right < 0.4 + 0.4 * alphas[:, None], label, np.where(rng.random(N) < 0.5, base, other))
split = np.repeat([f"d{i}/test" for i in range(S)], per)
ids = np.array([f"d{i // per}/{i}.png" for i in range(N)])
confidence = rng.random((A, N), dtype=np.float32)
big = Sweep("big", "d0", alphas, split, ids, label, prediction, confidence, None, tuple(map(str, range(1000))))
wise = WiseExplorer(big)
wise
"""
MARKER = "document.querySelector('.clipft-marker').getAttribute('transform')"
NUMBERS = "[...document.querySelectorAll('.clipft-value')].slice(0, 50).map(text => text.textContent).join(' ')"
TILES = "document.querySelector('.clipft-flips').innerHTML"
COUNTS = "document.querySelector('.clipft-counts').textContent"
# an alpha just below the middle of two scored alphas that lose other images
BETWEEN = """next(float((a + b) / 2 - 0.02) for i, (a, b) in reversed(list(enumerate(zip(wise.sweep.alphas,
    wise.sweep.alphas[1:])))) if set(wise.sweep.flips(a, 0)["lost"]) != set(wise.sweep.flips(b, 0)["lost"]))"""
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
    path = lab.notebook(server.root / "explorers.ipynb", sources)
    with lab.page(browser, (server.address,)) as view:
        lab.open_notebook(view, server, path)
        lab.theme(view, lab.LIGHT)
        lab.run_all(view)
        lab.expect(view.locator(".clipft-chart > svg")).to_have_count(len(CELLS))
        yield view
        server.stop_kernels()
    assert view.outside == []
    assert view.errors == []


def cell(page, number: int):
    """A code cell of the notebook."""
    return page.locator(".jp-CodeCell").nth(number)


def ask(page, expression: str):
    """What a Python expression is in the notebook's kernel; the notebook is left as it is."""
    said = page.evaluate(
        """async code => {
            const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
            const options = {code: '', user_expressions: {said: code}, silent: true, store_history: false};
            const reply = await kernel.requestExecute(options).done;
            return reply.content.user_expressions.said;
        }""",
        f"__import__('json').dumps({expression})",
    )
    assert said["status"] == "ok", said
    return json.loads(ast.literal_eval(said["data"]["text/plain"]))


def until(check, page, seconds: float = lab.HANG):
    """Wait until a check, a function of no arguments, raises no AssertionError."""
    end = time.monotonic() + seconds
    while True:
        try:
            return check()
        except AssertionError:
            if time.monotonic() > end:
                raise
            page.wait_for_timeout(100)


def becomes(page, expression: str, wanted=None) -> object:
    """Wait until a Python expression in the kernel is this, or, wanted not given, is no longer empty; return it."""

    def check():
        found = ask(page, expression)
        assert found == wanted if wanted is not None else found, f"{expression} is {found!r}"
        return found

    return until(check, page)


def marker(explorer) -> list[float]:
    """Where the marker is, in the units of the axes' pixels: the fraction of the panel's width and height."""
    return explorer.locator(".clipft-marker").evaluate(
        """marker => {
            const box = marker.parentElement.querySelector('.clipft-box');
            const at = name => Number(box.getAttribute(name));
            const [x, y] = marker.getAttribute('transform').match(/[-\\d.]+/g).map(Number);
            return [(x - at('x')) / at('width'), 1 - (y - at('y')) / at('height')];
        }"""
    )


def is_right(page, explorer, name: str) -> dict:
    """Wait until marker, bars, table and tiles of a WiseExplorer are what its arrays say; return what they say."""

    def check() -> dict:
        facts = ask(page, f"wise_facts({name})")
        accuracy, (place_x, place_y) = facts["accuracy"], marker(explorer)
        shifts = accuracy[1:]
        for place, (low, high), value in (
            (place_x, facts["x"], accuracy[0]),
            (place_y, facts["y"], sum(shifts) / len(shifts)),
        ):
            assert low + place * (high - low) == pytest.approx(value, abs=0.01 * (high - low))
        count = len(accuracy)
        values = [float(text) for text in explorer.locator(".clipft-value").all_text_contents()]
        assert values[count : 2 * count] == pytest.approx(accuracy, abs=0.0501)
        rows = explorer.locator(".clipft-counts tr").all_inner_texts()[1:]
        cells = [row.split("\t") for row in rows]
        assert [float(row[2]) for row in cells] == pytest.approx(accuracy, abs=0.0501)
        assert [int(row[4]) for row in cells] == facts["flips"]
        assert f"alpha {facts['alpha']:.2f}" in explorer.locator(".clipft-counts").inner_text()
        ids = explorer.locator(".clipft-flips figure > :first-child").evaluate_all(
            "all => all.map(e => e.title)"
        )
        assert ids == facts["tiles"]
        assert len(ids) == min(24, len(facts["lost"]))
        assert set(ids) <= set(facts["lost"])
        return facts

    return until(check, page)


def press(page, keys: str, times: int = 1) -> None:
    for _ in range(times):
        page.keyboard.press(keys)


def report(what: str, delay: float) -> None:
    """Print a latency; a hang is seen while it is measured."""
    print(f"\n{what}: median {delay:.0f} ms")


def latencies(page, what: str) -> None:
    """Print the time from an arrow key on the first slider to the marker, the numbers and the tiles."""
    page.locator(".clipft-alpha .noUi-handle").first.focus()
    keys = ("ArrowRight", "ArrowLeft")
    for shown, seen in (("marker", MARKER), ("bars' numbers", NUMBERS), ("table", COUNTS)):
        delay = lab.median_delay(page, seen, lambda i: press(page, keys[i % 2]))
        report(f"{what}: key to {shown}", delay)
    below = ask(
        page, BETWEEN
    )  # five hundredths up are nearer to the next scored alpha: other images
    type_alpha(page, page.locator("body"), below)
    keys = ("PageUp", "PageDown")
    report(
        f"{what}: key to tiles", lab.median_delay(page, TILES, lambda i: press(page, keys[i % 2]))
    )


def type_alpha(page, explorer, alpha: float) -> None:
    """Type an alpha into the first slider's number, wait for it, and go back to the slider."""
    explorer.locator(".clipft-alpha .widget-readout").first.click()
    page.keyboard.press("Control+a")
    page.keyboard.type(f"{alpha:.2f}")
    page.keyboard.press("Enter")
    lab.expect(explorer.locator(".clipft-counts p").first).to_contain_text(f"alpha {alpha:.2f}")
    explorer.locator(".clipft-alpha .noUi-handle").first.focus()


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
    old = explorer.locator(".clipft-marker").get_attribute("transform")
    desk.mouse.move(handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2)
    desk.mouse.down()
    desk.mouse.move(rail["x"] + 0.6 * rail["width"], rail["y"] + 4, steps=4)
    lab.expect(explorer.locator(".clipft-marker")).not_to_have_attribute(
        "transform", old
    )  # before the button is up
    desk.mouse.move(rail["x"] + 0.2 * rail["width"], rail["y"] + 4, steps=8)
    desk.mouse.up()
    assert is_right(desk, explorer, "wise")["alpha"] == pytest.approx(0.2, abs=0.02)

    type_alpha(desk, explorer, 0.73)
    assert is_right(desk, explorer, "wise")["alpha"] == pytest.approx(0.73)


def test_wise_menus(desk):
    explorer = cell(desk, WISE)
    title = explorer.locator(".clipft-chart > svg")
    for number in (2, 0):
        explorer.locator(".clipft-run select").select_option(index=number)
        name = ask(desk, f"sweeps[{number}].title")
        lab.expect(title).to_have_attribute("aria-label", f"WiSE curve of {name}")
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


def test_wise_latency(desk):
    explorer = cell(desk, WISE)
    explorer.locator(".noUi-handle").focus()
    press(desk, "End")
    press(desk, "PageDown", 3)  # alpha 0.7
    is_right(desk, explorer, "wise")
    latencies(desk, "demo runs")


# --- energy gap -----------------------------------------------------------------------------------------------------


def r_shown(page) -> str:
    return cell(page, GAPS).locator(".clipft-r").inner_text()


def test_energy_gap_hover_and_click(desk):
    explorer = cell(desk, GAPS)
    chart = explorer.locator(".clipft-chart").first
    points = chart.locator(".clipft-point")
    assert points.count() == ask(desk, "len(gaps.shown)")
    points.first.scroll_into_view_if_needed()
    points.first.hover()
    lab.expect(chart.locator(".clipft-tip")).to_be_visible()
    lab.expect(chart.locator(".clipft-tip")).to_contain_text("seed")
    points.first.click()
    lab.expect(points.first).to_have_class(re.compile("clipft-chosen"))
    run = becomes(desk, "gaps.selection")
    lab.expect(explorer.locator(".clipft-about h4")).to_contain_text(run)
    lab.expect(explorer.locator(".clipft-about")).to_contain_text("manifest")
    lab.expect(explorer.locator(".clipft-marker")).to_have_count(1)  # the run's WiSE curve
    pictures = explorer.locator(".clipft-moved img")
    lab.expect(pictures.first).to_be_visible()
    assert min(pictures.evaluate_all("all => all.map(image => image.naturalWidth)")) > 0


def test_energy_gap_menus(desk):
    explorer = cell(desk, GAPS)
    before = r_shown(desk)
    explorer.locator(".clipft-shift select").select_option(index=1)
    lab.expect(explorer.locator(".clipft-r")).not_to_have_text(before)
    second = r_shown(desk)
    assert ask(desk, "str(gaps.correlation)") in second
    shown = ask(desk, "len(gaps.shown)")
    explorer.locator(".clipft-methods select").select_option(index=0)
    lab.expect(explorer.locator(".clipft-r")).not_to_have_text(second)
    lab.expect(explorer.locator(".clipft-chart").first.locator(".clipft-point")).to_have_count(
        ask(desk, "len(gaps.shown)")
    )
    assert ask(desk, "len(gaps.shown)") < shown
    assert ask(desk, "str(gaps.correlation)") in r_shown(desk)
    explorer.locator(".clipft-x select").select_option(index=1)
    lab.expect(explorer.locator(".clipft-chart > svg").first).to_have_attribute(
        "aria-label", ask(desk, "gaps.chart.spec['title']")
    )
    ask(
        desk,
        "[gaps.set_trait(k, v) for k, v in (('x', 'energy_gap'), ('methods', tuple(gaps.looks)))]",
    )


def notebook_state(page) -> dict:
    """Active cell, number of cells, mode and scroll of the notebook."""
    return page.evaluate(
        """() => {
            const panel = window.jupyterapp.shell.currentWidget, book = panel.content;
            return {active: book.activeCellIndex, cells: book.widgets.length, mode: book.mode,
                scroll: book.node.querySelector('.jp-WindowedPanel-outer').scrollTop};
        }"""
    )


def test_energy_gap_keyboard(desk):
    """The keys are the chart's: Lab does not scroll, change cells or their number, or go into a cell."""
    explorer = cell(desk, GAPS)
    svg, tip = explorer.locator(".clipft-chart > svg").first, explorer.locator(".clipft-tip").first
    svg.scroll_into_view_if_needed()
    svg.focus()
    desk.mouse.move(5, 5)
    press(desk, "Escape")
    becomes(desk, "gaps.selection", "")
    before = notebook_state(desk)
    seen = []
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp"):
        press(desk, key)
        lab.expect(tip).to_be_visible()
        seen.append(tip.inner_text())
    assert len(set(seen)) > 1
    assert seen[0] == seen[4]  # two steps there, two back, from the second on
    press(desk, "Enter")
    becomes(desk, "gaps.selection")
    lab.expect(explorer.locator(".clipft-about h4")).to_be_visible()
    after = notebook_state(desk)
    assert after == before
    press(desk, "Escape")
    lab.expect(explorer.locator(".clipft-about")).to_contain_text("Click a point")
    for key in ("b", "d", "d", "x"):  # Lab's own: a cell below, delete, cut
        press(desk, key)
    assert notebook_state(desk)["cells"] == before["cells"]


# --- energy map -----------------------------------------------------------------------------------------------------


def lasso(
    page, chart, left: float, right: float, top: float = 0.003, bottom: float = 0.997
) -> None:
    """Drag around a part of a chart, given in fractions of its size."""
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()

    def go(x: float, y: float, **how) -> None:
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], **how)

    go(left, top)
    page.mouse.down()
    for x, y in ((right, top), (right, bottom), (left, bottom), (left, top)):
        go(x, y, steps=6)
    page.mouse.up()


@pytest.mark.parametrize("places", ["both", "after", "before"])
def test_energy_map_lasso(desk, places):
    explorer = cell(desk, MAP)
    explorer.locator(".clipft-show select").select_option(places)
    becomes(desk, "map.places", places)
    lasso(desk, explorer.locator(".clipft-chart > svg"), 0.002, 0.5)
    lab.expect(explorer.locator(".clipft-lasso p").first).to_contain_text("images")
    chosen = becomes(desk, "map.selection")
    side = "before" if places == "before" else "after"
    axis = "map.chart.spec['panels'][0]['x']['range']"  # the box goes from pixel 8 to 752 of 760
    wanted = ask(
        desk,
        f"np.flatnonzero(8 + 744 * (map.energies.{side}[:, 0] - {axis}[0])"
        f" / ({axis}[1] - {axis}[0]) < 380).tolist()",
    )
    assert 0 < len(wanted) < ask(desk, "len(map.energies.ids)")
    assert sorted(chosen) == wanted
    lab.expect(explorer.locator(".clipft-lasso p").first).to_have_text(f"{len(wanted)} images")
    assert explorer.locator(".clipft-lasso tr").count() == 1 + min(24, len(wanted))
    assert explorer.locator(".clipft-chart > svg .clipft-faded").count() == ask(
        desk, "len(map.energies.ids)"
    ) - len(wanted)
    pictures = explorer.locator(".clipft-lasso-tiles img")
    assert min(pictures.evaluate_all("all => all.map(image => image.naturalWidth)")) > 0
    explorer.locator(".clipft-clear").click()
    lab.expect(explorer.locator(".clipft-lasso tr")).to_have_count(0)
    lab.expect(explorer.locator(".clipft-faded")).to_have_count(0)
    becomes(desk, "map.selection", [])


def test_energy_map_rounds_the_gap(desk):
    """Two decimals, as in `EnergyMapExplorer.selected`; float32 numbers would show seventeen."""
    explorer = cell(desk, MAP)
    explorer.locator(".clipft-chart > svg .clipft-point").last.click(force=True)
    lab.expect(explorer.locator(".clipft-lasso tr")).to_have_count(2)
    assert re.fullmatch(r"-?\d+\.\d{1,2}", explorer.locator(".clipft-lasso td").last.inner_text())
    explorer.locator(".clipft-clear").click()
    becomes(desk, "map.selection", [])


def test_energy_map_click_after_clear(desk):
    """A click takes one image; after clearing, a click on the same one takes it again."""
    explorer = cell(desk, MAP)
    point = explorer.locator(".clipft-chart > svg .clipft-point").last
    point.click(force=True)
    taken = becomes(desk, "map.selection")
    lab.expect(explorer.locator(".clipft-lasso tr")).to_have_count(2)
    explorer.locator(".clipft-clear").click()
    becomes(desk, "map.selection", [])
    point.click(force=True)
    desk.wait_for_timeout(1000)
    assert ask(desk, "map.selection") == taken


def test_energy_map_colours(desk):
    explorer = cell(desk, MAP)
    colours = {}
    for name in ("gap", "class", "split"):
        explorer.locator(".clipft-colour select").select_option(name)
        becomes(desk, "map.colour", name)
        wanted = len(set(ask(desk, "map.chart.spec['panels'][0]['marks'][-1]['colour']")))
        points = explorer.locator(".clipft-chart > svg > g > g:last-child .clipft-point")

        def drawn(points=points, wanted=wanted):
            fills = points.evaluate_all("all => all.map(point => point.getAttribute('fill'))")
            assert len(set(fills)) == wanted
            return fills

        colours[name] = until(drawn, desk)
    assert colours["gap"] != colours["class"] != colours["split"]


# --- distortion, calibration, runs ----------------------------------------------------------------------------------


def test_distortion_menus(desk):
    explorer = cell(desk, DISTORTION)
    chart = explorer.locator(".clipft-chart > svg")
    transforms = "all => all.map(point => point.getAttribute('transform')).join()"
    seen = [chart.locator(".clipft-point").evaluate_all(transforms)]
    second = explorer.locator(".clipft-shift select option").nth(1).inner_text()
    for menu, option in (("shift", second), ("kind", "normalised")):
        explorer.locator(f".clipft-{menu} select").select_option(option)

        def moved():
            now = chart.locator(".clipft-point").evaluate_all(transforms)
            assert now not in seen
            return now

        seen.append(until(moved, desk))
        value = explorer.locator(f".clipft-{menu} select option:checked").inner_text()
        becomes(desk, f"distortion.{menu}", value)
    rows = ask(
        desk,
        "int(((distortion.table.split == distortion.shift)"
        " & (distortion.table.kind == distortion.kind)).sum())",
    )
    assert chart.locator(".clipft-point").count() == rows
    lab.expect(explorer.locator(".clipft-verdicts")).to_contain_text(f"{rows} runs")
    chart.locator(".clipft-point").first.hover()
    lab.expect(explorer.locator(".clipft-tip")).to_contain_text("difference")


def test_reliability_slider_and_split(desk):
    explorer = cell(desk, RELIABILITY)
    ece = explorer.locator(".clipft-ece")
    before = ece.inner_text()
    ece_in_python = (
        "[f'{100 * reliability.sweep.ece(reliability.split, a):.1f}' for a in"
        " (0.0, reliability.alpha, 1.0)]"
    )

    def right():
        wanted = ask(desk, ece_in_python)  # each time: a key may still be on its way
        assert [row.split("\t")[1] for row in ece.locator("tr").all_inner_texts()[1:]] == wanted

    explorer.locator(".noUi-handle").focus()
    press(desk, "PageUp", 3)
    lab.expect(ece).not_to_have_text(before)
    until(right, desk)
    explorer.locator(".clipft-split select").select_option(index=0)
    becomes(desk, "reliability.split == reliability.sweep.splits[0]")
    until(right, desk)


def test_run_browser_filter_and_compare(desk):
    explorer = cell(desk, BROWSER)
    field = explorer.locator(".clipft-filter input")
    field.click()
    field.press_sequentially("lipsum")
    becomes(desk, "browser.query", "lipsum")  # the kernel has the last letter, too
    lab.expect(explorer.locator(".clipft-runs p")).to_contain_text(
        f"{ask(desk, 'len(browser.matches)')} of"
    )
    lab.expect(explorer.locator(".clipft-runs tr")).to_have_count(
        1 + ask(desk, "len(browser.matches)")
    )
    assert set(ask(desk, "browser.matches.method.tolist()")) == {"lipsum"}
    field.press("Control+a")
    field.press("Backspace")
    lab.expect(explorer.locator(".clipft-runs tr")).to_have_count(
        1 + ask(desk, "len(browser.table)")
    )
    explorer.locator(".clipft-first select").select_option(index=0)
    wanted = ask(desk, "browser.table.run.tolist()")
    explorer.locator(".clipft-second select").select_option(index=len(wanted) - 1)
    becomes(desk, "[browser.first, browser.second]", [wanted[0], wanted[-1]])
    compared = explorer.locator(".clipft-compared")
    lab.expect(compared).to_contain_text("McNemar")
    first = ask(desk, "browser.comparison().to_dict('records')[0]")
    lab.expect(compared).to_contain_text(first["difference"])
    lab.expect(explorer.locator(".clipft-marker")).to_have_count(1)
    field.press_sequentially("nothing like that")
    lab.expect(explorer.locator(".clipft-runs p")).to_contain_text("0 of")
    lab.expect(compared).to_have_text("")
    field.press("Control+a")
    field.press("Backspace")
    lab.expect(compared).to_contain_text("McNemar")


# --- the page -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("theme", [lab.DARK, lab.LIGHT], ids=["dark", "light"])
def test_text_is_readable_in_both_themes(desk, theme):
    lab.theme(desk, theme)
    desk.wait_for_timeout(300)
    shade = theme.split()[-1].lower()
    cell(desk, GAPS).locator(".clipft-point").first.click()
    lab.expect(cell(desk, GAPS).locator(".clipft-about h4")).to_be_visible()
    lasso(desk, cell(desk, MAP).locator(".clipft-chart > svg"), 0.002, 0.4)
    lab.expect(cell(desk, MAP).locator(".clipft-lasso p").first).to_contain_text("images")
    problems = []
    for number, name in enumerate(NAMES, 1):
        ratio, text = cell(desk, number).locator(".jp-OutputArea-output *").evaluate_all(CONTRAST)
        if ratio <= 4.5:
            problems.append(f"{name}: contrast {ratio:.1f} of {text}")
        show(desk, number, f"explorer_{name}_{shade}")
    cell(desk, GAPS).locator(".clipft-point").nth(1).hover()
    tip = cell(desk, GAPS).locator(".clipft-tip").first
    lab.expect(tip).to_be_visible()
    assert tip.evaluate(f"tip => ({CONTRAST})([tip])")[0] > 4.5
    lab.shot(desk, f"explorer_tip_{shade}")
    assert not problems


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


def test_no_share_button(desk):
    titles = desk.locator(".modebar-btn").evaluate_all(
        "all => all.map(button => button.dataset.title)"
    )
    assert not [title for title in titles if "hare" in title or "loud" in title]


def test_reload_keeps_every_explorer(desk):
    """Saved and opened again, the explorers are as they were; their kernel still runs."""
    explorer = cell(desk, WISE)
    explorer.locator(".noUi-handle").focus()
    press(desk, "End")
    press(desk, "ArrowLeft", 7)
    is_right(desk, explorer, "wise")
    desk.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    desk.wait_for_function("() => !window.jupyterapp.shell.currentWidget.context.model.dirty")
    desk.reload()
    lab.expect(desk.locator(".clipft-chart > svg").first).to_be_visible()
    assert is_right(desk, explorer, "wise")["alpha"] == pytest.approx(0.93)
    lab.expect(explorer.locator(".widget-readout")).to_have_text("0.93")
    assert is_right(desk, cell(desk, SECOND), "second")["alpha"] == pytest.approx(0.25)
    for number in (GAPS, MAP, DISTORTION, RELIABILITY, BROWSER):
        lab.expect(cell(desk, number).locator(".clipft-chart > svg").first).to_be_visible()
    explorer.locator(".noUi-handle").focus()
    press(desk, "ArrowLeft")
    assert is_right(desk, explorer, "wise")["alpha"] == pytest.approx(0.92)


# --- whole notebooks ------------------------------------------------------------------------------------------------


def test_a_large_sweep(page, server):
    lab.open_notebook(page, server, lab.notebook(server.root / "big.ipynb", [BIG]))
    lab.theme(page, lab.LIGHT)
    lab.run_all(page)
    lab.expect(page.locator(".clipft-marker")).to_be_visible()
    latencies(page, "101 alphas x 5 splits x 10 000 images")


def test_wise_notebook(page, server, demo_runs):
    path = lab.copy(lab.ROOT / "notebooks/05_wise_alpha.ipynb", server.root, runs=str(demo_runs))
    lab.open_notebook(page, server, path)
    lab.theme(page, lab.DARK)
    lab.run_all(page)
    lab.expect(page.locator(".js-plotly-plot:has(.main-svg)")).to_have_count(2)
    lab.expect(page.locator(".clipft-chart:has(svg)")).to_have_count(2)
    assert page.locator(lab.STDERR_OUTPUT).all_inner_texts() == []
    titles = page.locator(".modebar-btn").evaluate_all(
        "all => all.map(button => button.dataset.title)"
    )
    assert titles and not [title for title in titles if "hare" in title or "loud" in title]
    page.locator(".clipft-alpha .noUi-handle").first.focus()
    old = page.evaluate(MARKER)
    press(page, "ArrowRight")
    page.wait_for_function(f"old => {MARKER} !== old", arg=old)
    lab.expect(page.locator(".clipft-counts p")).to_contain_text("alpha 0.51")
    lab.shot(page, "05_wise_alpha_dark", whole=True)


def tiny(demo_runs, folder, **more) -> dict:
    """Parameters that make 01_fine_tune small: the demo's images, few steps, a folder of its own."""
    about = json.loads(next(demo_runs.glob("*/config.json")).read_text())
    own = demo_runs.parent / f"{about['manifest']}.yaml"
    return {
        "manifest": str(own) if own.exists() else about["manifest"],
        "method": "ft",
        "batch_size": 32,
        "alphas": [0.0, 1.0],
        "runs": str(folder),
        "device": "cpu",
    } | more


def test_form_run_stop_run(page, server, demo_runs, tmp_path):
    """Press run, watch the curve, stop, run again; the next cell has the finished run."""
    parameters = tiny(demo_runs, tmp_path / "runs", steps=60, eval_every=20)
    path = lab.copy(lab.ROOT / "notebooks/01_fine_tune.ipynb", server.root, **parameters)
    lab.open_notebook(page, server, path)
    lab.theme(page, lab.LIGHT)
    run_cells(page, 0, 3)
    state = page.locator(".clipft-state")
    lab.expect(state).to_have_text("ready")
    page.locator("button.clipft-run").click()
    lab.expect(state).to_have_text("running")
    lab.expect(page.locator(".clipft-chart > svg .clipft-point").first).to_be_visible()
    show(page, 1, "form_running_light")
    page.locator("button.clipft-stop").click()
    lab.expect(state).to_contain_text("stopped at step")
    lab.expect(page.locator("button.clipft-run")).to_be_enabled()
    page.locator("button.clipft-run").click()
    lab.expect(state).to_contain_text("finished")
    run_cells(page, 3, 6)
    assert ask(page, "run.folder.history() == form.rows and run.folder.is_finished")
    lab.expect(page.locator(".js-plotly-plot:has(.main-svg)")).to_have_count(1)
    lab.theme(page, lab.DARK)
    lab.shot(page, "form_finished_dark")
    lab.theme(page, lab.LIGHT)


def test_fine_tune_run_all(page, server, demo_runs, tmp_path):
    parameters = tiny(demo_runs, tmp_path / "runs", steps=6, eval_every=3)
    path = lab.copy(lab.ROOT / "notebooks/01_fine_tune.ipynb", server.root, **parameters)
    lab.open_notebook(page, server, path)
    lab.run_all(page)
    lab.expect(page.locator(".clipft-state")).to_contain_text("finished")
    lab.expect(page.locator(".clipft-chart > svg")).to_have_count(1)
    lab.expect(page.locator(".js-plotly-plot:has(.main-svg)")).to_have_count(2)
    lab.shot(page, "01_fine_tune_light", whole=True)


def run_cells(page, start: int, stop: int) -> None:
    """Run the cells at these positions, markdown counted, and wait for the end."""
    page.evaluate(
        """async ([start, stop]) => {
            const app = window.jupyterapp, panel = app.shell.currentWidget, session = panel.sessionContext;
            await session.ready;
            await session.session.kernel.info;
            for (let i = start; i < stop; i++) {
                panel.content.activeCellIndex = i;
                await app.commands.execute('notebook:run-cell');
            }
        }""",
        [start, stop],
    )
    failed = page.locator(lab.ERROR_OUTPUT)
    assert not failed.count(), failed.first.inner_text()


def test_start_here_from_nothing(page, server, tmp_path):
    """The first notebook as it is, but with an empty cache and an empty folder of runs."""
    path = lab.copy(
        lab.ROOT / "notebooks/00_start_here.ipynb", server.root, runs=str(tmp_path / "runs")
    )
    book = nbformat.read(path, 4)
    parameters = next(each for each in book.cells if each.cell_type == "code")
    parameters.source = f"%env CLIPFT_CACHE={tmp_path / 'cache'}\n{parameters.source}"
    nbformat.write(book, path)
    lab.open_notebook(page, server, path)
    lab.theme(page, lab.LIGHT)
    start = time.monotonic()
    lab.run_all(page)
    lab.expect(page.locator(".clipft-marker")).to_be_visible()
    print(f"\n00_start_here from nothing: {time.monotonic() - start:.0f} s")
    pictures = page.locator(".clipft-flips img")
    assert pictures.evaluate_all("all => all.every(image => image.naturalWidth > 0)")
    page.locator(".clipft-alpha .noUi-handle").focus()
    old = page.evaluate(MARKER)
    press(page, "ArrowRight")
    page.wait_for_function(f"old => {MARKER} !== old", arg=old)
    lab.shot(page, "00_start_here_light", whole=True)
