"""What the optimiser did to one tensor in one step, as a hook after it sees it.

A hook is `after_step(move, **options) -> Tensor`: what it returns takes the tensor's place. It is
called for each trained tensor that has a gradient, after every step, without a graph.
"""

from collections.abc import MutableMapping
from dataclasses import dataclass, field

from torch import Tensor

Kept = MutableMapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Move:
    """One tensor before and after one step of the optimiser.

    kept: what the hook remembers of this tensor, empty at first: tensors by names without a dot. It
    is all that a hook may keep from step to step, and goes into the run's checkpoint.
    """

    name: str  # as in the run's weights
    step: int  # of the run, from 1
    before: Tensor
    after: Tensor  # as AdamW left it
    grad: Tensor  # of the loss, before AdamW; clipped where the run clips
    start: Tensor  # the same tensor in theta0
    is_head: bool  # whether it belongs to the head, not to a tower
    kept: Kept = field(default_factory=dict)
