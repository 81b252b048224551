"""A run's scores for each image as arrays, read from its folder alone: no model, no data set, no GPU is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, reduce
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..data.manifests import load_manifest
from ..disk.files import read_json
from ..errors import ClipftError, ConfigError, RunError
from ..metrics.calibration import Reliability, ece, reliability
from .folder import read_scores
from .names import title_of

if TYPE_CHECKING:
    import pandas as pd

    from .scores import Scores


@dataclass(frozen=True)
class Sweep:
    """What one run says of N images at A alphas (0 zero-shot ... 1 tuned), rising.

    split, ids, label (N,); prediction (A, N) class index, confidence (A, N) fraction, energy_gap (A, N) squared logits
    or None. classes: their names, empty where the manifest is not at hand. about: the run's configuration.
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
    classes: tuple[str, ...] = ()
    folder: Path | None = None
    about: dict = field(default_factory=dict)

    @classmethod
    def of(
        cls, scores: Sequence[Scores], reference: str, title: str = "", classes: Sequence[str] = ()
    ) -> Sweep:
        """The Scores of one model at several alphas. Raises ConfigError without alphas 0 and 1."""
        from .scores import to_frame

        return cls.of_frame(to_frame(scores), reference, title, tuple(classes))

    @classmethod
    def of_frame(
        cls,
        frame: pd.DataFrame,
        reference: str,
        title: str = "",
        classes=(),
        folder=None,
        about=None,
    ):
        """The rows of `evaluation.to_frame`; an image that is not there at every alpha is left out."""
        import pandas as pd

        alphas = np.array(sorted(frame.alpha.unique()))
        if not {0.0, 1.0} <= set(alphas):
            raise ConfigError(
                f"a sweep needs alpha 0 and 1, {title or 'this run'} has {alphas.tolist()}: clipft wise RUN"
            )
        if all(str(split).endswith("/val") for split in frame.split.unique()):
            raise ConfigError(
                f"{title or 'this run'} is scored on validation images alone; a sweep needs a test split"
            )
        split, id_ = (pd.Categorical(frame[name]) for name in ("split", "id"))
        key = (
            split.codes.astype(np.int64) * len(id_.categories) + id_.codes
        )  # one number for each image
        parts = [np.flatnonzero(frame.alpha == alpha) for alpha in alphas]  # rows of the frame
        if not all(np.array_equal(key[part], key[parts[0]]) for part in parts):
            keep = reduce(np.intersect1d, (key[part] for part in parts))
            parts = [part[np.argsort(key[part], kind="stable")] for part in parts]
            parts = [part[np.isin(key[part], keep)] for part in parts]

        def column(name: str) -> np.ndarray | None:
            values = frame[name].to_numpy() if name in frame else None
            return None if values is None else np.stack([values[part] for part in parts])

        gap, first = column("energy_gap"), parts[0]
        return cls(
            title,
            reference,
            alphas,
            np.asarray(split[first], str),
            np.asarray(id_[first], str),
            frame["label"].to_numpy()[first],
            column("prediction"),
            column("confidence"),
            None if gap is None or np.isnan(gap).all() else gap,
            tuple(classes),
            folder,
            about or {},
        )

    @cached_property
    def splits(self) -> list[str]:
        """Names of the test splits, the reference first; validation images are left to the choice of alpha."""
        names = [name for name in dict.fromkeys(self.split.tolist()) if not name.endswith("/val")]
        return sorted(names, key=lambda name: (name.split("/")[0] != self.reference, name))

    @cached_property
    def rows(self) -> dict[str, np.ndarray]:
        """Positions of each split's images."""
        return {
            name: np.flatnonzero(self.split_number == number)
            for number, name in enumerate(self.splits)
        }

    @cached_property
    def split_number(self) -> np.ndarray:
        """(N,) position of each image's split in `splits`, -1 for validation images."""
        place = {name: number for number, name in enumerate(self.splits)}
        names, which = np.unique(self.split, return_inverse=True)
        return np.array([place.get(str(name), -1) for name in names])[which]

    @cached_property
    def accuracy(self) -> np.ndarray:
        """(A, S) fractions, one column for each of `splits`."""
        right = self.prediction == self.label
        return np.stack([right[:, rows].mean(1) for rows in self.rows.values()], 1)

    @property
    def shift_accuracy(self) -> np.ndarray:
        """(A,) mean accuracy over the shifts, a fraction; not a number where there is no shift."""
        shifts = self.accuracy[:, 1:]
        return shifts.mean(1) if shifts.size else np.full(len(self.alphas), np.nan)

    def nearest(self, alpha: float) -> int:
        """Position of the scored alpha that is nearest."""
        return int(np.abs(self.alphas - alpha).argmin())

    def accuracy_at(self, alpha: float) -> np.ndarray:
        """(S,) accuracy at any alpha, on the line between the scored alphas beside it."""
        return np.array([np.interp(alpha, self.alphas, column) for column in self.accuracy.T])

    def flips(self, alpha: float, against: float) -> dict[str, np.ndarray]:
        """Positions of test images whose prediction at the nearest scored alpha is not that at `against`.

        `all` of them, and those `gained` (wrong there, right here) and `lost` (right there, wrong here).
        """
        now, then = self.prediction[self.nearest(alpha)], self.prediction[self.nearest(against)]
        differs = (now != then) & (self.split_number >= 0)
        found = {
            "all": differs,
            "gained": differs & (now == self.label),
            "lost": differs & (then == self.label),
        }
        return {name: np.flatnonzero(mask) for name, mask in found.items()}

    def reliability(self, split: str, alpha: float, bins: int = 15) -> Reliability:
        """The reliability diagram of one split at the nearest scored alpha."""
        rows, place = self.rows[split], self.nearest(alpha)
        return reliability(
            self.confidence[place, rows], self.prediction[place, rows] == self.label[rows], bins
        )

    def ece(self, split: str, alpha: float) -> float:
        """Expected calibration error (fraction) of one split at the nearest scored alpha."""
        rows, place = self.rows[split], self.nearest(alpha)
        return ece(self.confidence[place, rows], self.prediction[place, rows] == self.label[rows])

    def name_of(self, label: int) -> str:
        """A class's name, or its number where names are not at hand."""
        return self.classes[label] if 0 <= label < len(self.classes) else f"class {label}"


def read_sweep(folder: Path | str) -> Sweep:
    """The sweep of a finished run from its folder: config.json and images.parquet.

    Raises RunError where it was not scored for each image, ConfigError where alpha 0 or 1 is missing.
    """
    folder = Path(folder)
    about = read_json(folder / "config.json")
    if not (folder / "images.parquet").exists():
        raise RunError(f"{folder} holds no scores of single images; score it: clipft wise {folder}")
    frame = read_scores(folder / "images.parquet")
    after = about.get("after") or {}
    method = "+".join([about["method"], *after.get("of", ()), *([after["name"]] if after else [])])
    title = f"{title_of(method)}, lr {about['lr']:g}, {about['steps']} steps, seed {about['seed']}"
    try:
        manifest = load_manifest(about["manifest"])
        reference, classes = about["reference"] or manifest.reference, manifest.names
    except ClipftError:  # a manifest file that stayed on another machine: numbers instead of names
        reference, classes = about["reference"] or frame.split.iloc[0].split("/")[0], ()
    return Sweep.of_frame(frame, reference, title, classes, folder, about)
