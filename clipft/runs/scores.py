"""What a model says of each image, and the metrics made of it. Arrays and tables only; no model is
asked here.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.splits import ScoredBy, SplitName
from ..errors import ConfigError
from ..metrics import accuracy as metrics
from ..metrics.calibration import ErrorOfBins, calibration_error
from ..metrics.comparison import Comparison, mcnemar
from ..metrics.intervals import Statistic, interval, interval_of_ratio, resampled

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pandas as pd

UNLABELLED = -1  # the label of an image whose class nobody said
REFERENCE, SHIFT, VAL, TRAINED = "reference", "shift", "val", "trained"  # roles of splits
PREDICTED = ("prediction", "confidence", "nll", "entropy", "logsumexp")
MOVED = (
    "energy_gap",
    "feature_distortion",
    "feature_distortion_normalised",
    "wise_distance",
    "wise_agreement",
)
IMAGE_COLUMNS = (
    "label",
    *PREDICTED,
    *MOVED,
    "group",
)  # of images.parquet, after split, alpha and id
TABLE_COLUMNS = [
    *("reference", "alpha", "split", "domain", "part"),
    *("role", "metric", "mean", "low", "high", "n"),
]


@dataclass(frozen=True)
class Scores:
    """What one model says of each image of one split; N images.

    prediction (N,) class index, confidence (N,) fraction, nll (N,) nats, entropy (N,) nats and
    logsumexp (N,) logits, which an older clipft did not keep, energy_gap (N,) squared logits,
    feature_distortion (N,) in units of the embedding, label (N,), ids (N). An ensemble has none of
    these two, but with one member wise_distance (N,) in logits and wise_agreement (N,), 1 where
    WiSE predicts the same. group (N,) texts, where the data set has groups.
    """

    split: str
    alpha: float
    ids: tuple[str, ...]
    label: np.ndarray
    prediction: np.ndarray
    confidence: np.ndarray
    nll: np.ndarray
    entropy: np.ndarray | None = None
    logsumexp: np.ndarray | None = None
    energy_gap: np.ndarray | None = None
    feature_distortion: np.ndarray | None = None
    feature_distortion_normalised: np.ndarray | None = None
    wise_distance: np.ndarray | None = None
    wise_agreement: np.ndarray | None = None
    group: np.ndarray | None = None

    @property
    def domain(self) -> str:
        """The domain of the split."""
        return SplitName.parse(self.split).domain

    @property
    def part(self) -> str:
        """Train, val or test."""
        return SplitName.parse(self.split).part

    @property
    def correct(self) -> np.ndarray:
        """(N,) bool: whether each prediction is right; raises ConfigError without labels."""
        if self.lacks_labels:
            wanted = "wanted: labelled ones, or clipft.shift_estimates, which needs no labels"
            raise ConfigError(f"the images of {self.split} have no labels; {wanted}")
        return self.prediction == self.label

    @property
    def lacks_labels(self) -> bool:
        """Whether the class of some image was not said."""
        return bool((np.asarray(self.label) == UNLABELLED).any())

    def without_labels(self) -> Scores:
        """The same images, and nothing that a label told of them."""
        return replace(
            self,
            label=np.full(len(self.label), UNLABELLED),
            nll=np.full(len(self.label), np.nan),
            group=None,
        )

    def columns(self, names: Sequence[str] = IMAGE_COLUMNS) -> dict[str, np.ndarray]:
        """Those of the named arrays that there are."""
        columns = {}
        for name in names:
            if getattr(self, name) is not None:
                columns[name] = getattr(self, name)
        return columns


ROWS = 1 << 18  # of images.parquet that are written, or read, at once
RESAMPLED = 1 << 20  # rows of images and alphas that are resampled at once; about 100 bytes each
Key = tuple[str, float]
"""Split and alpha."""


class ScoreStore(Sequence[Scores]):
    """Scores of several splits and alphas that are read one by one, never all of them at once."""

    keys: Sequence[Key]

    def read(self, key: Key) -> Scores:
        """The scores of one split at one alpha."""
        raise NotImplementedError

    def frames(self, key: Key) -> Iterator[pd.DataFrame]:
        """The same as rows of `to_frame`, at most ROWS of them at a time."""
        yield to_frame([self.read(key)])

    def columns(self, key: Key) -> list[str]:
        """The names of the arrays that it has."""
        return list(self.read(key).columns())

    @property
    def alphas(self) -> list[float]:
        """All of them, rising."""
        return sorted({alpha for _, alpha in self.keys})

    def among(self, keys: Sequence[Key]) -> ScoreStore:
        """The same with these keys alone."""
        fewer = copy(self)
        fewer.keys = keys
        return fewer

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self.read(key) for key in self.keys[place]]
        return self.read(self.keys[place])


class Listed(ScoreStore):
    """Scores that are in memory, or in several stores."""

    def __init__(self, scores: Sequence[Scores] | Sequence[ScoreStore]):
        self._places: dict[Key, Scores | ScoreStore] = {}
        for held in scores:
            for key in held.keys if isinstance(held, ScoreStore) else [(held.split, held.alpha)]:
                self._places[key] = held
        self.keys = list(self._places)

    def read(self, key: Key) -> Scores:
        """See `ScoreStore`."""
        held = self._places[key]
        return held.read(key) if isinstance(held, ScoreStore) else held

    def frames(self, key: Key) -> Iterator[pd.DataFrame]:
        """See `ScoreStore`."""
        held = self._places[key]
        return held.frames(key) if isinstance(held, ScoreStore) else super().frames(key)

    def columns(self, key: Key) -> list[str]:
        """See `ScoreStore`."""
        held = self._places[key]
        return held.columns(key) if isinstance(held, ScoreStore) else super().columns(key)


def as_store(scores: Sequence[Scores]) -> ScoreStore:
    """The scores themselves, or a store of those in a list."""
    return scores if isinstance(scores, ScoreStore) else Listed(scores)


def size_of_scores(ids: Sequence[str], alphas: int) -> int:
    """At most so many bytes of images.parquet are of these images: numbers as they are in memory,
    names once in every ROWS rows, and which row has which.
    """
    numbers = 8 * len(IMAGE_COLUMNS)
    places = 2 * 4
    rows = alphas * len(ids)
    written = min(alphas, -(-rows // ROWS))
    return written * sum(len(name) for name in ids) + rows * (numbers + places)


def to_frame(scores: Sequence[Scores]) -> pd.DataFrame:
    """Scores as rows (split, domain, part, alpha, id, label ...), one per image and alpha."""
    import pandas as pd

    frames = []
    for split_scores in scores:
        where = {
            "split": split_scores.split,
            "domain": split_scores.domain,
            "part": split_scores.part,
            "alpha": split_scores.alpha,
            "id": split_scores.ids,
        }
        frames.append(pd.DataFrame(where | split_scores.columns()))
    return pd.concat(frames, ignore_index=True)


def from_frame(frame: pd.DataFrame) -> list[Scores]:
    """The Scores that `to_frame` wrote, in its order."""
    scores = []
    for key, rows in frame.groupby(["split", "alpha"], sort=False, observed=True):
        split, alpha = key
        scores.append(scores_of_rows((str(split), alpha), rows))
    return scores


def scores_of_rows(key: Key, rows: pd.DataFrame) -> Scores:
    """The rows of one split at one alpha; without ids where they have no column of them."""
    names = [name for name in IMAGE_COLUMNS if name in rows.columns]
    # Of another split a column may be there: this one has none of it.
    there = [name for name in names if name != "group" or rows[name].notna().all()]
    columns = {name: rows[name].to_numpy() for name in there}
    ids = tuple(rows["id"]) if "id" in rows.columns else ()
    return Scores(*key, ids, **columns)


def with_scored_by(rows: pd.DataFrame, scored_by: ScoredBy) -> pd.DataFrame:
    """The rows of `table` with a column that says which metric their split is scored by."""
    return rows.assign(scored_by=rows["role"].map(scored_by.on))


def metric_statistic(
    metric: str, prediction: np.ndarray, label: np.ndarray, group: np.ndarray | None = None
) -> Statistic:
    """One of the `METRICS` by which data sets are scored; raises ConfigError without groups."""
    if metric == "worst_group":
        if group is None:
            raise ConfigError("the worst group needs groups, and these images were scored without")
        return metrics.worst(prediction == label, group)
    if metric == "macro_f1":
        return metrics.f1(prediction, label)
    if metric == "class_accuracy":
        return metrics.class_mean(prediction, label)
    return metrics.mean(prediction == label)


def statistics(scores: Scores) -> dict[str, Statistic]:
    """Every metric of one model on one split: accuracy, class_accuracy, macro_f1, nll, ece, the
    accuracy of the worst_group where there are groups, and the means of what else its scores hold.
    """
    measured = {
        "accuracy": metrics.mean(scores.correct),
        "class_accuracy": metrics.class_mean(scores.prediction, scores.label),
        "macro_f1": metrics.f1(scores.prediction, scores.label),
        "nll": metrics.mean(scores.nll),
        "ece": calibration_error(scores.confidence, scores.correct),
    }
    if scores.group is not None:
        measured["worst_group"] = metrics.worst(scores.correct, scores.group)
    for name, values in scores.columns(MOVED).items():
        measured[name] = metrics.mean(values)
    return measured


def measure(scores: Scores) -> dict[str, float]:
    """The values of `statistics`."""
    return {name: statistic.value for name, statistic in statistics(scores).items()}


def role_of(split: SplitName, reference: str, trained: Sequence[str] = ()) -> str:
    """What a split is to a run: val, reference, trained (another training domain) or shift."""
    if split.part == "val":
        return VAL
    if split.domain == reference:
        return REFERENCE
    return TRAINED if split.domain in trained else SHIFT


Resampled = dict[tuple[float, str], tuple[Statistic, np.ndarray]]
"""(alpha, metric) -> the statistic and its values on resamples (B,)."""
Row = tuple[float, str, float, float, float]
"""alpha, metric, value, low, high."""


def table(
    scores: Sequence[Scores],
    reference: str,
    trained: Sequence[str] = (),
    told: ScoredBy = ScoredBy(),
) -> pd.DataFrame:
    """Tidy rows with TABLE_COLUMNS, see `role_of`. [low, high]: 95 % over images, BCa.

    relative_accuracy, of the shifts, is against the reference test split at the same alpha: of what
    the data set is scored by, see `told`.
    ece_debiased is the ECE less what noise adds to it (`ErrorOfBins`); both have one interval.

    Each split is resampled by itself, with the same draws at every alpha and for every model: two
    models differ by the same images, two splits do not hang together.
    """
    import pandas as pd

    store = as_store(scores)
    by_split: dict[str, list[Key]] = {}
    for key in store.keys:
        by_split.setdefault(key[0], []).append(key)

    base: Resampled = {}
    for of_some, _ in _resampled_in_parts(
        store, by_split.get(str(SplitName(reference, "test")), [])
    ):
        for (alpha, metric), measured in of_some.items():
            if metric == told.reference:
                base[alpha, metric] = measured

    rows = []
    for split, keys in by_split.items():
        name = SplitName.parse(split)
        role = role_of(name, reference, trained)
        where = (split, name.domain, name.part, role)
        for of_some, size in _resampled_in_parts(store, keys):
            lines = _rows_of(of_some)
            if role == SHIFT:
                lines += _relative_accuracy(of_some, base, told)
            rows += [(reference, alpha, *where, *line, size) for alpha, *line in lines]
    frame = pd.DataFrame(rows, columns=TABLE_COLUMNS)
    return frame.sort_values("alpha", kind="stable", ignore_index=True)


def _resampled_in_parts(store: ScoreStore, keys: Sequence[Key]) -> Iterator[tuple[Resampled, int]]:
    """`resampled_statistics` of one split at some alphas at a time, and the number of its images.

    As many as have RESAMPLED rows together: a part draws the resamples again.
    """
    waiting: list[Scores] = []
    for key in keys:
        waiting.append(store.read(key))
        size = len(waiting[-1].label)
        if (len(waiting) + 1) * size > RESAMPLED or key == keys[-1]:
            yield resampled_statistics(key[0], waiting), size
            waiting = []


def resampled_statistics(split: str, of_split: Iterable[Scores]) -> Resampled:
    """Every metric of one split at every alpha, all on the same resamples of its images."""
    by_key = {}
    for scores in of_split:
        for name, statistic in statistics(scores).items():
            by_key[scores.alpha, name] = statistic
    # The split's name is the seed: another split of as many images has other draws.
    draws = resampled(by_key, seed=zlib.crc32(split.encode()))
    return {key: (statistic, draws[key]) for key, statistic in by_key.items()}


def _rows_of(measured: Resampled) -> list[Row]:
    """Every metric with its interval; behind ece the debiased one."""
    rows = []
    for (alpha, metric), (statistic, draws) in measured.items():
        low, high = interval(statistic, draws)
        rows.append((alpha, metric, statistic.value, low, high))
        if metric == "ece":
            debiased = ErrorOfBins.of(statistic).debiased
            rows.append((alpha, "ece_debiased", debiased, low, high))
    return rows


def _relative_accuracy(shift: Resampled, reference: Resampled, told: ScoredBy) -> list[Row]:
    """Accuracy under shift over reference accuracy, at each alpha where the latter is not 0.

    Accuracy is what the data set is scored by.
    """
    rows = []
    for alpha in dict.fromkeys(alpha for alpha, _ in shift):
        above = shift.get((alpha, told.shift))
        below = reference.get((alpha, told.reference))
        if above is None or below is None or not below[0].value:
            continue
        ratio = metrics.relative_accuracy(above[0].value, below[0].value)
        rows.append((alpha, "relative_accuracy", ratio, *interval_of_ratio(above, below)))
    return rows


def compare(first: Scores, second: Scores) -> Comparison:
    """McNemar's test of two models on one split. Raises ConfigError where they saw other images."""
    if first.split != second.split or first.ids != second.ids:
        raise ConfigError(
            f"{first.split} ({len(first.ids)} images) and {second.split} ({len(second.ids)})"
            " are not the same images"
        )
    return mcnemar(first.correct, second.correct)
