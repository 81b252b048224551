"""Weights as mappings, which all post-hoc methods take and give; what must be alike to mix them."""

from collections.abc import Collection

from ..diagnostics.weight_path import Weights
from ..errors import WeightsError

Members = list[Weights]  # of the runs that a method takes
HEAD = ("weight", "bias", "logit_scale")  # tensors of a trained head
STATISTICS = ("running_mean", "running_var")  # what BatchNorm counts: buffers, no parameters


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


def trainable(weights: Weights, parameters: Collection[str] | None = None) -> list[str]:
    """Names of the floating tensors that are parameters: no buffer has a gradient.

    parameters: the names of a model's parameters, where its module is known; None: all tensors are
    but BatchNorm's statistics.
    """
    names = []
    for name, tensor in weights.items():
        if parameters is None:
            is_parameter = name.rpartition(".")[2] not in STATISTICS
        else:
            is_parameter = name in parameters
        if is_parameter and tensor.is_floating_point():
            names.append(name)
    return names


def check_finite(weights: Weights, of: str) -> None:
    """Raise WeightsError that names the first tensor that holds a nan or an infinity.

    Such a model says the first class of every image, which is no accuracy.
    """
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            odd = float(tensor[~tensor.isfinite()][0])
            fault = f"{of}: {name!r} holds {odd}, so it has no accuracy"
            raise WeightsError(f"{fault}; train it again with a lower lr, or copy it again")
