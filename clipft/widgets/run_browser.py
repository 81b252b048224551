"""A browser of hundreds of runs: sort, filter, group, open one, compare some."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import traitlets

from ..boards.explorers import runs_board
from ..boards.run_desk import RunDesk
from ..boards.run_table import run_table
from ..config import TUNED
from ..figures.tables import table_figure
from .base import Explorer, results_of


class RunBrowser(Explorer):
    """All finished runs as a table: sort, filter, choose columns, group by recipe, compare some.

    The filter finds what pictures call a run, its id, and any setting: `lipsum lr 1e-3`, `seed=1`,
    `5f95`, and what people call it: its name and tags; a range of any number narrows it. Runs that
    are ticked are compared: curves, settings that differ, and McNemar's p on the same images.
    `refresh`, a button too, looks for runs that came, went, were scored or labelled.
    Traits: query (words that a run must have), run (the id of the open one), compared (ids),
    grouped (whether recipes are shown, mean and deviation over seeds), every (seconds after which
    the page refreshes by itself; 0: never).

    Arguments:
        results: of `clipft.results`, or the runs themselves: their folder, or a list.
        runs: the folder of a table's runs.

    Raises:
        RunError: where there is no scored run.

    Example:
        >>> browser = clipft.RunBrowser("runs")
        >>> browser.query = "Lipsum-FT, lr 1e-4"
        >>> browser.compared = [run.id for run in clipft.open_runs("runs")]
        >>> browser.comparison().split.tolist()
        ['real/test', 'clipart/test', 'sketch/test']
    """

    query: Any = traitlets.Unicode().tag(sync=True)
    run: Any = traitlets.Unicode().tag(sync=True)
    compared: Any = traitlets.List(traitlets.Unicode()).tag(sync=True)
    grouped: Any = traitlets.Bool(False).tag(sync=True)
    every: Any = traitlets.Float(0.0, min=0.0).tag(sync=True)

    def __init__(self, results: Any, runs: Path | str = ""):
        # What is looked at again: the runs as they were given, or the folder of a table's.
        source = runs if isinstance(results, pd.DataFrame) else results
        table, folder = results_of(results, runs)
        self.desk = RunDesk(table, folder, source)
        super().__init__(runs_board(self.desk))

    @property
    def title(self) -> str:
        """Of its page."""
        return f"{len(self.table)} runs"

    @property
    def known_runs(self) -> set[str]:
        """The ids that `run` may have."""
        return {"", *self.desk.table.run}

    def refresh(self) -> None:
        """Look again for runs; the page shows them when it asks, by its button or its clock."""
        self.desk.refresh()
        self._record = None

    @property
    def table(self) -> pd.DataFrame:
        """A row per tuned run, accuracies in percent, see `run_table`."""
        return run_table(self.desk.table)

    def comparison(self, alpha: float = TUNED) -> pd.DataFrame:
        """Accuracies (%) of the first compared run and each other one, and McNemar's p.

        Returns:
            A row per other run and split; the difference comes with its 95 % interval.

        Raises:
            ConfigError: where the runs saw other images.
        """
        return self.desk.comparison(self.compared, alpha)

    def figure(self):
        """The static twin: the table of the runs, which needs no kernel to be of use."""
        return table_figure(self.table.round(2).astype(str))
