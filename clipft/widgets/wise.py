"""Explorer of WiSE: slide alpha from zero-shot to tuned, see accuracy and images that flip."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import traitlets

from ..boards.desk import Answer, Question, said
from ..boards.explorers import wise_board
from ..boards.sweeps import id_of
from ..errors import ConfigError
from ..figures.wise import sweep_figure
from ..runs.run import read_sweeps
from ..runs.thumbnails import Thumbnails
from .base import Explorer

if TYPE_CHECKING:
    from ..runs.sweep import Sweep


class WiseExplorer(Explorer):
    """Slide alpha: a marker on the WiSE curve, bars per split, and the predictions that flip.

    Between scored alphas accuracy is on the line, predictions are those of the nearest scored one;
    "exact here" scores this alpha on some images (it needs the run's weights and the images).
    Traits: alpha (0 ... 1), run (the id of the one that is shown), selection (ids of images; where
    there are some, everything is of these alone), against (0 zero-shot, 1 tuned), kind (lost,
    gained, all) and split ("": every one) of the images that flip.

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

    alpha: Any = traitlets.Float(0.5, min=0, max=1).tag(sync=True)
    run: Any = traitlets.Unicode().tag(sync=True)
    selection: Any = traitlets.List(traitlets.Unicode()).tag(sync=True)
    against: Any = traitlets.Enum((0, 1), 0).tag(sync=True)
    kind: Any = traitlets.Enum(("lost", "gained", "all"), "lost").tag(sync=True)
    split: Any = traitlets.Unicode().tag(sync=True)

    def __init__(self, runs: Any, alpha: float | None = None, probe: int = 100):
        sweeps = read_sweeps(runs)
        self.sweeps = {id_of(sweep, place): sweep for place, sweep in enumerate(sweeps)}
        self.probe = probe
        board = wise_board(sweeps, sweeps[0].middle if alpha is None else alpha)
        board.desk.teach("exact", self._exact)
        super().__init__(board)

    @property
    def sweep(self) -> Sweep:
        """The sweep that is shown."""
        return self.sweeps[self.run]

    def figure(self):
        """The static twin; its own slider works without a kernel."""
        others = [sweep for run, sweep in self.sweeps.items() if run != self.run]
        return sweep_figure(self.sweep, self.alpha, Thumbnails(self.sweep), beside=others)

    def exact(self) -> pd.DataFrame:
        """Score this alpha on `probe` images of each split; what the line says is beside it.

        Returns:
            Columns split, images, exact, line (fractions).

        Raises:
            ClipftError: where it cannot be scored.
        """
        return self._score(self.sweep, self.alpha)

    def _score(self, sweep: Sweep, alpha: float) -> pd.DataFrame:
        from ..reports.exact import exact

        if sweep.folder is None:
            call = "sweeps.read_sweep(FOLDER)"
            raise ConfigError(f"this sweep came without its run's folder; read it: {call}")
        return exact(sweep, alpha, self.probe)

    def _exact(self, question: Question) -> Answer:
        """The same for the button in the page."""
        alpha = float(question["alpha"])
        accuracy = self._score(self.sweeps[question["run"]], alpha)
        percent = accuracy[["split", "images"]].copy()
        percent["exact %"] = (100 * accuracy.exact).round(1)
        percent["on the line %"] = (100 * accuracy.line).round(1)
        return Answer({"said": said(f"alpha {alpha:.2f} on the same images:", table=percent)})
