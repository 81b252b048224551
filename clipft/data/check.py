"""Every image of a data set is opened once: what is missing, unreadable, or in two splits."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError, ImageError
from ..progress import progress_bar
from .folders import listed
from .images import decode
from .splits import PARTS, Split, SplitName

if TYPE_CHECKING:
    from .manifests import Manifest

SMALL = 32  # pixels of a shorter side
LONG = 5  # times as long as wide


@dataclass(frozen=True)
class Seen:
    """What one image file turned out to be; fault is "" where all is well."""

    digest: str = ""
    size: tuple[int, int] = (0, 0)
    fault: str = ""


@dataclass(frozen=True)
class Report:
    """What was found: `wrong` has to be mended, `odd` is worth a look; a line each."""

    counts: list[dict[str, Any]]
    wrong: list[str] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)


def check_images(manifest: Manifest) -> Report:
    """Decode every image of the splits that a run uses, with a bar, and compare them by content."""
    names = [SplitName(manifest.reference, part) for part in PARTS]
    names += [SplitName(shift, "test") for shift in manifest.shifts()]
    wrong = []
    splits = []
    for name in names:
        try:
            splits.append(manifest.split(str(name)))
        except ConfigError as error:
            wrong.append(str(error))

    paths = sorted({split.root / image for split in splits for image in split.ids})
    with ThreadPoolExecutor() as pool:
        looked = pool.map(lambda path: _look(path, manifest), paths)
        bar = progress_bar(looked, f"images of {manifest.name}", "image")
        seen = dict(zip(paths, bar, strict=False))
    wrong += _faults(seen)
    wrong += _in_several(splits, seen)
    return Report(_counts(manifest, splits), wrong, _odd_sizes(seen))


def _look(path: Path, manifest: Manifest) -> Seen:
    try:
        size = decode(path, manifest.decoding).size
        content = path.read_bytes()
    except (ImageError, OSError) as error:
        return Seen(fault=str(error))
    return Seen(hashlib.blake2b(content, digest_size=16).hexdigest(), size)


def _counts(manifest: Manifest, splits: Sequence[Split]) -> list[dict[str, Any]]:
    """A row per class: its name, the folder most of its images lie in, images per split; a sum."""
    folders: list[Counter[str]] = [Counter() for _ in manifest.names]
    for split in splits:
        for image, label in zip(split.ids, split.labels, strict=True):
            folders[label][Path(image).parent.name] += 1
    by_split = {split.name: Counter(split.labels) for split in splits}
    rows = []
    for label, name in enumerate(manifest.names):
        folder = folders[label].most_common(1)[0][0] if folders[label] else ""
        row: dict[str, Any] = {"class": name}
        row |= {split: count[label] for split, count in by_split.items()}
        rows.append(row | {"folder": folder})
    total: dict[str, Any] = {"class": "all"}
    total |= {split: count.total() for split, count in by_split.items()}
    return [*rows, total | {"folder": ""}]


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
    places: dict[str, dict[str, str]] = {}  # content -> split -> an image of it
    labels: dict[str, set[int]] = {}
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
