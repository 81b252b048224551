"""Which tests of a run with several workers stay on one of them: those of the browser.

They share a JupyterLab, a Chromium and a page of explorers. xdist's own `xdist_group` does nothing
with pytest 9.2 (it writes `item._nodeid`, which pytest no longer reads), so a group is told by the
place of its tests here. Files that make runs, a kernel, a cluster or many answers for themselves
stay together, too. All other tests go one by one to the worker that is free: what several of them
lean on is made once for all workers, see `shared` in conftest.py.
"""

import os

import pytest

# The browser's are two halves, a JupyterLab and a Chromium each, so that both workers have one.
TOGETHER = (
    "tests/browser/test_e",
    "tests/browser/",
    "tests/batch/test_ray.py",
    "tests/batch/test_notebooks.py",
    "tests/faults/",
    "tests/training/test_ranks.py",
    "tests/cli/test_front_door.py",
    "tests/reports/",
    "tests/runs/test_run.py",
    "tests/test_documents.py",
)


def group_of(nodeid: str) -> str:
    """What goes to one worker as a whole: a place of TOGETHER, or else a single test."""
    return next((place for place in TOGETHER if nodeid.startswith(place)), nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config):
    """For `-n auto`: two more than cores, since tests wait: for pages, kernels and processes."""
    return (os.cpu_count() or 1) + 2


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """For `--dist loadgroup`: groups by place."""
    if config.getoption("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class ByPlace(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    config.option.loadscopereorder = False  # the order of `pytest_collection_modifyitems`
    return ByPlace(config, log)


def pytest_collection_modifyitems(items):
    """What stays together begins first, the browser's before all: it takes longest."""
    rank = {place: number for number, place in enumerate(TOGETHER)}
    items.sort(key=lambda item: rank.get(group_of(item.nodeid), len(rank)))
