"""Our runs beside a paper's numbers: the rows and points of both, and the caption that says which is which."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from .. import figures
from ..errors import ConfigError
from ..posthoc.registry import POSTHOC
from ..runs.names import ordered, title_of
from ..runs.table import KIND, best_by_val, recipes, wide
from .published import published_rows

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

MEASURES = {
    "accuracy": ("accuracy (%)", 100, 1),
    "nll": ("NLL (nats)", 1, 2),
    "ece": ("ECE (%)", 100, 1),
}
GAIN = "reference accuracy, against zero-shot (points)"
SHIFT = "mean shift accuracy, against zero-shot (points)"


class Made(NamedTuple):
    """One item: its figure, its caption, and the rows of a table by block (a figure has none)."""

    figure: go.Figure
    caption: str
    rows: Mapping[str, pd.DataFrame] = {}


def chosen(
    results: pd.DataFrame, methods: Sequence[str], variant: Callable[[str], str] = lambda run: ""
) -> dict[str, str]:
    """Recipe -> its setting in a table: of each method, and variant of a run, the best by reference validation."""
    found = {}
    for method in ordered([name for name in results.method.unique() if name in methods]):
        part = results[results.method == method]
        names = part.run.map({run: variant(run) for run in part.run.unique()})
        for name in sorted(names.unique(), key=lambda text: (len(text), text)):
            recipe = best_by_val(part[names == name])[method]
            row = part[part.recipe == recipe].iloc[0]
            found[recipe] = name or f"lr {row.lr:g}, {row.steps} steps"
    return found


def titled(number: str, results: pd.DataFrame) -> list[str]:
    """Our methods that the paper's table of this number has too, by their titles."""
    titles = set(published_rows(number).method)
    return [name for name in results.method.unique() if title_of(name) in titles]


def _cell(mean: float, std: float, measure: str) -> str:
    _, factor, digits = MEASURES[measure]
    text = f"{factor * mean:.{digits}f}"
    return text if std != std else f"{text} ± {factor * std:.{digits}f}"  # NaN: there is none


def _our_blocks(
    results: pd.DataFrame, own: Mapping[str, str], measure: str, alphas: Sequence[float]
) -> dict:
    """A block per kind: zero-shot, then a row per recipe and alpha, mean ± standard deviation over seeds."""
    import pandas as pd

    blocks = {}
    for _, kind in results[results.recipe.isin(own)].groupby(KIND):
        tests = wide(kind).query("role != 'val'")
        first, reference = kind.iloc[0], kind.reference.iloc[0]
        splits = sorted(
            tests.split.unique(), key=lambda name: (name.split("/")[0] != reference, name)
        )
        zero = tests[tests.alpha == 0]
        lines = [("Zero-shot", "", zero[zero.run == zero.run.iloc[0]])] if len(zero) else []
        for recipe in [name for name in own if name in set(tests.recipe)]:
            part = tests[tests.recipe == recipe]
            method = part.method.iloc[0]
            swept = len(alphas) > 1 and "+" not in method
            for alpha in [one for one in (alphas if swept else [1.0]) if one in set(part.alpha)]:
                called = (
                    (title_of(f"{method}+wise"), f"alpha={alpha}")
                    if swept
                    else (title_of(method), own[recipe])
                )
                lines.append((*called, part[part.alpha == alpha]))
        rows = []
        for method, setting, part in lines:
            by_shift = part[part.role == "shift"].groupby("run")[measure].mean()
            values = {split.split("/")[0]: part[part.split == split][measure] for split in splits}
            cells = {name: _cell(one.mean(), one.std(), measure) for name, one in values.items()}
            cells["mean shift"] = _cell(by_shift.mean(), by_shift.std(), measure)
            head = {
                "source": "ours",
                "method": method,
                "setting": setting,
                "seeds": str(part.run.nunique()),
            }
            rows.append(head | cells)
        label = f"{first.manifest}, {first.model}, reference {reference}"
        if first.selection != "holdout":
            label += f", selection {first.selection}"
        blocks[f"Ours: {label}: {MEASURES[measure][0]}"] = pd.DataFrame(rows)
    return blocks


def _paper_rows(number: str, benchmark: str, measure: str = "accuracy") -> pd.DataFrame:
    """`published_rows` with `again`: 1 where a row stands in the table twice, as table 8's default does."""
    rows = published_rows(number, benchmark, metric=measure)
    keys = ["model", "reference", "method", "variant", "split"]
    return rows.assign(again=rows.groupby(keys).cumcount())


def _paper_blocks(number: str, benchmark: str, measure: str) -> dict:
    """A block per model and reference of one of the paper's tables; the mean over its shifts is taken here."""
    import pandas as pd

    blocks = {}
    given = _paper_rows(number, benchmark, measure)
    for (model, reference), kind in given.groupby(["model", "reference"], sort=False):
        rows = []
        for (method, variant, _), part in kind.groupby(["method", "variant", "again"], sort=False):
            part = part.sort_values("split", key=lambda split: split != reference, kind="stable")
            cells = {
                row.split: _cell(row.mean, row.std, measure)
                for row in part.itertuples(index=False, name="Row")
            }
            if benchmark != "cub":  # seen, unseen and their harmonic mean are no shifts
                cells["mean shift"] = _cell(
                    part[part.split != reference]["mean"].mean(), float("nan"), measure
                )
            rows.append(
                {
                    "source": "paper",
                    "method": method,
                    "setting": variant.replace(";", ", "),
                    **cells,
                }
            )
        frame = pd.DataFrame(rows)
        frame = frame if (frame.setting != "").any() else frame.drop(columns="setting")
        title = f"Paper, table {number}: {benchmark}, {model}, reference {reference}: {MEASURES[measure][0]}"
        blocks[title] = frame
    return blocks


def caption(what: str, used: pd.DataFrame, paper: str, command: str = "") -> str:
    """What is shown; of our runs how many, seeds, images; where the paper's numbers are from; what makes more."""
    if len(used):
        counts = used.groupby("recipe").seed.nunique(), used[used.role != "val"].n
        seeds, images = (
            f"{n.min()}" if n.min() == n.max() else f"{n.min()} to {n.max()}" for n in counts
        )
        kinds = "; ".join(
            " on ".join(kind) for kind in used[["model", "manifest"]].drop_duplicates().to_numpy()
        )
        runs = f"Ours: n = {used.run.nunique()} runs ({kinds})"
        ours = f"{runs}, seeds a recipe: {seeds}, test images a split: {images}."
    else:
        ours = "Ours: none (n = 0 runs, no seeds)."
    more = f" {'For the rest' if len(used) else 'To make them'}: {command}." if command else ""
    return f"{what} {ours}{more} {paper}"


def source(number: str, marked: str = "Hollow") -> str:
    """Where the paper's numbers are from, and how they are marked."""
    return f"{marked}: Lipsum-FT's table {number}; another model and data set, so compare directions, not sizes."


def table(
    what: str,
    number: str,
    results: pd.DataFrame,
    own: Mapping[str, str],
    command: str = "",
    benchmarks: Sequence[str] = ("domainnet", "imagenet"),
    measures: Sequence[str] = ("accuracy",),
    alphas: Sequence[float] = (1.0,),
    paper: str = "",
) -> Made:
    """Our recipes of `chosen` and the paper's table of this number; paper: a caption where it has none."""
    rows: dict[str, pd.DataFrame] = {}
    for measure in measures:
        rows |= _our_blocks(results, own, measure, alphas)
    for benchmark in benchmarks:
        for measure in measures:
            rows |= _paper_blocks(number, benchmark, measure)
    used = results[results.recipe.isin(own)]
    if len(used):
        what += " Mean ± standard deviation over seeds; of each method the recipe best on held-out reference images."
    shown = (
        figures.blocks(rows) if rows else figures.nothing("no runs of ours, no published numbers")
    )
    return Made(
        shown,
        caption(what, used, paper or source(number, "Rows marked paper, ± its own"), command),
        rows,
    )


def one_kind(results: pd.DataFrame) -> pd.DataFrame:
    """The same results; raises ConfigError where runs of several kinds are mixed."""
    wide(results)
    return results


def our_points(results: pd.DataFrame) -> pd.DataFrame:
    """`tables.recipes` against zero-shot, in points: a row per recipe and alpha, mean over seeds."""
    rows = recipes(results)
    zero = rows[rows.alpha == 0].set_index("recipe")
    rows = rows[rows.recipe.isin(zero.index)].sort_values(["recipe", "alpha"])
    if rows.empty:
        raise ConfigError("no run is scored at alpha 0 and 1: clipft wise RUN")
    for column in ("reference_accuracy", "shift_accuracy"):
        rows[column] = 100 * (rows[column].to_numpy() - zero.loc[rows.recipe, column].to_numpy())
    return rows.rename(columns={"reference_accuracy": "x", "shift_accuracy": "y"}).assign(
        published=False
    )


def paper_points(number: str, benchmark: str, shift: str = "") -> pd.DataFrame:
    """Method, variant, model, domain (tuned on), reference and shift accuracy, with each kind's row Zero-shot.

    Fractions; shift: one split alone, else the mean of all. A table without zero-shot takes it from table 4: it does
    not depend on what is tuned on.
    """
    import pandas as pd

    zero = _paper_rows("4", benchmark).query("method == 'Zero-shot'")
    given, rows = _paper_rows(number, benchmark).query("method != 'Zero-shot'"), []
    for (model, domain), kind in given.groupby(["model", "reference"], sort=False):
        start = zero[zero.model == model].assign(reference=domain)
        for (method, variant, _), part in pd.concat([start, kind]).groupby(
            ["method", "variant", "again"], sort=False
        ):
            mean = part.set_index("split")["mean"]
            others = mean.drop(domain)
            rows.append(
                (
                    method,
                    variant,
                    model,
                    domain,
                    mean[domain],
                    others[shift] if shift else others.mean(),
                )
            )
    return pd.DataFrame(
        rows, columns=["method", "variant", "model", "domain", "reference", "shift"]
    )


def hollow(points: pd.DataFrame) -> pd.DataFrame:
    """`paper_points` of tuned models against their zero-shot, as `figures.lines` wants them."""
    keys = ["model", "domain"]
    zero = points[points.method == "Zero-shot"].set_index(keys)
    tuned = points[points.method != "Zero-shot"]
    start = zero.loc[list(zip(*(tuned[key] for key in keys), strict=True))]
    moved = {"x": "reference", "y": "shift"}
    moved = {
        to: 100 * (tuned[column].to_numpy() - start[column].to_numpy())
        for to, column in moved.items()
    }
    return tuned.assign(**moved, name=tuned.method, label=tuned.variant, published=True)


def by_shift(results: pd.DataFrame, number: str, benchmark: str) -> Made:
    """The trade-off on each of our shifts and on their mean; the paper's points where the split is the paper's too."""
    ours = one_kind(results)[results.method.isin(titled(number, results))]
    panels = {}
    for split in sorted(ours[ours.role == "shift"].split.unique()):
        domain = split.split("/")[0]
        theirs = (
            paper_points(number, benchmark, domain) if (ours.manifest == benchmark).all() else None
        )
        panels[domain] = figures.trade_off(
            ours[(ours.role != "shift") | (ours.split == split)], theirs
        )
    points = paper_points(number, benchmark)
    mean = (
        figures.trade_off(ours, points) if len(ours) else figures.lines(hollow(points), GAIN, SHIFT)
    )
    panels["mean of shifts"] = mean.update_layout(xaxis_title=GAIN, yaxis_title=SHIFT)
    for domain in [*panels][:-1]:
        panels[domain].update_layout(
            xaxis_title=GAIN, yaxis_title=f"accuracy on {domain}, against zero-shot (points)"
        )
    shown = figures.join(
        panels, f"Reference against shift; hollow: {benchmark}, published", columns=2
    )
    what = "Change of reference and of shift test accuracy against zero-shot, in points, a mark per run; lines join the "
    return Made(
        shown, caption(what + "learning rates and steps of a method.", ours, source(number))
    )


def by_kind(what: str, ours: pd.DataFrame, number: str, command: str = "") -> Made:
    """The trade-off of each kind of our runs, a mark per recipe, and of each of the paper's models and references."""
    theirs = hollow(paper_points(number, "domainnet"))
    parts = {}
    for _, kind in ours.groupby(KIND):
        mine = our_points(kind).query("alpha == 1.0").sort_values(["lr", "steps"])
        label = "lr " + mine.lr.astype(str) + ", " + mine.steps.astype(str) + " steps"
        parts[f"ours: {kind.model.iloc[0]}, {kind.reference.iloc[0]}"] = mine.assign(
            name=mine.method.map(title_of), label=label
        )
    for (model, domain), kind in theirs.groupby(["model", "domain"], sort=False):
        parts[f"paper: {model}, {domain}"] = kind
    panels = {
        name: figures.lines(part, GAIN, SHIFT, names=theirs.name.unique())
        for name, part in parts.items()
    }
    shown = figures.join(
        panels, "Reference against shift (hollow: DomainNet, published)", columns=2
    )
    return Made(shown, caption(what, ours, source(number), command))


def after_training(used: pd.DataFrame, number: str, benchmark: str) -> go.Figure:
    """WiSE curves and other post-hoc methods, ours and the paper's, whose WiSE and TPGM without a method are of FT."""
    import pandas as pd

    after = {entry.title for entry in POSTHOC.values()}
    theirs = hollow(paper_points(number, benchmark))
    parts = [
        theirs.assign(
            name=theirs.method.map(lambda name: f"FT + {name}" if name in after else name)
        )
    ]
    if len(used):
        mine = our_points(used)
        made = mine.method.str.contains("+", regex=False)
        mine, made = mine[(mine.alpha == 1.0) | ~made], made[(mine.alpha == 1.0) | ~made]
        called = (mine.method + "+wise").where(~made, mine.method).map(title_of)
        parts = [mine.assign(name=called, label="alpha " + mine.alpha.astype(str)), *parts]
    every = pd.concat(parts)
    both = {"ours and the paper's": every, "the paper's alone": every[every.published]}
    panels = {
        name: figures.lines(part, GAIN, SHIFT, names=every.name.unique())
        for name, part in both.items()
    }
    return figures.join(panels, f"After training (hollow: {benchmark}, published)", columns=2)
