"""One notebook: its parameters, what is refused before it runs, its page that opens offline."""

import json
import re

import nbformat
import plotly.graph_objects as go
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from test_cli import run_cli
from test_pages import loaded_from_outside

from clipft.batch.notebook import FIGURE, WIDGET, to_html, to_run
from clipft.batch.parameters import read_parameters
from clipft.disk.files import read_yaml
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
free = None
whole = 3
share = 0.5
text = "x"
pair = (1, 2)
left, right = 1, 2
made = [n for n in ()]
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
        {"whole": 4, "share": 1, "text": "1e-3", "pair": [3, 4], "left": "l", "made": 1},
        {},
    ],
)
def test_values_that_fit(tmp_path, given):
    assert read_parameters(write(tmp_path / "a.ipynb", CELL)).take(given) == given


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"name": 3}, "name is 3, of type int; expected str"),
        ({"count": 1.0}, "count is 1.0, of type float; expected int"),
        ({"count": True}, "count is True, of type bool; expected int"),
        ({"rate": True}, "rate is True, of type bool; expected float"),
        ({"rate": "1e-3"}, r"rate is '1e-3', of type str; expected float, as its default 0\.5$"),
        ({"rate": "fast"}, r"rate is 'fast', of type str; expected float, as its default 0\.5$"),
        ({"flag": "yes"}, "flag is 'yes', of type str; expected bool"),
        ({"flag": 1}, "flag is 1, of type int; expected bool"),
        ({"values": "ft"}, "values is 'ft', of type str; expected list"),
        ({"options": [1]}, r"options is \[1\], of type list; expected dict"),
        ({"count": None}, "count is None, of type NoneType; expected int"),
        ({"more": 0.5}, "more is 0.5, of type float; expected list or None, as its default None$"),
        ({"whole": 0.5}, "whole is 0.5, of type float; expected int, as its default 3$"),
        ({"whole": True}, "whole is True, of type bool; expected int"),
        ({"share": [1]}, r"share is \[1\], of type list; expected float, as its default 0\.5$"),
        ({"text": 3}, "text is 3, of type int; expected str, as its default 'x'; quote what is a"),
        ({"text": None}, "text is None, of type NoneType; expected str"),
        ({"pair": "1, 2"}, r"pair is '1, 2', of type str; expected list, as its default \(1, 2\)$"),
        ({"free": {1}}, r"free is \{1\}, of type set; expected text, numbers, .*mapping$"),
        ({"free": [b"x"]}, r"free is b'x', of type bytes; expected text"),
        ({"options": {"deep": {2: 1}}}, r"options has the key 2, of type int; .*quote it$"),
        ({"options": {None: 1}}, r"options has the key None, of type NoneType"),
    ],
)
def test_values_that_do_not_fit(tmp_path, given, wanted):
    with pytest.raises(ConfigError, match=wanted) as caught:
        read_parameters(write(tmp_path / "a.ipynb", CELL)).take(given)
    assert str(caught.value).startswith("a.ipynb, cell 2 (`parameters`): ")
    assert "\n" not in str(caught.value)


def test_unknown_parameter_no_cell_and_bad_python(tmp_path):
    with pytest.raises(
        ConfigError, match=r"unknown parameter of a.ipynb 'nmae'; did you mean 'name'"
    ):
        read_parameters(write(tmp_path / "a.ipynb", CELL)).take({"nmae": "x"})
    with pytest.raises(ConfigError, match=r"a.ipynb, cell 2 \(`parameters`\) is not valid Python"):
        read_parameters(write(tmp_path / "a.ipynb", "a = = 1"))
    nbformat.write(new_notebook(cells=[new_code_cell("a = 1")]), tmp_path / "bare.ipynb")
    read_parameters(tmp_path / "bare.ipynb").take({})
    with pytest.raises(
        ConfigError, match=r"bare.ipynb has no cell tagged `parameters`, so nothing can set 'a'"
    ):
        read_parameters(tmp_path / "bare.ipynb").take({"a": 1})


def test_what_looks_like_a_number_is_one_and_a_date_is_its_text(tmp_path):
    """As YAML 1.2 and people read it; but quoted, or where the notebook has a text, it is text."""
    file = tmp_path / "values.yaml"
    file.write_text(
        "rate: 1e-3\nlimit: -2.5E6\nmore: [.5e1, 2.e-1, 3]\ncount: 1e3\nwhole: 2e1\n"
        "name: 1e5\ntext: 12e7\noptions: {tau: 1e-2, id: '12e7', deep: {days: [2026-11-01]}}\n"
        "free: 2026-11-01 10:30:00\nodd: 1e-3x\nmade: 1.5\n"
    )
    taken = read_parameters(write(tmp_path / "a.ipynb", CELL)).take(read_yaml(file, written=True))
    assert taken == {
        "rate": 0.001, "limit": -2.5e6, "more": [5.0, 0.2, 3], "count": 1000, "whole": 20,
        "name": "1e5", "text": "12e7",
        "options": {"tau": 0.01, "id": "12e7", "deep": {"days": ["2026-11-01"]}},
        "free": "2026-11-01T10:30:00", "odd": "1e-3x", "made": 1.5,
    }  # fmt: skip
    assert type(taken["count"]) is int and type(taken["rate"]) is float
    assert json.loads(json.dumps(taken)) == taken


def cell(source, *tags, **more):
    """A cell as some program wrote it: without an id; its metadata may be left out."""
    about = {"metadata": {"tags": list(tags)}} if tags else {}
    return {"cell_type": "code", "source": source} | about | more


@pytest.mark.parametrize(
    ("cells", "metadata", "problem"),
    [
        ([cell("a = 1", "parameters")], {"kernelspec": {"language": "R"}}, "a.ipynb is in R;"),
        ([cell("a = 1", "parameters")], {"kernelspec": {"name": "ir"}}, "a.ipynb is in R;"),
        (
            [cell("a = 1", "parameters")],
            {"kernelspec": {"name": "julia-1.11"}, "language_info": {"name": "julia"}},
            "a.ipynb is in julia;",
        ),
        (
            [cell("# nothing\n%matplotlib inline", "parameters")],
            {},
            r"a.ipynb, cell 1 \(`parameters`\) assigns nothing, so nothing can set 'a'",
        ),
        (
            [cell("a = 1", "parameters"), cell(""), cell("a = 2", "parameters")],
            {},
            "cells 1 and 3 are tagged `parameters`; values are put in after the first",
        ),
        ([cell("a = 1", "parameters", cell_type="markdown")], {}, "cell 1 .* is no code"),
    ],
    ids=["R", "kernel of R", "julia", "no assignment", "two cells", "text"],
)
def test_a_notebook_that_cannot_be_run_is_one_line(tmp_path, cells, metadata, problem):
    file = tmp_path / "a.ipynb"
    file.write_text(json.dumps({"cells": cells, "metadata": metadata}))
    with pytest.raises(ConfigError, match=problem) as caught:
        read_parameters(file).take({"a": 1})
    assert "\n" not in str(caught.value)


def test_magics_in_the_parameters_cell_are_passed_over(tmp_path):
    file = write(tmp_path / "a.ipynb", "%load_ext autoreload\n!ls\na = 1\nb = a % 2\n?a")
    assert read_parameters(file).kinds == {"a": ("int",), "b": ()}


OLD = {
    "nbformat": 3, "nbformat_minor": 0, "metadata": {"name": ""},
    "worksheets": [{"cells": [
        {"cell_type": "heading", "level": 1, "source": "Old", "metadata": {}},
        {"cell_type": "code", "input": "a = 1", "language": "python", "outputs": [],
         "metadata": {"tags": ["parameters"]}, "collapsed": False},
        {"cell_type": "code", "input": ["print('got', ", "a)"], "language": "python",
         "metadata": {}, "outputs": [{"output_type": "stream", "stream": "stdout", "text": "old"}],
         "prompt_number": 3, "collapsed": False},
    ]}],
}  # fmt: skip
CELLS = [cell("a = 1", "parameters"), cell("print('got', a)")]
LEFT = cell("print('got', a)", outputs=[new_output("stream", text="old")], execution_count=9)
AS_PEOPLE_HAVE_THEM = {
    "nothing but cells": {"cells": CELLS},
    "no kernel, no ids": {
        "nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [CELLS[0], LEFT],
    },
    "another machine's kernel": {
        "nbformat": 4, "nbformat_minor": 2, "cells": CELLS,
        "metadata": {"kernelspec": {"name": "conda-env-me-py", "display_name": "me"}},
    },
    "nbformat 3": OLD,
}  # fmt: skip


@pytest.mark.parametrize("name", AS_PEOPLE_HAVE_THEM)
@pytest.mark.parametrize("ends", ["\n", "\r\n"], ids=["plain", "BOM and CRLF"])
def test_any_notebook_is_brought_into_todays_format(tmp_path, name, ends):
    """As nbformat itself checks it; without what an earlier execution left. A page is made, too."""
    file = tmp_path / "a.ipynb"
    text = json.dumps(AS_PEOPLE_HAVE_THEM[name], indent=1).replace("\n", ends)
    file.write_text(text, encoding="utf-8" if ends == "\n" else "utf-8-sig", newline="")
    assert read_parameters(file).take({"a": 7}) == {"a": 7}
    book = to_run(file)
    nbformat.validate(book, relax_add_props=False)
    code = [each for each in book.cells if each.cell_type == "code"]
    assert [each.source for each in code] == ["a = 1", "print('got', a)"]
    assert all(each.outputs == [] and each.execution_count is None for each in code)
    assert "got" in to_html(file, tmp_path / "a.html").read_text(encoding="utf-8")


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
