"""WiSE-FT: interpolate the weights of the zero-shot and the tuned model.

    theta_a = (1 - a) theta0 + a theta1

over every floating tensor: vision tower and head, or both towers and the scale. For a linear
classifier on frozen features the same formula mixes the heads alone.
Source: Wortsman et al., CVPR 2022, arXiv:2109.01903, section 3 and release.
"""

import torch
from torch import Tensor

from ..config import TUNED, ZERO_SHOT, check_alpha
from ..errors import WeightsError
from .held_out import HeldOut
from .weights import HEAD, Members, Weights, check_same_shape


def wise(anchor: Weights, tuned: Weights, alpha: float) -> Weights:
    """WiSE-FT: (1 - alpha) anchor + alpha tuned over every floating tensor.

    Mixed in fp32, kept in its own dtype. Integer buffers are the tuned model's (the anchor's at
    alpha 0). The ends are each model bit for bit. Source: arXiv:2109.01903.

    Arguments:
        anchor: the zero-shot model's weights by name.
        tuned: the tuned model's.
        alpha: 0 (zero-shot) ... 1 (tuned).

    Returns:
        Weights by name.

    Raises:
        ConfigError: for alpha outside 0 ... 1.
        WeightsError: with the first odd name, where models differ.

    Example:
        >>> import torch
        >>> clipft.wise({"w": torch.zeros(2)}, {"w": torch.ones(2)}, alpha=0.25)
        {'w': tensor([0.2500, 0.2500])}
    """
    check_same_shape(anchor, tuned)
    mixed = {name: torch.empty_like(tensor) for name, tensor in tuned.items()}
    mix_into(mixed, anchor, tuned, alpha)
    return mixed


@torch.no_grad()
def mix_into(target: Weights, anchor: Weights, tuned: Weights, alpha: float) -> None:
    """Write `wise(anchor, tuned, alpha)` over tensors that are there, e.g. a model's state dict.

    Both ends may lie elsewhere, as on the host of a card: they come over tensor by tensor.
    """
    check_alpha(alpha)
    end = anchor if alpha == ZERO_SHOT else tuned  # for what is copied, not mixed
    for name, tensor in target.items():
        if alpha in (ZERO_SHOT, TUNED) or not tensor.is_floating_point():
            tensor.copy_(end[name], non_blocking=_waits(tensor))
            continue
        before, after = (_beside(tensor, ends[name]).float() for ends in (anchor, tuned))
        if tensor.dtype == torch.float32:
            # In place: a sweep mixes a whole tower for every alpha.
            torch.mul(before, 1 - alpha, out=tensor).add_(alpha * after)
        else:
            tensor.copy_((1 - alpha) * before + alpha * after)


def _beside(target: Tensor, tensor: Tensor) -> Tensor:
    """A tensor on the target's device: itself where it lies there."""
    return tensor.to(target.device, non_blocking=_waits(target))


def _waits(target: Tensor) -> bool:
    """Whether what reads the target waits for copies to it: the host would read too early."""
    return target.device.type != "cpu"


def wise_head(anchor: Weights, tuned: Weights, alpha: float) -> Weights:
    """Mix the heads alone and keep the tuned tower.

    Raises as `wise` does, and WeightsError where there is no head.
    Source: WiSE-FT, arXiv:2109.01903, linear classifiers.
    """
    mixed = wise(anchor, tuned, alpha)
    if "weight" not in mixed:
        fault = "this model has no head of its own, its text tower builds one"
        raise WeightsError(f"{fault}; mix the whole model")
    for name in mixed.keys() - set(HEAD):
        mixed[name] = tuned[name].clone()
    return mixed


def apply_wise(anchor: Weights, members: Members, _: HeldOut, alpha: float = 0.5) -> Weights:
    """WiSE-FT of one run."""
    return wise(anchor, members[0], alpha)


def apply_wise_head(anchor: Weights, members: Members, _: HeldOut, alpha: float = 0.5) -> Weights:
    """WiSE-FT of one run's head."""
    return wise_head(anchor, members[0], alpha)
