"""What a board asks of many runs: their table, and how some of them differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..config import TUNED
from ..errors import ConfigError, unknown
from ..figures.parallel import parallel_figure
from ..figures.wise import curves_figure
from ..metrics.comparison import Comparison
from ..runs.folder import RunFolder, stamps_of
from ..runs.run import read_sweep
from ..runs.scores import Scores, compare
from ..runs.sweep import Sweep
from ..runs.table import COMPARABLE, results
from .configs import told_table
from .desk import Answer, Desk, Question, painted, rows_of
from .run_table import runs_answer

FEW = 6  # runs of which a saved page compares all pairs
MOST_COMPARED = 12  # runs whose curves are told apart


class RunDesk:
    """Answers for the view of runs.

    Arguments:
        table: of `clipft.results`.
        folder: of the runs; "": not at hand.
        source: what is looked at again for runs that came, went or changed; None: nothing.
    """

    def __init__(self, table: pd.DataFrame, folder: Path | str = "", source: Any = None):
        self.table = table
        self.kind = table[COMPARABLE].iloc[0]
        self.has_folder = bool(str(folder))
        self.folder = Path(folder)
        self.source = source
        self.stamps = stamps_of(source) if source else {}
        self.sweep_of = lru_cache(MOST_COMPARED)(read_sweep)  # by folder
        self.changed: list[Callable[[pd.DataFrame], None]] = []  # told of other results
        self._settings: dict[str, dict[str, Any]] = {}

    def teach(self, desk: Desk) -> None:
        """Let a desk answer for the view of runs."""
        desk.teach("runs", self.runs, saved=[{}])
        desk.teach("compare", self.compare, saved=self._pairs)
        desk.teach("figure parallel", self.parallel, saved=[{}])

    def _pairs(self) -> list[dict[str, Any]]:
        """What a saved page compares: each run with each other one, where these are few."""
        runs = self.table.run.unique().tolist()
        if len(runs) > FEW or not self.has_folder:
            return []
        chosen = [[run] for run in runs] + [list(pair) for pair in permutations(runs, 2)]
        return [{"runs": several} for several in chosen]

    def settings(self) -> dict[str, dict[str, Any]]:
        """Of each run, as its folder records them; those without a folder have none."""
        for run in self.table.run.unique():
            if run not in self._settings:
                folder = RunFolder(self.folder / run)
                self._settings[run] = folder.config() if folder.is_begun else {}
        return self._settings

    def refresh(self) -> None:
        """Look for runs that came, went, were scored or labelled.

        Runs of another kind, which cannot be compared, are left out. Where nothing changed nothing
        is read. Raises RunError where the folder cannot be read.
        """
        if not self.source:
            return
        stamps = stamps_of(self.source)
        if stamps == self.stamps:
            return
        table = results(self.source)
        is_alike = (table[COMPARABLE] == self.kind).all(axis=1)
        alike = table if is_alike.all() else table[is_alike]
        alike.attrs = table.attrs
        self.table = alike
        self.stamps = stamps
        self.sweep_of.cache_clear()  # of runs that were scored again
        for tell in self.changed:
            tell(alike)

    def runs(self, question: Question) -> Answer:
        """The table of the runs; asked again: as they are now."""
        if question.get("again"):
            self.refresh()
        about = runs_answer(self.table, self.settings())
        return Answer(about | {"refreshable": bool(self.source)})

    def parallel(self, _question: Question) -> Answer:
        """Hyper-parameters against results."""
        order = [row[0] for row in runs_answer(self.table)["rows"]]
        return painted(parallel_figure(self.table, self.settings(), order))

    def compare(self, question: Question) -> Answer:
        """Curves of some runs, where their settings differ, and each against the first one."""
        runs = list(question["runs"])
        if len(runs) > MOST_COMPARED:
            raise ConfigError(
                f"{len(runs)} runs; at most {MOST_COMPARED} are told apart: take fewer"
            )
        self._check(runs)
        sweeps = [self.sweep_of(self.folder / run) for run in runs]
        tables = []
        if len(runs) > 1:
            differ = told_table([self.folder / run for run in runs])
            tables.append({"title": "Settings that differ"} | rows_of(differ))
            title = "Tuned models on the same images, against the first (p: McNemar, exact)"
            tables.append({"title": title} | rows_of(self.comparison(runs)))
        return painted(curves_figure(sweeps, alpha=None), tables=tables)

    def _check(self, runs: Sequence[str]) -> None:
        known = set(self.table.run)
        for run in runs:
            if run not in known:
                raise unknown("run", run, known)

    def comparison(self, runs: Sequence[str], alpha: float = TUNED) -> pd.DataFrame:
        """Accuracies (%) of the first run and each other one on each test split, and McNemar's p.

        Returns:
            A row per other run and split; the difference comes with its 95 % interval.

        Raises:
            RunError: for a run that is not there.
            ConfigError: where the runs saw other images.
        """
        self._check(runs)
        first, *others = [self.sweep_of(self.folder / run) for run in runs]
        rows = []
        for run, other in zip(runs[1:], others, strict=True):
            for split in first.splits:
                if split not in other.splits:
                    scored = f"{first.splits} and {other.splits}"
                    raise ConfigError(f"the runs are scored on {scored}; use one data set")
                compared = compare(_scores(first, split, alpha), _scores(other, split, alpha))
                rows.append({"run": run, "split": split} | _in_words(compared))
        return pd.DataFrame(rows)


def _in_words(comparison: Comparison) -> dict[str, object]:
    interval = f"[{100 * comparison.low:+.1f}, {100 * comparison.high:+.1f}]"
    return {
        "first %": f"{100 * comparison.first:.1f}",
        "this %": f"{100 * comparison.second:.1f}",
        "difference": f"{100 * comparison.difference:+.1f} {interval}",
        "only first right": comparison.only_first,
        "only this right": comparison.only_second,
        "p": f"{comparison.p:.2g}",
    }


def _scores(sweep: Sweep, split: str, alpha: float) -> Scores:
    """The scores of one split at the nearest alpha; a sweep holds no NLL, and none is asked for."""
    rows = sweep.rows[split]
    place = sweep.nearest(alpha)
    ids = tuple(sweep.ids[rows])
    told = (sweep.label[rows], sweep.prediction[place, rows], sweep.confidence[place, rows])
    return Scores(split, alpha, ids, *told, nll=np.zeros(len(rows)))
