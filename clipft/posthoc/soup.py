"""Model soups: the mean of several tuned models' weights.

    uniform: theta = mean_k theta_k
    greedy: walk them by falling held-out accuracy, keep one only if the mean's accuracy rises

Source: Wortsman et al., ICML 2022, arXiv:2203.05482, algorithm 1.
"""

from collections.abc import Callable, Sequence

import torch

from ..errors import ConfigError
from ..methods import GIVEN
from .greedy import greedy_walk
from .held_out import HeldOut
from .weights import Members, Weights, check_same_shape


def uniform_soup(members: Sequence[Weights]) -> Weights:
    """The mean of every floating tensor, summed in float64; other tensors are the first member's.

    Raises ConfigError without members, WeightsError with the first odd name where they differ.
    """
    if not members:
        raise ConfigError("a soup needs at least one member")
    for member in members[1:]:
        check_same_shape(members[0], member)

    soup = {}
    for name, tensor in members[0].items():
        if tensor.is_floating_point():
            stacked = torch.stack([member[name].double() for member in members])
            soup[name] = stacked.mean(0).to(tensor.dtype)
        else:
            soup[name] = tensor.clone()
    return soup


def greedy_soup(
    members: Sequence[Weights], accuracy: Callable[[Weights], float], ties: str = GIVEN
) -> tuple[Weights, list[int]]:
    """(weights, positions of the kept members); `accuracy` is measured on held-out images.

    ties: candidates of one accuracy keep the order given, or are turned round.
    """
    if not members:
        raise ConfigError("a soup needs at least one member")

    def soup_of(positions: list[int]) -> Weights:
        return uniform_soup([members[position] for position in positions])

    def accuracy_of(positions: list[int]) -> float:
        return accuracy(soup_of(positions))

    positions = greedy_walk(len(members), accuracy_of, ties=ties)
    return soup_of(positions), positions


def apply_uniform_soup(_anchor: Weights, members: Members, _held_out: HeldOut) -> Weights:
    """The mean of all runs."""
    return uniform_soup(members)


def apply_greedy_soup(
    _anchor: Weights, members: Members, held_out: HeldOut, ties: str = GIVEN
) -> Weights:
    """The mean of the runs that the greedy walk keeps."""
    soup, _ = greedy_soup(members, held_out.accuracy, ties)
    return soup
