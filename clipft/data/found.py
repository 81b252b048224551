"""What counts as an image: one rule for class folders, list files and `predict`.

In a folder an ending that is read makes an image. A file that is named, in a list or to `predict`,
is one unless its ending says that it is something else. Hidden files are none. What is left out is
counted, and the first of each kind is named.
"""

from __future__ import annotations

import mimetypes
import os
import posixpath
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from operator import attrgetter
from pathlib import Path

from PIL import features

from ..errors import ConfigError

HEIF = {".heic", ".heif", ".hif"}  # read where pillow-heif is installed
HEIF_EXTRA = "pip install 'clipft[heic]'"


def _endings() -> set[str]:
    """The endings that Pillow, as it is installed here, can read."""
    endings = {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
    endings |= {".ppm", ".pgm", ".pbm", ".pnm"}
    if features.check("avif"):
        endings.add(".avif")
    if features.check("jpg_2000"):
        endings.add(".jp2")
    if find_spec("pillow_heif"):
        endings |= HEIF
    return endings


IMAGES = _endings()
# Pictures, but of kinds that are not read.
UNREAD = {".avif", ".jp2", *HEIF, ".jxl", ".svg"} - IMAGES
UNREAD |= {".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf"}  # raw files of cameras
HIDDEN = (".", "__MACOSX")  # `._x.jpg` is what macOS keeps beside x.jpg, no image

NO_ENDING = "without an ending"
NOT_READ, NO_IMAGE = "not read", "no image"


def is_hidden(name: str) -> bool:
    """Whether a file's or a folder's own name says that it is hidden, or of macOS' archives."""
    return name.startswith(HIDDEN)


def ending_of(name: str) -> str:
    """`.jpg` of photos/x.JPG; "" where a file's own name has no ending."""
    name = posixpath.basename(name)
    dot = name.rfind(".")
    return name[dot:].lower() if dot > 0 else ""


def why_not(ending: str, *, named: bool = False) -> str:
    """Why a file of this ending is left out: NOT_READ or NO_IMAGE; "" for an image.

    named: in a list or on the command line, so that a name without an ending may be an image.
    """
    if ending in IMAGES:
        return ""
    kind = _kind(ending)
    if ending in UNREAD:
        return NOT_READ
    if named and (not kind or kind.startswith("image/")):
        return ""
    return NOT_READ if kind.startswith("image/") else NO_IMAGE


@cache
def _kind(ending: str) -> str:
    """What is usually in files of an ending, `text/plain`; "" where nobody knows."""
    guessed, packed = mimetypes.guess_type(f"x{ending}", strict=False)
    return guessed or packed or ("database" if ending == ".db" else "")


@dataclass
class LeftOut:
    """Files that are no images, by why: how many of which ending, and the first of each kind."""

    endings: dict[str, Counter[str]] = field(default_factory=dict)
    first: dict[str, str] = field(default_factory=dict)

    def add(self, why: str, path: str, ending: str = "") -> None:
        """Count one more."""
        self.endings.setdefault(why, Counter())[ending or NO_ENDING] += 1
        self.first.setdefault(why, path)

    def add_all(self, others: LeftOut, before: str) -> None:
        """Count what was left out of a folder, whose path comes `before` the names."""
        for why, endings in others.endings.items():
            self.endings.setdefault(why, Counter()).update(endings)
            self.first.setdefault(why, f"{before}/{others.first[why]}")

    def __bool__(self) -> bool:
        return bool(self.endings)

    def lines(self) -> list[str]:
        """A line for each kind."""
        lines = []
        for why, endings in self.endings.items():
            if why in (NOT_READ, NO_IMAGE):
                counts = ", ".join(f"{ending} ({endings[ending]})" for ending in sorted(endings))
                advice = ""
                if why == NOT_READ:
                    advice = f"; {advice_on(endings)}"
                lines.append(f"left out, {why}: {counts}{advice}")
            else:
                lines.append(f"left out, {why}: {endings.total()}, e.g. {self.first[why]}")
        return lines


def advice_on(endings: Counter[str]) -> str:
    """What to do with pictures of endings that are not read."""
    if HEIF & endings.keys():
        return f"save them as .jpg, or read .heic: {HEIF_EXTRA}"
    return "save them as .jpg"


@dataclass
class Found:
    """The images below a folder, relative to it and in order, and what is left out of it.

    deepest: how many folders lie one in the other.
    """

    images: list[str]
    left_out: LeftOut
    deepest: int = 0


def find_images(folder: Path) -> Found:
    """Look at all that lies below a folder; names alone, no file is opened.

    Links are followed, out of the folder too, but not round a circle. A folder that is called as an
    image is a folder. Raises ConfigError where a folder cannot be read.
    """
    found = Found([], LeftOut())
    _look_into(folder, "", frozenset(), found)
    found.images.sort()
    return found


def _look_into(folder: Path, inside: str, above: frozenset[str], found: Found) -> None:
    """Add what lies in a folder; inside: its path as seen from the first, with a slash."""
    here = os.path.realpath(folder)
    if here in above:
        found.left_out.add("a link to a folder it lies in", inside.rstrip("/"))
        return
    found.deepest = max(found.deepest, inside.count("/"))
    for entry in _entries(folder):
        path = inside + entry.name
        if _is_plain_image(entry):
            found.images.append(path)
            continue
        why = _why_not_entry(entry)
        if why:
            shown = path.encode("utf-8", "backslashreplace").decode()
            found.left_out.add(why, shown, ending_of(entry.name))
        elif entry.is_dir():
            before = len(found.images)
            _look_into(Path(entry.path), f"{path}/", above | {here}, found)
            if ending_of(entry.name) in IMAGES and len(found.images) == before:
                found.left_out.add("a folder that is called as an image and holds none", path)
        else:
            found.images.append(path)


def _is_plain_image(entry: os.DirEntry[str]) -> bool:
    """Whether a file is an image beyond doubt: nearly all are, of a million in ImageNet."""
    name = entry.name
    if not name.isascii() or name.startswith(HIDDEN):
        return False
    return name[name.rfind(".") :].lower() in IMAGES and entry.is_file()


def _why_not_entry(entry: os.DirEntry[str]) -> str:
    """Why what lies in a folder is left out; "" for an image, and for a folder to look into."""
    if is_hidden(entry.name):
        return "hidden"
    if not _is_text(entry.name):
        return "a name that is not UTF-8"
    if entry.is_dir():
        return ""
    if entry.is_file():
        return why_not(ending_of(entry.name))
    return "a link to nowhere" if entry.is_symlink() else "no file"


def _is_text(name: str) -> bool:
    """Whether a name can be written down; those of old archives may be bytes of Latin-1."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        yield from sorted(os.scandir(folder), key=attrgetter("name"))
    except OSError as error:
        raise ConfigError(f"cannot read the folder {folder}: {error.strerror}") from None


def named_images(paths: list[Path]) -> tuple[list[Path], LeftOut]:
    """The named files and the images in named folders, in order, and what is left out."""
    files: list[Path] = []
    left_out = LeftOut()
    for path in paths:
        if path.is_dir():
            found = find_images(path)
            files += [path / image for image in found.images]
            left_out.add_all(found.left_out, str(path))
            continue
        ending = ending_of(path.name)
        why = "hidden" if is_hidden(path.name) else why_not(ending, named=True)
        if why:
            left_out.add(why, str(path), ending)
        else:
            files.append(path)
    return files, left_out
