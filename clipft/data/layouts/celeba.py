"""CelebA as worst-group studies read it: blond hair or not, and as groups that by gender.

Liu et al., Deep Learning Face Attributes in the Wild, ICCV 2015; Sagawa et al., ICLR 2020.
"""

from __future__ import annotations

from pathlib import Path

from ...errors import ConfigError
from ..folders import NUMBERED
from .asked import Asked, Rows
from .listed import checked, read_columns, read_fields

TARGET = "Blond_Hair"
BESIDE = "Male"
HAIR = {"-1": "not_blond", "1": "blond"}  # value of the attribute -> class folder of the manifest
PEOPLE = {"-1": "women", "1": "men"}


def celeba(asked: Asked) -> dict[str, Rows]:
    """Faces in img_align_celeba/ by list_attr_celeba and list_eval_partition, .csv or .txt."""
    asked.file("img_align_celeba")
    file, attributes = _attributes(asked)
    part_of = _partition(asked)
    without = [image for image in attributes if image not in part_of]
    if without:
        count = f"{len(without)} of {len(attributes)} images of {file} are in no part"
        raise ConfigError(f"{count}, e.g. {without[0]}; wanted: all in list_eval_partition")

    parts = {part: Rows() for part in NUMBERED.values()}
    for image, (hair, person) in attributes.items():
        name = HAIR[hair]
        group = f"{name.replace('_', ' ')} {PEOPLE[person]}"
        label = asked.label(name, file)
        parts[part_of[image]].add(f"img_align_celeba/{image}", label, group)
    return checked(asked, file, parts)


def _attributes(asked: Asked) -> tuple[Path, dict[str, tuple[str, str]]]:
    """(the file, image -> (hair, person) as -1 or 1)."""
    file = _either(asked, "list_attr_celeba")
    if file.suffix == ".csv":
        table = read_columns(file, ("image_id", TARGET, BESIDE))
        images, hair, person = (table[column].tolist() for column in table)
    else:
        # The first line counts the images, the second names the attributes.
        names = [*read_fields(file, head=1), []][0]
        for name in (TARGET, BESIDE):
            if name not in names:
                raise ConfigError(f"{file}:2: no attribute {name}; wanted: the names of attributes")
        rows = _rows_of(file, 1 + len(names), head=2)
        images = [row[0] for row in rows]
        hair, person = ([row[1 + names.index(name)] for row in rows] for name in (TARGET, BESIDE))

    found = {}
    for image, *values in zip(images, hair, person, strict=True):
        if image in found:
            raise ConfigError(f"{file}: {image} stands there twice; wanted: once")
        if not set(values) <= set(HAIR):
            raise ConfigError(f"{file}: {image} has {' and '.join(values)}; wanted: 1 or -1")
        found[image] = (values[0], values[1])
    return file, found


def _partition(asked: Asked) -> dict[str, str]:
    """Image -> part."""
    file = _either(asked, "list_eval_partition")
    if file.suffix == ".csv":
        table = read_columns(file, ("image_id", "partition"))
        pairs = list(zip(table["image_id"], table["partition"], strict=True))
    else:
        pairs = [(image, number) for image, number in _rows_of(file, 2)]
    for image, number in pairs:
        if number not in NUMBERED:
            raise ConfigError(f"{file}: {image} has {number!r}; wanted: 0, 1 or 2")
    return {image: NUMBERED[number] for image, number in pairs}


def _rows_of(file: Path, count: int, *, head: int = 0) -> list[list[str]]:
    """The lines of a text file, each of so many words."""
    rows = read_fields(file, head=head)
    for row in rows:
        if len(row) != count:
            raise ConfigError(f"{file}: {row[0]} has {len(row) - 1} values; wanted: {count - 1}")
    return rows


def _either(asked: Asked, stem: str) -> Path:
    """The CSV of this name, or else the text file of the original release."""
    table = asked.place / f"{stem}.csv"
    return table if table.is_file() else asked.file(f"{stem}.txt")
