"""How fast explorers answer in JupyterLab: the first picture, and a key to what it changes.

`make bench`; medians, in milliseconds, on the page's own clock.
"""

import statistics

import pytest

from . import lab
from .desk import CELLS, SET_UP
from .lab import PLOT, ask, cell, press, type_alpha

LARGE = """from clipft.runs.sweep import Sweep
rng, A, S, per = np.random.default_rng(0), 101, 5, 10_000
alphas, N = np.linspace(0, 1, A), S * per
label, base, right = rng.integers(0, 1000, N), rng.integers(0, 1000, N), rng.random(N)
other = (base + (alphas[:, None] * 3).astype(int)) % 1000
prediction = np.where(right < 0.4 + 0.4 * alphas[:, None], label, np.where(rng.random(N) < 0.5, base, other))
split = np.repeat([f"d{i}/test" for i in range(S)], per)
ids = np.array([f"d{i // per}/{i}.png" for i in range(N)])
confidence = rng.random((A, N), dtype=np.float32)
large = Sweep("large", "d0", alphas, split, ids, label, prediction, confidence, classes=tuple(str(i) for i in range(1000)))
big = clipft.WiseExplorer(large)
big"""
NAMES = (
    "gaps",
    "distortion",
    "map",
    "large map",
    "runs",
    "wise",
    "reliability",
    "run",
    "large sweep",
)
WISE, BIG = 6, 9
# what an explorer's picture, bars, images and numbers say now
SEEN = {
    "marker": f"document.querySelectorAll('.jp-CodeCell')[NUMBER].querySelector('{PLOT}').dataset.alpha",
    "bars": """[...document.querySelectorAll('.jp-CodeCell')[NUMBER].querySelectorAll('.barlayer path')]
        .map(bar => bar.getAttribute('d')).join()""",
    "table": "document.querySelectorAll('.jp-CodeCell')[NUMBER].querySelector('.clipft-counts').textContent",
    "tiles": "document.querySelectorAll('.jp-CodeCell')[NUMBER].querySelector('.clipft-flips').innerHTML",
}
# an alpha just below the middle of two scored alphas that lose other images
BETWEEN = """next(float((a + b) / 2 - 0.02) for a, b in reversed(list(zip({0}.sweep.alphas, {0}.sweep.alphas[1:])))
    if set({0}.sweep.flips(a, 0)["lost"]) != set({0}.sweep.flips(b, 0)["lost"]))"""
# From running a cell to its drawn picture. The output is emptied first.
DRAW = """async ([number, plot]) => {
    const {content} = window.jupyterapp.shell.currentWidget;
    const one = content.widgets[number];
    const isThere = root => root.querySelector(plot)
        || [...root.querySelectorAll('*')].some(part => part.shadowRoot && isThere(part.shadowRoot));
    content.activeCellIndex = number;
    content.deselectAll();
    one.model.outputs.clear();
    while (isThere(one.node)) await new Promise(done => setTimeout(done, 5));
    const start = performance.now();
    window.jupyterapp.commands.execute('notebook:run-cell');
    while (!isThere(one.node)) await new Promise(done => setTimeout(done, 5));
    return performance.now() - start;
}"""


@pytest.fixture(scope="package")
def forks():
    """None: a kernel imports what it needs, as a user's does."""
    return {}


@pytest.fixture(scope="module")
def desk(server, browser, demo_runs):
    sources = [SET_UP.format(runs=str(demo_runs)), *CELLS, LARGE]
    with lab.desk(server, browser, server.root / "speed.ipynb", sources) as view:
        yield view


def test_first_picture_of_a_page(page, server, demo_runs):
    """With all that its kernel imports for it, and plotly's own script; then that of each other."""
    sources = [SET_UP.format(runs=str(demo_runs)), *CELLS, LARGE]
    lab.open_notebook(page, server, lab.notebook(server.root / "first.ipynb", sources))
    lab.run_cells(page, 0, 1)
    order = (WISE, *(number for number in range(1, len(sources)) if number != WISE))
    for place, number in enumerate(order):
        first = page.evaluate(DRAW, [number, lab.SHOWN])
        again = statistics.median(page.evaluate(DRAW, [number, lab.SHOWN]) for _ in range(3))
        where = "the page's first, " if place == 0 else ""
        print(f"\n{NAMES[number - 1]}: {where}first {first:.0f} ms, again {again:.0f} ms")


def seen(number: int, what: str) -> str:
    """A JS expression of what an explorer's cell says."""
    return SEEN[what].replace("NUMBER", str(number))


def latencies(page, number: int, name: str) -> None:
    """Print the median time from a key on an explorer's slider to the marker, numbers and tiles."""
    explorer = cell(page, number)
    explorer.locator(lab.SLIDER).first.focus()
    keys = ("ArrowRight", "ArrowLeft")
    delays = {}
    for what in ("marker", "bars", "table"):
        delays[what] = lab.median_delay(
            page, seen(number, what), lambda i: press(page, keys[i % 2])
        )
    # A tenth up is nearer to the next scored alpha: other images.
    type_alpha(page, explorer, ask(page, BETWEEN.format(name)))
    keys = ("PageUp", "PageDown")
    delays["tiles"] = lab.median_delay(
        page, seen(number, "tiles"), lambda i: press(page, keys[i % 2])
    )
    for what, delay in delays.items():
        print(f"\n{name}: key to {what}: median {delay:.0f} ms")


def test_wise_latency(desk):
    explorer = cell(desk, WISE)
    explorer.locator(lab.SLIDER).first.focus()
    press(desk, "End")
    press(desk, "PageDown", 3)  # alpha 0.7
    latencies(desk, WISE, "wise")


def test_latency_of_a_large_sweep(desk):
    """101 alphas of 50 000 images."""
    latencies(desk, BIG, "big")
