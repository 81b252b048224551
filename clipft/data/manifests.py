"""Data sets as YAML: what there is, what it is called, where it lies. No pixel is touched."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, PrivateAttr

from ..config import Record, digest, seed_of
from ..disk.files import cache_dir, read_yaml
from ..errors import ConfigError, unknown
from .emoji_shift import CHECKS, EmojiSpec, build
from .splits import PARTS, Split, SplitName


def manifests_folder() -> Path:
    """`data_manifests/` of the checkout, or the copy inside an installed wheel."""
    inside = Path(__file__).parent.parent / "data_manifests"
    return inside if inside.is_dir() else inside.parent.parent / "data_manifests"


class ClassName(Record):
    """One class: its folder or name, other names for captions, a code point if it is an emoji."""

    name: str
    also: tuple[str, ...] = ()
    code: str = ""

    @property
    def text(self) -> str:
        """What stands in a zero-shot template: _ and - become spaces."""
        return self.name.replace("_", " ").replace("-", " ")

    @property
    def slug(self) -> str:
        """Folder name of the class."""
        return self.name.replace(" ", "_")


class Manifest(Record):
    """One data set: domains, splits, classes, texts, and how to find or build its files."""

    name: str
    title: str
    card: str  # source, licence, what it can and cannot show
    licence: str
    homepage: str = ""
    domains: tuple[str, ...]
    reference: str
    classes: str  # YAML file of class names, in label order
    lists: str = "{domain}_{split}.txt"  # lines: path label
    labels: Literal["list", "folder"] = "list"  # folder: of the image, whatever the list says
    holdout: float = Field(0.0, ge=0, lt=1)  # of train, kept as val where there is no val list
    templates: str | tuple[str, ...] = "openai"  # of the zero-shot head; openai: CLIP's 80
    captions: dict[str, tuple[str, ...]] = {}  # templates by domain; "any" joins each
    emoji: EmojiSpec | None = None  # set: the files are rendered on first use
    _folder: Path = PrivateAttr(default=Path())
    _class_rows: list[Any] | None = PrivateAttr(default=None)  # of a copy; else they are a file
    _splits: dict[str, Split] = PrivateAttr(default_factory=dict)

    @classmethod
    def open(cls, path: Path) -> Manifest:
        """The manifest of a YAML file; raises ConfigError where its keys or values are wrong."""
        manifest: Manifest = cls.read(read_yaml(path), str(path))
        manifest._folder = path.parent
        manifest.check_domain(manifest.reference)
        return manifest

    @classmethod
    def from_copy(cls, copy: dict[str, Any]) -> Manifest:
        """The manifest of a `copy_for_run`, with the same digest; no YAML file is read."""
        if "class_names" not in copy:
            raise ConfigError("copy of a manifest: it has no class_names")
        fields = dict(copy)
        rows = fields.pop("class_names")
        manifest: Manifest = cls.read(fields, "copy of a manifest")
        manifest._class_rows = rows
        return manifest

    def copy_for_run(self) -> dict[str, Any]:
        """All that the YAML files say, class names included, as JSON has it."""
        copy = self.model_dump(mode="json")
        copy["class_names"] = [name.model_dump(mode="json") for name in self.class_names]
        return copy

    @cached_property
    def class_names(self) -> tuple[ClassName, ...]:
        """The classes in label order; raises ConfigError where two share a folder."""
        rows = self._class_rows
        if rows is None:
            rows = read_yaml(self._folder / self.classes)
        if not isinstance(rows, list):
            got = type(rows).__name__
            raise ConfigError(f"{self.classes}: expected a list of classes, got {got}")

        by_folder = {}
        for row in rows:
            name = ClassName.read({"name": row} if isinstance(row, str) else row, self.classes)
            by_folder[name.slug] = name
        if len(by_folder) != len(rows):
            raise ConfigError(f"{self.classes}: two classes have the same name")
        return tuple(by_folder.values())

    @property
    def names(self) -> list[str]:
        """The names that go into zero-shot templates, in label order."""
        return [name.text for name in self.class_names]

    @cached_property
    def label_of_folder(self) -> dict[str, int]:
        """The label of each class by the name of its folder."""
        return {name.slug: label for label, name in enumerate(self.class_names)}

    def digest(self) -> str:
        """12 letters that name what decides a run's data and texts; the prose is left out."""
        fields = self.copy_for_run()
        rows = fields.pop("class_names")
        for prose in ("title", "card", "licence", "homepage"):
            del fields[prose]
        return digest([fields, rows])

    def shifts(self, reference: str = "") -> list[str]:
        """All domains but the reference."""
        left_out = self.check_domain(reference if reference else self.reference)
        return [domain for domain in self.domains if domain != left_out]

    def check_domain(self, domain: str) -> str:
        """The domain itself; raises ConfigError with the nearest name where it is unknown."""
        if domain not in self.domains:
            raise unknown(f"domain of {self.name}", domain, self.domains)
        return domain

    @property
    def place(self) -> Path:
        """Where the files belong: $CLIPFT_DATA/<name>, or a folder of the cache, there or not."""
        if self.emoji is not None:
            pixels = self.emoji.model_dump(mode="json", exclude=CHECKS)
            return cache_dir() / f"{self.name}-{digest([pixels, self._concepts], 8)}"
        base = os.environ.get("CLIPFT_DATA")
        if not base:
            advice = f"set CLIPFT_DATA to the folder that holds {self.name}/"
            raise ConfigError(f"where is {self.name}? {advice}")
        return Path(base) / self.name

    @property
    def _concepts(self) -> dict[str, str]:
        return {name.slug: name.code for name in self.class_names}

    def root(self) -> Path:
        """The folder of the files; those of EmojiShift are rendered into it on first use."""
        if self.emoji is not None:
            return build(self.place, self.emoji, self._concepts)
        root = self.place
        if not root.is_dir():
            advice = f"put {self.title} there (see clipft datasets) or set CLIPFT_DATA"
            raise ConfigError(f"no folder {root}; {advice}")
        return root

    def split(self, name: str) -> Split:
        """`domain/part`, read once.

        Where val has no list it is held out of train, of each class, always the same rows. Raises
        ConfigError on an unknown domain or part, a malformed line or a label outside the classes.
        """
        if name not in self._splits:
            self._splits[name] = self._read_split(name)
        return self._splits[name]

    def _read_split(self, name: str) -> Split:
        part = SplitName.parse(name).part
        domain = self.check_domain(SplitName.parse(name).domain)
        if part not in PARTS:
            raise unknown("split", name, [f"{domain}/{known}" for known in PARTS])
        if not self.holdout or part == "test":
            return self._read_list(domain, part)

        whole = self._read_list(domain, "train")
        seed = seed_of(0, f"holdout:{self.name}:{domain}")
        in_val = _held_out(np.asarray(whole.labels), self.holdout, seed)
        rows = np.flatnonzero(in_val == (part == "val"))
        return replace(whole.take(rows.tolist()), part=part)

    def _read_list(self, domain: str, part: str) -> Split:
        root = self.root()
        file = root / self.lists.replace("{domain}", domain).replace("{split}", part)
        if not file.is_file():
            raise ConfigError(f"no list file {file}; {self.title} keeps one per domain and split")

        ids = []
        labels = []
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            if line.strip():
                path, label = self._read_line(line, where=f"{file}:{number}")
                ids.append(path)
                labels.append(label)
        if not ids:
            raise ConfigError(f"{file} is empty")
        return Split(domain, part, root, ids=tuple(ids), labels=tuple(labels))

    def _read_line(self, line: str, where: str) -> tuple[str, int]:
        """Path and label of one line of a list file; raises ConfigError that says `where`."""
        path, _, listed = line.rpartition(" ")
        if not path or not listed.isdecimal():
            raise ConfigError(f"{where}: expected `path label`, got {line!r}")

        if self.labels == "folder":
            folder = path.rpartition("/")[0].rpartition("/")[2]
            if folder not in self.label_of_folder:
                problem = unknown("class folder", folder, self.label_of_folder)
                raise ConfigError(f"{where}: {problem}")
            return path, self.label_of_folder[folder]

        label = int(listed)
        if label >= len(self.class_names):
            wanted = f"expected one below {len(self.class_names)}, see {self.classes}"
            raise ConfigError(f"{where}: label {label}, {wanted}")
        return path, label


def _held_out(labels: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """(N,) bool: the same fraction of every class, drawn once for all.

    At least one row of a class, but never the last one left.
    """
    rng = np.random.default_rng(seed)
    held_out = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        count = min(max(1, round(fraction * len(rows))), len(rows) - 1)
        held_out[rng.permutation(rows)[:count]] = True
    return held_out


def available() -> list[str]:
    """Names of the manifests that come with clipft."""
    files = manifests_folder().glob("*.yaml")
    return sorted(file.stem for file in files if ".classes" not in file.name)


def load_manifest(name: str) -> Manifest:
    """Open a data set's description: what it holds, how it is called, where it lies.

    Arguments:
        name: a name of `clipft datasets`, NAME of a NAME.yaml here, or the path of a YAML file.

    Returns:
        The manifest; no image is touched.

    Raises:
        ConfigError: for an unknown name, and for a wrong key or value in the file.

    Example:
        >>> manifest = clipft.load_manifest("domainnet")
        >>> manifest.shifts()
        ['painting', 'clipart', 'infograph', 'sketch']
        >>> len(manifest.names)
        345
    """
    path = manifests_folder() / f"{name}.yaml"
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
    elif not path.is_file():
        path = Path(f"{name}.yaml")
    if not path.is_file():
        raise unknown("data set", name, available())
    return Manifest.open(path)


def is_shipped(manifest: Manifest) -> bool:
    """Whether clipft comes with this manifest: its name and its content."""
    path = manifests_folder() / f"{manifest.name}.yaml"
    return path.is_file() and Manifest.open(path).digest() == manifest.digest()
