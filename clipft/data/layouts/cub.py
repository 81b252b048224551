"""CUB-200-2011 by its own lists, and by the splits for generalised zero-shot learning.

Wah et al., The Caltech-UCSD Birds-200-2011 Dataset, 2011; Xian et al., Zero-Shot Learning: A
Comprehensive Evaluation of the Good, the Bad and the Ugly, TPAMI 2018.
"""

from __future__ import annotations

import posixpath
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from ...errors import ConfigError, first_line
from .asked import Asked, Rows
from .listed import check_domain, checked, read_fields

BIRDS = "CUB_200_2011"  # the folder in which the images' archive is unpacked
SPLITS = "xlsa17/data/CUB"  # of the archive of splits and features
# domain -> part -> the positions of its images
POSITIONS: dict[str, dict[str, str]] = {
    "seen": {"train": "trainval_loc", "test": "test_seen_loc"},
    "unseen": {"test": "test_unseen_loc"},
}


def cub(asked: Asked) -> dict[str, Rows]:
    """All 200 classes: images.txt, image_class_labels.txt and train_test_split.txt."""
    _check_classes(asked)
    file = asked.file(BIRDS, "images.txt")
    asked.file(BIRDS, "images")
    names = _by_number(file)
    number_of = _by_number(asked.file(BIRDS, "image_class_labels.txt"))
    is_train = _by_number(asked.file(BIRDS, "train_test_split.txt"))
    for other, stem in ((number_of, "image_class_labels"), (is_train, "train_test_split")):
        if other.keys() != names.keys():
            odd = min(other.keys() ^ names.keys(), key=int)
            both = f"{file} and {stem}.txt differ in image {odd}"
            raise ConfigError(f"{both}; wanted: the same images in both")

    parts = {"train": Rows(), "test": Rows()}
    for image, name in names.items():
        label = asked.label(posixpath.dirname(name), file)
        if str(label + 1) != number_of[image]:
            says = f"image_class_labels.txt has class {number_of[image]} for {name}"
            raise ConfigError(f"{file}: {says}; wanted: {label + 1}, as its folder says")
        part = "train" if is_train[image] == "1" else "test"
        parts[part].add(f"{BIRDS}/images/{name}", label)
    return checked(asked, file, parts)


def cub_gzsl(asked: Asked) -> dict[str, Rows]:
    """150 seen classes with train and test, 50 unseen with test: the proposed split of Xian et al.

    Which images these are stands in att_splits.mat; their names are those of res101.mat.
    """
    check_domain(asked, POSITIONS)
    _check_classes(asked)
    asked.file(BIRDS, "images")
    file = asked.file(SPLITS, "att_splits.mat")
    names = _image_names(asked.file(SPLITS, "res101.mat"))
    locations = _matrices(file, [key for own in POSITIONS.values() for key in own.values()])
    _check_apart(file, names, locations)

    parts = {}
    for part, key in POSITIONS[asked.domain].items():
        rows = Rows()
        for position in locations[key]:
            name = names[position - 1]  # MATLAB counts from 1
            label = asked.label(posixpath.dirname(name), file)
            rows.add(f"{BIRDS}/images/{name}", label)
        parts[part] = rows
    return checked(asked, file, parts)


def _check_apart(file: Path, names: list[str], locations: dict[str, Any]) -> None:
    """Raise ConfigError for positions of no image, and where an unseen class is trained on."""
    folders = {}
    for key, positions in locations.items():
        if positions.min() < 1 or positions.max() > len(names):
            wanted = f"wanted: from 1 to {len(names)}, as many as in res101.mat"
            raise ConfigError(f"{file}: {key} has {positions.max()}; {wanted}")
        folders[key] = {posixpath.dirname(names[position - 1]) for position in positions}
    both = sorted(folders["trainval_loc"] & folders["test_unseen_loc"])
    if both:
        raise ConfigError(f"{file}: {both[0]} is seen and unseen; wanted: one of them")


def _check_classes(asked: Asked) -> None:
    """Raise ConfigError where classes.txt lists other classes, or in another order."""
    file = asked.file(BIRDS, "classes.txt")
    listed = _by_number(file)
    for number, folder in listed.items():
        label = asked.label(folder, file)
        if str(label + 1) != number:
            raise ConfigError(f"{file}: {folder} is class {number}; wanted: {label + 1}")
    if len(listed) != len(asked.folders):
        count = f"{len(listed)} classes, the manifest has {len(asked.folders)}"
        raise ConfigError(f"{file}: {count}; wanted: {asked.heading} whole")


def _by_number(file: Path) -> dict[str, str]:
    """Number -> text of a file of lines `number text`."""
    found: dict[str, str] = {}
    for row in read_fields(file):
        if len(row) != 2 or not row[0].isdecimal():
            raise ConfigError(f"{file}: {' '.join(row)!r:.80}; wanted: a number and a name")
        if row[0] in found:
            raise ConfigError(f"{file}: {row[0]} stands there twice; wanted: once")
        found[row[0]] = row[1]
    return found


def _matrices(file: Path, keys: list[str]) -> dict[str, np.ndarray]:
    """Rows of numbers of a MATLAB file."""
    arrays = _from_matlab(file, keys)
    return {key: np.asarray(arrays[key]).reshape(-1).astype(int) for key in keys}


def _image_names(file: Path) -> list[str]:
    """`CLASS/IMAGE` of the images of res101.mat, whose paths are those of its authors' machine."""
    # A Windows path takes either slash.
    cells = np.asarray(_from_matlab(file, ["image_files"])["image_files"]).reshape(-1)
    paths = [str(np.asarray(cell).reshape(-1)[0]) for cell in cells]
    return [PureWindowsPath(*PureWindowsPath(path).parts[-2:]).as_posix() for path in paths]


def _from_matlab(file: Path, keys: list[str]) -> dict[str, Any]:
    """Some variables of a MATLAB file; raises ConfigError where it is none, or lacks one."""
    from scipy.io import loadmat

    try:
        arrays = loadmat(file, variable_names=keys)
    except Exception as error:  # whatever a broken file leads scipy to
        wanted = "wanted: that of xlsa17"
        raise ConfigError(f"{file} is no file of MATLAB: {first_line(error)}; {wanted}") from None
    for key in keys:
        if key not in arrays or not np.asarray(arrays[key]).size:
            raise ConfigError(f"{file} has no {key}; wanted: that of xlsa17")
    return arrays
