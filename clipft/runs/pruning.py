"""What of runs can go without losing a number: left-overs, abandoned trainings, weights.

A run without its weights keeps its scores: tables, explorers and figures go on working. What asks
its model says which command makes the weights again. Only what lies in the folder of runs itself is
removed: a run that is a link stays.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..disk.files import disk
from ..disk.leftovers import remove
from ..errors import ClipftError, ConfigError, RunError
from .folder import DEFAULT_RUNS, folders_of
from .listing import SCORED, UNFINISHED, Listed, listed, size_of
from .table import COMPARABLE, best_by_val, results

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

HOUR = 3600  # seconds
GONE = "gone"
WOULD_GO = "would go"
LEFT_OVER = "left over"  # of a process that was killed
WEIGHTS = "weights"
WHOLE = "unfinished run"


@dataclass(frozen=True)
class Dispensable:
    """Files of one run that are not needed; stays: why they are kept all the same."""

    run: Listed
    what: str
    files: tuple[Path, ...]
    stays: str = ""

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(size_of(file) for file in self.files)


def prune(
    runs: Any = DEFAULT_RUNS,
    where: Mapping[str, Any] | None = None,
    *,
    weights: bool = False,
    unfinished: float | None = None,
    members: bool = False,
    dry_run: bool = False,
) -> pd.DataFrame:
    """Remove what runs can do without: what killed processes left, and more where it is asked for.

    Scores and settings stay, so tables and explorers go on working. What asks the model of a run
    without weights, say another alpha, is refused with the command that makes them again: on the
    same machine they are the same to the bit (`clipft.verify` looks). A run that another process
    writes stays, and a run that is a link.

    Arguments:
        runs: a folder of runs, a Run, its folder, or a list of these.
        where: settings that a run must have, a tag, name or state: {"method": "ft"}.
        weights: also the weights of runs that are scored.
        unfinished: also whole runs that are not finished and were not written for so many days.
        members: also weights that an ensemble, or a combination without its own, needs.
        dry_run: remove nothing, but say what would go.

    Returns:
        A row per run and kind: run, what (left over, weights, unfinished run), bytes, and fate:
        gone, would go, or why it stays.

    Raises:
        ConfigError: for an unknown setting.
        RunError: for what is no run.
        StorageError: where the disk refuses.

    Example:
        >>> clipft.prune("runs", weights=True, dry_run=True).fate.tolist()
        ['would go', 'would go']
    """
    import pandas as pd

    if unfinished is not None and unfinished < 0:
        raise ConfigError(f"unfinished is {unfinished} days, expected 0 or more")
    chosen = [Listed(folder) for folder in folders_of(runs)]
    chosen = [run for run in chosen if run.fits(where or {})]
    needed: dict[Path, set[str]] = {}
    rows = []
    for run in chosen:
        parent = run.folder.path.parent
        if weights and parent not in needed:
            needed[parent] = set() if members else needed_members(parent)
        for found in _dispensable(run, weights=weights, unfinished=unfinished):
            is_needed = found.what == WEIGHTS and run.folder.name in needed[parent]
            fate = "stays: another run needs it" if is_needed else found.stays
            row = {"run": run.folder.name, "what": found.what, "bytes": found.size}
            rows.append(row | {"fate": fate or _remove(found, dry_run=dry_run)})
    if isinstance(runs, str | Path) and Path(runs) not in [run.folder.path for run in chosen]:
        rows += _beside(Path(runs), dry_run=dry_run)
    return pd.DataFrame(rows, columns=["run", "what", "bytes", "fate"])


def needed_members(runs: Path | str) -> set[str]:
    """Ids of the runs from whose weights another one is scored, or would be made again."""
    needed: set[str] = set()
    for run in listed(runs):
        if run.members and not run.has_weights:
            needed |= set(run.members)
    return needed


def best_runs(runs: Path | str) -> set[str]:
    """Ids of the runs of each method's best recipe by validation, of each kind of runs."""
    table = results(runs)
    best: set[str] = set()
    for _, kind in table.groupby(COMPARABLE):
        recipes = best_by_val(kind).values()
        best |= set(kind.run[kind.recipe.isin(list(recipes))])
    return best


def _dispensable(run: Listed, *, weights: bool, unfinished: float | None) -> list[Dispensable]:
    """What of a run may go, with reasons against it."""
    folder = run.folder
    if folder.path.is_symlink():
        return [Dispensable(run, LEFT_OVER, (), "stays: the run is a link")]
    found = []
    left_over = tuple(folder.left_over())
    if left_over:
        found.append(Dispensable(run, LEFT_OVER, left_over))
    if weights and run.has_weights:
        stays = ""
        if run.state != SCORED:
            stays = "stays: it is not scored"
        elif "adopted" in run.config:
            stays = "stays: it was tuned elsewhere, and cannot be trained again"
        found.append(Dispensable(run, WEIGHTS, (folder.weights_file,), stays))
    if unfinished is not None and run.state == UNFINISHED and run.age >= unfinished:
        found = [Dispensable(run, WHOLE, (folder.path,))]
    return found


def _beside(runs: Path, *, dry_run: bool) -> list[dict[str, Any]]:
    """What a killed process left beside the runs: its age says that nobody writes it."""
    rows = []
    for file in sorted(runs.glob(".*.tmp")):
        if time.time() - file.lstat().st_mtime > HOUR:
            row = {"run": "", "what": f"{LEFT_OVER}: {file.name}", "bytes": size_of(file)}
            if not dry_run:
                _remove_file(file)
            rows.append(row | {"fate": WOULD_GO if dry_run else GONE})
    return rows


def _remove(found: Dispensable, *, dry_run: bool) -> str:
    """Remove files of a run that nobody writes; what became of them."""
    try:
        with found.run.folder.lock(tidies=not dry_run):
            # Looked at again: meanwhile it may have been finished.
            if found.what == WHOLE and found.run.state != UNFINISHED:
                return "stays: it was finished meanwhile"
            if not dry_run:
                _remove_files(found)
    except RunError:
        return "stays: another process writes it"
    except ClipftError as error:
        return f"stays: {error}"
    return WOULD_GO if dry_run else GONE


def _remove_files(found: Dispensable) -> None:
    if found.what == WHOLE:
        with disk(found.run.folder.path, "remove it by hand"):
            found.run.folder.remove()
        return
    for file in found.files:
        _remove_file(file)


def _remove_file(file: Path) -> None:
    with disk(file, "remove it by hand"):
        remove(file, stays=False)
