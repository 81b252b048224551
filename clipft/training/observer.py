"""From a batch of pixels to what an objective sees of it: only what the method needs is
computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Generator, Tensor

from ..config import RunConfig
from ..data.splits import Split
from ..diagnostics.energies import energy_vectors, unit
from ..evaluation.bench import Bench
from ..inputs.batches import Batch, to_device
from ..inputs.prompts import random_texts
from ..inputs.seeds import rng
from ..methods import METHODS
from ..objectives.step import ABSENT, Step
from ..runs.protocol import protocol_of
from ..runs.rows import reference_of
from .state import State, trained_tensors


class Observer:
    """Makes a batch's Step; all draws follow from the step's number, a resumed run repeats them."""

    def __init__(self, bench: Bench, config: RunConfig, state: State, fabric: Fabric, split: Split):
        self._bench = bench
        self._config = config
        self._student = state.student
        self._module = state.module
        self._fabric = fabric
        self._split = split
        self._method = METHODS[config.method]
        needs = self._method.needs
        self._captions = None
        if needs & {"captions", "class_captions"}:
            self._captions = bench.captions()
        self._context = ABSENT
        self._weights = ABSENT
        self._start = ABSENT
        if "context" in needs:
            self._context = bench.clip.context_head(bench.prompts)
        if "weights" in needs:
            self._weights = trained_tensors(state.student)
            theta0 = bench.student(config).state_dict()
            self._start = {name: theta0[name].clone() for name in self._weights}

    def __call__(self, batch: Batch, step: int) -> Step:
        """What the method sees of the batch of this step."""
        needs = self._method.needs
        pixels = to_device(batch.pixels, self._fabric.device)
        # Each draw has its own seed, so the order of what follows draws nothing else.
        captions = self._image_captions(batch, step) if "captions" in needs else ABSENT
        class_captions = self._class_captions(step) if "class_captions" in needs else ABSENT
        texts = self._random_texts(step) if "random_texts" in needs else ABSENT
        anchor = self._anchor(pixels) if "anchor" in needs else ABSENT

        images, caption_rows, class_rows = self._module(pixels, captions, class_captions)
        scale: Any = self._student.scale
        return Step(
            images=images,  # (B, D)
            labels=to_device(batch.labels, self._fabric.device),
            scale=scale,
            logits=self._logits(images, class_rows, scale),
            anchor=anchor,
            zero_shot=ABSENT if anchor is ABSENT else self._bench.zero_shot,
            context=self._context,
            random_texts=texts,
            captions=caption_rows,  # (B, D)
            weights=self._weights,
            start=self._start,
        )

    def _logits(self, images: Tensor, class_rows: Tensor | None, scale: Tensor | float) -> Tensor:
        """(B, C) of this step's captions, or of the trained head where cross-entropy is a term."""
        if class_rows is not None:
            return energy_vectors(unit(images), class_rows, scale)
        return self._student.logits(images) if self._method.uses_cross_entropy else ABSENT

    def _anchor(self, pixels: Tensor) -> Tensor:
        """(B, D) the same images through theta0."""
        with torch.no_grad(), self._fabric.autocast():
            normalised = self._student.pixels(pixels)
            return self._bench.clip.model.encode_image(normalised).float()

    def _random_texts(self, step: int) -> Tensor:
        """(M, D) unit rows of fresh random texts."""
        clip = self._bench.clip
        config = self._config
        draw = rng(config.seed, f"random_texts:{step}")
        tokens = random_texts(
            clip.tokenizer, config.text_count, config.text_length, draw, clip.vocabulary
        )
        return clip.embed_texts(tokens)

    def _image_captions(self, batch: Batch, step: int) -> Tensor:
        """Tokens (B, context) of a caption for each image, drawn by its domain."""
        if protocol_of(self._config).drawn_once:
            return self._captions_of_all[batch.rows].to(self._fabric.device)
        domains = [self._split.domain_of(row) for row in batch.rows.tolist()]
        return self._caption_tokens(batch.labels.tolist(), domains, f"captions:{step}")

    @cached_property
    def _captions_of_all(self) -> Tensor:
        """Tokens (N, context) of a caption for each row of the training split, drawn once."""
        domains = [self._split.domain_of(row) for row in range(len(self._split))]
        return self._caption_tokens(self._split.labels, domains, "captions of all")

    def _class_captions(self, step: int) -> Tensor:
        """Tokens (C, context) of a caption for each class."""
        count = len(self._bench.manifest.names)
        domains = [reference_of(self._config, self._bench.manifest)] * count
        return self._caption_tokens(range(count), domains, f"class_captions:{step}")

    def _caption_tokens(
        self, labels: Sequence[int], domains: Sequence[str], purpose: str
    ) -> Tensor:
        """Tokens (N, context) of a caption for each label, by the run's setting `captions`."""
        draw: Generator | None = None
        if self._config.captions == "sampled":
            draw = rng(self._config.seed, purpose)
        assert self._captions is not None
        return self._captions.draw(labels, domains, draw).to(self._fabric.device)
