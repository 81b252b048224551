"""Commands on notebooks and this machine: lab, batch, html, thumbnails, doctor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Context, Option

from ..errors import ConfigError
from .app import Device, Plugin, Runs, Workers
from .terminal_tables import show

if TYPE_CHECKING:
    from ..batch.forecast import Forecast

DEFAULT_MODEL = "ViT-B-32"  # of `doctor --throughput`


def lab(
    context: Context,
    folder: Annotated[
        Path | None, Option(help="of notebooks; default: notebooks/ of the checkout")
    ] = None,
    voila: Annotated[bool, Option(help="serve the notebooks as pages without code")] = False,
    plugin: Plugin = None,
) -> None:
    """Open JupyterLab on the notebooks, with clipft's own Python; takes Jupyter's options too."""
    from ..batch.lab import open_lab
    from ..methods import use_plugins

    use_plugins(plugin or ())
    open_lab(folder, context.args, voila=voila)


def thumbnails(runs: Runs = "runs") -> None:
    """Pack small images beside the runs, to explore the folder where the data set is not."""
    from ..runs.thumbnails import pack_thumbnails

    file = pack_thumbnails(runs)
    print(f"wrote {file} ({file.stat().st_size / 1e6:.1f} MB)")


def batch(
    spec: Annotated[
        str,
        Argument(
            help="a file, or the name of one in papermill_runs or that comes with clipft: demo"
        ),
    ],
    out: Annotated[Path | None, Option(help="default: papermill_runs/out/NAME")] = None,
    jobs: Annotated[
        int, Option(min=0, help="runs side by side; 0: one per GPU, or what the spec says")
    ] = 0,
    gpus: Annotated[str, Option(help="ids, e.g. 0,1; default: all that are visible")] = "",
    only: Annotated[
        list[str] | None, Option(help="only runs with this value, or word in the title; repeatable")
    ] = None,
    small: Annotated[
        bool, Option("--small", help="as the spec's block small says, into out/NAME_small")
    ] = False,
    dry_run: Annotated[
        bool, Option("--dry-run", help="only say: jobs, what is missing, hours and disk")
    ] = False,
    plugin: Plugin = None,
) -> None:
    """Run notebooks over a grid of parameters; finished ones are skipped."""
    from ..methods import use_plugins

    use_plugins(plugin or ())
    if dry_run:
        from ..batch.forecast import forecast

        _show_forecast(forecast(spec, out, only or (), small=small))
        return

    from ..batch.runner import run_batch

    run_batch(spec, out, jobs, gpus=gpus, only=only or (), small=small)


def _show_forecast(ahead: Forecast) -> None:
    """A table of stages, what is missing, and what the numbers stand on."""
    rows: list[dict[str, Any]] = []
    for number, stage in enumerate(ahead.stages, start=1):
        row = {"stage": f"{number} {stage.notebook}", "jobs": stage.jobs, "done": stage.done}
        row |= {"to do": stage.to_do, "runs to train": stage.trainings}
        rows.append(row | _hours_and_disk(ahead, stage.seconds, stage.size))
    total: dict[str, Any] = {"stage": "all"}
    for key in ("jobs", "done", "to do", "runs to train"):
        total[key] = sum(row[key] for row in rows)
    seconds = sum(stage.seconds for stage in ahead.stages)
    rows.append(total | _hours_and_disk(ahead, seconds, ahead.size))
    show(rows, f"{ahead.name}: nothing is run")
    if ahead.missing:
        show(
            [
                {"missing": row.kind, "name": row.name, "what to do": row.line}
                for row in ahead.missing
            ]
        )
    else:
        print("nothing is missing")
    print(*ahead.notes, sep="\n")


def _hours_and_disk(ahead: Forecast, seconds: float, size: int) -> dict[str, str]:
    return {ahead.unit: f"{seconds / 3600:,.3g}", "GB": f"{size / 1e9:.3g}"}


def html(
    notebook: Annotated[Path, Argument(help="an executed notebook")],
    target: Annotated[Path | None, Argument(help="default: beside it")] = None,
) -> None:
    """Write an executed notebook as one HTML file that opens offline, with all its figures."""
    from ..batch.notebook import to_html

    print(f"wrote {to_html(notebook, target or notebook.with_suffix('.html'))}")


def doctor(
    model: Annotated[str, Argument(help="of --throughput: as in clipft train model=")] = "",
    throughput: Annotated[
        bool, Option("--throughput", help="images a second of each part of a run of MODEL")
    ] = False,
    batch_size: Annotated[
        int, Option(min=0, help="images of a step; 0: 256 on a card, 8 on the processor")
    ] = 0,
    html: Annotated[Path | None, Option(help="write a bar chart of --throughput here")] = None,
    json: Annotated[Path | None, Option(help="write --throughput here, a list of rows")] = None,
    device: Device = "auto",
    workers: Workers = "auto",
) -> None:
    """Say what is installed, what is missing and the line that installs it; or, by --throughput,
    how fast this machine is, and what a training waits for (about a minute on a processor).
    """
    if throughput:
        _throughput(model or DEFAULT_MODEL, batch_size, html, json, device, workers)
        return
    given = {"MODEL": model, "--batch-size": batch_size, "--html": html, "--json": json}
    for name, value in given.items():
        if value:
            raise ConfigError(f"{name} is for clipft doctor --throughput; got {value} without it")

    from .doctor import report

    show(report())


def _throughput(
    model: str, batch_size: int, html: Path | None, json: Path | None, device: str, workers: Any
) -> None:
    """Measure, print, and write what was asked for."""
    from ..config import Reading
    from ..disk.files import check_target, write_text
    from ..runs.model_names import RANDOM, check_model
    from ..runs.throughput import shown, verdict

    check_model(model, RANDOM)
    for file in (html, json):
        if file:
            check_target(file)

    from ..figures.pages import save_figure
    from ..figures.throughput import throughput_figure
    from ..reports.throughput import throughput

    reading = Reading(device=device, workers=workers)
    table = throughput(model, batch_size=batch_size, reading=reading)
    about = table.attrs
    weights = f"{model} with random weights, {about['precision']}"
    show(shown(table), f"{weights}, batches of {about['batch_size']}, {about['device']}")
    print(verdict(table))
    if json:
        write_text(json, table.to_json(orient="records", indent=1) + "\n")
    if html:
        save_figure(throughput_figure(table), html.parent, html.stem, verdict(table))
