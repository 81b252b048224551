"""ImageNet and its shifts in small: a few of the synsets, the layout of the real archives."""

import json
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from clipft.data.class_lists import imagenet_classes, synsets
from clipft.data.manifests import Manifest, manifests_folder

V2 = "imagenetv2-matched-frequency-format-val"
# Of R alone, of A alone, of both; and two pairs, each of them one class of ObjectNet.
BOTH = sorted(set(synsets("imagenet_r")) & set(synsets("imagenet_a")))[:2]
OF_R = sorted(set(synsets("imagenet_r")) - set(synsets("imagenet_a")))[:2]
OF_A = sorted(set(synsets("imagenet_a")) - set(synsets("imagenet_r")))[:2]
PAIRS = (("n02708093", "n03196217"), ("n03337140", "n04005630"))  # clocks; a cabinet and a prison
SYNSETS = sorted({*BOTH, *OF_R, *OF_A, *PAIRS[0], *PAIRS[1]})
# ObjectNet: folder -> (its class, synsets); the last is none of ImageNet's.
OBJECTS = {
    "air_freshener": ("Air freshener", ()),
    "alarm_clock": ("Alarm clock", PAIRS[0]),
    "cabinet": ("Cabinet", PAIRS[1]),
    "t-shirt": ("T-shirt", (OF_R[0],)),
}
CLASSES = [row for row in imagenet_classes() if row["folder"] in SYNSETS]
BORDER = 2


def write_imagenet(root: Path, train: int = 3) -> Path:
    """All six domains of SYNSETS below a root."""
    place_of = {synset: place for place, synset in enumerate(synsets("imagenet"))}
    for label, synset in enumerate(SYNSETS):
        for number in range(train):
            draw(root / "train" / synset / f"{synset}_{number}.JPEG", label)
        draw(root / "val" / synset / f"ILSVRC2012_val_{label + 1:08d}.JPEG", label)
        draw(root / V2 / str(place_of[synset]) / f"{synset}.jpeg", label)
        draw(root / "sketch" / synset / "sketch_0.JPEG", label)
        for name in ("r", "a"):
            if synset in synsets(f"imagenet_{name}"):
                draw(root / f"imagenet-{name}" / synset / f"{name}_0.jpg", label)
    (root / "imagenet-r" / "README.txt").write_text("Renditions.\n")
    write_objectnet(root / "objectnet-1.0")
    return root


def write_objectnet(root: Path) -> None:
    """Its images, with a red border, and its four files of mappings."""
    for number, folder in enumerate(OBJECTS):
        draw(root / "images" / folder / "0a1b2c.png", number, border=BORDER)

    (root / "mappings").mkdir()
    order = synsets("imagenet")
    name_of = {synset: f"{synset} in words, or so" for synset in order}
    # As in the real files the lines are no order of synsets.
    lines = list(reversed(order))
    names = "".join(f"{name_of[synset]}\n" for synset in lines)
    (root / "mappings" / "imagenet_to_label_2012_v2").write_text(names)
    line_of = {synset: line for line, synset in enumerate(lines)}
    written = {
        "pytorch_to_imagenet_2012_id": {
            str(place): line_of[synset] for place, synset in enumerate(order)
        },
        "folder_to_objectnet_label": {folder: own for folder, (own, _) in OBJECTS.items()},
        "objectnet_to_imagenet_1k": {
            own: "; ".join(name_of[synset] for synset in reversed(found))
            for own, found in OBJECTS.values()
            if found
        },
    }
    for name, content in written.items():
        (root / "mappings" / f"{name}.json").write_text(json.dumps(content))


def draw(file: Path, seed: int, border: int = 0, size: int = 32) -> None:
    """A noise image, other bytes for each file; with a red border where it has one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng([seed, *file.name.encode(), *file.parent.name.encode()])
    pixels = noise.integers(0, 256, (size, size, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    if border:
        framed = Image.new("RGB", (size, size), "red")
        inner = size - 2 * border
        framed.paste(image.resize((inner, inner)), (border, border))
        image = framed
    image.save(file)


def imagenet_manifest(root: Path, **changes) -> Manifest:
    """The manifest that ships, of SYNSETS alone, with its images below a root."""
    file = manifests_folder() / "imagenet.yaml"
    values = yaml.safe_load(file.read_text()) | {"classes": CLASSES, "root": str(root)}
    return Manifest.of(values | changes, file)
