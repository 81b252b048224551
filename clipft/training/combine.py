"""Post-hoc methods on finished runs: a new run folder, which is scored, mixed, exported and shown
like any other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from ..config import Reading
from ..data.splits import Split
from ..diagnostics.energies import energy_vectors, unit
from ..evaluation.bench import Bench
from ..evaluation.predictions import ChosenBy, logits_of, validate_on
from ..evaluation.recorder import record_weights, recorded
from ..inputs.batches import Batch, Pixels, Stream, train_batches
from ..inputs.seeds import rng
from ..models.checkpoints import write_weights
from ..models.embeddings import ROWS, embed, extract
from ..models.students import TwoTowers
from ..posthoc.weights import Weights, check_same_shape
from ..runs.checks import Combination, check_combination, combination
from ..runs.made import COMBINING
from ..runs.run import After, Run


def combine(
    name: str,
    runs: Sequence[Run | Path | str],
    options: dict[str, Any] | None = None,
    reading: Reading | None = None,
) -> Run:
    """Apply a post-hoc method to finished runs: a new run beside them.

    All choices are made on the first run's selection split, held-out reference images by default.
    The zero-shot model of the new run is that of its members. It is made once: the same call finds
    it.

    Arguments:
        name: a post-hoc method of `clipft methods`, or its preset.
        runs: one or several, or their folder.
        options: of the method.
        reading: how images are read.

    Returns:
        The new run.

    Raises:
        ConfigError: for an unknown method or option, or runs that do not belong together.
        RunError: for a run that is not finished or is an ensemble.
        WeightsError: where weights differ in name or shape.

    Example:
        >>> soup = clipft.combine("uniform_soup", clipft.open_runs("runs"))
        >>> soup.name.after, len(soup.members)
        (('uniform_soup',), 2)
    """
    given = combination(name, runs, options or {})
    method = given.method
    first = given.members[0]
    after = given.after
    folder = given.folder
    with folder.lock():
        if given.is_made:
            return Run.open(folder)
        folder.begin_anew()
        look = reading or Reading()
        check_combination(given, skip_bad=look.skip_bad, progress=look.progress)
        bench = Bench.of(first, look)
        start = bench.student(first.config).state_dict()
        weights = [bench.tuned(member) for member in given.members]
        for tuned in weights:
            check_same_shape(start, tuned)

        held_out = HeldOutImages(bench, first)
        with recorded(folder, bench.device, COMBINING):
            options = dict(method.options) | after.options
            outcome = method.load()(start, weights, held_out, **options)
        after = _keep(given, outcome, held_out)
        title = first.name.then(method.name).title
        folder.write_manifest(bench.manifest.copy_for_run())
        changes = {"after": after.model_dump(mode="json"), "title": title}
        folder.write_config(first.folder.config() | changes)  # last: now it is finished
    return Run.open(folder)


def _keep(given: Combination, outcome: Any, held_out: HeldOutImages) -> After:
    """Write what a method made; what is recorded of it: of an ensemble the members it kept."""
    folder = given.folder
    after = given.after
    if given.method.rule is not None:
        write_weights(folder.mixture_file, outcome)
        record_weights(folder, folder.mixture_file)
    elif given.method.ensemble:
        chosen = tuple(after.members[position] for position in outcome)
        after = after.model_copy(update={"members": chosen})
    else:
        write_weights(folder.weights_file, outcome)
        record_weights(folder, folder.weights_file)
        if held_out.is_there:
            folder.log({"step": 0, "val_accuracy": held_out.accuracy(outcome)})
    return after


NumberedBatch = tuple[int, Batch]


class HeldOutImages:
    """The selection split of a run as questions about weights, see `posthoc.held_out.HeldOut`."""

    def __init__(self, bench: Bench, run: Run):
        self.student = bench.student(run.config).eval()
        self._bench = bench
        self._config = run.config
        self._seed = run.config.seed

    @property
    def is_there(self) -> bool:
        """Whether there is any such image; without, only what asks none can be made."""
        return self._bench.has_selection(self._config)

    @cached_property
    def split(self) -> Split:
        """The rows; raises ConfigError where there are none."""
        return self._bench.selection_split(self._config)

    @cached_property
    def _pixels(self) -> Pixels:
        transform = self._bench.selection_transform(self._config)
        return Pixels(self.split, transform, self._bench.reading)

    @cached_property
    def _chosen_by(self) -> ChosenBy:
        return self._bench.chosen_by(self._config)

    @property
    def labels(self) -> Tensor:
        """(N,), in the order of `logits`."""
        return torch.tensor(self.split.labels)

    @property
    def parameters(self) -> set[str]:
        """Names of the student's parameters; what else it has are buffers."""
        return {name for name, _ in self.student.named_parameters()}

    def accuracy(self, weights: Weights) -> float:
        """What the data set is scored by, a fraction."""
        self.student.load_state_dict(weights)
        return validate_on(self.student, self._pixels, self._chosen_by).accuracy

    def logits(self, weights: Weights) -> Tensor:
        """(N, C)."""
        self.student.load_state_dict(weights)
        return torch.cat([logits_of(self.student, chunk.pixels).cpu() for chunk in self._pixels])

    @torch.inference_mode()
    def outputs(self, weights: Weights) -> tuple[Tensor, Tensor]:
        """Unit embeddings (N, D), and `logits`."""
        self.student.load_state_dict(weights)
        embeddings = torch.cat([embed(self.student, chunk.pixels) for chunk in self._pixels])
        return unit(embeddings).cpu(), self.student.logits(embeddings).float().cpu()

    @torch.inference_mode()
    def train_features(self, weights: Weights) -> tuple[Tensor, Tensor]:
        """Unit embeddings (M, D) of the images trained on, and which are predicted rightly (M,);
        from the cache if they are there.
        """
        self.student.load_state_dict(weights)
        split = self._bench.train_split(self._config)
        features = extract(self.student, split, self._bench.reading)
        embeddings = torch.from_numpy(features.embeddings)
        labels = torch.from_numpy(features.label)
        weight, bias = self.student.linear()
        right = []
        for rows in torch.arange(len(labels)).split(ROWS):
            scores = unit(embeddings[rows].to(weight.device)) @ weight + bias
            right.append(scores.argmax(-1).cpu() == labels[rows])
        return unit(embeddings), torch.cat(right)

    def batches(self, size: int, steps: int) -> Iterator[NumberedBatch]:
        """`steps` numbered batches of shuffled images, not augmented, drawn by the run's seed."""
        stream = Stream(len(self.split), size, range(steps), self._seed)
        transform = self._bench.selection_transform(self._config)
        yield from enumerate(train_batches(self.split, transform, stream, self._bench.reading))

    def loss(self, weights: Weights, batch: NumberedBatch) -> Tensor:
        """Mean cross-entropy of the batch, with gradient to the weights; no model is copied."""
        _, images = batch
        logits = self._logits(weights, batch)
        return F.cross_entropy(logits, images.labels.to(logits.device))

    def sampled_loss(self, weights: Weights, batch: NumberedBatch) -> Tensor:
        """The same with labels drawn from the model's own predictions."""
        number, _ = batch
        logits = self._logits(weights, batch)
        chances = logits.detach().softmax(-1).cpu()
        draw = rng(self._seed, f"fisher:{number}")
        labels = torch.multinomial(chances, 1, generator=draw)[:, 0]
        return F.cross_entropy(logits, labels.to(logits.device))

    def _logits(self, weights: Weights, batch: NumberedBatch) -> Tensor:
        number, images = batch
        named = {f"student.{name}": tensor for name, tensor in weights.items()}
        pixels = images.pixels.to(self._bench.device)
        return functional_call(_Logits(self.student), named, (pixels, number))


class _Logits(nn.Module):
    """Images to logits with gradient to every weight. A head that is built from the text tower is
    built from one template per call: all of them at once would cost a pass over classes times
    templates texts.
    """

    def __init__(self, student: nn.Module):
        super().__init__()
        self.student: Any = student

    def forward(self, pixels: Tensor, number: int) -> Tensor:
        """uint8 (B, 3, H, W), number of the batch -> logits (B, C)."""
        if not isinstance(self.student, TwoTowers):
            return self.student.logits(self.student(pixels)[0])
        prompts = self.student.prompts
        template = number % prompts.shape[1]
        images, _, class_rows, _ = self.student(pixels, None, prompts[:, template])
        return energy_vectors(unit(images), class_rows, self.student.scale)
