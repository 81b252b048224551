"""What Lipsum-FT does, as a drawing."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

from .style import COLOURS, GREY, LAYOUT

# Text, centre x and y, colour of the frame. What trains is in the colour of Lipsum-FT.
BOXES = (
    ("image", 0.6, 2.5, GREY),
    ("random texts<br>M of L tokens", 0.6, 0.5, GREY),
    ("vision tower<br>tuned", 2.4, 3.2, COLOURS[1]),
    ("vision tower<br>zero-shot, frozen", 2.4, 1.8, GREY),
    ("text tower<br>frozen", 2.4, 0.5, GREY),
    ("energies, tuned<br>\u2212s f T\u1d40", 4.4, 3.2, COLOURS[1]),
    ("energies, zero-shot<br>\u2212s f\u2080 T\u1d40", 4.4, 1.8, GREY),
    ("held together<br>\u03bb \u2016difference\u2016\u00b2 / 2M", 6.3, 2.5, COLOURS[1]),
)
ARROWS = ((0, 2), (0, 3), (1, 4), (2, 5), (3, 6), (4, 5), (4, 6), (5, 7), (6, 7))
HALF = (0.72, 0.36)  # width and height of a box


def overview_figure() -> go.Figure:
    """Lipsum-FT's regulariser: an image and random texts, two vision towers, their energies."""
    figure = go.Figure()
    for begin, end in ARROWS:
        _, x0, y0, _ = BOXES[begin]
        _, x1, y1, _ = BOXES[end]
        arrow = {"x": x1 - HALF[0], "y": y1, "ax": x0 + HALF[0], "ay": y0}
        axes: dict[str, Any] = {"xref": "x", "yref": "y", "axref": "x", "ayref": "y", "text": ""}
        look = {"showarrow": True, "arrowhead": 2, "arrowcolor": GREY}
        figure.add_annotation(**arrow, **axes, **look)
    for text, x, y, colour in BOXES:
        place = {"x0": x - HALF[0], "x1": x + HALF[0], "y0": y - HALF[1], "y1": y + HALF[1]}
        figure.add_shape(type="rect", **place, line={"color": colour, "width": 2})
        figure.add_annotation(x=x, y=y, text=text, showarrow=False)
    figure.update_xaxes(visible=False, range=[-0.2, 7.2])
    figure.update_yaxes(visible=False, range=[0, 3.7])
    # Without a trace plotly draws no axes, and so no boxes.
    figure.add_scatter(x=[3.5], y=[2], mode="markers", marker={"opacity": 0}, hoverinfo="skip")
    title = "Lipsum-FT: energies of random texts stay where zero-shot had them"
    return figure.update_layout(**LAYOUT, height=420, title=title, showlegend=False)
