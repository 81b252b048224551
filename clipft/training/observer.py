"""From a batch of pixels to what an objective sees of it: only what the method needs is computed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..diagnostics.energies import energy_vectors, unit
from ..inputs.draws import rng
from ..inputs.prompts import random_texts
from ..objectives.step import Step

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lightning_fabric import Fabric
    from torch import Generator, Tensor, nn

    from ..inputs.batches import Batch
    from ..runs.run import Run


class Observer:
    """Makes the Step of a batch; every random draw follows from the step's number, so a resumed run repeats it."""

    def __init__(self, run: Run, module: nn.Module, fabric: Fabric, trained: Mapping[str, Tensor]):
        self.run, self.module, self.fabric, self.trained = run, module, fabric, trained
        self.config, self.method, self.needs = run.config, run.method, run.method.needs
        self.captions = run.captions() if self.needs & {"captions", "class_captions"} else None
        self.start = (
            {name: run.anchor[name].clone() for name in trained}
            if "weights" in self.needs
            else None
        )
        self.context = run.clip.context_head(run.prompts) if "context" in self.needs else None

    def __call__(self, batch: Batch, domains: Sequence[str], step: int) -> Step:
        """domains (B) of the images: captions are drawn by them."""
        device, labels = self.fabric.device, batch.labels
        pixels = batch.pixels.to(device)
        captions = classes = anchor = texts = None
        if "captions" in self.needs:
            captions = self._caption(labels.tolist(), domains, f"captions:{step}")
        if "class_captions" in self.needs:
            count = len(self.run.manifest.names)
            classes = self._caption(
                range(count), [self.run.reference] * count, f"class_captions:{step}"
            )
        if "random_texts" in self.needs:
            clip, (count, length) = self.run.clip, (self.config.text_count, self.config.text_length)
            draw = rng(self.config.seed, f"random_texts:{step}")
            texts = clip.embed_texts(
                random_texts(clip.tokenizer, count, length, draw, clip.vocabulary)
            )  # (M, D)
        if "anchor" in self.needs:
            with torch.no_grad(), self.fabric.autocast():
                anchor = self.run.clip.model.encode_image(
                    self.run.student.pixels(pixels)
                ).float()  # (B, D)
        images, captions, classes = self.module(pixels, captions, classes)  # (B, D), (B, D), (C, D)
        seen = Step(
            images,
            labels.to(device),
            self.run.student.scale,
            None,
            anchor,
            None,
            self.context,
            texts,
            captions,
        )
        if classes is not None:
            seen.logits = energy_vectors(unit(images), classes, seen.scale)  # (B, C)
        elif self.method.uses_cross_entropy:
            seen.logits = self.run.student.logits(images)  # (B, C)
        if anchor is not None:
            seen.zero_shot = self.run.zero_shot
        if self.start is not None:
            seen.weights, seen.start = self.trained, self.start
        return seen

    def _caption(self, labels: Sequence[int], domains: Sequence[str], purpose: str) -> Tensor:
        """Tokens (N, context) of a caption for each label, by the run's setting `captions`."""
        draw: Generator | None = (
            rng(self.config.seed, purpose) if self.config.captions == "sampled" else None
        )
        return self.captions.draw(labels, domains, draw).to(self.fabric.device)
