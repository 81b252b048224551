"""Made shifts: domains that are views of the reference, its images disturbed as they are read.

No file is written. A made domain has the ids and labels of the reference's val and test, and no
train. It is told by its name, made_fog_3, and marked as made wherever it is shown.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..config import Record, seed_of
from ..errors import ConfigError
from .severities import COMMON, KINDS, check_kind, disturbed_size

if TYPE_CHECKING:
    from PIL import Image

FORMULAS = 1  # of the corruptions; another number finds no embeddings of the old ones
PREFIX = "made_"
BETWEEN = ":"  # a made domain and the id of an image
KNOWN = {"common": tuple(COMMON), "all": tuple(KINDS)}


@dataclass(frozen=True)
class Made:
    """How an image is disturbed: one kind at one severity.

    image: its id, which together with the seed decides what is drawn: the same whatever the order,
    the worker, or the part of a split that is read.
    """

    kind: str
    severity: int
    seed: int = 0
    image: str = ""

    def __post_init__(self) -> None:
        check_kind(self.kind, self.severity)

    @property
    def domain(self) -> str:
        """The name of the domain that it makes of the reference: made_fog_3."""
        return f"{PREFIX}{self.kind}_{self.severity}"

    def of(self, image: str) -> Made:
        """The same for the image of this id."""
        return replace(self, image=image)

    def __str__(self) -> str:
        return f"{self.kind} {self.severity}, seed {self.seed}, formulas {FORMULAS}"

    def apply(self, image: Image.Image) -> Image.Image:
        """An RGB image disturbed; a large one is shrunk before, see `disturbed_size`."""
        from PIL import Image

        from .corruptions import corrupt

        draw = np.random.default_rng(seed_of(self.seed, f"{self.domain}:{self.image}"))
        size = disturbed_size(image.size)
        small = image if size == image.size else image.resize(size, Image.Resampling.BICUBIC)
        return Image.fromarray(corrupt(np.asarray(small), self.kind, self.severity, draw))


class MadeShifts(Record):
    """What `made_shifts` of a manifest says: each kind at each severity is a shift."""

    # common: the fifteen of ImageNet-C; all: crop, rotation, greyscale, jpeg, resolution, too
    kinds: Literal["common", "all"] | tuple[str, ...] = "common"
    severities: tuple[int, ...] = (3,)
    seed: int = 0

    def each(self) -> dict[str, Made]:
        """Domain -> how it is made; raises ConfigError for an unknown kind or severity."""
        kinds = KNOWN[self.kinds] if isinstance(self.kinds, str) else self.kinds
        made = [Made(kind, level, self.seed) for kind in kinds for level in self.severities]
        if not made:
            wanted = "wanted: some of both, e.g. {kinds: [fog], severities: [3]}"
            raise ConfigError(f"no kind, or no severity; {wanted}")
        return {one.domain: one for one in made}


def kind_of(domain: str) -> tuple[str, int] | None:
    """Kind and severity of a made domain, by its name; None for any other."""
    kind, _, severity = domain.removeprefix(PREFIX).rpartition("_")
    if not domain.startswith(PREFIX) or kind not in KINDS or not severity.isdecimal():
        return None
    return kind, int(severity)


def is_made(domain: str) -> bool:
    """Whether a domain of this name is made of the reference."""
    return kind_of(domain) is not None


def titled(domain: str) -> str:
    """A domain in words: fog 3 (made); one that is not made is called as it is."""
    if not is_made(domain):
        return domain
    return f"{domain.removeprefix(PREFIX).replace('_', ' ')} (made)"


def listed(domains: Iterable[str]) -> str:
    """Domains for a line: real ones by name, made ones by their number."""
    given = list(domains)
    names = [domain for domain in given if not is_made(domain)]
    if len(names) < len(given):
        names.append(f"{len(given) - len(names)} made")
    return ", ".join(names)


def that_count(domains: Iterable[str]) -> list[str]:
    """Of the shifts those over which a mean is taken: the real ones, or all where all are made.

    A mean never mixes real and made shifts.
    """
    given = list(domains)
    real = [domain for domain in given if not is_made(domain)]
    return real or given


def key_of(domain: str, image: str) -> str:
    """What names an image among all of a data set: its id, after the domain where that is made."""
    return f"{domain}{BETWEEN}{image}" if is_made(domain) else image


def apart(key: str) -> tuple[str, str]:
    """(made domain or "", id) of what `key_of` made."""
    domain, _, image = key.partition(BETWEEN)
    return (domain, image) if is_made(domain) else ("", key)
