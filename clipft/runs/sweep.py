"""A run's scores for each image as arrays, read from its folder alone: no model, no data set, no
GPU is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from typing import TYPE_CHECKING, Any

import numpy as np

from ..config import TUNED, ZERO_SHOT
from ..data.made_shifts import is_made, key_of, that_count
from ..data.splits import ScoredBy, SplitName
from ..errors import ConfigError
from ..metrics.calibration import Reliability, ece, reliability
from .scores import Scores, metric_statistic, to_frame
from .table import reference_first

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd


@dataclass(frozen=True)
class Sweep:
    """What one run says of N images at A alphas (0 zero-shot ... 1 tuned), rising.

    Arguments:
        title: what the run is called.
        reference: its in-distribution domain.
        alphas: (A,).
        split: (N,) names.
        ids: (N,) paths of the images inside the data set.
        label: (N,) class index.
        prediction: (A, N) class index.
        confidence: (A, N) fraction.
        energy_gap: (A, N) squared logits, or None.
        group: (N,) texts, or None.
        scored_by: the metrics of its data set: what `accuracy` holds.
        classes: their names, empty where the manifest is not at hand.
        folder: the run's.
        about: its configuration.

    Example:
        >>> sweep = clipft.read_sweep(clipft.open_runs("runs")[0])
        >>> sweep.splits
        ['real/test', 'clipart/test', 'sketch/test']
        >>> sweep.accuracy_at(0.37).shape
        (3,)
        >>> lost = sweep.flips(0.4, against=0.0)["lost"]  # right before, wrong here
        >>> sweep.ids[lost].dtype.kind
        'U'
    """

    title: str
    reference: str
    alphas: np.ndarray
    split: np.ndarray
    ids: np.ndarray
    label: np.ndarray
    prediction: np.ndarray
    confidence: np.ndarray
    energy_gap: np.ndarray | None = None
    group: np.ndarray | None = None
    scored_by: ScoredBy = field(default_factory=ScoredBy)
    classes: tuple[str, ...] = ()
    folder: Path | None = None
    about: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls, scores: Sequence[Scores], reference: str, title: str = "", classes: Sequence[str] = ()
    ) -> Sweep:
        """The Scores of one model at several alphas. Raises ConfigError without alphas 0 and 1."""
        frame = to_frame(scores)
        return cls.of_frame(frame, reference=reference, title=title, classes=tuple(classes))

    @classmethod
    def of_frame(cls, frame: pd.DataFrame, *, title: str = "", **about: Any) -> Sweep:
        """The rows of `scores.to_frame`; an image that is not there at every alpha is left out.

        about: the other fields that are no arrays. Raises ConfigError without alphas 0 and 1, or
        where validation images alone were scored.
        """
        called = title or "this run"
        alphas = np.array(sorted(frame.alpha.unique()))
        if not {ZERO_SHOT, TUNED} <= set(alphas):
            raise ConfigError(
                f"a sweep needs alpha 0 and 1, {called} has {alphas.tolist()}: clipft wise RUN"
            )
        if (frame.part == "val").all():
            raise ConfigError(
                f"{called} is scored on validation images alone; a sweep needs a test split"
            )

        rows = _rows_at_each_alpha(frame, alphas)

        def at_each_alpha(name: str) -> np.ndarray:
            values = frame[name].to_numpy()
            return np.stack([values[at_alpha] for at_alpha in rows])

        gap = at_each_alpha("energy_gap") if "energy_gap" in frame else None
        if gap is not None and np.isnan(gap).all():
            gap = None
        first = frame.iloc[rows[0]]
        return cls(
            title=title,
            alphas=alphas,
            split=np.asarray(first["split"], str),
            ids=np.asarray(first["id"], str),
            label=first["label"].to_numpy(),
            prediction=at_each_alpha("prediction"),
            confidence=at_each_alpha("confidence"),
            energy_gap=gap,
            group=first["group"].to_numpy() if "group" in first else None,
            **about,
        )

    @property
    def method(self) -> str:
        """The name of its method; "" where it did not come from a run."""
        return str(self.about.get("method", ""))

    @property
    def details(self) -> tuple[str, ...]:
        """The run's id, for a line below its title; nothing where it did not come from a run."""
        return () if self.folder is None else (f"run {self.folder.name}",)

    @property
    def called(self) -> tuple[str, ...]:
        """What tells it from every other run: its title and its id."""
        return (self.title, *self.details)

    @cached_property
    def splits(self) -> list[str]:
        """Names of the test splits, the reference first; validation is for the choice of alpha."""
        names = dict.fromkeys(self.split.tolist())
        tests = [name for name in names if SplitName.parse(name).part != "val"]
        return reference_first(tests, self.reference)

    @cached_property
    def domains(self) -> list[str]:
        """The domain of each of `splits`."""
        return [SplitName.parse(split).domain for split in self.splits]

    @cached_property
    def rows(self) -> dict[str, np.ndarray]:
        """Positions of each split's images."""
        rows = {}
        for number, name in enumerate(self.splits):
            rows[name] = np.flatnonzero(self.split_number == number)
        return rows

    @cached_property
    def keys(self) -> np.ndarray:
        """(N,) what names each image among all: its id, or that of a made shift, see `key_of`.

        A made shift has the ids of the reference.
        """
        keys = self.ids.astype(object)
        for split, rows in self.rows.items():
            domain = SplitName.parse(split).domain
            if is_made(domain):
                keys[rows] = [key_of(domain, image) for image in self.ids[rows].tolist()]
        return keys.astype(str)

    @cached_property
    def split_number(self) -> np.ndarray:
        """(N,) position of each image's split in `splits`, -1 for validation images."""
        place = {name: number for number, name in enumerate(self.splits)}
        names, which = np.unique(self.split, return_inverse=True)
        places = np.array([place.get(str(name), -1) for name in names])
        return places[which]

    @cached_property
    def correct(self) -> np.ndarray:
        """(A, N) bool: whether each prediction is right."""
        return self.prediction == self.label

    @cached_property
    def accuracy(self) -> np.ndarray:
        """(A, S) fractions, one column for each of `splits`: of the data set's metric."""
        of_splits = [self.measured(split, rows) for split, rows in self.rows.items()]
        return np.stack(of_splits, 1)

    @property
    def said_of_shifts(self) -> ScoredBy:
        """`scored_by`, which also says whether all shifts are made."""
        shifts = self.domains[1:]
        return replace(self.scored_by, made=bool(shifts) and all(map(is_made, shifts)))

    def metric_of(self, split: str) -> str:
        """What a split is scored by."""
        is_reference = SplitName.parse(split).domain == self.reference
        return self.scored_by.reference if is_reference else self.scored_by.shift

    def measured(self, split: str, rows: np.ndarray) -> np.ndarray:
        """(A,) the data set's metric on images of a split, at these positions; a fraction."""
        metric = self.metric_of(split)
        if metric == "accuracy":
            return self.correct[:, rows].mean(1)
        values = []
        for prediction in self.prediction[:, rows]:
            group = None if self.group is None else self.group[rows]
            statistic = metric_statistic(metric, prediction, self.label[rows], group)
            values.append(statistic.value)
        return np.array(values)

    @property
    def counted(self) -> list[int]:
        """Positions in `splits` of the shifts over which a mean is taken."""
        counted = set(that_count(self.domains[1:]))
        return [place for place, domain in enumerate(self.domains) if domain in counted]

    @property
    def shift_accuracy(self) -> np.ndarray:
        """(A,) mean accuracy over the shifts, a fraction; not a number where there is no shift.

        Real ones alone where there are any.
        """
        shifts = self.accuracy[:, self.counted]
        return shifts.mean(1) if shifts.size else np.full(len(self.alphas), np.nan)

    @property
    def middle(self) -> float:
        """The scored alpha nearest to a half: where sliders begin."""
        return float(self.alphas[self.nearest(0.5)])

    def nearest(self, alpha: float) -> int:
        """Position of the scored alpha that is nearest."""
        return int(np.abs(self.alphas - alpha).argmin())

    def accuracy_at(self, alpha: float) -> np.ndarray:
        """(S,) accuracy at any alpha, on the line between the scored alphas beside it."""
        return np.array([np.interp(alpha, self.alphas, column) for column in self.accuracy.T])

    def flips(self, alpha: float, against: float) -> dict[str, np.ndarray]:
        """Which test images change their class between two alphas, the nearest scored ones.

        Arguments:
            alpha: where the predictions are looked at.
            against: what they are compared with.

        Returns:
            `all` positions of such images, those `gained` (wrong at `against`, right here), those
            `lost` (right at `against`, wrong here).
        """
        now = self.prediction[self.nearest(alpha)]
        then = self.prediction[self.nearest(against)]
        differs = (now != then) & (self.split_number >= 0)
        return {
            "all": np.flatnonzero(differs),
            "gained": np.flatnonzero(differs & (now == self.label)),
            "lost": np.flatnonzero(differs & (then == self.label)),
        }

    def reliability(self, split: str, alpha: float, bins: int = 15) -> Reliability:
        """The reliability diagram of one split at the nearest scored alpha."""
        return reliability(*self._confidence_and_correct(split, alpha), bins)

    def ece(self, split: str, alpha: float) -> float:
        """Expected calibration error (fraction) of one split at the nearest scored alpha."""
        return ece(*self._confidence_and_correct(split, alpha))

    def _confidence_and_correct(self, split: str, alpha: float) -> tuple[np.ndarray, np.ndarray]:
        rows = self.rows[split]
        place = self.nearest(alpha)
        return self.confidence[place, rows], self.correct[place, rows]

    def name_of(self, label: int) -> str:
        """A class's name, or its number where names are not at hand."""
        return self.classes[label] if 0 <= label < len(self.classes) else f"class {label}"


def _rows_at_each_alpha(frame: pd.DataFrame, alphas: np.ndarray) -> list[np.ndarray]:
    """Positions of the same images, in the same order, at each alpha."""
    import pandas as pd

    split = pd.Categorical(frame["split"])
    image = pd.Categorical(frame["id"])
    # One number for each image of each split.
    key = split.codes.astype(np.int64) * len(image.categories) + image.codes
    rows = [np.flatnonzero(frame.alpha == alpha) for alpha in alphas]
    if all(np.array_equal(key[at_alpha], key[rows[0]]) for at_alpha in rows):
        return rows

    # Unreadable images differ from sweep to sweep: those that are there at every alpha stay.
    everywhere = reduce(np.intersect1d, [key[at_alpha] for at_alpha in rows])
    aligned = []
    for at_alpha in rows:
        in_order = at_alpha[np.argsort(key[at_alpha], kind="stable")]
        aligned.append(in_order[np.isin(key[in_order], everywhere)])
    return aligned
