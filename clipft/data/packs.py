"""A packed copy of training images, decoded once: a cache of pixels that `Decoding` decides.

An image is looked up by its file's name, size and time of change, so a changed one is decoded.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..config import digest
from ..disk.files import cache_dir, check_room
from ..disk.lock import lock
from ..disk.packed import CHANNELS, FOLDER, Packed, add
from ..errors import ConfigError, ImageError
from ..progress import progress_bar, say, write
from .images import decode, shrunk_size, size_of
from .manifests import load_manifest
from .splits import Split, SplitName

FORMAT = 1  # of the keys
TRAIN = "train"  # the part that is packed: all else is read once or twice
LOOKED_AT = 64  # images whose size is asked for before
BLOCK = 256  # images that are decoded side by side
KEPT_EVERY = 1 << 30  # bytes after which what is packed outlives a kill


@dataclass(frozen=True)
class Pack:
    """Where a split's packed images lie, how many, how many were left out, and bytes in all."""

    folder: Path
    images: int
    unreadable: int
    size: int


def place_of(split: Split, domain: str) -> Path:
    """The folder of the packed images of a split's domain, there or not."""
    how: dict[str, Any] = asdict(replace(split.decoding, decoder=""))  # both give the same pixels
    del how["made"]  # what is made has no train
    key = digest([FORMAT, str(split.root.resolve()), domain, how], 16)
    return cache_dir() / FOLDER / key


def key_of(split: Split, row: int) -> int:
    """What names a row's image as it is now; raises OSError where it is not there."""
    name = split.ids[row]
    state = os.stat(os.path.join(split.root, name))
    text = f"{name}\0{state.st_size}\0{state.st_mtime_ns}"
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest())


class Packs:
    """The packed copies of a split's images, if there are any."""

    def __init__(self, split: Split):
        self.split = split
        domains = set(split.domains) or {split.domain}
        found = {domain: Packed.open(place_of(split, domain)) for domain in domains}
        self.of_domain = found if split.part == TRAIN else {}

    def find(self, row: int) -> np.ndarray | None:
        """The image (H, W, 3) of a row, uint8; None where it has to be decoded.

        Where a pack lacks it, a line says so.
        """
        packed = self.of_domain.get(self.split.domain_of(row))
        if packed is None:
            return None
        try:
            image = packed.find(key_of(self.split, row))
        except OSError:  # whoever decodes it says what is wrong
            return None
        if image is None:
            lacks = (
                f"the packed copy of {self.split.name} lacks images that are new or were changed"
            )
            say([f"{lacks}; they are decoded: clipft datasets pack adds them"])
        return image


def pack(
    name: str, size: int = 0, domains: Sequence[str] = (), *, skip_bad: bool = False
) -> list[Pack]:
    """Keep the decoded training images of a data set, so that repeated training reads them.

    Nothing of it changes a run: with `size` the copy serves runs with `shrink` of the same number,
    without it runs that do not shrink. It may be stopped and goes on later; what is there is added
    to where images are new or were changed.

    Arguments:
        name: a name of `clipft datasets`, or the path of a YAML file.
        size: pixels of the shorter side, as `shrink` of `RunConfig`; 0: as they are.
        domains: those that will be trained on; (): the reference.
        skip_bad: leave unreadable images out, and say how many, instead of ending at the first.

    Returns:
        One of each domain.

    Raises:
        ConfigError: for an unknown data set or domain, one without images, and a size below 0.
        ImageError: for an unreadable image, unless skip_bad.
        RunError: where another process packs the same images.
        StorageError: where the disk has no room.

    Example:
        >>> own = clipft.new_manifest("mine", root="photos", reference="studio")
        >>> (pack,) = clipft.pack("mine.yaml", size=16)
        packing studio/train of mine, 16 pixels: ...
        >>> run = clipft.train(clipft.RunConfig(manifest="mine.yaml", shrink=16))
    """
    if size < 0:
        raise ConfigError(f"size is {size}, expected pixels of the shorter side, or 0")
    manifest = load_manifest(name)
    domains = tuple(domains) or (manifest.reference,)
    seen = manifest.trained_on(domains)
    splits = []
    for domain in dict.fromkeys(domains):
        split = seen.split(str(SplitName(domain, TRAIN)))
        if not len(split):
            raise ConfigError(f"{split.name} of {manifest.name} has no image to pack")
        splits.append(replace(split, decoding=replace(split.decoding, shrink=size)))
    size_in_words = f", {size} pixels" if size else ""
    return [
        _packed(f"{split.name} of {manifest.name}{size_in_words}", split, skip_bad=skip_bad)
        for split in splits
    ]


def _packed(title: str, split: Split, *, skip_bad: bool) -> Pack:
    place = place_of(split, split.domain)
    with lock(place):
        keys = [_key_or_none(split, row) for row in range(len(split))]
        before = Packed.open(place)
        todo = [row for row, key in enumerate(keys) if not _holds(before, key)]
        unreadable: list[int] = []
        if todo:
            size = _expected(split, todo)
            write(f"packing {title}: {len(todo)} images, about {size / 1e9:.2g} GB in {place}")
            check_room(place, size)
            rows = progress_bar(todo, f"packing {title}", "image")
            add(place, title, _images(split, rows, keys, unreadable, skip_bad), KEPT_EVERY)
    after = Packed.open(place)
    if after is None:
        first = split.root / split.ids[0]
        raise ImageError(f"no image of {title} can be read, the first is {first}")
    return Pack(place, len(split) - len(unreadable), len(unreadable), after.pixels.nbytes)


def _key_or_none(split: Split, row: int) -> int | None:
    """A row's key; None where its file is not there."""
    with contextlib.suppress(OSError):
        return key_of(split, row)
    return None


def _holds(packed: Packed | None, key: int | None) -> bool:
    return packed is not None and key is not None and packed.find(key) is not None


def _expected(split: Split, rows: Sequence[int]) -> int:
    """Bytes of these rows' images, by the sizes of a few."""
    looked_at = rows[:: max(1, len(rows) // LOOKED_AT)]
    sizes = [size_of(split.root / split.ids[row]) for row in looked_at]
    shorter = split.decoding.shrink
    pixels = [math.prod(shrunk_size(size, shorter)) for size in sizes if size is not None]
    return CHANNELS * sum(pixels) * len(rows) // max(1, len(pixels))


def _images(
    split: Split,
    rows: Iterable[int],
    keys: Sequence[int | None],
    unreadable: list[int],
    skip_bad: bool,  # noqa: FBT001
) -> Iterator[tuple[int, np.ndarray]]:
    """(key, image) of rows, several decoded side by side: Pillow lets other threads run."""
    read = functools.partial(_read, split, skip_bad=skip_bad)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for block in _blocks(rows):
            for row, image in zip(block, pool.map(read, block), strict=True):
                key = keys[row]
                if image is None or key is None:
                    unreadable.append(row)
                else:
                    yield key, image


def _blocks(rows: Iterable[int]) -> Iterator[list[int]]:
    rest = iter(rows)
    while block := list(itertools.islice(rest, BLOCK)):
        yield block


def _read(split: Split, row: int, *, skip_bad: bool) -> np.ndarray | None:
    """A row's image (H, W, 3); None for one that is unreadable and may be left out."""
    try:
        return np.asarray(decode(split.root / split.ids[row], split.decoding))
    except ImageError as error:
        if skip_bad:
            return None
        advice = "repair it, or leave it out: --skip-bad-images, or skip_bad=True"
        raise ImageError(f"{error}; {advice}") from None
