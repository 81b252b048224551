"""One notebook: what its parameters cell wants, its execution, and its HTML page.

`python -m clipft.batch.notebook NOTEBOOK FOLDER` executes one notebook with FOLDER/params.json.
"""

from __future__ import annotations

import ast
import contextlib
import logging
import re
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import util
from pathlib import Path
from typing import Any, NoReturn

from ..disk.files import read_json, write_text
from ..errors import ConfigError, MissingExtra, unknown
from ..figures.pages import FIGURE, PLOTLYJS, draw
from ..parsing import parse_large_json
from ..progress import write

KINDS = {"str", "int", "float", "bool", "list", "dict", "None"}  # annotations that are checked
# YAML 1.1 takes many of these for a word
EXPONENT = re.compile(r"([-+]?)(\d+\.?\d*|\.\d+)e([-+]?)(\d+)", re.IGNORECASE)
# how papermill executes every notebook
HOW = {
    "kernel_name": "python3", "progress_bar": False, "log_output": True,
    "store_widget_state": False, "coalesce_streams": True,
}  # fmt: skip
WIDGET = "application/vnd.jupyter.widget-view+json"
# nbconvert's page without require.js, MathJax and Mermaid; outputs may load nothing either
OFFLINE = """{%- extends 'lab/index.html.j2' -%}
{%- block html_head_js -%}<meta http-equiv="Content-Security-Policy"
 content="default-src 'self' file: data: blob: 'unsafe-inline' 'unsafe-eval'">{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
"""


@dataclass(frozen=True)
class Parameters:
    """What the cell tagged `parameters` assigns: name -> its kinds, () where anything will do.

    defaults: the values that are written out there, not computed.
    """

    notebook: Path
    cell: int  # its number, from 1; 0: there is none
    kinds: dict[str, tuple[str, ...]]
    defaults: dict[str, Any] = field(default_factory=dict)

    def check(self, values: Mapping[str, Any]) -> None:
        """Raise ConfigError for a parameter that the notebook lacks, or a value of another type."""
        for name, value in values.items():
            if not self.cell:
                problem = f"has no cell tagged `parameters`, so nothing can set {name!r}"
                raise ConfigError(f"{self.notebook.name} {problem}")
            if name not in self.kinds:
                raise unknown(f"parameter of {self.notebook.name}", name, self.kinds)
            kinds = self.kinds[name]
            if kinds and not _fits(value, kinds):
                place = f"{self.notebook.name}, cell {self.cell} (`parameters`)"
                problem = f"{name} is {value!r:.80}, of type {type(value).__name__}"
                wanted = " or ".join(kinds)
                if isinstance(value, str) and "float" in kinds and yaml_number(value):
                    wanted += f"; YAML takes this for a word: write {yaml_number(value)}"
                raise ConfigError(f"{place}: {problem}; expected {wanted}")


def _fits(value: Any, kinds: tuple[str, ...]) -> bool:
    """Whether a value is of one of these kinds; a whole number is a float, too, True is none."""
    kind = "None" if value is None else type(value).__name__
    return kind in kinds or (kind == "int" and "float" in kinds)


def yaml_number(text: str) -> str:
    """A number such as 1e-3 in the one form that YAML 1.1 reads as such; empty for any other text.

    That form has a point, and the exponent has its sign: 1.0e-3.
    """
    number = EXPONENT.fullmatch(text)
    if number is None:
        return ""
    sign, digits, exponent_sign, exponent = number.groups()
    if "." not in digits:
        digits += ".0"
    return f"{sign}{digits}e{exponent_sign or '+'}{exponent}"


def read_parameters(notebook: Path) -> Parameters:
    """Read a notebook's parameters cell.

    Raises ConfigError where the file is no notebook or the cell no Python.
    """
    number, source = _parameters_cell(notebook)
    try:
        statements = ast.parse(source).body
    except SyntaxError as error:
        place = f"{notebook.name}, cell {number} (`parameters`)"
        raise ConfigError(f"{place} is not valid Python: {error}") from None

    kinds: dict[str, tuple[str, ...]] = {}
    defaults: dict[str, Any] = {}
    for statement in statements:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            kinds[statement.target.id] = _kinds(statement.annotation, statement.value)
            with contextlib.suppress(ValueError, TypeError):
                defaults[statement.target.id] = ast.literal_eval(statement.value or ast.Pass())
        elif isinstance(statement, ast.Assign):
            for target in statement.targets:
                if isinstance(target, ast.Name):
                    kinds[target.id] = ()
                    with contextlib.suppress(ValueError, TypeError):
                        defaults[target.id] = ast.literal_eval(statement.value)
    return Parameters(notebook, number, kinds, defaults)


def _parameters_cell(notebook: Path) -> tuple[int, str]:
    """(number from 1, source) of the first cell tagged `parameters`; (0, "") without one."""
    for number, cell in enumerate(_read_cells(notebook), start=1):
        if "parameters" in cell.get("metadata", {}).get("tags", []):
            return number, "".join(cell["source"])
    return 0, ""


def _kinds(annotation: ast.expr, default: ast.expr | None) -> tuple[str, ...]:
    """Names in KINDS that an annotation such as `list[float] | None` allows; () for any other."""
    words = [word.partition("[")[0].strip() for word in ast.unparse(annotation).split("|")]
    if isinstance(default, ast.Constant) and default.value is None:
        words.append("None")
    if not set(words) <= KINDS:
        return ()
    return tuple(dict.fromkeys(words))


def _read_cells(notebook: Path) -> list[dict[str, Any]]:
    """The cells of a notebook file; raises ConfigError where it is none."""
    try:
        cells = parse_large_json(notebook.read_text(encoding="utf-8"))["cells"]
        if all({"cell_type", "source"} <= cell.keys() for cell in cells):
            return cells
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(f"cannot read {notebook}: {reason}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise ConfigError(f"{notebook} is not a notebook: no valid JSON with cells")


def to_html(executed: Path | str, target: Path | str, plotlyjs: str = "") -> Path:
    """Write an executed notebook as HTML that opens offline, its plotly figures drawn.

    plotlyjs: relative address of a plotly.min.js that pages share; empty: the page holds its own.
    Returns the file. Raises MissingExtra without nbconvert, ConfigError where `executed` is no
    notebook.
    """
    executed = Path(executed)
    target = Path(target)
    title = _title(_read_cells(executed), executed.stem)
    if util.find_spec("nbconvert") is None:
        raise MissingExtra("nbconvert", "notebooks")
    import nbformat
    from nbconvert import HTMLExporter

    book: Any = nbformat.read(executed, as_version=4)
    book.metadata.pop("widgets", None)
    _draw_figures(book, plotlyjs)
    exporter = HTMLExporter(raw_template=OFFLINE, embed_images=True)
    resources = {"metadata": {"name": title, "path": str(executed.parent)}}
    page, _ = exporter.from_notebook_node(book, resources)
    write_text(target, page)
    return target


def _title(cells: list[dict[str, Any]], default: str) -> str:
    """The heading of the first text that begins with one."""
    for cell in cells:
        text = "".join(cell["source"]).strip()
        if cell["cell_type"] == "markdown" and text.startswith("# "):
            return text.splitlines()[0].removeprefix("# ")
    return default


def _draw_figures(book: Any, plotlyjs: str) -> None:
    """Give every plotly figure its HTML; the first brings plotly.js along, or its address."""
    script: str | bool = plotlyjs or True
    for cell in book.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            data.pop(WIDGET, None)  # needs a kernel; what stays is its text
            if FIGURE not in data:
                continue
            figure = dict(data[FIGURE])
            figure.pop("config", None)
            data["text/html"] = draw(figure, script)
            script = False


@contextlib.contextmanager
def sigterm_exits() -> Iterator[None]:
    """SIGTERM leaves by way of every `finally`, with code 143; in the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _leave(*_: object) -> NoReturn:
    sys.exit(143)


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


def _run_cells(notebook: Path, executed: Path, parameters: dict[str, Any]) -> str:
    """Execute a notebook with papermill; returns why it ended early, empty where it did not."""
    import papermill
    from nbclient.exceptions import DeadKernelError
    from traitlets.config import Config

    config = Config()
    config.KernelManager.transport = "ipc"  # no TCP port to race for
    # a short name: a socket's path has at most 107 characters
    with tempfile.TemporaryDirectory(prefix="nbk-") as sockets:
        config.KernelManager.ip = f"{sockets}/k"
        try:
            place = {"cwd": str(notebook.parent), "config": config}
            papermill.execute_notebook(str(notebook), str(executed), parameters, **place, **HOW)
        except papermill.PapermillExecutionError as error:
            return f"{_last_cell(executed)}: {error.ename}: {error.evalue}"
        except DeadKernelError:
            return f"{_last_cell(executed)}: its kernel died; it was killed, or memory ran out"
    return ""


def _last_cell(executed: Path) -> str:
    """Number and first line of the cell that papermill began last, as the notebook shows them."""
    number = 0
    last = "before the first cell"
    for cell in _read_cells(executed):
        source = "".join(cell["source"]).strip()
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
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    with sigterm_exits():  # what was reached is saved
        execute(Path(sys.argv[1]), Path(sys.argv[2]))
