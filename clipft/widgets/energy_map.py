"""Explorer of energy maps: where tuning moved each image's energies; a lasso takes images, a menu the colours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import traitlets

from .. import figures
from ..errors import ConfigError
from ..figures.style import COLOURS, GREY, SYMBOLS
from ..runs.thumbnails import Thumbnails
from .base import (
    TILES,
    Chart,
    Explorer,
    Html,
    W,
    box,
    dropdown,
    padded,
    table_html,
    text_panel,
    tiles_html,
    verdict,
)

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from ..diagnostics.energy_map import EnergyMap
    from ..runs.sweep import Sweep

SCALE = (
    "#3B528B",
    "#2C728E",
    "#21918C",
    "#3FBC73",
    "#AADC32",
    "#E5C100",
)  # from viridis: small to large gap


class EnergyMapExplorer(Explorer):
    """t-SNE of energy vectors before and after tuning, with an arrow for each image; lasso some to see them.

    found: `reports.energy_map(run)`; sweep: the same run's, for class names, predictions and thumbnails. Traits:
    colour (split, class, gap), places (both, before, after), selection (positions of the images inside the lasso).
    """

    colour = traitlets.Enum(("split", "class", "gap"), "split")
    places = traitlets.Enum(("both", "before", "after"), "both")
    selection = traitlets.Tuple()

    def __init__(self, found: EnergyMap, sweep: Sweep, **chosen):
        super().__init__(**chosen)
        if not len(found.ids):
            raise ConfigError(
                "an energy map without images; take more: reports.energy_map(RUN, per_split=100)"
            )
        self.found, self.sweep, self.thumbnails = found, sweep, Thumbnails(sweep)
        place = {
            key: row
            for row, key in enumerate(zip(sweep.split.tolist(), sweep.ids.tolist(), strict=True))
        }
        try:
            self.place = np.array(
                [place[key] for key in zip(found.split, found.ids, strict=True)]
            )  # rows of the sweep
        except KeyError as error:
            raise ConfigError(
                f"the map holds {error}, which {sweep.title} was not scored on; use one run's"
            ) from None
        self.chart, self.table_panel, self.tiles = (
            Chart(),
            text_panel("lasso"),
            text_panel("lasso-tiles"),
        )
        menus = {
            "colour": dropdown(["split", "class", "gap"], "colour", self.colour),
            "places": dropdown(["both", "before", "after"], "show", self.places),
        }
        for name, menu in menus.items():
            traitlets.link((self, name), (menu, "value"))
        clear = W.Button(description="clear lasso").add_class("clipft-clear")
        clear.on_click(lambda _: setattr(self, "selection", ()))
        self.observe(lambda _: self._draw(), ["colour", "places"])
        self.observe(lambda change: self._select(change["new"]), "selection")
        self.chart.observe(
            lambda change: setattr(self, "selection", tuple(change["new"])), "selection"
        )
        self.chart.observe(self._clicked, "chosen")
        hint = Html(
            value="<p>Draw around images with the mouse; with the keyboard: arrows, then Enter.</p>"
        )
        self.widget = W.VBox(
            [box(*menus.values(), clear), hint, self.chart, self.table_panel, self.tiles]
        )
        self._draw()
        self._select(self.selection)

    def figure(self) -> go.Figure:
        """The static twin: both maps side by side."""
        figure = figures.energy_map(self.found)
        return figure.update_layout(title_text=f"{self.sweep.title}: {figure.layout.title.text}")

    @property
    def selected(self) -> pd.DataFrame:
        """The images of the selection: split, id, class, zero-shot and tuned prediction, gap (squared logits)."""
        rows = self.place[list(self.selection)]
        sweep = self.sweep
        table = pd.DataFrame({"split": sweep.split[rows], "id": sweep.ids[rows]})
        table["class"] = [sweep.name_of(label) for label in sweep.label[rows]]
        for name, alpha in (("zero-shot", 0), ("tuned", -1)):
            table[name] = [sweep.name_of(label) for label in sweep.prediction[alpha, rows]]
        if self.sweep.energy_gap is not None:
            table["energy gap"] = self.sweep.energy_gap[-1, rows].astype(float).round(2)
        return table

    def _looks(self) -> tuple[list[str], list[str], list[dict]]:
        """Colour and symbol of each image, and the legend."""
        found, sweep = self.found, self.sweep
        if self.colour == "gap" and sweep.energy_gap is not None:
            gap = sweep.energy_gap[-1, self.place]
            edges = np.quantile(gap, np.linspace(0, 1, len(SCALE) + 1))
            bins = np.clip(np.searchsorted(edges, gap, side="right") - 1, 0, len(SCALE) - 1)
            spans = zip(SCALE, edges, edges[1:], strict=False)
            legend = [
                {"name": f"{a:.2f} to {b:.2f}", "colour": c, "symbol": "circle"}
                for c, a, b in spans
            ]
            return [SCALE[i] for i in bins], ["circle"] * len(gap), legend
        if self.colour == "class":
            looks = [
                (COLOURS[label % 8], SYMBOLS[label // 8 % 8]) for label in found.label.tolist()
            ]
            return [c for c, _ in looks], [s for _, s in looks], []
        order = {split: i % 8 for i, split in enumerate(dict.fromkeys(found.split))}
        legend = [
            {"name": s.split("/")[0], "colour": COLOURS[i], "symbol": SYMBOLS[i]}
            for s, i in order.items()
        ]
        return (
            [COLOURS[order[s]] for s in found.split],
            [SYMBOLS[order[s]] for s in found.split],
            legend,
        )

    def _draw(self) -> None:
        found, (colours, symbols, legend) = self.found, self._looks()
        before, after = found.before.tolist(), found.after.tolist()
        ids = list(range(len(found.ids)))
        text = [
            f"{split.split('/')[0]}: {self.sweep.name_of(label)}\n{name}"
            for split, name, label in zip(found.split, found.ids, found.label.tolist(), strict=True)
        ]

        def points(places: list, faint: bool) -> dict:
            x, y = ([place[axis] for place in places] for axis in (0, 1))
            look = (
                {"colour": GREY, "symbol": "circle", "size": 2}
                if faint
                else {"colour": colours, "symbol": symbols, "size": 4}
            )
            return (
                {"kind": "points", "x": x, "y": y}
                | look
                | ({} if faint else {"text": text, "id": ids})
            )

        both = self.places == "both"
        marks = [points(before if self.places == "before" else after, False)]
        if both:
            (x, y), (x1, y1) = zip(*before, strict=True), zip(*after, strict=True)
            arrows = {
                "kind": "arrows",
                "x": list(x),
                "y": list(y),
                "x1": list(x1),
                "y1": list(y1),
                "colour": colours,
            }
            marks = [arrows, points(before, True), *marks]
            legend = [*legend, {"name": "zero-shot place", "colour": GREY, "symbol": "circle"}]
        whole = np.concatenate([found.before, found.after])
        axes = {
            name: {"plain": True, "range": padded(whole[:, axis].min(), whole[:, axis].max(), 0.03)}
            for axis, name in enumerate("xy")
        }
        self.chart.spec = {
            "title": f"t-SNE of energy vectors, {self.sweep.title}",
            "height": 560,
            "legend": legend,
            "lasso": True,
            "panels": [{"width": 760, "marks": marks} | axes],
        }

    def _clicked(self, change: dict) -> None:
        if change["new"] >= 0:
            self.selection = (change["new"],)

    def _select(self, selection: tuple[int, ...]) -> None:
        self.chart.selection = list(selection)
        if selection != (self.chart.chosen,):  # else a click on the same image would be no change
            self.chart.chosen = -1
        if not selection:
            self.table_panel.value = self.tiles.value = ""
            return
        rows, sweep = self.place[list(selection)], self.sweep
        table = self.selected
        more = f"<p>and {len(table) - TILES} more</p>" if len(table) > TILES else ""
        self.table_panel.value = f"<p>{len(table)} images</p>{table_html(table.head(TILES))}{more}"
        captions = {
            row: f"{verdict(sweep, row, sweep.prediction[0, row])}<br>{verdict(sweep, row, sweep.prediction[-1, row])}"
            for row in rows[:TILES]
        }
        self.tiles.value = tiles_html(sweep, rows, self.thumbnails, captions.__getitem__)
