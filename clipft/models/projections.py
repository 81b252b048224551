"""The matrices at the end of both towers, by which an image and a text become embeddings."""

from __future__ import annotations

from torch import Tensor, nn

from ..errors import ConfigError

# open_clip's names; of a text tower that is a module of its own the second.
OF_IMAGES = ("visual.proj",)
OF_TEXTS = ("text_projection", "text.text_projection")


def projections(model: nn.Module) -> tuple[Tensor, Tensor]:
    """P (V, D) and T (U, D) of towers V and U wide: embedding = features P, or features T.

    model: a CLIP, or what holds one as `clip`. Raises ConfigError where a tower ends in something
    else (a ResNet's pooling, a head of timm, a layer with a bias).
    """
    tensors: dict[str, Tensor] = {}
    for name, tensor in model.named_parameters():
        tensors[name.removeprefix("clip.")] = tensor
    return _matrix(tensors, "vision", OF_IMAGES), _matrix(tensors, "text", OF_TEXTS)


def _matrix(tensors: dict[str, Tensor], tower: str, names: tuple[str, ...]) -> Tensor:
    for name in names:
        if name in tensors and tensors[name].ndim == 2:
            return tensors[name]
    wanted = " or ".join(names)
    raise ConfigError(f"the {tower} tower has no matrix {wanted}; try a plain ViT, or method=flyp")
