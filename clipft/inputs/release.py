"""Images as Lipsum-FT's release has them: cut and resized the way TensorFlow does it.

    out[y, x] = sum_ij w_y[i] w_x[j] in[i, j],   Keys' cubic, a = -1/2, on the four nearest pixels

The kernel is not widened where an image shrinks (no antialiasing), pixels outside count for nothing
and the other weights make up for them, and nothing is rounded: floats, which may leave 0 ... 255.
Source: arXiv:2404.00860, release, src/input_pipeline.py; tf.image.resize (bicubic, half-pixel
centres, its table of 1024 weights) and tf.image.sample_distorted_bounding_box.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..data.images import Decoded
from .decoding import pixels_of

TABLE = 1024  # places between two pixels that the kernel is known at
ASPECT = (3 / 4, 4 / 3)  # width by height
COVERED = 0.1  # of the image's area, which is the one bounding box; below it a crop is drawn anew
ATTEMPTS = 10
KEPT = 224 / 256  # of the shorter side, where weights are chosen


def both_sides(size: int | tuple[int, int]) -> tuple[int, int]:
    """Height and width of a model's input, which may be one number."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    """(3, H, W) -> floats (3, *size), bicubic without antialiasing."""
    rows = bicubic_weights(image.shape[1], size[0])
    columns = bicubic_weights(image.shape[2], size[1])
    return rows @ image.float() @ columns.T


def bicubic_weights(old: int, new: int) -> Tensor:
    """(new, old): what each old pixel of a line adds to each new one; rows sum to 1."""
    place = (torch.arange(new, dtype=torch.float32) + 0.5) * (old / new) - 0.5
    left = place.floor()
    between = ((place - left) * TABLE).round() / TABLE  # as far as the table tells apart
    weights = torch.zeros(new, old)
    for offset in (-1, 0, 1, 2):
        pixel = left.long() + offset
        inside = (pixel >= 0) & (pixel < old)
        row = inside.nonzero()[:, 0]
        weights[row, pixel[inside]] = keys_cubic((between - offset).abs())[inside]
    return weights / weights.sum(1, keepdim=True)


def keys_cubic(distance: Tensor) -> Tensor:
    """Keys' cubic with a = -1/2, of a distance in pixels from 0 to 2."""
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return torch.where(distance <= 1, near, far)


@dataclass(frozen=True)
class Box:
    """A part of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int

    def cut(self, image: Tensor) -> Tensor:
        """(3, H, W) -> (3, height, width)."""
        rows = slice(self.top, self.top + self.height)
        return image[:, rows, self.left : self.left + self.width]


def central_box(height: int, width: int) -> Box:
    """The central square of 224 / 256 of the shorter side."""
    side = int(KEPT * min(height, width))
    return Box((height - side + 1) // 2, (width - side + 1) // 2, height=side, width=side)


def random_box(height: int, width: int, area: tuple[float, float]) -> Box | None:
    """A box whose area is within these fractions; None where ten attempts gave none.

    Aspect and height are uniform, so that large areas are drawn less often than by torchvision.
    Drawn from torch's generator.
    """
    for _ in range(ATTEMPTS):
        box = _attempt(height, width, area, aspect=_uniform(*ASPECT))
        if box is not None and box.height * box.width >= COVERED * height * width:
            return box
    return None


def _attempt(height: int, width: int, area: tuple[float, float], aspect: float) -> Box | None:
    """A box of this aspect (width by height) at a random height and place, if there is one."""
    smallest = area[0] * height * width
    largest = area[1] * height * width
    low = round(math.sqrt(smallest / aspect))
    high = round(math.sqrt(largest / aspect))
    if round(high * aspect) > width:
        high = int((width + 0.5 - 1e-7) / aspect)
        if round(high * aspect) > width:
            high -= 1
    high = min(high, height)
    tall = min(low, high)
    if tall < high:
        tall += _below(high - tall + 1)

    # Rounding may have left the range by a pixel.
    if tall * round(tall * aspect) < smallest:
        tall += 1
    if tall * round(tall * aspect) > largest:
        tall -= 1
    wide = round(tall * aspect)
    if not (smallest <= tall * wide <= largest and 0 < tall <= height and 0 < wide <= width):
        return None
    top = _below(height - tall) if tall < height else 0
    left = _below(width - wide) if wide < width else 0
    return Box(top, left, height=tall, width=wide)


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))


def _below(end: int) -> int:
    """A whole number from 0 to end - 1."""
    return int(torch.randint(end, ()))


@dataclass(frozen=True)
class TrainPixels:
    """A random crop, or the central square where none could be drawn, resized; half are mirrored.

    size: height and width of the output; area: of the crop, as fractions.
    """

    size: tuple[int, int]
    area: tuple[float, float]
    flip: bool

    def __call__(self, image: Decoded | Tensor) -> Tensor:
        """An image or its pixels -> floats (3, *size), 0 ... 255 and a little beyond."""
        pixels = pixels_of(image)
        height, width = pixels.shape[1:]
        box = random_box(height, width, self.area)
        if box is None or (box.height, box.width) == (height, width):
            box = central_box(height, width)
        is_mirrored = self.flip and float(torch.rand(())) < 0.5
        if pixels.is_meta:  # what is drawn was all that was asked for
            return pixels
        resized = resize(box.cut(pixels), self.size)
        return resized.flip(-1) if is_mirrored else resized


@dataclass(frozen=True)
class CentralPixels:
    """The central square, resized: what weights are chosen on. size: height and width."""

    size: tuple[int, int]

    def __call__(self, image: Decoded | Tensor) -> Tensor:
        """An image or its pixels -> floats (3, *size), 0 ... 255 and a little beyond."""
        pixels = pixels_of(image)
        return resize(central_box(*pixels.shape[1:]).cut(pixels), self.size)
