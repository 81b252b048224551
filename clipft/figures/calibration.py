"""Reliability diagrams: is a model right as often as it is confident?"""

from collections.abc import Mapping

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..metrics.calibration import Reliability
from .marks import FIRST, diagonal, hover
from .style import LAYOUT, look_of

BELOW_IT = {"row": 2, "col": 1}


def reliability_figure(diagrams: Mapping[str, Reliability], title: str = "") -> go.Figure:
    """Accuracy against confidence in equal-width bins, a line per model; below, images of each bin.

    Source: Guo et al., arXiv:1706.04599.

    Arguments:
        diagrams: name of a model -> `reliability_of` it.
        title: above the figure.

    Returns:
        The figure.

    Example:
        >>> run = clipft.open_runs("runs")[0]
        >>> before = clipft.reliability_of(run, "sketch/test", alpha=0)
        >>> after = clipft.reliability_of(run, "sketch/test")
        >>> figure = clipft.reliability_figure({"zero-shot": before, "tuned": after})
    """
    figure = make_subplots(2, 1, row_heights=[0.75, 0.25], shared_xaxes=True, vertical_spacing=0.04)
    for number, (name, diagram) in enumerate(diagrams.items()):
        look = look_of(number, name)
        named = {"name": name, "legendgroup": name}
        full = diagram.count > 0
        points = {"x": diagram.confidence[full], "y": diagram.accuracy[full]}
        texts = hover("confidence %{x:.3f}", "accuracy %{y:.3f}", "%{customdata} images")
        points |= {"customdata": diagram.count[full], "hovertemplate": texts}
        line = {"mode": "lines+markers", "line": {"color": look.colour}}
        marker = {"symbol": look.symbol, "size": 8}
        figure.add_scatter(**points, **line, marker=marker, **named, **FIRST)
        bars = {"x": (diagram.low + diagram.high) / 2, "y": diagram.count, "showlegend": False}
        figure.add_bar(**bars, **named, marker_color=look.colour, **BELOW_IT)
    figure.add_scatter(**diagonal(0, 1), name="calibrated", **FIRST)

    confidence = "confidence of the predicted class (fraction)"
    figure.update_xaxes(title_text=confidence, range=[0, 1], **BELOW_IT)
    figure.update_yaxes(title_text="accuracy (fraction)", range=[0, 1.02], **FIRST)
    figure.update_yaxes(title_text="images", **BELOW_IT)
    return figure.update_layout(**LAYOUT, height=560, barmode="group", title=title or "Reliability")
