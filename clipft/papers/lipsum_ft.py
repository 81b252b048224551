"""Every table and figure of Lipsum-FT (arXiv:2404.00860), the paper's numbers beside ours.

An item is a row of `ITEMS`. What the tables hold was read in the paper and lies in
data_manifests/published/lipsum_ft.csv. The paper's text was not at hand when this was written: what
its figures show, and the numbers 5 to 15 above all, are from memory. A figure here answers the same
question as the paper's; it is not a copy of its layout. No result stands in this file.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from ..config import TUNED, ZERO_SHOT
from ..errors import unknown
from ..figures.distortion import distortion_figure
from ..figures.energy_gap import energy_gap_figure
from ..figures.energy_map import energy_map_figure
from ..figures.panels import empty_figure, join_panels, line_figure
from ..figures.trade_off import trade_off_figure
from ..figures.wise import wise_curve_figure
from ..methods import POSTHOC
from ..runs.names import MethodName, is_ensemble, title_of
from ..runs.reading import distortion_table
from ..runs.scores import REFERENCE, SHIFT
from ..runs.table import wide
from . import beside
from .item import COMBINATIONS, SETTINGS, Item, Made, Ours
from .published import published_rows

# The loss and the texts with which a method ties the tuned model to the zero-shot one.
ABLATION = {
    "kd": "KLD, class head", "car": "KLD, context", "kld_random": "KLD, random texts",
    "mse_class": "MSE, class head", "mse_context": "MSE, context", "lipsum": "MSE, random texts",
}  # fmt: skip
# An output_ensemble is left out: of one run it is the run itself.
SOUPS = {"uniform_soup", "greedy_soup", "greedy_ensemble"}


# --- what tells the recipes of a method apart


def ablation(method: str, _config: dict[str, Any]) -> str:
    """The loss and the texts of a method."""
    return ABLATION[method]


def texts(_method: str, config: dict[str, Any]) -> str:
    """The variant of the paper's table 8 that a run is, as written there; empty if not known."""
    return f"L={config['text_length']}, M={config['text_count']}" if config else ""


def mu(_method: str, config: dict[str, Any]) -> str:
    """The mu of a TPGM-C run; empty for all others."""
    after = config.get("after")
    if not after or after["name"] != "tpgm_c":
        return ""
    options = POSTHOC["tpgm_c"].options | after["options"]
    return f"mu={options['mu']}"


# --- items that need more than a row


def distortion_panels(item: Item, ours: Ours) -> Made:
    """Feature distortion ||F - F0|| of reference against shifted images; opens the runs."""
    results = ours.one_kind()
    tuned = results[~results.method.map(is_ensemble) & (results.alpha == TUNED)]
    tested = distortion_table([ours.folder / run for run in tuned.run.unique()])
    return item.made(distortion_figure(tested), tuned)


def energy_gap_panels(item: Item, ours: Ours) -> Made:
    """Energy gap against relative accuracy with Pearson's r, a panel per shift."""
    results = ours.one_kind()
    tuned = results[~results.method.map(is_ensemble)]
    return item.made(energy_gap_figure(tuned), tuned)


def energy_map_panels(item: Item, ours: Ours) -> Made:
    """t-SNE maps of energy vectors before and after tuning; opens the first run of each method."""
    from ..reports.energy_map import energy_map

    firsts = [ours.of([recipe]).iloc[0] for recipe in item.recipes(ours)]
    panels = {}
    for first in firsts:
        panels[title_of(first.method)] = energy_map_figure(energy_map(ours.folder / first.run))
    used = ours.results[ours.results.run.isin([first.run for first in firsts])]
    if not panels:
        return item.made(empty_figure("no run of FT or Lipsum-FT"), used, command=item.command)
    return item.made(join_panels(panels, "Energy vectors, zero-shot and tuned", columns=2), used)


def soup_figure(item: Item, ours: Ours) -> Made:
    """Soups and greedy ensembles beside the methods they are made of."""
    results = ours.one_kind()
    names = [MethodName.parse(method) for method in results.method.unique()]
    soups = [name for name in names if SOUPS.intersection(name.after)]
    methods = {str(name) for name in soups} | {name.method for name in soups}
    used = results[results.method.isin(methods)]
    if soups:
        return item.made(trade_off_figure(used), used)
    empty = empty_figure("no soup and no greedy ensemble among these runs")
    return item.made(empty, used, command=item.command)


def length_panels(item: Item, ours: Ours) -> Made:
    """Accuracy over the length L (tokens) and the number M of random texts."""
    recipes = item.recipes(ours)
    used = ours.of(recipes)
    points = beside.hollow(beside.paper_points(item.number, *item.benchmarks))
    points["label"] = points.label.str.replace(";", ", ")
    if recipes:
        mine = beside.our_points(used).query("alpha == @TUNED")
        mine["label"] = mine.recipe.map(recipes)
        points = pd.concat([points, mine], ignore_index=True)
    points = points.join(points.label.str.extract(r"L=(?P<L>\d+), M=(?P<M>\d+)").astype(float))

    panels = {}
    for varied, fixed, title in (("L", "M", "tokens in a text, L"), ("M", "L", "texts a step, M")):
        # The other of the two is at its most frequent value.
        line = points[points[fixed] == points[fixed].mode()[0]].sort_values(varied)
        on_reference = line.assign(name="reference", x=line[varied], y=line.x)
        both = pd.concat([on_reference, line.assign(name="mean shift", x=line[varied])])
        y_label = "accuracy, against zero-shot (points)"
        panels[title] = line_figure(both, f"{title} (log)", y_label, log=True)
    figure = join_panels(panels, "Random texts: how long, how many", columns=2)
    return item.made(figure, used, command=item.missing(ours))


def wise_curves(item: Item, ours: Ours) -> Made:
    """The WiSE curve of every recipe."""
    return item.made(wise_curve_figure(ours.results), ours.results)


def calibration_panels(item: Item, ours: Ours) -> Made:
    """ECE on the reference against mean ECE under shift, a panel per benchmark of the paper."""
    used = ours.of(item.recipes(ours))
    rows = wide(used[used.alpha.isin([ZERO_SHOT, TUNED])])
    titles = rows.method.map(title_of).where(rows.alpha == TUNED, "Zero-shot")
    mine = _mean_ece(rows.assign(name=titles), published=False)
    labels = ("ECE on the reference (%)", "mean ECE under shift (%)")
    panels = {}
    for benchmark in item.benchmarks:
        rows = published_rows(item.number, benchmark, metric="ece")
        role = (rows.split == rows.reference).map({True: REFERENCE, False: SHIFT})
        rows = rows.assign(name=rows.method, role=role, ece=rows["mean"])
        points = pd.concat([_mean_ece(rows, published=True), mine])
        panels[f"hollow: {benchmark}"] = line_figure(points, *labels)
    return item.made(join_panels(panels, "Calibration", columns=2), used)


def _mean_ece(rows: pd.DataFrame, *, published: bool) -> pd.DataFrame:
    """Points of each name, in percent: x on the reference, y under shift; of name, role, ece."""
    x = 100 * rows[rows.role == REFERENCE].groupby("name", sort=False).ece.mean()
    y = 100 * rows[rows.role == SHIFT].groupby("name", sort=False).ece.mean()
    return x.to_frame("x").assign(y=y, label="", published=published).reset_index()


# --- the items

# fmt: off
DOMAINNET = ("domainnet",)
IMAGENET = ("imagenet",)
RUNS = "into the same runs folder"
LENGTHS = f"`clipft train method=lipsum text_count=M text_length=L`, each M and L {RUNS}"
MODELS = f"`clipft train model=NAME pretrained=TAG`, each model and method {RUNS}"
DOMAINS = f"`clipft train reference=DOMAIN`, each domain and method {RUNS}"
KINDS = "Change of reference and mean shift accuracy against zero-shot, in points, a panel per"
SHIFT_PANELS = Item(beside.shift_panels, "1", benchmarks=DOMAINNET, what="Change of reference and "
    "of shift test accuracy against zero-shot, in points, a mark per run; lines join the learning "
    "rates and steps of a method.")
POSTHOC_TABLE = Item(beside.table, "6", benchmarks=DOMAINNET, across=COMBINATIONS, setting=mu,
    methods=("ft", "ft+tpgm", "ft+tpgm_c", "lipsum", "lipsum+tpgm", "lipsum+tpgm_c"),
    command="`clipft combine tpgm RUN` and `clipft combine tpgm_c RUN mu=...` on runs of FT and "
    "Lipsum-FT", what="FT and Lipsum-FT with WiSE at every alpha, TPGM and TPGM-C: accuracy (the "
    "paper's WiSE and TPGM are of FT).")
POSTHOC_PANELS = replace(POSTHOC_TABLE, draw=beside.posthoc_panels, what="WiSE, TPGM and TPGM-C "
    "from FT and Lipsum-FT: change of reference and mean shift accuracy, in points.")

ITEMS = {
    "table_1": Item(beside.table, "1", "Accuracy of every method on the reference and under "
        "shift."),
    "table_2": Item(beside.table, "2", measures=("nll", "ece"), methods_of="1", what="Calibration "
        "of every method: NLL in nats and ECE in percent, lower is better."),
    "table_3": Item(beside.table, "", methods=tuple(ABLATION), setting=ablation, what="Which loss "
        "on which texts: accuracy of the six combinations."),
    "table_4": Item(beside.table, "4", "Where the head starts: accuracy of LP, LP-FT, FT and "
        "Scratch-FT."),
    "table_5": Item(beside.table, "5", across="model", command=MODELS, what="Accuracy of every "
        "method with other models (those of a single model are table 1's)."),
    "table_6": POSTHOC_TABLE,
    "table_7": replace(POSTHOC_TABLE, number="7", benchmarks=IMAGENET),
    "table_8": Item(beside.table, "8", methods=("lipsum",), setting=texts, across=SETTINGS,
        command=LENGTHS, what="Lipsum-FT by length L (tokens) and number M (a step) of its random "
        "texts: accuracy."),
    "table_9": Item(beside.table, "9", methods=("car", "kld_random", "mse_context", "lipsum"),
        setting=ablation, what="Which loss on which texts: accuracy. The paper's ablation-row-2 "
        "and -3 are KLD on random texts and MSE on context; which is which is not known."),
    "table_10": Item(beside.table, "10", benchmarks=DOMAINNET, across="reference", command=DOMAINS,
        what="Accuracy when another domain is the reference (runs of a single reference are table "
        "1's)."),
    "table_11": Item(beside.published_table, "11", benchmarks=("cub",), command="`clipft train "
        "manifest=FILE` with a manifest whose train list has the seen classes alone, then "
        "clipft.reports.gzsl_table(RUN, unseen)", what="Generalised zero-shot: accuracy on seen "
        "classes (S), unseen classes (U) and their harmonic mean (H)."),
    "figure_2": SHIFT_PANELS,
    "figure_3": Item(distortion_panels, "", "Mean feature distortion (no unit) of reference test "
        "images against that of each shift, a point per run."),
    "figure_4": Item(energy_gap_panels, "", "Energy gap in squared logits against relative "
        "accuracy (shift / reference), a point per run; r is Pearson's."),
    "figure_5": Item(energy_map_panels, "", methods=("ft", "lipsum"), command="`clipft train`",
        what="t-SNE of the energy vectors of the first 100 images of every test split, zero-shot "
        "and tuned; no unit."),
    "figure_6": POSTHOC_PANELS,
    "figure_7": Item(soup_figure, "", command="`clipft combine greedy_soup RUN RUN ...`, and so "
        "with greedy_ensemble", what="Soups and ensembles beside their members: change of "
        "reference and mean shift accuracy, points, a mark per run."),
    "figure_8": replace(SHIFT_PANELS, benchmarks=IMAGENET),
    "figure_9": Item(beside.kind_panels, "5", f"{KINDS} model.", benchmarks=DOMAINNET,
        across="model", command=MODELS),
    "figure_10": replace(POSTHOC_PANELS, number="7", benchmarks=IMAGENET),
    "figure_11": Item(beside.kind_panels, "4", benchmarks=DOMAINNET, what="Where the head starts: "
        "change of reference and mean shift accuracy, in points."),
    "figure_12": Item(length_panels, "8", benchmarks=DOMAINNET, methods=("lipsum",), setting=texts,
        across=SETTINGS, command=LENGTHS, what="Accuracy of Lipsum-FT against zero-shot, in "
        "points, over the length and number of its random texts."),
    "figure_13": Item(beside.kind_panels, "10", f"{KINDS} reference.", benchmarks=DOMAINNET,
        across="reference", command=DOMAINS),
    "figure_14": Item(wise_curves, "", "Reference against mean shift test accuracy in percent "
        "along alpha, mean over seeds."),
    "figure_15": Item(calibration_panels, "2", methods_of="1", what="Expected calibration error "
        "(15 bins, %) of the reference against the mean of the shifts, a point per method."),
}
# fmt: on


def make(name: str, results: pd.DataFrame, runs: Path | str) -> Made:
    """One item by its name, e.g. table_1 or figure_4; raises ConfigError for an unknown one.

    results: the tidy results of the finished runs in the folder `runs`.
    """
    if name not in ITEMS:
        raise unknown("item", name, ITEMS)
    item = ITEMS[name]
    return item.draw(item, Ours(results, Path(runs)))


def file_name(name: str) -> str:
    """`table_1` as `table_01`, so that files lie in order."""
    kind, _, number = name.partition("_")
    return f"{kind}_{int(number):02d}"
