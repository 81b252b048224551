"""Accuracy of runs under shift, guessed without the shift's labels: which ways there are, and what
each says. The formulas are `metrics.without_labels`; how well they did is `track_record`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from ..config import ZERO_SHOT
from ..data.made_shifts import that_count
from ..data.splits import ScoredBy, SplitName
from ..errors import ConfigError, first_line, unknown
from ..metrics import without_labels as formulas
from ..metrics.intervals import RESAMPLES
from ..metrics.without_labels import Estimate
from ..progress import progress_bar
from .about import about
from .run import Run, open_runs
from .scores import SHIFT, Scores, ScoreStore, role_of

if TYPE_CHECKING:
    import pandas as pd

Need = Literal["confidence", "entropy", "energy_gap", "zero_shot", "models", "settings"]
KIND = ("manifest_digest", "model_digest", "reference")  # alike in models that are one set
ABOUT = ("run", "recipe", "method", "lr", "steps", "seed")
COLUMNS = [
    *(*ABOUT, *KIND, "alpha", "split", "estimator", "value", "estimate", "low", "high"),
    *("accuracy", "n", "val_accuracy", "val_n", "why"),
]


@dataclass(frozen=True)
class Observed:
    """What an estimator may look at: labelled val, the shift without labels, zero-shot's too.

    moved: alpha x lr x steps, how far a run went by its settings. resamples: of images, 0 for no
    interval.
    """

    val: Scores
    shift: Scores
    zero_shot: Scores | None = None
    moved: float = np.nan
    resamples: int = RESAMPLES

    def __post_init__(self) -> None:
        object.__setattr__(self, "shift", self.shift.without_labels())
        if self.zero_shot is not None:
            object.__setattr__(self, "zero_shot", self.zero_shot.without_labels())


@dataclass(frozen=True)
class Estimator:
    """One way to guess: `estimate(scores, unlabelled)`.

    estimates: whether it says an accuracy, or only orders models. function: of one model; none
    where it takes a set of them (`needs` says so).
    """

    name: str
    title: str
    paper: str
    formula: str
    function: Callable[[Observed], Estimate] | None = None
    needs: tuple[Need, ...] = ()
    estimates: bool = True

    def __post_init__(self) -> None:
        for need in self.needs:
            if need not in get_args(Need):
                raise unknown(f"need of {self.name}", need, get_args(Need))

    def lacks(self, observed: Observed) -> str:
        """What it needs and does not see, in words; "" where it sees all."""
        val, shift = observed.val, observed.shift
        if "models" in self.needs:
            return "agreement on the line needs several models: clipft.shift_estimates(RUNS)"
        if "entropy" in self.needs and (val.entropy is None or shift.entropy is None):
            return "scored by an older clipft, which kept no entropy: clipft wise RUN scores anew"
        if "energy_gap" in self.needs and (shift.energy_gap is None or val.energy_gap is None):
            return "an ensemble, or a model without a text tower, has no energy gap"
        if "zero_shot" in self.needs and observed.zero_shot is None:
            return "zero-shot was not scored: clipft wise RUN --alpha 0"
        return ""

    def estimate(
        self,
        scores: Scores,
        unlabelled: Scores,
        zero_shot: Scores | None = None,
        *,
        moved: float = np.nan,
        resamples: int = RESAMPLES,
    ) -> Estimate:
        """The guess for one model: its scores on val and on the shift, labels of which are taken
        away before anything is looked at; zero_shot: of the same images of the shift.

        What is in the way stands in `why`, and all else is nan. Raises ConfigError where the zero-
        shot model saw other images.
        """
        if zero_shot is not None and zero_shot.ids != unlabelled.ids:
            counts = f"{len(zero_shot.ids)} and {len(unlabelled.ids)}"
            raise ConfigError(
                f"{unlabelled.split}: zero-shot and tuned saw other images ({counts})"
            )
        observed = Observed(scores, unlabelled, zero_shot, moved, resamples)
        why = self.lacks(observed)
        if why or self.function is None:
            return Estimate(why=why)
        return self.function(observed)


def _atc(seen: Observed) -> Estimate:
    return formulas.average_thresholded_confidence(
        seen.val.confidence, seen.val.correct, seen.shift.confidence, seen.resamples
    )


def _atc_entropy(seen: Observed) -> Estimate:
    certainty = [-np.asarray(scores.entropy) for scores in (seen.val, seen.shift)]
    return formulas.average_thresholded_confidence(
        certainty[0], seen.val.correct, certainty[1], seen.resamples
    )


def _doc(seen: Observed) -> Estimate:
    return formulas.difference_of_confidences(
        seen.val.confidence, seen.val.correct, seen.shift.confidence, seen.resamples
    )


def _mean_confidence(seen: Observed) -> Estimate:
    return formulas.mean_confidence(seen.shift.confidence, seen.resamples)


def _val_accuracy(seen: Observed) -> Estimate:
    return formulas.val_accuracy(seen.val.correct, seen.resamples)


def _agreement(seen: Observed) -> Estimate:
    other = seen.zero_shot or seen.shift
    return formulas.agreement(seen.shift.prediction, other.prediction)


def _energy_gap(seen: Observed) -> Estimate:
    return formulas.lowest_mean(np.asarray(seen.shift.energy_gap))


def _val_gap(seen: Observed) -> Estimate:
    return formulas.lowest_mean(np.asarray(seen.val.energy_gap))


def _entropy(seen: Observed) -> Estimate:
    return formulas.lowest_mean(np.asarray(seen.shift.entropy))


def _moved(seen: Observed) -> Estimate:
    return Estimate(-seen.moved)


OURS = "ours"
_ESTIMATORS = (
    Estimator(
        "val_accuracy", "Validation accuracy", "-", "accuracy on val, as if nothing shifted",
        _val_accuracy,
    ),
    Estimator(
        "atc", "ATC, confidence", "arXiv:2201.04234",
        "share(confidence >= tau), tau: share(val confidence < tau) = val error",
        _atc, needs=("confidence",),
    ),
    Estimator(
        "atc_entropy", "ATC, negative entropy", "arXiv:2201.04234",
        "the same with minus entropy for confidence", _atc_entropy, needs=("entropy",),
    ),
    Estimator(
        "doc", "Difference of confidences", "arXiv:2107.03315",
        "val accuracy - (mean val confidence - mean shift confidence)",
        _doc, needs=("confidence",),
    ),
    Estimator(
        "mean_confidence", "Mean confidence", "arXiv:1610.02136",
        "mean confidence under shift", _mean_confidence, needs=("confidence",),
    ),
    Estimator(
        "aline_s", "Agreement on the line, S", "arXiv:2206.13089",
        "Phi(k Phi^-1(val accuracy) + b), k and b of all pairs' agreements", needs=("models",),
    ),
    Estimator(
        "aline_d", "Agreement on the line, D", "arXiv:2206.13089",
        "least squares over pairs, see metrics.without_labels.agreement_line", needs=("models",),
    ),
    Estimator(
        "agreement", "Agreement with zero-shot", OURS,
        "share of shifted images that tuned and zero-shot predict alike",
        _agreement, needs=("zero_shot",), estimates=False,
    ),
    Estimator(
        "energy_gap", "Energy gap under shift", "arXiv:2404.00860",
        "- mean energy gap of shifted images", _energy_gap, needs=("energy_gap",), estimates=False,
    ),
    Estimator(
        "entropy", "Entropy under shift", "-", "- mean entropy of shifted images",
        _entropy, needs=("entropy",), estimates=False,
    ),
    Estimator(
        "val_gap", "Energy gap on val", "arXiv:2404.00860", "- mean energy gap of val images",
        _val_gap, needs=("energy_gap",), estimates=False,
    ),
    Estimator(
        "moved", "Smallest alpha x lr x steps", OURS, "- alpha x lr x steps: looks at no image",
        _moved, needs=("settings",), estimates=False,
    ),
)  # fmt: skip
ESTIMATORS: Mapping[str, Estimator] = {each.name: each for each in _ESTIMATORS}
LINES = ("aline_s", "aline_d")  # of AgreementLine: simple, joint


def estimator_of(name: str) -> Estimator:
    """One of ESTIMATORS; raises ConfigError with the nearest name."""
    if name not in ESTIMATORS:
        raise unknown("estimator", name, ESTIMATORS)
    return ESTIMATORS[name]


@dataclass(frozen=True)
class Asked:
    """What is to be estimated: by which estimators, at which alphas (None: all that are scored),
    with how many resamples, and whether agreement on the line is refused where its premise fails.
    """

    estimators: Sequence[Estimator]
    alphas: Sequence[float] | None = None
    resamples: int = RESAMPLES
    refuse: bool = True


@dataclass(frozen=True)
class _Shown:
    """One model on one shift: its row so far, and what it says there and on val."""

    row: dict[str, Any]
    val: Scores
    shift: Scores
    zero_shot: Scores | None


def shift_estimates(
    runs: Any,
    alphas: Sequence[float] | None = None,
    *,
    estimators: Sequence[str] = tuple(ESTIMATORS),
    beside: Mapping[str, ScoreStore] | None = None,
    resamples: int = RESAMPLES,
    refuse: bool = True,
) -> pd.DataFrame:
    """Accuracy under every shift as each estimator guesses it, and the true one beside it.

    Labels of a shift are taken away before an estimator sees its images; the true accuracy is
    counted afterwards, for comparison. No estimate knows whether its assumption holds on a shift:
    its interval is of images alone.

    Arguments:
        runs: a Run, its folder, a list, or a folder of runs; agreement on the line is between all
            of them that have one data set, model and reference, at all these alphas.
        alphas: 0 zero-shot ... 1 tuned; None: all that are scored.
        estimators: names of `clipft.runs.shift_estimates.ESTIMATORS`.
        beside: of `score_beside`: run -> scores of more images, which may have no labels.
        resamples: of images, for intervals; 0: none.
        refuse: agreement on the line is told only where its premise holds: agreement rises with
            agreement on val, and so does accuracy on the other shifts whose labels are known.

    Returns:
        Of the runs that are scored a row per alpha, split and estimator: value (models are ordered
        by it, larger is better), estimate with low and high (fractions; nan of what only orders),
        accuracy (the true one, nan without labels), n, val_accuracy, val_n, and why there is no
        value.

    Raises:
        ConfigError: for an unknown estimator, runs without val images or without a shift.
        RunError: where single images were not scored.

    Example:
        >>> table = clipft.shift_estimates("runs", [1], resamples=100)
        >>> of_atc = table[table.estimator == "atc"]
        >>> bool(of_atc.estimate.between(of_atc.low, of_atc.high).all())
        True
    """
    import pandas as pd

    chosen = [estimator_of(name) for name in estimators]
    asked = Asked(chosen, alphas, resamples, refuse)
    of_one = [estimator for estimator in chosen if "models" not in estimator.needs]
    opened = _scored(open_runs(runs))
    sets: dict[tuple[str, ...], list[_Shown]] = {}
    rows = []
    for run in progress_bar(opened, "estimates", "run", show=len(opened) > 4):
        for shown in _shown_by(run, asked, (beside or {}).get(run.id)):
            rows += _rows_of(shown, of_one, asked)
            if len(of_one) < len(chosen):
                key = (*(shown.row[name] for name in KIND), shown.row["split"])
                sets.setdefault(key, []).append(shown)
    lines_r = {key: _accuracy_r(models) for key, models in sets.items()}
    for key, models in sets.items():
        rows += _rows_of_set(models, asked, _of_others(key, lines_r))
    if not rows:
        wanted = "wanted: alphas that are scored, and a shift or images beside"
        raise ConfigError(f"nothing to estimate in {len(opened)} runs; {wanted}")
    table = pd.DataFrame(rows, columns=COLUMNS)
    order = {name: place for place, name in enumerate(ESTIMATORS)}
    by = ["run", "alpha", "split", "estimator"]
    return table.sort_values(
        by, key=lambda column: column.map(order) if column.name == "estimator" else column,
        kind="stable", ignore_index=True,
    )  # fmt: skip


def _scored(runs: Sequence[Run]) -> list[Run]:
    """Those of which single images were scored; raises RunError without any."""
    scored = [run for run in runs if run.folder.images_file.exists()]
    if not scored:
        runs[0].folder.images()  # which says what to do
    return scored


def _shown_by(run: Run, asked: Asked, beside: ScoreStore | None) -> Iterator[_Shown]:
    """A run on each of its shifts, and on the images beside, at each alpha."""
    store = run.folder.image_scores()
    settings = about(run.folder, ScoredBy())
    row = {name: settings[name] for name in ABOUT}
    row |= {name: settings.get(name, "") for name in KIND} | {"reference": run.reference}
    val = f"{run.reference}/val"
    if val not in {split for split, _ in store.keys}:
        lack = f"{run.folder} has no scores on {val}, held-out images with labels"
        raise ConfigError(f"{lack}; hold some of train out: holdout: 0.2 in its manifest")

    zero_shot: dict[str, Scores] = {}
    shifts = _shifts_of(run, store) | _all_of(beside)
    for alpha in store.alphas:
        if asked.alphas is not None and alpha not in asked.alphas:
            continue
        of_val = store.read((val, alpha))
        for split, held in shifts.items():
            if (split, alpha) not in held.keys:
                continue
            if split not in zero_shot and (split, ZERO_SHOT) in held.keys:
                zero_shot[split] = held.read((split, ZERO_SHOT))
            where = row | {"alpha": alpha, "split": split}
            yield _Shown(where, of_val, held.read((split, alpha)), zero_shot.get(split))


def _shifts_of(run: Run, store: ScoreStore) -> dict[str, ScoreStore]:
    """The splits of a run that are shifts, and where their scores are."""
    shifts = {}
    for split, held in _all_of(store).items():
        name = SplitName.parse(split)
        if role_of(name, run.reference, run.config.train_domains) == SHIFT:
            shifts[split] = held
    return shifts


def _all_of(store: ScoreStore | None) -> dict[str, ScoreStore]:
    """Every split of a store, if there is one, and where its scores are."""
    if store is None:
        return {}
    return {split: store for split, _ in store.keys}


def _known(shown: _Shown) -> dict[str, Any]:
    """The columns of a row that no estimator sees, but for val."""
    shift, val = shown.shift, shown.val
    accuracy = np.nan if shift.lacks_labels else float(shift.correct.mean())
    of_val = {"val_accuracy": float(val.correct.mean()), "val_n": len(val.label)}
    return shown.row | {"accuracy": accuracy, "n": len(shift.label)} | of_val


def _said(name: str, estimate: Estimate) -> dict[str, Any]:
    columns = {"estimator": name, "value": estimate.value, "estimate": estimate.accuracy}
    return columns | {"low": estimate.low, "high": estimate.high, "why": estimate.why}


def _rows_of(shown: _Shown, estimators: Sequence[Estimator], asked: Asked) -> list[dict[str, Any]]:
    """What each estimator of one model says."""
    row = shown.row
    moved = row["alpha"] * row["lr"] * row["steps"]
    known = _known(shown)
    rows = []
    for estimator in estimators:
        estimate = estimator.estimate(
            shown.val, shown.shift, shown.zero_shot, moved=moved, resamples=asked.resamples
        )
        rows.append(known | _said(estimator.name, estimate))
    return rows


def _apart(shown: Sequence[_Shown]) -> tuple[list[_Shown], list[_Shown]]:
    """The zero-shot model as each run has it, and all others."""
    models: list[_Shown] = []
    zero_shot: list[_Shown] = []
    for each in shown:
        of_kind = zero_shot if each.row["alpha"] == ZERO_SHOT else models
        of_kind.append(each)
    return zero_shot, models


def _accuracy_r(shown: Sequence[_Shown]) -> float:
    """r of accuracies on val and on this shift, in probits; nan where its labels are not known."""
    accuracies = []
    zero_shot, models = _apart(shown)
    for each in [*zero_shot[:1], *models]:
        if each.shift.lacks_labels:
            return np.nan
        accuracies.append((each.val.correct.mean(), each.shift.correct.mean()))
    return formulas.line_of_accuracies(*np.array(accuracies).T)


def _of_others(key: tuple[str, ...], lines_r: Mapping[tuple[str, ...], float]) -> float:
    """The mean of r over the other shifts of a set of models; nan where none is known."""
    told = []
    for other, r in lines_r.items():
        if other[:-1] == key[:-1] and other != key and not np.isnan(r):
            told.append(r)
    return float(np.mean(told)) if told else np.nan


def _rows_of_set(shown: Sequence[_Shown], asked: Asked, accuracy_r: float) -> list[dict[str, Any]]:
    """What agreement on the line says of a set of models; zero-shot is one of them, once.

    accuracy_r: of accuracies on other shifts, see `metrics.without_labels.agreement_line`.
    """
    zero_shot, models = _apart(shown)
    of_set = [*zero_shot[:1], *models]
    estimates = _line_estimates(of_set, asked, accuracy_r)
    # Every run has the same zero-shot model.
    of_each = [*estimates[:1]] * len(zero_shot) + estimates[min(1, len(zero_shot)) :]
    names = [estimator.name for estimator in asked.estimators if "models" in estimator.needs]
    rows = []
    for each, of_model in zip([*zero_shot, *models], of_each, strict=True):
        known = _known(each)
        rows += [known | _said(name, of_model[LINES.index(name)]) for name in names]
    return rows


def _line_estimates(
    models: Sequence[_Shown], asked: Asked, accuracy_r: float
) -> list[tuple[Estimate, Estimate]]:
    """ALine-S and ALine-D of each model."""
    try:
        correct, val, shift = _predictions(models)
        found = formulas.agreements(correct, val, shift)
        if asked.refuse:
            line = formulas.agreement_line(found, accuracy_r)
        else:
            line = formulas.fitted_line(found)
    except ConfigError as error:
        refused = Estimate(why=first_line(error))
        return [(refused, refused)] * len(models)

    draws = np.empty((0, 2, len(models)))
    if asked.resamples:
        draws = formulas.line_draws(correct, val, shift, min(asked.resamples, formulas.WITHIN))
    values = np.stack([line.simple, line.joint])  # (2, M)
    ends = np.full((2, *values.shape), np.nan)
    if len(draws):
        ends = np.quantile(draws, [0.025, 0.975], axis=0)
    estimates = []
    for model in range(len(models)):
        both = []
        for kind in range(2):
            value = float(values[kind, model])
            low, high = (float(end) for end in ends[:, kind, model])
            both.append(Estimate(value, value, low, high))
        estimates.append((both[0], both[1]))
    return estimates


def _predictions(models: Sequence[_Shown]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Correct and predictions on val, (M, N), and predictions on the shift, (M, S).

    Raises ConfigError where they saw other images.
    """
    first = models[0]
    for each in models:
        for scores, others in ((each.val, first.val), (each.shift, first.shift)):
            if scores.ids != others.ids:
                lack = f"models saw other images of {scores.split}"
                raise ConfigError(f"agreement on the line is of the same images, but {lack}")
    correct = np.stack([each.val.correct for each in models])
    val = np.stack([each.val.prediction for each in models])
    return correct, val, np.stack([each.shift.prediction for each in models])


def agreements(table: pd.DataFrame, splits: Sequence[str] = ()) -> pd.DataFrame:
    """Agreement with zero-shot of each run and alpha, for the rule of that name.

    Arguments:
        table: of `shift_estimates`.
        splits: of which images; (): of all, but of made shifts only where there are no others.
            Each of several counts as much as another.

    Returns:
        run, alpha, agreement (a fraction): a row per run and alpha.

    Raises:
        ConfigError: where it was not estimated.
    """
    rows = table[(table.estimator == "agreement") & table.value.notna()]
    if not len(splits):
        domain_of = {split: SplitName.parse(split).domain for split in rows["split"].unique()}
        wanted_domains = set(that_count(domain_of.values()))
        splits = [split for split, domain in domain_of.items() if domain in wanted_domains]
    rows = rows[rows["split"].isin(splits)]
    if rows.empty:
        wanted = "wanted: shift_estimates with alpha 0 and the estimator agreement"
        raise ConfigError(f"no agreement with zero-shot is in the table; {wanted}")
    return rows.groupby(["run", "alpha"]).value.mean().rename("agreement").reset_index()
