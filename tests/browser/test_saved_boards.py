"""Explorers as files: opened from the disk, without a kernel and a network, they do what they do live."""

import csv
import io

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe

import clipft

from . import lab
from .lab import PLOT, press, until

TILES = 24


@pytest.fixture(scope="module")
def saved(demo_runs, demo_cache, tmp_path_factory):
    """A workspace as a file, and the sweep of the run that it shows first."""
    with pytest.MonkeyPatch.context() as patch:
        if demo_cache is not None:
            patch.setenv("CLIPFT_CACHE", str(demo_cache))
        workspace = clipft.Workspace(demo_runs, per_split=20)
        workspace.places = "both"
        file = workspace.export(tmp_path_factory.mktemp("saved") / "workspace.html")
        sweep = clipft.read_sweep(demo_runs / workspace.run)
    assert file.stat().st_size < 10e6
    return file, sweep


@pytest.fixture(scope="module")
def opened(browser, saved):
    """The file in a page, all tests on one."""
    file, _ = saved
    with lab.page(browser, ("file:",), width=1600) as page:
        page.goto(file.as_uri())
        lab.expect(page.locator(PLOT).first).to_be_visible()
        lab.expect(page.locator("canvas[data-points]")).to_be_visible()
        yield page
    assert page.outside == []
    assert page.errors == []


@pytest.fixture
def page(opened):
    """The page with nothing selected, at alpha 0.5, on WiSE."""
    clear = opened.locator(".clipft-view-selected .clipft-clear")
    if clear.is_enabled():
        clear.click()
    show(opened, "WiSE")
    type_alpha(opened, "0.5")
    return opened


def show(page, tab: str) -> None:
    page.get_by_role("tab", name=tab, exact=True).click()


def type_alpha(page, text: str) -> None:
    page.locator(".clipft-alpha input[type=number]").first.fill(text)
    chart = page.locator(f".clipft-view-wise {PLOT}")
    lab.expect(chart).to_have_attribute("data-alpha", text)


def images_at(sweep, alpha, rows=None):
    """Of each test split: images, accuracy at alpha on the line, flips from zero-shot; of these rows."""
    place = int(np.abs(sweep.alphas - alpha).argmin())
    found = []
    for split in sweep.splits:
        own = sweep.rows[split] if rows is None else np.intersect1d(sweep.rows[split], rows)
        if len(own):
            along = (sweep.prediction[:, own] == sweep.label[own]).mean(1)
            flipped = (sweep.prediction[place, own] != sweep.prediction[0, own]).sum()
            found.append((split, len(own), 100 * np.interp(alpha, sweep.alphas, along), flipped))
    return found


def says(page, wanted) -> None:
    """Wait until the table of splits says so."""

    def check():
        table = lab.rows(page.locator(".clipft-view-wise .clipft-counts"))
        assert [row[0] for row in table] == [split for split, *_ in wanted]
        numbers = [[float(row[1]), float(row[2]), float(row[4])] for row in table]
        assert np.abs(np.array(numbers) - [one[1:] for one in wanted]).max() < 0.0501

    until(check, page)


def test_the_slider_moves_picture_table_and_images(page, saved):
    _, sweep = saved
    says(page, images_at(sweep, 0.5))
    slider = page.locator(".clipft-alpha input[type=range]").first
    slider.focus()
    press(page, "ArrowRight", 7)
    chart = page.locator(f".clipft-view-wise {PLOT}")
    lab.expect(chart).to_have_attribute("data-alpha", "0.57")
    says(page, images_at(sweep, 0.57))
    bars = lab.drawn(page.locator(".clipft-view-wise"), "at alpha", "bar")["y"]
    assert bars == pytest.approx([one[2] for one in images_at(sweep, 0.57)], abs=1e-4)


@pytest.mark.parametrize(("menu", "kind"), [("gained", "gained"), ("all flips", "all")])
def test_the_menus_choose_images(page, saved, menu, kind):
    _, sweep = saved
    view = page.locator(".clipft-view-wise")
    options = view.locator(".clipft-kind option").all_inner_texts()
    view.locator(".clipft-kind select").select_option(
        index=[menu in o for o in options].index(True)
    )
    rows = sweep.flips(0.5, 0.0)[kind]
    confidence = sweep.confidence[sweep.nearest(0.5), rows]
    wanted = sweep.ids[rows[np.argsort(-confidence, kind="stable")]][:TILES].tolist()
    until(lambda: _are(lab.titles(view, ".clipft-flips"), wanted), page)
    view.locator(".clipft-kind select").select_option(index=0)


def _are(found, wanted) -> None:
    assert found == wanted


def test_a_tile_opens(page):
    page.locator(".clipft-flips .clipft-open").first.click()
    dialog = page.locator("dialog.clipft-image")
    lab.expect(dialog.locator("tbody tr")).to_have_count(5)  # a line an alpha
    until(lambda: _is_drawn(dialog.locator("img")), page)
    press(page, "Escape")
    lab.expect(dialog).to_have_count(0)


def _is_drawn(image) -> None:
    assert image.evaluate("image => image.naturalWidth") > 0


def test_a_lasso_is_what_all_views_show(page, saved):
    _, sweep = saved
    canvas = page.locator("canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    corners = ((0.002, 0.01), (0.5, 0.01), (0.5, 0.99), (0.002, 0.99), (0.002, 0.01))
    for number, (x, y) in enumerate(corners):
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=5)
        if not number:
            page.mouse.down()
    page.mouse.up()
    title = page.locator(".clipft-view-selected h4")
    lab.expect(title).to_contain_text("selected")
    with page.expect_download() as download:
        page.get_by_role("button", name="save as CSV").click()
    rows = list(csv.DictReader(io.StringIO(download.value.path().read_text(encoding="utf-8"))))
    chosen = np.flatnonzero(np.isin(sweep.ids, [row["id"] for row in rows]))
    assert 0 < len(chosen) == len(rows) < 80
    lab.expect(title).to_contain_text(f"{len(rows)} image")
    says(page, images_at(sweep, 0.5, chosen))
    by_id = dict(zip(sweep.ids.tolist(), sweep.label.tolist(), strict=True))
    assert all(row["class"] == sweep.name_of(by_id[row["id"]]) for row in rows)

    show(page, "classes")
    lines = page.locator(".clipft-view-classes .clipft-sorted tbody tr")
    counted = lines.evaluate_all("all => all.map(line => Number(line.cells[1].textContent))")
    assert sum(counted) == len(chosen)
    assert len(counted) == len(set(sweep.label[chosen]))
    show(page, "calibration")
    view = page.locator(".clipft-view-reliability")
    split = sweep.splits[-1]
    own = np.intersect1d(sweep.rows[split], chosen)
    if len(own):
        table = lab.rows(view.locator(".clipft-ece"))
        assert [row[2] for row in table] == 3 * [str(len(own))]


def test_a_class_that_is_clicked_is_selected(page, saved):
    _, sweep = saved
    show(page, "classes")
    line = page.locator(".clipft-view-classes .clipft-sorted tbody tr").first
    name = line.locator("td").first.inner_text()
    line.click()
    lab.expect(line).to_have_attribute("aria-selected", "true")
    rows = np.flatnonzero(sweep.label == sweep.classes.index(name))
    rows = rows[sweep.split_number[rows] >= 0]
    lab.expect(page.locator(".clipft-view-selected h4")).to_contain_text(f"{len(rows)} images")
    show(page, "WiSE")
    says(page, images_at(sweep, 0.5, rows))


def test_a_run_that_is_clicked_is_shown(page, saved, demo_runs):
    _, sweep = saved
    show(page, "runs")
    lines = page.locator(".clipft-view-runs tbody tr")
    lab.expect(lines).to_have_count(4)
    page.locator(".clipft-query input").fill("lipsum seed 1")
    lab.expect(lines).to_have_count(1)
    lines.first.locator("td").nth(2).click()
    other = lines.first.get_attribute("data-run")
    assert other != sweep.folder.name
    show(page, "WiSE")
    says(page, images_at(clipft.read_sweep(demo_runs / other), 0.5))
    page.locator(".clipft-run select").first.select_option(index=0)
    says(page, images_at(sweep, 0.5))


def test_the_energy_gap_has_its_menus(page):
    show(page, "energy gap")
    view = page.locator(".clipft-view-gap")
    lab.expect(view.locator(PLOT)).to_be_visible()
    shifts = view.locator(".clipft-shift option").all_inner_texts()
    for shift in reversed(shifts):
        view.locator(".clipft-shift select").select_option(label=shift)
        lab.expect(view.locator(".infolayer")).to_contain_text(shift)
    axes = view.locator(".clipft-x option").all_inner_texts()
    assert axes[0] == "energy gap"
    assert len(axes) > 1
    view.locator(".clipft-x select").select_option(index=1)
    lab.expect(view.locator(".xtitle")).to_contain_text(axes[1])
    view.locator(".clipft-x select").select_option(index=0)


def test_what_needs_a_kernel_is_not_there(page):
    assert page.get_by_role("button", name="exact here").count() == 0
    assert page.get_by_role("button", name="refresh").count() == 0
    assert page.locator("select[multiple]").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_tab_is_accessible(page, scheme):
    page.emulate_media(color_scheme=scheme)
    for tab in page.get_by_role("tab").all_inner_texts():
        show(page, tab)
        page.wait_for_timeout(100)
        found = [
            (rule["id"], node["html"][:100])
            for rule in Axe().run(page).response["violations"]
            if rule["impact"] in ("serious", "critical")
            for node in rule["nodes"]
        ]
        assert found == [], tab
        lab.shot(page, f"saved_{tab.replace(' ', '_')}_{scheme}", whole=True)
    page.emulate_media(color_scheme="light")


def test_each_explorer_is_a_file(browser, demo_runs, tmp_path):
    run = demo_runs / sorted(path.name for path in demo_runs.iterdir() if path.is_dir())[0]
    explorers = {
        "wise": clipft.WiseExplorer(demo_runs),
        "reliability": clipft.ReliabilityExplorer(run),
        "gap": clipft.EnergyGapExplorer(demo_runs),
        "distortion": clipft.DistortionExplorer(demo_runs),
        "run": clipft.explore(run),
        "classes": clipft.ClassExplorer(run),
        "runs": clipft.RunBrowser(demo_runs),
    }
    with lab.page(browser, ("file:",)) as page:
        for name, explorer in explorers.items():
            file = explorer.export(tmp_path / f"{name}.html")
            page.goto(file.as_uri())
            seen = "tbody tr" if name in ("classes", "runs") else PLOT
            lab.expect(page.locator(f".clipft-board {seen}").first).to_be_visible()
        assert page.outside == []
        assert page.errors == []
