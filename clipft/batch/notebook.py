"""One notebook: what its parameters cell wants, its execution in a process of its own, and its HTML page.

`python -m clipft.batch.notebook NOTEBOOK FOLDER` executes one notebook with FOLDER/params.json.
"""

from __future__ import annotations

import ast
import json
import os
import re
import signal
import sys
import tempfile
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..disk.files import read_json, write_text
from ..errors import ConfigError, MissingExtra, unknown
from ..figures.pages import PLOTLYJS, VIEW, draw

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

KINDS = {
    "str": (str,),
    "int": (int,),
    "float": (float, int),
    "bool": (bool,),
    "list": (list,),
    "dict": (dict,),
    "None": (type(None),),
}
FIGURE = "application/vnd.plotly.v1+json"
EXPONENT = re.compile(
    r"([-+]?)(\d+\.?\d*|\.\d+)e([-+]?)(\d+)", re.IGNORECASE
)  # to YAML 1.1 often a word
OFFLINE = """{%- extends 'lab/index.html.j2' -%}
{%- block html_head_js -%}
<meta http-equiv="Content-Security-Policy"
 content="default-src 'self' file: data: blob: 'unsafe-inline' 'unsafe-eval'">
{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
"""  # nbconvert's page without require.js, MathJax and Mermaid; the policy keeps outputs from loading anything either


@dataclass(frozen=True)
class Parameters:
    """What the cell tagged `parameters` assigns: name -> the annotated kinds, () where anything will do."""

    notebook: Path
    cell: int  # its number, from 1; 0: there is none
    kinds: dict[str, tuple[str, ...]]

    def check(self, given: Mapping[str, Any]) -> None:
        """Raise ConfigError for a parameter that the notebook does not have, or a value of another type."""
        for name, value in given.items():
            if not self.cell:
                raise ConfigError(
                    f"{self.notebook.name} has no cell tagged `parameters`, so nothing can set {name!r}"
                )
            if name not in self.kinds:
                raise unknown(f"parameter of {self.notebook.name}", name, self.kinds)
            wanted = self.kinds[name]
            if not wanted or type(value) in {kind for word in wanted for kind in KINDS[word]}:
                continue
            number = (
                EXPONENT.fullmatch(value) if isinstance(value, str) and "float" in wanted else None
            )
            raise ConfigError(
                f"{self.notebook.name}, cell {self.cell} (`parameters`): {name} is {value!r:.80}, of type"
                f" {type(value).__name__}; expected {' or '.join(wanted)}"
                + (
                    f"; YAML takes this for a word: write {_yaml_number(*number.groups())}"
                    if number
                    else ""
                )
            )


def _yaml_number(sign: str, digits: str, exponent_sign: str, exponent: str) -> str:
    """A number in the one form that YAML 1.1 reads as such: with a point, and with the sign of the exponent."""
    return f"{sign}{digits}{'' if '.' in digits else '.0'}e{exponent_sign or '+'}{exponent}"


def read_parameters(notebook: Path) -> Parameters:
    """Read a notebook's parameters cell; raises ConfigError where the file is no notebook or the cell no Python."""
    numbered = enumerate(_cells(notebook), start=1)
    tagged = [
        (number, cell)
        for number, cell in numbered
        if "parameters" in cell.get("metadata", {}).get("tags", [])
    ]
    number, source = (tagged[0][0], "".join(tagged[0][1]["source"])) if tagged else (0, "")
    try:
        assigned = [
            node for node in ast.parse(source).body if isinstance(node, ast.Assign | ast.AnnAssign)
        ]
    except SyntaxError as error:
        raise ConfigError(
            f"{notebook.name}, cell {number} (`parameters`) is not valid Python: {error}"
        ) from None
    kinds: dict[str, tuple[str, ...]] = {}
    for node in assigned:
        annotation, targets = (
            (node.annotation, [node.target])
            if isinstance(node, ast.AnnAssign)
            else (None, node.targets)
        )
        kinds |= {
            target.id: _kinds(annotation, node.value)
            for target in targets
            if isinstance(target, ast.Name)
        }
    return Parameters(notebook, number, kinds)


def _kinds(annotation: ast.expr | None, default: ast.expr | None) -> tuple[str, ...]:
    """Names in KINDS that an annotation such as `list[float] | None` allows; () where it says something else."""
    words = (
        [word.partition("[")[0].strip() for word in ast.unparse(annotation).split("|")]
        if annotation
        else []
    )
    if isinstance(default, ast.Constant) and default.value is None and words:
        words.append("None")
    return tuple(dict.fromkeys(words)) if set(words) <= KINDS.keys() else ()


def _cells(notebook: Path) -> list[dict[str, Any]]:
    """The cells of a notebook file; raises ConfigError where it is none."""
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        if all({"cell_type", "source"} <= cell.keys() for cell in cells):
            return cells
    except OSError as error:
        raise ConfigError(
            f"cannot read {notebook}: {(error.strerror or str(error)).lower()}"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise ConfigError(f"{notebook} is not a notebook: no valid JSON with cells")


def to_html(executed: Path | str, target: Path | str, plotlyjs: str = "") -> Path:
    """Write an executed notebook as HTML that opens offline, its plotly figures drawn, and return the file.

    plotlyjs: relative address of a plotly.min.js that pages share; empty: the page holds its own. Raises MissingExtra
    without nbconvert, ConfigError where `executed` is no notebook.
    """
    executed, target = Path(executed), Path(target)
    cells = _cells(executed)
    if util.find_spec("nbconvert") is None:
        raise MissingExtra("nbconvert", "notebooks")
    import nbformat
    from nbconvert import HTMLExporter

    book = nbformat.read(executed, as_version=4)
    book.metadata.pop("widgets", None)
    script: bool | str = plotlyjs or True
    for output in [output for cell in book.cells for output in cell.get("outputs", [])]:
        data = output.get("data", {})
        data.pop(VIEW, None)  # needs a kernel; what stays is its plotly twin, or its text
        if FIGURE in data:
            data["text/html"] = draw(
                {key: value for key, value in data[FIGURE].items() if key != "config"}, script
            )
            script = False
    headings = (
        "".join(cell["source"]).strip().splitlines()
        for cell in cells
        if cell["cell_type"] == "markdown"
    )
    title = next(
        (lines[0][2:] for lines in headings if lines and lines[0].startswith("# ")), executed.stem
    )
    exporter = HTMLExporter(raw_template=OFFLINE, embed_images=True)
    page, _ = exporter.from_notebook_node(
        book, {"metadata": {"name": title, "path": str(executed.parent)}}
    )
    write_text(target, page)
    return target


def open_lab(folder: Path | None = None, options: Sequence[str] = (), voila: bool = False) -> None:
    """Become JupyterLab on a folder of notebooks, or Voila; options are the server's own, such as --port=9000.

    The kernel `python3` is this interpreter, whatever kernels the user has. Without a folder: notebooks/ of the
    checkout; from an installed wheel a copy of them, made in ./notebooks. Raises MissingExtra where the server is not
    installed, ConfigError where there is no such folder.
    """
    server = "voila" if voila else "jupyterlab"
    if util.find_spec(server) is None:
        raise MissingExtra(server, "voila" if voila else "notebooks")
    folder = (folder or _stories()).resolve()
    if not folder.is_dir():
        raise ConfigError(f"no folder {folder}; wanted: a folder of notebooks")
    lab = [f"--ServerApp.root_dir={folder.parent}", f"--LabApp.default_url=/lab/tree/{folder.name}"]
    environment = {name: value for name, value in os.environ.items() if name != "CLIPFT_HEADLESS"}
    command = [sys.executable, "-m", server, *([str(folder)] if voila else lab), *options]
    os.execve(sys.executable, command, environment | {"JUPYTER_PREFER_ENV_PATH": "1"})


def _stories() -> Path:
    """The notebooks of the checkout, or a copy of those in the wheel; what is there already is not overwritten."""
    package = Path(__file__).parent.parent
    if (checkout := package.parent / "notebooks").is_dir() and (
        package.parent / "pyproject.toml"
    ).exists():
        return checkout
    copy = Path("notebooks").resolve()
    for file in sorted((package / "stories").glob("*.ipynb")):
        if not (copy / file.name).exists():
            write_text(copy / file.name, file.read_text(encoding="utf-8"))
    return copy


def execute(notebook: Path | str, folder: Path) -> None:
    """Execute a notebook with FOLDER/params.json; leaves run.ipynb and run.html there, exits with 1 where it fails."""
    import papermill
    from nbclient.exceptions import DeadKernelError
    from traitlets.config import Config

    config, executed, said = Config(), folder / "run.ipynb", ""
    executed.with_suffix(".html").unlink(missing_ok=True)  # of an earlier try
    with tempfile.TemporaryDirectory(
        prefix="nbk-"
    ) as sockets:  # short: a socket's path has at most 107 characters
        config.KernelManager.transport = "ipc"  # no TCP port to race for
        config.KernelManager.ip = f"{sockets}/k"
        try:
            papermill.execute_notebook(
                str(notebook),
                str(executed),
                read_json(folder / "params.json"),
                kernel_name="python3",
                cwd=str(Path(notebook).parent),
                progress_bar=False,
                log_output=True,
                config=config,
                store_widget_state=False,
                coalesce_streams=True,
            )
        except papermill.PapermillExecutionError as error:
            said = f"{_last_cell(executed)}: {error.ename}: {error.evalue}"
        except DeadKernelError:
            said = f"{_last_cell(executed)}: its kernel died; it was killed, or memory ran out"
        finally:  # stopped from outside, too
            _leave_page(executed)
    if said:
        print(" ".join(said.split()), flush=True)  # the last line: the batch shows it
        raise SystemExit(1)


def _last_cell(executed: Path) -> str:
    """The cell that papermill began last, as the executed notebook numbers it, and its first line."""
    code = [
        cell
        for cell in _cells(executed)
        if cell["cell_type"] == "code" and "".join(cell["source"]).strip()
    ]
    begun = [
        n
        for n, cell in enumerate(code)
        if cell.get("metadata", {}).get("papermill", {}).get("start_time")
    ]
    if not begun:
        return "before the first cell"
    return (
        f"cell In [{begun[-1] + 1}] `{''.join(code[begun[-1]]['source']).strip().splitlines()[0]}`"
    )


def _leave_page(executed: Path) -> None:
    """Write run.html beside run.ipynb; a page that cannot be written does not spoil the run."""
    shared = executed.parent.parent.parent / PLOTLYJS
    if executed.exists():
        try:
            to_html(
                executed,
                executed.with_suffix(".html"),
                f"../../{PLOTLYJS}" if shared.exists() else "",
            )
        except Exception as error:
            print(f"no HTML page: {type(error).__name__}: {error}", flush=True)


if __name__ == "__main__":
    import logging

    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was reached is saved
    execute(Path(sys.argv[1]), Path(sys.argv[2]))
