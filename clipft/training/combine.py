"""Post-hoc methods on finished runs: a new run folder, which is scored, mixed, exported and shown like any other."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from ..config import digest
from ..diagnostics.energies import energy_vectors, unit
from ..disk.files import append_json, read_json, write_json
from ..disk.lock import lock
from ..errors import ConfigError, RunError
from ..evaluation.score import accuracy_on, logits_of
from ..inputs.batches import Pixels, train_batches
from ..inputs.draws import rng
from ..models.checkpoints import write_weights
from ..models.load import pick_device
from ..models.students import TwoTowers
from ..posthoc.registry import POSTHOC
from ..posthoc.weights import check_same_shape
from ..runs.recipes import load_preset
from ..runs.run import After, Run

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import Tensor

    from ..inputs.batches import Batch
    from ..posthoc.weights import Weights

# of runs that can be combined; the digests are of the zero-shot weights and of the data set
ALIKE = ("manifest", "manifest_digest", "reference", "model", "model_digest", "head", "selection")


def combine(
    name: str,
    runs: Sequence[Run | Path | str],
    options: dict[str, Any] | None = None,
    workers: int = 0,
    device="auto",
) -> Run:
    """Apply a post-hoc method of `clipft methods`, or its preset, to finished runs; returns the new run beside them.

    All choices are made on the first run's selection split, held-out reference images by default. The zero-shot model
    of the new run is that of its members. It is made once: the same call finds it. Raises ConfigError for an unknown
    method or option or runs that do not belong together, RunError for one that is not finished or is an ensemble,
    WeightsError where weights differ in name or shape.
    """
    if "/" in name:
        preset = load_preset(name)
        if not preset.after:
            raise ConfigError(
                f"{name} is a recipe to train; use it so: clipft train --preset {name}"
            )
        name, options = preset.after, preset.settings | (options or {})
    entry, options = POSTHOC[name], options or {}
    members = [run if isinstance(run, Run) else Run.open(run, pick_device(device)) for run in runs]
    entry.check(len(members), options)
    first, origins = members[0], [read_json(run.folder / "config.json") for run in members]
    _check_alike(members, origins)
    of = () if first.after is None else (*first.after.of, first.after.name)
    names = tuple(run.folder.name for run in members)
    after = After(name=name, options=options, of=of, among=len(names), members=names)
    folder = first.folder.parent / digest([first.config.id, after.model_dump(mode="json")])
    with lock(folder):
        if (folder / "config.json").exists():
            return Run.open(folder, first.device)
        weights = [run.tuned for run in members]
        first.check_origin(origins[0])
        for tuned in weights:
            check_same_shape(first.anchor, tuned)
        held = HeldOutImages(first, workers)
        found = entry.apply(first.anchor, weights, held, **(entry.options | options))
        if entry.ensemble:
            after = after.model_copy(update={"members": tuple(after.members[k] for k in found)})
        else:
            write_weights(folder / "weights.safetensors", found)
            append_json(folder / "metrics.jsonl", {"step": 0, "val_accuracy": held.accuracy(found)})
        recorded = origins[0] | {"after": after.model_dump(mode="json")}
        write_json(folder / "config.json", recorded)  # last: now it is finished
    return Run(first.config, folder, first.device, after)


def _check_alike(members: Sequence[Run], origins: Sequence[dict]) -> None:
    for run, origin in zip(members, origins, strict=True):
        if run.is_ensemble:
            raise RunError(
                f"{run.folder} is an ensemble and has no weights; combine its members instead"
            )
        for key in ALIKE:
            mine, theirs = origins[0].get(key), origin.get(key)
            if mine != theirs:
                raise ConfigError(
                    f"{run.folder} has {key} {theirs!r}, {members[0].folder} {mine!r}; keep to one"
                )
        if run.folder.parent.resolve() != members[0].folder.parent.resolve():
            raise ConfigError(
                f"{run.folder} lies beside other runs than {members[0].folder}; use one folder"
            )


class HeldOutImages:
    """The selection split of a run as questions about weights, see `posthoc.registry.HeldOut`."""

    def __init__(self, run: Run, workers: int = 0):
        self.run, self.workers, self.split = run, workers, run.selection_split()
        self.student = run.student.eval()

    @cached_property
    def _pixels(self) -> Pixels:
        return Pixels(self.split, self.run.clip.transform, self.workers)

    @property
    def labels(self) -> Tensor:
        """(N,), in the order of `logits`."""
        return torch.tensor(self.split.labels)

    def accuracy(self, weights: Weights) -> float:
        """Top-1 accuracy, a fraction."""
        self.student.load_state_dict(weights)
        return accuracy_on(self.student, self._pixels)

    def logits(self, weights: Weights) -> Tensor:
        """(N, C)."""
        self.student.load_state_dict(weights)
        return torch.cat([logits_of(self.student, chunk.pixels).cpu() for chunk in self._pixels])

    def batches(self, size: int, steps: int) -> Iterable[tuple[int, Batch]]:
        """`steps` numbered batches of shuffled images, not augmented, drawn by the run's seed."""
        transform, seed = self.run.clip.transform, self.run.config.seed
        return enumerate(
            train_batches(self.split, transform, size, range(steps), seed, self.workers)
        )

    def loss(self, weights: Weights, batch: tuple[int, Batch]) -> Tensor:
        """Cross-entropy, mean over the batch, with gradient to the weights; no copy of the model is made."""
        return self._loss(weights, batch, batch[1].labels.to(self.run.device))

    def sampled_loss(self, weights: Weights, batch: tuple[int, Batch]) -> Tensor:
        """The same with labels drawn from the model's own predictions."""
        return self._loss(weights, batch, None)

    def _loss(self, weights: Weights, batch: tuple[int, Batch], labels: Tensor | None) -> Tensor:
        number, images = batch
        given = {f"student.{name}": tensor for name, tensor in weights.items()}
        logits = functional_call(
            _Logits(self.student), given, (images.pixels.to(self.run.device), number)
        )
        if labels is None:
            draw = rng(self.run.config.seed, f"fisher:{number}")
            labels = torch.multinomial(logits.detach().softmax(-1).cpu(), 1, generator=draw)[
                :, 0
            ].to(logits.device)
        return F.cross_entropy(logits, labels)


class _Logits(nn.Module):
    """Images to logits with gradient to every weight. A head that is built from the text tower is built from one
    template per call: all of them at once would cost a pass over classes times templates texts."""

    def __init__(self, student: nn.Module):
        super().__init__()
        self.student = student

    def forward(self, pixels: Tensor, number: int) -> Tensor:
        if not isinstance(self.student, TwoTowers):
            return self.student.logits(self.student(pixels)[0])
        prompts = self.student.prompts
        images, _, classes = self.student(pixels, None, prompts[:, number % prompts.shape[1]])
        return energy_vectors(unit(images), classes, self.student.scale)
