"""Seconds of a training step of each method on this machine, with these images and this model."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from ..config import Reading, RunConfig
from ..errors import ConfigError
from ..evaluation.bench import Bench
from ..inputs.batches import Batch
from ..inputs.prompts import random_texts
from ..inputs.seeds import rng
from ..models.embeddings import embed
from ..progress import progress_bar
from ..runs.throughput import StepTimes
from ..training.loop import LOGGED
from .throughput import TEXT_LENGTH, TimedTraining, batch_of, per_second, timed

ON_CPU = 8  # images of a step that is timed on a processor: a whole batch may take a minute
TEXTS = 16
SECONDS = 0.3  # that each part is repeated for, at least


def step_times(configs: Sequence[RunConfig], reading: Reading) -> StepTimes:
    """Time what runs of one model and data set are made of; nothing of it is kept.

    A step is timed with fewer images than a batch has on a processor, and taken times as many. A
    method that this model cannot be tuned by is left out, with a line why; raises ConfigError
    where that is each.
    """
    bench = Bench(configs[0], reading)
    device = torch.device(bench.device)
    split = bench.train_split(configs[0])
    size = ON_CPU if device.type == "cpu" else min(config.batch_size for config in configs)
    steps: dict[str, float] = {}
    refused = []
    with progress_bar(3 + len(configs), "measuring", "part", show=reading.progress) as bar:
        batch_of(split, bench, 2)  # the first image opens libraries
        batch, seconds = timed(lambda: batch_of(split, bench, size), device)
        read = seconds / min(size, len(split))
        read_made = _read_made(bench)
        text = _text(bench, device)
        bar.update()
        student = bench.student(configs[0]).eval()
        pixels = batch.pixels.to(device)
        forward = 1 / per_second(lambda: len(embed(student, pixels)), device, SECONDS)
        bar.update(2)
        for config in configs:
            try:
                steps[config.method] = config.batch_size * _seconds(bench, config, batch)
            except ConfigError as error:
                refused.append(f"{config.method} is left out: {error}")
            bar.update()
    if not steps:
        raise ConfigError(refused[0])
    return StepTimes(
        read=read,
        forward=forward,
        step=steps,
        read_made=read_made,
        text=text,
        refused=tuple(refused),
    )


def _read_made(bench: Bench) -> float:
    """Of an image that is disturbed as it is read, the mean over the ways to."""
    seconds = 0.0
    device = torch.device("cpu")
    names = [f"{domain}/test" for domain in bench.manifest.made]
    for name in names:
        split = bench.manifest.split(name)
        few = min(ON_CPU, len(split))
        seconds += timed(lambda split=split, few=few: batch_of(split, bench, few), device)[1] / few
    return seconds / len(names) if names else 0.0


def _text(bench: Bench, device: torch.device) -> float:
    """Of a random text; 0 where the model has no text tower to make energy gaps with."""
    clip = bench.clip
    try:
        draw = rng(0, "throughput")
        tokens = random_texts(clip.tokenizer, TEXTS, TEXT_LENGTH, draw, clip.vocabulary)
        return 1 / per_second(lambda: len(clip.embed_texts(tokens)), device, SECONDS)
    except ConfigError:
        return 0.0


def _seconds(bench: Bench, config: RunConfig, batch: Batch) -> float:
    """Of an image in a method's training step."""
    size = len(batch.rows)
    share = size / config.batch_size
    changes = {
        "batch_size": size,
        "text_count": max(1, round(config.text_count * share)),
        "steps": LOGGED,
        "eval_every": 10 * LOGGED,
        "lr": 1e-9,  # the same work, and nothing that could diverge
    }
    timed_config = RunConfig(**config.model_dump() | changes)
    with tempfile.TemporaryDirectory() as folder:
        training = TimedTraining(bench, timed_config, batch, Path(folder))
        return 1 / per_second(training.work, torch.device(bench.device), SECONDS)
