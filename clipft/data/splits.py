"""What travels between the rooms. Plain frozen records; ids ride along so that rows can always be matched."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    Weights = dict[str, Tensor]
    """Names of tensors to tensors, as in a state dict. Post-hoc methods are functions of these."""


@dataclass(frozen=True)
class Split:
    """The rows of one split of one domain: files, labels, and ids that are stable across machines."""

    domain: str
    split: str  # "train", "val" or "test"
    root: Path
    ids: tuple[str, ...]  # paths relative to root, as in the list file
    labels: tuple[int, ...]
    domains: tuple[str, ...] = ()  # of each row, where several domains were joined

    @property
    def name(self) -> str:
        """`domain/split`, the name used in tables and configurations."""
        return f"{self.domain}/{self.split}"

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows) -> Split:
        """The same split with only the rows at these positions, in this order."""
        ids, labels = tuple(self.ids[i] for i in rows), tuple(self.labels[i] for i in rows)
        return replace(self, ids=ids, labels=labels, domains=tuple(self.domains[i] for i in rows if self.domains))

    def domain_of(self, row: int) -> str:
        """The domain of one row."""
        return self.domains[row] if self.domains else self.domain

    @staticmethod
    def join(splits: list[Split]) -> Split:
        """Several domains' rows as one split, named `a+b/train`."""
        if len(splits) == 1:
            return splits[0]
        return Split(
            "+".join(split.domain for split in splits),
            splits[0].split,
            splits[0].root,
            tuple(name for split in splits for name in split.ids),
            tuple(label for split in splits for label in split.labels),
            tuple(split.domain for split in splits for _ in split.ids),
        )


@dataclass(frozen=True)
class Features:
    """Embeddings (N, D) of one split by one model, before normalising, with label (N,) and ids (N)."""

    split: str
    ids: tuple[str, ...]
    label: np.ndarray
    embeddings: np.ndarray


@dataclass(frozen=True)
class Scores:
    """What one model says of each image of one split; N images.

    prediction (N,) class index, confidence (N,) fraction, nll (N,) nats, energy_gap (N,) squared logits,
    feature_distortion (N,) in units of the embedding, label (N,), ids (N). An ensemble has none of these two, but
    with one member wise_distance (N,) in logits and wise_agreement (N,), 1 where WiSE predicts the same.
    """

    split: str
    alpha: float
    ids: tuple[str, ...]
    label: np.ndarray
    prediction: np.ndarray
    confidence: np.ndarray
    nll: np.ndarray
    energy_gap: np.ndarray | None = None
    feature_distortion: np.ndarray | None = None
    feature_distortion_normalised: np.ndarray | None = None
    wise_distance: np.ndarray | None = None
    wise_agreement: np.ndarray | None = None


@dataclass(frozen=True)
class EnergyMap:
    """Places of N images on the plane before (zero-shot) and after tuning, each (N, 2), with split, label and ids."""

    split: tuple[str, ...]
    ids: tuple[str, ...]
    label: np.ndarray
    before: np.ndarray
    after: np.ndarray
