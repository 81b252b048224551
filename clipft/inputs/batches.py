"""From a manifest's rows to pixels: decode, transform, and the endless training stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import (
    Compose,
    InterpolationMode,
    RandomHorizontalFlip,
    RandomResizedCrop,
)
from torchvision.transforms.functional import pil_to_tensor

from ..config import seed_of
from ..data.images import decode
from ..errors import ConfigError, ImageError
from ..progress import write
from .draws import rng

if TYPE_CHECKING:
    from torch import Tensor

    from ..data.splits import Split

KEEP_BYTES = 2 << 30  # decoded training images are kept in memory up to this size
CHUNK_BYTES = 1 << 30  # and evaluation pixels are held this many at a time

Transform = Callable[[Image.Image], Image.Image]


def train_transform(
    size: int | tuple[int, int], crop: tuple[float, float], flip: bool
) -> Transform:
    """Random-resized crop (area as a fraction of the image) and horizontal flip, as the papers train."""
    steps: list[Transform] = [
        RandomResizedCrop(size, scale=crop, interpolation=InterpolationMode.BICUBIC)
    ]
    return Compose([*steps, RandomHorizontalFlip()] if flip else steps)


class Images(Dataset):
    """Rows -> (uint8 (3, H, W), label, row) each; a row that cannot be read raises ImageError, or with skip_bad is
    given back as its bare number.

    With a `seed` an index is (row, draw): a batch's randomness depends on the seed and its first draw alone, so any
    step of the stream can be made again, whatever the number of workers.
    """

    def __init__(
        self,
        split: Split,
        transform: Transform,
        seed: int | None = None,
        keep_bytes=0,
        skip_bad=False,
    ):
        self.split, self.transform, self.seed, self.skip_bad = split, transform, seed, skip_bad
        self.kept: dict[int, Image.Image] = {}
        self.keep_bytes = keep_bytes  # room left for decoded images

    def __len__(self) -> int:
        return len(self.split)

    def __getitems__(self, indices: list) -> list:
        if self.seed is None:
            return [self._item(row) for row in indices]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(self.seed, f"augment:{indices[0][1]}"))
            return [self._item(row) for row, _ in indices]

    def _item(self, row: int) -> tuple[Tensor, int, int] | int:
        try:
            image = self._image(row)
        except ImageError:
            if self.skip_bad:
                return row
            raise
        return pil_to_tensor(self.transform(image)), self.split.labels[row], row

    def _image(self, row: int) -> Image.Image:
        if row in self.kept:
            return self.kept[row]
        image = decode(self.split.root / self.split.ids[row])
        size = 3 * image.width * image.height
        if size <= self.keep_bytes:
            self.kept[row] = image
            self.keep_bytes -= size
        return image


class Batch:
    """Pixels uint8 (B, 3, H, W), labels (B,), rows (B,), and the rows that could not be read (skip_bad only)."""

    def __init__(self, items: list):
        good = [item for item in items if not isinstance(item, int)]
        self.bad: list[int] = [item for item in items if isinstance(item, int)]
        self.pixels = (
            torch.stack([pixels for pixels, _, _ in good])
            if good
            else torch.empty(0, dtype=torch.uint8)
        )
        self.labels = torch.tensor([label for _, label, _ in good], dtype=torch.long)
        self.rows = torch.tensor([row for _, _, row in good], dtype=torch.long)

    @classmethod
    def of(cls, pixels: Tensor, labels: Tensor, rows: Tensor) -> Batch:
        """A batch of what is already stacked."""
        batch = cls([])
        batch.pixels, batch.labels, batch.rows = pixels, labels, rows
        return batch

    @classmethod
    def join(cls, batches: Sequence[Batch]) -> Batch:
        """One batch of several."""
        joined, full = cls([]), [batch for batch in batches if len(batch.rows)]
        if full:
            names = ("pixels", "labels", "rows")
            joined = cls.of(
                *(torch.cat([getattr(batch, name) for batch in full]) for name in names)
            )
        joined.bad = [row for batch in batches for row in batch.bad]
        return joined


class Stream:
    """Batch sampler over endless epochs: batch t holds the draws t*B ... (t+1)*B of the concatenated shuffles.

    A pure function of (seed, step), so a resumed run sees what the uninterrupted one would have seen.
    """

    def __init__(self, rows: int, batch_size: int, steps: range, seed: int):
        self.rows, self.batch_size, self.steps, self.seed = rows, batch_size, steps, seed

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch, order = -1, []
        for step in self.steps:
            batch = []
            for draw in range(step * self.batch_size, (step + 1) * self.batch_size):
                if draw // self.rows != epoch:
                    epoch = draw // self.rows
                    order = torch.randperm(
                        self.rows, generator=rng(self.seed, f"shuffle:{epoch}")
                    ).tolist()
                batch.append((order[draw % self.rows], draw))
            yield batch


def train_batches(
    split: Split,
    transform: Transform,
    batch_size: int,
    steps: range,
    seed: int,
    workers=0,
    skip_bad=False,
) -> Iterator[Batch]:
    """The augmented batches of these steps. Decoded images are kept in memory as far as KEEP_BYTES goes."""
    images = Images(split, transform, seed, KEEP_BYTES if workers == 0 else 0, skip_bad)
    sampler = Stream(len(split), batch_size, steps, seed)
    yield from _load(
        DataLoader(images, batch_sampler=sampler, collate_fn=Batch, num_workers=workers)
    )


def pixel_chunks(
    split: Split, transform: Transform, workers=0, skip_bad=False, say: bool = True
) -> Iterator[Batch]:
    """The split's pixels, decoded once, in chunks of about CHUNK_BYTES; at the end one line `says` what was skipped."""
    held, bad = list[Batch](), list[int]()
    images = Images(split, transform, skip_bad=skip_bad)
    for batch in _load(DataLoader(images, batch_size=256, collate_fn=Batch, num_workers=workers)):
        held.append(batch)
        bad += batch.bad
        if sum(b.pixels.nbytes for b in held) > CHUNK_BYTES:
            yield Batch.join(held)
            held = []
    if held:
        yield Batch.join(held)
    if bad and say:
        write(skipped(split, bad))


def skipped(split: Split, bad: Sequence[int]) -> str:
    """The one line that says which images were left out."""
    return f"skipped {len(bad)} of {len(split)} images of {split.name}, the first is {split.root / split.ids[bad[0]]}"


class Pixels:
    """A split's pixels, again and again: decoded once and kept as uint8 if they fit in `keep` bytes, else each time."""

    def __init__(
        self, split: Split, transform: Transform, workers=0, skip_bad=False, keep: int = CHUNK_BYTES
    ):
        self.split, self.keep = split, keep
        self.source = (split, transform, workers, skip_bad)
        self.held: list[Batch] | None = None
        self.said = False

    def __iter__(self) -> Iterator[Batch]:
        if self.held is not None:
            yield from self.held
            return
        held, size = [], 0
        for chunk in pixel_chunks(*self.source, say=not self.said):
            size += chunk.pixels.nbytes
            held = [*held, chunk] if size <= self.keep else []
            yield chunk
        self.said = True
        if size <= self.keep:
            self.held = held


def _load(loader: DataLoader) -> Iterator[Batch]:
    try:
        yield from loader
    except (
        ImageError
    ) as error:  # from a worker process its text is a whole traceback; the last line is ours
        raise ImageError(
            str(error).strip().splitlines()[-1].removeprefix("clipft.errors.ImageError: ")
        ) from None


def few_shot(split: Split, shots: int, generator: torch.Generator, classes: Sequence[str]) -> Split:
    """Draw `shots` rows of every class, in list order; a class with fewer gives all it has.

    Raises ConfigError that names the first class without any row.
    """
    labels, chosen = torch.as_tensor(split.labels), []
    for label, name in enumerate(classes):
        rows = (labels == label).nonzero()[:, 0]
        if not len(rows):
            raise ConfigError(
                f"class {name!r} has no image in {split.name}; a few-shot draw needs one of each class"
            )
        chosen += rows[torch.randperm(len(rows), generator=generator)[:shots]].tolist()
    return split.take(sorted(chosen))
