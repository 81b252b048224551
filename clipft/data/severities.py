"""What can be done to an image, how much at each severity; the formulas are in corruptions.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError, unknown

LARGE, SMALL = 224, 32  # pixels of a side, for which constants are published
SEVERITIES = (1, 2, 3, 4, 5)

Constants = tuple[tuple[Any, ...], ...]  # what a formula takes, at each severity


@dataclass(frozen=True)
class Kind:
    """The constants of a kind, for large and for small images."""

    large: Constants
    small: Constants

    def nearest(self, shorter: int) -> tuple[int, Constants]:
        """The side, of those with constants, that is nearer in ratio to this one, and its list."""
        return (SMALL, self.small) if shorter**2 < SMALL * LARGE else (LARGE, self.large)


def _kind(large: Any, small: Any = ()) -> Kind:
    """A constant that stands alone is a row of one; small: () where both are the same."""

    def rows(given: Any) -> Constants:
        return tuple(row if isinstance(row, tuple) else (row,) for row in given)

    return Kind(rows(large), rows(small or large))


# arXiv:1903.12261, ImageNet-C and CIFAR-10-C; lengths in pixels of an image of 224, of 32
COMMON = {
    "gaussian_noise": _kind((0.08, 0.12, 0.18, 0.26, 0.38), (0.04, 0.06, 0.08, 0.09, 0.10)),
    "shot_noise": _kind((60, 25, 12, 5, 3), (500, 250, 100, 75, 50)),
    "impulse_noise": _kind((0.03, 0.06, 0.09, 0.17, 0.27), (0.01, 0.02, 0.03, 0.05, 0.07)),
    "defocus_blur": _kind(
        ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
        ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    ),
    "glass_blur": _kind(
        ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
        ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    ),
    "motion_blur": _kind(
        ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
        ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    ),
    "zoom_blur": _kind(
        ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
        ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
    ),
    "snow": _kind(
        (
            (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
            (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
            (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
        ),
        (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
    ),
    "frost": _kind(
        ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
        ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
    ),
    "fog": _kind(
        ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
        ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    ),
    "brightness": _kind((0.1, 0.2, 0.3, 0.4, 0.5), (0.05, 0.1, 0.15, 0.2, 0.3)),
    "contrast": _kind((0.4, 0.3, 0.2, 0.1, 0.05), (0.75, 0.5, 0.4, 0.3, 0.15)),
    "elastic_transform": _kind(
        # The release multiplies by 244; so it is.
        (
            (488, 170.8, 24.4),
            (488, 19.52, 48.8),
            (12.2, 2.44, 4.88),
            (17.08, 2.44, 4.88),
            (29.28, 2.44, 4.88),
        ),
        ((0, 0, 2.56), (1.6, 6.4, 2.24), (2.56, 1.92, 1.92), (3.2, 1.28, 1.6), (3.2, 0.96, 0.96)),
    ),
    "pixelate": _kind((0.6, 0.5, 0.4, 0.3, 0.25), (0.95, 0.9, 0.85, 0.75, 0.65)),
    "jpeg_compression": _kind((25, 18, 15, 10, 7), (80, 65, 58, 50, 40)),
}
MORE = {  # ours, of images of any size
    "crop": _kind((0.9, 0.8, 0.7, 0.6, 0.5)),
    "rotation": _kind((10, 20, 30, 45, 90)),
    "greyscale": _kind((0.2, 0.4, 0.6, 0.8, 1.0)),
    "jpeg": _kind((75, 50, 30, 15, 5)),
    "resolution": _kind((0.5, 0.35, 0.25, 0.18, 0.125)),
}
KINDS = COMMON | MORE


def check_kind(kind: str, severity: int) -> None:
    """Raise ConfigError for another kind or severity."""
    if kind not in KINDS:
        raise unknown("kind of made shift", kind, KINDS)
    if severity not in SEVERITIES:
        wanted = "wanted: a whole number from 1 to 5"
        raise ConfigError(f"severity of {kind}: {severity!r}; {wanted}")


def disturbed_size(size: tuple[int, int]) -> tuple[int, int]:
    """Width and height of what is disturbed of an image of this width and height: where its shorter
    side is above 224 pixels it is shrunk to that before, as ImageNet-C's are.
    """
    shorter = min(size)
    if shorter <= LARGE:
        return size
    width, height = (round(side * LARGE / shorter) for side in size)
    return width, height
