"""A tree of class folders becomes rows: which folder is a domain, which a split, which a class.

Names alone are looked at; no image is opened. Rows come in the order of their labels and then of
their paths' letters, the same on every machine.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Literal

from ..config import seed_of
from ..errors import ConfigError
from .found import IMAGES, LeftOut, find_images
from .splits import Split, hold_out, rows_by_label

Layout = Literal[
    "", "{class}", "{split}/{class}", "{domain}/{class}", "{domain}/{split}/{class}",
    "{split}/{domain}/{class}",
]  # fmt: skip
IN_WORDS: dict[str, str] = {
    "{class}": "one domain; a folder a class",
    "{split}/{class}": "one domain; in it train, val or test; in these a folder a class",
    "{domain}/{class}": "a folder a domain; in it a folder a class",
    "{domain}/{split}/{class}": "a folder a domain; in it train, val or test; a folder a class",
    "{split}/{domain}/{class}": "train, val or test; in these a folder a domain; a folder a class",
}
SPELLINGS = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
# split numbers of Waterbirds, CelebA and others
NUMBERED = {"0": "train", "1": "val", "2": "test"}
WHOLE = ""  # the part of a domain whose folders name none
LISTED = 5  # names in a note; then "..."
EXAMPLE = "studio/mug/1.jpg"  # what a tree should look like

Parts = dict[str, dict[str, tuple[str, ...]]]  # part -> class folder -> images


def part_of(folder: str) -> str:
    """The part that a folder's name means, `validation` is val; "" where it means none."""
    return SPELLINGS.get(folder.lower(), "")


def class_key(name: str) -> str:
    """What all spellings of a class share: case, spaces, _ and - do not count."""
    plain = unicodedata.normalize("NFKC", name).casefold()
    return re.sub(r"[\s_-]+", " ", plain).strip()


def _above(image: str) -> tuple[str, ...]:
    """The folders in which a file lies, the outermost first."""
    return PurePosixPath(image).parts[:-1]


# --- from files to domains, parts and classes


@dataclass(frozen=True, eq=False)
class Tree:
    """The images below a folder by domain, part and class folder.

    domains: where the layout has no folder for a domain, the one domain is called "".
    """

    root: Path
    layout: Layout
    domains: Mapping[str, Parts]
    outside: tuple[str, ...] = ()  # images that lie in no class folder
    left_out: LeftOut = field(default_factory=LeftOut)  # what is no image
    read_as: str = ""  # in words, where no folders but a table was read
    more_notes: tuple[str, ...] = ()  # on a table's rows
    groups: Mapping[str, str] = field(default_factory=dict)  # image -> its group, of a table

    @classmethod
    def read(cls, root: Path, layout: Layout = "") -> Tree:
        """The tree of a folder; the layout is found out where it is not given.

        Raises ConfigError where there is no image, or the folders can be read in two ways.
        """
        found = find_images(root)
        images = found.images
        if not images:
            raise ConfigError(_no_image(root, found.left_out))

        layout = layout or find_layout(root, images)
        domains, outside = _sort_in(root, images, layout)
        if not domains:
            wanted = f"wanted: {layout}, e.g. {EXAMPLE}"
            raise ConfigError(f"no image of {root} lies in a class folder; {wanted}")
        return cls(root, layout, domains, outside, found.left_out)

    def notes(self) -> list[str]:
        """What is left out, a line for each kind."""
        lines = self.left_out.lines()
        if self.outside:
            lines.append(f"left out, in no class folder: {listed(self.outside)}")
        return [*lines, *self.more_notes]

    @property
    def in_words(self) -> str:
        """How it was read."""
        return self.read_as or f"{IN_WORDS[self.layout]} ({self.layout})"

    def said(self) -> list[str]:
        """The same lines where they stand alone, with the root."""
        return [f"{self.root.resolve()}: {line}" for line in self.notes()]

    def parts(self, domain: str, labels: Mapping[str, int]) -> dict[str, Split]:
        """The parts of a domain as its folders name them; of the classes with a label alone.

        labels: class key -> label.
        """
        found: Parts = self.domains.get(domain if "{domain}" in self.layout else "", {})
        splits = {}
        for part, classes in found.items():
            ids: list[str] = []
            of_ids: list[int] = []
            for folder, images in classes.items():
                label = labels.get(class_key(folder))
                if label is not None:
                    ids += images
                    of_ids += [label] * len(images)
            if ids:
                groups = tuple(map(self.groups.__getitem__, ids)) if self.groups else ()
                whole = Split(domain, part, self.root, tuple(ids), tuple(of_ids), groups=groups)
                splits[part] = _in_order(whole)
        return splits


def _in_order(split: Split) -> Split:
    """The same rows in the order of their labels, and then of their paths."""
    order: list[int] = []
    for rows in rows_by_label(split.labels):
        order += sorted(rows.tolist(), key=split.ids.__getitem__)
    return split.take(order)


def listed(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {more} more" if more > 0 else "")


def _no_image(root: Path, left_out: LeftOut) -> str:
    endings = ", ".join(sorted(IMAGES))
    message = f"no image under {root}; wanted: files such as {EXAMPLE}, ending in {endings}"
    return "; ".join([message, *left_out.lines()])


def find_layout(root: Path, images: Iterable[str]) -> Layout:
    """Which folder level is a domain, a split or a class.

    A level is one of splits where all its folders have a split's name. How deep the class folders
    lie is said by most of the images: a few may lie beside or below them.
    """
    folders = [_above(image) for image in images]
    depths = Counter(len(above) for above in folders)
    depth = max(depths, key=lambda deep: (depths[deep], -deep))
    if depth == 0:
        wanted = f"wanted: a folder a class, e.g. {root}/mug/1.jpg"
        raise ConfigError(f"the images of {root} lie in no class folder; {wanted}")

    top = {above[0] for above in folders if above}
    if _are_splits(root, top):
        return "{split}/{class}" if depth <= 2 else "{split}/{domain}/{class}"
    if depth == 1:
        return "{class}"
    return "{domain}/{split}/{class}" if _with_splits(root, folders) else "{domain}/{class}"


def _are_splits(folder: Path, inside: set[str]) -> bool:
    """Whether these folders of a folder are train, val, test.

    Raises ConfigError where only some are, or two are the same.
    """
    named = sorted(name for name in inside if part_of(name))
    others = sorted(inside - set(named))
    if named and others:
        beside = f"{folder} holds {', '.join(named)} beside {', '.join(others)}"
        raise ConfigError(f"{beside}; wanted: split folders alone, or none; move or rename some")

    parts = {part_of(name): name for name in named}
    if len(parts) < len(named):
        twice = f"{folder} holds {', '.join(named)}"
        raise ConfigError(f"{twice}, two of which mean the same part; wanted: one of each")
    return bool(named)


def _with_splits(root: Path, folders: Iterable[tuple[str, ...]]) -> set[str]:
    """The domains whose folders are train, val, test; the others hold class folders."""
    inside: dict[str, set[str]] = {}
    for above in folders:
        if len(above) > 1:
            inside.setdefault(above[0], set()).add(above[1])
    return {domain for domain, names in inside.items() if _are_splits(root / domain, names)}


def _sort_in(
    root: Path, images: Iterable[str], layout: Layout
) -> tuple[dict[str, Parts], tuple[str, ...]]:
    """(domain -> part -> class folder -> images, images in no class folder)."""
    folders = {image: _above(image) for image in images}
    with_splits: set[str] = set()
    if layout == "{domain}/{split}/{class}":
        with_splits = _with_splits(root, folders.values())

    sorted_in: dict[str, dict[str, dict[str, list[str]]]] = {}
    outside = []
    for image, above in folders.items():
        levels = list(PurePosixPath(layout).parts)
        if layout == "{domain}/{split}/{class}" and above and above[0] not in with_splits:
            levels.remove("{split}")
        named = dict(zip(levels, above, strict=False))
        part = part_of(named.get("{split}", ""))
        if len(named) < len(levels) or ("{split}" in named and not part):
            outside.append(image)
            continue
        parts = sorted_in.setdefault(named.get("{domain}", ""), {})
        parts.setdefault(part, {}).setdefault(named["{class}"], []).append(image)

    domains = {}
    for domain, parts in sorted(sorted_in.items()):
        domains[domain] = {part: _frozen(root, classes) for part, classes in parts.items()}
    return domains, tuple(outside)


def _frozen(root: Path, classes: Mapping[str, list[str]]) -> dict[str, tuple[str, ...]]:
    """The classes of a part; raises ConfigError where two folders are spellings of one class."""
    folder_of: dict[str, str] = {}
    for folder in classes:
        other = folder_of.setdefault(class_key(folder), folder)
        if other != folder:
            where = root / Path(classes[folder][0]).parent
            raise ConfigError(
                f"the class folders {other!r} and {folder!r} in {where.parent} differ in case,"
                f" space, _ or - alone; wanted: one folder a class, e.g. {folder!r}"
            )
    return {folder: tuple(images) for folder, images in classes.items()}


# --- from parts to train, val and test


def complete(
    found: Mapping[str, Split], fraction: float, purpose: str, *, is_reference: bool
) -> dict[str, Split]:
    """Train, val and test of a domain, from the parts that its folders name.

    Of the reference a missing test, then a missing val, is this fraction of each class of train,
    always the same rows. A shift without test is all test. purpose: what the draws are named by.
    """
    if not is_reference and "test" not in found:
        return {"test": _whole(list(found.values()))} if found else {}

    parts = dict(found)
    if WHOLE in parts:
        parts["train"] = replace(parts.pop(WHOLE), part="train")
    if not fraction or "train" not in parts:
        return parts

    if "test" not in parts:
        seed = seed_of(0, f"holdout_test:{purpose}")
        # One of each class stays in train, and one more is left for val.
        left = 1 if "val" in parts else 2
        parts["train"], parts["test"] = hold_out(parts["train"], "test", fraction, seed, left)
    if "val" not in parts:
        seed = seed_of(0, f"holdout:{purpose}")
        parts["train"], parts["val"] = hold_out(parts["train"], "val", fraction, seed)
    return {part: split for part, split in parts.items() if split}


def _whole(splits: list[Split]) -> Split:
    """All rows of a domain as its test."""
    return _in_order(replace(Split.join(splits), domain=splits[0].domain, part="test", domains=()))
