"""One page of JupyterLab with the explorers of the gap, the map, the runs and calibration.

The tests of three files share it: a kernel and a page take longer to come than a test. What each
test changes the others do not lean on.
"""

SET_UP = """
import json
import numpy as np
from dataclasses import replace
from pathlib import Path
import clipft
runs = Path({runs!r})
table = clipft.results(str(runs))
folders = [runs / run for run in sorted(table[table.metric == "energy_gap"].run.unique())]
sweep = clipft.read_sweep(folders[0])
places = clipft.energy_map(folders[0], 1.0, 20)

def line(run, metric):
    # what the results say of a run on the shift that is shown
    rows = table[(table.run == run) & (table.alpha == 1) & (table.split == gaps.shift) & (table.metric == metric)]
    row = rows.iloc[0]
    return f"{{metric.replace('_', ' ')}} {{row['mean']:.3f}} [{{row.low:.3f}}, {{row.high:.3f}}]"

def lonely(points):
    # the run whose point is furthest from its nearest neighbour
    z = (points / points.std()).to_numpy()
    apart = np.abs(z[:, None] - z[None]).sum(2) + 1e9 * np.eye(len(z))
    return points.index[apart.min(1).argmax()]

def about(run):
    return table[table.run == run].iloc[0]

def large(n, classes):
    # so many images of so many classes, at random places
    rng = np.random.default_rng(0)
    split = np.repeat(["real/test", "art/test"], n // 2)
    ids = np.array([f"{{i}}.png" for i in range(n)])
    label = rng.integers(0, classes, n)
    names = tuple(f"thing {{i}}" for i in range(classes))
    prediction = np.stack([label, rng.integers(0, classes, n)])
    made = replace(sweep, split=split, ids=ids, label=label, prediction=prediction, folder=None,
                   alphas=np.array([0.0, 1.0]), confidence=rng.random((2, n)),
                   energy_gap=rng.random((2, n)), classes=names, title="large")
    before, after = rng.normal(size=(2, n, 2))
    return replace(places, split=tuple(split), ids=tuple(ids), label=label,
                   before=before, after=after), made

def bins(split, alpha, count=15):
    # mean confidence, accuracy and images of each bin, from the arrays alone
    place = int(np.abs(sweep.alphas - alpha).argmin())
    rows = np.flatnonzero(sweep.split == split)
    sure, right = sweep.confidence[place, rows], (sweep.prediction[place] == sweep.label)[rows]
    number = np.minimum((sure * count).astype(int), count - 1)
    inside = [number == one for one in range(count)]
    return [[float(sure[i].mean()), float(right[i].mean()), int(i.sum())] if i.any() else [None, None, 0]
            for i in inside]
"""
GAPS, DISTORTION, MAP, LARGE, BROWSER, WISE, RELIABILITY, RUN = range(1, 9)
CELLS = (
    "gaps = clipft.EnergyGapExplorer(table, runs)\ngaps",
    "distortion = clipft.DistortionExplorer(clipft.distortion_table(runs))\ndistortion",
    "map = clipft.EnergyMapExplorer(places, sweep)\nmap",
    "big = clipft.EnergyMapExplorer(*large(500, 250), colour='class')\nbig",
    "browser = clipft.RunBrowser(table, runs)\nbrowser",
    "wise = clipft.WiseExplorer(sweep, 0.5)\nwise",
    "reliability = clipft.ReliabilityExplorer(sweep)\nclipft.link(wise, reliability)\nreliability",
    "one = clipft.explore(folders[0])\none",
)
