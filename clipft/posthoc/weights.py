"""Weights as mappings, which all post-hoc methods take and give; what must be alike to mix them."""

from ..diagnostics.weight_path import Weights
from ..errors import WeightsError

Members = list[Weights]  # of the runs that a method takes
HEAD = ("weight", "bias", "logit_scale")  # tensors of a trained head


def check_same_shape(anchor: Weights, tuned: Weights) -> None:
    """Raise WeightsError that names the first tensor that is odd in name or shape."""
    advice = "mix runs of one model and head"
    for name in sorted(anchor.keys() ^ tuned.keys()):
        kind = "head conventions" if name in HEAD else "models"
        raise WeightsError(f"weights of different {kind}: only one of them has {name!r}; {advice}")
    for name in sorted(anchor):
        if anchor[name].shape != tuned[name].shape:
            shapes = f"{tuple(anchor[name].shape)} and {tuple(tuned[name].shape)}"
            raise WeightsError(f"weights of different models: {name!r} is {shapes}; {advice}")
