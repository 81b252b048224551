"""ImageNet and its shifts V2, R, A, Sketch and ObjectNet, as their archives unpack.

Classes are folders called by synsets (wnids). V2's are numbers, of the sorted synsets; ObjectNet's
have names of its own, and its own files say which synsets they are.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...disk.files import read_foreign_json
from ...errors import ConfigError, unknown
from ..class_lists import synsets
from ..folders import listed
from ..found import find_images
from .asked import Asked, Rows, class_folders, in_known_form

BORDER = 2  # pixels of ObjectNet's red border that its users cut off
FLAT = "ILSVRC2012_val_"  # how images of val are called before they are sorted into folders
SOLUTION = "LOC_val_solution.csv"
DEVKIT = ("ILSVRC2012_devkit_t12", "data")


# --- ImageNet itself


def imagenet(asked: Asked) -> dict[str, Rows]:
    """Train, and the official validation images as test: in class folders, or as they come."""
    train = class_folders(asked, "train")
    _check_all(asked, train, asked.folders, "train")
    val = asked.file("val")
    if any(path.name.startswith(FLAT) for path in val.iterdir()):
        test = _flat_val(asked, val)
    else:
        test = class_folders(asked, "val")
    _check_all(asked, test, asked.folders, "val")
    return {"train": train, "test": test}


def _flat_val(asked: Asked, val: Path) -> Rows:
    """Images of val in one folder, by the list of labels that is there."""
    synset_of, source = _labels_of_val(asked)
    images = find_images(val).images
    unlisted = [image for image in images if image.split(".")[0] not in synset_of]
    if unlisted:
        raise ConfigError(f"{source} names no class of {val / unlisted[0]}; wanted: one of each")
    missing = sorted(synset_of.keys() - {image.split(".")[0] for image in images})
    if missing:
        count = f"{len(missing)} of {len(synset_of)} images"
        raise ConfigError(f"{source} names {count} that are not in {val}, e.g. {missing[0]}")

    labelled = [(asked.label(synset_of[image.split(".")[0]], source), image) for image in images]
    rows = Rows()
    for label, image in sorted(labelled):
        rows.add(asked.path(f"val/{image}"), label)
    return rows


def _labels_of_val(asked: Asked) -> tuple[dict[str, str], Path]:
    """(name of an image -> its synset, the file that says so)."""
    solution = asked.place / SOLUTION
    if solution.is_file():
        with in_known_form(solution), solution.open(encoding="utf-8", newline="") as lines:
            rows = csv.reader(lines)
            next(rows, None)  # ImageId,PredictionString
            return {row[0]: row[1].split()[0] for row in rows if row}, solution

    truth = asked.place.joinpath(*DEVKIT, "ILSVRC2012_validation_ground_truth.txt")
    if truth.is_file():
        with in_known_form(truth.parent):
            synset_of = _synsets_of_devkit(asked)
            named = enumerate(truth.read_text(encoding="utf-8").split(), 1)
            return {f"{FLAT}{number:08d}": synset_of[int(own)] for number, own in named}, truth

    problem = f"{asked.place / 'val'} has no class folders, and no {SOLUTION} or devkit lies beside"
    raise ConfigError(f"{problem} it; wanted: one of them, or run valprep.sh in val")


def _synsets_of_devkit(asked: Asked) -> dict[int, str]:
    """The devkit's own number of a class, which is not the order of the synsets -> its synset."""
    from scipy.io import loadmat

    meta: Any = loadmat(asked.file(*DEVKIT, "meta.mat"), squeeze_me=True)["synsets"]
    numbers = meta["ILSVRC2012_ID"].tolist()
    return {int(number): str(name) for number, name in zip(numbers, meta["WNID"], strict=True)}


# --- its shifts


def imagenet_v2(asked: Asked) -> dict[str, Rows]:
    """ImageNet-V2: a folder 0 ... 999 a class, which is its place among the sorted synsets."""
    order = synsets("imagenet")

    def label_of(folder: str) -> int:
        number = int(folder) if folder.isdecimal() else len(order)
        # There is an edition whose folders are synsets.
        synset = order[number] if number < len(order) else folder
        return asked.label(synset, asked.place / folder)

    test = class_folders(asked, label_of=label_of)
    _check_all(asked, test, asked.folders)
    return {"test": test}


def imagenet_sketch(asked: Asked) -> dict[str, Rows]:
    """ImageNet-Sketch: all classes."""
    test = class_folders(asked)
    _check_all(asked, test, asked.folders)
    return {"test": test}


def imagenet_r(asked: Asked) -> dict[str, Rows]:
    """ImageNet-R: 200 of the classes."""
    return _of_some_classes(asked, synsets("imagenet_r"))


def imagenet_a(asked: Asked) -> dict[str, Rows]:
    """ImageNet-A: 200 of the classes."""
    return _of_some_classes(asked, synsets("imagenet_a"))


def _of_some_classes(asked: Asked, classes: Sequence[str]) -> dict[str, Rows]:
    own = [synset for synset in classes if synset in asked.folders]

    def label_of(folder: str) -> int:
        if folder not in own:
            problem = unknown(f"class of {asked.domain}", folder, own)
            raise ConfigError(f"{asked.place / folder}: {problem}")
        return asked.folders[folder]

    test = class_folders(asked, label_of=label_of)
    _check_all(asked, test, own)
    return {"test": test}


def objectnet(asked: Asked) -> dict[str, Rows]:
    """ObjectNet: images of its classes that ImageNet has too, mostly one for several of ImageNet's.

    Such classes are alike: whichever of them is predicted, it is that class of ObjectNet.
    """
    with in_known_form(asked.place / "mappings"):
        classes = _classes_of_objectnet(asked)
    labels = {folder: found[0] for folder, found in classes.items() if found}
    test = class_folders(asked, "images", label_of=_looked_up(asked, classes))
    empty = sorted(folder for folder, label in labels.items() if label not in set(test.labels))
    _say_missing(asked.place / "images", empty, len(labels))
    test.border = BORDER
    test.alike = tuple(sorted(found for found in classes.values() if len(found) > 1))
    return {"test": test}


def _looked_up(asked: Asked, classes: dict[str, tuple[int, ...]]) -> Callable[[str], int | None]:
    def label_of(folder: str) -> int | None:
        if folder not in classes:
            problem = unknown("class of ObjectNet", folder, classes)
            raise ConfigError(f"{asked.place / 'images' / folder}: {problem}")
        return classes[folder][0] if classes[folder] else None

    return label_of


def _classes_of_objectnet(asked: Asked) -> dict[str, tuple[int, ...]]:
    """Folder -> labels of ImageNet, rising; () where ImageNet has no such class.

    Four files say so: the name of a folder's class, ImageNet's names of that class, the line of
    such a name, and the place among the sorted synsets that a line has.
    """
    name_of_folder = read_foreign_json(asked.file("mappings", "folder_to_objectnet_label.json"))
    names_of_class = read_foreign_json(asked.file("mappings", "objectnet_to_imagenet_1k.json"))
    line_of_place = read_foreign_json(asked.file("mappings", "pytorch_to_imagenet_2012_id.json"))
    names = asked.file("mappings", "imagenet_to_label_2012_v2")
    line_of_name = {
        name.strip(): line for line, name in enumerate(names.read_text("utf-8").splitlines())
    }
    order = synsets("imagenet")
    synset_of_line = {line: order[int(place)] for place, line in line_of_place.items()}

    classes: dict[str, tuple[int, ...]] = {}
    class_of_label: dict[int, str] = {}
    for folder, own_name in name_of_folder.items():
        labels = []
        for name in names_of_class.get(own_name, "").split("; "):
            if not name:
                continue
            if name not in line_of_name:
                raise ConfigError(f"{names}: no line {name!r}, which is {own_name!r} of ObjectNet")
            labels.append(asked.label(synset_of_line[line_of_name[name]], names))
        for label in labels:
            other = class_of_label.setdefault(label, own_name)
            if other != own_name:
                both = f"{other!r} and {own_name!r} share a class of ImageNet"
                raise ConfigError(f"{names.parent}: {both}; wanted: one of them")
        classes[folder] = tuple(sorted(labels))
    return classes


# --- which classes must be there


def _check_all(asked: Asked, rows: Rows, folders: Sequence[str] | Any, *parts: str) -> None:
    """Raise ConfigError where a class has no image: its score would be of fewer classes."""
    empty = sorted({*folders}.intersection(asked.without_image(rows)))
    _say_missing(asked.place.joinpath(*parts), empty, len(folders))


def _say_missing(place: Path, empty: Sequence[str], count: int) -> None:
    if empty:
        share = f"{len(empty)} of {count} classes have no image in {place}"
        raise ConfigError(f"{share}: {listed(empty)}; wanted: all, unpack it again")
