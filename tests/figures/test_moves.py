"""A slider's steps are the table of what moves; a live view gets the same numbers."""

import numpy as np
import plotly.graph_objects as go
import pytest
from hypothesis import given, settings, strategies as st

from clipft.figures.moves import NEAREST, add_slider, moves_of

ALPHAS = st.lists(st.floats(0, 1), min_size=2, max_size=9, unique=True).map(sorted)


def made(alphas, way="between", start=0.5):
    figure = go.Figure(layout={"height": 500, "margin": {"b": 150}})
    figure.add_scatter(x=[1, 2], y=[3, 4])
    figure.add_scatter(x=[], y=[], name="mark")
    figure.add_bar(x=["a", "b"], y=[0, 0], name="bars")
    marks = [{"x": [alpha], "y": [2 * alpha], "text": [f"{alpha}"]} for alpha in alphas]
    bars = [{"y": np.array([alpha, np.nan])} for alpha in alphas]
    add_slider(figure, alphas, {1: marks, 2: bars}, start, way=way)
    return figure


@settings(deadline=None, max_examples=50)
@given(ALPHAS, st.floats(0, 1))
def test_the_table_is_read_back_as_it_was_given(alphas, start):
    figure = made(alphas, start=start)
    still, moves = moves_of(figure)
    assert moves["t"] == alphas  # not as rounded in the labels
    mark, bars = moves["traces"]
    assert (mark["place"], bars["place"]) == (1, 2)
    assert mark["keys"]["x"] == [[alpha] for alpha in alphas]
    assert mark["keys"]["text"] == [[f"{alpha}"] for alpha in alphas]
    assert bars["keys"] == {"y": [[alpha, None] for alpha in alphas]}
    for step in figure.layout.sliders[0].steps:  # plotly's own slider would take a missing x away
        assert list(step.args[0]["x"][1]) == ["a", "b"]
    nearest = min(alphas, key=lambda alpha: abs(alpha - start))
    assert abs(figure.data[1].x[0] - start) == abs(nearest - start)
    assert not still.layout.sliders and figure.layout.sliders
    assert still.layout.height < figure.layout.height


def test_a_figure_says_whether_a_view_may_go_between_its_alphas():
    assert not moves_of(made([0, 1]))[1]["nearest"]
    assert moves_of(made([0, 1], NEAREST))[1]["nearest"]


def test_a_figure_without_a_slider_moves_nothing():
    figure = go.Figure(go.Scatter(x=[1], y=[1]))
    still, moves = moves_of(figure)
    assert moves == {} and still == figure


@pytest.mark.parametrize("alphas", [[0.0, 1 / 3, 1.0]])
def test_labels_are_short(alphas):
    (slider,) = made(alphas).layout.sliders
    assert [step.label for step in slider.steps] == ["0", "0.33", "1"]
