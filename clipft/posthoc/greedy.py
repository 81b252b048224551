"""The greedy walk of model soups, for weights and for logits: who is kept beside the best.

Source: Wortsman et al., ICML 2022, arXiv:2203.05482, algorithm 1.
"""

from collections.abc import Callable

from ..methods import GIVEN, TURNED


def greedy_walk(
    count: int, accuracy: Callable[[list[int]], float], limit: int | None = None, ties: str = GIVEN
) -> list[int]:
    """Positions of the members: by falling accuracy, kept only if that of all together rises.

    count: how many candidates there are; accuracy: of the mean of the candidates at these
    positions; limit: how many members there may be. On purpose unlike the release of model soups,
    which turns them round: candidates of one accuracy keep their order. The option ties=turned is
    as there, and what a post-hoc method takes where the first run has `protocol: release`.
    """
    alone = [accuracy([candidate]) for candidate in range(count)]
    order = sorted(range(count), key=alone.__getitem__, reverse=ties == GIVEN)
    if ties == TURNED:
        order.reverse()
    members = order[:1]
    best = alone[order[0]]
    for candidate in order[1:]:
        if len(members) == limit:
            break
        together = accuracy([*members, candidate])
        if together > best:
            members.append(candidate)
            best = together
    return members
