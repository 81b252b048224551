"""Model Stock: between the mean of a few tuned models and zero-shot, as far as they agree.

    D_i = theta_i - theta0,   c = mean_{i < j} cos(D_i, D_j),   k members
    t = k c / (1 + (k - 1) c),   t = 0 where c <= 0
    theta = t mean_i theta_i + (1 - t) theta0

For each tensor, the head's too: no image and no label is asked. The formula takes tuned weights to
lie on a shell around their mean: t is where the line from it to theta0 comes nearest to the
shell's middle. A tensor that some member did not move stays zero-shot's, as do those on which
members disagree (the quotient has a pole at c = -1 / (k - 1)); a line says how many these are.
Source: Jang et al., ECCV 2024, arXiv:2403.19522, for two seeds of one recipe. On purpose unlike a
later implementation of others, which averages the angles of all pairs: ours averages their cosines.
"""

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor

from ..errors import ConfigError
from ..progress import write
from .held_out import HeldOut
from .weights import Members, Weights, check_same_shape


def ratio(cosine: float, count: int) -> float:
    """t of the formula, 0 ... 1, from the mean cosine of `count` members; 0 where it is <= 0."""
    if cosine <= 0:
        return 0.0
    return min(1.0, count * cosine / (1 + (count - 1) * cosine))


def mean_cosine(changes: Sequence[Tensor]) -> float:
    """Mean cosine over all pairs of changes, each of one shape; 0 where one of them is zero."""
    norms = [change.norm() for change in changes]
    if not all(norm > 0 for norm in norms):
        return 0.0
    units = [(change / norm).flatten() for change, norm in zip(changes, norms, strict=True)]
    cosines = [torch.dot(one, other) for one, other in combinations(units, 2)]
    return float(torch.stack(cosines).mean())


def model_stock(anchor: Weights, members: Sequence[Weights]) -> tuple[Weights, list[str]]:
    """(weights, names of the moved tensors that stay zero-shot's, since members disagree on them).

    Computed in float64, kept in each tensor's own dtype; integer buffers are the first member's.
    Raises ConfigError for fewer than two members, WeightsError with the first odd name where models
    differ.
    """
    if len(members) < 2:
        raise ConfigError(f"Model Stock of {len(members)} members; it needs at least two")
    for member in members:
        check_same_shape(anchor, member)

    stock = {}
    disagreed = []
    for name, start in anchor.items():
        if not start.is_floating_point():
            stock[name] = members[0][name].clone()
            continue
        before = start.double()
        changes = [member[name].double() - before for member in members]
        share = ratio(mean_cosine(changes), len(members))
        if share:
            moved = before + share * torch.stack(changes).mean(0)
            stock[name] = moved.to(start.dtype)
            continue
        stock[name] = start.clone()
        if any(change.any() for change in changes):
            disagreed.append(name)
    return stock, disagreed


def apply_model_stock(anchor: Weights, members: Members, _: HeldOut) -> Weights:
    """Model Stock of all runs."""
    stock, disagreed = model_stock(anchor, members)
    if disagreed:
        count = f"{len(disagreed)} of {len(stock)} tensors"
        write(f"Model Stock: {count} stay zero-shot's, where the runs do not agree")
    return stock
