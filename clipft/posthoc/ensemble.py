"""Ensembles: the mean of several models' logits, and its relation to WiSE.

    output-space ensemble: (1 - a) logits0 + a mean_k logits_k

Equal to WiSE where logits are linear in theta (the tangent kernel's limit); `distance` says how far from it a pair is.
Sources: Wortsman et al., Model soups, arXiv:2203.05482 (greedy; capped at 4 members in Lipsum-FT, arXiv:2404.00860) and
WiSE-FT, arXiv:2109.01903, section 5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..config import check_alpha
from ..errors import ConfigError
from .registry import HeldOut, posthoc

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


def output_ensemble(logits0: Tensor, logits: Tensor, alpha: float) -> Tensor:
    """(1 - alpha) logits0 + alpha logits: (N, C), (N, C) -> (N, C). Raises ConfigError for alpha outside 0 ... 1."""
    check_alpha(alpha)
    return (
        logits if alpha == 1 else logits0 if alpha == 0 else (1 - alpha) * logits0 + alpha * logits
    )


def distance(a: Tensor, b: Tensor) -> Tensor:
    """Root mean square over classes of the difference of centred logits, per image: (N, C), (N, C) -> (N,)."""
    change = a - b
    return (change - change.mean(-1, keepdim=True)).square().mean(-1).sqrt()


def greedy_ensemble(logits: Sequence[Tensor], labels: Tensor, limit: int = 4) -> list[int]:
    """Positions of the members: by falling accuracy, kept only if the mean logits' accuracy rises, at most `limit`.

    logits: one (N, C) per member, computed once; labels (N,). Raises ConfigError without members or for limit < 1.
    """
    if not logits or limit < 1:
        raise ConfigError(
            f"a greedy ensemble of at most {limit} out of {len(logits)} members; both must be at least 1"
        )
    alone = [_right(one, labels) for one in logits]
    order = sorted(range(len(logits)), key=lambda k: -alone[k])
    kept, best, total = order[:1], alone[order[0]], logits[order[0]]
    for k in order[1:]:
        if len(kept) < limit and (found := _right(total + logits[k], labels)) > best:
            kept, best, total = [*kept, k], found, total + logits[k]
    return kept


def _right(logits: Tensor, labels: Tensor) -> int:
    """How many of the predictions are right; a positive factor on the logits does not matter."""
    return int((logits.argmax(-1) == labels).sum())


@posthoc(
    "output_ensemble", title="output ensemble", paper="arXiv:2109.01903", many=True, ensemble=True
)
def _output_ensemble(anchor, members, held_out: HeldOut) -> list[int]:
    return list(range(len(members)))


@posthoc(
    "greedy_ensemble", title="greedy ensemble", paper="arXiv:2203.05482", many=True, ensemble=True
)
def _greedy_ensemble(anchor, members, held_out: HeldOut, limit: int = 4) -> list[int]:
    return greedy_ensemble([held_out.logits(member) for member in members], held_out.labels, limit)
