"""Data sets that CLIP is transferred to, in the layouts that torchvision's classes leave them in.

They are of Kornblith et al., Do Better ImageNet Models Transfer Better?, CVPR 2019, and of CLIP's
own evaluation. Those in .mat files number images and classes from 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...errors import ConfigError, first_line
from ..folders import class_key
from .asked import Asked, Rows, class_folders

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

NO_CLASS = "BACKGROUND_Google"  # of Caltech-101: clutter, which is none of the 101


def caltech101(asked: Asked) -> dict[str, Rows]:
    """All images, less the folder of clutter; there is no official split."""
    folder = "101_ObjectCategories"
    top = asked.file(folder)

    def label_of(name: str) -> int | None:
        return None if name == NO_CLASS else asked.label(name, top / name)

    rows = class_folders(asked, folder, label_of=label_of)
    asked.check_every_class(rows, top)
    return {"": rows}


def rendered_sst2(asked: Asked) -> dict[str, Rows]:
    """Train, valid and test, and in each a folder a class."""
    parts = {}
    for part, folder in (("train", "train"), ("val", "valid"), ("test", "test")):
        parts[part] = class_folders(asked, folder)
        asked.check_every_class(parts[part], asked.file(folder))
    return parts


def flowers102(asked: Asked) -> dict[str, Rows]:
    """The images of setid.mat, with the labels of imagelabels.mat."""
    asked.file("jpg")
    labels_file = asked.file("imagelabels.mat")
    splits_file = asked.file("setid.mat")
    labels = _numbers(_read_mat(labels_file, "labels")["labels"], labels_file)
    splits = _read_mat(splits_file, "trnid", "valid", "tstid")

    parts = {}
    for part, name in (("train", "trnid"), ("val", "valid"), ("test", "tstid")):
        rows = parts[part] = Rows()
        for number in _numbers(splits[name], splits_file):
            if not 1 <= number <= len(labels):
                fault = f"{splits_file} names image {number} of {len(labels)}"
                raise ConfigError(f"{fault} in {labels_file}; wanted: both of one download")
            label = _label(asked, labels[number - 1], labels_file)
            rows.add(asked.path(f"jpg/image_{number:05d}.jpg"), label)
    _check_once(parts, splits_file)
    return parts


def stanford_cars(asked: Asked) -> dict[str, Rows]:
    """The images of two lists with boxes, which are not used; names are held against the devkit."""
    _check_order(asked, asked.file("devkit", "cars_meta.mat"))
    parts = {}
    for part, folder, parts_of_path in (
        ("train", "cars_train", ("devkit", "cars_train_annos.mat")),
        ("test", "cars_test", ("cars_test_annos_withlabels.mat",)),
    ):
        asked.file(folder)
        file = asked.file(*parts_of_path)
        annotations = _read_mat(file, "annotations")["annotations"]
        missing = {"fname", "class"} - set(annotations.dtype.names or ())
        if missing:
            wanted = "wanted: fname and class; the test list without labels is another file"
            raise ConfigError(f"{file}: annotations have no {sorted(missing)[0]}; {wanted}")
        rows = parts[part] = Rows()
        numbers = _numbers(annotations["class"].tolist(), file)
        for name, number in zip(annotations["fname"], numbers, strict=True):
            rows.add(asked.path(f"{folder}/{name}"), _label(asked, number, file))
        _check_once({part: rows}, file)
    return parts


def _check_order(asked: Asked, file: Path) -> None:
    """Raise ConfigError where the devkit numbers the classes otherwise than the manifest."""
    names = [str(name) for name in _read_mat(file, "class_names")["class_names"]]
    if len(names) != len(asked.folders):
        fault = f"{file} has {len(names)} classes"
        raise ConfigError(f"{fault}; wanted: the {len(asked.folders)} of {asked.heading}")
    label_of = {class_key(folder): label for folder, label in asked.folders.items()}
    for label, name in enumerate(names):
        # One that is spelled otherwise here is not known by its name.
        if label_of.get(class_key(name.replace("/", "-")), label) != label:
            fault = f"{file} has {name} as class {label + 1}"
            raise ConfigError(f"{fault}; wanted: the order in which {asked.heading} was released")


# --- what .mat files hold


def _read_mat(file: Path, *wanted: str) -> dict[str, np.ndarray]:
    """Some variables of a MATLAB file, each with one axis; raises ConfigError without them."""
    import numpy as np
    from scipy.io import loadmat

    try:
        found: dict[str, Any] = loadmat(file, squeeze_me=True)
    except Exception as error:  # a cut file raises whatever was being read
        fault = f"{file} cannot be read as a MATLAB file: {first_line(error)}"
        raise ConfigError(f"{fault}; wanted: {', '.join(wanted)}; download it again") from None
    for name in wanted:
        if name not in found:
            raise ConfigError(f"{file} holds no {name}; wanted: {', '.join(wanted)}")
    return {name: np.atleast_1d(found[name]) for name in wanted}


def _numbers(values: Any, file: Path) -> list[int]:
    """Whole numbers; raises ConfigError for anything else."""
    import numpy as np

    try:
        numbers = np.asarray(values).astype(np.int64)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{file}: {first_line(error)}; wanted: whole numbers from 1") from None
    return numbers.reshape(-1).tolist()


def _label(asked: Asked, number: int, file: Path) -> int:
    """The label of a class that is counted from 1."""
    if not 1 <= number <= len(asked.folders):
        fault = f"{file} has an image of class {number}"
        raise ConfigError(f"{fault}; wanted: 1 to {len(asked.folders)}, of {asked.heading}")
    return number - 1


def _check_once(parts: dict[str, Rows], file: Path) -> None:
    """Raise ConfigError where a list names an image twice, in one part or in two."""
    seen: dict[str, str] = {}
    for part, rows in parts.items():
        for path in rows.ids:
            if path in seen:
                fault = f"{file} names {path} twice, in {seen[path]} and in {part}"
                raise ConfigError(f"{fault}; wanted: once")
            seen[path] = part
