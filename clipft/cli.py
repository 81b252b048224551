"""The command line: thin commands over the public functions. A user's mistake is one line and exit code 2."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from .console import print_scores, show
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
MARKDOWN = typer.Option(False, "--markdown", help="as Markdown tables")
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


@app.command()
def datasets(name: Annotated[str | None, typer.Argument(help="show this one's card")] = None) -> None:
    """List the data sets, or show the card of one."""
    from .manifests import available, load_manifest

    if name is None:
        found = [load_manifest(known) for known in available()]
        show([
            {"name": m.name, "title": m.title, "classes": len(m.class_names), "reference": m.reference,
             "shifts": ", ".join(m.shifts())} for m in found
        ])  # fmt: skip
        return
    one = load_manifest(name)
    print(f"{one.title}: {len(one.class_names)} classes; domains {', '.join(one.domains)}; reference {one.reference}")
    print(f"licence: {one.licence}\nhomepage: {one.homepage}\n\n{one.card}")


@app.command()
def methods(as_markdown: bool = MARKDOWN) -> None:
    """List the methods: what is trained, and what can be done afterwards."""
    from .objectives import METHODS
    from .posthoc import POSTHOC

    trains = {"vision": "vision tower, head", "image": "vision tower, scale", "both": "both towers, scale"}
    training = [
        {"name": m.name, "title": m.title, "lam": "" if m.lam is None else f"{m.lam:g}",
         "trains": trains.get(m.trains, m.trains), "options": _options(m), "source": m.paper} for m in METHODS.values()
    ]  # fmt: skip
    after = [
        {"name": m.name, "title": m.title, "takes": "runs" if m.many else "a run", "options": _options(m),
         "source": m.paper} for m in POSTHOC.values()
    ]  # fmt: skip
    show(training, "while training: clipft train method=NAME", as_markdown)
    show(after, "afterwards: clipft combine NAME RUN...", as_markdown)


def _options(entry) -> str:
    """Names and defaults, as they are written in a setting."""
    return " ".join(f"{name}={json.dumps(value)}" for name, value in entry.options.items())


@app.command()
def train(
    settings: Annotated[list[str] | None, typer.Argument(help="KEY=VALUE, e.g. method=lipsum lr=3e-4")] = None,
    preset: Annotated[str | None, typer.Option(help="a recipe of `clipft presets`")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file of settings; KEY=VALUE wins")] = None,
    runs: str = RUNS,
    device: str = DEVICE,
    workers: int = WORKERS,
    skip_bad: bool = SKIP,
    score: bool = typer.Option(True, help="sweep WiSE over all splits at the end"),
) -> None:
    """Train one run, or go on where it stopped; then score it."""
    from .config import parse_settings
    from .manifests import read_yaml
    from .presets import recipe
    from .training import train as run_training

    values = {"preset": preset} if preset else {}
    given = read_yaml(config) if config else {}
    if not isinstance(given, dict):
        raise ConfigError(f"{config}: expected a mapping of names to values, got {type(given).__name__}")
    values |= given | parse_settings(settings or [])
    run = run_training(recipe(values), runs, device=device, workers=workers, skip_bad=skip_bad)
    print(f"trained {run.folder}")
    if score:
        print_scores(run.score(workers=workers, skip_bad=skip_bad), (0.0, 0.5, 1.0), run.config.selection)


@app.command()
def presets(name: Annotated[str | None, typer.Argument(help="show this one's settings")] = None) -> None:
    """List the recipes of the papers and the tuned ones, or show one."""
    import yaml

    from .presets import load_preset
    from .presets import presets as known

    if name is None:
        show([{"name": key, "title": p.title, "tuned": " ".join(p.tuned), "unknown": " ".join(p.unknown),
                "source": p.source} for key, p in known().items()])  # fmt: skip
        return
    shown = load_preset(name).model_dump(mode="json", exclude_defaults=True)
    print(yaml.safe_dump(shown, sort_keys=False, default_flow_style=False), end="")


@app.command()
def combine(
    name: Annotated[str, typer.Argument(help="a post-hoc method of `clipft methods`, or its preset")],
    given: Annotated[list[str], typer.Argument(metavar="RUN... [KEY=VALUE...]", help="run folders, then options")],
    device: str = DEVICE,
    workers: int = WORKERS,
    score: bool = typer.Option(True, help="sweep alpha over all splits at the end"),
) -> None:
    """Apply a post-hoc method (TPGM, soups, ensembles ...) to finished runs; makes a new run beside them."""
    from .combining import combine as apply
    from .config import parse_settings

    runs = [text for text in given if "=" not in text or Path(text).is_dir()]
    options = parse_settings([text for text in given if text not in runs])
    made = apply(name, runs, options, workers, device)
    print(f"made {made.folder} of {', '.join(made.after.members)}")
    if score:
        print_scores(made.score(workers=workers), (0.0, 0.5, 1.0), made.config.selection)


@app.command()
def choose(
    runs: str = RUNS,
    write: Annotated[Path | None, typer.Option(help="write the recipes here, e.g. presets/emoji.yaml")] = None,
) -> None:
    """Show what a sweep's held-out reference images choose: the one-standard-error rule."""
    from .presets import candidates, write_presets

    rows = candidates(runs).to_dict("records")
    for row in rows:
        row |= {"value": f"{row['value']:g}", "chosen": "*" if row["chosen"] else ""}
        row |= {name: f"{100 * row[name]:.1f}" for name in ("accuracy", "error")}
    show(rows, "held-out reference accuracy (%) and its standard error")
    if write:
        write_presets(runs, write)
        print(f"wrote {write}")


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
    from .models import pick_device
    from .posthoc.wise import check_alpha
    from .runs import Run

    for alpha in alphas:
        check_alpha(alpha)
    found = Run.open(folder, pick_device(device))
    print_scores(found.score(alphas, workers, skip_bad), alphas, found.config.selection)


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
def predict(
    folder: Annotated[Path, typer.Argument(help="what `clipft export` wrote")],
    images: Annotated[list[Path], typer.Argument(help="image files, or folders of them")],
    top: int = typer.Option(1, min=1, help="classes to show for each image"),
    csv: Annotated[Path | None, typer.Option(help="write the predictions here instead")] = None,
    device: str = DEVICE,
    workers: int = WORKERS,
    skip_bad: bool = SKIP,
) -> None:
    """Classify image files with an exported model."""
    from .export import Predictor
    from .models import pick_device
    from .store import write_text

    found = Predictor(folder, pick_device(device)).predict(images, top, workers, skip_bad)
    if csv:
        write_text(csv, found.to_csv(index=False))
    elif len(found):
        show(found.assign(probability=found.probability.map("{:.3f}".format)).to_dict("records"))


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
    calibration: bool = typer.Option(False, help="also NLL (nats) and ECE (%)"),
    as_markdown: bool = MARKDOWN,
) -> None:
    """Print the table of all finished runs."""
    from .store import results as read_results
    from .store import write_text
    from .tables import KIND, results_table

    found = read_results(runs)
    for (data, _, model, _, reference, selection), group in found.groupby(KIND):
        title = f"{model} on {data}, reference {reference}, selection {selection}: %, mean ± std over seeds"
        show(results_table(group, calibration).to_dict("records"), title, as_markdown)
    if found.attrs["unfinished"]:
        print(f"left out, not finished or not scored: {', '.join(found.attrs['unfinished'])}")
    if csv:
        write_text(csv, found.to_csv(index=False))


@app.command()
def doctor() -> None:
    """Say what is installed, what is missing and the line that installs it."""
    from .doctor import report

    show(report())


if __name__ == "__main__":
    main()
