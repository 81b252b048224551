"""A figure that is given the wrong thing says in one line what it wanted."""

import contextlib
import inspect

import pandas as pd
import pytest

import clipft

SAVES = {"save_figure"}  # draws nothing
FIGURES = sorted(name for name in dir(clipft) if name.endswith("_figure") and name not in SAVES)


def needed(function) -> int:
    """How many arguments a function must be given."""
    return sum(it.default is it.empty for it in inspect.signature(function).parameters.values())


@pytest.mark.parametrize("name", [name for name in FIGURES if needed(getattr(clipft, name))])
def test_the_wrong_thing_is_one_line(name, scored):
    function = getattr(clipft, name)
    results = clipft.results(scored.runs)
    for wrong in (results, results.iloc[:0], pd.DataFrame({"a": [1, 2]}), None, 3, {"a": 1}):
        with contextlib.suppress(clipft.ClipftError):  # or it draws: it was the right thing
            function(*[wrong] * needed(function))


def test_leave_one_out_figure_names_what_makes_its_panels(scored):
    with pytest.raises(clipft.ClipftError, match=r"got DataFrame; wanted: a dict, name -> .*leave"):
        clipft.leave_one_out_figure(clipft.results(scored.runs))
    with pytest.raises(clipft.ClipftError, match="'sketch' is float"):
        clipft.leave_one_out_figure({"sketch": 0.5})
