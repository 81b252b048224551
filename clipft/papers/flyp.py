"""Every table and figure of FLYP (arXiv:2212.00638), its values beside ours.

The paper itself we do not have: what its items show was read in its slides, in two summaries and in
its release, and what was inferred is called so. Its numbers lie in `data_manifests/published/`. No
result stands in this file.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pandas as pd

from ..figures.curves import CHOSEN, END, MIXTURE, START, Drawing
from . import curves, tables
from .item import SETTINGS, Item, Made, Ours
from .paper import Paper

DRAWING = Drawing(
    symbols={START: "diamond", MIXTURE: "circle", CHOSEN: "star"},
    names={
        START: "Zero-shot",
        CHOSEN: "best in-distribution validation",
        END: "tuned, without ensembling",
    },
)
WITH_END = replace(DRAWING, symbols={**DRAWING.symbols, END: "square"})


# --- which runs, and what tells them apart


def shots(config: dict[str, Any]) -> int:
    """Training images per class of a run; 0: all."""
    return config.get("shots", 0)


def few_shot(config: dict[str, Any]) -> bool:
    """Whether a run saw some images of each class alone."""
    return shots(config) > 0


def full(config: dict[str, Any]) -> bool:
    """Whether a run saw all training images."""
    return shots(config) == 0


def by_shots(_method: str, config: dict[str, Any]) -> str:
    """The k of a few-shot run."""
    return f"k={shots(config)}"


AS_IS = "as FLYP"
MASKED = "same class masked"
FIXED = "one fixed prompt"


def ablation(_method: str, config: dict[str, Any]) -> str:
    """What a run of FLYP does otherwise."""
    changes = []
    if config.get("options", {}).get("mask"):
        changes.append(MASKED)
    if config.get("captions") == "fixed":
        changes.append(FIXED)
    return ", ".join(changes) if changes else AS_IS


def lacks_ablations(item: Item, ours: Ours) -> bool:
    """Whether one of the changes has no run."""
    settings = set(item.recipes(ours).values())
    return not item.has_every_method(item.runs(ours)) or not {AS_IS, MASKED, FIXED} <= settings


# --- figures


def ensembling_curves(item: Item, ours: Ours, drawing: Drawing, title: str) -> Made:
    """A weight-ensembling curve of each method's best recipe, and the paper's points."""
    used = ours.of(item.recipes(ours))
    parts = {}
    if len(used):
        parts[f"ours: {used.manifest.iloc[0]}"] = curves.our_curves(used)
    if item.number:
        (benchmark,) = item.benchmarks
        parts[f"paper: {benchmark}"] = curves.published_curve(item, benchmark)
    return curves.draw(item, ours, parts, drawing, title)


def few_shot_curves(item: Item, ours: Ours) -> Made:
    """The same for runs of a few images per class, a panel per k."""
    k_of_recipe = item.recipes(ours)
    parts: dict[str, pd.DataFrame] = {}
    for k in sorted(set(k_of_recipe.values()), key=len):
        used = ours.of([recipe for recipe, own in k_of_recipe.items() if own == k])
        parts[f"ours: {used.manifest.iloc[0]}, {k}"] = curves.our_curves(used)
    return curves.draw(item, ours, parts, DRAWING, "Weight ensembling after few-shot tuning")


# --- the items

# fmt: off
IMAGENET = ("imagenet",)
CURVES = ("ft", "l2sp", "lp_ft", "flyp")
RUNS = "into the same runs folder"
MEANS = "means over seeds, of each method the recipe best on held-out reference images"
FULL = Item(partial(ensembling_curves, drawing=DRAWING, title="Weight ensembling"), "slides",
    benchmarks=IMAGENET, methods=CURVES, only=full,
    command=f"`clipft train method=ft`, and so with l2sp, lp_ft and flyp, {RUNS}",
    what="Weight-ensembling curves of FT, L2-SP, LP-FT and FLYP: reference accuracy (to the right) "
    f"against mean shift accuracy (up), in percent; {MEANS}. Diamond: zero-shot; star: the mixture "
    "with the best in-distribution validation accuracy. Which axis is which is inferred. Of the "
    "paper (ViT-B/16) its zero-shot model and its FT without ensembling.")

ITEMS = {
    "curves_full": FULL,
    "curves_few_shot": replace(FULL, draw=few_shot_curves, number="", only=few_shot,
        setting=by_shots, command=f"`clipft train method=ft shots=4`, and so with l2sp, lp_ft and "
        f"flyp, {RUNS}", what="The same curves after tuning on k images per class, a panel per k; "
        f"the paper's is ImageNet with k = 4. In percent; {MEANS}. Which axis is which is "
        "inferred."),
    "id_ood": Item(tables.table, "slides", benchmarks=IMAGENET, methods=("ft",), only=full,
        command="`clipft train method=ft`", what="Zero-shot and FT without ensembling: accuracy on "
        "the reference and under shift. The paper's model is ViT-B/16, its mean that of V2, R, A, "
        "Sketch and ObjectNet (inferred)."),
    "wilds": Item(tables.table, "slides", benchmarks=("iwildcam", "fmow"), measures=("wilds",),
        methods=("ft", "lp_ft", "flyp"), only=full, command=f"`clipft train method=ft`, `lp_ft` "
        f"and `flyp` {RUNS}", what="Zero-shot, FT, LP-FT and FLYP on iWildCam and FMoW, in and "
        "out of distribution: macro F1 of iWildCam and of ours; of FMoW accuracy, and under shift "
        "that of the worst region. The paper's model is ViT-B/16; its metrics are inferred from "
        "how these benchmarks are scored."),
    "state_of_the_art": Item(tables.table, "slides-sota", benchmarks=("iwildcam",),
        measures=("wilds",), methods=("flyp",), only=full, models_as_rows=True,
        command="`clipft train method=flyp`", what="iWildCam: FLYP with ViT-L/14 at 336 pixels "
        "beside the leaderboard of its time, macro F1 in percent (inferred), in and out of "
        "distribution."),
    "ablation_curves": replace(FULL, draw=partial(ensembling_curves, drawing=WITH_END,
        title="What FLYP's gain is made of"), number="", methods=(*CURVES, "flyp_image", "flyp_ce"),
        command=f"`clipft train method=flyp_image` and `flyp_ce`, and all of curves_full, {RUNS}",
        unknown="on which data set", what="Weight-ensembling curves as in curves_full, with FLYP "
        "whose language model is frozen (image tower) and FLYP with cross-entropy over both towers "
        f"(CE), in percent; {MEANS}. Square: the tuned model without ensembling. The paper asks "
        "whether its gain is due to tuning both towers alone, or to the image tower alone. Which "
        "axis is which is inferred."),
    "ablations": Item(tables.table, "", methods=("flyp", "flyp_with_ce"), setting=ablation,
        only=full, lacks=lacks_ablations, command="`clipft train method=flyp options.mask=true`, "
        f"`clipft train method=flyp captions=fixed` and `clipft train method=flyp_with_ce`, {RUNS}",
        what="FLYP as it is, without the negatives of the same class, with one fixed prompt, and "
        "with a cross-entropy term: accuracy."),
    "few_shot": Item(tables.table, "", methods=("ft", "lp_ft", "flyp"), only=few_shot,
        setting=by_shots, across=SETTINGS, command=f"`clipft train method=flyp shots=4`, and so "
        f"with 16 and 32, ft and lp_ft, {RUNS}", what="Tuning on k images per class, in the paper "
        "4, 16 and 32, on few-shot and transfer data sets: accuracy."),
}
# fmt: on

PAPER = Paper("flyp", "FLYP", "arXiv:2212.00638", ITEMS)
