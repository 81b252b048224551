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


def figures_in(folder) -> int:
    book = nbformat.read(folder / "run.ipynb", 4)
    return sum(
        FIGURE in output.get("data", {})
        for each in book.cells
        for output in each.get("outputs", [])
    )


def test_html_opens_offline(folder, browser):
    assert (folder / "run.ipynb").stat().st_size < 2_000_000
    with lab.page(browser, ("file:",)) as page:
        page.goto((folder / "run.html").as_uri())
        lab.expect(page.locator(DRAWN)).to_have_count(figures_in(folder), timeout=1000 * lab.HANG)
        titles = page.locator(".modebar-btn").evaluate_all(TITLES)
        assert titles
        assert not [title for title in titles if "hare" in title or "loud" in title]
        for i in range(figures_in(folder)):
            page.locator(DRAWN).nth(i).scroll_into_view_if_needed()
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
    lab.expect(page.locator(DRAWN)).to_have_count(figures_in(folder), timeout=1000 * lab.HANG)
    trusted = page.evaluate(
        """() => window.jupyterapp.shell.currentWidget.content.widgets
            .filter(cell => cell.model.type === 'code').map(cell => cell.model.trusted)"""
    )
    assert not any(trusted)
    titles = page.locator(".modebar-btn").evaluate_all(TITLES)
    assert not [title for title in titles if "hare" in title or "loud" in title]
    lab.shot(page, f"executed_{NAME}", whole=True)
