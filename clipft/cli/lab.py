"""Commands on notebooks and this machine: lab, batch, html, thumbnails, doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .app import RUNS, app
from .terminal_tables import show


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def lab(
    context: typer.Context,
    folder: Annotated[
        Path | None, typer.Option(help="of notebooks; default: notebooks/ of the checkout")
    ] = None,
    voila: bool = typer.Option(False, help="serve the notebooks as pages without code"),
) -> None:
    """Open JupyterLab on the notebooks, with the Python that clipft is installed in; takes Jupyter's options too."""
    from ..batch.notebook import open_lab

    open_lab(folder, context.args, voila)


@app.command()
def thumbnails(runs: str = RUNS) -> None:
    """Pack small images beside the runs, so that the folder can be explored where the data set is not."""
    from ..runs.thumbnails import pack_thumbnails

    file = pack_thumbnails(runs)
    print(f"wrote {file} ({file.stat().st_size / 1e6:.1f} MB)")


@app.command()
def batch(
    spec: Annotated[Path, typer.Argument(help="papermill_runs/*.yaml")],
    out: Annotated[Path | None, typer.Option(help="default: papermill_runs/out/NAME")] = None,
    jobs: int = typer.Option(
        0, min=0, help="runs side by side; 0: one per GPU, or what the spec says"
    ),
    gpus: str = typer.Option("", help="ids, e.g. 0,1; default: all that are visible"),
    only: list[str] | None = typer.Option(
        None, help="only runs with this value, or word in the title; repeatable"
    ),
) -> None:
    """Run notebooks over a grid of parameters; finished ones are skipped."""
    from ..batch.runner import run_batch

    run_batch(spec, out, jobs, gpus, only or ())


@app.command()
def html(
    notebook: Annotated[Path, typer.Argument(help="an executed notebook")],
    target: Annotated[Path | None, typer.Argument(help="default: beside it")] = None,
) -> None:
    """Write an executed notebook as one HTML file that opens offline, with all its figures."""
    from ..batch.notebook import to_html

    print(f"wrote {to_html(notebook, target or notebook.with_suffix('.html'))}")


@app.command()
def doctor() -> None:
    """Say what is installed, what is missing and the line that installs it."""
    from .doctor import report

    show(report())
