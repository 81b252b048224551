"""SPD, selective projection decay: where a tensor's way goes against its gradient's, hold it back.

    c = -<g, theta - theta0>,   theta' = the optimiser's step from theta
    r = clamp((||theta' - theta0|| - ||theta - theta0||) / ||theta' - theta0||, 0, 1)
    theta' <- theta' - decay * r * (theta' - theta0)   where c < 0, for each tensor

decay = 1 takes theta' back to the distance that theta had. g is the gradient of the step, not of
AdamW, whose moments stay as they are. The release has no other weight decay beside it.
Source: Tian et al., NeurIPS 2024, arXiv:2411.01713, and its release, adamSPD.py, where decay is
called weight_decay; its 1 is ours.
"""

import torch
from torch import Tensor

from .move import Move


def spd(move: Move, decay: float = 1.0) -> Tensor:
    """The tensor drawn towards theta0 where descent would have it nearer."""
    way = move.before - move.start
    new_way = move.after - move.start
    distance = new_way.norm()
    ratio = ((distance - way.norm()) / distance).clamp(0, 1)

    is_drawn = ((move.grad * way).sum() > 0) & (distance > 0)
    return move.after - torch.where(is_drawn, decay * ratio, 0) * new_way
