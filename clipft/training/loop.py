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
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ..config import RunConfig, seed_of
from ..disk.files import append_json, disk, read_jsonl, write_text
from ..errors import ImageError, RunError
from ..evaluation.score import accuracy_on
from ..inputs.batches import Batch, Pixels, Stream, skipped, train_batches, train_transform
from ..models.checkpoints import read_metadata, read_weights, write_weights
from ..models.embeddings import extract
from ..models.head import Head
from ..progress import progress_bar, write
from ..runs.run import Run
from .linear_probe import probe_head
from .observer import Observer

if TYPE_CHECKING:
    from ..data.splits import Split
    from ..models.students import Student

CHECKPOINT = "checkpoint.safetensors"  # student, optimiser and step of the last evaluation
BEST = "best.safetensors"  # the weights chosen so far


def learning_rate(step: int, config: RunConfig) -> float:
    """Linear warm-up over the first `warmup` fraction of the steps, then cosine to 0; step counts from 0."""
    warm = round(config.warmup * config.steps)
    if step < warm:
        return config.lr * (step + 1) / warm
    return config.lr * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, config.steps - warm)))


class Loop:
    """The state of one training run: student, optimiser, step, best accuracy so far."""

    def __init__(
        self, run: Run, fabric: Fabric, workers: int, skip_bad: bool, progress: bool, watch=None
    ):
        self.watch = watch or (lambda row: None)
        self.run, self.config, self.method, self.fabric = run, run.config, run.method, fabric
        self.workers, self.skip_bad, self.progress = workers, skip_bad, progress
        self.student = run.student
        if self.method.trains == "head":
            self.student.visual.requires_grad_(False)
        resumed = (run.folder / CHECKPOINT).exists()
        if not resumed:
            self._start()
        self.trained = {
            name: tensor for name, tensor in self.student.named_parameters() if tensor.requires_grad
        }
        optimizer = torch.optim.AdamW(
            self.trained.values(),
            lr=self.config.lr,
            betas=self.config.betas,
            weight_decay=self.config.weight_decay,
            fused=True,
        )
        self.module, self.optimizer = fabric.setup(self.student, optimizer)
        decay = self.method.ema if self.config.ema is None else self.config.ema
        self.average = None
        if decay is not None:
            self.average = AveragedModel(self.student, multi_avg_fn=get_ema_multi_avg_fn(decay))
            self.average.update_parameters(
                self.student
            )  # the first call copies: the average starts at theta0
        self.step, self.best, self.bad = 0, -1.0, set[int]()
        if resumed:
            self._restore()
        kept = [row for row in read_jsonl(self._metrics) if row["step"] <= self.step]
        write_text(self._metrics, "".join(json.dumps(row) + "\n" for row in kept))
        self.observe = Observer(run, self.module, fabric, self.trained)

    def _start(self) -> None:
        """Set the head where the method, or the configuration, wants it to start."""
        if self.config.head_from:
            head = self.run.given_head()
        elif self.method.head == "zeros":
            weight, bias = self.student.linear()
            head = Head(torch.zeros_like(weight), torch.zeros_like(bias), ())
        elif self.method.head == "probe" and self.config.solver == "logistic":
            head = probe_head(self.run, self.workers, self.skip_bad, self.progress)
        else:
            return
        self.student.start_from(head.weight, head.bias)

    @property
    def kept(self) -> Student:
        """The student whose weights are evaluated and kept: the average, if there is one."""
        return self.student if self.average is None else self.average.module

    @property
    def _metrics(self) -> Path:
        return self.run.folder / "metrics.jsonl"

    def run_to_the_end(self) -> None:
        """Train to the last step, then keep the chosen weights and remove the checkpoint."""
        config, split = self.config, self.run.train_split()
        probe, val = self.method.trains == "head", self.run.selection_split()
        if probe:  # the tower is frozen: each image is embedded once
            embedded = self._features(val)
            held, batches = [embedded], self._embeddings
        else:
            held, batches = (
                Pixels(val, self.run.clip.transform, self.workers, self.skip_bad),
                self._pixels,
            )
        if probe and config.solver == "logistic":  # the start is the solution
            config = config.model_copy(update={"steps": 0})
            if self.best < 0:  # else it was validated before it was stopped
                self._evaluate(held)
        steps = range(self.step, config.steps)
        self.student.train()
        title = f"{self.method.title} {self.run.folder.name}"
        with progress_bar(config.steps, title, "step", self.progress, initial=self.step) as bar:
            for batch in batches(split, steps):
                self.bad |= set(batch.bad)
                if not len(batch.rows):
                    raise ImageError(
                        f"no image of step {self.step + 1}'s batch can be read; repair the data set"
                    )
                terms = self._update(batch, [split.domain_of(row) for row in batch.rows.tolist()])
                self.step += 1
                bar.update()
                if self.step % max(1, config.steps // 200) == 0:
                    row = {
                        "step": self.step,
                        "loss": sum(terms.values()),
                        "lr": learning_rate(self.step - 1, config),
                    }
                    row |= terms if len(terms) > 1 else {}
                    append_json(self._metrics, row)
                    self.watch(row)
                if self.step % config.eval_every == 0 or self.step == config.steps:
                    self._evaluate(held)
                loss, best = sum(terms.values()), max(self.best, 0)
                bar.set_postfix(loss=f"{loss:.3f}", best_val=f"{best:.3f}", refresh=False)
        if self.bad:
            write(skipped(split, sorted(self.bad)))
        with disk(self.run.folder / BEST):
            os.replace(self.run.folder / BEST, self.run.folder / "weights.safetensors")
        (self.run.folder / CHECKPOINT).unlink()

    def _pixels(self, split: Split, steps: range) -> Iterable[Batch]:
        """Augmented training images of these steps."""
        config, size = self.config, self.run.clip.size
        transform = train_transform(size, config.crop, config.flip)
        return train_batches(
            split, transform, config.batch_size, steps, config.seed, self.workers, self.skip_bad
        )

    def _embeddings(self, split: Split, steps: range) -> Iterable[Batch]:
        """Embeddings of the unaugmented training images, in the batches of these steps."""
        if not steps:
            return
        whole = self._features(split)
        for draws in Stream(len(whole.rows), self.config.batch_size, steps, self.config.seed):
            rows = [row for row, _ in draws]
            yield Batch.of(whole.pixels[rows], whole.labels[rows], whole.rows[rows])

    def _features(self, split: Split) -> Batch:
        found = extract(self.student, split, self.workers, self.skip_bad, self.progress)
        place = {name: row for row, name in enumerate(split.ids)}
        rows = torch.tensor([place[name] for name in found.ids])
        return Batch.of(torch.from_numpy(found.embeddings), torch.from_numpy(found.label), rows)

    def _update(self, batch: Batch, domains: list[str]) -> dict[str, float]:
        """One optimiser step; returns the weighted terms of the loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, self.config)
        cuda = [self.fabric.device] if self.fabric.device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda):  # dropout and the like follow from the step, too
            torch.manual_seed(seed_of(self.config.seed, f"forward:{self.step}"))
            seen = self.observe(batch, domains, self.step)
            terms = self.method.terms(seen, self.config.lam, **self.config.options)
        values = {name: float(term.detach()) for name, term in terms.items()}
        for name, value in values.items():
            if not math.isfinite(value):
                last = f"the checkpoint of the last validation is kept in {self.run.folder}"
                raise RunError(
                    f"{name} is {value} at step {self.step + 1}: the run diverged; lower lr or lam ({last})"
                )
        self.optimizer.zero_grad()
        self.fabric.backward(torch.stack(list(terms.values())).sum())
        if self.config.clip_norm is not None:
            self.fabric.clip_gradients(self.module, self.optimizer, max_norm=self.config.clip_norm)
        self.optimizer.step()
        self.student.clamp()
        if self.average is not None:
            self.average.update_parameters(self.student)
        return values

    def _evaluate(self, held: Iterable[Batch]) -> None:
        """Accuracy on the selection split; keep the weights if they are the best, then the checkpoint."""
        accuracy = accuracy_on(self.kept, held)
        row = {"step": self.step, "val_accuracy": accuracy}
        append_json(self._metrics, row)
        if accuracy > self.best or self.config.selection == "last":
            self.best = accuracy
            write_weights(self.run.folder / BEST, self.kept.state_dict(), {"step": str(self.step)})
        tensors = {f"student.{name}": tensor for name, tensor in self.student.state_dict().items()}
        if self.average is not None:
            tensors |= {
                f"average.{name}": tensor for name, tensor in self.kept.state_dict().items()
            }
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in state.items()}
        progress = {"step": self.step, "best": self.best, "bad": sorted(self.bad)}
        write_weights(self.run.folder / CHECKPOINT, tensors, {"progress": json.dumps(progress)})
        self.watch(row)

    def _restore(self) -> None:
        """Go back to the last checkpoint: weights, optimiser and step; every random draw follows from the step."""
        tensors = read_weights(self.run.folder / CHECKPOINT)
        metadata = read_metadata(self.run.folder / CHECKPOINT)
        if "progress" not in metadata:
            raise RunError(
                f"{self.run.folder / CHECKPOINT} is no checkpoint of clipft; delete it to begin again"
            )
        progress = json.loads(metadata["progress"])
        self.step, self.best, self.bad = progress["step"], progress["best"], set(progress["bad"])
        for key, module in (("student.", self.student), ("average.", self.kept)):
            mine = {
                name.removeprefix(key): t for name, t in tensors.items() if name.startswith(key)
            }
            if mine:
                module.load_state_dict(mine)
        state: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith("optimizer."):
                _, index, key = name.split(".")
                state.setdefault(int(index), {})[key] = tensor
        self.optimizer.load_state_dict(
            {"state": state, "param_groups": self.optimizer.state_dict()["param_groups"]}
        )
