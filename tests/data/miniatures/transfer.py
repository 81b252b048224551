"""Caltech-101, Flowers-102, Stanford Cars, PatchCamelyon and Rendered SST2 in small.

The folders and files are those that torchvision's classes leave below their root.
"""

from pathlib import Path

import numpy as np
from miniatures.drawing import draw, pixels
from scipy.io import savemat

from clipft.data.manifests import load_manifest

PCAM = "pcam/camelyonpatch_level_2_split_{part}_{what}.h5"


def write_caltech101(root: Path, images: int = 4) -> Path:
    """caltech101/101_ObjectCategories/ant/image_0001.jpg, and the folder of clutter."""
    top = root / "caltech101/101_ObjectCategories"
    for label, row in enumerate(load_manifest("caltech101").class_names):
        for number in range(images):
            draw(top / row.slug / f"image_{number + 1:04d}.jpg", label, number)
    draw(top / "BACKGROUND_Google/image_0001.jpg", 7, 100)
    return root


def write_rendered_sst2(root: Path, images: int = 6) -> Path:
    """rendered-sst2/train/negative/00000.png and so on; valid and test beside train."""
    for place, folder in enumerate(("train", "valid", "test")):
        for label, name in enumerate(("negative", "positive")):
            for number in range(images - place):
                file = root / "rendered-sst2" / folder / name / f"{number:05d}.png"
                draw(file, label, number + 100 * place)
    return root


def write_flowers102(root: Path, train: int = 2, val: int = 1, test: int = 1) -> Path:
    """flowers-102/jpg/image_00001.jpg, imagelabels.mat, setid.mat; images are in no order."""
    top = root / "flowers-102"
    count = train + val + test
    draws = np.random.default_rng(0)
    labels = draws.permutation(np.repeat(np.arange(1, 103), count)).astype(np.uint8)
    parts: dict[str, list[int]] = {"trnid": [], "valid": [], "tstid": []}
    for label in range(1, 103):
        numbers = (np.flatnonzero(labels == label) + 1).tolist()
        parts["trnid"] += numbers[:train]
        parts["valid"] += numbers[train : train + val]
        parts["tstid"] += numbers[train + val :]
    for number, label in enumerate(labels.tolist(), 1):
        draw(top / f"jpg/image_{number:05d}.jpg", label, number)
    savemat(top / "imagelabels.mat", {"labels": labels[None]})
    splits = {name: np.array([numbers], np.uint16) for name, numbers in parts.items()}
    savemat(top / "setid.mat", splits)
    return root


def annotations(names: list[str], labels: list[int] | None) -> np.ndarray:
    """(1, N) struct array with the fields of the devkit; the label is missing in that of tests."""
    boxes = [(f"bbox_{corner}", object) for corner in ("x1", "y1", "x2", "y2")]
    fields = [*boxes, *([("class", object)] if labels else []), ("fname", object)]
    rows = np.empty((1, len(names)), fields)
    for place, name in enumerate(names):
        label = [np.uint8(labels[place])] if labels else []
        rows[0, place] = (*[np.uint8(1)] * 4, *label, name)
    return rows


def write_cars(root: Path, train: int = 2, test: int = 1) -> Path:
    """stanford_cars/cars_train/00001.jpg, cars_test, devkit, cars_test_annos_withlabels.mat."""
    top = root / "stanford_cars"
    (top / "devkit").mkdir(parents=True)
    names = [row.name for row in load_manifest("cars").class_names]
    savemat(top / "devkit/cars_meta.mat", {"class_names": np.array([names], object)})
    draws = np.random.default_rng(1)
    for folder, count, file in (
        ("cars_train", train, "devkit/cars_train_annos.mat"),
        ("cars_test", test, "cars_test_annos_withlabels.mat"),
    ):
        labels = draws.permutation(np.repeat(np.arange(1, 197), count)).tolist()
        files = [f"{number:05d}.jpg" for number in range(1, len(labels) + 1)]
        for number, label in enumerate(labels):
            draw(top / folder / files[number], label, number + 10_000 * len(folder))
        savemat(top / file, {"annotations": annotations(files, labels)})
    savemat(top / "devkit/cars_test_annos.mat", {"annotations": annotations(files, None)})
    return root


def write_patchcamelyon(root: Path, images: int = 12) -> Path:
    """Six .h5 files of pcam/, with arrays x of images and y of labels; fewer for val and test."""
    import h5py

    (root / "pcam").mkdir(parents=True)
    for place, part in enumerate(("train", "valid", "test")):
        count = images - 2 * place
        labels = np.random.default_rng(place).permutation(np.arange(count) % 2).astype(np.uint8)
        drawn = [
            pixels(label, number + 100 * place, 96) for number, label in enumerate(labels.tolist())
        ]
        with h5py.File(root / PCAM.format(part=part, what="x"), "w") as file:
            file["x"] = np.stack(drawn)
        with h5py.File(root / PCAM.format(part=part, what="y"), "w") as file:
            file["y"] = labels.reshape(-1, 1, 1, 1)
    return root


WRITERS = {
    "caltech101": write_caltech101,
    "cars": write_cars,
    "flowers102": write_flowers102,
    "patchcamelyon": write_patchcamelyon,
    "rendered_sst2": write_rendered_sst2,
}
