"""Every image of a data set is read once: what is missing, unreadable, or in two splits."""

from __future__ import annotations

import functools
import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ConfigError, ImageError
from ..progress import progress_bar
from .folders import listed
from .images import decode, spread, tile
from .lists import folder_of
from .splits import PARTS, Split, SplitName

if TYPE_CHECKING:
    from .manifests import Manifest

SMALL = 32  # pixels of a shorter side
LONG = 5  # times as long as wide
TRIED = 3  # images of a class, for one of them on the contact sheet
CHUNK = 1024  # images that wait to be read at once


@dataclass(frozen=True, slots=True)
class Seen:
    """What one image file turned out to be; fault is "" where all is well."""

    digest: bytes = b""
    size: tuple[int, int] = (0, 0)
    fault: str = ""
    tile: np.ndarray | None = None


@dataclass(frozen=True)
class Report:
    """What was found: `wrong` has to be mended, `odd` is worth a look; a line each.

    classes, tiles: of a contact sheet: domain -> an image of each of some classes, grey where none
    can be shown.
    """

    counts: list[dict[str, Any]]
    classes: list[str]
    tiles: dict[str, list[np.ndarray]]
    wrong: list[str] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)


def check_images(manifest: Manifest) -> Report:
    """Decode every image of the splits that a run uses, with a bar, and compare them by content.

    Raises ConfigError where no split can be read at all.
    """
    manifest.root_folder()
    splits, wrong, odd = _splits(manifest)
    labels = spread(len(manifest.names))
    candidates = _first_of(manifest, splits, labels)
    shown = {path for paths in candidates.values() for path in paths}
    seen = _seen(manifest, splits, shown)

    wrong += _faults(seen)
    wrong += _in_several(splits, seen)
    odd += _odd_sizes(seen)
    odd += _repeats(splits, seen)
    places = _Places(manifest)
    odd += places.contradictions(splits)
    counts = _counts(manifest, splits, places)
    odd += _without_images(manifest, splits)
    tiles = {}
    for domain in manifest.domains:
        tiles[domain] = [_shown(candidates[domain, label], seen) for label in labels]
    return Report(counts, [manifest.names[label] for label in labels], tiles, wrong, odd)


def _splits(manifest: Manifest) -> tuple[list[Split], list[str], list[str]]:
    """(the splits that a run uses, what is wrong with others, what may be so on purpose)."""
    names = [SplitName(manifest.reference, part) for part in PARTS]
    names += [SplitName(shift, "test") for shift in manifest.shifts(made=False)]
    splits = []
    wrong: dict[str, None] = {}  # one fault may be that of several splits
    odd = []
    for name in names:
        try:
            if name.part == "val" and not manifest.has(str(name)):
                odd.append(f"no {name}: runs need selection=last, or holdout: 0.2 in the manifest")
                continue
            splits.append(manifest.split(str(name)))
        except ConfigError as error:
            wrong[str(error)] = None
    if not splits:
        raise ConfigError(next(iter(wrong)))
    return splits, list(wrong), odd


def _first_of(
    manifest: Manifest, splits: Sequence[Split], labels: Sequence[int]
) -> dict[tuple[str, int], list[Path]]:
    """(domain, label) -> the first images of it, of test before the other parts."""
    found: dict[tuple[str, int], list[Path]] = {}
    for domain in manifest.domains:
        for label in labels:
            found[domain, label] = []
    for split in sorted(splits, key=lambda split: split.part != "test"):
        for image, label in zip(split.ids, split.labels, strict=True):
            paths = found.get((split.domain, label))
            if paths is not None and len(paths) < TRIED:
                paths.append(split.root / image)
    return found


def _shown(paths: Sequence[Path], seen: dict[Path, Seen]) -> np.ndarray:
    """The tile of the first image that could be read."""
    tiles = (seen[path].tile for path in paths)
    return next((found for found in tiles if found is not None), tile(None))


def _seen(manifest: Manifest, splits: Sequence[Split], shown: set[Path]) -> dict[Path, Seen]:
    """What each file turned out to be; of those that are shown, a tile."""
    paths = sorted({split.root / image for split in splits for image in split.ids})

    def look(path: Path) -> Seen:
        return _look(path, manifest, with_tile=path in shown)

    seen = {}
    title = f"images of {manifest.name}"
    with ThreadPoolExecutor() as pool, progress_bar(len(paths), title, "image") as bar:
        for start in range(0, len(paths), CHUNK):
            chunk = paths[start : start + CHUNK]
            for path, found in zip(chunk, pool.map(look, chunk), strict=True):
                seen[path] = found
                bar.update(1)
    return seen


def _look(path: Path, manifest: Manifest, *, with_tile: bool) -> Seen:
    try:
        content = path.read_bytes()
        image = decode(path, manifest.decoding, content)
    except FileNotFoundError:
        return Seen(fault=f"image missing: {path}")
    except (ImageError, OSError) as error:
        return Seen(fault=str(error))
    digest = hashlib.blake2b(content, digest_size=16).digest()
    return Seen(digest, image.size, tile=tile(image) if with_tile else None)


def faults_of(split: Split) -> list[str]:
    """A line for each image of a split that cannot be read: every one is opened."""

    def fault(name: str) -> str:
        try:
            decode(split.root / name, split.decoding.of(name))
        except (ImageError, OSError) as error:
            return str(error)
        return ""

    with ThreadPoolExecutor() as pool:
        return [line for line in pool.map(fault, split.ids) if line]


# --- what is counted


class _Places:
    """Which folder of an image says its class, and which says another."""

    def __init__(self, manifest: Manifest):
        self._manifest = manifest
        self._folder = functools.cache(self._folder_of)

    def folder(self, image: str, label: int) -> str:
        """The nearest folder above that is called as the class, else the one it lies in."""
        return self._folder(folder_of(image), label)

    def _folder_of(self, above: str, label: int) -> str:
        folders = PurePosixPath(above).parts[::-1]
        for folder in folders:
            if self._manifest.reader.label_in(folder) == label:
                return folder
        return folders[0] if folders else ""

    def contradictions(self, splits: Sequence[Split]) -> Iterator[str]:
        """A line where images lie in the folder of another class than that of their label."""
        if self._manifest.is_unpacked:  # folders of the cache mean nothing
            return
        count = 0
        first = ""
        names = self._manifest.class_names
        for split in splits:
            for image, label in zip(split.ids, split.labels, strict=True):
                own = self._manifest.reader.label_in(self.folder(image, label))
                if own not in (None, label):
                    count += 1
                    first = first or f"{image} ({split.name}) as {names[label].name!r}"
        if count:
            yield f"images in the folder of another class than their label's: {count}, e.g. {first}"


def _counts(manifest: Manifest, splits: Sequence[Split], places: _Places) -> list[dict[str, Any]]:
    """A row per class: its name, the folder most of its images lie in, images per split; a sum."""
    folders: list[Counter[str]] = [Counter() for _ in manifest.names]
    if not manifest.is_unpacked:
        for split in splits:
            for image, label in zip(split.ids, split.labels, strict=True):
                folders[label][places.folder(image, label)] += 1
    by_split = {split.name: Counter(split.labels) for split in splits}
    rows = []
    for label, name in enumerate(manifest.names):
        row: dict[str, Any] = {"class": name}
        row |= {split: count[label] for split, count in by_split.items()}
        common = folders[label].most_common(1)
        rows.append(row | {"folder": common[0][0] if common else ""})
    total: dict[str, Any] = {"class": "all"}
    total |= {split: count.total() for split, count in by_split.items()}
    return [*rows, total | {"folder": ""}]


def _without_images(manifest: Manifest, splits: Sequence[Split]) -> Iterator[str]:
    """A line for each split that lacks classes."""
    for split in splits:
        present = set(split.labels)
        allowed = split.allowed or range(len(manifest.names))
        missing = [manifest.names[label] for label in allowed if label not in present]
        if missing:
            yield f"classes without an image in {split.name}: {len(missing)}: {listed(missing)}"


# --- what is at fault


def _faults(seen: dict[Path, Seen]) -> list[str]:
    """Missing and unreadable images, a line each kind with its count and the first."""
    lines = []
    faults = [one.fault for one in seen.values() if one.fault]
    missing = [fault for fault in faults if fault.startswith("image missing")]
    others = [fault for fault in faults if not fault.startswith("image missing")]
    for kind, found in (("missing", missing), ("unreadable", others)):
        if found:
            lines.append(f"{kind}: {len(found)} of {len(seen)}, e.g. {found[0]}")
    return lines


def _in_several(splits: Sequence[Split], seen: dict[Path, Seen]) -> list[str]:
    """Images whose content lies in several splits, or under several labels."""
    places: dict[bytes, dict[str, str]] = {}  # content -> split -> an image of it
    labels: dict[bytes, set[int]] = {}
    for split in splits:
        for image, label in zip(split.ids, split.labels, strict=True):
            content = seen[split.root / image].digest
            if content:
                places.setdefault(content, {}).setdefault(split.name, image)
                labels.setdefault(content, set()).add(label)

    lines = []
    shared = [found for found in places.values() if len(found) > 1]
    if shared:
        example = " and ".join(f"{image} ({split})" for split, image in shared[0].items())
        lines.append(f"the same image in several splits: {len(shared)}, e.g. {example}")
    several = [content for content, found in labels.items() if len(found) > 1]
    if several:
        image = next(iter(places[several[0]].values()))
        lines.append(f"the same image under several labels: {len(several)}, e.g. {image}")
    return lines


def _repeats(splits: Sequence[Split], seen: dict[Path, Seen]) -> Iterator[str]:
    """A line for each split in which an image comes several times."""
    for split in splits:
        first: dict[bytes, str] = {}
        pairs = []
        for image in split.ids:
            content = seen[split.root / image].digest
            if content and first.setdefault(content, image) is not image:
                pairs.append(f"{first[content]} and {image}")
        if pairs:
            yield f"the same image again in {split.name}: {len(pairs)}, e.g. {pairs[0]}"


def _odd_sizes(seen: dict[Path, Seen]) -> list[str]:
    """Images that are small, or much longer than wide."""
    odd = []
    for path, one in seen.items():
        short, long = sorted(one.size)
        if short and (short < SMALL or long > LONG * short):
            odd.append(f"{path.name} {one.size[0]} x {one.size[1]}")
    if not odd:
        return []
    return [f"small (below {SMALL} pixels) or long (over {LONG} to 1): {len(odd)}: {listed(odd)}"]
