"""A data set of one's own: class folders or a table become a manifest to train with, and edit."""

from __future__ import annotations

import difflib
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ..disk.files import write_text
from ..errors import ConfigError
from ..parsing import parse_yaml
from ..progress import heard
from .folders import Tree, class_key, listed
from .made_shifts import listed as listed_shifts
from .manifests import Manifest, available
from .shards import is_dataset_folder, is_packed, read_unpacked, unpack, unpacked_place
from .splits import PARTS
from .tables import Table, check_some_there, common_root, is_table
from .tars import is_tar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

HOLDOUT = 0.2  # of every class of train, for val and for test, where there is none
ENDINGS = (".yaml", ".yml")
WHY = {  # what stands behind a key in the written file
    "name": "goes into tables, and into the id of every run",
    "root": "absolute, or as seen from this file; a folder $CLIPFT_DATA/{name} comes first",
    "domains": "one of them is trained on, the others are scored",
    "folders": "how the folders lie",
    "table": "a row an image; or a folder of datasets or tars, whose images go to the cache",
    "outside": "rows may name images out of the root",
    "holdout": "of every class of train, for val and for test where there is none",
    "templates": 'or a list of your own, e.g. ["a photo of a {}.", "a sketch of a {}."]',
    "made_shifts": "of the reference's images, disturbed as they are read; no file is written",
    "classes": 'in the order of the labels; {name: "coffee mug", folder: mug} for better words',
}


@dataclass(frozen=True)
class OwnData:
    """A manifest of one's own, its file, and what was found in the folders.

    is_new: whether the file was written just now. notes: what a person should know, a line each.
    """

    manifest: Manifest
    file: Path
    is_new: bool
    notes: tuple[str, ...]

    def counts(self) -> list[dict[str, Any]]:
        """A row per class, and the sum: how many images each scored split has."""
        return count_images(self.manifest)

    def note_on_batches(self, batch_size: int) -> str:
        """A line where a batch is larger than what is trained on; else ""."""
        images = len(self.manifest.split(f"{self.manifest.reference}/train"))
        if batch_size <= images:
            return ""
        smaller = 2 ** max(1, images.bit_length() - 2)  # a quarter to a half of the images
        repeats = f"{batch_size / images:.1f} times in every step"
        return (
            f"batch_size {batch_size} is more than the {images} training images: each is seen"
            f" {repeats}; quicker: batch_size={smaller}"
        )

    def __str__(self) -> str:
        done = f"wrote {self.file}" if self.is_new else f"{self.file} is used as it is"
        shifts = listed_shifts(self.manifest.shifts()) or "none"
        classes = len(self.manifest.class_names)
        data = f"{classes} classes, reference {self.manifest.reference}, shifts: {shifts}"
        return "\n".join([f"{done}: {data}", *self.notes])


def new_manifest(  # noqa: PLR0913
    name: str,
    root: Path | str = "",
    reference: str = "",
    out: Path | str = "",
    *,
    table: Path | str = "",
    outside: bool = False,
    keep_edited: bool = False,
    made_shifts: str | Mapping[str, Any] = "",
) -> OwnData:
    """Look at class folders or at a table, and write a short manifest that says what they are.

    Arguments:
        name: of the data set, in tables and in its file's name.
        root: a folder a domain, in it class folders, with or without train, val and test between;
            or a table; see data_manifests/README.md.
        reference: the domain that is trained on; needed where there are several.
        out: a folder, or a file that ends in .yaml; else NAME.yaml here.
        table: a CSV or parquet file with a row an image, a folder of Hugging Face's `datasets`, or
            one of WebDataset's tars; its paths are seen from root, or from where it lies.
        outside: rows may name images out of the root.
        keep_edited: take a file that is there already, of the same root and reference, whatever
            else was changed in it.
        made_shifts: common or all, or kinds, severities and seed: shifts that are made of the
            reference as its images are read; see data_manifests/README.md.

    Returns:
        The manifest, its file, and what was found: print it, or its `counts()`.

    Raises:
        ConfigError: where the folders cannot be read so, or the file holds something else; then
            nothing is written.

    Example:
        >>> own = clipft.new_manifest("mine", root="photos", reference="studio")
        >>> print(own)
        wrote mine.yaml: 2 classes, reference studio, shifts: phone, sketch
        read as: a folder a domain; in it a folder a class ({domain}/{class})
        held out of train of studio: val and test, 20% of every class for each
        >>> own.manifest.names
        ['cup', 'key']
        >>> own.counts()[0]["studio/train"]
        8
    """
    check_name(name)
    source = Source.find(root, table, outside=outside)
    file = Path(out).expanduser()
    if file.suffix not in ENDINGS:
        file = file / f"{name}.yaml"

    tree = source.tree(name)
    heard(tree.said())  # they are notes of the result
    if keep_edited and file.is_file():
        edited = Manifest.open(file)
        if source.is_of(edited) and reference in ("", edited.reference):
            return _checked(edited, file, is_new=False)

    values = _values(name, tree, source, reference=reference, file=file)
    if made_shifts:
        classes = values.pop("classes")
        values |= {"made_shifts": made_shifts, "classes": classes}
    text = manifest_text(values)
    manifest = Manifest.of(parse_yaml(text), file)
    if not source.is_of(manifest):
        first = f"{manifest.place}, in $CLIPFT_DATA, comes before {source.given}"
        raise ConfigError(f"name: {first}; choose another name, or unset CLIPFT_DATA")

    is_new = not file.exists()
    if not is_new:
        _check_same(Manifest.open(file), manifest, file)
    own = _checked(manifest, file, is_new=is_new)
    if is_new:
        write_text(file, text)
    return own


@dataclass(frozen=True)
class Source:
    """Where the rows come from: class folders below a root, or a table and the root of its paths.

    A table that holds the images themselves has no root: they go to the cache.
    """

    root: Path | None
    table: Path | None = None
    outside: bool = False

    @classmethod
    def find(cls, root: Path | str, table: Path | str, *, outside: bool = False) -> Source:
        """What was given; root may be a table, too. Raises ConfigError where it is neither."""
        if not str(root) and not str(table):
            wanted = "wanted: root, a folder of class folders, or table, a CSV or parquet file"
            raise ConfigError(f"neither root nor table is given; {wanted}")
        folder = Path(root).expanduser() if str(root) else None
        rows = Path(table).expanduser() if str(table) else None
        if folder is not None and rows is None and _is_source(folder):
            folder, rows = None, folder

        if folder is not None:
            check_root(folder)
        if rows is None:
            return cls(folder)
        if not rows.exists():
            raise ConfigError(
                f"no table {rows}; wanted: a .csv, .parquet or .tar file, or a folder"
            )
        if not _is_source(rows):
            ways = "wanted: a .csv or .parquet file, a folder of Hugging Face's datasets, or tars"
            raise ConfigError(f"table: {rows} is none; {ways}")
        if is_packed(rows):
            return cls(None, rows, outside)
        return cls(common_root(rows) if folder is None else folder, rows, outside)

    @property
    def given(self) -> Path:
        """The path to name in errors."""
        return self.table or self.root or Path()

    def tree(self, name: str) -> Tree:
        """The images; of a table some are looked for, those in it are taken out."""
        if self.table is None:
            return Tree.read(self.given)
        if self.root is None:
            place = unpacked_place(self.table, name)
            unpack(self.table, place, outside=self.outside)
            return read_unpacked(self.table, place)
        table = Table(self.table, self.root, self.outside)
        tree = table.tree()
        check_some_there(table, tree)
        return tree

    def is_of(self, manifest: Manifest) -> bool:
        """Whether a manifest reads the same."""
        if bool(manifest.table) != bool(self.table):
            return False
        if self.table and manifest.table_source.resolve() != self.table.resolve():
            return False
        return self.root is None or manifest.place.resolve() == self.root.resolve()


def _is_source(path: Path) -> bool:
    """Whether a path is a table, or a folder of tables that hold images."""
    return is_table(path) or is_tar(path) or (path.is_dir() and is_dataset_folder(path))


def _checked(manifest: Manifest, file: Path, *, is_new: bool) -> OwnData:
    """What was found; raises ConfigError where a split that a run needs has no image."""
    for part in PARTS:
        manifest.split(f"{manifest.reference}/{part}")
    for shift in manifest.shifts(made=False):
        manifest.split(f"{shift}/test")
    return OwnData(manifest, file, is_new, tuple(notes_on(manifest)))


def check_name(name: str) -> None:
    """Raise ConfigError where this cannot be the name of a data set of one's own."""
    wanted = "wanted: a short name of your own, e.g. photos"
    if not name or name.startswith(".") or set(name) & {"/", "\\", ":"} or not name.isprintable():
        raise ConfigError(f"name: {name!r} cannot be a file's name; {wanted}")
    if name.endswith(ENDINGS):
        raise ConfigError(f"name: {name!r} ends as a file does; wanted: {Path(name).stem}")
    if name in available():
        raise ConfigError(f"name: {name} comes with clipft; {wanted}")
    if name in ("new", "check"):
        raise ConfigError(f"name: {name!r} is a word of the command datasets; {wanted}")


def check_root(root: Path) -> None:
    """Raise ConfigError where this is no folder."""
    wanted = "wanted: a folder of class folders, e.g. photos"
    if root.is_file():
        raise ConfigError(f"root: {root} is a file; {wanted}")
    if not root.is_dir():
        raise ConfigError(f"root: no folder {root}; {wanted}")


# --- from the tree to the manifest


def _values(name: str, tree: Tree, source: Source, *, reference: str, file: Path) -> dict[str, Any]:
    """The keys of the manifest, in the order in which they are written."""
    domains = sorted(tree.domains)
    if "{domain}" not in tree.layout:
        domains = [name if source.table else tree.root.resolve().name]
    reference = _reference(tree, domains, reference)
    classes = _class_folders(tree, reference)
    if len(classes) == 1:
        one = f"{reference} holds one class folder, {classes[0]}"
        raise ConfigError(f"classes: {one}; wanted: two or more, e.g. {reference}/mug, /plate")
    shifts = []
    for domain in domains:
        shared = {class_key(folder) for folder in _class_folders(tree, domain)}
        if domain != reference and shared & {class_key(folder) for folder in classes}:
            shifts.append(domain)

    values: dict[str, Any] = {"name": name}
    if source.root:
        values["root"] = _seen_from(file.parent, source.root)
    values |= {"domains": [reference, *shifts], "reference": reference}
    if source.table:
        values["table"] = _seen_from(file.parent, source.table)
        if source.outside:
            values["outside"] = True
    else:
        values["folders"] = tree.layout
    return values | {"holdout": HOLDOUT, "templates": "openai", "classes": classes}


def _reference(tree: Tree, domains: list[str], reference: str) -> str:
    """The domain that is trained on; raises ConfigError where it is no domain, or a guess."""
    if not reference and len(domains) == 1:
        return domains[0]
    nearest = difflib.get_close_matches(reference, domains, n=1, cutoff=0)
    wanted = f"wanted: the domain that is trained on, e.g. {nearest[0]}"
    if not reference:
        raise ConfigError(f"reference: missing; {tree.root} holds {', '.join(domains)}; {wanted}")
    if reference in domains:
        return reference
    if not tree.read_as and (tree.root / reference).is_dir():
        raise ConfigError(f"reference: {tree.root / reference} holds no image; {wanted}")
    known = ", ".join(domains)
    raise ConfigError(f"reference: {tree.root} has no {reference}; it holds {known}; {wanted}")


def _class_folders(tree: Tree, domain: str) -> list[str]:
    """The class folders of a domain, each spelled as where it comes first."""
    parts = tree.domains[domain if "{domain}" in tree.layout else ""]
    spelled: dict[str, str] = {}
    for classes in parts.values():
        for folder in classes:
            spelled.setdefault(class_key(folder), folder)
    return [spelled[key] for key in sorted(spelled)]


def _seen_from(folder: Path, root: Path) -> str:
    """The root relative to a folder where it lies in it, so that both can move; else absolute."""
    root = root.resolve()
    folder = folder.resolve()
    return root.relative_to(folder).as_posix() if root.is_relative_to(folder) else str(root)


def manifest_text(values: Mapping[str, Any]) -> str:
    """A manifest as a person would write it: a key a line and what it is for, a class a line."""
    lines = ["# A data set for clipft. Every key: data_manifests/README.md."]
    for key, value in values.items():
        if key == "classes":
            continue
        line = f"{key}: {_yaml(value)}"
        why = WHY.get(key, "").replace("{name}", str(values["name"]))
        lines.append(f"{line}  # {why}" if why else line)
    lines.append(f"classes:  # {WHY['classes']}")
    lines += [f"- {_yaml(name)}" for name in values["classes"]]
    return "\n".join(lines) + "\n"


def _yaml(value: Any) -> str:
    """A text, number or list in one line of YAML."""
    row = yaml.safe_dump([value], default_flow_style=True, allow_unicode=True, width=10**6)
    return row.strip()[1:-1]


def _check_same(there: Manifest, new: Manifest, file: Path) -> None:
    """Raise ConfigError that names the keys in which a manifest that is there differs."""
    kept = there.copy_for_run()
    other = []
    asked = {"made_shifts": ""} | new.copy_for_run()
    for key, value in asked.items():
        if key != "class_names" and kept.get(key, "") != value:
            other.append(key)
    if other:
        ways = "train with it (manifest=...), choose another name, or delete it"
        raise ConfigError(
            f"{file} is there already and differs in {', '.join(other)}; it is not overwritten:"
            f" {ways}"
        )


# --- what is said of it


def count_images(manifest: Manifest) -> list[dict[str, Any]]:
    """A row per class, and the sum: the images of the reference's parts and of every test."""
    splits = [(manifest.reference, part) for part in ("train", "val", "test")]
    splits += [(shift, "test") for shift in manifest.shifts(made=False)]
    counts = {}
    for domain, part in splits:
        split = manifest.reader.parts(domain).get(part)
        counts[f"{domain}/{part}"] = Counter(split.labels if split else ())

    rows = []
    for label, name in enumerate(manifest.class_names):
        row: dict[str, Any] = {"class": name.name}
        rows.append(row | {split: count[label] for split, count in counts.items()})
    total: dict[str, Any] = {"class": "all"}
    return [*rows, total | {split: count.total() for split, count in counts.items()}]


def notes_on(manifest: Manifest) -> Iterable[str]:
    """What was understood, held out and left out, a line each."""
    tree = manifest.tree
    yield f"read as: {tree.in_words}"
    yield from _notes_on_parts(manifest)
    yield from _notes_on_classes(manifest)
    yield from tree.notes()


def _notes_on_parts(manifest: Manifest) -> Iterable[str]:
    """What was held out of the reference, and which parts of a shift are of no use."""
    reference = manifest.reference
    found = manifest.tree.parts(reference, manifest.reader.label_of_key)
    held_out = [part for part in ("val", "test") if part not in found]
    if held_out and manifest.holdout:
        share = f"{manifest.holdout:.0%} of every class"
        yield f"held out of train of {reference}: {' and '.join(held_out)}, {share} for each"
    for shift in manifest.shifts(made=False):
        parts = manifest.tree.parts(shift, manifest.reader.label_of_key)
        unused = [f"{len(split)} of {part}" for part, split in parts.items() if part != "test"]
        if "test" in parts and unused:
            yield f"not used: {', '.join(unused)} of {shift}; only its test is scored"


def _notes_on_classes(manifest: Manifest) -> Iterable[str]:
    """Classes of few images, classes that a domain lacks, folders that are no class, domains."""
    rows = count_images(manifest)[:-1]
    train, *scored = list(rows[0])[1:]
    few = [row["class"] for row in rows if row[train] and 0 in (row[scored[0]], row[scored[1]])]
    if few:
        yield f"too few images for val and test (three are needed), of {listed(few)}"
    for split in (train, *scored[2:]):
        missing = [row["class"] for row in rows if not row[split]]
        if missing:
            yield f"missing in {split}: {listed(missing)}"

    tree = manifest.tree
    known = manifest.reader.label_of_key
    for domain in tree.domains:
        folders = _class_folders(tree, domain)
        others = [folder for folder in folders if class_key(folder) not in known]
        if others and domain in (*manifest.domains, ""):
            where = f"in {domain}" if domain else f"in {tree.root}"
            yield f"left out {where}: {listed(others)}, no class of {manifest.reference}"
        elif others:
            yield f"left out: {domain}/, none of its folders is a class of {manifest.reference}"
    if not manifest.shifts():
        yield "no shift: what happens to robustness is not seen; put another domain beside it"


def default_name(root: Path | str) -> str:
    """What a data set is called after its folder or table."""
    path = Path(os.path.realpath(Path(root).expanduser()))
    name = path.stem if is_table(path) else path.name
    if is_tar(path):
        name = name.partition(".")[0]
    return name.replace(" ", "_")
