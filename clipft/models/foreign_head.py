"""A linear classifier of other code on CLIP's embeddings: which way round it lies, and whether it
holds the logit scale, is looked at and said.
"""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..diagnostics.energies import unit
from ..errors import WeightsError
from ..runs.formats import HEAD as HEAD_FILE
from .head import Head, read_head
from .shapes import read_shape

UNSCALED = (0.5, 2.0)  # mean length of the columns of a head whose scores are cosines
HEAD_NAMES = {"classification_head", "head", "classifier", "fc", "linear"}
FAR = 10.0  # a column that is so many times longer, or shorter, than of the zero-shot head is said


@dataclass(frozen=True)
class Linear:
    """A weight of two axes and a bias, as they stand in a file; classes: their names, if known."""

    weight: Tensor
    bias: Tensor | None = None
    classes: tuple[str, ...] = ()


def read_linear(file: Path | str, dimensions: int) -> Linear:
    """The one linear layer of a file: that of an export or its folder, or tensors of any kind.

    dimensions: of the embeddings, one side of its weight. Raises WeightsError where the file cannot
    be read or does not hold exactly one such layer.
    """
    file = Path(file).expanduser()
    if file.is_dir():  # what an export wrote
        file = file / HEAD_FILE
    with contextlib.suppress(WeightsError):
        head = read_head(file)
        return Linear(head.weight, head.bias, head.classes)
    return linear_of(read_shape(file).tensors, dimensions, str(file))


def linear_of(tensors: Mapping[str, Tensor], dimensions: int, source: str) -> Linear:
    """The one layer among named tensors that takes embeddings; raises WeightsError otherwise.

    A layer beside the towers of a model is found by its name, `classification_head` and its kin.
    """
    names = [name for name, tensor in tensors.items() if tensor.ndim == 2]
    named = [name for name in names if set(name.split(".")) & HEAD_NAMES]
    weights = named or names
    if len(weights) != 1:
        shapes = [f"{name} {tuple(tensors[name].shape)}" for name in sorted(weights)[:4]]
        found = f"{len(weights)} weights ({', '.join(shapes)})" if weights else "no weight"
        raise WeightsError(f"{source} holds {found}; wanted: one of {dimensions} x classes")

    (name,) = weights
    weight = tensors[name]
    if dimensions not in weight.shape:
        shape = " x ".join(map(str, weight.shape))
        wanted = f"wanted: one side of {dimensions}, the embedding of this model"
        raise WeightsError(f"{source}: {name} is {shape}; {wanted}")
    bias = tensors.get(f"{name.removesuffix('weight')}bias")
    return Linear(weight.float(), None if bias is None else bias.float())


def fit_head(linear: Linear, zero_shot: Tensor, scale: float, source: str) -> tuple[Head, str]:
    """The layer as a head of ours, weight (D, C) with the scale in it, and what was found of it.

    zero_shot (D, C), unit columns; scale: s, by which cosines become logits. Raises WeightsError
    for another number of classes, and where it is not finite.
    """
    zero_shot = zero_shot.cpu()
    weight, lies = _turned(linear.weight, zero_shot, source)
    bias = torch.zeros_like(weight[0])
    if linear.bias is not None:
        bias = linear.bias
    if bias.shape != weight.shape[1:]:
        wanted = f"wanted: one of {len(weight[0])} classes"
        raise WeightsError(f"{source}: the bias is {tuple(bias.shape)}, {wanted}")
    if not (weight.isfinite().all() and bias.isfinite().all()):
        raise WeightsError(f"{source}: the head holds a number that is not finite")

    length = float(weight.norm(dim=0).mean())
    biased = "with a bias" if bias.any() else "no bias"
    said = f"{lies}, {biased}, columns of mean length {length:.3g}"
    low, high = UNSCALED
    if low <= length <= high < scale:
        weight = scale * weight
        bias = scale * bias
        said += f": cosines, so it was multiplied by the logit scale {scale:.4g}"
    elif not scale / FAR < length < scale * FAR:
        said += f", those of the zero-shot head {scale:.4g}: mixtures will be mostly the longer one"
    else:
        said += f": it holds the logit scale ({scale:.4g} zero-shot)"

    near = _near_their_own(weight, zero_shot)
    count = len(near)
    said += f"; {int(near.sum())} of {count} columns are nearest to their own class's text"
    if near.float().mean() < 0.5:
        said += " - are its classes in the order of the data set?"
    return Head(weight.contiguous(), bias.contiguous(), linear.classes), said


def _turned(weight: Tensor, zero_shot: Tensor, source: str) -> tuple[Tensor, str]:
    """(D, C), and how it lay; a square one lies as it is nearer to the zero-shot head."""
    dimensions, classes = zero_shot.shape
    fitting = []
    for turned, words in ((weight, "embedding x classes"), (weight.T, "classes x embedding")):
        if turned.shape == zero_shot.shape:
            fitting.append((turned, f"{words} ({weight.shape[0]} x {weight.shape[1]})"))
    if not fitting:
        others = [side for side in weight.shape if side != dimensions] or [dimensions]
        count = f"{others[0]} classes, the data set has {classes}"
        raise WeightsError(f"{source}: the head has {count}; use a head of these classes")
    return max(fitting, key=lambda pair: float((_directions(pair[0]) * zero_shot).sum()))


def _directions(weight: Tensor) -> Tensor:
    """Unit columns."""
    return unit(weight.T).T


def _near_their_own(weight: Tensor, zero_shot: Tensor) -> Tensor:
    """(C,) bool: whether a class's column is nearest to its own text's, their means taken away."""
    mine = _directions(weight - weight.mean(1, keepdim=True))
    texts = _directions(zero_shot - zero_shot.mean(1, keepdim=True))
    return (mine.T @ texts).argmax(1) == torch.arange(len(mine.T))
