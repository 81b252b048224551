"""Commands that make runs, or choose among those of a sweep: train, combine, choose."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from ..errors import ConfigError
from ..progress import is_first
from . import completion
from .app import (
    Checkpointing,
    CheckpointMinutes,
    Device,
    Devices,
    Plugin,
    Precision,
    Runs,
    SkipBad,
    StopAfter,
    Workers,
)
from .terminal_tables import print_scores, show

if TYPE_CHECKING:
    from ..config import Reading, RunConfig
    from ..runs.run import Run

Preset = Annotated[
    str | None,
    Option(
        help="a recipe of `clipft presets`; default: the one that fits; none: no recipe",
        autocompletion=completion.recipe_names,
    ),
]
Log = Annotated[str, Option(help="tensorboard or wandb: show the run there, too")]
KeepWeights = Annotated[
    bool, Option(help="without: scored, a run keeps its numbers alone, see clipft runs prune")
]
# options of the command that somebody may write as a setting
OPTIONS = (
    *("runs", "device", "devices", "workers", "checkpointing", "checkpoint_minutes", "stop_after"),
    *("log", "keep_weights", "config", "plugin"),
)


def train(
    settings: Annotated[
        list[str] | None,
        Argument(help="KEY=VALUE, e.g. method=lipsum lr=3e-4", autocompletion=completion.settings),
    ] = None,
    preset: Preset = None,
    data: Annotated[
        Path | None, Option(help="your own images: a folder a domain, class folders inside")
    ] = None,
    reference: Annotated[str, Option(help="of --data: the domain that is trained on")] = "",
    config: Annotated[Path | None, Option(help="YAML file of settings; KEY=VALUE wins")] = None,
    seeds: Annotated[str, Option(help="repeats, e.g. 0-49 or 0,3: a run each, then a table")] = "",
    runs: Runs = "runs",
    device: Device = "auto",
    devices: Devices = 1,
    workers: Workers = "auto",
    skip_bad: SkipBad = False,
    checkpointing: Checkpointing = False,
    checkpoint_minutes: CheckpointMinutes = 10,
    stop_after: StopAfter = "",  # noqa: ARG001  # its time began when it was read
    score: Annotated[bool, Option(help="sweep WiSE over all splits at the end")] = True,
    log: Log = "",
    keep_weights: KeepWeights = True,
    plugin: Plugin = None,
) -> None:
    """Train one run, or go on where it stopped; then score it. With --seeds, repeats of it."""
    from ..config import Reading, parse_settings
    from ..methods import use_plugins
    from ..runs.checks import check_tracker, check_training
    from ..runs.recipes import fitting_recipe

    use_plugins(plugin or ())
    if not (keep_weights or score):
        raise ConfigError("--no-keep-weights goes with scores: without them nothing would be left")
    where: dict[str, Any] = {"device": device, "devices": devices}
    images: dict[str, Any] = {"workers": workers, "skip_bad": skip_bad}
    memory = {"checkpointing": checkpointing, "checkpoint_minutes": checkpoint_minutes}
    reading = Reading(log=log, **where, **images, **memory)
    check_tracker(log)
    values: dict[str, Any] = {"preset": preset} if preset else {}
    if config:
        values |= _read_settings(config)
    values |= parse_settings(settings or [])
    _refuse_options(values)
    repeats = _repeats(seeds, values)
    values = _own_data(data, reference, values)
    configuration, basis = fitting_recipe(values)
    check_training(configuration, runs, scored=score, skip_bad=skip_bad, devices=devices)
    if basis:
        print(basis)

    folders = []
    for seed in repeats or [configuration.seed]:
        of_seed = configuration.model_copy(update={"seed": seed})
        folders.append(_trained(of_seed, runs, reading, keep_weights=keep_weights))
    if score and repeats:
        _print_repeats(folders, reading)
    elif score:
        _print_sweep(folders[0], reading)


def _trained(configuration: RunConfig, runs: str, reading: Reading, *, keep_weights: bool) -> Path:
    """Train a run; where weights are not kept, score it and drop them.

    One that was scored and has none is then left as it is, where it would be trained again.
    """
    from ..runs.identity import find_begun

    begun = None if keep_weights else find_begun(runs, configuration)
    if begun is not None and begun.is_scored:
        return begun.path

    from ..training.train import train as train_run

    run = train_run(configuration, runs, reading=reading)
    print(f"trained {run.folder}")
    if not keep_weights:
        from ..evaluation.score import score
        from ..runs.pruning import prune

        score(run, reading=reading)
        if is_first():
            prune(run, weights=True)
    return run.path


def _repeats(text: str, values: Mapping[str, Any]) -> list[int]:
    """The seeds that 0-49 or 0,3 stands for; raises ConfigError for anything else."""
    if not text:
        return []
    if "seed" in values:
        raise ConfigError(f"--seeds and seed= both say the seed; wanted: --seeds {text} alone")
    seeds: list[int] = []
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if not (first.isdecimal() and (last or first).isdecimal()):
            raise ConfigError(f"--seeds {text}: {part!r} is no seed; wanted: e.g. 0-4 or 0,3,7")
        seeds += range(int(first), int(last or first) + 1)
    if len(set(seeds)) < len(seeds) or not seeds:
        raise ConfigError(f"--seeds {text}: wanted: each seed once, the lower first, e.g. 0-4")
    return seeds


def _own_data(data: Path | None, reference: str, values: dict[str, Any]) -> dict[str, Any]:
    """The settings on a folder of one's own, whose manifest is written where there is none yet."""
    from ..data.own import default_name, new_manifest
    from ..runs.recipes import fitting_recipe
    from .data import print_own

    if data is None and reference:
        raise ConfigError(f"--reference goes with --data; else write reference={reference}")
    if data is None:
        return values
    for key in ("manifest", "reference"):
        if key in values:
            raise ConfigError(f"--data and {key}= both say what to train on; give one of them")
    fitting_recipe(values)  # a mistake in a setting is said before a file is written
    own = new_manifest(default_name(data), data, reference, keep_edited=True)
    print_own(own)
    values = values | {"manifest": str(own.file)}
    if note := own.note_on_batches(fitting_recipe(values)[0].batch_size):
        print(note)
    return values


def _refuse_options(values: Mapping[str, Any]) -> None:
    """Raise ConfigError for an option of the command that is written as a setting."""
    for name in OPTIONS:
        if name in values:
            option = name.replace("_", "-")
            raise ConfigError(f"{name} is no setting but an option: --{option} {values[name]}")


def _read_settings(config: Path) -> dict[str, Any]:
    """The settings in a YAML file."""
    from ..disk.files import read_yaml

    values = read_yaml(config, written=True)
    if not isinstance(values, dict):
        kind = type(values).__name__
        raise ConfigError(f"{config}: expected a mapping of names to values, got {kind}")
    return values


def combine(
    name: Annotated[
        str,
        Argument(
            help="a post-hoc method of `clipft methods`, or its preset",
            autocompletion=completion.posthoc_names,
        ),
    ],
    given: Annotated[
        list[str], Argument(metavar="RUN... [KEY=VALUE...]", help="run folders, then options")
    ],
    device: Device = "auto",
    workers: Workers = "auto",
    score: Annotated[bool, Option(help="sweep alpha over all splits at the end")] = True,
) -> None:
    """Apply a post-hoc method (TPGM, soups ...) to finished runs: a new run beside them."""
    from ..config import Reading, parse_settings
    from ..runs.checks import check_combination, combination

    runs = [text for text in given if "=" not in text or Path(text).is_dir()]
    options = parse_settings([text for text in given if text not in runs])
    check_combination(combination(name, runs, options), scored=score)

    from ..training.combine import combine as combine_runs

    reading = Reading(device=device, workers=workers)
    run = combine_runs(name, runs, options, reading)
    members = [member.id for member in run.members]
    print(f"made {run.folder} of {', '.join(members)}")
    if score:
        _print_sweep(run, reading)


def adopt(
    checkpoint: Annotated[
        Path, Argument(help="weights that were tuned elsewhere: a file of the whole model")
    ],
    model: Annotated[str, Option(help="a name of open_clip, local-dir:FOLDER, or emoji-tiny")],
    manifest: Annotated[str, Option(help="the data set: a name of `clipft datasets`, or a file")],
    pretrained: Annotated[
        str, Option(help="what it was tuned from: a published tag, or a checkpoint file")
    ] = "",
    head: Annotated[
        Path | None, Option(help="its linear head: head.safetensors of an export, or tensors")
    ] = None,
    name: Annotated[str, Option(help="what its method is called in tables and figures")] = "",
    reference: Annotated[str, Option(help="the domain that it was tuned on")] = "",
    selection: Annotated[
        str, Option(help="how its weights were chosen: holdout, loss, paper or last")
    ] = "holdout",
    runs: Runs = "runs",
    device: Device = "auto",
    workers: Workers = "auto",
    precision: Precision = "",
    skip_bad: SkipBad = False,
    score: Annotated[bool, Option(help="sweep WiSE over all splits at the end")] = True,
) -> None:
    """Make a finished run of a checkpoint that was tuned elsewhere; then score it."""
    from ..config import Reading
    from ..runs.adopted import DEFAULT_NAME, stated
    from ..runs.checks import check_adoption, check_reported

    settings = {"manifest": manifest, "model": model, "pretrained": pretrained}
    settings |= {"reference": reference, "selection": selection}
    name = name or DEFAULT_NAME
    given = {"name": name, "head": head or "", "runs": runs}
    check_adoption(checkpoint, stated(settings), **given)
    if score:
        check_reported(stated(settings), skip_bad=skip_bad)

    from ..training.adopt import adopt as adopt_run

    reading = Reading(device=device, workers=workers, skip_bad=skip_bad, precision=precision)
    run = adopt_run(checkpoint, reading=reading, **given, **settings)
    print(f"adopted {run.folder}")
    if score:
        _print_sweep(run, reading)


def _print_sweep(run: Run | Path, reading: Reading) -> None:
    """Sweep alpha over all splits; print the scores at both ends and in the middle."""
    from ..config import TUNED, ZERO_SHOT
    from ..evaluation.score import score

    (run,) = score(run, reading=reading)
    print_scores(run.table(), (ZERO_SHOT, 0.5, TUNED), run.config)


def _print_repeats(folders: list[Path], reading: Reading) -> None:
    """Score repeats, and print their means with 95 % intervals."""
    from ..evaluation.score import score
    from ..runs.table import results, results_table

    score(folders, reading=reading)
    table = results_table(results(folders), intervals=True)
    title = f"{len(folders)} repeats: %, mean [95 % interval of it] over seeds"
    show(table.to_dict("records"), title)


def choose(
    runs: Runs = "runs",
    write: Annotated[
        Path | None, Option(help="write the recipes here, e.g. presets/emoji.yaml")
    ] = None,
) -> None:
    """Show what a sweep's held-out reference images choose: the one-standard-error rule."""
    from ..disk.files import check_target
    from ..runs.recipes import candidates, write_presets

    if write:
        check_target(write)
    tried = candidates(runs)
    rows = tried.to_dict("records")
    for row in rows:
        row["value"] = f"{row['value']:g}"
        row["accuracy"] = f"{100 * row['accuracy']:.1f}"
        row["error"] = f"{100 * row['error']:.1f}"
        row["chosen"] = "*" if row["chosen"] else ""
    show(rows, f"held-out reference {tried.attrs['metric']} (%) and its standard error")
    if write:
        write_presets(runs, write)
        print(f"wrote {write}")
