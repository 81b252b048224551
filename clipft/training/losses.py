"""The terms of the loss as they come, on the device until somebody asks for numbers."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..inputs.ranks import ALONE, Ranks

EVERY = 50  # steps: to read a number of a card is to wait for it


@dataclass
class Losses:
    """Of the last steps, read `every` so many; what is read is forgotten, but for the last.

    ranks: the terms of each are its share.
    """

    every: int = 1
    last: dict[str, float] = field(default_factory=dict)
    ranks: Ranks = ALONE
    _unread: list[tuple[int, dict[str, Tensor]]] = field(default_factory=list)

    @classmethod
    def on(cls, device: torch.device) -> Losses:
        """Of a training on this device; on a processor a number costs nothing to read."""
        return cls(1 if device.type == "cpu" else EVERY)

    @property
    def is_due(self) -> bool:
        """Whether as many wait as shall be read at once."""
        return len(self._unread) >= self.every

    @property
    def are_finite(self) -> bool:
        """Whether this rank's share of all that wait is."""
        waiting = [term for _, terms in self._unread for term in terms.values()]
        return all(bool(term.isfinite()) for term in waiting)

    def add(self, step: int, terms: dict[str, Tensor]) -> None:
        """Note the terms of a step."""
        self._unread.append((step, terms))

    def read(self) -> list[tuple[int, dict[str, float]]]:
        """(step, terms as numbers) of all that were not read yet; the device is waited for once."""
        if not self._unread:
            return []
        numbers = torch.stack([torch.stack([*terms.values()]) for _, terms in self._unread])
        read = []
        values_of_all = self.ranks.total(numbers).tolist()
        for (step, terms), values in zip(self._unread, values_of_all, strict=True):
            read.append((step, dict(zip(terms, values, strict=True))))
        self._unread.clear()
        _, self.last = read[-1]
        return read
