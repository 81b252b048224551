"""Explorer of feature distortion: how far tuning moved reference images against shifted ones."""

from typing import Any

import pandas as pd
import traitlets

from ..errors import ConfigError
from ..figures.distortion import NORMS, distortion_figure
from ..figures.style import GREY, style
from ..runs.names import title_of
from ..runs.reading import distortion_table
from .base import Chart, Explorer, W, box, dropdown, text_panel
from .marks import chart, mark, padded, run_points
from .texts import paragraph


class DistortionExplorer(Explorer):
    """Feature distortion of reference against shifted images, a point per run.

    The theory has every point below the dashed line.
    Traits: shift (a split), kind (raw, normalised).

    Arguments:
        table: of `distortion_table`, or the runs themselves: their folder, or a list.
        traits: what is shown at first.

    Raises:
        ConfigError: where there is nothing to draw.

    Example:
        >>> clipft.DistortionExplorer("runs", shift="sketch/test")
        DistortionExplorer(kind='raw', shift='sketch/test')
    """

    shift = traitlets.Unicode()
    kind = traitlets.Unicode("raw")

    def __init__(self, table: Any, **traits: object):
        if not isinstance(table, pd.DataFrame):
            table = distortion_table(table)
        if table.empty:
            raise ConfigError("no feature distortion to draw: these runs were scored on no shift")
        shifts = sorted(table.split.unique())
        kinds = sorted(table.kind.unique(), reverse=True)  # raw first
        super().__init__(**{"shift": shifts[0], "kind": kinds[0]} | traits)
        self.table = table
        self.chart = Chart()
        self.note = text_panel("verdicts")

        shift = dropdown(shifts, "shift", self.shift)
        kind = dropdown(kinds, "kind", self.kind)
        self.widget = W.VBox([box(shift, kind), self.chart, self.note])
        self.bind(self._draw, shift=shift, kind=kind)
        self._draw()

    def figure(self):
        """The static twin, a panel per shift."""
        return distortion_figure(self.table, self.kind)

    def _draw(self, _change: object = None) -> None:
        runs = self.table[(self.table.split == self.shift) & (self.table.kind == self.kind)]
        looks = style(runs.method.unique())
        distortions = runs[["reference", "shifted"]].to_numpy()
        span = padded(distortions.min(), distortions.max())

        equal = mark("line", span, span, colour=GREY, dash="dash")
        points = run_points(runs, "reference", "shifted", looks=looks, hover=_hover)
        x = {"title": f"reference images: {NORMS[self.kind]}", "range": span}
        y = {"title": f"shifted images: {NORMS[self.kind]}", "range": span}
        panel = {"width": 460, "marks": [equal, *points], "x": x, "y": y}
        self.chart.spec = chart("feature distortion", 440, [panel], looks.values())

        count = runs.verdict.tolist().count
        theory = f"holds in {count('holds')}, fails in {count('fails')}, open in {count('open')}"
        self.note.value = paragraph(
            f"{len(runs)} runs; by 95 % intervals over images the theory {theory}"
        )


def _hover(run: pd.Series) -> str:
    return (
        f"{title_of(run.method)}, seed {run.seed}\n"
        f"reference {run.reference:.3f}, shifted {run.shifted:.3f}\n"
        f"difference {run.difference:+.3f} [{run.low:+.3f}, {run.high:+.3f}]: {run.verdict}"
    )
