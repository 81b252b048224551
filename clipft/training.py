"""One training loop for every method: AdamW, warm-up then cosine, choice on held-out data, exact resume."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from lightning_fabric import Fabric

from .config import RunConfig, rng, seed_of
from .data import Batch, pixel_chunks, train_batches, train_transform
from .errors import ImageError, RunError
from .evaluation import accuracy_on, skipped
from .objectives import Step
from .progress import progress_bar, write
from .prompts import random_texts
from .runs import Run, pick_device
from .store import (
    append_json,
    disk,
    lock,
    read_json,
    read_jsonl,
    read_metadata,
    read_weights,
    write_json,
    write_text,
    write_weights,
)

if TYPE_CHECKING:
    from .data import Transform
    from .records import Split

CHECKPOINT = "checkpoint.safetensors"  # student, optimiser and step of the last evaluation
BEST = "best.safetensors"  # the weights chosen so far


def learning_rate(step: int, config: RunConfig) -> float:
    """Linear warm-up over the first `warmup` fraction of the steps, then cosine to 0; step counts from 0."""
    warm = round(config.warmup * config.steps)
    if step < warm:
        return config.lr * (step + 1) / warm
    return config.lr * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, config.steps - warm)))


def train(
    config: RunConfig,
    runs: Path | str = "runs",
    *,
    device: str = "auto",
    workers: int = 0,
    skip_bad: bool = False,
    progress: bool = True,
) -> Run:
    """Train one run into `runs/<id>/`, or go on where it stopped; a finished run is returned as it is.

    Leaves config.json, metrics.jsonl and weights.safetensors (the weights of the best validation accuracy, or the last
    ones with selection "last"). A resumed run equals the uninterrupted one bit for bit on CPU. Raises ConfigError for
    a bad configuration before anything is written, RunError where another process writes the folder, ImageError for an
    unreadable image unless skip_bad.
    """
    kind, _, index = pick_device(device).partition(":")
    fabric = Fabric(accelerator=kind, devices=[int(index)] if index else 1, precision=config.precision)
    run = Run.create(config, runs, device=str(fabric.device))
    origin = run.origin()
    if "random_texts" in run.method.needs:  # refused here rather than at the first step
        random_texts(run.clip.tokenizer, 1, config.text_length, rng(0, "check"), run.clip.vocabulary)
    with lock(run.folder):
        recorded = run.folder / "config.json"
        if recorded.exists():
            run.check_origin(read_json(recorded))
        if run.finished:
            return run
        write_json(recorded, config.model_dump(mode="json") | origin)
        Loop(run, fabric, workers, skip_bad, progress).run_to_the_end()
    return run


class Selection:
    """Decoded pixels of the split on which weights are chosen: held if they fit, else decoded each time."""

    def __init__(self, split: Split, transform: Transform, workers: int, skip_bad: bool):
        self.source = (split, transform, workers, skip_bad)
        decoded = pixel_chunks(*self.source)
        self.held = [next(decoded)]
        if next(decoded, None) is not None:
            self.held = []
        bad = [row for chunk in self.held for row in chunk.bad]
        if bad:
            write(skipped(split, bad))

    def chunks(self) -> Iterable[Batch]:
        """The pixels, chunk by chunk."""
        return self.held or pixel_chunks(*self.source)


class Loop:
    """The state of one training run: student, optimiser, step, best accuracy so far."""

    def __init__(self, run: Run, fabric: Fabric, workers: int, skip_bad: bool, progress: bool):
        self.run, self.config, self.method, self.fabric = run, run.config, run.method, fabric
        self.workers, self.skip_bad, self.progress = workers, skip_bad, progress
        self.student = run.student
        optimizer = torch.optim.AdamW(
            self.student.parameters(), lr=self.config.lr, betas=self.config.betas,
            weight_decay=self.config.weight_decay, fused=True,
        )  # fmt: skip
        self.module, self.optimizer = fabric.setup(self.student, optimizer)
        self.captions = run.captions() if "captions" in self.method.needs else None
        self.step, self.best, self.bad = 0, -1.0, set[int]()
        if (run.folder / CHECKPOINT).exists():
            self._restore()
        kept = [row for row in read_jsonl(self._metrics) if row["step"] <= self.step]
        write_text(self._metrics, "".join(json.dumps(row) + "\n" for row in kept))

    @property
    def _metrics(self) -> Path:
        return self.run.folder / "metrics.jsonl"

    def run_to_the_end(self) -> None:
        """Train to the last step, then keep the chosen weights and remove the checkpoint."""
        config, clip, split = self.config, self.run.clip, self.run.train_split()
        val = Selection(self.run.selection_split(), clip.transform, self.workers, self.skip_bad)
        transform = train_transform(clip.size, config.crop, config.flip)
        steps = range(self.step, config.steps)
        self.student.train()
        title = f"{self.method.title} {self.run.folder.name}"
        with progress_bar(config.steps, title, "step", self.progress, initial=self.step) as bar:
            for batch in train_batches(
                split, transform, config.batch_size, steps, config.seed, self.workers, self.skip_bad
            ):
                self.bad |= set(batch.bad)
                if not len(batch.rows):
                    raise ImageError(f"no image of step {self.step + 1}'s batch can be read; repair the data set")
                terms = self._update(batch, [split.domain_of(row) for row in batch.rows.tolist()])
                self.step += 1
                bar.update()
                if self.step % max(1, config.steps // 200) == 0:
                    loss = sum(terms.values())
                    row = {"step": self.step, "loss": loss, "lr": learning_rate(self.step - 1, config)}
                    append_json(self._metrics, row | (terms if len(terms) > 1 else {}))
                    bar.set_postfix(loss=f"{loss:.3f}", best_val=f"{max(self.best, 0):.3f}", refresh=False)
                if self.step % config.eval_every == 0 or self.step == config.steps:
                    self._evaluate(val)
        if self.bad:
            write(skipped(split, sorted(self.bad)))
        with disk(self.run.folder / BEST):
            os.replace(self.run.folder / BEST, self.run.folder / "weights.safetensors")
        (self.run.folder / CHECKPOINT).unlink()

    def _update(self, batch: Batch, domains: list[str]) -> dict[str, float]:
        """One optimiser step; returns the weighted terms of the loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, self.config)
        cuda = [self.fabric.device] if self.fabric.device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda):  # dropout and the like follow from the step, too
            torch.manual_seed(seed_of(self.config.seed, f"forward:{self.step}"))
            terms = self.method.terms(self._observe(batch, domains), self.config.lam)
        values = {name: float(term.detach()) for name, term in terms.items()}
        for name, value in values.items():
            if not math.isfinite(value):
                last = f"the checkpoint of the last validation is kept in {self.run.folder}"
                raise RunError(f"{name} is {value} at step {self.step + 1}: the run diverged; lower lr or lam ({last})")
        self.optimizer.zero_grad()
        self.fabric.backward(torch.stack(list(terms.values())).sum())
        if self.config.clip_norm is not None:
            self.fabric.clip_gradients(self.module, self.optimizer, max_norm=self.config.clip_norm)
        self.optimizer.step()
        return values

    def _observe(self, batch: Batch, domains: list[str]) -> Step:
        """What the objective sees of a batch: only what it needs is computed."""
        needs, config, device = self.method.needs, self.config, self.fabric.device
        pixels, tokens, texts, anchor = batch.pixels.to(device), None, None, None
        if self.captions is not None:
            draw = rng(config.seed, f"captions:{self.step}")
            tokens = self.captions.draw(batch.labels.tolist(), domains, draw).to(device)
        if "random_texts" in needs:
            draw = rng(config.seed, f"random_texts:{self.step}")
            clip = self.run.clip
            texts = clip.embed_texts(
                random_texts(clip.tokenizer, config.text_count, config.text_length, draw, clip.vocabulary)
            )
        if "anchor" in needs:
            with torch.no_grad(), self.fabric.autocast():
                anchor = self.run.clip.model.encode_image(self.student.pixels(pixels)).float()
        images, captions = self.module(pixels, tokens)
        head = self.student.head() if self.captions is None else None
        return Step(images, batch.labels.to(device), self.student.scale, head, anchor, texts, captions)

    def _evaluate(self, val: Selection) -> None:
        """Accuracy on the selection split; keep the weights if they are the best, then the checkpoint."""
        accuracy = accuracy_on(self.student, val.chunks())
        append_json(self._metrics, {"step": self.step, "val_accuracy": accuracy})
        if accuracy > self.best or self.config.selection == "last":
            self.best = accuracy
            write_weights(self.run.folder / BEST, self.student.state_dict(), {"step": str(self.step)})
        tensors = {f"student.{name}": tensor for name, tensor in self.student.state_dict().items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in state.items()}
        progress = {"step": self.step, "best": self.best, "bad": sorted(self.bad)}
        write_weights(self.run.folder / CHECKPOINT, tensors, {"progress": json.dumps(progress)})

    def _restore(self) -> None:
        """Go back to the last checkpoint: weights, optimiser and step; every random draw follows from the step."""
        tensors = read_weights(self.run.folder / CHECKPOINT)
        metadata = read_metadata(self.run.folder / CHECKPOINT)
        if "progress" not in metadata:
            raise RunError(f"{self.run.folder / CHECKPOINT} is no checkpoint of clipft; delete it to begin again")
        progress = json.loads(metadata["progress"])
        self.step, self.best, self.bad = progress["step"], progress["best"], set(progress["bad"])
        mine = {name.removeprefix("student."): t for name, t in tensors.items() if name.startswith("student.")}
        self.student.load_state_dict(mine)
        state: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith("optimizer."):
                _, index, key = name.split(".")
                state.setdefault(int(index), {})[key] = tensor
        self.optimizer.load_state_dict({"state": state, "param_groups": self.optimizer.state_dict()["param_groups"]})
