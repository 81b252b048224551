"""Every table and figure of Lipsum-FT (arXiv:2404.00860) by its number, its values beside ours.

An item is a row of `ITEMS`. What the tables hold was read in the paper and lies in
`data_manifests/published/`; what the figures show was read in its text, not seen: axes and messages
are the paper's, and where its drawing is not known the caption says so. No result stands in this
file.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd

from ..config import TUNED, ZERO_SHOT
from ..errors import ClipftError
from ..figures.distortion import distortion_bars_figure
from ..figures.energy_gap import Choice, energy_gap_figure
from ..figures.energy_map import energy_map_figure
from ..figures.images import contact_sheet_figure
from ..figures.overview import overview_figure
from ..figures.panels import empty_figure, join_panels
from ..figures.style import runs_and_seeds
from ..methods import POSTHOC
from ..runs.names import title_of
from ..runs.run import Run
from . import planes, tables
from .item import ALL, COMBINATIONS, HARMONIC, SETTINGS, Item, Made, Ours
from .paper import Paper

# The loss and the texts with which a method ties the tuned model to the zero-shot one.
ABLATION = {
    "car": "KLD, fixed texts (contexts)", "mse_context": "MSE, fixed texts (contexts)",
    "kld_random": "KLD, random texts", "lipsum": "MSE, random texts",
}  # fmt: skip
BASELINES = ("ft", "ema", "l2sp", "kd", "car", "lipsum")
DEFAULT_ALPHA = 0.8  # of WiSE where one point stands for it; the paper's is 0.9 or 0.8


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


def has_frozen_head(config: dict[str, Any]) -> bool:
    """Whether a run tuned the tower below the zero-shot head alone, as table 11 does."""
    return config.get("head") == "frozen"


# --- items that need more than a row


def overview(item: Item, _ours: Ours) -> Made:
    """The regulariser as a drawing; it has no data."""
    return item.made(overview_figure(), used=None)


def distortion_bars(item: Item, ours: Ours) -> Made:
    """Feature distortion of the reference beside that of each shift, a panel per model."""
    used = item.runs(ours)
    rows = used[(used.metric == "feature_distortion") & (used.alpha == TUNED)]
    panels = {}
    for model, kind in rows.groupby("model"):
        panels[str(model)] = distortion_bars_figure(kind)
    if not panels:
        return item.made(empty_figure("no run of these methods"), used, command=item.command)
    title = "Feature distortion by tuning, reference beside shifts"
    figure = join_panels(panels, title)
    return item.made(figure, used, command=item.missing(ours), drawn=rows)


def energy_gap_panels(item: Item, ours: Ours) -> Made:
    """Energy gap against relative accuracy with Pearson's r, a panel per shift."""
    results = item.runs(ours)
    tuned = results[results.alpha == TUNED]
    mixed = sorted(set(results.alpha) - {ZERO_SHOT, TUNED}, key=lambda a: abs(a - DEFAULT_ALPHA))
    parts = [tuned]
    if mixed:
        wise = results[(results.method == "ft") & (results.alpha == mixed[0])]
        # A model of its own beside the run that it is made of.
        parts.append(
            wise.assign(method="ft+wise", alpha=TUNED, run=wise.run + f", alpha {mixed[0]:g}")
        )
    every = pd.concat(parts, ignore_index=True)
    if every.empty:
        return item.made(empty_figure("no run of these methods"), every, command=item.command)
    shown = every[every.metric.isin(["energy_gap", "relative_accuracy"])]
    about = runs_and_seeds(results) + (", FT's once more as WiSE" if mixed else "")
    figure = energy_gap_figure(every, choice=Choice(about=about))
    return item.made(figure, results, drawn=shown)


def energy_maps(item: Item, ours: Ours) -> Made:
    """Energy vectors before and after tuning in one map; opens the first run of each method."""
    from ..reports.energy_map import energy_map

    firsts = [ours.of([recipe]).iloc[0] for recipe in item.recipes(ours)]
    panels = {}
    for first in firsts:
        places = energy_map(ours.folder / first.run)
        panels[title_of(first.method)] = energy_map_figure(places, places="both")
    used = ours.results[ours.results.run.isin([first.run for first in firsts])]
    if not panels:
        return item.made(empty_figure("no run of these methods"), used, command=item.command)
    figure = join_panels(panels, "Energy vectors, zero-shot (grey) and tuned", columns=2)
    return item.made(figure, used)


def contact_sheets(item: Item, ours: Ours) -> Made:
    """Images of every data set among our runs: a row per domain, a column per class."""
    from ..data.images import sample_tiles

    used = ours.results
    firsts = dict(zip(used.manifest, used.run, strict=True))
    panels = {}
    why = "no runs"
    for data, run in firsts.items():
        try:
            manifest = Run.open(ours.folder / run).manifest
            names, tiles = sample_tiles(manifest, classes=8)
        except ClipftError as error:
            why = str(error)
            continue
        panels[data] = contact_sheet_figure(tiles, names, title=manifest.title)
    if not panels:
        return item.made(empty_figure(why), used, command=item.command)
    if len(panels) == 1:
        return item.made(next(iter(panels.values())), used)
    return item.made(join_panels(panels, "Images of every data set", columns=1), used)


# --- the items

# fmt: off
DOMAINNET = ("domainnet",)
IMAGENET = ("imagenet",)
RUNS = "into the same runs folder"
LENGTHS = f"`clipft train method=lipsum text_count=M text_length=L`, each M and L {RUNS}"
MODELS = f"`clipft train model=NAME pretrained=TAG`, each model and method {RUNS}"
DOMAINS = f"`clipft train reference=DOMAIN`, each domain and method {RUNS}"
TUNING = f"`clipft train method=ft lr=...` and `steps=...`, each learning rate and length {RUNS}"
HEADS = f"`clipft train method=ft`, `lp_ft` and `scratch_ft` {RUNS}"

FT_FAMILIES = Item(planes.families, "1", benchmarks=DOMAINNET, methods=("ft",), command=TUNING,
    unknown="the learning rates and lengths, nor whether a shift or their mean is meant",
    what="FT alone, tuned more and more: reference accuracy (up) against mean shift accuracy (to "
    "the right), in percent. The star is the zero-shot model. Of the paper, its one FT.")
DISTORTION = Item(distortion_bars, "", methods=("ft",), benchmarks=DOMAINNET,
    unknown="what stands to the right, bars or boxes, raw or unit features",
    what="Mean Euclidean distance of an image's features before and after FT, reference beside "
    "shifts; bars: mean over runs, points: runs.")
BY_MODEL = replace(DISTORTION, across="model", command=MODELS, what=DISTORTION.what
    + " A panel per model.")
BY_HEAD = replace(BY_MODEL, methods=("scratch_ft", "lp_ft", "ft"), what="Feature distortion by "
    "where the head starts: zeros, a linear probe, zero-shot. A panel per model.")
GAP = Item(energy_gap_panels, "", benchmarks=DOMAINNET, command="`clipft train`",
    methods=(*BASELINES, "ft+tpgm"),
    unknown="which axis is which, nor of which images the gap is",
    what="Energy gap (squared logits) against relative accuracy (shift / reference), a panel per "
    "shift, a point per run, WiSE of FT at its scored alpha nearest 0.8; r is Pearson's.")
POSTHOC_TABLE = Item(tables.table, "6", benchmarks=DOMAINNET, across=COMBINATIONS, setting=mu,
    alphas=True, against=("FT + WiSE", "alpha=1.0"),
    methods=("ft", "ft+tpgm", "ft+tpgm_c", "lipsum", "lipsum+tpgm", "lipsum+tpgm_c"),
    command="`clipft combine tpgm RUN` and `clipft combine tpgm_c RUN mu=...` on runs of FT and "
    "Lipsum-FT", what="FT and Lipsum-FT with WiSE at every alpha, TPGM and TPGM-C: accuracy. The "
    "paper's WiSE and TPGM are of FT, their alphas inferred; its selection is `selection: paper`.")
POSTHOC_PLANE = replace(POSTHOC_TABLE, draw=planes.posthoc, what="WiSE along alpha and TPGM-C "
    "along mu, of FT and of Lipsum-FT, and Lipsum-FT alone: reference accuracy (up) against mean "
    "shift accuracy (to the right), in percent. The paper's alphas are inferred.")

ITEMS = {
    "table_1": Item(tables.table, "1", "Accuracy of every method on the reference and under "
        "shift."),
    "table_2": Item(tables.table, "2", measures=("ece", "nll"), methods_of="1", what="Calibration "
        "of every method: ECE in percent (15 bins; the paper does not say how many), then NLL in "
        "nats; lower is better."),
    "table_3": Item(tables.table, "3", csv="additional", benchmarks=DOMAINNET,
        differences=DOMAINNET, methods=tuple(ABLATION), setting=ablation, what="Which loss on "
        "which texts: accuracy, and the difference to the first row. Which of the paper's middle "
        "rows is which is likely, not said."),
    "table_4": Item(tables.table, "4", command=HEADS, what="Where the head starts: accuracy of "
        "Scratch-FT, LP-FT, FT, LP and zero-shot; the mean is that of the shifts."),
    "table_5": Item(tables.table, "5", across="model", command=MODELS, what="Accuracy of every "
        "method with other models (those of a single model are table 1's)."),
    "table_6": POSTHOC_TABLE,
    "table_7": replace(POSTHOC_TABLE, number="7", benchmarks=IMAGENET),
    "table_8": Item(tables.table, "8", methods=("lipsum",), setting=texts, across=SETTINGS,
        command=LENGTHS, what="Lipsum-FT by length L (tokens) and number M (a step) of its random "
        "texts: accuracy. L = 8, M = 80 stands twice in the paper, once with other values."),
    "table_9": Item(tables.table, "9", differences=IMAGENET, methods=tuple(ABLATION),
        setting=ablation, against=("CAR-FT", ""), what="Which loss on which texts: accuracy on "
        "ImageNet with the difference to the first row, then both scenarios with deviations. Which "
        "of the paper's middle rows is which is likely, not said."),
    "table_10": Item(tables.table, "10", benchmarks=DOMAINNET, across="reference", command=DOMAINS,
        means=(ALL,), against=("FT", ""), what="Accuracy when another domain is the reference; the "
        "mean is that of all domains, the reference among them (runs of a single reference are "
        "table 1's)."),
    "table_11": Item(tables.table, "11", benchmarks=("cub",), means=(HARMONIC,),
        methods=("ft", "car", "lipsum"), only=has_frozen_head,
        command="`clipft batch papermill_runs/cub_gzsl.yaml`", what="Generalised zero-shot: "
        "accuracy on seen classes (S), unseen classes (U) and their harmonic mean (H). The head is "
        "the zero-shot head and never trains."),
    "figure_1": Item(overview, "", has_numbers=False, unknown="its layout", what="The method: an "
        "image goes through the tower that is tuned and through the zero-shot one, random texts "
        "through the text tower; their energies are held together. It has no data."),
    "figure_2": FT_FAMILIES,
    "figure_3": DISTORTION,
    "figure_4": GAP,
    "figure_5": POSTHOC_PLANE,
    "figure_6": Item(planes.soups, "", benchmarks=DOMAINNET, across=COMBINATIONS,
        methods=("ft", "ft+greedy_soup", "ft+greedy_ensemble", "lipsum", "lipsum+greedy_soup",
                 "lipsum+greedy_ensemble"),
        command="`clipft combine greedy_soup RUN RUN ...`, and so with greedy_ensemble, of FT and "
        "of Lipsum-FT, at most four members", unknown="whether ImageNet is in it",
        what="Greedy soups (of weights) and greedy ensembles (of outputs) beside FT and Lipsum-FT: "
        "reference accuracy (up) against mean shift accuracy (to the right), in percent."),
    "figure_7": replace(FT_FAMILIES, benchmarks=IMAGENET),
    "figure_8": Item(planes.each_shift, "", methods=("ft",), command=TUNING, what="Figures 2 and 7 "
        "for each shift, in percent; below each the mean feature distortion of that shift's test "
        "images over the same models.", unknown="what stands to the right in the lower plots"),
    "figure_9": BY_MODEL,
    "figure_10": replace(BY_MODEL, benchmarks=IMAGENET),
    "figure_11": BY_HEAD,
    "figure_12": replace(BY_HEAD, benchmarks=IMAGENET),
    "figure_13": replace(GAP, benchmarks=IMAGENET),
    "figure_14": replace(POSTHOC_PLANE, number="7", benchmarks=IMAGENET),
    "figure_15": Item(energy_maps, "", methods=BASELINES, command="`clipft train`",
        unknown="colours and marks, nor how many texts the vectors have",
        what="t-SNE (scikit-learn's defaults) of the energy vectors of the first 100 images of "
        "every test split, zero-shot and tuned in one map, a map per method; no unit."),
    "figure_16": Item(contact_sheets, "", has_numbers=False, command="the data set at hand",
        unknown="which images", what="Example images of every data set among these runs: a row per "
        "domain."),
}
# fmt: on

PAPER = Paper("lipsum_ft", "Lipsum-FT", "arXiv:2404.00860", ITEMS)
