"""Made shifts: images disturbed as ImageNet-C disturbs them, and five simple ways more.

The fifteen kinds and five severities are those of Hendrycks & Dietterich, arXiv:1903.12261, by
formulas of our own with their constants. There are two published lists of constants: of 224 pixels
(ImageNet-C) and of 32 pixels (CIFAR-10-C). An image takes the list whose side is nearer to its own
shorter side in ratio, and every length of it grows by own side / side of the list.

Not as published: frost lays a texture that is made here over the image, where ImageNet-C has
photographs of ice; glass blur swaps pixels in another order, so that many can be swapped at once.

Images are float (H, W, 3), black 0, white 1, until they are written.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image

from ..errors import ConfigError
from .severities import KINDS, check_kind

Draw = np.random.Generator


def corrupt(pixels: np.ndarray, kind: str, severity: int, draw: Draw | int = 0) -> np.ndarray:
    """An image disturbed: uint8 (H, W, 3) to the same.

    Arguments:
        pixels: RGB.
        kind: of `severities.KINDS`.
        severity: 1 to 5.
        draw: a generator, or the seed of one.

    Returns:
        The image, as large as it was.

    Raises:
        ConfigError: for another kind or severity, or what is no such image.

    Example:
        >>> import numpy as np
        >>> grey = np.full((32, 32, 3), 128, np.uint8)
        >>> clipft.corrupt(grey, "brightness", 5)[0, 0].tolist()
        [204, 204, 204]
    """
    check_kind(kind, severity)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        wanted = "wanted: RGB, uint8 (H, W, 3), e.g. np.asarray(image.convert('RGB'))"
        raise ConfigError(f"pixels are {pixels.dtype} {pixels.shape}; {wanted}")
    shorter = min(pixels.shape[:2])
    side, constants = KINDS[kind].nearest(shorter)
    scene = Scene(pixels, shorter / side, np.random.default_rng(draw))
    return FORMULAS[kind](scene, *constants[severity - 1])


class Scene(NamedTuple):
    """What a kind works on."""

    pixels: np.ndarray  # uint8 (H, W, 3)
    scale: float  # by which published lengths grow
    draw: Draw

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        height, width = self.pixels.shape[:2]
        return height, width

    @property
    def shown(self) -> np.ndarray:
        """float (H, W, 3), 0 to 1."""
        return self.pixels / 255


def _written(shown: np.ndarray) -> np.ndarray:
    """float (H, W, 3) to uint8."""
    return np.rint(255 * shown.clip(0, 1)).astype(np.uint8)


# --- noise


def gaussian_noise(scene: Scene, sigma: float) -> np.ndarray:
    """x + N(0, sigma^2)."""
    return _written(scene.shown + scene.draw.normal(0, sigma, scene.pixels.shape))


def shot_noise(scene: Scene, photons: float) -> np.ndarray:
    """Poisson(x * photons) / photons."""
    return _written(scene.draw.poisson(scene.shown * photons) / photons)


def impulse_noise(scene: Scene, share: float) -> np.ndarray:
    """This share of all values is black or white, one as often as the other."""
    drawn = scene.draw.random(scene.pixels.shape)
    noisy = np.where(drawn < share / 2, 0, scene.pixels)
    return np.where(drawn > 1 - share / 2, 255, noisy).astype(np.uint8)


# --- blur


def defocus_blur(scene: Scene, radius: float, soft: float) -> np.ndarray:
    """Convolved with a disk of this radius, whose rim a Gaussian softens."""
    from scipy.ndimage import gaussian_filter

    radius *= scene.scale
    reach = max(math.ceil(radius), 1) + 2
    axis = np.arange(-reach, reach + 1)
    disk = (axis[:, None] ** 2 + axis**2 <= radius**2).astype(float)
    # The release's Gaussian has 3 x 3 values, up to a radius of 8 pixels; then 5 x 5.
    rim = 1 if radius <= 8 * max(scene.scale, 1) else 2
    kernel = gaussian_filter(disk / disk.sum(), soft * scene.scale, radius=rim, mode="constant")
    padded = np.pad(scene.shown, ((reach, reach), (reach, reach), (0, 0)), mode="symmetric")
    return _written(_convolved(padded, kernel)[2 * reach :, 2 * reach :])


def _convolved(shown: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """By products of spectra, (H, W, C); where the kernel leaves one side it comes in at the other,
    which reaches as far as the kernel less one pixel.
    """
    size = shown.shape[:2]
    product = np.fft.rfft2(shown, size, (0, 1)) * np.fft.rfft2(kernel, size)[..., None]
    return np.fft.irfft2(product, size, (0, 1))


def glass_blur(scene: Scene, sigma: float, reach: int, rounds: int) -> np.ndarray:
    """Blurred; then each pixel changes places with one at most `reach` away, `rounds` times;
    blurred again.
    """
    from scipy.ndimage import gaussian_filter

    sigmas = (sigma * scene.scale, sigma * scene.scale, 0)
    soft = gaussian_filter(scene.shown, sigmas, mode="nearest")
    reach = max(1, round(reach * scene.scale))
    places = _swapped(scene, reach, rounds)
    swapped = soft.reshape(-1, 3)[places].reshape(soft.shape)
    return _written(gaussian_filter(swapped, sigmas, mode="nearest"))


def _swapped(scene: Scene, reach: int, rounds: int) -> np.ndarray:
    """Where each pixel comes from, (H * W,).

    Pixels that lie 2 * reach + 1 apart cannot meet, so they change places at once, and these groups
    come one after the other.
    """
    height, width = scene.size
    places = np.arange(height * width)
    apart = 2 * reach + 1
    for _ in range(rounds):
        # from -reach to reach - 1: the release draws so
        moves = scene.draw.integers(-reach, reach, (2, height, width))
        for corner in scene.draw.permutation(apart**2):
            row, column = divmod(int(corner), apart)
            rows = np.arange(row, height, apart)[:, None]
            columns = np.arange(column, width, apart)
            down, right = moves[:, row::apart, column::apart]
            there_rows = (rows + down).clip(0, height - 1)
            there_columns = (columns + right).clip(0, width - 1)
            here = (rows * width + columns).ravel()
            there = (there_rows * width + there_columns).ravel()
            places[here], places[there] = places[there], places[here].copy()
    return places


def motion_blur(scene: Scene, radius: float, sigma: float) -> np.ndarray:
    """Along a line at an angle of up to 45 degrees, with the weights of half a Gaussian."""
    angle = scene.draw.uniform(-45, 45)
    return _written(_moved(scene.shown, radius * scene.scale, sigma * scene.scale, angle))


def _moved(shown: np.ndarray, radius: float, sigma: float, angle: float) -> np.ndarray:
    """sum_i w_i x(p + i u), w_i ~ exp(-i^2 / 2 sigma^2), i = 0 ... 2 radius, u at this angle;
    (H, W) or (H, W, C).
    """
    steps = np.arange(2 * round(radius) + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    weights /= weights.sum()
    down = np.rint(steps * math.sin(math.radians(angle))).astype(int)
    right = np.rint(steps * math.cos(math.radians(angle))).astype(int)
    height, width = shown.shape[:2]
    reach = int(steps[-1])
    borders = [(reach, reach), (reach, reach), (0, 0)][: shown.ndim]
    padded = np.pad(shown, borders, mode="edge")
    total = np.zeros_like(shown)
    for weight, row, column in zip(weights, reach + down, reach + right, strict=True):
        total += weight * padded[row : row + height, column : column + width]
    return total


def zoom_blur(scene: Scene, most: float, step: float) -> np.ndarray:
    """The mean of the image and of its middle, enlarged 1, 1 + step ... times, less than `most`."""
    image = Image.fromarray(scene.pixels)
    factors = np.arange(1, most, step)
    total = scene.shown
    for factor in factors:
        total += np.asarray(_enlarged(image, factor)) / 255
    return _written(total / (len(factors) + 1))


def _enlarged(image: Image.Image, factor: float) -> Image.Image:
    """The middle of an image at its size."""
    width, height = image.size
    left, top = (width - width / factor) / 2, (height - height / factor) / 2
    box = (left, top, width - left, height - top)
    return image.resize(image.size, Image.Resampling.BILINEAR, box)


# --- weather


def snow(scene: Scene, *of: float) -> np.ndarray:
    """Flakes, which wind blurs, on an image that is greyer and lighter.

    of: mean and deviation of what flakes are cut of, how much they are enlarged, above which value
    they are seen, radius and sigma of the wind, and the share of the image that keeps its colours.
    """
    mean, deviation, zoom, least, radius, sigma, kept = of
    layer = scene.draw.normal(mean, deviation, scene.size).astype(np.float32)
    layer = np.asarray(_enlarged(Image.fromarray(layer), max(1.0, zoom * scene.scale)))
    layer = np.where(layer < least, 0, layer).clip(0, 1)
    angle = scene.draw.uniform(-135, -45)
    flakes = _moved(layer, radius * scene.scale, sigma * scene.scale, angle)[..., None]
    shown = scene.shown
    lighter = np.maximum(shown, 1.5 * _grey(shown) + 0.5)
    return _written(kept * shown + (1 - kept) * lighter + flakes + flakes[::-1, ::-1])


def _grey(shown: np.ndarray) -> np.ndarray:
    """Luma, (H, W, 1)."""
    return shown @ np.array([[0.299], [0.587], [0.114]])


def frost(scene: Scene, kept: float, ice: float) -> np.ndarray:
    """kept * x + ice * texture."""
    return _written(kept * scene.shown + ice * _ice(scene))


NEEDLES = 6  # directions in which ice grows
TINT = (0.84, 0.96, 1.0)  # the colour of ice
BASE, CLOUDS, BRIGHT = 0.3, 0.5, 0.45  # where ice is thin; what thickness adds, and needles


def _ice(scene: Scene) -> np.ndarray:
    """A texture of ice, (H, W, 3): noise drawn out into needles of several directions and lengths,
    the strongest of them at each place, thicker here than there.

    It is made at half the size, so that no needle is one pixel thin.
    """
    height, width = (-(-side // 2) for side in scene.size)
    most = max(height, width)
    needles = np.zeros((height, width))
    for angle in scene.draw.uniform(0, 360, NEEDLES):
        length = most * scene.draw.uniform(0.03, 0.12)
        noise = scene.draw.normal(0, 1, needles.shape) ** 3
        needles = np.maximum(needles, _moved(noise, length, length / 2, angle))
    strong = np.quantile(needles, 0.95)
    if strong > 0:  # of a few pixels none may have a needle
        needles = (needles / strong).clip(0, 1)
    thick = _cloud((height, width), 1.3, scene.draw)
    grey = (BASE + CLOUDS * thick + BRIGHT * needles * thick).astype(np.float32)
    size = (scene.size[1], scene.size[0])
    smooth = Image.fromarray(grey).resize(size, Image.Resampling.BICUBIC)
    return np.asarray(smooth)[..., None].clip(0, 1) * np.array(TINT)


def fog(scene: Scene, strength: float, decay: float) -> np.ndarray:
    """(x + strength * plasma) * m / (m + strength), m the brightest value of x."""
    plasma = _cloud(scene.size, decay, scene.draw)[..., None]
    shown = scene.shown
    most = shown.max()
    return _written((shown + strength * plasma) * most / (most + strength))


LONG = 4  # sides to one: a square cloud over a longer image would not fit into memory


def _cloud(size: tuple[int, int], decay: float, draw: Draw) -> np.ndarray:
    """A cloud of this height and width; along a long image it comes again, without a seam."""
    cloud = _plasma(min(max(size), LONG * min(size)), decay, draw)
    rows, columns = (np.arange(side) % len(cloud) for side in size)
    return cloud[rows[:, None], columns]


def _plasma(least: int, decay: float, draw: Draw) -> np.ndarray:
    """A cloud from 0 to 1 by the diamond-square algorithm, square, of `least` pixels or more.

    A point is the mean of its four neighbours plus noise, whose amplitude falls by decay^2 with
    each halving of the step; what leaves at one side comes in at the other.
    """
    side = 1 << max(1, (least - 1).bit_length())
    cloud = np.zeros((side, side))
    step, noise = side, 1.0

    def around(total: np.ndarray) -> np.ndarray:
        return total / 4 + noise * draw.uniform(-1, 1, total.shape)

    while step > 1:
        half = step // 2
        corners = cloud[::step, ::step]
        pairs = corners + np.roll(corners, -1, 0)
        middles = around(pairs + np.roll(pairs, -1, 1))
        cloud[half::step, half::step] = middles
        above = middles + np.roll(middles, 1, 0)
        cloud[::step, half::step] = around(above + corners + np.roll(corners, -1, 1))
        beside = middles + np.roll(middles, 1, 1)
        cloud[half::step, ::step] = around(beside + corners + np.roll(corners, -1, 0))
        step, noise = half, noise / decay**2
    cloud -= cloud.min()
    return cloud / cloud.max()


def brightness(scene: Scene, more: float) -> np.ndarray:
    """The value of HSV plus this; hue and saturation stay."""
    shown = scene.shown
    value = shown.max(-1, keepdims=True)
    lighter = (value + more).clip(0, 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return _written(np.where(value > 0, shown * lighter / value, lighter))


# --- what cameras and files do


def contrast(scene: Scene, kept: float) -> np.ndarray:
    """(x - m) * kept + m, m the mean of each channel."""
    shown = scene.shown
    mean = shown.mean((0, 1))
    return _written((shown - mean) * kept + mean)


def elastic_transform(scene: Scene, far: float, sigma: float, bend: float) -> np.ndarray:
    """Three points moved by up to `bend` say an affine map; then each pixel is moved by `far` times
    smooth noise of width sigma.
    """
    from scipy.ndimage import gaussian_filter

    far, sigma, bend = far * scene.scale, sigma * scene.scale, bend * scene.scale
    height, width = scene.size
    middle = np.array([height // 2, width // 2])
    square = min(scene.size) // 3
    points = middle + square * np.array([[1, 1], [1, -1], [-1, -1]])
    moved = points + scene.draw.uniform(-bend, bend, points.shape)
    # what lies at `moved` afterwards was at `points`: back @ (y, x, 1)
    back = np.linalg.solve(np.column_stack([moved, np.ones(3)]), points).T

    noise = scene.draw.uniform(-1, 1, (2, height, width))
    away = [far * gaussian_filter(one, sigma, mode="reflect", truncate=3) for one in noise]
    y, x = np.indices(scene.size) + np.array(away)
    return _at(scene, np.tensordot(back, np.stack([y, x, np.ones_like(x)]), 1))


def _at(scene: Scene, places: np.ndarray) -> np.ndarray:
    """What lies at these places (2, H, W), between pixels on the line, mirrored at the borders."""
    from scipy.ndimage import map_coordinates

    shown = scene.shown
    channels = [
        map_coordinates(shown[..., channel], places, order=1, mode="reflect")
        for channel in range(shown.shape[-1])
    ]
    return _written(np.stack(channels, -1))


def pixelate(scene: Scene, share: float) -> np.ndarray:
    """Shrunk to this share by the mean over boxes, and enlarged again by repeating."""
    return _there_and_back(scene, share, Image.Resampling.BOX, Image.Resampling.NEAREST)


def _there_and_back(
    scene: Scene, share: float, down: Image.Resampling, up: Image.Resampling
) -> np.ndarray:
    image = Image.fromarray(scene.pixels)
    width, height = image.size
    small = image.resize((max(1, int(width * share)), max(1, int(height * share))), down)
    return np.asarray(small.resize(image.size, up))


def jpeg_compression(scene: Scene, quality: int) -> np.ndarray:
    """Written as a JPEG of this quality, and read."""
    file = io.BytesIO()
    Image.fromarray(scene.pixels).save(file, "jpeg", quality=quality)
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"))


# --- five ways more


def crop(scene: Scene, share: float) -> np.ndarray:
    """A window of this share of both sides, anywhere, enlarged to the image's size."""
    image = Image.fromarray(scene.pixels)
    left, top = scene.draw.random(2) * (1 - share) * np.array(image.size)
    box = (left, top, left + share * image.width, top + share * image.height)
    return np.asarray(image.resize(image.size, Image.Resampling.BICUBIC, box))


def rotation(scene: Scene, degrees: float) -> np.ndarray:
    """Turned by this angle, left or right, mirrored at the borders."""
    angle = math.radians(degrees) * scene.draw.choice([-1, 1])
    height, width = scene.size
    middle = np.array([(height - 1) / 2, (width - 1) / 2])[:, None, None]
    y, x = np.indices(scene.size) - middle
    turned = [math.cos(angle) * y - math.sin(angle) * x, math.sin(angle) * y + math.cos(angle) * x]
    return _at(scene, np.array(turned) + middle)


def greyscale(scene: Scene, share: float) -> np.ndarray:
    """This share of the colours is replaced by luma."""
    shown = scene.shown
    return _written((1 - share) * shown + share * _grey(shown))


def resolution(scene: Scene, share: float) -> np.ndarray:
    """Shrunk to this share of its sides and enlarged again, smoothly both times."""
    cubic = Image.Resampling.BICUBIC
    return _there_and_back(scene, share, cubic, cubic)


FORMULAS: dict[str, Callable[..., np.ndarray]] = {
    "gaussian_noise": gaussian_noise,
    "shot_noise": shot_noise,
    "impulse_noise": impulse_noise,
    "defocus_blur": defocus_blur,
    "glass_blur": glass_blur,
    "motion_blur": motion_blur,
    "zoom_blur": zoom_blur,
    "snow": snow,
    "frost": frost,
    "fog": fog,
    "brightness": brightness,
    "contrast": contrast,
    "elastic_transform": elastic_transform,
    "pixelate": pixelate,
    "jpeg_compression": jpeg_compression,
    "crop": crop,
    "rotation": rotation,
    "greyscale": greyscale,
    "jpeg": jpeg_compression,
    "resolution": resolution,
}
