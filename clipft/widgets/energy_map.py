"""Explorer of energy maps: where tuning moved each image's energies; a lasso takes images."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import traitlets

from ..errors import ConfigError
from ..figures.energy_map import energy_map_figure
from ..figures.style import COLOURS, GREY, SYMBOLS, Look, domain_of, look_of
from ..runs.run import Run, read_sweep
from ..runs.sweep import Sweep
from ..runs.thumbnails import Thumbnails
from .base import Chart, Explorer, Html, W, box, dropdown, text_panel
from .marks import Spec, chart, mark, padded
from .texts import TILES, paragraph, table_html, tiles_html

if TYPE_CHECKING:
    from ..diagnostics.energy_map import EnergyMap  # asks for torch

# from viridis: small to large gap
SCALE = ("#3B528B", "#2C728E", "#21918C", "#3FBC73", "#AADC32", "#E5C100")
COLOURINGS = ("split", "class", "gap")
PLACES = ("both", "before", "after")
HINT = "Draw around images with the mouse; with the keyboard: arrows, then Enter."


class EnergyMapExplorer(Explorer):
    """t-SNE of energy vectors before and after tuning, with an arrow for each image.

    Traits: colour (split, class, gap), places (both, before, after), selection (positions of the
    images inside the lasso).

    Arguments:
        energies: of `energy_map`, or a run, whose map is made then.
        sweep: the same run, or its `Sweep`: for class names, predictions and thumbnails; not wanted
            where a run is given first.
        traits: what is shown at first.

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
        self.texts = [self._text(row) for row in self.rows]
        self.thumbnails = Thumbnails(sweep)

        self._add_widgets()
        self.observe(self._show_selection, "selection")
        self.chart.observe(self._lassoed, "selection")
        self.chart.observe(self._clicked, "chosen")
        self._draw()
        self._show_selection()

    def _add_widgets(self) -> None:
        self.chart = Chart()
        self.table_panel = text_panel("lasso")
        self.tiles = text_panel("lasso-tiles")

        colour = dropdown(COLOURINGS, "colour", self.colour)
        places = dropdown(PLACES, "show", self.places)
        self.bind(self._draw, colour=colour, places=places)
        clear = W.Button(description="clear lasso").add_class("clipft-clear")
        clear.on_click(lambda _: self.set_trait("selection", ()))
        head = [box(colour, places, clear), Html(value=paragraph(HINT))]
        self.widget = W.VBox([*head, self.chart, self.table_panel, self.tiles])

    def figure(self):
        """The static twin: both maps side by side."""
        figure = energy_map_figure(self.energies)
        return figure.update_layout(title_text=f"{self.sweep.title}: {figure.layout.title.text}")

    @property
    def selected(self) -> pd.DataFrame:
        """The images of the selection: split, id, class, both predictions, gap (squared logits)."""
        sweep = self.sweep
        rows = self.rows[list(self.selection)]
        table = pd.DataFrame({"split": sweep.split[rows], "id": sweep.ids[rows]})
        zero_shot, tuned = sweep.prediction[[0, -1]]
        columns = {"class": sweep.label, "zero-shot": zero_shot, "tuned": tuned}
        for column, labels in columns.items():
            table[column] = [sweep.name_of(label) for label in labels[rows]]
        if sweep.energy_gap is not None:
            table["energy gap"] = sweep.energy_gap[-1, rows].astype(float).round(2)
        return table

    def _groups(self) -> tuple[np.ndarray, list[Look]]:
        """(N,) the group of each image, and the groups' looks.

        By split where the gap is asked for and single images have none.
        """
        if self.colour == "class":
            return by_class(self.sweep.label[self.rows])
        if self.colour == "gap" and self.sweep.energy_gap is not None:
            return by_gap(self.sweep.energy_gap[-1, self.rows])
        return by_split(self.sweep.split[self.rows])

    def _draw(self, _change: object = None) -> None:
        before = self.energies.before.T
        after = self.energies.after.T
        groups, looks = self._groups()
        _, colours, symbols, _ = np.array(looks)[groups].T.tolist()
        marks = []
        if self.places == "both":
            x1, y1 = after.tolist()
            faint = Look("zero-shot place", GREY, "circle")
            looks = [*looks, faint]
            marks.append(mark("arrows", *before, x1=x1, y1=y1, colour=colours))
            marks.append(mark("points", *before, colour=GREY, symbol=faint.symbol, size=2))
        places = before if self.places == "before" else after
        images = mark("points", *places, colour=colours, symbol=symbols, size=4)
        marks.append(images | {"text": self.texts, "id": list(range(len(self.rows)))})

        x, y = np.concatenate([before, after], axis=1)
        title = f"t-SNE of energy vectors, {self.sweep.title}"
        panel = {"width": 760, "marks": marks, "x": _axis(x), "y": _axis(y)}
        self.chart.spec = chart(title, 560, [panel], looks, lasso=True)

    def _text(self, row: int) -> str:
        name = self.sweep.name_of(self.sweep.label[row])
        return f"{domain_of(self.sweep.split[row])}: {name}\n{self.sweep.ids[row]}"

    def _lassoed(self, change: dict) -> None:
        self.selection = tuple(change["new"])

    def _clicked(self, change: dict) -> None:
        if change["new"] >= 0:
            self.selection = (change["new"],)

    def _show_selection(self, _change: object = None) -> None:
        self.chart.selection = list(self.selection)
        if self.selection != (self.chart.chosen,):
            # Else a click on the same image would be no change.
            self.chart.chosen = -1
        if not self.selection:
            self.table_panel.value = ""
            self.tiles.value = ""
            return

        table = self.selected
        text = paragraph(f"{len(table)} images") + table_html(table.head(TILES))
        if len(table) > TILES:
            text += paragraph(f"and {len(table) - TILES} more")
        self.table_panel.value = text

        rows = self.rows[list(self.selection)]
        self.tiles.value = tiles_html(self.sweep, rows, self.thumbnails, places=[0, -1])


def rows_in(sweep: Sweep, energies: EnergyMap) -> np.ndarray:
    """The sweep's row of each image of the map; raises ConfigError where it has none."""
    images = zip(sweep.split.tolist(), sweep.ids.tolist(), strict=True)
    row_of = dict(zip(images, range(len(sweep.ids)), strict=True))
    try:
        return np.array([row_of[image] for image in zip(energies.split, energies.ids, strict=True)])
    except KeyError as error:
        text = f"the map holds {error}, which {sweep.title} was not scored on; use one run's"
        raise ConfigError(text) from None


def by_gap(gap: np.ndarray) -> tuple[np.ndarray, list[Look]]:
    """Sixths of the images, from small to large energy gap."""
    edges = np.quantile(gap, np.linspace(0, 1, len(SCALE) + 1))
    sixths = np.clip(np.searchsorted(edges, gap, side="right") - 1, 0, len(SCALE) - 1)
    looks = []
    for colour, low, high in zip(SCALE, edges[:-1], edges[1:], strict=True):
        looks.append(Look(f"{low:.2f} to {high:.2f}", colour, "circle"))
    return sixths, looks


def by_class(labels: np.ndarray) -> tuple[np.ndarray, list[Look]]:
    """Classes in 64 looks without a title: they are too many for a legend."""
    looks = [Look("", colour, symbol) for symbol, colour in product(SYMBOLS, COLOURS)]
    return labels % len(looks), looks


def by_split(splits: np.ndarray) -> tuple[np.ndarray, list[Look]]:
    """Splits in the order in which they come."""
    numbers, names = pd.factorize(splits)
    return numbers, [look_of(number, domain_of(split)) for number, split in enumerate(names)]


def _axis(values: np.ndarray) -> Spec:
    return {"plain": True, "range": padded(values.min(), values.max(), share=0.03)}
