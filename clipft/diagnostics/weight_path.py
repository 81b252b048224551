"""TODO: docstring."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..posthoc.weights import Weights


def layer_distances(anchor: Weights, tuned: Weights) -> dict[str, tuple[float, float]]:
    """Layer -> (||theta - theta0||, the same over ||theta0||), in the order of the model.

    A layer is what stands before and at the first number in a tensor's name (a block), else the name without its end;
    it is called the same in models with one and with two trained towers.
    """
    sums: dict[str, list[float]] = {}
    for name, before in anchor.items():
        if before.is_floating_point():
            whole = sums.setdefault(_layer(name), [0.0, 0.0])
            whole[0] += float((tuned[name].double() - before.double()).square().sum())
            whole[1] += float(before.double().square().sum())
    return {
        name: (moved**0.5, (moved / size) ** 0.5 if size else float("nan"))
        for name, (moved, size) in sums.items()
    }


def _layer(name: str) -> str:
    name = name.removeprefix("clip.")
    block = re.match(r".*?\.\d+(?=\.|$)", name)
    if block:
        return block[0]
    if name in ("weight", "bias"):
        return "head"
    stem, dot, end = name.rpartition(".")
    return stem if dot and end in ("weight", "bias") else name
