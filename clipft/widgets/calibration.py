"""Explorer of calibration: slide alpha and see accuracy against confidence."""

from typing import Any

import traitlets

from ..boards.explorers import reliability_board
from ..errors import unknown
from ..figures.calibration import reliability_slider_figure
from ..metrics.calibration import BINS
from ..runs.run import read_sweep
from ..runs.sweep import Sweep
from .base import Explorer


class ReliabilityExplorer(Explorer):
    """Slide alpha and see calibration: accuracy against confidence, and the ECE.

    The zero-shot model, the one here and the tuned one are drawn.
    Traits: alpha (0 ... 1; the nearest scored one is shown), shown_split, selection (ids of images;
    where there are some, everything is of these alone).

    Arguments:
        run: a Run, its folder, the first letters of its id, or a `Sweep`.
        alpha: where the slider stands at first; None: at the scored alpha nearest to a half.
        split: what is shown at first; "" for the last shift.
        bins: of equal width, between 0 and 1.

    Raises:
        RunError: where there is no scored run.

    Example:
        >>> run = clipft.open_runs("runs")[0]
        >>> explorer = clipft.ReliabilityExplorer(run, alpha=0.5, split="sketch/test")
        >>> explorer.shown_split
        'sketch/test'
    """

    alpha: Any = traitlets.Float(0.5, min=0, max=1).tag(sync=True)
    run: Any = traitlets.Unicode().tag(sync=True)
    selection: Any = traitlets.List(traitlets.Unicode()).tag(sync=True)
    shown_split: Any = traitlets.Unicode().tag(sync=True)

    def __init__(self, run: Any, alpha: float | None = None, split: str = "", bins: int = BINS):
        self.sweep = run if isinstance(run, Sweep) else read_sweep(run)
        self.bins = bins
        alpha = self.sweep.middle if alpha is None else alpha
        super().__init__(reliability_board(self.sweep, alpha, split or self.sweep.splits[-1], bins))

    @traitlets.validate("shown_split")
    def _is_a_split(self, proposal: dict) -> str:
        if proposal["value"] not in self.sweep.splits:
            raise unknown("split", proposal["value"], self.sweep.splits)
        return proposal["value"]

    def figure(self):
        """The static twin; its own slider works without a kernel."""
        return reliability_slider_figure(self.sweep, self.shown_split, self.alpha, self.bins)
