"""The gradient of a batch's loss, the batch whole or in parts that fit into memory.

    per image:  dL = sum_p |p| / |B| dL_p,   L a mean over images, each part through the model once
    else:       dL = sum_p <dL/dE_p, dE_p>,  E the embeddings of a first pass, kept without a graph

The second is exact for a loss that couples the images of a batch, as a contrastive one does.
Several ranks have a part of the batch each: of a mean each computes its own, weighted by images, of
a loss that couples them that of all embeddings. Then the gradients of all ranks are added.
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
from ..inputs.ranks import Ranks
from ..inputs.seeds import drawing
from ..methods import Method
from ..objectives.loss import loss_terms
from ..objectives.step import Step
from .observer import Embedded, Held, Observer, Shown

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
        is_whole = len(parts) == 1
        if self.method.is_mean or (is_whole and self.ranks.is_alone):
            terms = self._once(parts, shown.images, step)
        elif is_whole:
            terms = self._coupled(shown, step)
        else:
            terms = self._twice(shown, parts, step)
        self.ranks.add_gradients(self.observe.weights())
        return terms

    @property
    def ranks(self) -> Ranks:
        """Those that share a batch."""
        return self.observe.ranks

    def _once(self, parts: list[Shown], images: int, step: int) -> Terms:
        """Each part through the model, its loss weighted by its part of so many images."""
        whole: Terms = {}
        for number, part in enumerate(parts):
            with self._drawing(step, number):
                terms = self._terms(self.observe.seen(part.counted()))
            share = len(part.labels) / images
            self.fabric.backward(share * total(terms))
            for name, term in terms.items():
                whole[name] = whole.get(name, 0) + share * term.detach()
        return whole

    def _coupled(self, shown: Shown, step: int) -> Terms:
        """This rank's part through the model, the loss of the embeddings of all."""
        with self._drawing(step):
            embedded = self.observe.embed(shown).coupled(shown, self.ranks)
        terms = self._shared(shown, embedded, self.observe.held(shown), step)
        return {name: term.detach() for name, term in terms.items()}

    def _shared(self, shown: Shown, embedded: Embedded, held: Held, step: int) -> Terms:
        """A rank's share of the loss of the embeddings of all, of which the gradient is added."""
        held = held.of_all(shown, self.ranks)
        with self._drawing(step, of_all=True):
            terms = self._terms(self.observe.seen(shown.of_all(), embedded, held))
        shares = {name: term / self.ranks.count for name, term in terms.items()}
        self.fabric.backward(total(shares))
        return shares

    def _twice(self, shown: Shown, parts: list[Shown], step: int) -> Terms:
        """The loss of all embeddings, then its gradient to each part's through the model."""
        embedded = []
        held = []
        for number, part in enumerate(parts):
            with self._drawing(step, number), torch.no_grad():
                embedded.append(self.observe.embed(part))
            held.append(self.observe.held(part))
        leaves = Embedded.join(embedded).coupled(shown, self.ranks)
        for leaf in leaves.tensors():
            leaf.requires_grad_()
        terms = self._shared(shown, leaves, Held.join(held), step)

        reads_texts = self.method.trains == "both"
        own = leaves.gradients().own(shown, self.ranks)
        gradients = own.parts([len(part.labels) for part in parts])
        for number, (part, gradient) in enumerate(zip(parts, gradients, strict=True)):
            if not reads_texts:
                nothing = {"captions": None, "class_captions": None, "spurious": None}
                part = replace(part, **nothing)  # noqa: PLW2901
            with self._drawing(step, number):
                again = self.observe.embed(part)
            self.fabric.backward(again.product(gradient))
        return {name: term.detach() for name, term in terms.items()}

    def _terms(self, seen: Step) -> Terms:
        return loss_terms(self.method, seen, self.config.lam, **self.config.options)

    def _drawing(
        self, step: int, part: int = 0, *, of_all: bool = False
    ) -> AbstractContextManager[None]:
        """Dropout and the like follow from the step, so that a resumed run repeats them; of_all:
        alike in all ranks.
        """
        purpose = f"forward:{step}.{part}" if part else f"forward:{step}"
        if self.ranks.rank and not of_all:
            purpose += f"@{self.ranks.rank}"
        return drawing(self.config.seed, purpose, self.fabric.device)


def total(terms: Terms) -> Tensor:
    """What is minimised."""
    return torch.stack(list(terms.values())).sum()
