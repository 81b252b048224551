"""Every table and figure of WiSE-FT (arXiv:2109.01903), its values beside ours.

The paper itself we do not have: what its items show was read in slides, in the abstract and in its
release, and what was inferred is called so. Its numbers lie in `data_manifests/published/`. No
result stands in this file.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from ..config import TUNED
from ..errors import ClipftError
from ..figures.curves import BASELINE, CHOSEN, END, MIXTURE, START, Drawing
from ..figures.images import contact_sheet_figure
from ..figures.panels import empty_figure
from ..figures.style import domain_of
from ..figures.weight_path import path_figure
from ..runs.names import is_ensemble
from ..runs.reading import mixtures_compared
from ..runs.run import Run
from ..runs.scores import SHIFT
from . import curves, tables
from .item import BOTH, SHIFTS, Item, Made, Ours
from .paper import Paper

DRAWING = Drawing(
    symbols={START: "star", MIXTURE: "diamond-tall", END: "diamond"},
    names={START: "Zero-shot", END: "tuned", BASELINE: "models of the reference alone"},
    logit=True,
)
CLASS = "lemon"
ALPHAS = 21  # of the paper's table: 0, 0.05 ... 1
HEAD = "ft+wise_head"  # FT's tower with a head that is mixed
ENSEMBLE = "ft+output_ensemble"


def head_alpha(_method: str, config: dict[str, Any]) -> str:
    """The alpha of a run whose head was mixed; empty for all others."""
    after = config.get("after")
    if not after or after["name"] != "wise_head":
        return ""
    return f"alpha={after['options'].get('alpha', 0.5):g}"


# --- what is missing


def lacks_line(item: Item, ours: Ours) -> bool:
    """Whether a method of the item or the models of its grey line have no runs."""
    results = item.runs(ours)
    base = curves.baselines(ours, results)
    return not item.has_every_method(results) or base.run.nunique() < 2


def lacks_alphas(item: Item, ours: Ours) -> bool:
    """Whether a method has no run, or none at every alpha of the paper's table."""
    results = item.runs(ours)
    return not item.has_every_method(results) or results.alpha.nunique() < ALPHAS


# --- items that need more than a row


def effective_robustness(item: Item, ours: Ours) -> Made:
    """WiSE curves on logit axes, the line of models of the reference alone, a panel per shift."""
    (benchmark,) = item.benchmarks
    used = ours.of(item.recipes(ours))
    parts = {}
    if len(used):
        base = curves.baselines(ours, used)
        manifest = used.manifest.iloc[0]
        panels = {f"ours: {manifest}, mean of shifts": ""}
        for split in sorted(used[used.role == SHIFT].split.unique()):
            panels[f"ours: {domain_of(split)}"] = split
        for panel, split in panels.items():
            points = _as_wise(curves.our_curves(used, split))
            parts[panel] = curves.with_line(points, base, split)
    parts[f"paper: {benchmark}, mean of shifts"] = curves.published_curve(item, benchmark)
    return curves.draw(item, ours, parts, DRAWING, "WiSE-FT on logit axes")


def _as_wise(points: pd.DataFrame) -> pd.DataFrame:
    """Curves under the name of the mixture; there is no mark of what validation chose."""
    points = points[points.mark != CHOSEN]
    is_curve = points.mark != START
    points.loc[is_curve, "name"] += " + WiSE"
    return points


def classifier_curve(item: Item, ours: Ours) -> Made:
    """The curve of the linear classifier on the frozen tower; and of heads alone on FT's tower."""
    recipes = item.recipes(ours)
    used = ours.of(recipes)
    parts = {}
    if len(used):
        points = curves.our_curves(used)
        is_head = (points.method == HEAD) & (points.mark != START)
        along = _as_wise(points[~is_head])
        heads = points[is_head & (points.mark == END)]
        heads = heads.assign(mark=MIXTURE, label=heads.recipe.map(recipes))
        parts[f"ours: {used.manifest.iloc[0]}"] = pd.concat([along, heads.sort_values("label")])
    return curves.draw(item, ours, parts, DRAWING, "The classifier alone, mixed")


def domains(item: Item, ours: Ours) -> Made:
    """Images of one class on every domain of the data at hand."""
    from ..data.images import class_tiles

    used = ours.results[ours.results.run == ours.results.run.iloc[0]]
    try:
        manifest = Run.open(ours.folder / used.run.iloc[0]).manifest
        name = CLASS if CLASS in manifest.names else manifest.names[0]
        tiles = class_tiles(manifest, name, count=6)
    except ClipftError as error:
        return item.made(empty_figure(str(error)), used, command=item.command)
    columns = [""] * len(next(iter(tiles.values())))
    figure = contact_sheet_figure(tiles, columns, title=f"{manifest.title}: {name}")
    return item.made(figure, used)


def weight_and_output_space(item: Item, ours: Ours) -> Made:
    """WiSE against the output-space ensemble of the same runs along alpha, means over runs."""
    results = item.runs(ours)
    tables_of_runs = []
    used = []
    for ensemble in results[results.method.map(is_ensemble)].run.unique():
        members = ours.config(ensemble)["after"]["members"]
        if len(members) == 1 and members[0] in set(results.run):
            pair = [results[results.run == run] for run in (*members, ensemble)]
            tables_of_runs.append(mixtures_compared(*pair).assign(run=members[0]))
            used += [*members, ensemble]
    if not used:
        empty = empty_figure("no output-space ensemble among these runs")
        return item.made(empty, ours.of([]), command=item.command)

    drawn = pd.concat(tables_of_runs)
    keys = ["alpha", "split", "role"]
    means = drawn.groupby(keys).mean(numeric_only=True).reset_index()
    return item.made(path_figure(means), results[results.run.isin(used)], drawn=drawn)


# --- the items

# fmt: off
IMAGENET = ("imagenet",)
RUNS = "into the same runs folder"
MARKS = "Star: zero-shot; diamond: tuned; thin diamonds: mixtures; logit axes, ticks in percent."
MEANS = "Means over seeds, of each method the recipe best on held-out reference images."
CLASSIFIER = "`clipft train method=lp`"
FINE = "`clipft wise RUN` with the alphas between, as --alpha 0.05"

ITEMS = {
    "effective_robustness": Item(effective_robustness, "alpha (wise_ft.csv)", csv="additional",
        benchmarks=IMAGENET, methods=("ft", "lp"), only=curves.is_pretrained,
        lacks=lacks_line, command=f"`clipft train method=ft` and {CLASSIFIER} {RUNS}; for the grey "
        "line `clipft train method=scratch_ft` or `clipft train pretrained=none`, with two numbers "
        "of steps", what="WiSE from zero-shot to tuned, end to end (FT) and of the linear "
        "classifier (LP): reference accuracy (to the right) against shift accuracy (up). "
        f"{MARKS} {MEANS} Grey line: logit-linear fit through models of the reference alone, here "
        "with random weights or a head from zero (whose tower is pre-trained); the height above it "
        "is the effective robustness, dotted where it is largest. All of the drawing is inferred. "
        "Of the paper the three alphas whose averages agree (0.35, 0.85, 1)."),
    "domains": Item(domains, "", has_numbers=False, command="the data set at hand",
        unknown="which images", what="Images of one class, in the paper lemon, on the reference "
        "and on every shift: a row per domain."),
    "alphas": Item(tables.table, "alpha (wise_ft.csv)", csv="additional", benchmarks=IMAGENET,
        methods=("ft", "lp"), only=curves.is_pretrained, alphas=True, means=(SHIFTS, BOTH),
        blocks={"ft": "end to end", "lp": "linear classifier"}, lacks=lacks_alphas,
        against=("FT + WiSE", f"alpha={TUNED}"), command="`clipft train method=ft` and "
        f"{CLASSIFIER} {RUNS}, and of each {FINE}", what="WiSE at every "
        "alpha, end to end (FT) and of the linear classifier (LP): accuracy. In the paper alpha "
        "goes from 0 to 1 by 0.05 (model: ViT-B/16, inferred); of our copy only the rows are data "
        "whose two averages agree."),
    "classifier_curve": Item(classifier_curve, "", methods=("lp", HEAD), setting=head_alpha,
        only=curves.is_pretrained, command=f"{CLASSIFIER} {RUNS}, and `clipft combine wise_head "
        "RUN alpha=...` on a run of FT", what="WiSE of the classifier alone: LP on the frozen "
        "tower along alpha, and heads of several alphas on FT's tower. Reference accuracy (to the "
        f"right) against mean shift accuracy (up). {MARKS} {MEANS} The drawing is inferred."),
    "weight_and_output_space": Item(weight_and_output_space, "", methods=("ft", ENSEMBLE),
        command="`clipft combine output_ensemble RUN` on a run of FT", unknown="how it is drawn",
        what="Weights mixed (WiSE, solid) against logits mixed (output-space ensemble, dotted) "
        "along alpha, on every split; means over runs. They are equal where logits are linear in "
        "the weights along the path."),
}
# fmt: on

PAPER = Paper("wise_ft", "WiSE-FT", "arXiv:2109.01903", ITEMS)
