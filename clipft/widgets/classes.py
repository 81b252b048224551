"""Explorer of classes: which of them tuning lost, and what was taken for what before and after."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import traitlets

from ..boards.explorers import class_board
from ..figures.confusions import confusion_figure
from ..runs.confusion import confusion_table
from ..runs.run import read_sweep
from ..runs.sweep import Sweep
from .base import Explorer

if TYPE_CHECKING:
    import pandas as pd


class ClassExplorer(Explorer):
    """Classes and confusions of a run, before and at alpha; a click selects their images.

    The images of a class come most moved first. Traits: alpha (0 ... 1; the nearest scored one is
    shown), split ("": every one), selection (ids of images).

    Arguments:
        run: a Run, its folder, the first letters of its id, or a `Sweep`.
        alpha: where the slider stands at first.
        similar: of `clipft.class_similarity`: which classes are called alike, beside a chosen one.

    Raises:
        RunError: where there is no scored run.

    Example:
        >>> explorer = clipft.ClassExplorer(clipft.open_runs("runs")[0])
        >>> explorer.confusions().columns.tolist()[:4]
        ['class', 'taken for', 'zero_shot', 'here']
    """

    alpha: Any = traitlets.Float(1.0, min=0, max=1).tag(sync=True)
    run: Any = traitlets.Unicode().tag(sync=True)
    selection: Any = traitlets.List(traitlets.Unicode()).tag(sync=True)
    split: Any = traitlets.Unicode().tag(sync=True)

    def __init__(self, run: Any, alpha: float = 1.0, similar: pd.DataFrame | None = None):
        self.sweep = run if isinstance(run, Sweep) else read_sweep(run)
        super().__init__(class_board(self.sweep, alpha, similar))

    @property
    def title(self) -> str:
        """Of its page."""
        return f"Classes and confusions: {self.sweep.title}"

    def confusions(self) -> pd.DataFrame:
        """What is taken for what here, and was before, see `confusion_table`."""
        return confusion_table(self.sweep, self.split, self.alpha)

    def figure(self):
        """The static twin: the most frequent confusions, before and here."""
        return confusion_figure(self.confusions())
