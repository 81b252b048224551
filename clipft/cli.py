"""The command line: thin commands over the public functions. A user's mistake is one line and exit code 2."""

from __future__ import annotations

import contextlib
import math
import sys
from pathlib import Path
from typing import Annotated

import typer

from .errors import ClipftError, ConfigError

UsageError = typer.BadParameter.__base__  # click's, or typer's own copy of it
app = typer.Typer(
    help="Fine-tune CLIP and see what happens to its robustness.",
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
RUNS = typer.Option("runs", "--runs", help="folder of all runs")
DEVICE = typer.Option("auto", help="auto, cpu, cuda or mps")
WORKERS = typer.Option(0, min=0, help="processes that decode images")
SKIP = typer.Option(False, "--skip-bad-images", help="leave unreadable images out, and say how many")


def main() -> None:
    """Run the app; a ClipftError is one line on stderr and exit code 2."""
    try:
        sys.exit(app(sys.argv[1:] or ["--help"], standalone_mode=False))
    except (ClipftError, UsageError) as error:  # the latter: options that typer itself refuses
        said = error.format_message() if isinstance(error, UsageError) else str(error)
        print(f"clipft: {' '.join(said.split())}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("clipft: stopped; the same command goes on from what was finished", file=sys.stderr)
        sys.exit(130)


def _show(rows: list[dict], title: str = "") -> None:
    """Print rows as a table; into a file or pipe it is as wide as it needs to be."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in rows[0]:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(value)) for value in row.values()))  # Text: [brackets] are not markup
    Console(width=None if sys.stdout.isatty() else 240).print(table)


@app.command()
def datasets(name: Annotated[str | None, typer.Argument(help="show this one's card")] = None) -> None:
    """List the data sets, or show the card of one."""
    from .manifests import available, load_manifest

    if name is None:
        found = [load_manifest(known) for known in available()]
        _show([
            {"name": m.name, "title": m.title, "classes": len(m.class_names), "reference": m.reference,
             "shifts": ", ".join(m.shifts())} for m in found
        ])  # fmt: skip
        return
    one = load_manifest(name)
    print(f"{one.title}: {len(one.class_names)} classes; domains {', '.join(one.domains)}; reference {one.reference}")
    print(f"licence: {one.licence}\nhomepage: {one.homepage}\n\n{one.card}")


@app.command()
def methods() -> None:
    """List the fine-tuning methods."""
    from .objectives import METHODS
    from .posthoc import POSTHOC

    trains = {
        "head": "head",
        "vision": "vision tower, head",
        "image": "vision tower, scale",
        "both": "both towers, scale",
    }
    _show([
        {"name": m.name, "title": m.title, "lam": "" if m.lam is None else f"{m.lam:g}", "trains": trains[m.trains],
         "options": _options(m), "source": m.paper} for m in METHODS.values()
    ], "while training: clipft train method=NAME")  # fmt: skip
    _show([
        {"name": m.name, "title": m.title, "takes": "runs" if m.many else "a run", "options": _options(m),
         "source": m.paper} for m in POSTHOC.values()
    ], "afterwards: clipft combine NAME RUN...")  # fmt: skip


def _options(entry) -> str:
    return " ".join(
        f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}" for name, value in entry.options.items()
    )


@app.command()
def train(
    settings: Annotated[list[str] | None, typer.Argument(help="KEY=VALUE, e.g. method=lipsum lr=3e-4")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file of settings; KEY=VALUE wins")] = None,
    runs: str = RUNS,
    device: str = DEVICE,
    workers: int = WORKERS,
    skip_bad: bool = SKIP,
    score: bool = typer.Option(True, help="sweep WiSE over all splits at the end"),
) -> None:
    """Train one run, or go on where it stopped; then score it."""
    from .config import RunConfig
    from .manifests import read_yaml
    from .training import train as run_training

    values = read_yaml(config) if config else {}
    if not isinstance(values, dict):
        raise ConfigError(f"{config}: expected a mapping of names to values, got {type(values).__name__}")
    for setting in settings or []:
        key, mark, value = setting.partition("=")
        if not mark:
            raise ConfigError(f"{setting!r} is no setting; wanted: KEY=VALUE, e.g. lr=1e-5")
        values[key] = _value(setting, value)
    run = run_training(
        RunConfig.read(values, str(config or "settings")), runs, device=device, workers=workers, skip_bad=skip_bad
    )
    print(f"trained {run.folder}")
    if score:
        _print_scores(run.score(workers=workers, skip_bad=skip_bad), (0.0, 0.5, 1.0), run.config.selection)


def _value(setting: str, text: str) -> object:
    """A setting's value as YAML reads it; numbers like 1e-4, which YAML 1.1 takes for text, are numbers here."""
    import yaml

    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"cannot read the value of {setting!r}; lists are written [0.5, 1.0]") from None
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            return float(value)
    return "" if value is None else value


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="a run's folder")],
    device: str = DEVICE,
    workers: int = WORKERS,
    skip_bad: bool = SKIP,
) -> None:
    """Score a finished run's zero-shot and tuned model on every split."""
    _sweep(run, [0.0, 1.0], device, workers, skip_bad)


@app.command()
def wise(
    run: Annotated[Path, typer.Argument(help="a run's folder")],
    alpha: Annotated[list[float] | None, typer.Option(help="0 zero-shot ... 1 tuned; repeatable")] = None,
    device: str = DEVICE,
    workers: int = WORKERS,
    skip_bad: bool = SKIP,
) -> None:
    """Sweep WiSE-FT's alpha over a finished run, 0, 0.1 ... 1 unless given."""
    from .runs import ALPHAS

    _sweep(run, alpha or list(ALPHAS), device, workers, skip_bad)


def _sweep(folder: Path, alphas: list[float], device: str, workers: int, skip_bad: bool) -> None:
    from .posthoc.wise import check_alpha
    from .runs import Run, pick_device

    for alpha in alphas:
        check_alpha(alpha)
    found = Run.open(folder, pick_device(device))
    _print_scores(found.score(alphas, workers, skip_bad), alphas, found.config.selection)


def _print_scores(scores, alphas, selection: str) -> None:
    chosen = scores[scores["alpha"].isin(alphas)]
    table = chosen.pivot_table(index=["alpha", "split", "role"], columns="metric", values="value").reset_index()
    measured = {
        "relative_accuracy": "relative", "nll": "nll", "ece": "ece", "energy_gap": "gap",
        "feature_distortion": "distortion",
    }  # fmt: skip
    rows = []
    for row in table.sort_values(["alpha", "role", "split"]).to_dict("records"):
        shown = {name: row[name] for name in ("alpha", "split", "role")} | {
            "accuracy": f"{100 * row['accuracy']:.1f} %"
        }
        for name, title in measured.items():
            value = row.get(name, float("nan"))
            shown[title] = "" if math.isnan(value) else f"{value:.3f}"
        rows.append(shown)
    chosen = {"holdout": "on held-out reference images", "paper": "on the REPORTED test split", "last": "the last ones"}
    _show(rows, f"weights chosen: {chosen[selection]}")


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="a run's folder")],
    folder: Annotated[Path, typer.Argument(help="the open_clip local-dir: folder to write")],
    alpha: float = typer.Option(1.0, help="WiSE mixture: 0 zero-shot ... 1 tuned"),
    half: bool = typer.Option(False, help="write fp16"),
) -> None:
    """Write a finished run as an ordinary open_clip model."""
    from .runs import Run

    print(f"open_clip.create_model_and_transforms('local-dir:{Run.open(run).export(folder, alpha, half)}')")


@app.command()
def batch(
    spec: Annotated[Path, typer.Argument(help="papermill_runs/*.yaml")],
    out: Annotated[Path | None, typer.Option(help="default: papermill_runs/out/NAME")] = None,
    jobs: int = typer.Option(0, min=0, help="runs side by side; 0: one per GPU, or what the spec says"),
    gpus: str = typer.Option("", help="ids, e.g. 0,1; default: all that are visible"),
) -> None:
    """Run notebooks over a grid of parameters; finished ones are skipped."""
    from .batch import run_batch

    run_batch(spec, out, jobs, gpus)


@app.command()
def results(
    runs: str = RUNS,
    csv: Annotated[Path | None, typer.Option(help="also write the tidy table here")] = None,
) -> None:
    """Print the table of all finished runs."""
    from .figures import KIND, results_table
    from .store import results as read_results
    from .store import write_text

    found = read_results(runs)
    for (data, _, model, _, reference, selection), group in found.groupby(KIND):
        title = f"{model} on {data}, reference {reference}, selection {selection}: %, mean ± std over seeds"
        _show(results_table(group).to_dict("records"), title)
    if found.attrs["unfinished"]:
        print(f"left out, not finished or not scored: {', '.join(found.attrs['unfinished'])}")
    if csv:
        write_text(csv, found.to_csv(index=False))


@app.command()
def doctor() -> None:
    """Say what is installed, what is missing and the line that installs it."""
    from .doctor import report

    _show(report())


if __name__ == "__main__":
    main()
