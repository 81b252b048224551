"""Ensembles: the mean of several models' logits, and its relation to WiSE.

    output-space ensemble: (1 - a) logits0 + a mean_k logits_k

Equal to WiSE where logits are linear in theta (the tangent kernel's limit); `distance` says how far
from it a pair is.
Sources: Wortsman et al., Model soups, arXiv:2203.05482 (greedy; capped at 4 members in Lipsum-FT,
arXiv:2404.00860) and WiSE-FT, arXiv:2109.01903, section 5.
"""

from collections.abc import Sequence

from torch import Tensor

from ..config import TUNED, ZERO_SHOT, check_alpha
from ..errors import ConfigError
from ..methods import GIVEN
from .greedy import greedy_walk
from .held_out import HeldOut
from .weights import Members, Weights


def output_ensemble(logits0: Tensor, logits: Tensor, alpha: float) -> Tensor:
    """(1 - alpha) logits0 + alpha logits: (N, C), (N, C) -> (N, C); the ends are each bit for bit.

    Raises ConfigError for alpha outside 0 ... 1.
    """
    check_alpha(alpha)
    if alpha == TUNED:
        return logits
    if alpha == ZERO_SHOT:
        return logits0
    return (1 - alpha) * logits0 + alpha * logits


def distance(a: Tensor, b: Tensor) -> Tensor:
    """Root mean square over classes of the difference of centred logits: (N, C), (N, C) -> (N,)."""
    change = a - b
    return (change - change.mean(-1, keepdim=True)).square().mean(-1).sqrt()


def greedy_ensemble(
    logits: Sequence[Tensor], labels: Tensor, limit: int = 4, ties: str = GIVEN
) -> list[int]:
    """Positions of at most `limit` members: the greedy walk over the mean of the logits.

    logits: one (N, C) per member, computed once; labels (N,); ties: members of one accuracy keep
    the order given, or are turned round. Raises ConfigError without members or
    for limit < 1.
    """
    if not logits or limit < 1:
        fault = f"a greedy ensemble of at most {limit} out of {len(logits)} members"
        raise ConfigError(f"{fault}; both must be at least 1")

    def right_together(positions: list[int]) -> int:
        # The sum predicts as the mean does.
        total = logits[positions[0]]
        for position in positions[1:]:
            total = total + logits[position]
        return int((total.argmax(-1) == labels).sum())

    return greedy_walk(len(logits), right_together, limit, ties)


def apply_output_ensemble(_anchor: Weights, members: Members, _held_out: HeldOut) -> list[int]:
    """All runs."""
    return list(range(len(members)))


def apply_greedy_ensemble(
    _anchor: Weights, members: Members, held_out: HeldOut, limit: int = 4, ties: str = GIVEN
) -> list[int]:
    """The runs that the greedy walk keeps."""
    logits = [held_out.logits(member) for member in members]
    return greedy_ensemble(logits, held_out.labels, limit, ties)
