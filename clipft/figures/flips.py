"""Who lost by tuning: flips of predictions by method, classes, groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

from ..metrics.correlation import correlation
from .given import check_table
from .marks import DASHED, FIRST, hover, in_panel
from .panels import panel_row
from .style import (
    BELOW,
    COLOURS,
    GREY,
    domain_of,
    domains_of,
    layout,
    runs_and_seeds,
    style,
    titled,
)

if TYPE_CHECKING:
    import pandas as pd

ROW = 34  # height of a group in pixels
WORST = COLOURS[1]


def flips_figure(table: pd.DataFrame) -> go.Figure:
    """Images that tuning turned wrong, downwards, and right, upwards: a panel per split.

    A bar per method is the mean over its runs, in % of the images; the mark is their difference,
    the change of accuracy. Colours are those of methods in every figure.

    Arguments:
        table: of `flips_table`.

    Returns:
        The figure.

    Raises:
        ConfigError: for another table, or one without a row.

    Example:
        >>> figure = clipft.flips_figure(clipft.flips_table("runs"))
        >>> figure.layout.yaxis.title.text
        'images that flipped (%)'
    """
    check_table(table, ("run", "seed", "method", "split", "lost", "gained"), "clipft.flips_table")
    looks = style(table.method.unique())
    splits = list(dict.fromkeys(table.split))
    figure = panel_row(domains_of(splits))
    for column, split in enumerate(splits, start=1):
        means = table[table.split == split].groupby("method")[["lost", "gained"]].mean()
        means = 100 * means.reindex(list(looks))
        for method, look in looks.items():
            row = means.loc[method]
            bars: dict[str, Any] = {"x": [look.title] * 2, "y": [row.gained, -row.lost]}
            bars |= {"marker_color": look.colour, "name": look.title}
            bars["hovertemplate"] = hover("%{x}", "%{y:+.1f} % of the images")
            figure.add_bar(**bars, **in_panel(column, method))
        titles = [look.title for look in looks.values()]
        net = {"x": titles, "y": means.gained - means.lost, "mode": "markers", "name": "together"}
        marker = {"color": GREY, "symbol": "diamond", "size": 9}
        said = hover("%{x}", "accuracy %{y:+.1f} points")
        figure.add_scatter(**net, marker=marker, hovertemplate=said, **in_panel(column, "net"))
    figure.update_yaxes(title_text="images that flipped (%)", **FIRST)
    figure.update_xaxes(showticklabels=False)  # the colours say it
    title = titled("Who lost: flips against zero-shot", runs_and_seeds(table))
    figure.update_layout(**layout(t=140), height=560, barmode="relative", title=title)
    return figure.update_layout(legend=BELOW)


def class_losses_figure(table: pd.DataFrame) -> go.Figure:
    """Every class's change of accuracy against how alike another class is by its name.

    Orange: the worst tenth of the classes after tuning.

    Arguments:
        table: of `class_losses`.

    Returns:
        The figure.

    Raises:
        ConfigError: for another table, or one without a row.

    Example:
        >>> run = clipft.open_runs("runs")[0]
        >>> figure = clipft.class_losses_figure(clipft.class_losses(run, "sketch/test"))
    """
    check_table(table, ("class", "change", "cosine", "similar", "worst"), "clipft.class_losses")
    figure = go.Figure()
    kinds = {
        "worst tenth after tuning": (table.worst, WORST),
        "other classes": (~table.worst, GREY),
    }
    for name, (chosen, colour) in kinds.items():
        rows = table[chosen]
        said = hover("%{customdata[0]}, nearest: %{customdata[1]}", "%{y:+.1f} points")
        points: dict[str, Any] = {"x": rows.cosine, "y": 100 * rows.change, "mode": "markers"}
        points |= {"customdata": rows[["class", "similar"]], "hovertemplate": said, "name": name}
        figure.add_scatter(**points, marker={"color": colour, "size": 8, "opacity": 0.7})
    figure.add_hline(y=0, line=DASHED)
    figure.update_xaxes(title_text="cosine of the class's name and the nearest other one")
    figure.update_yaxes(title_text="accuracy, tuned minus zero-shot (points)")
    details = [str(correlation(table.cosine, table.change))]
    if "split" in table.attrs:
        details.insert(0, domain_of(table.attrs["split"]))
    title = titled("Do classes lose that have a near neighbour?", *details)
    return figure.update_layout(**layout(t=110), height=520, legend=BELOW, title=title)


def group_figure(table: pd.DataFrame) -> go.Figure:
    """Accuracy (%) of every group before and after tuning, a panel per split; means over runs.

    Bars are 95 % intervals over images, where there is one run.

    Arguments:
        table: of `group_table`.

    Returns:
        The figure.

    Raises:
        ConfigError: for another table, or one without a row.

    Example:
        >>> import pandas as pd
        >>> row = {"run": "a", "seed": 0, "split": "test/test", "group": "land, waterbird"}
        >>> row |= {"zero_shot": 0.4, "accuracy": 0.5, "low": 0.4, "high": 0.6}
        >>> figure = clipft.group_figure(pd.DataFrame([row]))
    """
    columns = ("run", "seed", "split", "group", "zero_shot", "accuracy", "low", "high")
    check_table(table, columns, "clipft.group_table")
    splits = list(dict.fromkeys(table.split))
    figure = panel_row(domains_of(splits))
    groups = sorted(table.group.unique())
    for column, split in enumerate(splits, start=1):
        rows = table[table.split == split]
        means = 100 * rows.groupby("group")[["zero_shot", "accuracy", "low", "high"]].mean()
        for name, value, colour in (
            ("zero-shot", "zero_shot", GREY),
            ("tuned", "accuracy", COLOURS[0]),
        ):
            marks: dict[str, Any] = {"x": means[value], "y": means.index, "mode": "markers"}
            marks |= {"marker": {"color": colour, "size": 10}, "name": name}
            if value == "accuracy" and table.run.nunique() == 1:
                above, below = means.high - means.accuracy, means.accuracy - means.low
                marks["error_x"] = {"type": "data", "array": above, "arrayminus": below}
            said = hover("%{y}", f"{name} %{{x:.1f}} %")
            figure.add_scatter(**marks, hovertemplate=said, **in_panel(column, name))
    figure.update_xaxes(title_text="accuracy (%)")
    figure.update_yaxes(categoryorder="array", categoryarray=groups[::-1], automargin=True)
    title = titled("Groups, before and after tuning", runs_and_seeds(table))
    height = 210 + ROW * len(groups)
    return figure.update_layout(**layout(t=110), height=height, legend=BELOW, title=title)
