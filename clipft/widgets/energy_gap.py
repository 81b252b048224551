"""Explorers of many runs: energy gap against robustness, and feature distortion."""

from __future__ import annotations

import html
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import traitlets

from .. import figures
from ..disk.files import read_json
from ..errors import ClipftError, ConfigError, unknown
from ..figures.style import GREY, UNITS, settings, style
from ..metrics.correlation import correlation
from ..runs.names import title_of
from ..runs.sweep import Sweep, read_sweep
from ..runs.table import wide
from ..runs.thumbnails import Thumbnails
from .base import (
    TILES,
    Chart,
    Explorer,
    W,
    box,
    dropdown,
    padded,
    said,
    table_html,
    text_panel,
    tiles_html,
    verdict,
)
from .wise import wise_spec

if TYPE_CHECKING:
    import plotly.graph_objects as go


class EnergyGapExplorer(Explorer):
    """Energy gap, or another measure, against robustness: a point per run; r follows what is shown.

    results: `store.results(runs)`. runs: the folder of the runs; with it a click shows a run's configuration, WiSE
    curve and most-moved images. Traits: shift (a split), methods (shown), x, y (metrics), selection (a run's
    id, or "").
    """

    shift = traitlets.Unicode()
    methods = traitlets.Tuple()
    x = traitlets.Unicode("energy_gap")
    y = traitlets.Unicode("relative_accuracy")
    selection = traitlets.Unicode()

    def __init__(self, results: pd.DataFrame, runs: Path | str = "", alpha: float = 1.0, **chosen):
        rows = wide(results)
        rows = rows[(rows.role == "shift") & (rows.alpha == alpha)].reset_index(drop=True)
        if rows.empty:
            raise ConfigError(
                f"no run is scored on a shift at alpha {alpha:g}: clipft wise RUN --alpha {alpha:g}"
            )
        shifts, measured = sorted(rows.split.unique()), [name for name in UNITS if name in rows]
        x = chosen.get("x", measured[0])
        names = list(
            style(rows.dropna(subset=[x] if x in rows else []).method.unique())
        )  # an ensemble has no gap
        super().__init__(**{"shift": shifts[0], "methods": tuple(names), "x": x} | chosen)
        self.rows, self.folder, self.looks = rows, Path(runs) if runs else None, style(names)
        self.results, self.alpha = results, alpha
        self.sweep_of = cache(lambda run: read_sweep(self.folder / run))
        self.thumbnails_of = cache(
            lambda run: Thumbnails(self.sweep_of(run))
        )  # a pack is read once
        metrics = [(UNITS[name].split(" (")[0], name) for name in measured]
        menus = {
            "shift": dropdown([(name.split("/")[0], name) for name in shifts], "shift", self.shift),
            "x": dropdown(metrics, "x", self.x),
            "y": dropdown(metrics, "y", self.y),
            "methods": W.SelectMultiple(
                options=[(self.looks[name][0], name) for name in names],
                value=self.methods,
                description="methods",
                rows=min(8, len(names)),
            ),
        }
        for name, menu in menus.items():
            traitlets.link((self, name), (menu.add_class(f"clipft-{name}"), "value"))
        self.chart, self.curve = Chart(), Chart()
        self.said, self.about, self.tiles = (
            text_panel("r"),
            text_panel("about"),
            text_panel("moved"),
        )
        self.observe(lambda _: self._update(), ["shift", "methods", "x", "y"])
        self.observe(lambda _: self._show_run(), ["selection", "shift"])
        self.chart.observe(self._clicked, "chosen")
        detail = W.VBox([self.about, self.curve], layout=W.Layout(max_width="520px"))
        both = box(W.VBox([self.said, self.chart]), detail)
        self.widget = W.VBox([box(*menus.values()), both, self.tiles])
        self._update()
        self._show_run()

    @property
    def shown(self) -> pd.DataFrame:
        """The rows of the runs that are drawn."""
        rows = self.rows[(self.rows.split == self.shift) & self.rows.method.isin(self.methods)]
        return rows.dropna(subset=[self.x, self.y])

    @property
    def correlation(self):
        """Pearson's r of what is drawn, with its 95 % interval."""
        return correlation(self.shown[self.x], self.shown[self.y])

    def figure(self) -> go.Figure:
        """The static twin: the same runs, a panel per shift."""
        shown = self.results[self.results.method.isin(self.methods)]
        return figures.energy_gap(shown, self.x, self.y, self.alpha)

    @traitlets.validate("selection")
    def _there(self, proposal: dict) -> str:
        known = set(self.rows.run) if hasattr(self, "rows") else {proposal["value"]}
        if proposal["value"] and proposal["value"] not in known:
            raise unknown("run", proposal["value"], known)
        return proposal["value"]

    def _clicked(self, change: dict) -> None:
        self.selection = "" if change["new"] < 0 else self.rows.run[change["new"]]

    def _update(self) -> None:
        rows, marks = self.shown, []
        for name, part in rows.groupby("method", sort=False):
            _, colour, symbol, _ = self.looks[name]
            text = [
                "\n".join(
                    [
                        settings(row),
                        *(f"{name.replace('_', ' ')} {row[name]:.3f}" for name in (self.x, self.y)),
                    ]
                )
                for _, row in part.iterrows()
            ]
            marks.append(
                {
                    "kind": "points",
                    "x": part[self.x].tolist(),
                    "y": part[self.y].tolist(),
                    "colour": colour,
                    "symbol": symbol,
                    "size": 6,
                    "text": text,
                    "id": part.index.tolist(),
                }
            )
        axes = {
            name: {
                "title": UNITS[column],
                "range": padded(rows[column].min(), rows[column].max()) if len(rows) else [0, 1],
            }
            for name, column in (("x", self.x), ("y", self.y))
        }
        legend = [
            {
                "name": self.looks[name][0],
                "colour": self.looks[name][1],
                "symbol": self.looks[name][2],
            }
            for name in rows.method.unique()
        ]
        title = f"{UNITS[self.x]} against {UNITS[self.y]}"
        self.chart.spec = {
            "title": title,
            "height": 400,
            "legend": legend,
            "panels": [{"width": 620, "marks": marks} | axes],
        }
        self.said.value = f"<p>Pearson's {self.correlation}, 95 % interval over the runs shown</p>"

    def _show_run(self) -> None:
        self.curve.spec, self.tiles.value = {}, ""
        if not self.selection:
            self.about.value = (
                "<p>Click a point, or walk with the arrow keys and press Enter, to see its run.</p>"
            )
            return
        row = self.rows[self.rows.run == self.selection].iloc[0]
        self.about.value = f"<h4>{html.escape(f'{settings(row)}, run {self.selection}')}</h4>"
        if self.folder is None:
            return
        try:
            self.about.value += config_html(self.folder / self.selection)
            sweep = self.sweep_of(self.selection)
        except ClipftError as error:
            self.about.value += said(error)
            return
        self.curve.spec = wise_spec([sweep], 0, bars=False)
        self.tiles.value = moved_html(sweep, self.shift, self.thumbnails_of(self.selection))


def config_html(folder: Path) -> str:
    """What a run's configuration sets apart from the defaults."""
    shown = {
        key: value
        for key, value in read_json(folder / "config.json").items()
        if changed(key, value)
    }
    return table_html(
        pd.DataFrame({"setting": list(shown), "value": [str(value) for value in shown.values()]})
    )


def changed(key: str, value: object) -> bool:
    """Whether a recorded setting differs from clipft's default."""
    from ..config import RunConfig

    default = RunConfig.model_fields[key].default if key in RunConfig.model_fields else None
    return value != (list(default) if isinstance(default, tuple) else default)


def moved_html(sweep: Sweep, split: str, thumbnails: Thumbnails) -> str:
    """The images of one split whose energies moved most from zero-shot to tuned."""
    if sweep.energy_gap is None:
        return "<p>no energy gap of single images: an ensemble has none</p>"
    rows = sweep.rows[split]
    rows = rows[np.argsort(-sweep.energy_gap[-1, rows], kind="stable")]
    before, after = sweep.prediction[0], sweep.prediction[-1]
    captions = {
        row: "<br>".join(
            [
                f"gap {sweep.energy_gap[-1, row]:.1f}",
                *(verdict(sweep, row, one[row]) for one in (before, after)),
            ]
        )
        for row in rows[:TILES]
    }
    head = "<p>Most moved images: energy gap, zero-shot prediction, tuned prediction.</p>"
    return head + tiles_html(sweep, rows, thumbnails, captions.__getitem__)


class DistortionExplorer(Explorer):
    """Feature distortion of reference against shifted images, a point per run (`reports.distortion_table`).

    The theory has every point below the dashed line. Traits: shift (a split), kind (raw, normalised).
    """

    shift = traitlets.Unicode()
    kind = traitlets.Unicode("raw")

    def __init__(self, table: pd.DataFrame, **chosen):
        if table.empty:
            raise ConfigError("no feature distortion to draw: reports.distortion_table(RUNS)")
        shifts = sorted(table.split.unique())
        kinds = sorted(table.kind.unique(), reverse=True)  # raw first
        super().__init__(**{"shift": shifts[0], "kind": kinds[0]} | chosen)
        self.table, self.chart, self.said = table, Chart(), text_panel("verdicts")
        menus = [dropdown(shifts, "shift", self.shift), dropdown(kinds, "kind", self.kind)]
        for menu, name in zip(menus, ("shift", "kind"), strict=True):
            traitlets.link((self, name), (menu, "value"))
        self.observe(lambda _: self._update(), ["shift", "kind"])
        self.widget = W.VBox([box(*menus), self.chart, self.said])
        self._update()

    def figure(self) -> go.Figure:
        """The static twin, a panel per shift."""
        return figures.distortion(self.table, self.kind)

    def _update(self) -> None:
        rows = self.table[(self.table.split == self.shift) & (self.table.kind == self.kind)]
        looks = style(rows.method.unique())
        both = rows[["reference", "shifted"]].to_numpy()
        span = padded(both.min(), both.max())
        marks: list[dict] = [{"kind": "line", "x": span, "y": span, "colour": GREY, "dash": "dash"}]
        for name, part in rows.groupby("method", sort=False):
            text = [
                f"{title_of(name)}, seed {row.seed}\nreference {row.reference:.3f}, shifted {row.shifted:.3f}\n"
                f"difference {row.difference:+.3f} [{row.low:+.3f}, {row.high:+.3f}]: {row.verdict}"
                for row in part.itertuples()
            ]
            marks.append(
                {
                    "kind": "points",
                    "x": part.reference.tolist(),
                    "y": part.shifted.tolist(),
                    "size": 6,
                    "text": text,
                    "colour": looks[name][1],
                    "symbol": looks[name][2],
                    "id": part.index.tolist(),
                }
            )
        unit = "||f - f0||, unit rows" if self.kind == "normalised" else "||F - F0||"
        axes = {
            "x": {"title": f"reference images: {unit}", "range": span},
            "y": {"title": f"shifted images: {unit}", "range": span},
        }
        legend = [{"name": t, "colour": c, "symbol": s} for t, c, s, _ in looks.values()]
        panel = {"width": 460, "marks": marks} | axes
        self.chart.spec = {
            "title": "feature distortion",
            "height": 440,
            "legend": legend,
            "panels": [panel],
        }
        count = rows.verdict.value_counts()
        counts = ", ".join(f"{name} in {count.get(name, 0)}" for name in ("holds", "fails", "open"))
        self.said.value = said(
            f"{len(rows)} runs; by 95 % intervals over images the theory {counts}"
        )
