"""What is trained and measured: a vision tower with a linear head, or both towers of a CLIP."""

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..config import Precision
from ..diagnostics.energies import unit
from ..errors import ConfigError
from .clip import Clip
from .text_tower import encode_texts


class Student(nn.Module):
    """Images to embeddings (`forward`), embeddings to `logits`, and the head itself (`linear`).

    `transform` makes its input of a decoded image; `preprocessing` names it. `precision`: in which
    it is evaluated, see `embeddings.embed`. `compiled`: its vision tower's forward pass in
    training, where that is compiled.
    """

    clamped = False
    precision: Precision = "32-true"
    most_images: int | None = None  # of a forward pass, once its device had no room for more
    compiled: Callable[[Tensor], Any] | None = None
    mean: Tensor
    std: Tensor

    def __init__(self, clip: Clip):
        super().__init__()
        self.transform = clip.transform
        self.preprocessing = clip.config["preprocess_cfg"]
        self.activation = clip.activation
        for name in ("mean", "std"):
            values = torch.tensor(self.preprocessing[name]).view(3, 1, 1) * 255
            self.register_buffer(name, values, persistent=False)

    def train(self, mode: bool = True) -> Self:  # noqa: FBT001, FBT002
        """For training; a BatchNorm of which nothing trains counts no statistics, either."""
        super().train(mode)
        for module in self.modules():
            weights = [*module.parameters()] if isinstance(module, _BatchNorm) else []
            if weights and not any(weight.requires_grad for weight in weights):
                module.eval()
        return self

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self.mean.device

    def linear(self) -> tuple[Tensor, Tensor]:
        """The head as it acts on unit embeddings, scale included: weight (D, C), bias (C,)."""
        raise NotImplementedError

    def logits(self, images: Tensor) -> Tensor:
        """Embeddings (B, D), not normalised -> logits (B, C)."""
        raise NotImplementedError

    def start_from(self, weight: Tensor, bias: Tensor) -> None:
        """Set the head to one that is given as by `linear`."""
        raise NotImplementedError

    def text_tensors(self) -> set[str]:
        """The names of the parameters of a text tower that makes the head; none without one."""
        return set()

    def pixels(self, images: Tensor) -> Tensor:
        """uint8 (B, 3, H, W) -> normalised floats: (x / 255 - mean) / std."""
        return (images.float() - self.mean) / self.std

    def tower(self, visual: nn.Module, images: Tensor) -> Tensor:
        """uint8 images -> embeddings before normalising (B, D); CoCa's gives its tokens, too."""
        forward = visual
        if self.compiled is not None and torch.is_grad_enabled():
            forward = self.compiled
        embeddings = forward(self.pixels(images))
        return embeddings[0] if isinstance(embeddings, tuple) else embeddings

    def trained_towers(self) -> dict[str, nn.Module]:
        """The towers that training changes, by what they read."""
        raise NotImplementedError

    @torch.no_grad()
    def clamp(self) -> None:
        """Keep a clamped scale between 1 and 100, as CLIP's pre-training does."""
        scale: Any = self.logit_scale
        if self.clamped:
            scale.clamp_(0, math.log(100))


class Classifier(Student):
    """Vision tower and a head (D, C) in one of three conventions.

    fixed: logits s f W, W starts at unit columns, s stays unless `logit_scale` says otherwise.
    absorbed: logits f W + b, W starts at s W0 and b at 0. Adam makes them different methods.
    frozen: as fixed, but neither W nor s trains (Lipsum-FT, arXiv:2404.00860, table 11).
    """

    def __init__(
        self, clip: Clip, head: Tensor, convention: str = "fixed", logit_scale: str = "frozen"
    ):
        super().__init__(clip)
        self.scale = clip.scale  # the pre-trained s
        self.clamped = logit_scale == "clamped"
        self.visual = copy.deepcopy(clip.model.visual).requires_grad_(True)
        self.bias = None
        self.logit_scale = None

        if convention == "absorbed":
            self.weight = nn.Parameter(clip.scale * head)
            self.bias = nn.Parameter(torch.zeros_like(head[0]))
            return
        self.weight = nn.Parameter(head.clone(), requires_grad=convention != "frozen")
        if logit_scale != "frozen":
            self.logit_scale = nn.Parameter(clip.model.logit_scale.detach().clone())

    def trained_towers(self) -> dict[str, nn.Module]:
        """The vision tower."""
        return {"image": self.visual}

    def _present_scale(self) -> float | Tensor:
        """The trained s where it trains, else the pre-trained one."""
        return self.scale if self.logit_scale is None else self.logit_scale.exp()

    def linear(self) -> tuple[Tensor, Tensor]:
        """The head as it acts on unit embeddings, scale included: weight (D, C), bias (C,)."""
        if self.bias is not None:
            return self.weight, self.bias
        return self._present_scale() * self.weight, torch.zeros_like(self.weight[0])

    @torch.no_grad()
    def start_from(self, weight: Tensor, bias: Tensor) -> None:
        """Set the head to one that `linear` gave; raises ConfigError for a bias with head=fixed."""
        if self.bias is not None:
            self.weight.copy_(weight)
            self.bias.copy_(bias)
            return
        if bias.any():
            fault = "this head has a bias, which head=fixed has not"
            raise ConfigError(f"{fault}; train with head=absorbed")
        self.weight.copy_(weight / self.scale)

    def logits(self, images: Tensor) -> Tensor:
        """Embeddings (B, D), not normalised -> logits (B, C)."""
        if self.bias is not None:
            return unit(images) @ self.weight + self.bias
        return self._present_scale() * unit(images) @ self.weight

    def forward(self, images: Tensor, *_texts: Tensor | None) -> tuple[Tensor, None, None, None]:
        """Images (B, 3, H, W), 0 ... 255 -> embeddings before normalising (B, D).

        Embeddings pass as they are; this model reads no texts.
        """
        if images.ndim == 2:
            return images, None, None, None
        return self.tower(self.visual, images), None, None, None


class TwoTowers(Student):
    """Both towers and the scale; the text tower makes the head whenever it is asked for."""

    def __init__(
        self,
        clip: Clip,
        prompts: Tensor,
        *,
        frozen_text: bool = False,
        logit_scale: str = "trained",
    ):
        super().__init__(clip)
        self.clip: Any = copy.deepcopy(clip.model).requires_grad_(not frozen_text)
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

    def text_tensors(self) -> set[str]:
        """The names of the text tower's parameters: all but the vision tower's and the scale."""
        names = {name for name, _ in self.named_parameters()}
        vision = {name for name in names if name.startswith("clip.visual.")}
        return names - vision - {"clip.logit_scale"}

    def trained_towers(self) -> dict[str, nn.Module]:
        """The vision tower, and the text tower where it is not frozen."""
        towers = {"image": self.clip.visual}
        if any(tensor.requires_grad for tensor in self._text_tower().parameters()):
            towers["text"] = self._text_tower()
        return towers

    def _text_tower(self) -> Any:
        """The module that texts go through: of open_clip's plain CLIP its transformer."""
        return self.clip.text if hasattr(self.clip, "text") else self.clip.transformer

    def linear(self) -> tuple[Tensor, Tensor]:
        """The present text tower's head on unit embeddings, scale included: (D, C), zeros (C,)."""
        weight = self.scale.detach() * self._view.zero_shot_head(self.prompts)
        return weight, torch.zeros_like(weight[0])

    def logits(self, images: Tensor) -> Tensor:
        """Embeddings (B, D), not normalised -> s f W (B, C); no gradient to the texts."""
        return unit(images) @ self.linear()[0]

    def forward(
        self, images: Tensor, *texts: Tensor | None
    ) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
        """uint8 images, tokens of captions, classes and spurious captions -> their embeddings.

        Images (B, D) before normalising; captions (B, D) and classes (C, D) as unit rows.
        """
        embeddings = self.tower(self.clip.visual, images)
        captions, classes, spurious = (*texts, None, None, None)[:3]
        return (
            embeddings,
            self._unit_texts(captions),
            self._unit_texts(classes),
            self._unit_texts(spurious),
        )

    def _unit_texts(self, tokens: Tensor | None) -> Tensor | None:
        return None if tokens is None else unit(encode_texts(self.clip, tokens))
