"""One JupyterLab and one Chromium for all browser tests, and a few small finished runs to
look at.
"""

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from conftest import made_once

from . import kernels, lab
from .desk import CELLS, SET_UP


def pytest_collection_modifyitems(config, items):
    why = lab.missing()
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)
            if why:
                item.add_marker(pytest.mark.skip(reason=why))


@pytest.fixture(scope="session")
def demo_cache(shared):
    """$CLIPFT_CACHE of the demo runs; None, the user's own, for given runs."""
    return None if os.environ.get("CLIPFT_DEMO_RUNS") else shared / "demo_cache"


@pytest.fixture(scope="session")
def demo_runs(tmp_path_factory, shared, demo_cache) -> Path:
    """A folder of four finished, scored runs: FT and Lipsum-FT, two seeds, on EmojiShift's first 12
    classes.

    Eight steps each, so their numbers mean nothing. $CLIPFT_DEMO_RUNS is copied instead if it is set.
    """
    if given := os.environ.get("CLIPFT_DEMO_RUNS"):
        return Path(shutil.copytree(given, tmp_path_factory.mktemp("demo") / "runs"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPFT_CACHE", str(demo_cache))
        return made_once(shared / "demo", _train_four) / "runs"


def _train_four(base: Path) -> None:
    from clipft import Reading, RunConfig, score, train

    manifest = _small_emoji_shift(base)
    reading = Reading(device="cpu", progress=False)
    for seed in (0, 1):
        for method in ("ft", "lipsum"):
            config = RunConfig(
                manifest=str(manifest),
                method=method,
                seed=seed,
                lr=1e-3,
                steps=8,
                batch_size=64,
                eval_every=8,
                crop=(0.6, 1.0),
            )
            run = train(config, base / "runs", reading=reading)
            score(run, [0.0, 0.25, 0.5, 0.75, 1.0], reading=reading)


def _small_emoji_shift(folder: Path) -> Path:
    """A manifest of EmojiShift's first classes with fewer images: the whole takes ten seconds to
    score.
    """
    return lab.first_classes(
        "emoji_shift", folder, name="emoji_demo", count=12, train=8, val=5, test=8
    )


# Of the package, not of the session: an open Chromium leaves an asyncio loop running in this thread, which other tests
# in the same process must not meet.


@pytest.fixture(scope="package")
def forks():
    """What an environment needs so that kernels begin with torch imported."""
    with tempfile.TemporaryDirectory(prefix="forks-") as folder:  # a socket's path must be short
        with kernels.ready(Path(folder)) as env:
            yield env


@pytest.fixture(scope="package")
def server(tmp_path_factory, demo_cache, forks):
    """A JupyterLab on an empty folder, server.root."""
    env = forks | ({} if demo_cache is None else {"CLIPFT_CACHE": str(demo_cache)})
    with lab.server(tmp_path_factory.mktemp("notebooks"), env) as running:
        yield running


@pytest.fixture(scope="package")
def browser():
    with lab.browser() as opened:
        yield opened


@pytest.fixture
def page(server, browser):
    """A page on the server; a request outside or a logged error fails the test (Lab itself logs
    none).
    """
    others = server.kernels()  # of the desks
    with lab.page(browser, (server.address,)) as view:
        yield view
        server.stop_kernels(others)
    assert view.outside == []
    assert view.errors == []


@pytest.fixture(scope="package")
def desk(server, browser, demo_runs):
    """A page with the explorers of desk.py."""
    sources = [SET_UP.format(runs=str(demo_runs)), *CELLS]
    with lab.desk(server, browser, server.root / "desk.ipynb", sources) as view:
        yield view
