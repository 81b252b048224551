"""Explorer of WiSE: slide alpha from zero-shot to tuned, see accuracy and images that flip."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import traitlets

from ..config import TUNED, ZERO_SHOT
from ..errors import ClipftError, ConfigError
from ..figures.style import COLOURS, GREY, Look
from ..figures.wise import ENDS, sweep_figure
from ..runs.run import read_sweeps
from ..runs.sweep import Sweep
from ..runs.thumbnails import Thumbnails
from .base import Chart, Explorer, W, alpha_slider, box, dropdown, text_panel
from .marks import Spec, axis, chart, mark
from .texts import TILES, paragraph, table_html, tiles_html

KINDS = {"lost (right to wrong)": "lost", "gained (wrong to right)": "gained", "all flips": "all"}
TITLES = ("reference accuracy (%)", "mean shift accuracy (%)")
TITLES_ALONE = ("100 alpha", "reference accuracy (%)")  # of a data set without a shift
EVERY_SPLIT = "every split"
LOOKS = [
    Look("zero-shot (alpha 0)", GREY, "star"),
    Look("at alpha", COLOURS[0], "circle"),
    Look("tuned (alpha 1)", COLOURS[1], "diamond"),
]


def wise_spec(sweeps: Sequence[Sweep], run: int, *, bars: bool = True) -> Spec:
    """The chart of WiSE curves with a marker on one of them, and the bars of its splits."""
    panels = [_curve_panel(sweeps, run)]
    if bars:
        panels.append(_bar_panel(sweeps[run]))
    return chart(f"WiSE curve of {sweeps[run].title}", 330, panels, LOOKS)


def _curve(sweep: Sweep) -> tuple[np.ndarray, np.ndarray]:
    """(A,) x and (A,) y of its WiSE curve in percent; over alpha where there is no shift."""
    reference = 100 * sweep.accuracy[:, 0]
    shift = 100 * sweep.shift_accuracy
    return (100 * sweep.alphas, reference) if np.isnan(shift).any() else (reference, shift)


def _curve_panel(sweeps: Sequence[Sweep], run: int) -> Spec:
    sweep = sweeps[run]
    curves = [_curve(other) for other in sweeps]
    others = curves[:run] + curves[run + 1 :]
    marks = [mark("line", *other, colour=GREY, width=1, opacity=0.5) for other in others]
    x, y = curves[run]
    marks.append(mark("points", x[:1], y[:1], colour=GREY, symbol="star", size=8))
    marks.append(mark("points", x[-1:], y[-1:], colour=COLOURS[1], symbol="diamond", size=6))
    t = sweep.alphas.tolist()
    marks.append(mark("path", x, y, t=t, colour=COLOURS[0], symbol="circle"))

    every_x, every_y = np.concatenate(curves, axis=1)
    x_title, y_title = TITLES if len(sweep.splits) > 1 else TITLES_ALONE
    return {"width": 430, "marks": marks, "x": axis(x_title, every_x), "y": axis(y_title, every_y)}


def _bar_panel(sweep: Sweep) -> Spec:
    accuracy = 100 * sweep.accuracy
    table = accuracy.tolist()
    groups = [
        {"name": "zero-shot", "colour": GREY, "values": table[0]},
        {"name": "at alpha", "colour": COLOURS[0], "table": table},
        {"name": "tuned", "colour": COLOURS[1], "values": table[-1], "hollow": True},
    ]
    bars = {"kind": "bars", "t": sweep.alphas.tolist(), "groups": groups}
    top = min(105.0, 1.15 * max(float(accuracy.max()), 1))
    y = {"title": "test accuracy (%)", "range": [0, top]}
    return {"width": 480, "marks": [bars], "x": {"labels": sweep.domains}, "y": y}


class WiseExplorer(Explorer):
    """Slide alpha: a marker on the WiSE curve, bars per split, and the predictions that flip.

    Between scored alphas accuracy is on the line, predictions are those of the nearest scored one;
    "exact here" scores this alpha on some images (it needs the run's weights and the images).
    Traits: alpha (0 ... 1), run (which sweep), selection (ids of the images shown).

    Arguments:
        runs: a Run, its folder, the first letters of its id, or a `Sweep`; or several of them,
            as a list or a folder of runs.
        alpha: where the slider stands at first.
        probe: on so many images of each split "exact here" scores.

    Raises:
        RunError: where there is no scored run.

    Example:
        >>> slider = clipft.WiseExplorer("runs")
        >>> slider.alpha = 0.3
        >>> slider.figure().write_html("wise.html")  # its static twin
    """

    alpha = traitlets.Float(0.5, min=0, max=1)
    run = traitlets.Int(0)
    selection = traitlets.Tuple()

    def __init__(self, runs: Any, alpha: float = 0.5, probe: int = 100):
        self.sweeps = read_sweeps(runs)
        self.probe = probe
        super().__init__(alpha=alpha)
        self.thumbnails = [Thumbnails(sweep) for sweep in self.sweeps]

        self._add_widgets()
        self._show_sweep()

    def _add_widgets(self) -> None:
        titles = [(sweep.title, number) for number, sweep in enumerate(self.sweeps)]
        self.runs = dropdown(titles, "run", 0)
        self.slider = alpha_slider(self.alpha)
        self.bind(self._show_sweep, run=self.runs)
        self.bind(self._show_flips, alpha=self.slider)

        self.against = dropdown(list(ENDS.items()), "against", ZERO_SHOT)
        self.kind = dropdown(list(KINDS.items()), "images", "lost")
        self.split = dropdown([EVERY_SPLIT], "split", EVERY_SPLIT)
        for menu in (self.against, self.kind, self.split):
            menu.observe(self._show_flips, "value")
        self.button = W.Button(description="exact here").add_class("clipft-exact-here")
        self.button.tooltip = "score this alpha on some images of each split"
        self.button.on_click(lambda _: self.exact())

        self.chart = Chart(alpha=self.alpha)
        # In the page: the chart follows the slider and no kernel is asked.
        self.link = W.jsdlink((self.slider, "value"), (self.chart, "alpha"))
        self.counts = text_panel("counts")
        self.tiles = text_panel("flips")
        self.note = text_panel("exact")
        choice = box(self.against, self.kind, self.split, self.button)
        panels = [self.slider, self.chart, self.counts, choice, self.note, self.tiles]
        if len(self.sweeps) > 1:
            panels.insert(0, self.runs)
        self.widget = W.VBox(panels)

    @traitlets.validate("run")
    def _is_a_sweep(self, proposal: dict) -> int:
        run = proposal["value"]
        count = len(self.sweeps)
        if not 0 <= run < count:
            raise traitlets.TraitError(f"run is {run}, expected one of {count} sweeps, from 0")
        return run

    @property
    def sweep(self) -> Sweep:
        """The sweep that is shown."""
        return self.sweeps[self.run]

    def figure(self):
        """The static twin; its own slider works without a kernel."""
        return sweep_figure(self.sweep, self.alpha, self.thumbnails[self.run])

    def _show_sweep(self, _change: object = None) -> None:
        self.note.value = ""
        self.chart.spec = wise_spec(self.sweeps, self.run)
        self.split.options = [EVERY_SPLIT, *self.sweep.splits]
        self._show_flips()

    def _show_flips(self, _change: object = None) -> None:
        sweep = self.sweep
        self.counts.value = self._where() + table_html(flip_table(sweep, self.alpha))
        rows = self._flipped_rows()
        places = [sweep.nearest(self.against.value), sweep.nearest(self.alpha)]
        self.tiles.value = tiles_html(sweep, rows, self.thumbnails[self.run], places=places)
        self.selection = tuple(sweep.ids[rows[:TILES]].tolist())

    def _flipped_rows(self) -> np.ndarray:
        """The rows of the images that the menus ask for, most confident first."""
        sweep = self.sweep
        rows = sweep.flips(self.alpha, self.against.value)[self.kind.value]
        if self.split.value != EVERY_SPLIT:
            rows = rows[sweep.split[rows] == self.split.value]
        confidence = sweep.confidence[sweep.nearest(self.alpha), rows]
        return rows[np.argsort(-confidence, kind="stable")]

    def _where(self) -> str:
        nearest = self.sweep.alphas[self.sweep.nearest(self.alpha)]
        how = f"accuracy on the line between scored alphas, images as at {nearest:.2f}"
        if abs(nearest - self.alpha) < 1e-9:
            return paragraph(f"alpha {self.alpha:.2f}, scored on every image")
        return paragraph(f"alpha {self.alpha:.2f}: {how}")

    def exact(self) -> pd.DataFrame | None:
        """Score this alpha on `probe` images of each split; what the line says is beside it.

        Returns:
            Columns split, images, exact, line (fractions); None, and a note, where it cannot be
            scored.
        """
        from ..reports.exact import exact

        self.note.value = paragraph(f"scoring alpha {self.alpha:.2f} ...")
        try:
            if self.sweep.folder is None:
                call = "sweeps.read_sweep(FOLDER)"
                raise ConfigError(f"this sweep came without its run's folder; read it: {call}")
            accuracy = exact(self.sweep, self.alpha, self.probe)
        except ClipftError as error:
            self.note.value = paragraph(f"exact here is not possible: {error}")
            return None

        percent = accuracy[["split", "images"]].copy()
        percent["exact %"] = (100 * accuracy.exact).round(1)
        percent["on the line %"] = (100 * accuracy.line).round(1)
        title = paragraph(f"alpha {self.alpha:.2f} on the same images:")
        self.note.value = title + table_html(percent)
        return accuracy


def flip_table(sweep: Sweep, alpha: float) -> pd.DataFrame:
    """Accuracy (%) and flipped predictions of every split at an alpha, against both ends."""
    accuracy = 100 * sweep.accuracy_at(alpha)
    zero_shot = 100 * sweep.accuracy[0]
    from_zero_shot = sweep.flips(alpha, ZERO_SHOT)
    from_tuned = sweep.flips(alpha, TUNED)
    columns = {
        "split": sweep.splits,
        "images": _count_by_split(sweep, np.flatnonzero(sweep.split_number >= 0)),
        "accuracy %": np.char.mod("%.1f", accuracy),
        "against zero-shot": np.char.mod("%+.1f", accuracy - zero_shot),
        "flips from zero-shot": _count_by_split(sweep, from_zero_shot["all"]),
        "gained": _count_by_split(sweep, from_zero_shot["gained"]),
        "lost": _count_by_split(sweep, from_zero_shot["lost"]),
        "flips from tuned": _count_by_split(sweep, from_tuned["all"]),
    }
    return pd.DataFrame(columns)


def _count_by_split(sweep: Sweep, rows: np.ndarray) -> np.ndarray:
    """(S,) how many of these rows lie in each test split."""
    return np.bincount(sweep.split_number[rows], minlength=len(sweep.splits))
