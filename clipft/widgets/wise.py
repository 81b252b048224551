"""Explorer of WiSE: slide alpha from zero-shot to tuned, see accuracy and images that flip."""

from typing import Any

import numpy as np
import pandas as pd
import traitlets

from ..config import TUNED, ZERO_SHOT
from ..errors import ClipftError, ConfigError
from ..figures.wise import ENDS, sweep_figure
from ..runs.run import read_sweeps
from ..runs.sweep import Sweep
from ..runs.thumbnails import Thumbnails
from .base import Explorer, Plot, W, alpha_slider, beside, column, dropdown, text_panel
from .texts import TILES, paragraph, table_html, tiles_html

KINDS = {"lost (right to wrong)": "lost", "gained (wrong to right)": "gained", "all flips": "all"}
EVERY_SPLIT = "every split"


class WiseExplorer(Explorer):
    """Slide alpha: a marker on the WiSE curve, bars per split, and the predictions that flip.

    Between scored alphas accuracy is on the line, predictions are those of the nearest scored one;
    "exact here" scores this alpha on some images (it needs the run's weights and the images).
    Traits: alpha (0 ... 1), run (which sweep), selection (ids of the images shown).

    Arguments:
        runs: a Run, its folder, the first letters of its id, or a `Sweep`; or several of them,
            as a list or a folder of runs.
        alpha: where the slider stands at first; None: at the scored alpha nearest to a half.
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

    def __init__(self, runs: Any, alpha: float | None = None, probe: int = 100):
        self.sweeps = read_sweeps(runs)
        self.probe = probe
        super().__init__(alpha=self.sweep.middle if alpha is None else alpha)
        self.thumbnails = [Thumbnails(sweep) for sweep in self.sweeps]

        self._add_widgets()
        self._show_sweep()

    def _add_widgets(self) -> None:
        titles = [(", ".join(sweep.called), place) for place, sweep in enumerate(self.sweeps)]
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

        self.plot = Plot(alpha=self.alpha)
        self.plot.observe(self._clicked, "chosen")
        # In the page: the picture follows the slider and no kernel is asked.
        self.links = [W.jsdlink((self.slider, "value"), (self.plot, "alpha"))]
        self.counts = text_panel("counts")
        self.tiles = text_panel("flips")
        self.note = text_panel("exact")
        moves = [self.runs, self.slider] if len(self.sweeps) > 1 else [self.slider]
        choice = [self.against, self.kind, self.split, self.button, self.note]
        flips = beside(choice, self.tiles)
        self.widget = column(beside(moves, self.plot), flips, self.counts)

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
        return self._figure(self.thumbnails[self.run])

    def _figure(self, thumbnails: Thumbnails | None = None):
        return sweep_figure(self.sweep, self.alpha, thumbnails, beside=self._others)

    @property
    def _others(self) -> list[Sweep]:
        """The sweeps that are drawn thin, in the order of their numbers in the picture."""
        return self.sweeps[: self.run] + self.sweeps[self.run + 1 :]

    def _clicked(self, change: dict) -> None:
        """The n-th thin curve was clicked: its run is shown."""
        if change["new"] < 1:
            return
        chosen = self._others[change["new"] - 1]
        self.plot.chosen = -1  # else a click on the same number would be no change
        self.run = next(place for place, sweep in enumerate(self.sweeps) if sweep is chosen)

    def _show_sweep(self, _change: object = None) -> None:
        self.note.value = ""
        self.plot.paint(self._figure())
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
        f"{sweep.scored_by.title} %": np.char.mod("%.1f", accuracy),
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
