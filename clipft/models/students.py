"""TODO: docstring."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..diagnostics.energies import unit
from ..errors import ConfigError
from .load import Clip


class Student(nn.Module):
    """What is trained and what is measured: images to embeddings (`forward`), embeddings to `logits`.

    `transform` makes its input of a decoded image; `preprocessing` names it.
    """

    clamped = False

    def __init__(self, clip: Clip):
        super().__init__()
        self.transform, self.preprocessing = clip.transform, clip.config["preprocess_cfg"]
        preprocess = self.preprocessing
        for name in ("mean", "std"):
            self.register_buffer(
                name, torch.tensor(preprocess[name]).view(3, 1, 1) * 255, persistent=False
            )

    def pixels(self, images: Tensor) -> Tensor:
        """uint8 (B, 3, H, W) -> normalised floats: (x / 255 - mean) / std."""
        return (images.float() - self.mean) / self.std

    def tower(self, visual: nn.Module, images: Tensor) -> Tensor:
        """uint8 images -> embeddings before normalising (B, D); CoCa's tower gives its tokens too."""
        embedded = visual(self.pixels(images))
        return embedded[0] if isinstance(embedded, tuple) else embedded

    @torch.no_grad()
    def clamp(self) -> None:
        """Keep a clamped scale between 1 and 100, as CLIP's pre-training does; called after every step."""
        if self.clamped:
            self.logit_scale.clamp_(0, math.log(100))


class Classifier(Student):
    """Vision tower and a trained head (D, C) in one of two conventions, which Adam makes different methods.

    fixed: logits s f W, W starts at unit columns, s of the pre-training unless `logit_scale` is trained.
    absorbed: logits f W + b, W starts at s W0 and b at 0.
    """

    def __init__(
        self, clip: Clip, head: Tensor, convention: str = "fixed", logit_scale: str = "frozen"
    ):
        super().__init__(clip)
        self.visual = copy.deepcopy(clip.model.visual).requires_grad_(True)
        absorbed, trained = (
            convention == "absorbed",
            convention == "fixed" and logit_scale != "frozen",
        )
        self.weight = nn.Parameter(clip.scale * head if absorbed else head.clone())
        self.bias = nn.Parameter(torch.zeros_like(head[0])) if absorbed else None
        self.logit_scale = (
            nn.Parameter(clip.model.logit_scale.detach().clone()) if trained else None
        )
        self.scale, self.clamped = clip.scale, logit_scale == "clamped"  # scale: the pre-trained s

    def linear(self) -> tuple[Tensor, Tensor]:
        """The head as it acts on unit embeddings, scale included: weight (D, C), bias (C,)."""
        if self.bias is not None:
            return self.weight, self.bias
        scale = self.scale if self.logit_scale is None else self.logit_scale.exp()
        return scale * self.weight, torch.zeros_like(self.weight[0])

    @torch.no_grad()
    def start_from(self, weight: Tensor, bias: Tensor) -> None:
        """Set the head to one that is given as by `linear`; raises ConfigError for a bias in convention fixed."""
        if self.bias is None and bias.any():
            raise ConfigError(
                "this head has a bias, which head=fixed has not; train with head=absorbed"
            )
        self.weight.copy_(weight if self.bias is not None else weight / self.scale)
        if self.bias is not None:
            self.bias.copy_(bias)

    def logits(self, images: Tensor) -> Tensor:
        """Embeddings (B, D), not normalised -> logits (B, C)."""
        if self.bias is not None:
            return unit(images) @ self.weight + self.bias
        return (
            (self.scale if self.logit_scale is None else self.logit_scale.exp())
            * unit(images)
            @ self.weight
        )

    def forward(self, images: Tensor, *texts: Tensor | None) -> tuple[Tensor, None, None]:
        """uint8 images -> embeddings before normalising (B, D), which pass as they are; this model reads no texts."""
        embedded = images if images.is_floating_point() else self.tower(self.visual, images)
        return embedded, None, None


class TwoTowers(Student):
    """Both towers and the scale; the head is rebuilt from the text tower whenever it is asked for."""

    def __init__(
        self, clip: Clip, prompts: Tensor, frozen_text: bool = False, logit_scale: str = "trained"
    ):
        super().__init__(clip)
        self.clip = copy.deepcopy(clip.model).requires_grad_(not frozen_text)
        self.clip.visual.requires_grad_(True)
        self.clip.logit_scale.requires_grad_(logit_scale != "frozen")
        self.clamped = logit_scale == "clamped"
        self._view = replace(clip, model=self.clip)
        self.register_buffer("prompts", prompts, persistent=False)

    @property
    def scale(self) -> Tensor:
        """exp(logit_scale), trained."""
        return self.clip.logit_scale.exp()

    @property
    def logit_scale(self) -> nn.Parameter:
        """ln s."""
        return self.clip.logit_scale

    def linear(self) -> tuple[Tensor, Tensor]:
        """The head of the present text tower as it acts on unit embeddings, scale included: (D, C), zeros (C,)."""
        weight = self.scale.detach() * self._view.zero_shot_head(self.prompts)
        return weight, torch.zeros_like(weight[0])

    def logits(self, images: Tensor) -> Tensor:
        """Embeddings (B, D), not normalised -> s f W (B, C); no gradient to the texts."""
        return unit(images) @ self.linear()[0]

    def forward(
        self, images: Tensor, captions: Tensor | None = None, classes: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """uint8 images, tokens of captions and classes -> embeddings (B, D); unit rows (B, D) and (C, D)."""
        texts = (
            None if tokens is None else unit(self.clip.encode_text(tokens))
            for tokens in (captions, classes)
        )
        return self.tower(self.clip.visual, images), *texts
