"""LiNeS: what is tuned is scaled down in the first layers, and kept in the last.

    theta_l = theta0_l + (a + b l / (L - 1)) D_l,   D = theta1 - theta0,   l = 0 ... L - 1

for block l of L; b = 1 - a, so the first block has WiSE's alpha a, the last one is tuned. a = 1 is
the tuned model. Blocks are counted in each tower by itself: transformer blocks by name, of a ResNet
its stages, which are fewer and not equal. What stands outside the blocks has a, as released: that
is the stem, and what follows the last block too (projection and last norm), unless
last_outside=one. The head, and the scale of two towers, have a factor of their own. a is chosen on
held-out images from 0, 0.1 ... 1, the smallest of equals, unless it is given.
Source: Wang et al., ICLR 2025, arXiv:2410.17146 and release. There a block is found by a part of
the name over all towers; here by the whole place. The paper weighs target against control accuracy:
we have no control data, and choose by accuracy alone.
"""

import torch

from ..config import TUNED, check_alpha
from ..errors import WeightsError
from .held_out import HeldOut
from .places import places
from .weights import HEAD, Members, Weights, check_same_shape
from .wise import mix_into

GRID = tuple(step / 10 for step in range(11))  # from which a is chosen
FIRST_FACTOR, ONE = "a", "one"  # of what follows the last block


def depths(names: list[str]) -> dict[str, float]:
    """Name -> l / (L - 1) of its block, 0 ... 1, for tensors of a student that are in one.

    The only block of a tower is its last: 1. Raises WeightsError where the vision tower has none.
    """
    stands = places(names)
    found = {}
    for name, place in stands.items():
        if place.is_block:
            found[name] = (place.block - 1) / (place.count - 1) if place.count > 1 else 1.0
    if not any(stands[name].tower == "image" for name in found):
        fault = "no tensor of this vision tower's names the number of its block"
        raise WeightsError(f"{fault}; LiNeS is for ViTs and ResNets, use wise")
    return found


def lines(
    anchor: Weights,
    tuned: Weights,
    a: float,
    b: float | None = None,
    last_outside: str = FIRST_FACTOR,
    head: float = 1.0,
) -> Weights:
    """Each tensor mixed as `wise` mixes, at the alpha of its depth; a = 1 is tuned bit for bit.

    b: None for 1 - a. last_outside: a or one, of what follows the last block. head: the alpha of
    the head. Raises ConfigError where a factor is outside 0 ... 1, WeightsError where models differ
    or no block is found.
    """
    check_same_shape(anchor, tuned)
    slope = 1 - check_alpha(a) if b is None else b
    after = check_alpha(a) if last_outside == FIRST_FACTOR else TUNED
    deep = depths(list(tuned))
    stands = places(tuned)
    mixed = {name: torch.empty_like(tensor) for name, tensor in tuned.items()}
    for name, tensor in mixed.items():
        factor = a
        if name.removeprefix("clip.") in HEAD:
            factor = head
        elif name in deep:
            factor = a + slope * deep[name]
        elif stands[name].is_after:
            factor = after
        mix_into({name: tensor}, anchor, tuned, factor)
    return mixed


def apply_lines(
    anchor: Weights,
    members: Members,
    held_out: HeldOut,
    *,
    a: float = 0.5,
    choose: bool = True,
    last_outside: str = FIRST_FACTOR,
    head: float = 1.0,
) -> Weights:
    """LiNeS of one run; choose: a on held-out images, in place of the one that is given."""
    if choose:
        accuracies = {}
        for tried in GRID:
            mixed = lines(anchor, members[0], tried, last_outside=last_outside, head=head)
            accuracies[tried] = held_out.accuracy(mixed)
        a = max(accuracies, key=accuracies.__getitem__)  # of equals the first
    return lines(anchor, members[0], a, last_outside=last_outside, head=head)
