"""Every figure in pages and papers: no text leaves the frame, none is dropped, no two overlap."""

import plotly.graph_objects as go
import pytest

from clipft.figures import style

from . import frames, gallery, lab

PAGE, COLUMN = 700, 410  # pixels: half a screen; one column of a paper, which a telephone has, too


@pytest.fixture(scope="module")
def page(browser):
    with lab.page(browser, ()) as view:
        frames.prepare(view)
        yield view
    assert view.errors == []


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    """Name -> the JSON of a figure: of every function that draws, and every item of a paper."""
    with pytest.MonkeyPatch.context() as patch:
        gallery.made_up(patch)
        # Plotly checks it at every change of a layout, and what draws a page puts another there.
        patch.setattr(style, "_light_upon", lambda default: None)
        drawn = gallery.gallery() | gallery.items(tmp_path_factory.mktemp("runs"))
    return {name: figure.to_json() for name, figure in drawn.items()}


def test_every_function_that_draws_is_looked_at(figures):
    looked_at = {name.partition(",")[0] for name in figures}
    assert gallery.function_names() <= looked_at
    assert len(gallery.function_names()) > 20


@pytest.mark.parametrize("width", [PAGE, COLUMN])
def test_every_text_of_every_figure_can_be_read(page, figures, width):
    found = {name: frames.faults(page, text, width) for name, text in figures.items()}
    assert not any(found.values()), frames.said(found)


# --- the measure sees what is planted


def bars(names, **layout):
    return go.Figure(go.Bar(x=names, y=[1] * len(names)), layout=layout)


def notes(*places, **look):
    """A figure with a note at each of these places, in pixels from the lower left corner."""
    figure = bars(["a"], margin={"l": 0, "r": 0, "t": 0, "b": 0}, height=400)
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    for number, (x, y) in enumerate(places):
        at = {"x": 0, "y": 0, "xref": "paper", "yref": "paper", "xshift": x, "yshift": y}
        figure.add_annotation(text=f"note {number}", showarrow=False, **at, **look)
    return figure


def seen(page, figure, width=700):
    """What the measure finds where plotly alone lays the figure out."""
    figure.update_layout(width=width)
    return frames.faults(page, figure, width, native=True)


def test_a_cut_title_is_seen(page):
    assert seen(page, bars(["a"], title="WiSE")) == []
    (fault,) = seen(page, bars(["a"], title=40 * "mean of 2 seeds "))
    assert fault.startswith("cut by ")


def test_a_name_that_plotly_leaves_out_is_seen(page):
    names = [f"a rather long name of class {number}" for number in range(60)]
    faults = seen(page, bars(names))
    assert "not drawn: aratherlongnameofclass1" in faults
    assert "not drawn: aratherlongnameofclass0" not in faults


def test_a_legend_that_scrolls_is_seen(page):
    figure = go.Figure(layout={"height": 300})
    for number in range(40):
        figure.add_bar(x=["a"], y=[1], name=f"method {number}")
    assert any(fault.endswith("method 39") and "cut by" in fault for fault in seen(page, figure))


def test_one_text_over_another_is_seen(page):
    assert seen(page, notes((100, 200), (100, 230))) == []
    (fault,) = seen(page, notes((100, 200), (120, 204)))
    assert fault.endswith("px over another: note 0 | note 1")


def test_turned_texts_are_measured_as_they_stand(page):
    """Their upright boxes overlap in both figures."""
    assert seen(page, notes((100, 200), (130, 200), textangle=-45)) == []
    (fault,) = seen(page, notes((100, 200), (112, 210), textangle=-45))
    assert fault.endswith("px over another: note 0 | note 1")


def test_a_title_over_the_axes_is_seen(page):
    figure = bars(["a"], title={"text": "title", "x": 0.5, "y": 0.5}, height=400)
    assert seen(page, figure) == ["over a panel: title"]


def test_a_point_out_of_view_is_seen(page):
    figure = go.Figure(go.Scatter(x=[1, 5], y=[1, 2], mode="markers", name="zero-shot"))
    assert seen(page, figure) == []
    figure.update_xaxes(range=[2, 6])
    assert seen(page, figure) == ["out of view: a point of zero-shot"]
