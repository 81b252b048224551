"""CUB-200-2011 in small, alone and beside the splits for generalised zero-shot learning."""

from pathlib import Path

import numpy as np
from miniatures.drawing import draw
from scipy.io import savemat

from clipft.data.manifests import load_manifest

UNSEEN = range(3, 200, 4)  # labels of 50 classes


def write_cub(root: Path, images: int = 3) -> Path:
    """CUB_200_2011/images/CLASS/NAME.jpg and its four lists; of each class the last is test."""
    top = root / "CUB_200_2011"
    lines = {"images": [], "image_class_labels": [], "train_test_split": [], "classes": []}
    for label, row in enumerate(load_manifest("cub").class_names):
        lines["classes"].append(f"{label + 1} {row.folder}")
        for number in range(images):
            image = len(lines["images"]) + 1
            name = f"{row.folder}/{row.folder[4:]}_{number:04d}_{image}.jpg"
            draw(top / "images" / name, label, number)
            lines["images"].append(f"{image} {name}")
            lines["image_class_labels"].append(f"{image} {label + 1}")
            lines["train_test_split"].append(f"{image} {int(number < images - 1)}")
    for stem, listed in lines.items():
        (top / f"{stem}.txt").write_text("\n".join(listed) + "\n")
    return root


def write_cub_gzsl(root: Path, images: int = 3) -> Path:
    """The same with xlsa17/data/CUB, whose positions are in another order than CUB's lists."""
    write_cub(root, images)
    listed = (root / "CUB_200_2011" / "images.txt").read_text().splitlines()
    names = [line.split()[1] for line in listed]
    order = np.random.default_rng(0).permutation(len(names))
    positions = {"trainval_loc": [], "test_seen_loc": [], "test_unseen_loc": []}
    for position, row in enumerate(order, 1):
        if row // images in UNSEEN:
            key = "test_unseen_loc"
        elif row % images < images - 1:
            key = "trainval_loc"
        else:
            key = "test_seen_loc"
        positions[key].append([float(position)])

    place = root / "xlsa17/data/CUB"
    place.mkdir(parents=True)
    savemat(place / "att_splits.mat", {key: np.array(of) for key, of in positions.items()})
    paths = np.empty((len(names), 1), dtype=object)
    for position, row in enumerate(order):
        paths[position, 0] = f"/BS/work/CUB_200_2011/CUB_200_2011/images/{names[row]}"
    features = np.zeros((4, len(names)))
    labels = (order // images + 1.0)[:, None]
    held = {"image_files": paths, "features": features, "labels": labels}
    savemat(place / "res101.mat", held)
    return root


WRITERS = {"cub": write_cub, "cub_gzsl": write_cub_gzsl}
