"""Model soups: the mean of several tuned models' weights.

    uniform: theta = mean_k theta_k
    greedy: walk the members by falling held-out accuracy, keep one only if the mean's accuracy rises

Source: Wortsman et al., ICML 2022, arXiv:2203.05482, algorithm 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..errors import ConfigError
from .registry import HeldOut, posthoc
from .weights import check_same_shape

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .weights import Weights


def uniform_soup(members: Sequence[Weights]) -> Weights:
    """The mean of every floating tensor, summed in float64; other tensors are the first member's.

    Raises ConfigError without members, WeightsError with the first odd name where they differ.
    """
    if not members:
        raise ConfigError("a soup needs at least one member")
    for member in members[1:]:
        check_same_shape(members[0], member)
    return {
        name: torch.stack([member[name].double() for member in members]).mean(0).to(tensor.dtype)
        if tensor.is_floating_point()
        else tensor.clone()
        for name, tensor in members[0].items()
    }


def greedy_soup(
    members: Sequence[Weights], accuracy: Callable[[Weights], float]
) -> tuple[Weights, list[int]]:
    """(weights, positions of the kept members); `accuracy` is measured on held-out images, ties keep their order."""
    if not members:
        raise ConfigError("a soup needs at least one member")
    alone = [accuracy(member) for member in members]
    order = sorted(range(len(members)), key=lambda k: -alone[k])
    kept, best, soup = order[:1], alone[order[0]], uniform_soup([members[order[0]]])
    for k in order[1:]:
        tried = uniform_soup([members[j] for j in [*kept, k]])
        found = accuracy(tried)
        if found > best:
            kept, best, soup = [*kept, k], found, tried
    return soup, kept


@posthoc("uniform_soup", title="uniform soup", paper="arXiv:2203.05482", many=True)
def _uniform_soup(anchor: Weights, members: list[Weights], held_out: HeldOut) -> Weights:
    return uniform_soup(members)


@posthoc("greedy_soup", title="greedy soup", paper="arXiv:2203.05482", many=True)
def _greedy_soup(anchor: Weights, members: list[Weights], held_out: HeldOut) -> Weights:
    return greedy_soup(members, held_out.accuracy)[0]
