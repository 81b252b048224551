"""Explorer of energy maps: where tuning moved each image's energies; a lasso takes images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pandas as pd
import traitlets

from ..boards.explorers import map_board
from ..figures.energy_map import Colouring, Places, energy_map_figure, rows_in
from ..runs.run import Run, read_sweep
from ..runs.sweep import Sweep
from .base import Explorer

if TYPE_CHECKING:
    from ..diagnostics.energy_map import EnergyMap  # asks for torch

COLOURINGS = (*get_args(Colouring), "confidence", "flip")
PLACES = (*get_args(Places), "at alpha")


class EnergyMapExplorer(Explorer):
    """t-SNE of energy vectors before and after tuning; a lasso shows the images inside it.

    Up to 100 000 images: pan, zoom, and lasso; near enough each point is its image. The slider of
    alpha moves the points from their zero-shot to their tuned places, on a straight line. Coloured
    by class it has a legend that is searched: what is typed selects the classes it finds.
    Traits: colour (split, class, gap, confidence, flip), places (both: with a line from each
    image's zero-shot place; at alpha, side by side, before, after), alpha, against (of the flips: 0
    zero-shot, 1 tuned), selection (ids of the selected images).

    Arguments:
        energies: of `energy_map`, or a run, whose map is made then.
        sweep: the same run, or its `Sweep`: for class names, predictions and thumbnails; not wanted
            where a run is given first.
        traits: what is shown at first.

    Raises:
        ConfigError: where the map has no images, or is not of the same run.

    Example:
        >>> run = clipft.open_runs("runs")[0]
        >>> places = clipft.energy_map(run, per_split=10, perplexity=5)
        >>> explorer = clipft.EnergyMapExplorer(places, run, colour="gap")
        >>> explorer.selection = list(places.ids[:3])  # as the lasso does
        >>> len(explorer.selected)
        3
    """

    alpha: Any = traitlets.Float(1.0, min=0, max=1).tag(sync=True)
    run: Any = traitlets.Unicode().tag(sync=True)
    selection: Any = traitlets.List(traitlets.Unicode()).tag(sync=True)
    colour: Any = traitlets.Enum(COLOURINGS, "split").tag(sync=True)
    places: Any = traitlets.Enum(PLACES, "both").tag(sync=True)
    against: Any = traitlets.Enum((0, 1), 0).tag(sync=True)

    def __init__(self, energies: Any, sweep: Any = None, **traits: Any):
        if not hasattr(energies, "ids"):
            from ..reports.energy_map import energy_map  # torch: a model is asked

            run = Run.open(energies)
            sweep = run.sweep()
            energies = energy_map(run)
        elif not isinstance(sweep, Sweep):
            sweep = read_sweep(sweep)
        self.energies: EnergyMap = energies
        self.sweep = sweep
        super().__init__(map_board(energies, sweep, **traits))
        self.rows = rows_in(sweep, energies)

    def figure(self):
        """The static twin: the picture that is shown, as near as one without alpha can be."""
        places: Any = "both" if self.places == "at alpha" else self.places
        colour: Any = self.colour if self.colour in get_args(Colouring) else "split"
        return energy_map_figure(self.energies, self.sweep, places=places, colour=colour)

    @property
    def selected(self) -> pd.DataFrame:
        """The images of the selection: split, id, class, both predictions, gap (squared logits)."""
        sweep = self.sweep
        rows = self.rows[np.isin(sweep.keys[self.rows], self.selection)]
        table = pd.DataFrame({"split": sweep.split[rows], "id": sweep.ids[rows]})
        zero_shot, tuned = sweep.prediction[[0, -1]]
        columns = {"class": sweep.label, "zero-shot": zero_shot, "tuned": tuned}
        for column_name, labels in columns.items():
            table[column_name] = [sweep.name_of(label) for label in labels[rows]]
        if sweep.energy_gap is not None:
            table["energy gap"] = sweep.energy_gap[-1, rows].astype(float).round(2)
        return table
