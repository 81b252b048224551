"""One JupyterLab and one Chromium for all browser tests, and a few small finished runs to
look at.
"""

import os
import shutil
from pathlib import Path

import pytest
import yaml
from conftest import made_once

from . import lab
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


def _small_emoji_shift(folder: Path, classes: int = 12) -> Path:
    """A manifest of EmojiShift's first classes with fewer images: the whole takes ten seconds to
    score.
    """
    source = lab.ROOT / "data_manifests"
    values = yaml.safe_load((source / "emoji_shift.yaml").read_text())
    names = yaml.safe_load((source / values["classes"]).read_text())[:classes]
    (folder / "emoji_demo.classes.yaml").write_text(yaml.safe_dump(names))
    values |= {
        "name": "emoji_demo",
        "title": f"EmojiShift, {classes} classes",
        "classes": "emoji_demo.classes.yaml",
    }
    values["emoji"] |= {"per_class": {"train": 8, "val": 5, "test": 8}, "artwork": "", "lists": ""}
    (folder / "emoji_demo.yaml").write_text(yaml.safe_dump(values))
    return folder / "emoji_demo.yaml"


# Of the package, not of the session: an open Chromium leaves an asyncio loop running in this thread, which other tests
# in the same process must not meet.


@pytest.fixture(scope="package")
def server(tmp_path_factory, demo_cache):
    """A JupyterLab on an empty folder, server.root."""
    env = {} if demo_cache is None else {"CLIPFT_CACHE": str(demo_cache)}
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
