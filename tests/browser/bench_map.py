"""How a workspace answers with 100 000 images and 1 000 runs, in JupyterLab with software drawing.

`make bench`; medians, in milliseconds, on the page's own clock.
"""

import itertools
import statistics

import pytest

from . import lab
from .desk import SET_UP
from .lab import ask, cell

LARGE = """
from clipft.diagnostics.energy_map import EnergyMap
from clipft.runs.sweep import Sweep
rng, n, classes = np.random.default_rng(0), 100_000, 345
alphas = np.linspace(0, 1, 11)
label = rng.integers(0, classes, n)
other = rng.integers(0, classes, n)
right = rng.random(n)
prediction = np.where(right < 0.5 + 0.3 * alphas[:, None], label, other)
split = np.repeat([f"d{i}/test" for i in range(5)], n // 5)
own = sweep.ids[sweep.split_number >= 0]
ids = np.array([f"{i:06d} {own[i % len(own)]}" for i in range(n)])
confidence = rng.random((11, n), dtype=np.float32)
gap = np.broadcast_to(rng.gamma(2, 2, n).astype(np.float32), (11, n))
large = Sweep("large", "d0", alphas, split, ids, label, prediction, confidence, gap,
              classes=tuple(f"class {i}" for i in range(classes)), folder=sweep.folder)
centres = rng.normal(scale=30, size=(classes, 2))
before = (centres[label] + rng.normal(size=(n, 2))).astype(np.float32)
after = (before + rng.normal(size=(n, 2))).astype(np.float32)
places = EnergyMap(tuple(split), tuple(ids), label, before, after)
# The images are those of the runs, of which there are fewer.
from clipft.runs.thumbnails import Thumbnails
whole = Thumbnails.bytes_of
Thumbnails.bytes_of = lambda self, name: whole(self, name[7:] if name[6:7] == " " else name)
"""
MAP = """big = clipft.EnergyMapExplorer(places, large, places="at alpha")
big"""
MANY = """
import pandas as pd
tuned = table[table.run == table.run.iloc[0]]
parts = []
for i in range(1000):
    run = tuned.assign(run=f"{i:012x}", lr=[1e-4, 3e-4, 1e-3][i % 3], seed=i // 3, method=["ft", "lipsum"][i % 2])
    parts.append(run.assign(recipe=f"r{i % 6}", mean=run["mean"] * rng.uniform(0.8, 1.1)))
browser = clipft.RunBrowser(pd.concat(parts, ignore_index=True))
"""
# From running a cell to the first frame of its map.
DRAW = """async number => {
    const {content} = window.jupyterapp.shell.currentWidget;
    content.activeCellIndex = number;
    content.deselectAll();
    const start = performance.now();
    window.jupyterapp.commands.execute('notebook:run-cell');
    while (!document.querySelector('canvas[data-drawn]')) await new Promise(done => setTimeout(done, 5));
    return performance.now() - start;
}"""
# The times of all frames from now on.
FRAMES = """canvas => {
    window.frames_at = [];
    const seen = () => window.frames_at.push(performance.now());
    new MutationObserver(seen).observe(canvas, {attributeFilter: ['data-drawn']});
}"""


@pytest.fixture(scope="package")
def forks():
    """None: a kernel imports what it needs, as a user's does."""
    return {}


@pytest.fixture(scope="module")
def desk(server, browser, demo_runs):
    sources = [SET_UP.format(runs=str(demo_runs)) + LARGE + MANY, MAP, "browser"]
    path = lab.notebook(server.root / "large.ipynb", sources)
    with lab.page(browser, (server.address,)) as page:
        lab.open_notebook(page, server, path)
        lab.run_cells(page, 0, 1)
        page.first = page.evaluate(DRAW, 1)
        lab.run_cells(page, 2, 3)
        yield page
    assert page.errors == []


def test_the_first_picture(desk):
    print(f"\n100 000 images: the first picture {desk.first:.0f} ms")


def test_pan(desk):
    canvas = cell(desk, 1).locator("canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    canvas.evaluate(FRAMES)
    desk.keyboard.down("Shift")
    desk.mouse.move(box["x"] + 300, box["y"] + 200)
    desk.mouse.down()
    desk.mouse.move(box["x"] + 480, box["y"] + 320, steps=60)
    desk.mouse.up()
    desk.keyboard.up("Shift")
    times = desk.evaluate("window.frames_at")
    step = statistics.median(later - earlier for earlier, later in itertools.pairwise(times))
    print(
        f"\n100 000 images: a frame of a pan every {step:.0f} ms, {1000 / step:.0f} a second ({len(times)} frames)"
    )


def test_lasso_to_thumbnails(desk):
    """From letting go of the mouse to the first images that it took."""
    explorer = cell(desk, 1)
    canvas = explorer.locator("canvas")
    canvas.focus()
    lab.press(desk, "0")  # the whole, after the pan
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    watch = """() => {
        window.took = null;
        addEventListener('pointerup', () => {
            const start = performance.now();
            const was = document.querySelector('.clipft-view-selected h4').textContent;
            const look = () => {
                const all = [...document.querySelectorAll('.clipft-view-selected img')];
                const said = document.querySelector('.clipft-view-selected h4').textContent;
                if (said !== was && all.length && all.every(image => image.complete && image.naturalWidth)) {
                    window.took = performance.now() - start;
                } else setTimeout(look, 4);
            };
            look();
        }, {once: true, capture: true});
    }"""
    delays, sizes = [], []
    for number in range(7):
        desk.evaluate(watch)
        left = 0.25 + 0.04 * number
        corners = ((left, 0.1), (left + 0.2, 0.1), (left + 0.2, 0.9), (left, 0.9), (left, 0.1))
        for step, (x, y) in enumerate(corners):
            desk.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=4)
            if step == 0:
                desk.mouse.down()
        desk.mouse.up()
        desk.wait_for_function("() => window.took !== null")
        delays.append(desk.evaluate("window.took"))
        sizes.append(len(ask(desk, "big.selection")))
        desk.wait_for_timeout(300)
    median = statistics.median(delays)
    print(
        f"\nlasso to thumbnails: {median:.0f} ms, worst {max(delays):.0f} (of up to {max(sizes)} images)"
    )


def test_sort_and_filter_of_a_thousand_runs(desk):
    explorer = cell(desk, 2)
    lab.expect(explorer.locator("tbody tr")).to_have_count(25)
    first = "document.querySelectorAll('.jp-CodeCell')[2].querySelector('tbody tr').textContent"
    heads = explorer.locator("thead th:has-text('mean shift')")
    sort = lab.median_delay(desk, first, lambda _: heads.first.click(), times=8)
    count = "document.querySelectorAll('.jp-CodeCell')[2].querySelector('.clipft-info').textContent"
    field = explorer.locator(".clipft-query input")
    field.focus()
    keys = ("f", "Backspace")  # FT, and all
    filtered = lab.median_delay(desk, count, lambda i: lab.press(desk, keys[i % 2]), times=8)
    print(f"\n1 000 runs: sort {sort:.0f} ms, filter {filtered:.0f} ms")
