"""A configuration becomes a finished run: what it needs is checked, then it is trained, or goes on
where it stopped.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from ..config import Reading, RunConfig, plain_settings
from ..disk.files import check_room
from ..errors import ConfigError, RunError
from ..evaluation.bench import Bench, compare_digests
from ..evaluation.launch import fabric_of, sharing
from ..evaluation.recorder import TrainingRecord
from ..evaluation.trackers import Tracking
from ..inputs.prompts import random_texts, unknown_spurious
from ..inputs.seeds import rng
from ..methods import METHODS
from ..models.blocks import freeze_others, rates
from ..models.head import Head
from ..models.hidden import check_hidden
from ..models.projections import projections
from ..models.students import Student
from ..progress import say, write
from ..runs.checks import check_probe, check_ranks, check_tracker
from ..runs.folder import RunFolder
from ..runs.identity import PLACED, as_kept, run_id
from ..runs.presence import check_images_there, say_classes_without_images
from ..runs.run import Run
from .after_step import AfterStep
from .examples import EmbeddedExamples, Examples, PixelExamples
from .linear_probe import probe_head
from .loop import Training, fit
from .lora import Lora
from .memory import check_parts, keep_less
from .observer import Observer
from .saving import Clock
from .state import State

# As many times the weights: those chosen, and a checkpoint with two moments, an average and a
# teacher, each written beside the one before it.
FILES = 2 * (1 + 5)
Watch = Callable[[dict[str, Any]], object]


def train(
    config: RunConfig,
    runs: Path | str = "runs",
    *,
    reading: Reading | None = None,
    watch: Watch | None = None,
) -> Run:
    """Train one run, or go on where it stopped; a finished one is returned as it is.

    Leaves in `runs/<id>/` config.json, metrics.jsonl and weights.safetensors (the weights of the
    best validation accuracy, or those that config.selection says). A resumed run equals the
    uninterrupted one bit for bit on CPU; on another number of devices but for rounding.

    Arguments:
        config: all that decides the outcome.
        runs: the folder of the runs.
        reading: how images are read, and on which device, or how many.
        watch: called with each row of metrics.jsonl; what it raises ends the training, and the same
            call later goes on from the last checkpoint.

    Returns:
        The run; `score` measures it.

    Raises:
        ConfigError: for a bad configuration, before anything is written.
        RunError: where another process writes the folder, or it holds another run.
        ImageError: for an unreadable image, unless reading.skip_bad; for a missing one at once.
        StorageError: where the disk has no room for what the run will write.

    Example:
        >>> config = clipft.RunConfig(method="lipsum", lr=3e-4, steps=120, batch_size=128)
        >>> run = clipft.train(config, runs="runs")
        >>> run.config.method
        'lipsum'
    """
    reading = reading or Reading()
    check_tracker(reading.log)
    check_ranks(config, reading.devices)
    with sharing(reading) as (ranks, shared_reading):
        fabric = fabric_of(shared_reading, config.precision, ranks)
        bench = Bench(config, replace(shared_reading, device=str(fabric.device)), ranks=ranks)
        run = _run(bench, config, Path(runs), fabric, watch or _ignore)
    return Run.open(run)


def _run(bench: Bench, config: RunConfig, runs: Path, fabric: Fabric, watch: Watch) -> RunFolder:
    """The folder of a run, trained by now."""
    ranks = bench.ranks
    bench.check(config)
    _check_texts(bench, config)
    if "hidden" in METHODS[config.method].needs:
        check_hidden(bench.clip.model.visual, config.model)
    _check_projections(bench, config)
    check_parts(bench.clip.model.visual, config, ranks.count)
    _check_layers(bench, config)
    made_of = bench.made_of(config)

    kept = as_kept(config, bench.manifest)
    folder = RunFolder(runs / run_id(kept, bench.manifest, made_of))
    # Without the lock: several processes may ask for the same finished run.
    if ranks.first_says(lambda: folder.has_weights):
        with contextlib.suppress(ConfigError):  # it is given to those without the data set, too
            made_of |= bench.rows_of(config)
        _check_begun(folder, kept, made_of)
        ranks.by_first(folder.tidy)
        return folder
    made_of |= bench.rows_of(config)
    ranks.by_first(lambda: _check_disk(bench, config, folder))
    with folder.lock() if ranks.is_first else contextlib.nullcontext():
        ranks.by_first(lambda: _check_begun(folder, kept, made_of))
        if ranks.first_says(lambda: folder.has_weights):  # by another process, meanwhile
            return folder
        title = METHODS[config.method].title
        recorded = kept.model_dump(mode="json") | made_of | {"title": title}
        ranks.by_first(lambda: _write_begun(folder, bench, recorded))
        try:
            _train(bench, config, folder, fabric, watch)
        except Exception:
            # Nothing to go on from must not stand in the way of the corrected command.
            if ranks.is_first:
                folder.discard()
            raise
    return folder


def _write_begun(folder: RunFolder, bench: Bench, recorded: dict[str, Any]) -> None:
    """Leave in the folder what the run is made of."""
    folder.write_manifest(bench.manifest.copy_for_run())
    folder.write_config(recorded)


def _ignore(row: dict[str, Any]) -> None:
    """Nobody watches."""


def _check_texts(bench: Bench, config: RunConfig) -> None:
    """Refuse random texts that cannot be drawn here rather than at the first step; a line says
    which spurious templates the model does not know.
    """
    if "spurious_captions" in METHODS[config.method].needs:
        say(unknown_spurious(bench.manifest, bench.clip.tokenizer, bench.clip.vocabulary))
    if "random_texts" in METHODS[config.method].needs:
        draw = rng(0, "check")
        random_texts(bench.clip.tokenizer, 1, config.text_length, draw, bench.clip.vocabulary)


def _check_layers(bench: Bench, config: RunConfig) -> None:
    """Refuse layers that the model has not rather than after the images were looked for."""
    if config.train_only or config.layer_decay != 1 or config.adapter:
        student = bench.student(config)
        freeze_others(student, config)
        rates(student, config)
        if config.adapter:
            Lora(student, config)


def _check_projections(bench: Bench, config: RunConfig) -> None:
    """Refuse a model without the matrices that the method reads before anything is written."""
    if "projections" not in METHODS[config.method].needs:
        return
    try:
        projections(bench.clip.model)
    except ConfigError as error:
        raise ConfigError(f"{config.method} on {config.model}: {error}") from None


def _check_disk(bench: Bench, config: RunConfig, folder: RunFolder) -> None:
    """Refuse images that are not there, and a disk too small, rather than after hours."""
    if not bench.manifest.is_rendered:
        check_probe(config, bench.manifest)
    splits = bench.training_splits(config)
    reading = bench.reading
    check_images_there(splits, skip_bad=reading.skip_bad, progress=reading.progress)

    tensors = bench.clip.model.state_dict().values()
    weights = sum(tensor.nbytes for tensor in tensors)
    check_room(folder.path, FILES * weights)

    say_classes_without_images(splits[0], bench.manifest.names)
    if len(splits) == 1:
        write(f"{bench.manifest.name} has no val images: nothing is validated or chosen on")


def _check_begun(folder: RunFolder, config: RunConfig, made_of: dict[str, str]) -> None:
    """Raise RunError where the folder was begun from other settings, files or model.

    One in which nothing was kept yet is taken over.
    """
    if not (folder.is_begun and folder.is_resumable):
        return
    begun = folder.config()
    compare_digests(folder, begun, made_of, config.model)
    # Where the files lay then does not count: the digests say what they are.
    settings = config.model_dump(mode="json", exclude=set(PLACED))
    # A key that an older clipft did not know has done there what is its default now.
    if settings != {key: begun.get(key, plain_settings()[key]) for key in settings}:
        raise RunError(
            f"{folder} was begun by a clipft with other defaults; use another runs folder"
        )


def _train(
    bench: Bench, config: RunConfig, folder: RunFolder, fabric: Fabric, watch: Watch
) -> None:
    """Set up what the loop needs, from the start or from the last checkpoint, and run it."""
    if bench.ranks_of(config).is_alone and not bench.ranks.is_alone:
        bench.ranks.by_first(lambda: _fit(bench, config, folder, watch))
    else:
        _fit(bench, config, folder, watch, fabric)


def _fit(
    bench: Bench, config: RunConfig, folder: RunFolder, watch: Watch, fabric: Fabric | None = None
) -> None:
    tracking = Tracking(bench.reading.log if bench.ranks.is_first else "", folder)
    training, state = begun(bench, config, folder, _Watched(tracking, watch), fabric=fabric)
    kept = as_kept(config, bench.manifest)
    tracking.begin(kept)
    try:
        training.record.begin(state.step)
        fit(training, state)
    finally:
        tracking.finish(kept)


@dataclass(frozen=True)
class _Watched:
    """Each row of the history goes to the tracker, then to the one who watches."""

    tracking: Tracking
    watch: Watch

    def __call__(self, row: dict[str, Any]) -> object:
        self.tracking.log(row)
        return self.watch(row)


def begun(
    bench: Bench,
    config: RunConfig,
    folder: RunFolder,
    watch: Watch,
    *,
    fabric: Fabric | None = None,
    examples: Examples | None = None,
) -> tuple[Training, State]:
    """What `fit` takes, from the start or from the last checkpoint in the folder.

    examples: other than the data set's own.
    """
    ranks = bench.ranks_of(config)
    fabric = fabric or fabric_of(bench.reading, config.precision, ranks)
    record = TrainingRecord(folder, fabric.device, config.precision, ranks.count)
    method = METHODS[config.method]
    is_probe = method.trains == "head"
    with record.aside():
        state = _begun_state(bench, config, folder, fabric)
        if examples is None:
            examples = _examples(bench, config, state)
        observe = Observer(bench, config, state, fabric, examples.train)
    training = Training(
        config=config,
        method=method,
        folder=folder,
        fabric=fabric,
        reading=bench.reading,
        examples=examples,
        observe=observe,
        record=record,
        watch=watch,
        # The solution of a logistic probe is its start.
        steps=0 if is_probe and config.solver == "logistic" else config.steps,
        clock=Clock(bench.reading.checkpoint_minutes),
        after_step=AfterStep.of(bench, config),
    )
    return training, state


def _examples(bench: Bench, config: RunConfig, state: State) -> Examples:
    """What a training of this configuration is shown."""
    if METHODS[config.method].trains == "head":
        return EmbeddedExamples(bench, config, state.student)
    return PixelExamples(bench, config)


def _begun_state(bench: Bench, config: RunConfig, folder: RunFolder, fabric: Fabric) -> State:
    """The state before the first step, or that of the last checkpoint."""
    ranks = bench.ranks_of(config)
    method = METHODS[config.method]
    student = bench.student(config)
    if method.trains == "head":
        student.visual.requires_grad_(False)
    freeze_others(student, config)
    resumed = ranks.first_says(folder.checkpoint_file.exists)
    if not resumed:
        ranks.by_first(lambda: _start_head(bench, config, student))
    state = State.begin(student, config, fabric, ranks)
    if bench.reading.checkpointing:
        keep_less(student, config.model)
    if resumed:
        state.restore(folder.checkpoint_file)
    ranks.by_first(lambda: folder.forget_after(state.step, state.validated))
    return state


def _start_head(bench: Bench, config: RunConfig, student: Student) -> None:
    """Set the head where the method, or the configuration, wants it to start."""
    method = METHODS[config.method]
    if config.head_from:
        head = bench.given_head(config)
    elif method.head == "zeros":
        weight, bias = student.linear()
        head = Head(torch.zeros_like(weight), torch.zeros_like(bias), ())
    elif method.head == "probe" and config.solver == "logistic":
        head = probe_head(bench, config, student)
    else:
        return
    student.start_from(head.weight, head.bias)
