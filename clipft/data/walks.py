"""What lies in a large folder of class folders, kept: while none changes, none is listed again.

A folder's time of change tells that a file came or went. So a walk is kept under the times of the
folder and of those in it, and only where nothing lies deeper.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..disk.cache import default_cache
from .found import IMAGES, Found, LeftOut, find_images

LARGE = 100_000  # images from which on a walk is kept
SETTLED = 10.0  # seconds: what changed just now may change again within a tick of the disk's clock
KIND = "walk"
SAID = "said"


def walk(folder: Path) -> Found:
    """`find_images`, from the cache where the folders are as they were."""
    key = _key(folder)
    kept = None if key is None else default_cache().find(KIND, key)
    if kept is not None:
        return _found(kept)
    found = find_images(folder)
    # The folders must be the same after the walk: what came meanwhile may be in it or not.
    if len(found.images) >= LARGE and found.deepest <= 1 and key is not None:
        if _key(folder) == key:
            default_cache().keep(KIND, f"walk of {folder.name}", key, _arrays(found))
    return found


def _key(folder: Path) -> dict[str, Any] | None:
    """The folder, its own folders and their times; None where it cannot be told, or is too new."""
    try:
        with os.scandir(folder) as entries:
            inside = sorted((entry.name, entry.stat().st_mtime_ns) for entry in entries)
        own = os.stat(folder).st_mtime_ns
    except OSError:
        return None
    newest = max([own, *(changed for _, changed in inside)])
    if newest > (time.time() - SETTLED) * 1e9:
        return None
    return {
        "folder": os.path.realpath(folder),
        "own": own,
        "inside": inside,
        "read": sorted(IMAGES),
    }


def _arrays(found: Found) -> dict[str, np.ndarray]:
    """What was found as arrays of bytes; names hold no zero."""
    left_out = {"endings": found.left_out.endings, "first": found.left_out.first}
    texts = {"paths": "\0".join(found.images), SAID: json.dumps(left_out)}
    return {name: np.frombuffer(text.encode(), np.uint8) for name, text in texts.items()}


def _found(kept: Mapping[str, np.ndarray]) -> Found:
    said = json.loads(kept[SAID].tobytes())
    endings = {why: Counter(counts) for why, counts in said["endings"].items()}
    paths = kept["paths"].tobytes().decode().split("\0")
    return Found(paths, LeftOut(endings, said["first"]), deepest=1)
