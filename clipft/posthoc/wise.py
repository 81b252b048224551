"""WiSE-FT: interpolate the weights of the zero-shot and the tuned model.

    theta_a = (1 - a) theta0 + a theta1

over every floating tensor: vision tower and head, or both towers and the scale. For a linear classifier on frozen
features the same formula mixes the heads alone.
Source: Wortsman et al., CVPR 2022, arXiv:2109.01903, section 3 and release.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..config import check_alpha
from ..errors import WeightsError
from .registry import HeldOut, posthoc
from .weights import HEAD, check_same_shape

if TYPE_CHECKING:
    from .weights import Weights


def wise(anchor: Weights, tuned: Weights, alpha: float) -> Weights:
    """(1 - alpha) anchor + alpha tuned over every floating tensor, mixed in fp32, kept in its own dtype.

    Integer buffers are the tuned model's (the anchor's at alpha 0). The ends are each model bit for bit. Raises
    ConfigError for alpha outside 0 ... 1, WeightsError with the first odd name where the models differ.
    """
    check_same_shape(anchor, tuned)
    mixed = {name: torch.empty_like(tensor) for name, tensor in tuned.items()}
    mix_into(mixed, anchor, tuned, alpha)
    return mixed


@torch.no_grad()
def mix_into(target: Weights, anchor: Weights, tuned: Weights, alpha: float) -> None:
    """Write `wise(anchor, tuned, alpha)` over tensors that are there, such as a model's state dict."""
    check_alpha(alpha)
    for name, tensor in target.items():
        if alpha in (0, 1) or not tensor.is_floating_point():
            tensor.copy_((tuned if alpha else anchor)[name])
        elif tensor.dtype == torch.float32:
            torch.mul(anchor[name].float(), 1 - alpha, out=tensor).add_(alpha * tuned[name].float())
        else:
            tensor.copy_((1 - alpha) * anchor[name].float() + alpha * tuned[name].float())


def wise_head(anchor: Weights, tuned: Weights, alpha: float) -> Weights:
    """Mix the heads alone and keep the tuned tower; raises as `wise` does, and WeightsError where there is no head.

    Source: WiSE-FT, arXiv:2109.01903, linear classifiers.
    """
    mixed = wise(anchor, tuned, alpha)
    if "weight" not in mixed:
        raise WeightsError(
            "this model has no head of its own, its text tower builds one; mix the whole model"
        )
    return {name: mixed[name] if name in HEAD else tensor.clone() for name, tensor in tuned.items()}


@posthoc("wise", title="WiSE", paper="arXiv:2109.01903")
def _wise(
    anchor: Weights, members: list[Weights], held_out: HeldOut, alpha: float = 0.5
) -> Weights:
    return wise(anchor, members[0], alpha)


@posthoc("wise_head", title="WiSE, head", paper="arXiv:2109.01903")
def _wise_head(
    anchor: Weights, members: list[Weights], held_out: HeldOut, alpha: float = 0.5
) -> Weights:
    return wise_head(anchor, members[0], alpha)
