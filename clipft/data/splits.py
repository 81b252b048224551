"""What travels between the rooms. Plain frozen records; ids ride along so that rows can always be matched."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


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
