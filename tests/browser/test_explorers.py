"""Every explorer as a person uses it: mouse and keyboard in JupyterLab, and what is shown is what Python says.

Here: what all share, and WiSE. The others have files of their own.
"""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe

from . import lab
from .desk import FACTS, is_right
from .lab import NUMBER, PLOT, SHOWN, SLIDER, ask, becomes, cell, expect, press, type_alpha, until

SET_UP = """
import json
import numpy as np
from pathlib import Path
from clipft import distortion_table, energy_map, link, read_sweep, results, show, wise_slider_figure
from clipft.widgets.calibration import ReliabilityExplorer
from clipft.widgets.classes import ClassExplorer
from clipft.widgets.distortion import DistortionExplorer
from clipft.widgets.energy_gap import EnergyGapExplorer
from clipft.widgets.energy_map import EnergyMapExplorer
from clipft.widgets.run_browser import RunBrowser
from clipft.widgets.wise import WiseExplorer
from clipft.widgets.workspace import Workspace
runs = Path({runs!r})
table = results(str(runs))
folders = [runs / run for run in sorted(table[table.metric == "energy_gap"].run.unique())]
sweeps = [read_sweep(folder) for folder in folders[:3]]

def means_of(ids):
    # of each run the mean gap and the accuracy of some images, by the tuned model
    found = {{}}
    for folder in folders:
        s = read_sweep(folder)
        rows = np.isin(s.ids, ids)
        right = s.prediction[-1, rows] == s.label[rows]
        found[folder.name] = [float(s.energy_gap[-1, rows].mean()), float(right.mean())]
    return found

def lines_of_classes(s):
    # what the table of classes says of the tuned model, but for the change
    found = []
    rows = np.flatnonzero(s.split_number >= 0)
    label, gap = s.label[rows], s.energy_gap[-1, rows]
    before, now = (s.prediction[end, rows] == label for end in (0, -1))
    for c in np.unique(label):
        own = label == c
        found.append([s.name_of(c), int(own.sum()), 100 * before[own].mean(), 100 * now[own].mean(), float(gap[own].mean())])
    return found

def ids_where(test):
    # of the images of the first run: test(class, zero-shot prediction, tuned prediction)
    s = sweeps[0]
    rows = np.flatnonzero(s.split_number >= 0)
    named = ([s.name_of(one) for one in several[rows]] for several in (s.label, s.prediction[0], s.prediction[-1]))
    return sorted(i for i, *names in zip(s.ids[rows].tolist(), *named) if test(*names))

def some(step, first=0):
    # ids of test images
    s = sweeps[0]
    return s.ids[s.split_number >= 0][first::step].tolist()

def enlarge(name, folder):
    # let an image be of 300 pixels: those of EmojiShift are no larger than their thumbnails
    from PIL import Image
    from clipft.data.splits import Decoding
    from clipft.runs.thumbnails import Thumbnails
    where = Thumbnails._file
    large = Path(folder) / "large.png"
    Image.new("RGB", (300, 200), "teal").save(large)
    Thumbnails._file = lambda self, other: (large, Decoding()) if other == name else where(self, other)

def said_of(s, name):
    # what is said of an image at every alpha
    (i,) = np.flatnonzero(s.ids == name)
    marks = ["✓" if label == s.label[i] else "✗" for label in s.prediction[:, i]]
    return [[f"{{a:.2f}}", f"{{mark}} {{s.name_of(label)}}", 100 * float(sure)]
            for a, mark, label, sure in zip(s.alphas, marks, s.prediction[:, i], s.confidence[:, i])]
""" + FACTS.replace("{", "{{").replace("}", "}}")
WISE, SECOND, GAPS, MAP, DISTORTION, RELIABILITY, BROWSER, FIGURE, CLASSES, SPACE = range(1, 11)
CELLS = (
    "wise = WiseExplorer(sweeps, 0.5)\nwise",
    "second = WiseExplorer(sweeps[0], 0.25)\nsecond",
    "gaps = EnergyGapExplorer(table, runs)\ngaps",
    "map = EnergyMapExplorer(energy_map(folders[0], 1.0, 20), sweeps[0])\nmap",
    "distortion = DistortionExplorer(distortion_table(folders[:4]))\ndistortion",
    "reliability = ReliabilityExplorer(sweeps[0])\nreliability",
    "browser = RunBrowser(table, runs)\nbrowser",
    "show(wise_slider_figure(table))",
    "classes = ClassExplorer(sweeps[0])\nlink(second, classes)\nclasses",
    "space = Workspace(runs, maps=False)\nspace",
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
    "classes",
    "workspace",
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


# --- alpha ----------------------------------------------------------------------------------------------------------


def test_wise_arrow_keys(desk):
    explorer = cell(desk, WISE)
    explorer.locator(SLIDER).focus()
    before = is_right(desk, explorer, "wise")
    press(desk, "ArrowRight", 3)
    expect(explorer.locator(NUMBER)).to_have_value("0.53")
    assert is_right(desk, explorer, "wise")["alpha"] == pytest.approx(before["alpha"] + 0.03)
    press(desk, "End")
    after = is_right(desk, explorer, "wise")
    assert after["alpha"] == 1
    assert after["flips"] != before["flips"]
    assert after["tiles"], "no lost image in the demo runs: nothing to look at"
    pictures = explorer.locator(".clipft-flips img")
    expect(pictures).to_have_count(min(24, len(after["tiles"])))
    assert min(pictures.evaluate_all("all => all.map(image => image.naturalWidth)")) > 0


def test_wise_mouse_and_typing(desk):
    explorer = cell(desk, WISE)
    slider = explorer.locator(SLIDER)
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    old = float(slider.input_value())

    def at(alpha: float) -> tuple[float, float]:
        """Where the slider's handle is at an alpha; it is 16 pixels wide."""
        return box["x"] + 8 + alpha * (box["width"] - 16), box["y"] + box["height"] / 2

    plot = explorer.locator(PLOT)
    drawn = plot.get_attribute("data-alpha")
    desk.mouse.move(*at(old))
    desk.mouse.down()
    desk.mouse.move(*at(0.6), steps=4)
    expect(plot).not_to_have_attribute("data-alpha", drawn)  # before the button is up
    desk.mouse.move(*at(0.2), steps=8)
    desk.mouse.up()
    assert is_right(desk, explorer, "wise")["alpha"] == pytest.approx(0.2, abs=0.02)

    type_alpha(desk, explorer, 0.73)
    assert is_right(desk, explorer, "wise")["alpha"] == pytest.approx(0.73)


def test_wise_menus(desk):
    explorer = cell(desk, WISE)
    for number in (2, 0):
        explorer.locator(".clipft-run select").select_option(index=number)
        name = ask(desk, f"', '.join(sweeps[{number}].called)")
        title = re.compile(re.escape(name.split(", run")[0]))
        expect(explorer.locator(PLOT)).to_have_attribute("aria-label", title)
        assert is_right(desk, explorer, "wise")["title"] == name
    explorer.locator(SLIDER).focus()
    press(desk, "Home")
    assert is_right(desk, explorer, "wise")["alpha"] == 0
    expect(explorer.locator(".clipft-flips > p")).to_have_text("no image")
    explorer.locator(".clipft-against select").select_option("tuned")
    from_tuned = is_right(desk, explorer, "wise")["tiles"]
    assert from_tuned
    explorer.locator(".clipft-kind select").select_option("all flips")
    becomes(desk, "wise.kind", "all")
    every = is_right(desk, explorer, "wise")["tiles"]
    assert sorted(every) == ask(
        desk, "sorted(wise.sweep.ids[wise.sweep.flips(0, 1)['all']].tolist())"
    )
    explorer.locator(".clipft-kind select").select_option("gained (wrong to right)")
    becomes(desk, "wise.kind", "gained")
    assert not set(is_right(desk, explorer, "wise")["tiles"]) & set(from_tuned)
    explorer.locator(".clipft-kind select").select_option("lost (right to wrong)")
    split = explorer.locator(".clipft-split select option").nth(1).inner_text()
    explorer.locator(".clipft-split select").select_option(split)
    becomes(desk, "[wise.kind, wise.split]", ["lost", split])
    assert set(is_right(desk, explorer, "wise")["tiles"]) < set(from_tuned)
    explorer.locator(".clipft-split select").select_option("every split")
    explorer.locator(".clipft-against select").select_option("zero-shot")


def test_wise_exact_here(desk):
    explorer = cell(desk, WISE)
    type_alpha(desk, explorer, 0.37)
    explorer.locator(".clipft-exact-here").click()
    expect(explorer.locator(".clipft-exact")).to_contain_text("alpha 0.37 on the same images")
    assert len(lab.rows(explorer.locator(".clipft-exact"))) == len(ask(desk, "wise.sweep.splits"))


# --- images ---------------------------------------------------------------------------------------------------------


def test_a_class_clicked_in_one_cell_is_what_another_shows(desk, tmp_path):
    """Without the kernel; and then Python says the same."""
    classes, second = cell(desk, CLASSES), cell(desk, SECOND)
    type_alpha(desk, classes, 1.0)
    line = classes.locator(".clipft-view-classes tbody tr").nth(1)
    name = line.locator("td").first.inner_text()
    images = int(line.locator("td").nth(1).inner_text())
    with lab.asleep(desk, tmp_path):
        line.click()
        expect(line).to_have_attribute("aria-selected", "true")
        said = f"{images} selected images"
        expect(second.locator(".clipft-counts p")).to_contain_text(said)
        expect(second.locator(f"{PLOT} .gtitle")).to_contain_text(said)
    wanted = ask(desk, f"ids_where(lambda own, *_: own == {name!r})")
    becomes(desk, "sorted(second.selection)", wanted)
    becomes(desk, "sorted(classes.selection)", wanted)
    facts = is_right(desk, second, "second")
    assert facts["selected"] == images == len(wanted)

    pair = classes.locator(".clipft-view-confusions tbody tr").first
    of, taken, before, *_ = pair.locator("td").all_inner_texts()
    pair.focus()
    press(desk, "Enter")
    which = "ids_where(lambda own, old, new: own == {0!r} and {1!r} in ({2}))".format
    assert len(ask(desk, which(of, taken, "old,"))) == int(before)
    wanted = ask(desk, which(of, taken, "old, new"))
    becomes(desk, "sorted(second.selection)", wanted)
    is_right(desk, second, "second")
    classes.locator(".clipft-clear").click()
    becomes(desk, "[second.selection, classes.selection]", [[], []])
    assert is_right(desk, second, "second")["selected"] == 0


def test_classes_are_what_the_arrays_say(desk):
    explorer = cell(desk, CLASSES)
    type_alpha(desk, explorer, 1.0)
    wanted = sorted(ask(desk, "lines_of_classes(sweeps[0])"))

    def check() -> None:
        found = sorted(lab.rows(explorer.locator(".clipft-view-classes")))
        assert [row[0] for row in found] == [row[0] for row in wanted]
        for (_, images, before, now, change, gap), (_, *numbers) in zip(found, wanted, strict=True):
            assert int(images) == numbers[0]
            assert [float(before), float(now)] == pytest.approx(numbers[1:3], abs=0.0501)
            assert float(change) == pytest.approx(numbers[2] - numbers[1], abs=0.0501)
            assert float(gap) == pytest.approx(numbers[3], abs=0.00501)

    until(check, desk)
    explorer.locator(".clipft-view-classes th button", has_text="energy gap").click()
    expect(explorer.locator(".clipft-view-classes th").last).to_have_attribute(
        "aria-sort", "descending"
    )
    gaps = [float(row[-1]) for row in lab.rows(explorer.locator(".clipft-view-classes"))]
    assert gaps == sorted(gaps, reverse=True)


@pytest.fixture
def chosen(desk):
    """The explorer of classes with more images selected than a page of tiles has."""
    explorer = cell(desk, CLASSES)
    ids = ask(desk, "some(3)[:60]")
    ask(desk, f"setattr(classes, 'selection', {ids})")
    status = explorer.locator(".clipft-view-selected [role=status]")
    expect(status).to_contain_text(f"{len(ids)} images of")
    yield explorer, ids
    ask(desk, "setattr(classes, 'selection', [])")
    expect(status).to_contain_text("No image is selected")


def test_tiles_come_in_pages(desk, chosen):
    explorer, ids = chosen
    assert len(ids) > 24
    order = [row[1] for row in ask(desk, "selected_rows(classes)")]
    part = explorer.locator(".clipft-view-selected")
    count = part.locator("div > p")
    earlier, later = (part.get_by_role("button", name=name) for name in ("earlier", "later"))
    expect(count).to_have_text(f"24 of {len(ids)} images")
    assert lab.titles(explorer) == order[:24]
    expect(part.locator("img")).to_have_count(24)
    expect(earlier).to_be_disabled()
    later.click()
    last = min(48, len(ids))
    expect(count).to_have_text(f"25 to {last} of {len(ids)} images")
    assert lab.titles(explorer) == order[24:48]
    for _ in range(24, len(ids) - 24, 24):
        later.click()
    expect(later).to_be_disabled()
    earlier.click()
    part.locator(".clipft-order select").select_option("most confident")
    expect(count).to_have_text(f"24 of {len(ids)} images")
    assert (
        lab.titles(explorer)
        == [row[1] for row in ask(desk, "selected_rows(classes, 'confidence')")][:24]
    )
    part.locator(".clipft-order select").select_option("most moved")


def test_the_selection_as_a_file(desk, chosen):
    explorer, ids = chosen
    explorer.locator(".clipft-view-selected .clipft-order select").select_option("by name")
    save = explorer.get_by_role("button", name="save as CSV")
    head, *found = lab.downloaded(desk, save.click)
    here = f"at alpha {ask(desk, 'classes.alpha'):.2f}"
    assert head == ["split", "id", "class", "zero-shot", here, "confidence", "energy gap"]
    wanted = ask(desk, "selected_rows(classes, 'name')")
    assert len(found) == len(ids)
    assert [row[:5] for row in found] == [row[:5] for row in wanted]
    for row, own in zip(found, wanted, strict=True):
        assert [float(value) for value in row[5:]] == pytest.approx(own[5:], rel=1e-6, abs=1e-5)
    explorer.locator(".clipft-view-selected .clipft-order select").select_option("most moved")


def test_a_tile_opens_as_large_as_it_is(desk, chosen, tmp_path):
    explorer, _ = chosen
    order = [row[1] for row in ask(desk, "selected_rows(classes)")]
    ask(desk, f"enlarge({order[1]!r}, {str(tmp_path)!r})")
    tiles = explorer.locator(".clipft-open")
    tiles.nth(1).focus()
    press(desk, "Enter")
    dialog = explorer.locator("dialog.clipft-image")

    def says(name: str) -> None:
        expect(dialog).to_contain_text(name)
        expect(dialog.locator(".clipft-large img")).to_be_visible()
        wanted = ask(desk, f"said_of(sweeps[0], {name!r})")
        found = lab.rows(dialog)
        assert [row[:2] for row in found] == [row[:2] for row in wanted]
        sure = [float(row[2]) for row in found]
        assert sure == pytest.approx([row[2] for row in wanted], abs=0.0501)

    says(order[1])
    image = dialog.locator(".clipft-large img")
    until(lambda: same(image.evaluate("image => image.naturalWidth"), 300), desk)
    lab.shot(desk, "tile_open")
    press(desk, "ArrowRight")
    says(order[2])
    press(desk, "ArrowLeft", 2)
    says(order[0])
    press(desk, "ArrowLeft")  # there is none before
    says(order[0])
    press(desk, "Escape")
    expect(dialog).to_have_count(0)
    expect(tiles.nth(1)).to_be_focused()
    tiles.nth(0).click()
    dialog.get_by_role("button", name="close").click()
    expect(dialog).to_have_count(0)
    expect(tiles.nth(0)).to_be_focused()


# --- all views at once ----------------------------------------------------------------------------------------------


def test_the_gap_of_a_selection_in_a_workspace(desk):
    """The points are the mean gap and the accuracy of the selected images, of each run."""
    explorer = cell(desk, SPACE)
    explorer.get_by_role("tab", name="energy gap").click()
    plot = explorer.locator(f".clipft-view-gap {PLOT}").first
    expect(plot).to_be_visible()
    before = plot.evaluate(POINTS)
    ids = ask(desk, "some(7, 5)")
    wanted = ask(desk, f"means_of({ids})")
    ask(desk, f"setattr(space, 'selection', {ids})")
    expect(plot.locator(".gtitle")).to_contain_text(f"{len(ids)} selected images")

    def check() -> None:
        found = plot.evaluate(POINTS)
        runs = ask(desk, "space.board.charts['gap']['runs']")
        assert {runs[number] for number, *_ in found} == set(wanted)
        for number, *point in found:
            assert point == pytest.approx(wanted[runs[number]], rel=1e-3)

    until(check, desk)
    ask(desk, "setattr(space, 'selection', [])")
    expect(plot.locator(".gtitle")).not_to_contain_text("selected")
    until(lambda: same(plot.evaluate(POINTS), before), desk)


POINTS = """plot => plot._fullData.filter(({meta}) => Array.isArray(meta?.id))
    .flatMap(({meta, x, y}) => meta.id.map((id, i) => [id, x[i], y[i]])).sort((a, b) => a[0] - b[0])"""


def same(found: object, wanted: object) -> None:
    assert found == wanted


def test_a_workspace_shows_one_run_and_one_selection_everywhere(desk):
    explorer = cell(desk, SPACE)
    tabs = explorer.get_by_role("tab")
    expect(tabs).to_have_text(
        ["WiSE", "classes", "confusions", "calibration", "training", "energy gap", "runs"]
    )
    other = ask(desk, "space.board.runs[1][1]")
    tabs.last.click()
    explorer.locator(f"tr[data-run='{other}']").click()
    becomes(desk, "space.run", other)
    tabs.nth(0).click()
    expect(explorer.locator(f".clipft-view-wise {PLOT} .gtitle")).to_contain_text(other)
    tabs.nth(1).click()
    explorer.locator(".clipft-view-classes tbody tr").first.click()
    ids = becomes(desk, "space.selection")
    selected = explorer.locator(".clipft-view-selected")
    expect(selected.locator("h4")).to_contain_text(f"{len(ids)} images of")
    expect(selected.locator("img")).to_have_count(min(24, len(ids)))
    tabs.nth(3).click()
    title = explorer.locator(f".clipft-view-reliability {PLOT} .gtitle")
    expect(title).to_contain_text("selected image")
    tabs.nth(3).focus()
    press(desk, "ArrowLeft", 3)
    expect(tabs.nth(0)).to_be_focused()
    expect(tabs.nth(0)).to_have_attribute("aria-selected", "true")
    said = explorer.locator(".clipft-view-wise .clipft-counts p")
    expect(said).to_contain_text(f"{len(ids)} selected images")
    selected.get_by_role("button", name="clear").click()
    becomes(desk, "[space.selection]", [[]])
    expect(said).not_to_contain_text("selected")


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
    assert desk.locator(f"{PLOT} .main-svg").count() >= len(CELLS) - 3  # a map, two tables
    loaded = desk.evaluate("Object.keys(globalThis).filter(name => name.startsWith('clipft'))")
    assert set(loaded) <= {"clipftLibraries", "clipftPlotly", "clipftTables"}
    assert desk.evaluate("Boolean(globalThis.clipftPlotly)")


def test_reload_keeps_every_explorer(desk):
    """Saved and opened again, the explorers are as they were; their kernel still runs."""
    explorer = cell(desk, WISE)
    explorer.locator(SLIDER).focus()
    press(desk, "End")
    press(desk, "ArrowLeft", 7)
    is_right(desk, explorer, "wise")
    ids = ask(desk, "some(1)[:30]")
    ask(desk, f"setattr(second, 'selection', {ids})")
    becomes(desk, "len(classes.selection)", 30)
    lab.save(desk)
    desk.reload()
    expect(cell(desk, WISE).locator(PLOT)).to_be_visible()
    assert is_right(desk, explorer, "wise")["alpha"] == pytest.approx(0.93)
    expect(explorer.locator(NUMBER)).to_have_value("0.93")
    assert is_right(desk, cell(desk, SECOND), "second")["selected"] == 30
    for number in range(1, 1 + len(CELLS)):
        expect(cell(desk, number).locator(SHOWN).first).to_be_visible()
    ask(desk, "setattr(second, 'selection', [])")
    assert is_right(desk, cell(desk, SECOND), "second")["selected"] == 0
    explorer.locator(SLIDER).focus()
    press(desk, "ArrowLeft")
    assert is_right(desk, explorer, "wise")["alpha"] == pytest.approx(0.92)


def test_a_run_has_its_name_on_its_thin_line_and_is_chosen_by_a_click(desk):
    explorer = cell(desk, WISE)
    ask(desk, "wise.set_trait('run', sweeps[0].folder.name)")
    other = ", ".join(ask(desk, "list(sweeps[2].called)"))
    plot = explorer.locator(PLOT)
    is_right(desk, explorer, "wise")
    desk.mouse.move(5, 5)
    x, y = plot.evaluate(lab.THIN, 2)
    desk.mouse.move(x, y)
    hover = plot.locator(".hoverlayer .hovertext").first
    expect(hover).to_contain_text(other.split(",")[0])
    expect(hover).to_contain_text("alpha")
    desk.mouse.click(x, y)
    becomes(desk, "wise.run", ask(desk, "sweeps[2].folder.name"))
    assert is_right(desk, explorer, "wise")["title"] == other


def test_a_cell_that_runs_again_has_one_live_view(desk):
    """The old view is gone from the page and from the kernel, and so are its links."""
    count = "len(__import__('ipywidgets').widgets.widget._instances)"
    before = ask(desk, count)
    for number in (FIGURE, CLASSES, FIGURE, CLASSES):
        lab.run_cells(desk, number, number + 1)
        expect(cell(desk, number).locator(".clipft-live")).to_have_count(1)
        expect(cell(desk, number).locator(SHOWN)).not_to_have_count(0)
    becomes(desk, count, before)


# --- without its kernel ---------------------------------------------------------------------------------------------


def test_a_saved_notebook_shows_the_static_twins(desk):
    """Opened again where its kernel is gone: no `model not found`, and under 5 MB for all explorers.

    The last to use the desk: it ends the kernel.
    """
    expect(desk.locator(".clipft-gone").first).to_be_hidden()
    desk.evaluate(
        "() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()"
    )
    lines = desk.locator(".clipft-gone")
    expect(lines).to_have_count(len(CELLS))
    for number in range(len(CELLS)):
        expect(lines.nth(number)).to_contain_text("run this cell again")
    cell(desk, WISE).locator(SLIDER).focus()
    press(desk, "Home")
    press(desk, "ArrowRight", 3)  # what needs no kernel still moves
    expect(cell(desk, WISE).locator(PLOT)).to_have_attribute("data-alpha", "0.03")

    lab.save(desk)
    path = desk.path
    assert path.stat().st_size < 5e6
    print(f"\nsaved notebook of {len(CELLS)} explorers: {path.stat().st_size / 1e6:.2f} MB")
    desk.reload()
    # Lab shows a figure that is not looked at as an image.
    twins = desk.locator(".jp-OutputArea-output:is(:has(.main-svg), :has(img))")
    expect(twins).to_have_count(len(CELLS))
    for number in range(len(CELLS)):
        expect(twins.nth(number)).to_be_visible()
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
    expect(plot).to_have_attribute("data-alpha", "0.4")
    pictures = page.locator(".clipft-flips img")
    assert pictures.evaluate_all("all => all.every(image => image.naturalWidth > 0)")
    page.locator(SLIDER).focus()
    press(page, "ArrowRight")
    expect(plot).to_have_attribute("data-alpha", "0.41")
    lab.shot(page, "00_start_here_light", whole=True)
