"""How far tuning moved the weights, layer by layer."""

import re
from collections import defaultdict

from torch import Tensor

Weights = dict[str, Tensor]  # names of tensors to tensors, as in a state dict


def layer_distances(anchor: Weights, tuned: Weights) -> dict[str, tuple[float, float]]:
    """Layer -> (||theta - theta0||, the same over ||theta0||), in the order of the model.

    A layer is what stands before and at the first number in a tensor's name (a block), else the
    name without its end; it is called the same in models with one and with two trained towers. A
    layer that was zero has no relative distance: nan.
    """
    moved: dict[str, float] = defaultdict(float)  # squared
    size: dict[str, float] = defaultdict(float)
    for name, before in anchor.items():
        if before.is_floating_point():
            layer = _layer(name)
            after = tuned[name].to(before.device)
            moved[layer] += float((after.double() - before.double()).square().sum())
            size[layer] += float(before.double().square().sum())

    distances = {}
    for layer in moved:
        relative = (moved[layer] / size[layer]) ** 0.5 if size[layer] else float("nan")
        distances[layer] = (moved[layer] ** 0.5, relative)
    return distances


def _layer(name: str) -> str:
    name = name.removeprefix("clip.")
    block = re.match(r".*?\.\d+(?=\.|$)", name)
    if block:
        return block[0]
    if name in ("weight", "bias"):
        return "head"
    stem, dot, end = name.rpartition(".")
    return stem if dot and end in ("weight", "bias") else name
