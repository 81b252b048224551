"""WebDataset's tar files: members of one name before the first dot are one sample.

`0001.jpg` beside `0001.cls` (a number), `0001.json` (fields) or `0001.txt` (a class name). Members
are read, never unpacked by their names, so none can lead out of a folder.
"""

from __future__ import annotations

import posixpath
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ConfigError, first_line
from ..parsing import parse_json
from .found import IMAGES, is_hidden
from .tables import columns_of

TARS = (".tar", ".tar.gz", ".tgz")
LARGEST = 1 << 20  # bytes of a label
LARGEST_IMAGE = 1 << 30
NAMES = "classnames.txt"  # of the numbers, a line each, beside the tars or above: CLIP_benchmark's
Members = dict[str, tarfile.TarInfo]  # ending -> member


@dataclass(frozen=True)
class Sample:
    """What a row of a packed source says, and the bytes of its image; None where it has none."""

    texts: dict[str, str]  # purpose -> text, as columns of tables
    image: bytes | None
    where: str


def is_tar(file: Path) -> bool:
    """Whether a file's name says that it is a tar."""
    return file.name.lower().endswith(TARS) and not file.is_dir()


def samples_of_tar(file: Path, names: Sequence[str]) -> Iterator[Sample]:
    """The samples of a tar in the order of their first members.

    names: of the classes that numbers stand for. Raises ConfigError where it cannot be read.
    """
    try:
        with tarfile.open(file) as tar:
            for key, members in _by_key(tar).items():
                yield _sample(tar, members, names, where=f"{file.name}: {key}")
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        wanted = "wanted: a whole tar of samples, e.g. 0001.jpg beside 0001.cls"
        raise ConfigError(f"{file}: cannot be read: {first_line(error)}; {wanted}") from None


def _by_key(tar: tarfile.TarFile) -> dict[str, Members]:
    """The files of a tar by sample; those of one need not follow each other."""
    samples: dict[str, Members] = {}
    for member in tar:
        folder, name = posixpath.split(member.name)
        if not member.isfile() or is_hidden(name):
            continue
        stem, dot, ending = name.partition(".")
        if dot:
            key = f"{folder}/{stem}" if folder else stem
            samples.setdefault(key, {}).setdefault(f".{ending.lower()}", member)
    return samples


def _sample(tar: tarfile.TarFile, members: Members, names: Sequence[str], *, where: str) -> Sample:
    image = next((ending for ending in members if ending in IMAGES), "")
    content = _content(tar, members[image]) if image else None
    return Sample(_texts(tar, members, names, where), content, where)


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    if member.size > LARGEST_IMAGE:  # a sparse member of a small tar may say any size
        raise ConfigError(f"{tar.name}: {member.name!r:.80} has {member.size / 1e9:.0f} GB")
    opened = tar.extractfile(member)
    return opened.read() if opened else b""


def _texts(
    tar: tarfile.TarFile, members: Members, names: Sequence[str], where: str
) -> dict[str, str]:
    """Label, and split, domain and group where its JSON has them; a word is a better label than a
    number.
    """
    written = {}
    for ending in (".cls", ".json", ".txt"):
        if ending in members:
            if members[ending].size > LARGEST:
                raise ConfigError(f"{where}{ending} has more than a megabyte; wanted: a label")
            written[ending] = _content(tar, members[ending]).decode("utf-8-sig", "replace").strip()

    texts = _fields(written.get(".json", ""), where)
    labels = [texts.get("label", ""), written.get(".cls", ""), written.get(".txt", "")]
    labels.sort(key=lambda label: (not label, label.lstrip("-").isdecimal()))
    texts["label"] = _named(labels[0], names)
    return texts


def _fields(text: str, where: str) -> dict[str, str]:
    """Purpose -> text of a sample's JSON."""
    if not text:
        return {}
    try:
        fields = parse_json(text)
    except ValueError as error:
        raise ConfigError(f"{where}.json: {first_line(error)}; wanted: fields") from None
    if not isinstance(fields, dict):
        return {"label": str(fields)}
    plain: Mapping[str, Any] = {
        key: value for key, value in fields.items() if isinstance(value, str | int)
    }
    names = columns_of(
        list(plain), Path(where), needed=(), holds_numbers=lambda name: _is_number(plain[name])
    )
    return {
        purpose: str(plain[name]).strip()
        for purpose, name in names.items()
        if name and purpose != "path"
    }


def _is_number(value: str | int) -> bool:
    return str(value).lstrip("-").isdecimal()


def _named(label: str, names: Sequence[str]) -> str:
    """The name of a number where names are known; "" where it has none."""
    if not names or not label.isdecimal():
        return label
    return names[int(label)] if int(label) < len(names) else ""


def names_beside(file: Path, source: Path) -> list[str]:
    """The names of the classes, where a tar's own folder or the source lists them."""
    for folder in dict.fromkeys((file.parent, source)):
        listed = folder / NAMES
        if listed.is_file():
            lines = listed.read_text(encoding="utf-8-sig").splitlines()
            return [line.strip() for line in lines]
    return []
