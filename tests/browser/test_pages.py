"""Figures saved as HTML, opened from the disk."""

import plotly.graph_objects as go

from clipft.figures import pages

from . import lab


def test_a_saved_figure_opens_offline(browser, tmp_path):
    figure = go.Figure(
        go.Scatter(x=[1, 2, 3], y=[2, 1, 3], mode="markers"), layout={"title": "Saved"}
    )
    file = pages.save_figure(figure, tmp_path, "saved", "Three points.")
    with lab.page(browser, ("file:",), height=700) as page:
        page.goto(file.as_uri())
        lab.expect(page.locator(".js-plotly-plot .points path")).to_have_count(3)
        lab.expect(page.locator("figcaption")).to_have_text("Three points.")
        lab.shot(page, "saved_figure")
    assert page.outside == []
    assert page.errors == []
