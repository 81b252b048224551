"""One notebook: its parameters, what is refused before it runs, its page that opens offline."""

import json
import re

import nbformat
import plotly.graph_objects as go
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from test_cli import run_cli
from test_pages import loaded_from_outside

from clipft.batch.notebook import FIGURE, WIDGET, read_parameters, to_html
from clipft.errors import ConfigError, MissingExtra
from clipft.figures.pages import PLOTLYJS

pytest.importorskip("nbconvert")
CELL = """
name: str = "x"
count: int = 1
rate: float = 0.5
flag: bool = True
values: list = [1]
more: list[float] | None = None
options: dict = {}
limit: float = None
odd: "Path" = 1
free = 1
"""


def write(path, source, *cells):
    code = new_code_cell(source)
    code.metadata["tags"] = ["parameters"]
    nbformat.write(new_notebook(cells=[new_markdown_cell("# Title & more"), code, *cells]), path)
    return path


def shown(data):
    return new_output("display_data", data)


def figure_data(title):
    figure = json.loads(
        go.Figure(go.Scatter(x=[1, 2], y=[3, 4]), {"title": {"text": title}}).to_json()
    )
    return figure | {"config": {"plotlyServerURL": "https://plot.ly", "showSendToCloud": True}}


@pytest.fixture
def executed(tmp_path):
    """Two figures, one of them with a widget beside it, a widget alone, a table, widgets' state."""
    view = {"model_id": "abc", "version_major": 2}
    second = {WIDGET: view, FIGURE: figure_data("</script><b>second"), "text/plain": "HBox()"}
    file = write(
        tmp_path / "run.ipynb",
        "a: int = 1",
        new_code_cell(
            "one", outputs=[shown({FIGURE: figure_data("first"), "text/plain": "Figure()"})]
        ),
        new_code_cell("two", outputs=[shown(second)]),
        new_code_cell("three", outputs=[shown({WIDGET: view, "text/plain": "IntSlider(value=7)"})]),
        new_code_cell(
            "four",
            outputs=[shown({"text/html": "<table><td>31.5</td></table>", "text/plain": "31.5"})],
        ),
    )
    book = nbformat.read(file, 4)
    book.metadata["widgets"] = {
        "application/vnd.jupyter.widget-state+json": {"state": {}, "version_major": 2}
    }
    nbformat.write(book, file)
    return file


@pytest.mark.parametrize(
    "given",
    [
        {"name": "", "count": 3, "rate": 1, "flag": False, "values": [], "options": {"a": 1}},
        {"rate": 1.0e-3, "limit": None, "more": None},
        {"limit": 2, "more": [0.5], "odd": [1], "free": "anything"},
        {},
    ],
)
def test_values_that_fit(tmp_path, given):
    read_parameters(write(tmp_path / "a.ipynb", CELL)).check(given)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"name": 3}, "name is 3, of type int; expected str"),
        ({"count": 1.0}, "count is 1.0, of type float; expected int"),
        ({"count": True}, "count is True, of type bool; expected int"),
        ({"rate": True}, "rate is True, of type bool; expected float"),
        ({"rate": "1e-3"}, r"rate is '1e-3', of type str; expected float; .*: write 1\.0e-3$"),
        ({"rate": "-2.5E6"}, r"write -2\.5e\+6$"),
        ({"rate": "fast"}, "rate is 'fast', of type str; expected float$"),
        ({"flag": "yes"}, "flag is 'yes', of type str; expected bool"),
        ({"flag": 1}, "flag is 1, of type int; expected bool"),
        ({"values": "ft"}, "values is 'ft', of type str; expected list"),
        ({"options": [1]}, r"options is \[1\], of type list; expected dict"),
        ({"count": None}, "count is None, of type NoneType; expected int"),
        ({"limit": "1e-3"}, r"expected float or None; .*write 1\.0e-3"),
        ({"more": 0.5}, "more is 0.5, of type float; expected list or None"),
    ],
)
def test_values_that_do_not_fit(tmp_path, given, wanted):
    with pytest.raises(ConfigError, match=wanted) as caught:
        read_parameters(write(tmp_path / "a.ipynb", CELL)).check(given)
    assert str(caught.value).startswith("a.ipynb, cell 2 (`parameters`): ")
    assert "\n" not in str(caught.value)


def test_the_number_that_is_advised_is_one_to_yaml():
    import yaml

    from clipft.batch.notebook import yaml_number

    for text in ("1e-3", "1e5", "+2.E7", ".5e-1", "-3.25E+4"):
        advised = yaml_number(text)
        assert yaml.safe_load(advised) == float(text)


def test_unknown_parameter_no_cell_and_bad_python(tmp_path):
    with pytest.raises(
        ConfigError, match=r"unknown parameter of a.ipynb 'nmae'; did you mean 'name'"
    ):
        read_parameters(write(tmp_path / "a.ipynb", CELL)).check({"nmae": "x"})
    with pytest.raises(ConfigError, match=r"a.ipynb, cell 2 \(`parameters`\) is not valid Python"):
        read_parameters(write(tmp_path / "a.ipynb", "a = = 1"))
    nbformat.write(new_notebook(cells=[new_code_cell("a = 1")]), tmp_path / "bare.ipynb")
    read_parameters(tmp_path / "bare.ipynb").check({})
    with pytest.raises(
        ConfigError, match=r"bare.ipynb has no cell tagged `parameters`, so nothing can set 'a'"
    ):
        read_parameters(tmp_path / "bare.ipynb").check({"a": 1})


FIGURE_TEXT = r"""<script type=["']application/json["']>{"data": """


def places(page):
    """How many figures a page has a place for."""
    return len(re.findall(r"""<div class=["']clipft-figure["']>""", page))


def test_a_page_is_self_contained_and_every_figure_is_drawn(executed, tmp_path):
    page = to_html(executed, tmp_path / "new/page.html").read_text(encoding="utf-8")
    assert loaded_from_outside(page) == []
    assert "<title>Title &amp; more</title>" in page
    scripts = re.findall(r"<script\b.*?</script>", page, re.DOTALL)
    assert sum(len(script) > 1_000_000 for script in scripts) == 1
    assert places(page) == len(re.findall(FIGURE_TEXT, page)) == 2
    assert "showSendToCloud: false" in page
    assert "IntSlider(value=7)" in page and "HBox()" not in page and "31.5" in page
    assert "</script><b>second" not in page
    scripts_and_styles = r"<script\b.*?</script>|<style\b.*?</style>"
    rest = re.sub(scripts_and_styles, "", page, flags=re.DOTALL).lower()
    for word in "require.js mathjax mermaid widget-view widget-state unpkg cdnjs".split():
        assert word not in rest, word
    assert not list(tmp_path.glob(f"**/{PLOTLYJS}"))


def test_pages_may_share_plotly(executed, tmp_path):
    page = to_html(executed, tmp_path / "page.html", f"../../{PLOTLYJS}").read_text(
        encoding="utf-8"
    )
    assert re.findall(r'<script[^>]*\bsrc="([^"]*)"', page) == [f"../../{PLOTLYJS}"]
    assert len(page) < 1_000_000 and places(page) == 2


def test_a_page_without_figures_holds_no_plotly(tmp_path):
    page = to_html(write(tmp_path / "a.ipynb", "a = 1"), tmp_path / "a.html").read_text(
        encoding="utf-8"
    )
    assert "Plotly" not in page and "a.ipynb" not in page and len(page) < 1_000_000


def test_the_command_writes_it_beside_the_notebook(executed, tmp_path, monkeypatch, capsys):
    code, out, _ = run_cli(monkeypatch, capsys, "html", executed)
    assert (code, out) == (0, f"wrote {executed.with_suffix('.html')}\n")
    assert run_cli(monkeypatch, capsys, "html", executed, tmp_path / "b.html")[0] == 0
    assert places((tmp_path / "b.html").read_text()) == 2


@pytest.mark.parametrize(
    "text", [None, "", "not json", "[]", '"x"', "null", "{}", '{"cells": [1]}', '{"cells": [{}]}']
)
def test_what_is_no_notebook_is_one_line(text, tmp_path, monkeypatch, capsys):
    file = tmp_path / "a.ipynb"
    if text is not None:
        file.write_text(text)
    code, out, err = run_cli(monkeypatch, capsys, "html", file)
    assert (code, out, err.count("\n")) == (2, "", 1)
    missing = text is None
    problem = f"cannot read {file}: no" if missing else f"{file} is not a notebook"
    assert err.startswith(f"clipft: {problem}")


def test_missing_nbconvert_names_the_pip_line(executed, tmp_path, monkeypatch):
    monkeypatch.setattr("clipft.batch.notebook.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"nbconvert is not installed.*clipft\[notebooks\]"):
        to_html(executed, tmp_path / "a.html")
