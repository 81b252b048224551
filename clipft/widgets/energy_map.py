"""Explorer of energy maps: where tuning moved each image's energies; a lasso takes images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pandas as pd
import traitlets

from ..errors import ConfigError
from ..figures.energy_map import Colouring, Places, energy_map_figure, look_of_class, rows_in
from ..runs.run import Run, read_sweep
from ..runs.sweep import Sweep
from ..runs.thumbnails import Thumbnails
from .base import Explorer, Html, Plot, W, beside, column, dropdown, text_panel
from .legend import Legend
from .texts import TILES, paragraph, table_html, tiles_html

if TYPE_CHECKING:
    from ..diagnostics.energy_map import EnergyMap  # asks for torch

COLOURINGS = get_args(Colouring)
PLACES = get_args(Places)
HINT = "Draw around images with the mouse; with the keyboard: arrows, then Enter."


class EnergyMapExplorer(Explorer):
    """t-SNE of energy vectors before and after tuning; a lasso shows the images inside it.

    Coloured by class it has a legend that is searched: what is typed selects the classes it finds.
    Traits: colour (split, class, gap), places (both, side by side, before, after), selection
    (numbers of the selected images).

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
        >>> explorer.selection = (0, 3)  # as the lasso does
    """

    colour = traitlets.Enum(COLOURINGS, "split")
    places = traitlets.Enum(PLACES, "both")
    selection = traitlets.Tuple()

    def __init__(self, energies: Any, sweep: Any = None, **traits: object):
        super().__init__(**traits)
        if not hasattr(energies, "ids"):
            from ..reports.energy_map import energy_map  # torch: a model is asked

            run = Run.open(energies)
            sweep = run.sweep()
            energies = energy_map(run)
        elif not isinstance(sweep, Sweep):
            sweep = read_sweep(sweep)
        if not len(energies.ids):
            take = "take more: reports.energy_map(RUN, per_split=100)"
            raise ConfigError(f"an energy map without images; {take}")
        self.energies: EnergyMap = energies
        self.sweep = sweep
        self.rows = rows_in(sweep, energies)
        self.thumbnails = Thumbnails(sweep)

        self._add_widgets()
        self.observe(self._show_selection, "selection")
        self.plot.observe(self._lassoed, "selection")
        self.plot.observe(self._clicked, "chosen")
        self.classes.observe(self._chose_classes, "chosen")
        self._draw()
        self._show_selection()

    def _add_widgets(self) -> None:
        self.plot = Plot()
        self.tiles = text_panel("lasso-tiles")
        self.table_panel = text_panel("lasso")
        self._add_classes()

        colour = dropdown(COLOURINGS, "colour", self.colour)
        places = dropdown(PLACES, "show", self.places)
        self.bind(self._draw, colour=colour, places=places)
        clear = W.Button(description="clear lasso").add_class("clipft-clear")
        clear.on_click(lambda _: self._clear())
        controls = [colour, places, clear, Html(value=paragraph(HINT)), self.classes]
        self.widget = column(beside(controls, self.plot), self.tiles, self.table_panel)

    def _add_classes(self) -> None:
        """The legend of classes, by name; `labels` are their numbers in the same order."""
        labels, counts = np.unique(self.energies.label, return_counts=True)
        names = [self.sweep.name_of(label) for label in labels]
        in_order = sorted(range(len(names)), key=lambda place: names[place].casefold())
        entries = []
        for place in in_order:
            look = look_of_class(labels[place])
            entry = {"name": names[place], "count": int(counts[place])}
            entries.append(entry | {"colour": look.colour, "symbol": look.symbol})
        self.labels = labels[in_order]
        self.classes = Legend(entries)

    def figure(self):
        """The picture that is shown."""
        how: dict[str, Any] = {"places": self.places, "colour": self.colour}
        return energy_map_figure(self.energies, self.sweep, **how)

    @property
    def selected(self) -> pd.DataFrame:
        """The images of the selection: split, id, class, both predictions, gap (squared logits)."""
        sweep = self.sweep
        rows = self.rows[list(self.selection)]
        table = pd.DataFrame({"split": sweep.split[rows], "id": sweep.ids[rows]})
        zero_shot, tuned = sweep.prediction[[0, -1]]
        columns = {"class": sweep.label, "zero-shot": zero_shot, "tuned": tuned}
        for column_name, labels in columns.items():
            table[column_name] = [sweep.name_of(label) for label in labels[rows]]
        if sweep.energy_gap is not None:
            table["energy gap"] = sweep.energy_gap[-1, rows].astype(float).round(2)
        return table

    def _draw(self, _change: object = None) -> None:
        self.plot.paint(self.figure())
        self.classes.layout.display = None if self.colour == "class" else "none"

    def _lassoed(self, change: dict) -> None:
        self.selection = tuple(change["new"])

    def _clicked(self, change: dict) -> None:
        if change["new"] >= 0:
            self.selection = (change["new"],)

    def _images_of(self, chosen: Sequence[int]) -> tuple[int, ...]:
        """The images of some classes of the legend."""
        of_these = np.isin(self.energies.label, self.labels[list(chosen)])
        return tuple(np.flatnonzero(of_these).tolist())

    def _chose_classes(self, change: dict) -> None:
        # A lasso, too, empties the choice of classes; what it holds then stays selected.
        if change["new"] or self.selection == self._images_of(change["old"]):
            self.selection = self._images_of(change["new"])

    def _clear(self) -> None:
        self.selection = ()
        self.classes.find = ""

    def _show_selection(self, _change: object = None) -> None:
        self.plot.selection = list(self.selection)
        if self.selection != (self.plot.chosen,):
            # Else a click on the same image would be no change.
            self.plot.chosen = -1
        if self.selection != self._images_of(self.classes.chosen):
            self.classes.chosen = []
        if not self.selection:
            self.tiles.value = ""
            self.table_panel.value = ""
            return

        rows = self.rows[list(self.selection)]
        self.tiles.value = tiles_html(self.sweep, rows, self.thumbnails, places=[0, -1])

        table = self.selected
        text = paragraph(f"{len(table)} images") + table_html(table.head(TILES))
        if len(table) > TILES:
            text += paragraph(f"and {len(table) - TILES} more")
        self.table_panel.value = text
