"""Maps of energy vectors, before and after tuning."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from .marks import hover, in_panel
from .style import BELOW, domain_of, layout, look_of, titled

if TYPE_CHECKING:
    from ..diagnostics.energy_map import EnergyMap


def energy_map_figure(energy_map: EnergyMap) -> go.Figure:
    """t-SNE of energy vectors before and after tuning, coloured by split.

    The legend hides a split in both panels. Source: Lipsum-FT, arXiv:2404.00860.

    Arguments:
        energy_map: of `clipft.energy_map`.

    Returns:
        The figure.

    Example:
        >>> run = clipft.open_runs("runs")[0]
        >>> figure = clipft.energy_map_figure(clipft.energy_map(run, per_split=10, perplexity=5))
        >>> [title.text for title in figure.layout.annotations]
        ['zero-shot', 'tuned']
    """
    figure = make_subplots(1, 2, subplot_titles=["zero-shot", "tuned"], horizontal_spacing=0.03)
    splits = np.array(energy_map.split)
    for number, split in enumerate(dict.fromkeys(energy_map.split)):
        look = look_of(number, domain_of(split))
        images = np.flatnonzero(splits == split)
        called = [f"{energy_map.ids[i]}<br>class {energy_map.label[i]}" for i in images]
        for column, places in ((1, energy_map.before), (2, energy_map.after)):
            trace = look.points(*places[images].T, size=7, opacity=0.75)
            trace |= {"customdata": called, "hovertemplate": hover("%{customdata}")}
            figure.add_scatter(**trace, **in_panel(column, split))

    figure.update_xaxes(showticklabels=False, zeroline=False)
    figure.update_yaxes(showticklabels=False, zeroline=False)
    details = f"{len(splits)} images; the axes have no unit"
    title = titled("t-SNE of energy vectors", details)
    figure.update_layout(**layout(l=20, t=90), height=520, legend=BELOW)
    return figure.update_layout(title=title)
