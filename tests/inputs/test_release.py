"""Images as Lipsum-FT's release has them, against plain transcriptions of TensorFlow's kernels."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from clipft.inputs import release
from clipft.inputs.release import (
    Box,
    CentralPixels,
    TrainPixels,
    bicubic_weights,
    central_box,
    random_box,
    resize,
)

TABLE = 1024


def table_of_weights():
    """InitCoeffsTable of TensorFlow's resize_bicubic_op.cc, with Keys' a = -1/2."""
    a = -0.5
    table = np.zeros((TABLE + 1) * 2, np.float32)
    for i in range(TABLE + 1):
        x = i / TABLE
        table[2 * i] = ((a + 2) * x - (a + 3)) * x * x + 1
        x += 1
        table[2 * i + 1] = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return table


def plain_line(line, new):
    """One line of pixels, pixel by pixel: GetWeightsAndIndices with half-pixel centres."""
    table, old = table_of_weights(), len(line)
    out = []
    for position in range(new):
        place = np.float32((position + np.float32(0.5)) * np.float32(old / new) - np.float32(0.5))
        left = math.floor(place)
        offset = round(float((place - left) * TABLE))
        weights = [
            table[2 * offset + 1],
            table[2 * offset],
            table[2 * (TABLE - offset)],
            table[2 * (TABLE - offset) + 1],
        ]
        pixels = [left - 1, left, left + 1, left + 2]
        inside = [0 <= pixel < old for pixel in pixels]
        total = sum(weight for weight, there in zip(weights, inside, strict=True) if there)
        value = 0.0
        for weight, pixel, there in zip(weights, pixels, inside, strict=True):
            if there:
                value += weight / total * line[pixel]
        out.append(value)
    return np.array(out)


@pytest.mark.parametrize("new", [1, 2, 5, 9, 13, 27])
@pytest.mark.parametrize("old", [1, 3, 9, 20])
def test_a_line_is_resized_as_tensorflow_does(old, new):
    line = np.random.default_rng(old).uniform(0, 255, old)
    ours = bicubic_weights(old, new).double().numpy() @ line
    assert ours == pytest.approx(plain_line(line, new), abs=1e-3)


def test_an_image_is_resized_along_both_sides():
    image = torch.randint(0, 256, (3, 20, 24), dtype=torch.uint8)
    small = resize(image, (8, 6))
    for channel in range(3):
        rows = np.array([plain_line(line, 6) for line in image[channel].numpy()])
        both = np.array([plain_line(line, 8) for line in rows.T]).T
        assert small[channel].numpy() == pytest.approx(both, abs=1e-2)


def test_an_enlarged_image_is_pillows():
    """It has the same kernel, and antialiasing only where an image shrinks; the table tells places
    apart by 1/1024.
    """
    image = torch.randint(0, 256, (1, 9, 7)).float()
    pillow = Image.fromarray(image[0].numpy(), mode="F").resize((28, 36), Image.Resampling.BICUBIC)
    assert resize(image, (36, 28))[0].numpy() == pytest.approx(np.asarray(pillow), abs=0.3)


def test_a_shrunk_image_is_not_pillows():
    """Fine stripes of 0 and 255 are grey with antialiasing; without it they stay stripes."""
    image = torch.zeros(1, 40, 40)
    image[:, 1::4] = 255
    image[:, 2::4] = 255
    pillow = np.asarray(Image.fromarray(image[0].numpy(), mode="F").resize((10, 10), 3))
    ours = resize(image, (10, 10))[0].numpy()
    assert np.abs(pillow - 127.5)[2:-2].max() < 30 < np.abs(ours - pillow).max()


@pytest.mark.parametrize(("height", "width"), [(20, 24), (225, 224), (7, 7), (333, 250)])
def test_the_central_square_is_the_releases(height, width):
    side = int(np.float32(224 / (224 + 32)) * np.float32(min(height, width)))
    wanted = Box((height - side + 1) // 2, (width - side + 1) // 2, height=side, width=side)
    assert central_box(height, width) == wanted


def plain_box(height, width, area, draws):
    """SampleDistortedBoundingBox of TensorFlow, for one box that is the whole image."""
    for _ in range(10):
        aspect = 3 / 4 + next(draws) * (4 / 3 - 3 / 4)
        least, most = area[0] * height * width, area[1] * height * width
        tall, tallest = round(math.sqrt(least / aspect)), round(math.sqrt(most / aspect))
        if round(tallest * aspect) > width:
            tallest = int((width + 0.5 - 1e-7) / aspect)
            if round(tallest * aspect) > width:
                tallest -= 1
        tallest = min(tallest, height)
        tall = min(tall, tallest)
        if tall < tallest:
            tall += int(next(draws) * (tallest - tall + 1))
        wide = round(tall * aspect)
        if tall * wide < least:
            tall, wide = tall + 1, round((tall + 1) * aspect)
        if tall * wide > most:
            tall, wide = tall - 1, round((tall - 1) * aspect)
        if tall * wide < least or tall * wide > most or wide > width or tall > height:
            continue
        if wide <= 0 or tall <= 0:
            continue
        top = int(next(draws) * (height - tall)) if tall < height else 0
        left = int(next(draws) * (width - wide)) if wide < width else 0
        if tall * wide >= 0.1 * height * width:
            return Box(top, left, height=tall, width=wide)
    return None


@pytest.mark.parametrize("area", [(0.08, 1.0), (0.5, 1.0), (0.01, 0.11), (1.0, 1.0), (0.01, 0.05)])
def test_crops_are_drawn_as_tensorflow_does(area, monkeypatch):
    found = []
    for seed in range(60):
        height, width = np.random.default_rng(seed).integers(3, 60, 2).tolist()
        ours, theirs = (iter(np.random.default_rng(seed).random(99)) for _ in range(2))
        monkeypatch.setattr(release, "_uniform", lambda a, b, ours=ours: a + (b - a) * next(ours))
        monkeypatch.setattr(release, "_below", lambda end, ours=ours: int(next(ours) * end))
        box = random_box(height, width, area)
        assert box == plain_box(height, width, area, theirs)
        found.append(box)
    if area == (0.01, 0.05):  # less than a tenth of the image is never taken
        assert set(found) == {None}
    else:
        assert sum(box is not None for box in found) > 10 or area == (1.0, 1.0)


def image(height=20, width=24):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels), torch.from_numpy(pixels.transpose(2, 0, 1).copy())


def test_training_pixels_are_a_crop_resized_half_of_them_mirrored():
    picture, pixels = image()
    seen = set()
    for seed in range(20):
        torch.manual_seed(seed)
        made = TrainPixels((8, 8), (0.3, 0.9), flip=True)(picture)
        torch.manual_seed(seed)
        plain = resize(random_box(20, 24, (0.3, 0.9)).cut(pixels), (8, 8))
        assert torch.equal(made, plain) or torch.equal(made, plain.flip(-1))
        seen.add(torch.equal(made, plain))
    assert seen == {True, False}
    torch.manual_seed(1)
    unmirrored = [TrainPixels((8, 8), (0.3, 0.9), flip=False)(picture) for _ in range(9)]
    assert unmirrored[0].shape == (3, 8, 8) and unmirrored[0].is_floating_point()


def test_where_no_crop_can_be_drawn_it_is_the_central_square():
    picture, _ = image(20, 60)
    made = TrainPixels((8, 8), (1.0, 1.0), flip=False)(picture)
    assert torch.equal(made, CentralPixels((8, 8))(picture))


def test_the_pixels_that_choose_are_the_central_square():
    picture, pixels = image()
    made = CentralPixels((8, 8))(picture)
    assert torch.equal(made, resize(pixels[:, 2:19, 4:21], (8, 8)))  # 17 of 20, a half rounded up
