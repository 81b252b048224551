"""Explorer of calibration: slide alpha and see accuracy against confidence."""

from typing import Any

import pandas as pd
import traitlets

from ..config import TUNED, ZERO_SHOT
from ..figures.calibration import reliability_figure
from ..figures.style import COLOURS, GREY, Look
from ..metrics.calibration import Reliability
from ..runs.run import read_sweep
from ..runs.sweep import Sweep
from .base import Chart, Explorer, W, alpha_slider, dropdown, text_panel
from .marks import Spec, chart, mark
from .texts import table_html


class ReliabilityExplorer(Explorer):
    """Slide alpha and see calibration: accuracy against confidence, and the ECE.

    The zero-shot model, the one here and the tuned one are drawn.
    Traits: alpha (0 ... 1; the nearest scored one is shown), split.

    Arguments:
        run: a Run, its folder, the first letters of its id, or a `Sweep`.
        alpha: where the slider stands at first.
        split: what is shown at first; "" for the last shift.
        bins: of equal width, between 0 and 1.

    Raises:
        RunError: where there is no scored run.

    Example:
        >>> run = clipft.open_runs("runs")[0]
        >>> clipft.ReliabilityExplorer(run, split="sketch/test")
        ReliabilityExplorer(alpha=0.5, split='sketch/test')
    """

    alpha = traitlets.Float(0.5, min=0, max=1)
    split = traitlets.Unicode()

    def __init__(self, run: Any, alpha: float = 0.5, split: str = "", bins: int = 15):
        sweep = run if isinstance(run, Sweep) else read_sweep(run)
        super().__init__(alpha=alpha, split=split or sweep.splits[-1])
        self.sweep = sweep
        self.bins = bins
        self.chart = Chart()
        self.slider = alpha_slider(alpha)
        self.note = text_panel("ece")

        menu = dropdown(sweep.splits, "split", self.split)
        self.widget = W.VBox([menu, self.slider, self.chart, self.note])
        self.bind(self._draw, alpha=self.slider, split=menu)
        self._draw()

    def _models(self) -> dict[Look, float]:
        """How each model is drawn -> its alpha."""
        here = self.sweep.alphas[self.sweep.nearest(self.alpha)]
        return {
            Look("zero-shot", GREY, "star"): ZERO_SHOT,
            Look(f"alpha {here:.2f}", COLOURS[0], "circle"): here,
            Look("tuned", COLOURS[1], "diamond"): TUNED,
        }

    def _diagram(self, alpha: float) -> Reliability:
        return self.sweep.reliability(self.split, alpha, self.bins)

    def figure(self):
        """The static twin."""
        diagrams = {look.title: self._diagram(alpha) for look, alpha in self._models().items()}
        return reliability_figure(diagrams, f"Reliability on {self.split}: {self.sweep.title}")

    def _draw(self, _change: object = None) -> None:
        marks = [mark("line", [0, 1], [0, 1], colour=GREY, dash="dash")]
        errors = []
        ids = 0
        models = self._models()
        for look, alpha in models.items():
            diagram = self._diagram(alpha)
            points = bin_points(diagram, look, first_id=ids)
            ids += len(points["id"])
            marks.append(mark("line", points["x"], points["y"], colour=look.colour))
            marks.append(points)
            ece = f"{100 * self.sweep.ece(self.split, alpha):.1f}"
            errors.append({"model": look.title, "ECE %": ece, "images": diagram.count.sum()})

        x = {"title": "confidence of the predicted class", "range": [0, 1.02]}
        y = {"title": "accuracy (fraction)", "range": [0, 1.02]}
        panel = {"width": 520, "marks": marks, "x": x, "y": y}
        self.chart.spec = chart("reliability", 360, [panel], looks=models)
        self.note.value = table_html(pd.DataFrame(errors))


def bin_points(diagram: Reliability, look: Look, first_id: int) -> Spec:
    """A point for each bin that holds images; ids go up from `first_id`."""
    filled = diagram.count > 0
    x = diagram.confidence[filled]
    y = diagram.accuracy[filled]
    texts = []
    for count, confidence, accuracy in zip(diagram.count[filled], x, y, strict=True):
        bin_text = f"confidence {confidence:.3f}, accuracy {accuracy:.3f}"
        texts.append(f"{look.title}: {count} images\n{bin_text}")
    ids = list(range(first_id, first_id + len(texts)))
    return mark("points", x, y, colour=look.colour, symbol=look.symbol, text=texts, id=ids)
