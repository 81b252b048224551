"""A notebook executed with no page to look at, then opened: as HTML from the disk, and as it is in
JupyterLab.
"""

import os
import shutil
import subprocess
import sys

import nbformat
import pytest

from clipft.disk.files import write_json

from . import lab

NAME = "02_energy_gap"  # the one with most kinds of figures
FIGURE = "application/vnd.plotly.v1+json"
BOARD = "application/vnd.clipft.board+json"
DRAWN = ".js-plotly-plot:has(.main-svg)"
# where the first figure's large markers are drawn, in plot pixels: traces of one point, but for the grey zero-shot star
MARKERS = """[...document.querySelector('.js-plotly-plot').querySelectorAll('.scatterlayer .trace')]
    .map(trace => [...trace.querySelectorAll('.points path')]).filter(points => points.length == 1)
    .map(points => points[0].getAttribute('transform')).join(' ')"""
BARS = """[...document.querySelector('.js-plotly-plot').querySelectorAll('.barlayer .point path')]
    .map(bar => bar.getAttribute('d')).join()"""
TITLES = "all => all.map(button => button.dataset.title)"


def click_slider(page, fraction: float) -> None:
    """Click on the first figure's alpha slider, this far along its rail."""
    rail = page.locator(".js-plotly-plot").first.locator(".slider-rail-touch-rect")
    box = rail.bounding_box()
    page.mouse.click(box["x"] + fraction * box["width"], box["y"] + box["height"] / 2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, demo_runs, demo_cache, forks):
    """A folder with run.ipynb and run.html, executed as a batch does, in a process of its own."""
    base = tmp_path_factory.mktemp("executed")
    env = os.environ | {
        "CLIPFT_HEADLESS": "1",
        "IPYTHONDIR": str(base / "ipython"),
        "JUPYTER_PREFER_ENV_PATH": "1",
    }
    env |= forks
    env |= {} if demo_cache is None else {"CLIPFT_CACHE": str(demo_cache)}
    write_json(base / "params.json", {"runs": str(demo_runs)})
    notebook = lab.ROOT / f"notebooks/{NAME}.ipynb"
    command = [sys.executable, "-m", "clipft.batch.notebook", str(notebook), str(base)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]
    return base


def shown_in(folder, kind: str) -> int:
    """How many outputs of the executed notebook are of a kind."""
    book = nbformat.read(folder / "run.ipynb", 4)
    outputs = [output for each in book.cells for output in each.get("outputs", [])]
    return sum(kind in output.get("data", {}) for output in outputs)


def test_html_opens_offline(folder, browser):
    """Its figures are drawn, and its explorers work: the slider of each has a chart that follows."""
    boards = shown_in(folder, BOARD)
    assert boards == 2
    with lab.page(browser, ("file:",)) as page:
        page.goto((folder / "run.html").as_uri())
        of_page = page.locator(f".clipft-figure {DRAWN}, .clipft-figure{DRAWN}")
        lab.expect(page.locator(".clipft-figure")).to_have_count(shown_in(folder, FIGURE) - boards)
        lab.expect(page.locator(".clipft-board")).to_have_count(boards)
        for number in range(shown_in(folder, FIGURE) - boards):
            lab.expect(of_page.nth(number)).to_be_attached()
        workspace = page.locator(".clipft-board").last
        chart = workspace.locator(".clipft-view-wise .js-plotly-plot")
        lab.expect(chart).to_have_attribute("data-alpha", "0.5")
        workspace.locator(".clipft-alpha input[type=range]").focus()
        lab.press(page, "End")
        lab.expect(chart).to_have_attribute("data-alpha", "1")
        code = page.locator(".clipft-code")
        assert (
            code.count()
            == len(nbformat.read(folder / "run.ipynb", 4).cells)
            - page.locator(".jp-MarkdownCell").count()
        )
        assert not code.first.evaluate("one => one.open")
        titles = page.locator(".modebar-btn").evaluate_all(TITLES)
        assert titles
        assert not [title for title in titles if "hare" in title or "loud" in title]
        links = page.locator(".clipft-contents a").evaluate_all("all => all.map(one => one.hash)")
        assert len(links) > 3
        assert page.evaluate(
            "all => all.every(one => document.getElementById(one.slice(1)))", links
        )
        page.evaluate("() => window.scrollTo(0, 0)")
        lab.shot(page, f"html_{NAME}", whole=True)
    assert page.outside == []
    assert page.errors == []


def test_alpha_slider_without_a_kernel(folder, browser):
    """The static twin's own slider moves the marker and the bars."""
    with lab.page(browser, ("file:",)) as page:
        page.goto((folder / "run.html").as_uri())
        figure = page.locator(DRAWN).first
        figure.scroll_into_view_if_needed()
        click_slider(page, 0.02)
        lab.expect(figure.locator(".slider-label").first).to_have_text("alpha = 0")
        old = page.evaluate(MARKERS), page.evaluate(BARS)
        click_slider(page, 0.97)
        lab.expect(figure.locator(".slider-label").first).to_have_text("alpha = 1")
        page.wait_for_function(f"old => {MARKERS} !== old[0] && {BARS} !== old[1]", arg=list(old))
        page.wait_for_timeout(500)
        lab.expect(figure).to_be_visible()
        lab.shot(page, f"html_slider_{NAME}")
    assert page.errors == []


def test_executed_notebook_in_lab(folder, server, page):
    """Untrusted, as a file from somebody else is, and not run here: its figures show."""
    path = server.root / f"executed_{NAME}.ipynb"
    shutil.copy(folder / "run.ipynb", path)
    lab.open_notebook(page, server, path)
    lab.theme(page, lab.LIGHT)
    lab.expect(page.locator(DRAWN)).to_have_count(shown_in(folder, FIGURE))
    trusted = page.evaluate(
        """() => window.jupyterapp.shell.currentWidget.content.widgets
            .filter(cell => cell.model.type === 'code').map(cell => cell.model.trusted)"""
    )
    assert not any(trusted)
    titles = page.locator(".modebar-btn").evaluate_all(TITLES)
    assert not [title for title in titles if "hare" in title or "loud" in title]
    lab.shot(page, f"executed_{NAME}", whole=True)
