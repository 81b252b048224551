"""LDIFS: hold the hidden states of the vision tower, by their squared distance.

    L = CE + lam * mean_{x, k} mean (n(h_k) - n(h0_k))^2,   n(h) = h / ||h||,  h_k (T, C) of layer k

layers: all, every block (of a ResNet stage) and ln_post; release, the first six states that the
release lists, of which two are blocks: conv1, positions, dropout, ln_pre, block 1, block 2. over:
what a norm is taken over. In the paper it is the channels of a token; in the release, whose states
lie as tokens by channels, dimension 1 is the tokens of a channel.
The mean goes over tokens and channels, so the penalty is small and lam large.
Source: Mukhoti et al., LDIFS, TMLR 2024, arXiv:2308.13320, and release (lam 10).
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from ..errors import ConfigError
from .step import Step

RELEASE = ("conv1", "positions", "dropout", "ln_pre", "block 1", "block 2")
AXES = {"channels": -1, "tokens": 1}
SMALL = 1e-10  # beside a norm, as in the release


def ldifs(step: Step, layers: str = "all", over: str = "channels") -> Tensor:
    """The squared distance of the hidden states, mean over layers and batch."""
    distances = []
    for name in _names(step.hidden, layers):
        tuned, start = step.hidden[name], step.hidden_anchor[name]
        distances.append(distance(_unit(tuned, AXES[over]), _unit(start, AXES[over])))
    return torch.stack(distances).mean()


def distance(tuned: Tensor, start: Tensor) -> Tensor:
    """The squared difference of states (B, T, C), mean over all."""
    return (tuned - start).square().mean()


def _names(states: Mapping[str, Tensor], layers: str) -> list[str]:
    """The layers that are held; raises ConfigError where the release's are not there."""
    if layers == "all":
        return [name for name in states if name.startswith(("block", "stage", "ln_post"))]
    if missing := [name for name in RELEASE if name not in states]:
        fault = f"layers=release holds states of open_clip's ViT, this tower has no {missing[0]}"
        raise ConfigError(f"{fault}; leave out layers")
    return list(RELEASE)


def _unit(state: Tensor, axis: int) -> Tensor:
    return state / (state.norm(dim=axis, keepdim=True) + SMALL)
