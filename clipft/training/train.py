"""TODO: docstring."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lightning_fabric import Fabric

from ..config import RunConfig
from ..disk.files import read_json, write_json
from ..disk.lock import lock
from ..errors import RunError
from ..inputs.draws import rng
from ..inputs.prompts import random_texts
from ..models.load import pick_device
from ..runs.run import Run
from .loop import Loop


def train(
    config: RunConfig,
    runs: Path | str = "runs",
    *,
    device: str = "auto",
    workers: int = 0,
    skip_bad: bool = False,
    progress: bool = True,
    watch: Callable[[dict], None] | None = None,
) -> Run:
    """Train one run into `runs/<id>/`, or go on where it stopped; a finished run is returned as it is.

    Leaves config.json, metrics.jsonl and weights.safetensors (the weights of the best validation accuracy, or the last
    ones with selection "last"). A resumed run equals the uninterrupted one bit for bit on CPU. Raises ConfigError for
    a bad configuration before anything is written, RunError where another process writes the folder, ImageError for an
    unreadable image unless skip_bad. watch: called with each row of metrics.jsonl; what it raises ends the training,
    and the same call later goes on from the last validation.
    """
    kind, _, index = pick_device(device).partition(":")
    fabric = Fabric(
        accelerator=kind, devices=[int(index)] if index else 1, precision=config.precision
    )
    run = Run.create(config, runs, device=str(fabric.device))
    origin = run.origin()
    if config.head_from:
        origin["head_digest"] = run.given_head().digest()
    if "random_texts" in run.method.needs:  # refused here rather than at the first step
        random_texts(
            run.clip.tokenizer, 1, config.text_length, rng(0, "check"), run.clip.vocabulary
        )
    if run.finished:  # without the lock: several processes may ask for the same finished run
        _check_begun(run, origin)
        return run
    with lock(run.folder):
        _check_begun(run, origin)
        if not run.finished:  # by another process, meanwhile
            write_json(run.folder / "config.json", config.model_dump(mode="json") | origin)
            Loop(run, fabric, workers, skip_bad, progress, watch).run_to_the_end()
    return run


def _check_begun(run: Run, origin: dict[str, str]) -> None:
    """Raise RunError where the folder was begun from something else than today's configuration and files."""
    if not (run.folder / "config.json").exists():
        return
    begun = read_json(run.folder / "config.json")
    run.check_origin(begun, origin)
    if run.config.model_dump(mode="json") != {
        key: begun.get(key) for key in RunConfig.model_fields
    }:
        raise RunError(
            f"{run.folder} was begun by a clipft with other defaults; use another runs folder"
        )
