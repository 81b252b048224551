"""Reliability diagrams: is a model right as often as it is confident?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..config import TUNED, ZERO_SHOT
from ..methods import METHODS
from ..metrics.calibration import BINS, Reliability
from ..runs.names import MethodName
from .given import check_named
from .marks import FIRST, diagonal, hover
from .moves import NEAREST, add_slider
from .style import ABOVE, CLEAR, GREY, Look, layout, look_of, style, titled
from .wise import looks_of

if TYPE_CHECKING:
    from ..runs.sweep import Sweep

BELOW_IT = {"row": 2, "col": 1}


def reliability_figure(diagrams: Mapping[str, Reliability], title: str = "") -> go.Figure:
    """Accuracy against confidence in equal-width bins, a line per model; below, images of each bin.

    Source: Guo et al., arXiv:1706.04599.

    Arguments:
        diagrams: name of a model -> `reliability_of` it. A name of `clipft methods` is shown as
            that method's title in its colour, `zero-shot` in grey.
        title: above the figure.

    Returns:
        The figure.

    Example:
        >>> run = clipft.open_runs("runs")[0]
        >>> before = clipft.reliability_of(run, "sketch/test", alpha=0)
        >>> after = clipft.reliability_of(run, "sketch/test")
        >>> figure = clipft.reliability_figure({"zero-shot": before, run.config.method: after})
    """
    check_named(diagrams, Reliability, "clipft.reliability_of")
    figure = _two_panels()
    for name, look in _looks(diagrams).items():
        _add_model(figure, diagrams[name], look, group=name)
    _add_calibrated(figure)
    return figure.update_layout(height=560, title=titled(title or "Reliability"))


def reliability_slider_figure(
    sweep: Sweep, split: str, alpha: float, bins: int = BINS
) -> go.Figure:
    """Reliability of a run on one split: zero-shot, tuned, and at the alpha of a slider.

    Predictions exist at scored alphas alone: the slider goes from one to the next.

    Arguments:
        sweep: of `read_sweep`.
        split: a test split.
        alpha: where the slider stands at first.
        bins: of equal width, between 0 and 1.

    Returns:
        The figure.
    """
    (of_method,) = looks_of([sweep])
    figure = _two_panels()
    zero_shot = Look("zero-shot (alpha 0)", GREY, "star")
    _add_model(figure, sweep.reliability(split, ZERO_SHOT, bins), zero_shot, group="zero-shot")

    here = Look("at alpha", of_method.colour, "circle")
    diagrams = [sweep.reliability(split, scored, bins) for scored in sweep.alphas]
    _add_model(figure, diagrams[0], here, group="at alpha")
    curves = []
    bars = []
    for scored, diagram in zip(sweep.alphas, diagrams, strict=True):
        name = {"name": f"at alpha {scored:.2f}"}
        curves.append(_curve(diagram) | name)
        bars.append(_bars(diagram) | name)
    states = {len(figure.data) - 2: curves, len(figure.data) - 1: bars}

    tuned = Look("tuned (alpha 1)", of_method.colour, "diamond-open", "dash")
    _add_model(figure, sweep.reliability(split, TUNED, bins), tuned, group="tuned")
    _add_calibrated(figure)
    add_slider(figure, sweep.alphas, states, alpha, way=NEAREST)

    # As high as the fullest bin at any alpha: an axis that jumped would hide what moves.
    most = max(int(diagram.count.max()) for diagram in diagrams)
    figure.update_yaxes(range=[0, 1.05 * most], **BELOW_IT)
    title = titled(f"Reliability on {split}", ", ".join(sweep.called))
    return figure.update_layout(height=645, margin={"t": 110, "b": 150}, title=title)


def _looks(names: Iterable[str]) -> dict[str, Look]:
    """Name of a model -> its look: methods have their own, whatever else takes other colours."""
    names = list(names)
    methods = style([name for name in names if MethodName.parse(name).method in METHODS])
    looks = {}
    for number, name in enumerate(names):
        look = look_of(number, name)
        if name == "zero-shot":
            look = Look(name, GREY, "star")
        looks[name] = methods.get(name, look)
    return looks


def _two_panels() -> go.Figure:
    figure = make_subplots(2, 1, row_heights=[0.75, 0.25], shared_xaxes=True, vertical_spacing=0.04)
    confidence = "confidence of the predicted class (fraction)"
    figure.update_xaxes(title_text=confidence, range=[0, 1], **BELOW_IT)
    figure.update_yaxes(title_text="accuracy (fraction)", range=[0, 1.02], **FIRST)
    figure.update_yaxes(title_text="images", **BELOW_IT)
    return figure.update_layout(**layout(t=80), barmode="group", legend=ABOVE)


def _add_calibrated(figure: go.Figure) -> None:
    figure.add_scatter(**diagonal(0, 1), name="calibrated", hoverinfo="skip", **FIRST)


def _add_model(figure: go.Figure, diagram: Reliability, look: Look, group: str) -> None:
    """A model's line, and its bars; those of an open symbol are open, too."""
    named = {"name": look.title, "legendgroup": group}
    texts = ("%{fullData.name}", "confidence %{x:.3f}", "accuracy %{y:.3f}", "%{customdata} images")
    curve = _curve(diagram) | {"hovertemplate": hover(*texts)}
    drawn = {"mode": "lines+markers", "line": look.line, "connectgaps": True}
    figure.add_scatter(**curve, **drawn, marker=look.marker(9), **named, **FIRST)

    edges = "confidence %{customdata[0]:.2f} to %{customdata[1]:.2f}"
    bars = _bars(diagram) | {"hovertemplate": hover("%{fullData.name}", edges, "%{y} images")}
    filled = {"color": look.colour}
    if look.symbol.endswith("-open"):
        filled = {"color": CLEAR, "line": {"color": look.colour, "width": 1.5}}
    figure.add_bar(**bars, marker=filled, **named, showlegend=False, **BELOW_IT)


def _curve(diagram: Reliability) -> dict[str, Any]:
    """A point for each bin; an empty one has none, which JSON calls null."""
    places = {"x": diagram.confidence, "y": diagram.accuracy}
    points: dict[str, Any] = {}
    for axis, values in places.items():
        points[axis] = [None if np.isnan(value) else value for value in values.tolist()]
    return points | {"customdata": diagram.count.tolist()}


def _bars(diagram: Reliability) -> dict[str, Any]:
    """A bar for each bin that holds images, as high as there are."""
    edges = np.stack([diagram.low, diagram.high], 1)
    return {
        "x": edges.mean(1).tolist(),
        "y": [count or None for count in diagram.count.tolist()],
        "customdata": edges.tolist(),
    }
