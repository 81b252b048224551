"""Data sets as YAML: what there is, what it is called, where it lies. No pixel is touched here."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, PrivateAttr

from ..config import Record, digest, seed_of
from ..disk.files import cache_dir, read_yaml
from ..errors import ConfigError, unknown
from .emoji_shift import CHECKS, EmojiSpec
from .splits import Split


def manifests_folder() -> Path:
    """`data_manifests/` of the checkout, or the copy inside an installed wheel."""
    inside = Path(__file__).parent.parent / "data_manifests"
    return inside if inside.is_dir() else inside.parent.parent / "data_manifests"


class ClassName(Record):
    """One class: its folder or name, other names for captions, and a code point if it is an emoji."""

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
    labels: Literal["list", "folder"] = (
        "list"  # folder: by the name of the image's folder, whatever the list says
    )
    holdout: float = Field(
        0.0, ge=0, lt=1
    )  # fraction of train kept as val where there is no val list
    templates: str | tuple[str, ...] = (
        "openai"  # of the zero-shot head; openai: the 80 of CLIP's release
    )
    captions: dict[
        str, tuple[str, ...]
    ] = {}  # templates by domain, for contrastive training; "any" joins each
    emoji: EmojiSpec | None = None  # set: the files are rendered on first use
    _folder: Path = PrivateAttr(default=Path())
    _splits: dict[str, Split] = PrivateAttr(default_factory=dict)

    @cached_property
    def class_names(self) -> tuple[ClassName, ...]:
        """The classes in label order; raises ConfigError where two share a folder."""
        rows = read_yaml(self._folder / self.classes)
        if not isinstance(rows, list):
            raise ConfigError(
                f"{self.classes}: expected a list of classes, got {type(rows).__name__}"
            )
        names = tuple(
            ClassName.read({"name": row} if isinstance(row, str) else row, self.classes)
            for row in rows
        )
        if len({name.slug for name in names}) != len(names):
            raise ConfigError(f"{self.classes}: two classes have the same name")
        return names

    @property
    def names(self) -> list[str]:
        """The names that go into zero-shot templates, in label order."""
        return [name.text for name in self.class_names]

    def digest(self) -> str:
        """12 letters that name what decides a run's data and texts, class names included (the prose is not)."""
        prose = {"title", "card", "licence", "homepage"}
        return digest(
            [
                self.model_dump(mode="json", exclude=prose),
                [name.model_dump() for name in self.class_names],
            ]
        )

    def shifts(self, reference: str = "") -> list[str]:
        """All domains but the reference."""
        reference = self.check_domain(reference or self.reference)
        return [domain for domain in self.domains if domain != reference]

    def check_domain(self, domain: str) -> str:
        """The domain itself; raises ConfigError with the nearest name where it is unknown."""
        if domain not in self.domains:
            raise unknown(f"domain of {self.name}", domain, self.domains)
        return domain

    @property
    def place(self) -> Path:
        """Where the files belong: $CLIPFT_DATA/<name>, or a folder of the cache, there or not."""
        if self.emoji is not None:
            key = digest([self.emoji.model_dump(mode="json", exclude=CHECKS), self._concepts], 8)
            return cache_dir() / f"{self.name}-{key}"
        base = os.environ.get("CLIPFT_DATA")
        if not base:
            raise ConfigError(
                f"where is {self.name}? set CLIPFT_DATA to the folder that holds {self.name}/"
            )
        return Path(base) / self.name

    @property
    def _concepts(self) -> dict[str, str]:
        return {c.slug: c.code for c in self.class_names}

    def root(self, progress: bool = True) -> Path:
        """The folder of the files; those of EmojiShift are rendered into it on first use."""
        if self.emoji is not None:
            from .emoji_shift import build

            return build(self.place, self.emoji, self._concepts, progress)
        root = self.place
        if not root.is_dir():
            raise ConfigError(
                f"no folder {root}; put {self.title} there (see clipft datasets) or set CLIPFT_DATA"
            )
        return root

    def split(self, name: str) -> Split:
        """`domain/split`, read once; val is held out of train (per class, always the same rows) where it has no list.

        Raises ConfigError on an unknown domain or split, a malformed line or a label outside the classes.
        """
        if name not in self._splits:
            self._splits[name] = self._read_split(name)
        return self._splits[name]

    def _read_split(self, name: str) -> Split:
        domain, _, part = name.partition("/")
        self.check_domain(domain)
        if part not in ("train", "val", "test"):
            raise unknown("split", name, [f"{domain}/{p}" for p in ("train", "val", "test")])
        if self.holdout and part in ("train", "val"):
            whole = self._read(domain, "train")
            held = _held_out(
                np.asarray(whole.labels), self.holdout, seed_of(0, f"holdout:{self.name}:{domain}")
            )
            rows = np.flatnonzero(held if part == "val" else ~held)
            return replace(whole.take(rows.tolist()), part=part)
        return self._read(domain, part)

    def _read(self, domain: str, part: str) -> Split:
        root = self.root()
        file = root / self.lists.replace("{domain}", domain).replace("{split}", part)
        if not file.is_file():
            raise ConfigError(f"no list file {file}; {self.title} keeps one per domain and split")
        folders = {name.slug: label for label, name in enumerate(self.class_names)}
        ids, labels = [], []
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            if not line.strip():
                continue
            path, _, given = line.rpartition(" ")
            if not path or not given.isdecimal():
                raise ConfigError(f"{file}:{number}: expected `path label`, got {line!r}")
            folder = path.split("/")[-2] if "/" in path else ""
            if self.labels == "folder" and folder not in folders:
                raise ConfigError(f"{file}:{number}: {unknown('class folder', folder, folders)}")
            label = folders[folder] if self.labels == "folder" else int(given)
            if label >= len(folders):
                raise ConfigError(
                    f"{file}:{number}: label {label}, expected one below {len(folders)}, see {self.classes}"
                )
            ids.append(path)
            labels.append(label)
        if not ids:
            raise ConfigError(f"{file} is empty")
        return Split(domain, part, root, tuple(ids), tuple(labels))


def _held_out(labels: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """(N,) bool: the same fraction of every class (at least one, never the last one left), drawn once for all."""
    rng, held = np.random.default_rng(seed), np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        count = min(max(1, round(fraction * len(rows))), len(rows) - 1)
        held[rng.permutation(rows)[:count]] = True
    return held


def available() -> list[str]:
    """Names of the manifests that come with clipft."""
    return sorted(
        file.stem for file in manifests_folder().glob("*.yaml") if ".classes" not in file.name
    )


def load_manifest(name: str) -> Manifest:
    """Read a manifest by name or by the path of its YAML file; raises ConfigError with the nearest name."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else manifests_folder() / f"{name}.yaml"
    if not path.is_file():
        raise unknown("data set", name, available())
    values = read_yaml(path)
    manifest = Manifest.read(values, str(path))
    manifest._folder = path.parent
    manifest.check_domain(manifest.reference)
    return manifest
