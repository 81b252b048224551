"""Explorer of calibration: slide alpha and see accuracy against confidence."""

from typing import Any

import pandas as pd
import traitlets

from ..config import TUNED, ZERO_SHOT
from ..figures.calibration import reliability_slider_figure
from ..metrics.calibration import BINS
from ..runs.run import read_sweep
from ..runs.sweep import Sweep
from .base import Explorer, Plot, W, alpha_slider, beside, column, dropdown, text_panel
from .texts import table_html


class ReliabilityExplorer(Explorer):
    """Slide alpha and see calibration: accuracy against confidence, and the ECE.

    The zero-shot model, the one here and the tuned one are drawn.
    Traits: alpha (0 ... 1; the nearest scored one is shown), split.

    Arguments:
        run: a Run, its folder, the first letters of its id, or a `Sweep`.
        alpha: where the slider stands at first; None: at the scored alpha nearest to a half.
        split: what is shown at first; "" for the last shift.
        bins: of equal width, between 0 and 1.

    Raises:
        RunError: where there is no scored run.

    Example:
        >>> run = clipft.open_runs("runs")[0]
        >>> clipft.ReliabilityExplorer(run, alpha=0.5, split="sketch/test")
        ReliabilityExplorer(alpha=0.5, split='sketch/test')
    """

    alpha = traitlets.Float(0.5, min=0, max=1)
    split = traitlets.Unicode()

    def __init__(self, run: Any, alpha: float | None = None, split: str = "", bins: int = BINS):
        sweep = run if isinstance(run, Sweep) else read_sweep(run)
        alpha = sweep.middle if alpha is None else alpha
        super().__init__(alpha=alpha, split=split or sweep.splits[-1])
        self.sweep = sweep
        self.bins = bins

        menu = dropdown(sweep.splits, "split", self.split)
        self.slider = alpha_slider(self.alpha)
        self.bind(self._show_split, split=menu)
        self.bind(self._show_errors, alpha=self.slider)
        self.plot = Plot(alpha=self.alpha)
        # In the page: the picture follows the slider and no kernel is asked.
        self.links = [W.jsdlink((self.slider, "value"), (self.plot, "alpha"))]
        self.note = text_panel("ece")
        self.widget = column(beside([menu, self.slider], self.plot), self.note)
        self._show_split()

    def figure(self):
        """The static twin; its own slider works without a kernel."""
        return reliability_slider_figure(self.sweep, self.split, self.alpha, self.bins)

    def _show_split(self, _change: object = None) -> None:
        self.plot.paint(self.figure())
        self._show_errors()

    def _show_errors(self, _change: object = None) -> None:
        """The ECE of each model that is drawn, as a table."""
        here = float(self.sweep.alphas[self.sweep.nearest(self.alpha)])
        models = {"zero-shot": ZERO_SHOT, f"at alpha {here:.2f}": here, "tuned": TUNED}
        images = len(self.sweep.rows[self.split])
        rows = []
        for name, alpha in models.items():
            ece = f"{100 * self.sweep.ece(self.split, alpha):.1f}"
            rows.append({"model": name, "ECE %": ece, "images": images})
        self.note.value = table_html(pd.DataFrame(rows))
