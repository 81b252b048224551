"""How a run was made: versions, commit, device, precision, threads, seconds and date of each part
of the work. No setting is among it, no result depends on it, and an older run has none of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import nan
from typing import TYPE_CHECKING, Any, cast

from ..errors import ConfigError
from . import machine
from .recorded import is_part

if TYPE_CHECKING:
    from ..config import Precision
    from .folder import RunFolder
    from .run import Run

# kinds of work
TRAINING, COMBINING = "training", "combining"
ADOPTING, SCORING = "adopting", "scoring"
PACKAGES = ("torch", "open_clip_torch")  # whose versions a run records, by pip's names
SAME = ("versions", "commit", "clean", "device", "threads")  # alike in what is done alike
PLAIN = "32-true"  # the precision of scores of which nothing says it
UNKNOWN = "not recorded"  # of an older run
AND = " + "  # between several devices or versions of one run

Part = dict[str, Any]


def new_part(work: str, device: str, threads: int, **about: Any) -> Part:
    """A piece of work that begins now: what it is done with; device: its name."""
    part = {"work": work, "date": machine.today(), "versions": machine.versions(PACKAGES)}
    part |= machine.commit()
    return part | {"device": device, "threads": threads} | about


@dataclass(frozen=True)
class Made:
    """The parts of the work on one run, in order; weights: the digest of its weights' file."""

    parts: tuple[Part, ...] = ()
    weights: str = ""

    @classmethod
    def of(cls, folder: RunFolder) -> Made:
        """What a run's folder records; nothing where an older clipft wrote it."""
        recorded = folder.made()
        parts = recorded.get("parts")
        if not isinstance(parts, list):
            return cls()
        rows = tuple(part for part in parts if is_part(part))
        return cls(rows, str(recorded.get("weights_digest", "")))

    def write(self, folder: RunFolder) -> None:
        """Leave it in the run's folder."""
        recorded: dict[str, Any] = {"parts": list(self.parts)}
        if self.weights:
            recorded["weights_digest"] = self.weights
        folder.write_made(recorded)

    def of_work(self, *kinds: str) -> list[Part]:
        """The parts of these kinds of work."""
        return [part for part in self.parts if part.get("work") in kinds]

    @property
    def seconds(self) -> float:
        """Of training, validations included; its parts add up. NaN where nothing says it."""
        return _sum(self.of_work(TRAINING), "seconds")

    @property
    def seconds_per_step(self) -> float:
        """Of training, without validations; NaN where nothing says it, or nothing was stepped."""
        parts = self.of_work(TRAINING)
        steps = _sum(parts, "steps")
        return _sum(parts, "step_seconds") / steps if steps else nan

    @property
    def scored_in(self) -> str:
        """The precision of the scores; older ones, of which nothing says it, are in full."""
        parts = self.of_work(SCORING)
        return parts[-1].get("precision", PLAIN) if parts else PLAIN

    @property
    def versions(self) -> str:
        """What made it and scored it, e.g. `clipft 0.1.0 at 1a2b3c4, torch 2.9.0`."""
        return _joined(map(_versions_of, self.parts))

    @property
    def devices(self) -> str:
        """Names of the devices."""
        return _joined(str(part.get("device", UNKNOWN)) for part in self.parts)

    @property
    def threads(self) -> str:
        """How many threads torch had."""
        return _joined(str(part.get("threads", UNKNOWN)) for part in self.parts)

    def __str__(self) -> str:
        if not self.parts:
            return f"how it was made is {UNKNOWN}"
        threads = "1 thread" if self.threads == "1" else f"{self.threads} threads"
        line = f"made on {self.devices}, {threads}, with {self.versions}"
        if self.seconds > 0:
            line += f"; trained in {self.seconds:.3g} s"
        if self.seconds_per_step > 0:
            line += f", {self.seconds_per_step:.3g} s a step"
        return f"{line}; {self.parts[-1].get('date', UNKNOWN)}"


def scoring_precision(run: Run, asked: str = "") -> Precision:
    """In which a run is scored: what its scores were made in; else what is asked for, or what it
    trained in.

    All scores of a run are of one precision; older ones, of which nothing says it, are of 32-true.
    Raises ConfigError where another one is asked for.
    """
    folder = run.folder
    if not folder.images_file.exists():
        return cast("Precision", asked or run.config.precision)
    recorded = Made.of(folder).scored_in
    if asked and asked != recorded:
        fault = f"precision {asked} is asked for, and {folder} was scored in {recorded}"
        raise ConfigError(
            f"{fault}; leave it out, or remove {folder.images_file.name} and score the run anew"
        )
    return cast("Precision", recorded)


def words_of(text: str) -> list[str]:
    """The single devices, or versions, in a text of `Made`."""
    return re.split(r", (?=\w+ \d)| \+ ", text)


def with_part(made: Made, part: Part) -> Made:
    """What was done, and one more piece of work; scoring that is done alike is one part."""
    parts = list(made.parts)
    if part["work"] == SCORING:
        alike = [old for old in made.of_work(SCORING) if _measures_alike(old, part)]
        for old in alike:
            parts.remove(old)
            alphas = sorted({*old.get("alphas", ()), *part["alphas"]})
            part = part | {"alphas": alphas, "seconds": old["seconds"] + part["seconds"]}
    return Made((*parts, part), made.weights)


def is_alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two parts were done with the same versions, commit, device and threads."""
    return all(one.get(key) == other.get(key) for key in SAME)


def _measures_alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two scorings were done with the same things, and measured on as many texts."""
    return is_alike(one, other) and one.get("gap_texts") == other.get("gap_texts")


def _versions_of(part: Mapping[str, Any]) -> str:
    """`clipft 0.1.0 at 1a2b3c4, Python 3.12.1, torch 2.9.0 ...`; + after a commit: and changes."""
    texts = []
    for name, version in part.get("versions", {}).items():
        text = f"{name.removesuffix('_torch')} {version}"
        if name == "clipft" and "commit" in part:
            changed = "" if part.get("clean") else "+"
            text += f" at {part['commit'][:7]}{changed}"
        texts.append(text)
    return ", ".join(texts) or UNKNOWN


def _joined(texts: Iterable[str]) -> str:
    return AND.join(dict.fromkeys(texts)) or UNKNOWN


def _sum(parts: Iterable[Mapping[str, Any]], key: str) -> float:
    """The sum over the parts that say it; NaN where none does."""
    values = [float(part[key]) for part in parts if key in part]
    return sum(values) if values else nan
