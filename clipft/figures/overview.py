"""What Lipsum-FT does, as a drawing."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

from .style import COLOURS, GREY, layout

# Text, centre x and y, colour of the frame. What trains is in the colour of Lipsum-FT.
BOXES = (
    ("image", 1, 3, GREY),
    ("random texts<br>M of L tokens", 2.5, 3, GREY),
    ("vision tower<br>tuned", 0.5, 2, COLOURS[1]),
    ("vision tower<br>zero-shot, frozen", 1.5, 2, GREY),
    ("text tower<br>frozen", 2.5, 2, GREY),
    ("energies, tuned<br>\u2212s f T\u1d40", 0.75, 1, COLOURS[1]),
    ("energies, zero-shot<br>\u2212s f\u2080 T\u1d40", 2.25, 1, GREY),
    ("held together<br>\u03bb \u2016difference\u2016\u00b2 / 2M", 1.5, 0, COLOURS[1]),
)
ARROWS = ((0, 2), (0, 3), (1, 4), (2, 5), (3, 6), (4, 5), (4, 6), (5, 7), (6, 7))
HALF = (0.48, 0.28)  # width and height of a box
SMALL = {"size": 12}  # three boxes stand side by side in one column of a paper


def overview_figure() -> go.Figure:
    """Lipsum-FT's regulariser: an image and random texts, two vision towers, their energies."""
    figure = go.Figure()
    for begin, end in ARROWS:
        _, x0, y0, _ = BOXES[begin]
        _, x1, y1, _ = BOXES[end]
        arrow = {"x": x1, "y": y1 + HALF[1], "ax": x0, "ay": y0 - HALF[1]}
        axes: dict[str, Any] = {"xref": "x", "yref": "y", "axref": "x", "ayref": "y", "text": ""}
        look = {"showarrow": True, "arrowhead": 2, "arrowcolor": GREY}
        figure.add_annotation(**arrow, **axes, **look)
    for text, x, y, colour in BOXES:
        place = {"x0": x - HALF[0], "x1": x + HALF[0], "y0": y - HALF[1], "y1": y + HALF[1]}
        figure.add_shape(type="rect", **place, line={"color": colour, "width": 2})
        figure.add_annotation(x=x, y=y, text=text, showarrow=False, font=SMALL)
    # Boxes that are not drawn out on a wide page.
    figure.update_xaxes(visible=False, range=[-0.02, 3.02], constrain="domain")
    figure.update_yaxes(visible=False, range=[-0.35, 3.35], scaleanchor="x", scaleratio=0.6)
    # Without a trace plotly draws no axes, and so no boxes.
    figure.add_scatter(x=[1.5], y=[2], mode="markers", marker={"opacity": 0}, hoverinfo="skip")
    title = "Lipsum-FT: energies of random texts stay where zero-shot had them"
    return figure.update_layout(
        **layout(l=15, r=15, b=15), height=460, title=title, showlegend=False
    )
