"""Runs as a list: those of a folder, finished or not, and which of them words choose."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..config import parse_settings, plain_settings
from ..errors import RunError, unknown
from .about import method_of
from .folder import RunFolder, run_folders
from .labels import Label
from .names import is_ensemble

DAY = 24 * 3600  # seconds
SCORED = "scored"
FINISHED = "finished"  # not scored
UNFINISHED = "unfinished"
DAMAGED = "damaged"
LISTED = ("method", "lr", "steps", "seed")  # settings that a list shows


@dataclass(frozen=True)
class Listed:
    """A run as a list shows it; nothing of it is opened but its configuration and its label."""

    folder: RunFolder

    @cached_property
    def config(self) -> dict[str, Any]:
        """Its settings, those that an older record lacks too; empty where the record is damaged."""
        try:
            recorded = self.folder.config()
            return plain_settings() | recorded | {"method": str(method_of(recorded))}
        except (RunError, KeyError, TypeError):  # damaged, or of a newer clipft
            return {}

    @cached_property
    def label(self) -> Label:
        """What people call it."""
        return Label.of(self.folder)

    @property
    def is_ensemble(self) -> bool:
        """Whether it has no weights of its own, by its kind."""
        return is_ensemble(str(self.config.get("method", "")))

    @property
    def members(self) -> tuple[str, ...]:
        """The runs that it was made of."""
        after = self.config.get("after")
        return tuple(after["members"]) if isinstance(after, Mapping) else ()

    @property
    def state(self) -> str:
        """Scored, finished, unfinished or damaged."""
        if not self.config:
            return DAMAGED
        if self.folder.is_scored:
            return SCORED
        return FINISHED if self.folder.is_finished or self.is_ensemble else UNFINISHED

    @property
    def has_weights(self) -> bool:
        """Whether the weights of the finished run are there."""
        return self.folder.has_weights

    @property
    def size(self) -> int:
        """Bytes of all that lies in its folder."""
        return size_of(self.folder.path)

    @property
    def age(self) -> float:
        """Days since a file in its folder was written; looking may touch hidden ones."""
        with os.scandir(self.folder.path) as files:
            seen = [file for file in files if not file.name.startswith(".")]
            times = []
            for file in seen:
                with contextlib.suppress(FileNotFoundError):  # renamed since by who writes the run
                    times.append(file.stat(follow_symlinks=False).st_mtime)
        return max(0.0, (time.time() - max(times, default=0.0)) / DAY)

    def row(self) -> dict[str, Any]:
        """The line of a table."""
        state = self.state
        if state in (SCORED, FINISHED) and not (self.has_weights or self.is_ensemble):
            state += ", no weights"
        told = {key: self.config.get(key, "") for key in LISTED}
        about = {"id": self.folder.name, "name": self.label.name, **told, "state": state}
        about |= {"MB": f"{self.size / 1e6:.1f}", "days": f"{self.age:.1f}"}
        return about | {"tags": " ".join(self.label.tags), "note": self.label.note}

    def fits(self, settings: Mapping[str, Any]) -> bool:
        """Whether it has these settings, tag, name or state; raises ConfigError for another key."""
        own = {"name": self.label.name, "state": self.state}
        for key, value in settings.items():
            if key == "tags":
                if value not in self.label.tags:
                    return False
                continue
            known = own | self.config
            if key not in known and self.config:
                raise unknown("setting", key, {*known, "tags"})
            if known.get(key) != value:
                return False
        return True


def listed(runs: Path | str) -> list[Listed]:
    """All runs of a folder; raises RunError where there is none."""
    found = [Listed(folder) for folder in run_folders(runs)]
    if not found:
        raise RunError(f"no run under {runs}; train one: clipft train, or name its folder: --runs")
    return found


def choose(runs: Path | str, words: Sequence[str]) -> list[Listed]:
    """Those of a folder that words choose: ids or their first letters, names, and KEY=VALUE, all
    of which a run must have.

    Arguments:
        runs: the folder of runs.
        words: none for all. Keys are settings, tags, name and state.

    Raises ConfigError for an unknown setting, RunError where nothing is left, or a word fits none.
    """
    every = listed(runs)
    named = [word for word in words if "=" not in word]
    settings = parse_settings([word for word in words if "=" in word])
    if named:
        by_path = {run.folder.path: run for run in every}
        every = [by_path[path] for path in _places(runs, named) if path in by_path]
    chosen = [run for run in every if run.fits(settings)]
    if not chosen:
        raise RunError(f"no run under {runs} is {' '.join(words)}; those there: clipft runs")
    return chosen


def _places(runs: Path | str, named: Iterable[str]) -> list[Path]:
    """The folders of these ids and names; a word may also be a path into the folder of runs."""
    places = []
    for word in named:
        place = Path(word)
        if place.parent != Path() and place.parent.resolve() != Path(runs).resolve():
            raise RunError(f"{word} does not lie in {runs}; name its folder of runs: --runs")
        places.append(RunFolder.find(Path(runs) / place.name).path)
    return list(dict.fromkeys(places))


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; a link is as long as its text."""
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_size
    size = 0
    for file in path.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # renamed since by who writes it
            size += 0 if file.is_dir() else file.lstat().st_size
    return size
