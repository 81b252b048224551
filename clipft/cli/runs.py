"""Commands on data sets, methods, runs and models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import ConfigError
from .app import DEVICE, MARKDOWN, RUNS, SKIP, WORKERS, app
from .terminal_tables import print_scores, show, show_frame


@app.command()
def datasets(
    name: Annotated[str | None, typer.Argument(help="show this one's card")] = None,
) -> None:
    """List the data sets, or show the card of one."""
    from ..data.manifests import available, load_manifest

    if name is None:
        found = [load_manifest(known) for known in available()]
        show(
            [
                {
                    "name": m.name,
                    "title": m.title,
                    "classes": len(m.class_names),
                    "reference": m.reference,
                    "shifts": ", ".join(m.shifts()),
                }
                for m in found
            ]
        )
        return
    one = load_manifest(name)
    print(
        f"{one.title}: {len(one.class_names)} classes; domains {', '.join(one.domains)}; reference {one.reference}"
    )
    print(f"licence: {one.licence}\nhomepage: {one.homepage}\n\n{one.card}")


@app.command()
def methods(as_markdown: bool = MARKDOWN) -> None:
    """List the methods: what is trained, and what can be done afterwards."""
    from ..runs.table import method_tables

    training, after = method_tables()
    show(training, "while training: clipft train method=NAME", as_markdown)
    show(after, "afterwards: clipft combine NAME RUN...", as_markdown)


@app.command()
def train(
    settings: Annotated[
        list[str] | None, typer.Argument(help="KEY=VALUE, e.g. method=lipsum lr=3e-4")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="a recipe of `clipft presets`")] = None,
    config: Annotated[
        Path | None, typer.Option(help="YAML file of settings; KEY=VALUE wins")
    ] = None,
    runs: str = RUNS,
    device: str = DEVICE,
    workers: int = WORKERS,
    skip_bad: bool = SKIP,
    score: bool = typer.Option(True, help="sweep WiSE over all splits at the end"),
) -> None:
    """Train one run, or go on where it stopped; then score it."""
    from ..config import parse_settings
    from ..disk.files import read_yaml
    from ..runs.recipes import recipe
    from ..training.train import train as run_training

    values = {"preset": preset} if preset else {}
    given = read_yaml(config) if config else {}
    if not isinstance(given, dict):
        raise ConfigError(
            f"{config}: expected a mapping of names to values, got {type(given).__name__}"
        )
    values |= given | parse_settings(settings or [])
    run = run_training(recipe(values), runs, device=device, workers=workers, skip_bad=skip_bad)
    print(f"trained {run.folder}")
    if score:
        print_scores(
            run.score(workers=workers, skip_bad=skip_bad), (0.0, 0.5, 1.0), run.config.selection
        )


@app.command()
def presets(
    name: Annotated[str | None, typer.Argument(help="show this one's settings")] = None,
) -> None:
    """List the recipes of the papers and the tuned ones, or show one."""
    import yaml

    from ..runs.recipes import load_preset, presets as known

    if name is None:
        show(
            [
                {
                    "name": key,
                    "title": p.title,
                    "tuned": " ".join(p.tuned),
                    "unknown": " ".join(p.unknown),
                    "source": p.source,
                }
                for key, p in known().items()
            ]
        )
        return
    shown = load_preset(name).model_dump(mode="json", exclude_defaults=True)
    print(yaml.safe_dump(shown, sort_keys=False, default_flow_style=False), end="")


@app.command()
def combine(
    name: Annotated[
        str, typer.Argument(help="a post-hoc method of `clipft methods`, or its preset")
    ],
    given: Annotated[
        list[str], typer.Argument(metavar="RUN... [KEY=VALUE...]", help="run folders, then options")
    ],
    device: str = DEVICE,
    workers: int = WORKERS,
    score: bool = typer.Option(True, help="sweep alpha over all splits at the end"),
) -> None:
    """Apply a post-hoc method (TPGM, soups, ensembles ...) to finished runs; makes a new run beside them."""
    from ..config import parse_settings
    from ..training.combine import combine as apply

    runs = [text for text in given if "=" not in text or Path(text).is_dir()]
    options = parse_settings([text for text in given if text not in runs])
    made = apply(name, runs, options, workers, device)
    print(f"made {made.folder} of {', '.join(made.after.members)}")
    if score:
        print_scores(made.score(workers=workers), (0.0, 0.5, 1.0), made.config.selection)


@app.command()
def choose(
    runs: str = RUNS,
    write: Annotated[
        Path | None, typer.Option(help="write the recipes here, e.g. presets/emoji.yaml")
    ] = None,
) -> None:
    """Show what a sweep's held-out reference images choose: the one-standard-error rule."""
    from ..runs.recipes import candidates, write_presets

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
    alpha: Annotated[
        list[float] | None, typer.Option(help="0 zero-shot ... 1 tuned; repeatable")
    ] = None,
    adaptive: float = typer.Option(
        0.0, min=0, max=1, help="more alphas where accuracy bends by more, e.g. 0.01"
    ),
    device: str = DEVICE,
    workers: int = WORKERS,
    skip_bad: bool = SKIP,
) -> None:
    """Sweep WiSE-FT's alpha over a finished run: 0, 0.1 ... 1 unless given, or 0, 0.25 ... and where it bends."""
    from ..config import ALPHAS

    _sweep(
        run,
        alpha or ([i / 4 for i in range(5)] if adaptive else ALPHAS),
        device,
        workers,
        skip_bad,
        adaptive,
    )


def _sweep(
    folder: Path, alphas, device: str, workers: int, skip_bad: bool, adaptive: float = 0.0
) -> None:
    from ..config import check_alpha
    from ..models.load import pick_device
    from ..runs.run import Run

    for alpha in alphas:
        check_alpha(alpha)
    found = Run.open(folder, pick_device(device))
    scores = found.score(alphas, workers, skip_bad, adaptive=adaptive)
    print_scores(
        scores, sorted(set(scores["alpha"])) if adaptive else alphas, found.config.selection
    )


@app.command()
def diagnose(
    run: Annotated[Path, typer.Argument(help="a run's folder")],
    alpha: float = typer.Option(1.0, help="WiSE mixture: 0 zero-shot ... 1 tuned"),
    device: str = DEVICE,
) -> None:
    """Energy gap with its errors, feature distortion, loss barrier, and how far each layer moved."""
    from ..config import check_alpha
    from ..models.load import pick_device
    from ..runs.run import Run

    found = Run.open(run, pick_device(device))
    gaps = gap_table(found, check_alpha(alpha))
    show_frame(
        gaps,
        f"energy gap (squared logits, s = {found.clip.scale:.4g}; cosine_gap = energy_gap / s^2)",
    )
    test = distortion_table([found], alpha).drop(columns=["run", "method", "seed"])
    show_frame(test, "feature distortion; theory: reference > shifted")
    show_frame(
        barrier_table(found), "rise above the line between the ends: NLL (nats), error (fraction)"
    )
    show_frame(layer_table(found), "distance moved")


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(help="a run's folder")],
    second: Annotated[Path, typer.Argument(help="another's")],
    alpha: float = typer.Option(1.0, help="of both: 0 zero-shot ... 1 tuned"),
) -> None:
    """Compare two runs on the same images: difference with its 95 % interval, McNemar's exact p."""
    from ..runs.reading import compare_runs

    show_frame(
        compare_runs(first, second, alpha),
        "accuracy (fractions); only_first: images that the first alone gets right",
    )


@app.command()
def pick(
    runs: str = RUNS,
    among: str = typer.Option("alphas", help="alphas of each run, or models of each seed"),
) -> None:
    """Choose alpha, or a model, without shift labels: by reference accuracy, or by energy gap too."""
    from ..runs.choosing import choices, verdict
    from ..runs.table import results as read_results

    chosen = choices(read_results(runs), among)
    show_frame(chosen, "fractions; oracle: what the shift's own labels would take")
    print(f"by energy gap instead of accuracy: {verdict(chosen)}")


@app.command()
def cache(
    prune: Annotated[
        float | None, typer.Option(min=0, help="remove what is unused for so many days; 0: all")
    ] = None,
) -> None:
    """List what is cached, embeddings above all, or prune it; it is made again when it is needed."""
    import time

    from ..disk.cache import entries, folder, prune as remove

    found = entries() if prune is None else remove(prune)
    days = {entry.path: (time.time() - entry.used) / 86400 for entry in found}
    if found:
        show(
            [
                {
                    "kind": e.kind,
                    "what": e.title,
                    "MB": f"{e.size / 1e6:.1f}",
                    "days": f"{days[e.path]:.1f}",
                }
                for e in found
            ]
        )
    said = "in" if prune is None else "removed from"
    print(
        f"{len(found)} entries, {sum(entry.size for entry in found) / 1e6:.1f} MB {said} {folder().parent}"
    )


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="a run's folder")],
    folder: Annotated[Path, typer.Argument(help="the open_clip local-dir: folder to write")],
    alpha: float = typer.Option(1.0, help="WiSE mixture: 0 zero-shot ... 1 tuned"),
    half: bool = typer.Option(False, help="write fp16"),
) -> None:
    """Write a finished run as an ordinary open_clip model."""
    from ..runs.run import Run

    print(
        f"open_clip.create_model_and_transforms('local-dir:{Run.open(run).export(folder, alpha, half)}')"
    )


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
    from ..disk.files import write_text
    from ..models.load import pick_device
    from ..models.predict import Predictor

    found = Predictor(folder, pick_device(device)).predict(images, top, workers, skip_bad)
    if csv:
        write_text(csv, found.to_csv(index=False))
    elif len(found):
        show(found.assign(probability=found.probability.map("{:.3f}".format)).to_dict("records"))


@app.command()
def results(
    runs: str = RUNS,
    csv: Annotated[Path | None, typer.Option(help="also write the tidy table here")] = None,
    calibration: bool = typer.Option(False, help="also NLL (nats) and ECE (%)"),
    as_markdown: bool = MARKDOWN,
) -> None:
    """Print the table of all finished runs."""
    from ..disk.files import write_text
    from ..runs.table import KIND, results as read_results, results_table

    found = read_results(runs)
    for (data, _, model, _, reference, selection), group in found.groupby(KIND):
        title = f"{model} on {data}, reference {reference}, selection {selection}: %, mean ± std over seeds"
        show(results_table(group, calibration).to_dict("records"), title, as_markdown)
    if found.attrs["unfinished"]:
        print(f"left out, not finished or not scored: {', '.join(found.attrs['unfinished'])}")
    if csv:
        write_text(csv, found.to_csv(index=False))
