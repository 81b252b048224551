"""One page of JupyterLab with the explorers of the gap, the map, the runs and calibration.

The tests of three files share it: a kernel and a page take longer to come than a test. What each
test changes the others do not lean on.
"""

import pytest

from .lab import PLOT, ask, drawn, rows, titles, until

TILES = 24  # on a page

FACTS = """
def wise_facts(w):
    # what a WiSE slider is to show, from the arrays alone
    s, place = w.sweep, int(np.abs(w.sweep.alphas - w.alpha).argmin())
    then = s.prediction[int(np.abs(s.alphas - w.against).argmin())]
    here, start, tuned = s.prediction[place], s.prediction[0], s.prediction[-1]
    chosen = np.isin(s.ids, w.selection) if w.selection else np.full(len(s.ids), True)
    rows = {name: np.flatnonzero((s.split == name) & chosen) for name in s.splits}
    accuracy = []
    for r in rows.values():
        along = (s.prediction[:, r] == s.label[r]).mean(1) if len(r) else [np.nan] * len(s.alphas)
        accuracy.append([100 * float(np.interp(w.alpha, s.alphas, along)), 100 * float(along[0])])
    table = []
    for (name, r), (now, before) in zip(rows.items(), accuracy):
        right, flip = s.label[r], here[r] != start[r]
        table.append([name, len(r), now, now - before, int(flip.sum()), int((flip & (here[r] == right)).sum()),
                      int((flip & (start[r] == right)).sum()), int((here[r] != tuned[r]).sum())])
    flipped = {n: r[here[r] != then[r]] for n, r in rows.items() if w.split in (n, "")}
    kept = {"lost": lambda r: r[then[r] == s.label[r]], "gained": lambda r: r[here[r] == s.label[r]], "all": lambda r: r}
    wanted = sorted(int(i) for r in flipped.values() for i in kept[w.kind](r))
    sure = np.round(s.confidence[place] * 65535)  # as fine as the page knows it
    tiles = sorted(wanted, key=lambda i: (-sure[i], i))
    accuracy = [now for now, _ in accuracy]
    shifts = [value for value in accuracy[1:] if value == value]
    every = np.concatenate(list(rows.values()))
    whole = 100 * float(np.interp(w.alpha, s.alphas, (s.prediction[:, every] == s.label[every]).mean(1)))
    both = shifts and accuracy[0] == accuracy[0]
    mark = [accuracy[0], float(np.mean(shifts))] if both else [100 * w.alpha, whole]
    return {
        "alpha": w.alpha, "mark": mark, "bars": [v for v in accuracy if v == v],
        "table": [row for row in table if row[1]], "tiles": s.ids[tiles].tolist(), "run": w.run,
        "title": ", ".join(s.called), "selected": len(every) if w.selection else 0,
        "flips": sum(row[4] for row in table),
    }

def selected_rows(w, order="gap"):
    # the selected images of a run, in an order, as the CSV has them
    s, place = w.sweep, int(np.abs(w.sweep.alphas - w.alpha).argmin())
    sure, gap = np.round(s.confidence[place] * 65535), s.energy_gap[-1].astype(np.float32)
    rows = np.flatnonzero(np.isin(s.ids, w.selection) & np.isin(s.split, s.splits)).tolist()
    keys = {"gap": lambda i: (-gap[i], i), "confidence": lambda i: (-sure[i], i), "name": lambda i: s.ids[i]}
    return [[s.split[i], s.ids[i], s.name_of(s.label[i]), s.name_of(s.prediction[0, i]),
             s.name_of(s.prediction[place, i]), float(s.confidence[place, i]), float(gap[i])] for i in sorted(rows, key=keys[order])]
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

def pairs_of(s):
    # what zero-shot takes for what
    rows = np.flatnonzero(s.split_number >= 0)
    pairs = [(s.name_of(a), s.name_of(b)) for a, b in zip(s.label[rows], s.prediction[0, rows]) if a != b]
    return [[*pair, pairs.count(pair)] for pair in sorted(set(pairs))]

def most_moved(g):
    # ids of the shift's images of the chosen run, those first whose energies moved most
    s = clipft.read_sweep(runs / g.run)
    rows = np.flatnonzero(s.split == g.shift)
    return s.ids[rows[np.argsort(-s.energy_gap[-1, rows].astype(np.float32), kind="stable")]].tolist()

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

def bins(split, alpha, ids=None, count=15):
    # mean confidence, accuracy and images of each bin, from the arrays alone; ids: of these images
    place = int(np.abs(sweep.alphas - alpha).argmin())
    rows = np.flatnonzero((sweep.split == split) & (ids is None or np.isin(sweep.ids, ids)))
    sure, right = sweep.confidence[place, rows], (sweep.prediction[place] == sweep.label)[rows]
    if ids is not None:  # the page counts, of what it knows
        sure = np.float32(np.round(sure * 65535) / 65535).astype(float)
    number = np.minimum((sure * count).astype(int), count - 1)
    inside = [number == one for one in range(count)]
    return [[float(sure[i].mean()), float(right[i].mean()), int(i.sum())] if i.any() else [None, None, 0]
            for i in inside]
""" + FACTS.replace("{", "{{").replace("}", "}}")
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


def is_right(page, explorer, name: str) -> dict:
    """Wait until marker, bars, table and tiles of a WiSE slider are what its arrays say; return what they say."""

    def check() -> dict:
        facts = ask(page, f"wise_facts({name})")
        mark = drawn(explorer, "at alpha")
        assert [*mark["x"], *mark["y"]] == pytest.approx(facts["mark"], abs=1e-4)
        assert drawn(explorer, "at alpha", "bar")["y"] == pytest.approx(facts["bars"], abs=1e-4)
        written = explorer.locator(f".clipft-view-wise {PLOT} .bartext").all_text_contents()
        assert len(written) == 3 * len(facts["bars"]), (written, facts["bars"])
        here = written[len(facts["bars"]) :][: len(facts["bars"])]
        assert [float(text) for text in here] == pytest.approx(facts["bars"], abs=0.0501)
        table = rows(explorer.locator(".clipft-counts"))
        assert len(table) == len(facts["table"])
        for shown, wanted in zip(table, facts["table"], strict=True):
            assert shown[0] == wanted[0]
            assert [float(text) for text in shown[1:]] == pytest.approx(wanted[1:], abs=0.0501)
        said = explorer.locator(".clipft-counts p").inner_text()
        assert f"alpha {facts['alpha']:.2f}" in said
        assert ("selected" in said) == bool(facts["selected"])
        assert titles(explorer, ".clipft-flips") == facts["tiles"][:TILES]
        whole = len(facts["tiles"])
        counted = explorer.locator(".clipft-flips > p").inner_text()
        assert counted == (f"{min(TILES, whole)} of {whole} images" if whole else "no image")
        return facts

    return until(check, page)
