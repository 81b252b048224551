"""The gradient of a batch's loss, the batch whole or in parts that fit into memory.

    per image:  dL = sum_p |p| / |B| dL_p,   L a mean over images, each part through the model once
    else:       dL = sum_p <dL/dE_p, dE_p>,  E the embeddings of a first pass, kept without a graph

The second is exact for a loss that couples the images of a batch, as a contrastive one does.
Source: Gao et al., GradCache, arXiv:2101.06983.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import torch
from lightning_fabric import Fabric
from torch import Tensor

from ..config import RunConfig
from ..inputs.batches import Batch
from ..inputs.seeds import drawing
from ..methods import Method
from ..objectives.loss import loss_terms
from ..objectives.step import ABSENT, Step
from .observer import Embedded, Observer, Shown

Terms = dict[str, Tensor]  # of the loss, weighted, by name


@dataclass(frozen=True)
class Gradients:
    """Adds the gradient of a batch's loss to the weights."""

    config: RunConfig
    method: Method
    fabric: Fabric
    observe: Observer

    def of(self, batch: Batch, step: int) -> Terms:
        """The terms of the loss of this step's batch, whose gradient was added."""
        shown = self.observe.shown(batch, step)
        parts = shown.parts(self.config.accumulate)
        if len(parts) == 1 or self.method.is_mean:
            return self._once(parts, step)
        return self._twice(shown, parts, step)

    def _once(self, parts: list[Shown], step: int) -> Terms:
        """Each part through the model, its loss weighted by how many images it has."""
        images = sum(len(part.labels) for part in parts)
        whole: Terms = {}
        for number, part in enumerate(parts):
            with self._drawing(step, number):
                terms = self._terms(self.observe.seen(part))
            share = len(part.labels) / images
            self.fabric.backward(share * total(terms))
            for name, term in terms.items():
                whole[name] = whole.get(name, 0) + share * term.detach()
        return whole

    def _twice(self, shown: Shown, parts: list[Shown], step: int) -> Terms:
        """The loss of all embeddings, then its gradient to each part's through the model."""
        embedded = []
        anchors = []
        for number, part in enumerate(parts):
            with self._drawing(step, number), torch.no_grad():
                embedded.append(self.observe.embed(part))
            anchors.append(self.observe.anchor(part))
        leaves = Embedded.join(embedded)
        for leaf in leaves.tensors():
            leaf.requires_grad_()

        with self._drawing(step):
            anchor = ABSENT if anchors[0] is ABSENT else torch.cat(anchors)
            terms = self._terms(self.observe.seen(shown, leaves, anchor))
        self.fabric.backward(total(terms))

        reads_texts = self.method.trains == "both"
        gradients = leaves.gradients().parts([len(part.labels) for part in parts])
        for number, (part, gradient) in enumerate(zip(parts, gradients, strict=True)):
            if not reads_texts:
                part = replace(part, captions=None, class_captions=None)  # noqa: PLW2901
            with self._drawing(step, number):
                again = self.observe.embed(part)
            self.fabric.backward(again.product(gradient))
        return {name: term.detach() for name, term in terms.items()}

    def _terms(self, seen: Step) -> Terms:
        return loss_terms(self.method, seen, self.config.lam, **self.config.options)

    def _drawing(self, step: int, part: int = 0) -> AbstractContextManager[None]:
        """Dropout and the like follow from the step, so that a resumed run repeats them."""
        purpose = f"forward:{step}.{part}" if part else f"forward:{step}"
        return drawing(self.config.seed, purpose, self.fabric.device)


def total(terms: Terms) -> Tensor:
    """What is minimised."""
    return torch.stack(list(terms.values())).sum()
