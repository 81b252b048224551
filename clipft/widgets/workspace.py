"""A folder of runs in all views at once, which are linked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import traitlets

from ..boards.explorers import workspace_board
from ..figures.wise import sweep_figure
from ..runs.folder import run_folders
from ..runs.run import read_sweep
from ..runs.table import results
from ..runs.thumbnails import Thumbnails
from .base import Explorer

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from ..diagnostics.energy_map import EnergyMap


class Workspace(Explorer):
    """A folder of runs: the energy map, and beside it WiSE, classes, confusions, calibration,
    training, energy gap over runs, and the browser of runs; all linked.

    Images that a lasso takes on the map, or a click on a class, are those that every view then
    shows; a click on a run anywhere shows that run everywhere. Traits: alpha, run (an id),
    selection (ids of images), colour and places of the map, split, compared (ids of runs).

    Arguments:
        runs: a folder of scored runs of one kind.
        maps: whether the model is asked: for the energy map of a run that is looked at, which is
            kept, and for the classes that are called alike.
        per_split: so many images of each split on the map; None: all.

    Raises:
        RunError: where there is no scored run.
        ConfigError: where runs cannot be compared.

    Example:
        >>> workspace = clipft.Workspace("runs", maps=False)
        >>> workspace.alpha = 0.3
        >>> workspace.selection = ["clipart/apple/0.png"]
    """

    alpha: Any = traitlets.Float(0.5, min=0, max=1).tag(sync=True)
    run: Any = traitlets.Unicode().tag(sync=True)
    selection: Any = traitlets.List(traitlets.Unicode()).tag(sync=True)
    colour: Any = traitlets.Unicode("split").tag(sync=True)
    places: Any = traitlets.Unicode("at alpha").tag(sync=True)
    against: Any = traitlets.Enum((0, 1), 0).tag(sync=True)
    kind: Any = traitlets.Enum(("lost", "gained", "all"), "lost").tag(sync=True)
    split: Any = traitlets.Unicode().tag(sync=True)
    compared: Any = traitlets.List(traitlets.Unicode()).tag(sync=True)

    def __init__(
        self, runs: Path | str = "runs", *, maps: bool = True, per_split: int | None = 100
    ):
        self.runs = Path(runs)
        self.per_split = per_split
        found = self._map if maps else None
        alike = self._similar if maps else None
        super().__init__(workspace_board(self.runs, results(self.runs), found, alike))

    @property
    def title(self) -> str:
        """Of its page."""
        whole = self.runs.resolve()
        return f"Runs of {whole.parent.name if whole.name == 'runs' else whole.name}"

    @property
    def known_runs(self) -> set[str]:
        """Those that came into the folder since, too."""
        return {own.name for own in run_folders(self.runs)}

    def _map(self, run: str) -> EnergyMap:
        from ..reports.energy_map import energy_map  # torch: a model is asked

        return energy_map(self.runs / run, per_split=self.per_split)

    def _similar(self, run: str) -> pd.DataFrame:
        from ..reports.class_similarity import class_similarity

        return class_similarity(self.runs / run)

    def figure(self) -> go.Figure:
        """The static twin: the slider of the run that is shown."""
        sweep = read_sweep(self.runs / self.run)
        return sweep_figure(sweep, self.alpha, Thumbnails(sweep))
