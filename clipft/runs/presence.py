"""What a run will need of the disk to its end: its images, and room for what it will write."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from ..errors import ConfigError, ImageError
from ..progress import progress_bar, write

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..data.splits import Split

FEW = 8  # files of one folder: so few are asked for one by one, not found in its listing
ADVICE = "bring them, or leave them out: --skip-bad-images, or Reading(skip_bad=True)"


def check_images_there(
    splits: Sequence[Split], *, skip_bad: bool = False, progress: bool = True
) -> None:
    """Raise ImageError where images are not there, or say how many with skip_bad.

    Each folder is listed once, no image is opened. Raises ConfigError for a split without any row,
    ImageError where all images of one are missing.
    """
    for split in splits:
        if not len(split):
            advice = "a class needs two images for one of them to be held out, or give it a list"
            if split.part == "val":
                advice += ", or train to the end: selection=last"
            raise ConfigError(f"{split.name} has no image; {advice}")

    missing = _missing(splits, progress=progress)
    if not missing:
        return
    for split in splits:
        if missing.issuperset(_paths(split)):
            first = split.root / split.ids[0]
            raise ImageError(f"image missing: {first}, and so are all {len(split)} of {split.name}")

    of_each = {split.name: [path for path in _paths(split) if path in missing] for split in splits}
    counts = [f"{len(paths)} of {name}" for name, paths in of_each.items() if paths]
    first_missing = next(paths[0] for paths in of_each.values() if paths)
    found = f"image missing: {first_missing}, the first of {', '.join(counts)}"
    if not skip_bad:
        raise ImageError(f"{found}; {ADVICE}")
    write(f"{found}; they are left out")


def _paths(split: Split) -> Iterable[str]:
    root = str(split.root)
    return (os.path.join(root, name) for name in split.ids)  # an id from outside is absolute


def _missing(splits: Sequence[Split], *, progress: bool) -> set[str]:
    """Paths of the images that are not there."""
    asked: dict[str, set[str]] = defaultdict(set)
    for split in splits:
        for path in _paths(split):
            folder, name = os.path.split(path)
            asked[folder].add(name)

    missing = set()
    images = sum(len(names) for names in asked.values())
    with progress_bar(images, "looking for images", "image", show=progress) as bar:
        for folder, names in asked.items():
            listed = set() if len(names) <= FEW else _files(folder)
            for name in names - listed:
                # A file may be there under a name that is spelled otherwise, as on macOS.
                path = f"{folder}/{name}"
                if not os.path.isfile(path):
                    missing.add(path)
            bar.update(len(names))
    return missing


def _files(folder: str) -> set[str]:
    """The names of the files in a folder; none where there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.is_file()}
    except OSError:
        return set()


def without_images(train: Split, names: Sequence[str]) -> list[str]:
    """The classes that have no training image."""
    seen = Counter(train.labels)
    return [name for label, name in enumerate(names) if not seen[label]]


def say_classes_without_images(train: Split, names: Sequence[str]) -> None:
    """Say in one line how many classes have no training image; nothing where all have one."""
    empty = without_images(train, names)
    if empty:
        share = f"{len(empty)} of {len(names)} classes have no image in {train.name}"
        write(f"{share}, the first is {empty[0]!r}; only the zero-shot model knows them")
