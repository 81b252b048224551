"""TODO: docstring."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def title_of(method: str) -> str:
    """A method's title, from the registries: `lipsum+tpgm` is Lipsum-FT + TPGM."""
    from ..objectives.registry import METHODS
    from ..posthoc.registry import POSTHOC

    parts = method.split("+")
    known = [METHODS, *[POSTHOC] * (len(parts) - 1)]
    return " + ".join(table[part].title if part in table else part for table, part in zip(known, parts, strict=True))


def is_ensemble(method: str) -> bool:
    """Whether the last of a combination is an ensemble, whose alpha mixes logits."""
    from ..posthoc.registry import POSTHOC

    last = method.split("+")[-1]
    return "+" in method and last in POSTHOC and POSTHOC[last].ensemble


def ordered(methods: Sequence[str]) -> list[str]:
    """Each name once, in the order of the registries, combinations after their method."""
    from ..objectives.registry import METHODS
    from ..posthoc.registry import POSTHOC

    place = {name: i for i, name in enumerate([*METHODS, *POSTHOC])}
    return sorted(set(methods), key=lambda name: ([place.get(part, 99) for part in name.split("+")], name))
