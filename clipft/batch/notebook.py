"""One notebook: its execution, and its HTML page.

`python -m clipft.batch.notebook NOTEBOOK FOLDER` executes one notebook with FOLDER/params.json.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import tempfile
import warnings
from importlib import util
from pathlib import Path
from typing import Any

from ..boards.page import BOARD, BoardsOfPage
from ..disk.files import read_json, write_text
from ..errors import MissingExtra
from ..figures.pages import FIGURE, PLOTLYJS, Insteads, draw, scripts_of
from ..progress import write
from .life import GRACE, MARK, leashed, sigterm_exits
from .parameters import cells_of, read_notebook, source_of
from .shipped import is_installed

# how papermill executes every notebook
HOW = {
    "kernel_name": "python3", "language": "python", "progress_bar": False, "log_output": True,
    "store_widget_state": False, "coalesce_streams": True,
}  # fmt: skip
# What every job would import and none uses: jsonschema's grammar of international addresses, which
# takes a second to compile, and papermill's way to Hadoop.
UNUSED = ("rfc3987_syntax", "pyarrow")
WIDGET = "application/vnd.jupyter.widget-view+json"
# nbconvert's page without require.js, MathJax and Mermaid; outputs may load nothing either. Its
# code is folded, and what boards need stands at its end.
OFFLINE = """{%- extends 'lab/index.html.j2' -%}
{%- block html_head_js -%}<meta http-equiv="Content-Security-Policy"
 content="default-src 'self' file: data: blob: 'unsafe-inline' 'unsafe-eval'">{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
{%- block html_head_css -%}{{ super() }}<style>{{ resources.clipft.style }}</style>{%- endblock -%}
{%- block input_group -%}
<details class="clipft-code"><summary>code</summary>{{ super() }}</details>
{%- endblock -%}
{%- block body_footer -%}{{ resources.clipft.last }}{{ super() }}{%- endblock -%}
"""
FOLDED = """
.clipft-code > summary { cursor: pointer; color: var(--jp-content-font-color2); font-size: 12px }
.clipft-contents { font-size: 14px }
"""
HEADING = re.compile(
    r'<h([123])[^>]* id="([^"]+)"[^>]*>((?:(?!</h\1>).)*?)<a class="anchor-link"', re.DOTALL
)


def to_html(executed: Path | str, target: Path | str, plotlyjs: str = "") -> Path:
    """Write an executed notebook as HTML that opens offline, its plotly figures drawn.

    plotlyjs: relative address of a plotly.min.js that pages share; empty: the page holds its own.
    Returns the file. Raises MissingExtra without nbconvert, ConfigError where `executed` is no
    notebook.
    """
    executed = Path(executed)
    target = Path(target)
    content = read_notebook(executed)
    title = _title(cells_of(content), executed.stem)
    if util.find_spec("nbconvert") is None:
        raise MissingExtra("nbconvert", "notebooks")
    from nbconvert import HTMLExporter

    book = _in_todays_format(content)
    book.metadata.pop("widgets", None)
    boards = BoardsOfPage()
    _draw_figures(book, plotlyjs, boards.insteads)
    exporter = HTMLExporter(raw_template=OFFLINE, embed_images=True)
    own = {"style": FOLDED + boards.insteads.style, "last": boards.insteads.last()}
    resources = {"metadata": {"name": title, "path": str(executed.parent)}, "clipft": own}
    page, _ = exporter.from_notebook_node(book, resources)
    write_text(target, page.replace("</h1>", f"</h1>{_contents(page)}", 1))
    return target


def _contents(page: str) -> str:
    """Links to the headings of a page, but for its title."""
    headings = [found for found in HEADING.findall(page) if found[0] != "1"]
    links = "".join(f"<li><a href='#{name}'>{text}</a></li>" for _, name, text in headings)
    return f"<nav class='clipft-contents' aria-label='contents'><ul>{links}</ul></nav>"


def _in_todays_format(content: dict[str, Any]) -> Any:
    """A notebook as nbformat wants it today: older formats, and what other programs leave out."""
    import nbformat
    from nbformat import validator

    book: Any = nbformat.from_dict(content)
    if "worksheets" in book:
        book = nbformat.convert(book, 4)
    book.nbformat = 4
    book.nbformat_minor = 5
    if not book.get("metadata"):
        book.metadata = nbformat.NotebookNode()
    for cell in book.cells:
        _complete(cell)
    with warnings.catch_warnings():
        for kind in (validator.MissingIDFieldWarning, validator.DuplicateCellId):
            warnings.simplefilter("ignore", kind)
        _, book = validator.normalize(book)
    return nbformat.from_dict(book)


def _complete(cell: Any) -> None:
    """Give a cell what other programs leave out, and make texts of lists of lines."""
    from nbformat import NotebookNode

    cell.source = source_of(cell)
    if not cell.get("metadata"):
        cell.metadata = NotebookNode()
    if cell.cell_type == "code":
        cell.setdefault("outputs", [])
        cell.setdefault("execution_count", None)
        for output in cell.outputs:
            if isinstance(output.get("text"), list):  # of a stream
                output.text = "".join(output.text)


def _title(cells: list[dict[str, Any]], default: str) -> str:
    """The heading of the first text that begins with one."""
    for cell in cells:
        text = source_of(cell).strip()
        if cell["cell_type"] == "markdown" and text.startswith("# "):
            return text.splitlines()[0].removeprefix("# ")
    return default


def _draw_figures(book: Any, plotlyjs: str, insteads: Insteads) -> None:
    """Give every plotly figure its HTML, or that of its board; the first brings plotly.js along, or
    its address.
    """
    script: str | bool = plotlyjs or True
    for cell in book.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            data.pop(WIDGET, None)  # needs a kernel; what stays is its text
            if FIGURE not in data:
                continue
            figure = dict(data[FIGURE])
            figure.pop("config", None)
            board = insteads.place({"board": data.pop(BOARD, None)})
            data["text/html"] = scripts_of(script) + (board or draw(figure))
            script = False


def execute(notebook: Path, folder: Path) -> None:
    """Execute a notebook with FOLDER/params.json; leaves run.ipynb and run.html there.

    Exits with 1 where the notebook fails; the last line that it writes says where and why.
    """
    executed = folder / "run.ipynb"
    executed.with_suffix(".html").unlink(missing_ok=True)  # of an earlier try
    try:
        failure = _run_cells(notebook, executed, read_json(folder / "params.json"))
    finally:  # stopped from outside, too
        _leave_page(executed)
    if failure:
        write(" ".join(failure.split()))  # the last line: the batch shows it
        raise SystemExit(1)


def to_run(notebook: Path) -> Any:
    """The notebook as papermill takes it, without what an earlier execution left in it."""
    book = _in_todays_format(read_notebook(notebook))
    book.metadata.pop("widgets", None)
    for cell in book.cells:
        if cell.cell_type == "code":
            cell.outputs = []
            cell.execution_count = None
    return book


def works_in(notebook: Path, folder: Path) -> Path:
    """Where a notebook runs: beside itself, but one of the wheel in the job's folder."""
    return folder if is_installed(notebook) else notebook.parent


def _run_cells(notebook: Path, executed: Path, parameters: dict[str, Any]) -> str:
    """Execute a notebook with papermill; returns why it ended early, empty where it did not."""
    import nbformat
    import papermill
    from nbclient.exceptions import DeadKernelError
    from traitlets.config import Config

    write_text(executed, nbformat.writes(to_run(notebook)))
    write(f"notebook {notebook}")

    config = Config()
    config.KernelManager.transport = "ipc"  # no TCP port to race for
    config.KernelManager.shutdown_wait_time = GRACE / 2  # a training that is ended may save
    # a short name: a socket's path has at most 107 characters
    with tempfile.TemporaryDirectory(prefix="nbk-") as sockets:
        config.KernelManager.ip = f"{sockets}/k"
        try:
            place = {"cwd": str(works_in(notebook, executed.parent)), "config": config}
            # papermill fills in what stands in braces in a path.
            path = str(executed).replace("{", "{{").replace("}", "}}")
            papermill.execute_notebook(path, path, parameters, **place, **HOW)
        except papermill.PapermillExecutionError as error:
            return f"{_last_cell(executed)}: {error.ename}: {error.evalue}"
        except DeadKernelError:
            return f"{_last_cell(executed)}: its kernel died; it was killed, or memory ran out"
    return ""


def _last_cell(executed: Path) -> str:
    """Number and first line of the cell that papermill began last, as the notebook shows them."""
    number = 0
    last = "before the first cell"
    for cell in cells_of(read_notebook(executed)):
        source = source_of(cell).strip()
        if cell["cell_type"] != "code" or not source:
            continue
        number += 1
        if cell.get("metadata", {}).get("papermill", {}).get("start_time"):
            last = f"cell In [{number}] `{source.splitlines()[0]}`"
    return last


def _leave_page(executed: Path) -> None:
    """Write run.html beside run.ipynb; a page that cannot be written does not spoil the run."""
    if not executed.exists():
        return
    plotlyjs = f"../../{PLOTLYJS}" if (executed.parents[2] / PLOTLYJS).exists() else ""
    try:
        to_html(executed, executed.with_suffix(".html"), plotlyjs)
    except Exception as error:
        write(f"no HTML page: {type(error).__name__}: {error}")


if __name__ == "__main__":
    for package in UNUSED:  # as if not installed; what imports them does without
        sys.modules.setdefault(package, None)  # type: ignore[arg-type]
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    target = Path(sys.argv[2])
    in_batch = os.environ.get(MARK) == str(target)
    with leashed(target) if in_batch else contextlib.nullcontext():
        with sigterm_exits():  # what was reached is saved
            execute(Path(sys.argv[1]), target)
