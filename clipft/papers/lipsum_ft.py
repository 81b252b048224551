"""Every table and figure of the Lipsum-FT paper (arXiv:2404.00860), drawn from our runs, the paper's numbers beside.

Each item is a function of our results table and the folder of the runs. What the tables hold was read in the paper and
lies in data_manifests/published/lipsum_ft.csv. The paper's text was not at hand when this was written: what its figures
show, and the numbers 5 to 15 above all, are from memory. A figure here answers the same question as the paper's; it is
not a copy of its layout. No result stands in this file.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import figures
from ..disk.files import read_json
from ..errors import unknown
from ..posthoc.registry import POSTHOC
from ..reports.energy_map import energy_map
from ..runs.names import is_ensemble, title_of
from ..runs.reading import distortion_table
from ..runs.table import wide
from .beside import (
    Made,
    after_training,
    by_kind,
    by_shift,
    caption,
    chosen,
    hollow,
    one_kind,
    our_points,
    paper_points,
    source,
    table,
    titled,
)
from .published import published_rows

if TYPE_CHECKING:
    import pandas as pd

ABLATION = {  # the loss and the texts with which a method ties the tuned model to the zero-shot one
    "kd": "KLD, class head",
    "car": "KLD, context",
    "kld_random": "KLD, random texts",
    "mse_class": "MSE, class head",
    "mse_context": "MSE, context",
    "lipsum": "MSE, random texts",
}
SOUPS = {
    "uniform_soup",
    "greedy_soup",
    "greedy_ensemble",
}  # an output_ensemble of one run is the run itself
LENGTHS = "`clipft train method=lipsum text_count=M text_length=L`, each M and L into the same runs folder"
DOMAINS = "`clipft train reference=DOMAIN`, each domain and method into the same runs folder"
MODELS = "`clipft train model=NAME pretrained=TAG`, each model and method into the same runs folder"
AFTER = (
    "`clipft combine tpgm RUN` and `clipft combine tpgm_c RUN mu=...` on runs of FT and Lipsum-FT"
)
NO_PAPER = "The paper's numbers of this item are not in data_manifests/published/, so none stand beside ours."


def _config(runs: Path | str, run: str) -> dict[str, Any]:
    """A run's configuration, for what the results table does not hold; empty where its folder is not there."""
    file = Path(runs) / run / "config.json"
    return read_json(file) if file.is_file() else {}


# --- tables


def table_1(results: pd.DataFrame, runs: Path | str) -> Made:
    """Test accuracy (%) of every method on the reference and under shift."""
    own = chosen(one_kind(results), titled("1", results))
    return table("Accuracy of every method on the reference and under shift.", "1", results, own)


def table_2(results: pd.DataFrame, runs: Path | str) -> Made:
    """Calibration of the same models: NLL (nats) and ECE (%, 15 bins)."""
    own = chosen(one_kind(results), titled("1", results))
    what = "Calibration of every method: NLL in nats and ECE in percent, lower is better."
    return table(what, "2", results, own, measures=("nll", "ece"))


def table_3(results: pd.DataFrame, runs: Path | str) -> Made:
    """The ablation {KLD, MSE} x {class head, context, random texts}, test accuracy (%)."""
    own = chosen(one_kind(results), list(ABLATION), lambda run: ABLATION[_method(results, run)])
    what = "Which loss on which texts: accuracy of the six combinations."
    return table(what, "3", results, own, benchmarks=(), paper=NO_PAPER)


def table_4(results: pd.DataFrame, runs: Path | str) -> Made:
    """A probed head, LP-FT, FT and FT from a zero head, test accuracy (%)."""
    own = chosen(one_kind(results), titled("4", results))
    return table(
        "Where the head starts: accuracy of LP, LP-FT, FT and Scratch-FT.", "4", results, own
    )


def table_5(results: pd.DataFrame, runs: Path | str) -> Made:
    """Table 1 for other models, a block per model; test accuracy (%). Ours where the runs hold several models."""
    several = results.model.nunique() > 1
    own = _per_kind(results, titled("5", results)) if several else {}
    what = "Accuracy of every method with other models (those of a single model are table 1's)."
    return table(what, "5", results, own, "" if several else MODELS)


def table_6(results: pd.DataFrame, runs: Path | str) -> Made:
    """WiSE, TPGM and TPGM-C on FT and Lipsum-FT, the paper's on DomainNet; test accuracy (%)."""
    return _post_hoc_table("6", "domainnet", results, runs)


def table_7(results: pd.DataFrame, runs: Path | str) -> Made:
    """WiSE, TPGM and TPGM-C on FT and Lipsum-FT, the paper's on ImageNet; test accuracy (%)."""
    return _post_hoc_table("7", "imagenet", results, runs)


def table_8(results: pd.DataFrame, runs: Path | str) -> Made:
    """Lipsum-FT with other lengths L (tokens) and numbers M of random texts a step; test accuracy (%).

    L and M are in the runs' configurations, not in the results table.
    """
    own = chosen(one_kind(results), ["lipsum"], lambda run: _texts(runs, run))
    what = "Lipsum-FT by length L (tokens) and number M (a step) of its random texts: accuracy."
    return table(what, "8", results, own if len(own) > 1 else {}, LENGTHS if len(own) < 2 else "")


def table_9(results: pd.DataFrame, runs: Path | str) -> Made:
    """The ablation {KLD, MSE} x {context, random texts}, test accuracy (%)."""
    names = [name for name, about in ABLATION.items() if "class" not in about]
    own = chosen(one_kind(results), names, lambda run: ABLATION[_method(results, run)])
    order = " The paper's ablation-row-2 and -3 are KLD on random texts and MSE on context; which is which is not known."
    return table("Which loss on which texts: accuracy." + order, "9", results, own)


def table_10(results: pd.DataFrame, runs: Path | str) -> Made:
    """Table 1 tuned on other domains, a block per reference; test accuracy (%). Ours where there are several."""
    several = results.reference.nunique() > 1
    own = _per_kind(results, titled("10", results)) if several else {}
    what = (
        "Accuracy when another domain is the reference (runs of a single reference are table 1's)."
    )
    return table(what, "10", results, own, "" if several else DOMAINS, benchmarks=("domainnet",))


def table_11(results: pd.DataFrame, runs: Path | str) -> Made:
    """Generalised zero-shot on CUB: accuracy (%) on seen and unseen classes, and their harmonic mean."""
    command = (
        "`clipft train manifest=FILE` with a manifest whose train list has the seen classes alone, then "
        "clipft.reports.gzsl_table(RUN, unseen)"
    )
    what = "Generalised zero-shot: accuracy on seen classes (S), unseen classes (U) and their harmonic mean (H)."
    return table(what, "11", results, {}, command, benchmarks=("cub",))


def _method(results: pd.DataFrame, run: str) -> str:
    return results.method[results.run == run].iloc[0]


def _texts(runs: Path | str, run: str) -> str:
    """The variant of the paper's table 8 that a run is, as written there; empty where its folder is not there."""
    config = _config(runs, run)
    return f"L={config['text_length']}, M={config['text_count']}" if config else ""


def _per_kind(results: pd.DataFrame, methods: list[str]) -> dict[str, str]:
    """`chosen`, of each kind of runs."""
    found: dict[str, str] = {}
    for _, kind in results.groupby(["manifest", "model", "reference"]):
        found |= chosen(kind, methods)
    return found


def _mu(runs: Path | str, run: str) -> str:
    """The mu of a TPGM-C run; empty for all others."""
    after = _config(runs, run).get("after") or {"name": ""}
    return (
        f"mu={after['options'].get('mu', POSTHOC['tpgm_c'].options['mu'])}"
        if after["name"] == "tpgm_c"
        else ""
    )


def _post_hoc(results: pd.DataFrame) -> list[str]:
    known = {f"{base}{after}" for base in ("ft", "lipsum") for after in ("", "+tpgm", "+tpgm_c")}
    return [name for name in results.method.unique() if name in known]


def _post_hoc_table(number: str, benchmark: str, results: pd.DataFrame, runs: Path | str) -> Made:
    names = _post_hoc(one_kind(results))
    own = chosen(results, names, lambda run: _mu(runs, run))
    what = "FT and Lipsum-FT with WiSE at every alpha, TPGM and TPGM-C: accuracy (the paper's WiSE and TPGM are of FT)."
    alphas = sorted((one for one in results.alpha.unique() if one > 0), reverse=True)
    command = "" if any("+" in name for name in names) else AFTER
    return table(what, number, results, own, command, benchmarks=(benchmark,), alphas=alphas)


# --- figures


def figure_2(results: pd.DataFrame, runs: Path | str) -> Made:
    """Reference against each shift over learning rates and steps, in points against zero-shot; paper: table 1."""
    return by_shift(results, "1", "domainnet")


def figure_3(results: pd.DataFrame, runs: Path | str) -> Made:
    """Feature distortion ||F - F0|| of reference against shifted images, a panel per shift. Opens the runs."""
    tuned = one_kind(results)[~results.method.map(is_ensemble) & (results.alpha == 1.0)]
    found = distortion_table([Path(runs) / run for run in tuned.run.unique()])
    what = "Mean feature distortion (no unit) of reference test images against that of each shift, a point per run."
    return Made(figures.distortion(found), caption(what, tuned, NO_PAPER))


def figure_4(results: pd.DataFrame, runs: Path | str) -> Made:
    """Energy gap (squared logits) against relative accuracy (a ratio) with Pearson's r, a panel per shift."""
    tuned = one_kind(results)[~results.method.map(is_ensemble)]
    what = "Energy gap in squared logits against relative accuracy (shift / reference), a point per run; r is Pearson's."
    return Made(figures.energy_gap(tuned), caption(what, tuned, NO_PAPER))


def figure_5(results: pd.DataFrame, runs: Path | str) -> Made:
    """t-SNE maps of energy vectors before and after FT and Lipsum-FT (axes have no unit). Opens two runs."""
    own = chosen(one_kind(results), ["ft", "lipsum"])
    firsts = [results[results.recipe == recipe].iloc[0] for recipe in own]
    maps = {title_of(row.method): energy_map(Path(runs) / row.run) for row in firsts}
    what = "t-SNE of the energy vectors of the first 100 images of every test split, zero-shot and tuned; no unit."
    used = results[results.run.isin([row.run for row in firsts])]
    if not maps:
        return Made(
            figures.nothing("no run of FT or Lipsum-FT"),
            caption(what, used, NO_PAPER, "`clipft train`"),
        )
    parts = {name: figures.energy_map(one) for name, one in maps.items()}
    return Made(
        figures.join(parts, "Energy vectors, zero-shot and tuned", 2), caption(what, used, NO_PAPER)
    )


def figure_6(results: pd.DataFrame, runs: Path | str) -> Made:
    """WiSE, TPGM and TPGM-C from FT and Lipsum-FT, in points against zero-shot; paper: table 6, DomainNet."""
    return _post_hoc_paths("6", "domainnet", results, runs)


def figure_7(results: pd.DataFrame, runs: Path | str) -> Made:
    """Soups and greedy ensembles beside the methods they are made of, in points against zero-shot."""
    names = one_kind(results).method.unique()
    made = [name for name in names if {*name.split("+")[1:]} & SOUPS]
    ours = results[results.method.isin([*made, *(name.split("+")[0] for name in made)])]
    what = "Soups and ensembles beside their members: change of reference and mean shift accuracy, points, a mark per run."
    command = (
        "" if made else "`clipft combine greedy_soup RUN RUN ...`, and so with greedy_ensemble"
    )
    shown = (
        figures.trade_off(ours)
        if made
        else figures.nothing("no soup and no greedy ensemble among these runs")
    )
    return Made(shown, caption(what, ours, NO_PAPER, command))


def figure_8(results: pd.DataFrame, runs: Path | str) -> Made:
    """Figure 2 with the paper's ImageNet numbers (table 1)."""
    return by_shift(results, "1", "imagenet")


def figure_9(results: pd.DataFrame, runs: Path | str) -> Made:
    """The trade-off of other models, a panel each, in points against zero-shot; paper: table 5, DomainNet."""
    return _trade_offs(results, "5", "model", MODELS)


def figure_10(results: pd.DataFrame, runs: Path | str) -> Made:
    """Figure 6 with the paper's ImageNet numbers (table 7)."""
    return _post_hoc_paths("7", "imagenet", results, runs)


def figure_11(results: pd.DataFrame, runs: Path | str) -> Made:
    """LP, LP-FT, FT and Scratch-FT, in points against zero-shot, a panel per model; paper: table 4, DomainNet."""
    ours = one_kind(results)[results.method.isin(titled("4", results))]
    return by_kind(
        "Where the head starts: change of reference and mean shift accuracy, in points.", ours, "4"
    )


def figure_12(results: pd.DataFrame, runs: Path | str) -> Made:
    """Accuracy over the length L (tokens) and the number M of random texts, in points; paper: table 8, DomainNet."""
    import pandas as pd

    own = chosen(one_kind(results), ["lipsum"], lambda run: _texts(runs, run))
    ours = results[results.recipe.isin(own)] if len(own) > 1 else results.iloc[:0]
    points = hollow(paper_points("8", "domainnet")).assign(
        label=lambda rows: rows.label.str.replace(";", ", ")
    )
    if len(ours):
        mine = our_points(ours).query("alpha == 1.0")
        points = pd.concat([points, mine.assign(label=mine.recipe.map(own))])
    points = points.join(points.label.str.extract(r"L=(?P<L>\d+), M=(?P<M>\d+)").astype(float))
    panels = {}
    for varied, fixed, name in (("L", "M", "tokens in a text, L"), ("M", "L", "texts a step, M")):
        part = points[points[fixed] == points[fixed].mode()[0]].sort_values(varied)
        both = [
            part.assign(name=kind, y=part[key])
            for key, kind in (("x", "reference"), ("y", "mean shift"))
        ]
        rows = pd.concat(both).assign(x=lambda rows, key=varied: rows[key])
        panels[name] = figures.lines(
            rows, f"{name} (log)", "accuracy, against zero-shot (points)", log=True
        )
    what = "Accuracy of Lipsum-FT against zero-shot, in points, over the length and number of its random texts."
    shown = figures.join(panels, "Random texts: how long, how many", columns=2)
    return Made(shown, caption(what, ours, source("8"), "" if len(ours) else LENGTHS))


def figure_13(results: pd.DataFrame, runs: Path | str) -> Made:
    """The trade-off on other reference domains, a panel each, in points against zero-shot; paper: table 10."""
    return _trade_offs(results, "10", "reference", DOMAINS)


def figure_14(results: pd.DataFrame, runs: Path | str) -> Made:
    """The WiSE curve of every recipe: reference against mean shift accuracy (%)."""
    what = "Reference against mean shift test accuracy in percent along alpha, mean over seeds."
    return Made(figures.wise_curves(results), caption(what, results, NO_PAPER))


def figure_15(results: pd.DataFrame, runs: Path | str) -> Made:
    """Calibration: ECE (%) on the reference against mean ECE under shift; paper: table 2."""
    import pandas as pd

    own = chosen(one_kind(results), titled("1", results))
    rows = wide(results[results.recipe.isin(own)])
    rows = rows[rows.alpha.isin([0.0, 1.0]) & (rows.role != "val")]
    called = rows.method.map(title_of).where(rows.alpha == 1.0, "Zero-shot")
    mean = 100 * rows.groupby([called.rename("name"), "role"]).ece.mean().unstack()
    ours = pd.DataFrame({"x": mean.reference, "y": mean["shift"], "name": mean.index, "label": ""})
    panels = {}
    for benchmark in ("domainnet", "imagenet"):
        given = published_rows("2", benchmark, metric="ece")
        at = given.split == given.reference
        both = [100 * given[one].groupby("method", sort=False)["mean"].mean() for one in (at, ~at)]
        theirs = pd.DataFrame({"x": both[0], "y": both[1], "name": both[0].index, "label": ""})
        points = pd.concat([theirs.assign(published=True), ours.assign(published=False)])
        panels[f"hollow: {benchmark}"] = figures.lines(
            points, "ECE on the reference (%)", "mean ECE under shift (%)"
        )
    what = "Expected calibration error (15 bins, %) of the reference against the mean of the shifts, a point per method."
    used = results[results.recipe.isin(own)]
    return Made(figures.join(panels, "Calibration", 2), caption(what, used, source("2")))


def _trade_offs(results: pd.DataFrame, number: str, column: str, command: str) -> Made:
    """A panel per model or reference; command: what makes more of them, said where there is one alone."""
    ours = results[results.method.isin(titled(number, results))]
    what = f"Change of reference and mean shift accuracy against zero-shot, in points, a panel per {column}."
    return by_kind(what, ours, number, "" if results[column].nunique() > 1 else command)


def _post_hoc_paths(number: str, benchmark: str, results: pd.DataFrame, runs: Path | str) -> Made:
    names = _post_hoc(one_kind(results))
    used = results[results.recipe.isin(chosen(results, names, lambda run: _mu(runs, run)))]
    what = "WiSE, TPGM and TPGM-C from FT and Lipsum-FT: change of reference and mean shift accuracy, in points."
    command = "" if any("+" in name for name in names) else AFTER
    return Made(
        after_training(used, number, benchmark), caption(what, used, source(number), command)
    )


ITEMS = {
    item.__name__: item
    for item in (
        table_1,
        table_2,
        table_3,
        table_4,
        table_5,
        table_6,
        table_7,
        table_8,
        table_9,
        table_10,
        table_11,
        figure_2,
        figure_3,
        figure_4,
        figure_5,
        figure_6,
        figure_7,
        figure_8,
        figure_9,
        figure_10,
        figure_11,
        figure_12,
        figure_13,
        figure_14,
        figure_15,
    )
}


def make(name: str, results: pd.DataFrame, runs: Path | str) -> Made:
    """One item by its name, e.g. table_1 or figure_4; raises ConfigError for an unknown one."""
    if name not in ITEMS:
        raise unknown("item", name, ITEMS)
    return ITEMS[name](results, runs)


def file_name(name: str) -> str:
    """`table_1` as `table_01`, so that files lie in order."""
    kind, _, number = name.partition("_")
    return f"{kind}_{int(number):02d}"
