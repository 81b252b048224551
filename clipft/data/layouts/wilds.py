"""The layouts of WILDS, by its metadata: iWildCam 2.0, FMoW 1.1, Waterbirds 1.0.

Koh et al., WILDS: A Benchmark of in-the-Wild Distribution Shifts, ICML 2021. Splits and groups are
those of its package at version 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import ConfigError, first_line
from ..folders import NUMBERED
from .asked import Asked, Rows
from .listed import check_domain, check_words, checked, read_columns, whole_numbers

if TYPE_CHECKING:
    import pandas as pd

# domain -> split in WILDS' words -> part here
SPLITS: dict[str, dict[str, str]] = {
    "id": {"train": "train", "id_val": "val", "id_test": "test"},
    "ood": {"val": "val", "test": "test"},
}
BEYOND = 10_000  # labels of categories.csv from here on are of no class
OOD_VAL = 2013  # of FMoW: from this year on images are out of distribution,
OOD_TEST = 2016  # and from this year on they are the test
SEQUESTERED = "seq"
PLACES = ("land", "water")  # of Waterbirds, by number
BIRDS = ("landbird", "waterbird")  # by label


def iwildcam(asked: Asked) -> dict[str, Rows]:
    """Camera traps: `split` and `y` of metadata.csv, images in train/; id is seen places, ood new.

    Labels are held against categories.csv: the class folders of the manifest are its category_id.
    """
    check_domain(asked, SPLITS)
    _check_categories(asked)
    file = asked.file("metadata.csv")
    asked.file("train")
    table = read_columns(file, ("split", "filename", "y"))
    check_words(table["split"], [split for own in SPLITS.values() for split in own], file)
    labels = whole_numbers(table["y"], file)
    beyond = labels[labels >= len(asked.folders)]
    if len(beyond):
        where = f"{file}:{beyond.index[0] + 2}"
        raise ConfigError(f"{where}: y is {beyond.iloc[0]}; wanted: below {len(asked.folders)}")

    table = table.assign(label=labels, path="train/" + table["filename"])
    return checked(asked, file, _by_part(table, SPLITS[asked.domain]))


def _check_categories(asked: Asked) -> None:
    """Raise ConfigError where categories.csv numbers the classes in another way."""
    file = asked.file("categories.csv")
    table = read_columns(file, ("y", "category_id", "name"))
    labels = whole_numbers(table["y"], file)
    for label, category, name in zip(labels, table["category_id"], table["name"], strict=True):
        own = asked.folders.get(category)
        if label < BEYOND and own != label:
            wanted = "one of the manifest's classes" if own is None else f"label {own}"
            says = f"category {category} ({name}) has label {label}"
            raise ConfigError(f"{file}: {says}; wanted: {wanted}")
    here = set(labels[labels < BEYOND])
    if len(here) != len(asked.folders):
        count = f"{len(here)} classes, the manifest has {len(asked.folders)}"
        raise ConfigError(f"{file}: {count}; wanted: version 2.0 of {asked.heading}")


def fmow(asked: Asked) -> dict[str, Rows]:
    """Satellite images: image N of images/ is row N of rgb_metadata.csv; groups are regions.

    id is what was taken before 2013; ood has val of 2013 to 2015 and test from 2016 on. Rows of the
    split seq are left out. Countries without a region are in no group.
    """
    check_domain(asked, SPLITS)
    file = asked.file("rgb_metadata.csv")
    asked.file("images")
    table = read_columns(file, ("split", "category", "timestamp", "country_code"))
    check_words(table["split"], ("train", "val", "test", SEQUESTERED), file)
    check_words(table["category"], asked.folders, file)

    year = _years(table["timestamp"], file)
    split = table["split"].copy()
    is_id = (year < OOD_VAL) & split.isin(["val", "test"])
    split[is_id] = "id_" + split[is_id]
    is_unused = (split == "train") & (year >= OOD_VAL)
    is_unused |= (split == "val") & (year >= OOD_TEST)
    is_unused |= (split == "test") & (year < OOD_TEST)
    split[is_unused] = SEQUESTERED

    numbers = table.index.astype(str).to_series(index=table.index)
    table = table.assign(
        split=split,
        label=table["category"].map(asked.folders),
        path="images/rgb_img_" + numbers + ".png",
        group=table["country_code"].map(_regions(asked)).fillna(""),
    )
    return checked(asked, file, _by_part(table, SPLITS[asked.domain]))


def _years(timestamps: pd.Series, file: Path) -> pd.Series:
    """The years, in UTC, of a column of times."""
    import pandas as pd

    try:
        return pd.to_datetime(timestamps, utc=True, format="ISO8601").dt.year
    except ValueError as error:
        wanted = "wanted: e.g. 2015-04-29T08:24:07Z"
        raise ConfigError(f"{file}: timestamp: {first_line(error)}; {wanted}") from None


def _regions(asked: Asked) -> Mapping[str, str]:
    """Country -> region; a region "Other" and an empty one are no group."""
    file = asked.file("country_code_mapping.csv")
    table = read_columns(file, ("alpha-3", "region"))
    pairs = zip(table["alpha-3"], table["region"], strict=True)
    return {country: region for country, region in pairs if region != "Other"}


def waterbirds(asked: Asked) -> dict[str, Rows]:
    """Birds on places: `split`, `y`, `place` of metadata.csv; a group is a bird on a place."""
    file = asked.file("metadata.csv")
    table = read_columns(file, ("img_filename", "y", "split", "place"))
    check_words(table["split"], NUMBERED, file)
    for column in ("y", "place"):
        check_words(table[column], ("0", "1"), file)

    labels = np.array([asked.label(bird, file) for bird in BIRDS])
    bird = table["y"].astype(int).to_numpy()
    place = table["place"].astype(int).to_numpy()
    groups = np.array([[f"{name} on {where}" for where in PLACES] for name in BIRDS])
    table = table.assign(path=table["img_filename"], label=labels[bird], group=groups[bird, place])
    return checked(asked, file, _by_part(table, NUMBERED))


def _by_part(table: pd.DataFrame, parts: Mapping[str, str]) -> dict[str, Rows]:
    """The rows of each part: columns split, path, label, and group where images are grouped."""
    found = {}
    for split, part in parts.items():
        rows = table[table["split"] == split]
        groups = rows["group"].tolist() if "group" in rows else []
        found[part] = Rows(rows["path"].tolist(), rows["label"].tolist(), groups)
    return found
