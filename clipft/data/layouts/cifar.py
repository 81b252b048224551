"""CIFAR-10 and CIFAR-100 in their python and binary versions, CIFAR-10.1 and 10.2, and the
corruptions of CIFAR-10-C and CIFAR-100-C.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import ConfigError
from ..folders import class_key
from .arrays import Arrays, read_npy, read_npz, read_pickle, taken_out
from .asked import Asked, Rows

PIXELS = 3 * 32 * 32
SEVERITIES = 5


@dataclass(frozen=True)
class Version:
    """How one version of CIFAR names its files: part -> files; the file of the class names.

    labels: bytes before each image of the binary version, the last is the label; 0 for python's.
    """

    folder: str
    files: dict[str, tuple[str, ...]]
    names: str
    labels: int = 0


CIFAR10 = (
    Version(
        "cifar-10-batches-py",
        {"train": tuple(f"data_batch_{n}" for n in range(1, 6)), "test": ("test_batch",)},
        "batches.meta",
    ),
    Version(
        "cifar-10-batches-bin",
        {"train": tuple(f"data_batch_{n}.bin" for n in range(1, 6)), "test": ("test_batch.bin",)},
        "batches.meta.txt",
        labels=1,
    ),
)
CIFAR100 = (
    Version("cifar-100-python", {"train": ("train",), "test": ("test",)}, "meta"),
    Version(
        "cifar-100-binary",
        {"train": ("train.bin",), "test": ("test.bin",)},
        "fine_label_names.txt",
        labels=2,  # coarse, then fine
    ),
)


def cifar10(asked: Asked) -> dict[str, Rows]:
    """CIFAR-10, in whichever version is there."""
    return _whole(asked, CIFAR10)


def cifar100(asked: Asked) -> dict[str, Rows]:
    """CIFAR-100 with its 100 fine labels, in whichever version is there."""
    return _whole(asked, CIFAR100)


def _whole(asked: Asked, versions: Sequence[Version]) -> dict[str, Rows]:
    there = [version for version in versions if (asked.place / version.folder).is_dir()]
    if not there:
        folders = " or ".join(version.folder for version in versions)
        raise ConfigError(f"no {folders} in {asked.place}; wanted: {asked.heading}, unpacked there")
    version = there[0]
    _check_names(asked, version)
    parts = {}
    for part, names in version.files.items():
        files = [asked.file(version.folder, name) for name in names]
        parts[part] = taken_out(asked, part, files, lambda own=files: _batches(own, version))
    return parts


def _check_names(asked: Asked, version: Version) -> None:
    """Raise ConfigError where the data set's own names of classes are not the manifest's."""
    file = asked.file(version.folder, version.names)
    if version.labels:
        names = file.read_text(encoding="utf-8").split()
    else:
        content = read_pickle(file)
        names = content.get("fine_label_names", content.get("label_names", ()))
    pairs = zip(names, asked.folders, strict=False)
    odd = [own for own, folder in pairs if class_key(own) != class_key(folder)]
    if odd or len(names) != len(asked.folders):
        first = odd[0] if odd else f"{len(names)} names"
        raise ConfigError(f"{file}: {first}; wanted: the {len(asked.folders)} classes in order")


def _batches(files: Sequence[Path], version: Version) -> Arrays:
    """Images (N, 32, 32, 3) and labels of all files: of each image red comes first, then green."""
    rows = []
    labels: list[int] = []
    for file in files:
        if version.labels:
            content = np.frombuffer(file.read_bytes(), np.uint8)
            if len(content) % (version.labels + PIXELS):
                raise ConfigError(f"{file}: {len(content)} bytes are no whole images; get it again")
            content = content.reshape(-1, version.labels + PIXELS)
            rows.append(content[:, version.labels :])
            labels += content[:, version.labels - 1].tolist()
        else:
            batch = read_pickle(file)
            own = batch.get("fine_labels", batch.get("labels"))
            data = np.asarray(batch.get("data"))
            if own is None or data.shape[1:] != (PIXELS,):
                raise ConfigError(f"{file}: no data (N, {PIXELS}) with labels; is this CIFAR?")
            rows.append(data)
            labels += own
    images = np.concatenate(rows).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), np.asarray(labels)


def cifar10_1(asked: Asked) -> dict[str, Rows]:
    """CIFAR-10.1, version 6."""
    files = [asked.file(f"cifar10.1_v6_{name}.npy") for name in ("data", "labels")]
    return {"test": taken_out(asked, "test", files, lambda: _pair(*files))}


def _pair(images: Path, labels: Path) -> Arrays:
    return read_npy(images), read_npy(labels).astype(np.int64)


def cifar10_2(asked: Asked) -> dict[str, Rows]:
    """The test images of CIFAR-10.2, in the format that is there."""
    packed = asked.place / "cifar102_test.npz"
    file = packed if packed.is_file() else asked.file("cifar102_test.npy")

    def read() -> Arrays:
        content = read_npz(file) if file == packed else read_npy(file)
        if not isinstance(content, dict) or not {"images", "labels"} <= content.keys():
            raise ConfigError(f"{file}: no images and labels in it; is this CIFAR-10.2?")
        return content["images"], np.asarray(content["labels"]).astype(np.int64)

    return {"test": taken_out(asked, "test", [file], read)}


def cifar_c(asked: Asked) -> dict[str, Rows]:
    """One corruption, called as its domain is: the test images at five severities, one after the
    other; each severity is a group.
    """
    files = [asked.file(f"{asked.domain}.npy"), asked.file("labels.npy")]
    test = taken_out(asked, "test", files, lambda: _corrupted(*files))
    of_each = len(test.ids) // SEVERITIES
    test.groups = [f"severity {row // of_each + 1}" for row in range(len(test.ids))]
    return {"test": test}


def _corrupted(images: Path, labels: Path) -> Arrays:
    pixels, own = _pair(images, labels)
    if len(pixels) % SEVERITIES:
        count = f"{len(pixels)} images"
        raise ConfigError(f"{images}: {count}; wanted: as many of each of {SEVERITIES} severities")
    return pixels, own
