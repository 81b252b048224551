"""One explorer of every kind and size, for the tests of what all share."""

import itertools

import numpy as np
import pandas as pd
from test_sweep import toy_sweep
from test_table import fake, with_ensemble

from clipft.config import RunConfig
from clipft.diagnostics.energy_map import EnergyMap
from clipft.figures.wise import sweep_figure
from clipft.widgets.calibration import ReliabilityExplorer
from clipft.widgets.classes import ClassExplorer
from clipft.widgets.distortion import DistortionExplorer
from clipft.widgets.energy_gap import EnergyGapExplorer
from clipft.widgets.energy_map import EnergyMapExplorer
from clipft.widgets.explore import RunExplorer
from clipft.widgets.form import FineTuneForm
from clipft.widgets.run_browser import RunBrowser
from clipft.widgets.view import FigureView
from clipft.widgets.wise import WiseExplorer
from clipft.widgets.workspace import Workspace

COLUMNS = ["run", "method", "lr", "steps", "seed", "split", "kind"]
COLUMNS += ["reference", "shifted", "difference", "low", "high", "verdict"]


def distortions():
    """As `distortion_table` has them: four runs on two shifts."""
    rng = np.random.default_rng(2)
    rows = []
    for method, seed, split, kind in itertools.product(
        ("ft", "lipsum"), (0, 1), ("sketch/test", "clipart/test"), ("raw", "normalised")
    ):
        reference, shifted = rng.uniform(1, 5, 2)
        difference = reference - shifted
        verdict = ["holds", "open", "fails"][len(rows) % 3]
        numbers = (reference, shifted, difference, difference - 1, difference + 1, verdict)
        rows.append((f"{method}{seed}", method, 1e-4, 100, seed, split, kind, *numbers))
    return pd.DataFrame(rows, columns=COLUMNS)


def energy_map(sweep, per_split=4):
    """A map of a few images of each split, the last one first."""
    rows = np.concatenate([rows[:per_split] for rows in sweep.rows.values()])[::-1]
    rng = np.random.default_rng(1)
    places = [rng.normal(size=(len(rows), 2)).astype(np.float32) for _ in range(2)]
    return EnergyMap(
        tuple(sweep.split[rows].tolist()),
        tuple(sweep.ids[rows].tolist()),
        sweep.label[rows],
        *places,
    )


def explorers(scored, results):
    sweep = toy_sweep(n=30)
    few = energy_map(sweep)
    run = scored.scored[0]
    return {
        "wise": lambda: WiseExplorer([sweep, toy_sweep(3, gap=False)]),
        "wise, no shift": lambda: WiseExplorer(toy_sweep(splits=("real/val", "real/test"))),
        "wise, one image": lambda: WiseExplorer(toy_sweep(n=1, classes=1)),
        "reliability": lambda: ReliabilityExplorer(sweep),
        "reliability, one image": lambda: ReliabilityExplorer(toy_sweep(n=1)),
        "classes": lambda: ClassExplorer(sweep),
        "gap": lambda: EnergyGapExplorer(results, scored.runs, run=run.id),
        "gap, many": lambda: EnergyGapExplorer(
            fake(recipes=[("ft", 1e-4), ("ft", 1e-5), ("lipsum", 1e-4)])
        ),
        "gap, with an ensemble": lambda: EnergyGapExplorer(with_ensemble()),
        "distortion": lambda: DistortionExplorer(distortions()),
        "map": lambda: EnergyMapExplorer(few, sweep, selection=list(few.ids[:2])),
        "map, no gap": lambda: EnergyMapExplorer(
            energy_map(toy_sweep(gap=False)), toy_sweep(gap=False)
        ),
        "map, one image": lambda: EnergyMapExplorer(energy_map(toy_sweep(n=1), 1), toy_sweep(n=1)),
        "browser": lambda: RunBrowser(results, scored.runs),
        "run": lambda: RunExplorer(run),
        "workspace": lambda: Workspace(scored.runs, maps=False),
        "view": lambda: FigureView(sweep_figure(sweep, 0.25)),
        "form": lambda: FineTuneForm(RunConfig(), "none"),
    }


NAMES = (
    "wise",
    "wise, no shift",
    "wise, one image",
    "reliability",
    "reliability, one image",
    "classes",
    "gap",
    "gap, many",
    "gap, with an ensemble",
    "distortion",
    "map",
    "map, no gap",
    "map, one image",
    "browser",
    "run",
    "workspace",
    "view",
    "form",
)
