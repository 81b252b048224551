"""TODO: docstring."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import WeightsError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    Weights = dict[str, Tensor]
    """Names of tensors to tensors, as in a state dict. Post-hoc methods are functions of these."""


HEAD = ("weight", "bias", "logit_scale")  # tensors of a trained head


def check_same_shape(anchor: Weights, tuned: Weights) -> None:
    """Raise WeightsError that names the first tensor in which two models differ in name or shape."""
    odd: Iterable[str] = sorted(anchor.keys() ^ tuned.keys())
    for name in odd:
        kind = "head conventions" if name in HEAD else "models"
        raise WeightsError(
            f"weights of different {kind}: only one of them has {name!r}; mix runs of one model and head"
        )
    for name in sorted(anchor):
        if anchor[name].shape != tuned[name].shape:
            shapes = f"{tuple(anchor[name].shape)} and {tuple(tuned[name].shape)}"
            raise WeightsError(
                f"weights of different models: {name!r} is {shapes}; mix runs of one model and head"
            )
