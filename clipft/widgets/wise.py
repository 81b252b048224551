"""Explorers of alpha: slide from zero-shot to tuned and see accuracy, flipped images and calibration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import traitlets

from .. import figures
from ..errors import ClipftError, ConfigError
from ..figures.style import COLOURS, GREY, SYMBOLS
from ..figures.wise import ENDS
from ..runs.sweep import Sweep
from ..runs.thumbnails import Thumbnails
from .base import (
    TILES,
    Chart,
    Explorer,
    W,
    alpha_slider,
    box,
    dropdown,
    padded,
    said,
    table_html,
    text_panel,
    tiles_html,
    verdict,
)

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from ..metrics.calibration import Reliability

KINDS = {"lost (right to wrong)": "lost", "gained (wrong to right)": "gained", "all flips": "all"}


def wise_spec(sweeps: Sequence[Sweep], run: int, bars: bool = True) -> dict:
    """The chart of WiSE curves with a marker on one of them, and the bars of its splits."""
    sweep, curves = sweeps[run], []
    for other in sweeps:
        whole = 100 * other.accuracy[:, 0]
        shift = 100 * other.shift_accuracy
        curves.append((100 * other.alphas, whole) if np.isnan(shift).any() else (whole, shift))
    alone = np.isnan(sweep.shift_accuracy).any()
    marks = [
        {
            "kind": "line",
            "x": x.tolist(),
            "y": y.tolist(),
            "colour": GREY,
            "width": 1,
            "opacity": 0.5,
        }
        for number, (x, y) in enumerate(curves)
        if number != run
    ]
    x, y = curves[run]
    here = {"x": x.tolist(), "y": y.tolist(), "t": sweep.alphas.tolist(), "colour": COLOURS[0]}
    zero = {"x": [x[0]], "y": [y[0]], "colour": GREY, "symbol": "star", "size": 8}
    tuned = {"x": [x[-1]], "y": [y[-1]], "colour": COLOURS[1], "symbol": "diamond", "size": 6}
    marks += [
        {"kind": "points"} | zero,
        {"kind": "points"} | tuned,
        {"kind": "path", "symbol": "circle"} | here,
    ]
    every_x, every_y = (np.concatenate([curve[axis] for curve in curves]) for axis in (0, 1))
    path = {
        "width": 430,
        "marks": marks,
        "x": {
            "title": "100 alpha" if alone else "reference accuracy (%)",
            "range": padded(every_x.min(), every_x.max()),
        },
        "y": {
            "title": f"{'reference' if alone else 'mean shift'} accuracy (%)",
            "range": padded(every_y.min(), every_y.max()),
        },
    }
    table = 100 * sweep.accuracy
    groups = [
        {"name": "zero-shot", "colour": GREY, "values": table[0].tolist()},
        {"name": "at alpha", "colour": COLOURS[0], "table": table.tolist()},
        {"name": "tuned", "colour": COLOURS[1], "values": table[-1].tolist(), "hollow": True},
    ]
    panel = {
        "width": 480,
        "marks": [{"kind": "bars", "t": sweep.alphas.tolist(), "groups": groups}],
        "x": {"labels": [name.split("/")[0] for name in sweep.splits]},
        "y": {
            "title": "test accuracy (%)",
            "range": [0, min(105.0, 1.15 * max(float(table.max()), 1))],
        },
    }
    legend = [
        {"name": "zero-shot (alpha 0)", "colour": GREY, "symbol": "star"},
        {"name": "at alpha", "colour": COLOURS[0], "symbol": "circle"},
        {"name": "tuned (alpha 1)", "colour": COLOURS[1], "symbol": "diamond"},
    ]
    title = f"WiSE curve of {sweep.title}"
    return {
        "title": title,
        "height": 330,
        "legend": legend,
        "panels": [path, panel] if bars else [path],
    }


class WiseExplorer(Explorer):
    """Slide alpha: a marker on the WiSE curve, bars per split, how many predictions flip, and the images that flip.

    sweeps: a `sweeps.Sweep`, or several to choose from. Traits: alpha (0 ... 1), run (which sweep), selection (ids of
    the images shown). Between scored alphas accuracy is on the line, predictions are those of the nearest scored one;
    "exact here" scores this alpha on `probe` images of each split (it needs the run's weights and the images).
    """

    alpha = traitlets.Float(0.5, min=0, max=1)
    run = traitlets.Int(0)
    selection = traitlets.Tuple()

    def __init__(self, sweeps: Sweep | Sequence[Sweep], alpha: float = 0.5, probe: int = 100):
        super().__init__(alpha=alpha)
        self.sweeps, self.probe = [sweeps] if isinstance(sweeps, Sweep) else list(sweeps), probe
        if not self.sweeps or not all(isinstance(sweep, Sweep) for sweep in self.sweeps):
            raise ConfigError(
                f"no sweep to explore in {sweeps!r:.80}; read one: read_sweep(FOLDER)"
            )
        self.thumbnails = [Thumbnails(sweep) for sweep in self.sweeps]
        self.chart, self.slider = Chart(alpha=alpha), alpha_slider(alpha)
        self.counts, self.tiles, self.said = (
            text_panel("counts"),
            text_panel("flips"),
            text_panel("exact"),
        )
        self.runs = dropdown([(s.title, i) for i, s in enumerate(self.sweeps)], "run", 0)
        self.kind = dropdown(list(KINDS.items()), "images", "lost")
        self.against = dropdown(list(ENDS.items()), "against", 0.0)
        self.split = dropdown(["every split"], "split")
        self.button = W.Button(
            description="exact here", tooltip="score this alpha on some images of each split"
        )
        self.link = W.jsdlink(
            (self.slider, "value"), (self.chart, "alpha")
        )  # in the page, no kernel asked
        traitlets.link((self, "alpha"), (self.slider, "value"))
        traitlets.link((self, "run"), (self.runs, "value"))
        self.observe(lambda _: self._choose(), "run")
        self.observe(lambda _: self._update(), "alpha")
        for control in (self.kind, self.against, self.split):
            control.observe(lambda _: self._update(), "value")
        self.button.on_click(lambda _: self.exact())
        controls = [self.runs] if len(self.sweeps) > 1 else []
        choice = box(
            self.against, self.kind, self.split, self.button.add_class("clipft-exact-here")
        )
        self.widget = W.VBox(
            [*controls, self.slider, self.chart, self.counts, choice, self.said, self.tiles]
        )
        self._choose()

    @traitlets.validate("run")
    def _there(self, proposal: dict) -> int:
        if not 0 <= proposal["value"] < len(getattr(self, "sweeps", [0])):
            raise traitlets.TraitError(
                f"run is {proposal['value']}, expected one of {len(self.sweeps)} sweeps, from 0"
            )
        return proposal["value"]

    @property
    def sweep(self) -> Sweep:
        """The sweep that is shown."""
        return self.sweeps[self.run]

    def figure(self) -> go.Figure:
        """The static twin; its own slider works without a kernel."""
        return figures.sweep(self.sweep, self.alpha, self.thumbnails[self.run])

    def _choose(self) -> None:
        self.said.value = ""
        self.chart.spec = wise_spec(self.sweeps, self.run)
        self.split.options = ["every split", *self.sweep.splits]
        self._update()

    def _update(self) -> None:
        sweep, place = self.sweep, self.sweep.nearest(self.alpha)
        self.counts.value = self._note() + table_html(flip_table(sweep, self.alpha))
        rows = sweep.flips(self.alpha, self.against.value)[self.kind.value]
        if self.split.value != "every split":
            rows = rows[sweep.split[rows] == self.split.value]
        then = sweep.prediction[sweep.nearest(self.against.value)]
        rows = rows[np.argsort(-sweep.confidence[place, rows], kind="stable")]
        shown = rows[:TILES]

        def caption(row: int) -> str:
            return f"{verdict(sweep, row, then[row])}<br>{verdict(sweep, row, sweep.prediction[place, row])}"

        self.tiles.value = tiles_html(sweep, shown, self.thumbnails[self.run], caption, len(rows))
        self.selection = tuple(sweep.ids[shown].tolist())

    def _note(self) -> str:
        nearest = self.sweep.alphas[self.sweep.nearest(self.alpha)]
        if abs(nearest - self.alpha) < 1e-9:
            return f"<p>alpha {self.alpha:.2f}, scored on every image</p>"
        return f"<p>alpha {self.alpha:.2f}: accuracy on the line between scored alphas, images as at {nearest:.2f}</p>"

    def exact(self) -> pd.DataFrame | None:
        """Score this alpha on `probe` images of each split: accuracy there, and what the line between alphas says."""
        from ..reports.exact import exact

        self.said.value = f"<p>scoring alpha {self.alpha:.2f} ...</p>"
        try:
            if self.sweep.folder is None:
                raise ConfigError(
                    "this sweep came without its run's folder; read it: sweeps.read_sweep(FOLDER)"
                )
            found = exact(self.sweep, self.alpha, self.probe)
        except ClipftError as error:
            self.said.value = said(f"exact here is not possible: {error}")
            return None
        shown = found.assign(**{name: (100 * found[name]).round(1) for name in ("exact", "line")})
        shown = shown.rename(columns={"exact": "exact %", "line": "on the line %"})
        self.said.value = f"<p>alpha {self.alpha:.2f} on the same images:</p>{table_html(shown)}"
        return found


def flip_table(sweep: Sweep, alpha: float) -> pd.DataFrame:
    """Accuracy (%) and flipped predictions of every split at an alpha, against zero-shot and against tuned."""
    accuracy, rows = 100 * sweep.accuracy_at(alpha), {}
    counts = {
        f"{kind} {end}": np.bincount(sweep.split_number[found], minlength=len(sweep.splits))
        for end, at in ENDS.items()
        for kind, found in sweep.flips(alpha, at).items()
    }
    for number, name in enumerate(sweep.splits):
        rows[name] = {
            "split": name,
            "images": len(sweep.rows[name]),
            "accuracy %": f"{accuracy[number]:.1f}",
            "against zero-shot": f"{accuracy[number] - 100 * sweep.accuracy[0, number]:+.1f}",
            "flips from zero-shot": counts["all zero-shot"][number],
            "gained": counts["gained zero-shot"][number],
            "lost": counts["lost zero-shot"][number],
            "flips from tuned": counts["all tuned"][number],
        }
    return pd.DataFrame(rows.values())


class ReliabilityExplorer(Explorer):
    """Slide alpha and see calibration: accuracy against confidence, zero-shot, here and tuned, with their ECE.

    Traits: alpha (0 ... 1; the nearest scored one is shown), split.
    """

    alpha = traitlets.Float(0.5, min=0, max=1)
    split = traitlets.Unicode()

    def __init__(self, sweep: Sweep, alpha: float = 0.5, split: str = "", bins: int = 15):
        super().__init__(alpha=alpha, split=split or sweep.splits[-1])
        self.sweep, self.bins = sweep, bins
        self.chart, self.slider, self.said = Chart(), alpha_slider(alpha), text_panel("ece")
        menu = dropdown(sweep.splits, "split", self.split)
        traitlets.link((self, "alpha"), (self.slider, "value"))
        traitlets.link((self, "split"), (menu, "value"))
        self.observe(lambda _: self._update(), ["alpha", "split"])
        self.widget = W.VBox([menu, self.slider, self.chart, self.said])
        self._update()

    def _models(self) -> dict[str, float]:
        at = self.sweep.alphas[self.sweep.nearest(self.alpha)]
        return {"zero-shot": 0.0, f"alpha {at:.2f}": at, "tuned": 1.0}

    def _diagram(self, alpha: float) -> Reliability:
        return self.sweep.reliability(self.split, alpha, self.bins)

    def figure(self) -> go.Figure:
        """The static twin."""
        diagrams = {name: self._diagram(alpha) for name, alpha in self._models().items()}
        return figures.reliability(diagrams, f"Reliability on {self.split}: {self.sweep.title}")

    def _update(self) -> None:
        marks: list[dict] = [
            {"kind": "line", "x": [0, 1], "y": [0, 1], "colour": GREY, "dash": "dash"}
        ]
        legend, rows, number = [], [], 0
        looks = ((GREY, SYMBOLS[5]), (COLOURS[0], SYMBOLS[0]), (COLOURS[1], SYMBOLS[1]))
        for (name, alpha), (colour, symbol) in zip(self._models().items(), looks, strict=True):
            one = self._diagram(alpha)
            full = one.count > 0
            x, y = one.confidence[full].tolist(), one.accuracy[full].tolist()
            text = [
                f"{name}: {n} images\nconfidence {c:.3f}, accuracy {a:.3f}"
                for n, c, a in zip(one.count[full], x, y, strict=True)
            ]
            marks.append({"kind": "line", "x": x, "y": y, "colour": colour})
            marks.append(
                {
                    "kind": "points",
                    "x": x,
                    "y": y,
                    "colour": colour,
                    "symbol": symbol,
                    "text": text,
                    "id": list(range(number, number + len(x))),
                }
            )
            number += len(x)
            legend.append({"name": name, "colour": colour, "symbol": symbol})
            error = 100 * self.sweep.ece(self.split, alpha)
            rows.append({"model": name, "ECE %": f"{error:.1f}", "images": int(one.count.sum())})
        axis = {"range": [0, 1.02]}
        panel = {
            "width": 520,
            "marks": marks,
            "x": axis | {"title": "confidence of the predicted class"},
            "y": axis | {"title": "accuracy (fraction)"},
        }
        self.chart.spec = {
            "title": "reliability",
            "height": 360,
            "legend": legend,
            "panels": [panel],
        }
        self.said.value = table_html(pd.DataFrame(rows))
