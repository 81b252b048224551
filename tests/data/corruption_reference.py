"""What another library makes of one image, as numbers: corruption_reference.json.

Made in an environment of its own, since the library brings 434 MB:

    pip install imagecorruptions-imaug==1.1.5
    python tests/data/corruption_reference.py

The test that holds clipft's corruptions against these numbers needs no library.
"""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

FILE = Path(__file__).with_suffix(".json")
SEEDS = 5  # of kinds that draw
SEVERITIES = range(1, 6)
FIXED = ("defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression")
DRAWN = (
    "gaussian_noise", "shot_noise", "impulse_noise", "glass_blur", "motion_blur", "snow", "frost",
    "fog", "elastic_transform",
)  # fmt: skip
BANDS = 7  # of spatial frequencies, each an octave


def photograph(side: int = 224) -> np.ndarray:
    """Smooth coloured shapes of all sizes, sharp edges, a little noise: uint8 (side, side, 3)."""
    draw = np.random.default_rng(7)
    pixels = np.full((side, side, 3), 120.0)
    for cells in (2, 4, 8, 16, 32, 64):
        shapes = draw.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        smooth = Image.fromarray(shapes).resize((side, side), Image.Resampling.BICUBIC)
        pixels += (np.asarray(smooth) - 127.5) * 0.7 / cells**0.4
    for _ in range(6):
        top, left = draw.integers(0, side * 3 // 4, 2)
        pixels[top : top + side // 6, left : left + side // 5] += draw.normal(0, 35, 3)
    pixels += draw.normal(0, 3, pixels.shape)
    return pixels.clip(0, 255).astype(np.uint8)


def places(side: int = 224) -> np.ndarray:
    """(2, 50) rows and columns that are compared value by value."""
    return np.random.default_rng(1).integers(0, side, (2, 50))


def statistics(clean: np.ndarray, corrupted: list[np.ndarray]) -> dict[str, list[float]]:
    """Means over draws: PSNR (dB), the mean of each channel, and the spread of luma in octaves of
    spatial frequency, from the whole image to two pixels.
    """
    psnr, means, bands = [], [], []
    for image in corrupted:
        difference = image.astype(float) - clean
        psnr.append(10 * np.log10(255**2 / np.mean(difference**2)))
        means.append(image.mean((0, 1)))
        luma = image @ np.array([0.299, 0.587, 0.114])
        power = np.abs(np.fft.fft2(luma)) ** 2 / luma.size**2
        frequency = np.hypot(*np.meshgrid(*[np.fft.fftfreq(side) * side for side in luma.shape]))
        edges = 2.0 ** np.arange(BANDS + 1)
        inside = [
            power[(frequency >= low) & (frequency < high)].sum() for low, high in pairwise(edges)
        ]
        bands.append(np.sqrt(inside))
    return {
        "psnr": [round(float(np.mean(psnr)), 2)],
        "means": np.mean(means, 0).round(2).tolist(),
        "bands": np.mean(bands, 0).round(3).tolist(),
    }


def main() -> None:
    """Write the numbers of the library."""
    from imagecorruptions import corrupt

    clean = photograph()
    numbers: dict[str, dict] = {}
    for kind in (*FIXED, *DRAWN):
        for severity in SEVERITIES:
            images = []
            for seed in range(1 if kind in FIXED else SEEDS):
                np.random.seed(seed)  # noqa: NPY002
                own = {"seed": seed} if kind in ("impulse_noise", "glass_blur") else {}
                image = corrupt(clean, severity, kind, **own)
                images.append(np.asarray(image).astype(np.uint8))
            found: dict[str, list] = statistics(clean, images)
            if kind in FIXED:
                found["values"] = images[0][tuple(places())].tolist()
            numbers[f"{kind} {severity}"] = found
    lines = [f"{json.dumps(name)}: {json.dumps(row)}" for name, row in numbers.items()]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
