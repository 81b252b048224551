"""The frozen CLIP that a run starts from: towers, tokenizer and preprocessing of open_clip."""

import hashlib
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..data.images import Transform
from ..diagnostics.energies import unit
from ..errors import ConfigError
from ..progress import progress_bar
from .text_tower import encode_texts

MANY_TEXTS = 2048  # with more of them a bar is shown


@dataclass
class Clip:
    """A frozen open_clip model, its tokenizer and evaluation transform (PIL -> PIL, of `size`)."""

    name: str
    model: Any  # open_clip's kinds of CLIP have no typed base
    tokenizer: Any
    transform: Transform
    config: dict[str, Any]  # as in open_clip_config.json: model_cfg and preprocess_cfg
    vocabulary: tuple[int, ...] | None = None  # the only tokens its captions held; None: all
    _digest: str = field(default="", init=False, repr=False, compare=False)

    @property
    def scale(self) -> float:
        """s = exp(logit_scale): 100 for OpenAI's models."""
        return float(self.model.logit_scale.exp())

    @property
    def size(self) -> Any:
        """Height and width of an input image in pixels."""
        return self.config["preprocess_cfg"]["size"]

    @property
    def activation(self) -> dict[str, str]:
        """What its embeddings depend on beside weights and input: {} for GELU."""
        quick_gelu = (self.config["model_cfg"] or {}).get("quick_gelu", False)
        return {"activation": "QuickGELU"} if quick_gelu else {}

    @torch.no_grad()
    def embed_texts(self, tokens: Tensor) -> Tensor:
        """(N, context) token ids -> (N, D) unit rows.

        Raises ConfigError where the model has no text tower.
        """
        if not hasattr(self.model, "encode_text"):
            advice = "zero-shot heads and texts need a CLIP with both towers"
            raise ConfigError(f"{self.name} has no text tower; {advice}")
        device = self.model.logit_scale.device
        many = len(tokens) > MANY_TEXTS
        with progress_bar(len(tokens), "embedding texts", "text", show=many) as bar:
            return unit(encode_texts(self.model, tokens.to(device), bar.update))

    def zero_shot_head(self, prompts: Tensor) -> Tensor:
        """The zero-shot head W0: (C, T, context) -> (D, C).

        w_c = mean over templates of the unit text embeddings, normalised again.
        """
        return self._mean_texts(prompts, axis=1)

    def context_head(self, prompts: Tensor) -> Tensor:
        """The context head of CAR-FT: (C, T, context) -> (D, T).

        v_t = mean over classes of the unit text embeddings, normalised again.
        Source: CAR-FT, arXiv:2211.16175.
        """
        return self._mean_texts(prompts, axis=0)

    def _mean_texts(self, prompts: Tensor, axis: int) -> Tensor:
        """Unit rows of the mean over classes (0) or templates (1) of embeddings (C, T, D)."""
        embeddings = self.embed_texts(prompts.flatten(0, 1)).unflatten(0, prompts.shape[:2])
        return unit(embeddings.mean(axis)).T.contiguous()

    def digest(self) -> str:
        """12 letters that name the weights."""
        if not self._digest:
            whole = hashlib.sha256()
            for name, tensor in sorted(self.model.state_dict().items()):
                whole.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
            self._digest = whole.hexdigest()[:12]
        return self._digest
