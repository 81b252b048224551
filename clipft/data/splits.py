"""The rows of a split: which files, which labels.

Plain frozen records; ids ride along so that rows can be matched.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from ..errors import unknown
from .made_shifts import Made

PARTS = ("train", "val", "test")
MEGAPIXELS = 178  # what Pillow lets through unless told otherwise

Look = Literal["file", "viewer"]
Metric = Literal["accuracy", "class_accuracy", "macro_f1", "worst_group"]
METRICS: dict[str, str] = {  # what data sets are scored by, in words
    "accuracy": "accuracy",
    "class_accuracy": "mean class accuracy",
    "macro_f1": "macro F1",
    "worst_group": "worst-group accuracy",
}


@dataclass(frozen=True)
class ScoredBy:
    """What a data set is scored by: a metric of the reference's images, and one of the shifts'.

    together: harmonic, where tables also tell 2 S U / (S + U) of the reference's S and the shifts'
    mean U, as generalised zero-shot learning does. made: whether all shifts are made of the
    reference, which what shows them then says.
    """

    reference: str = "accuracy"
    shift: str = "accuracy"
    together: str = ""
    made: bool = False

    @classmethod
    def of(cls, said: str | Mapping[str, Any]) -> ScoredBy:
        """What a manifest says: a metric of all images, or one of each kind.

        Raises ConfigError for another metric.
        """
        found = cls(said, said) if isinstance(said, str) else cls(**said)
        for metric in found:
            if metric not in METRICS:
                raise unknown("metric", metric, METRICS)
        return found

    def on(self, role: str) -> str:
        """The metric of a split in this role: shift, or any other."""
        return self.shift if role == "shift" else self.reference

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((self.reference, self.shift)))

    @property
    def title(self) -> str:
        """Both in words, for what shows both kinds of images."""
        of_reference, of_shift = METRICS[self.reference], METRICS[self.shift]
        return of_reference if of_reference == of_shift else f"{of_reference} / {of_shift}"

    @property
    def words(self) -> dict[str, str]:
        """In words, of reference and shift."""
        made = " (made)" if self.made else ""
        return {"reference": METRICS[self.reference], "shift": f"{METRICS[self.shift]}{made}"}


@dataclass(frozen=True)
class Decoding:
    """How an image file becomes pixels.

    look: file, as it is stored, which is how open_clip reads it; viewer, as a viewer shows it:
    upright, its colours in sRGB, on white where it is transparent. megapixels: of the largest image
    that is read. border: pixels that are cut off at each side, before anything else is done.
    decoder: of `RunConfig`; images become the same pixels by each, and are resized by its library.
    shrink: of `RunConfig`, pixels that the shorter side has at most; 0: any number. made: how a
    made shift disturbs what was read so; see `of`.
    """

    look: str = "file"
    megapixels: int = MEGAPIXELS
    border: int = 0
    decoder: str = "pillow"
    shrink: int = 0
    made: Made | None = None

    def __post_init__(self) -> None:
        if self.look not in get_args(Look):
            raise unknown("look", self.look, get_args(Look))

    def changes(self) -> dict[str, str]:
        """What of it makes other pixels than the default does, for keys; older keys have none."""
        plain = Decoding()
        names = ("look", "border", "decoder", "shrink", "made")
        return {
            name: str(getattr(self, name))
            for name in names
            if getattr(self, name) != getattr(plain, name)
        }

    def of(self, image: str) -> Decoding:
        """How the image of this id is read: a made shift draws by it."""
        return self if self.made is None else replace(self, made=self.made.of(image))


@dataclass(frozen=True, order=True)
class SplitName:
    """The name of a split in tables and on the command line: this alone takes it apart."""

    domain: str
    part: str

    @classmethod
    def parse(cls, text: str) -> SplitName:
        """`sketch/test` as a name; the part is empty where there is no slash."""
        domain, _, part = str(text).partition("/")
        return cls(domain, part)

    def __str__(self) -> str:
        return f"{self.domain}/{self.part}"


@dataclass(frozen=True)
class Split:
    """The rows of one split of one domain: files, labels, ids that are stable across machines."""

    domain: str
    part: str  # one of PARTS
    root: Path
    ids: tuple[str, ...]  # paths relative to root, as in the list file
    labels: tuple[int, ...]
    domains: tuple[str, ...] = ()  # of each row, where several domains were joined
    decoding: Decoding = Decoding()
    groups: tuple[str, ...] = ()  # of each row, for the worst group; "": in none
    allowed: tuple[int, ...] = ()  # labels that may be predicted; (): all
    alike: tuple[tuple[int, ...], ...] = ()  # labels that count as the first of them

    @property
    def name(self) -> str:
        """`domain/part`, the name used in tables and configurations."""
        return str(SplitName(self.domain, self.part))

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Sequence[int]) -> Split:
        """The same split with only the rows at these positions, in this order."""
        return replace(
            self,
            ids=_taken(self.ids, rows),
            labels=_taken(self.labels, rows),
            domains=_taken(self.domains, rows) if self.domains else (),
            groups=_taken(self.groups, rows) if self.groups else (),
        )

    def domain_of(self, row: int) -> str:
        """The domain of one row."""
        return self.domains[row] if self.domains else self.domain

    @staticmethod
    def join(splits: Sequence[Split]) -> Split:
        """Several domains' rows as one split, named `a+b/train`."""
        if len(splits) == 1:
            return splits[0]
        ids: list[str] = []
        labels: list[int] = []
        domains: list[str] = []
        groups: list[str] = []
        for split in splits:
            ids += split.ids
            labels += split.labels
            domains += [split.domain] * len(split)
            groups += split.groups or [""] * len(split)
        joined = "+".join(split.domain for split in splits)
        first = splits[0]
        return Split(
            joined,
            first.part,
            first.root,
            ids=tuple(ids),
            labels=tuple(labels),
            domains=tuple(domains),
            decoding=first.decoding,
            groups=tuple(groups) if any(groups) else (),
        )


def _taken(column: Sequence[Any], rows: Sequence[int]) -> tuple[Any, ...]:
    return tuple(map(column.__getitem__, rows))


def hold_out(
    split: Split, part: str, fraction: float, seed: int, left: int = 1
) -> tuple[Split, Split]:
    """(the rest, the rows held out as another part): the same fraction of every class, drawn once.

    At least one row of a class is held out, but `left` of them always stay.
    """
    labels = np.asarray(split.labels)
    is_out = _held_out(labels, fraction, seed, left)
    rest = split.take(np.flatnonzero(~is_out).tolist())
    held_out = split.take(np.flatnonzero(is_out).tolist())
    return rest, replace(held_out, part=part)


def _held_out(labels: np.ndarray, fraction: float, seed: int, left: int) -> np.ndarray:
    """(N,) bool."""
    rng = np.random.default_rng(seed)
    is_out = np.zeros(len(labels), dtype=bool)
    for rows in rows_by_label(labels):
        count = max(0, min(max(1, round(fraction * len(rows))), len(rows) - left))
        is_out[rng.permutation(rows)[:count]] = True
    return is_out


def rows_by_label(labels: Sequence[int] | np.ndarray) -> list[np.ndarray]:
    """The rows of each label that occurs, labels rising, rows in order; labels are sorted once."""
    given = np.asarray(labels, dtype=np.int64)
    if not len(given):
        return []
    order = np.argsort(given, kind="stable")
    _, starts = np.unique(given[order], return_index=True)
    return np.split(order, starts[1:])
