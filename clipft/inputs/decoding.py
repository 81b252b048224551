"""The files of a split are decoded, and resized, as its decoder does it: Pillow, or torchcodec.

Both decode to the same bits; what torchcodec would read otherwise goes by Pillow. Resized pixels
differ, since torchvision rounds otherwise: see `Resizing`.
"""

import contextlib
import functools
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision import transforms
from torchvision.transforms import v2
from torchvision.transforms.functional import pil_to_tensor

from ..data.images import PLAIN, Decoded, decode, plain_format
from ..data.splits import Decoding
from ..errors import ConfigError, MissingExtra, first_line

FAST = "fast"  # `decoder` of a configuration


def pixels_of(image: Decoded | Tensor) -> Tensor:
    """An image as its pixels (3, H, W), uint8; pixels stay what they are."""
    return image if isinstance(image, Tensor) else pil_to_tensor(image)


def packed_pixels(packed: np.ndarray) -> Tensor:
    """A copy of packed pixels (H, W, 3) as uint8 (3, H, W)."""
    return torch.from_numpy(packed.copy()).permute(2, 0, 1)


def decode_fast(path: Path, decoding: Decoding) -> Tensor:
    """An image file as uint8 (3, H, W), the pixels of `decode`; raises ImageError as that does."""
    decoders = _decoders()
    # What cannot be read, or is damaged, is for Pillow to name.
    with contextlib.suppress(OSError, RuntimeError, ValueError):
        content = path.read_bytes()
        kind = plain_format(content, decoding)
        if kind:
            return decoders[kind](content, mode="RGB")
    return pil_to_tensor(decode(path, decoding))


@functools.cache
def _decoders() -> dict[str, Callable[..., Tensor]]:
    """Format -> what decodes it; raises MissingExtra without torchcodec, ConfigError where it
    does not work here.
    """
    try:
        decoders = import_module("torchcodec.decoders")
    except ModuleNotFoundError:
        raise MissingExtra("torchcodec", FAST) from None
    except Exception as error:  # of another torch its libraries raise anything
        fault = f"torchcodec cannot be loaded: {first_line(error)}"
        raise ConfigError(f"{fault}; install the one of this torch, or decoder=pillow") from None
    return {kind: getattr(decoders, f"decode_{kind.lower()}") for kind in PLAIN}


class Resizing(transforms.Compose):
    """open_clip's evaluation transform of an image; of pixels, uint8 (3, H, W), the same by
    torchvision.

    Images are resized by Pillow, as open_clip does it. Pixels are resized as uint8, with
    antialiasing, in a quarter of the time: some values are off by 1 of 255 (0.5 % from 500 pixels
    to 224, mean 0.005), and where an image is enlarged a few by up to 4.
    """

    def __call__(self, image: Decoded | Tensor) -> Any:
        """An image to an image, or pixels to pixels, of the model's size."""
        if not isinstance(image, Tensor):
            return super().__call__(image)
        for step in self.transforms:
            image = _of_pixels(step, image)
        return image


def _of_pixels(step: Any, pixels: Tensor) -> Tensor:
    """What a step of open_clip's transform makes of pixels, which are RGB already."""
    if type(step).__name__ == "MaybeConvertMode":
        return pixels
    if not hasattr(step, "interpolation"):  # cuts or pads
        return step(pixels)
    size = step.size
    if hasattr(step, "longest"):  # open_clip's ResizeKeepRatio, which asks an image for its size
        height, width = pixels.shape[-2:]
        size = step.get_params(SimpleNamespace(size=(width, height)), step.size, step.longest)
    return v2.functional.resize(pixels, size, step.interpolation, antialias=True)
