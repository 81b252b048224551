"""Data sets as YAML: what there is, what it is called, where it lies. No pixel is touched."""

from __future__ import annotations

import os
import posixpath
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, PrivateAttr, ValidationError

from ..config import Record, digest, seed_of
from ..disk.files import cache_dir, quoting_hint, read_yaml
from ..errors import ConfigError, unknown
from ..progress import say
from .class_lists import LISTS
from .emoji_shift import CHECKS, EmojiSpec, Part, build, first_images, is_built
from .folders import Layout, Tree, class_key, complete
from .layouts.asked import Asked
from .layouts.readers import IN_ARRAYS, READERS
from .lists import ListFile, Rows, folder_of, mixed_folders, repeats
from .shards import is_packed, read_unpacked, unpack, unpacked_place
from .splits import MEGAPIXELS, PARTS, Decoding, Look, Metric, ScoredBy, Split, SplitName, hold_out
from .tables import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from PIL import Image


def manifests_folder() -> Path:
    """`data_manifests/` of the checkout, or the copy inside an installed wheel."""
    inside = Path(__file__).parent.parent / "data_manifests"
    return inside if inside.is_dir() else inside.parent.parent / "data_manifests"


class ClassName(Record):
    """One class: its name, other names for captions, a code point if it is an emoji.

    folder: of its images, where that is not called as the class is.
    """

    name: str
    also: tuple[str, ...] = ()
    code: str = ""
    folder: str = ""

    @classmethod
    def of(cls, row: Any, source: str) -> ClassName:
        """A class of a list: a name alone, or its keys; raises ConfigError for anything else."""
        if isinstance(row, ClassName):
            return row
        if isinstance(row, str):
            return cls.read({"name": row}, source)
        if isinstance(row, dict):
            return cls.read(row, source)
        wanted = "wanted: a name, in quotes where it is a number, a date, null, yes or no"
        raise ConfigError(f"{source}: {row!r} is no name of a class; {wanted}")

    def as_kept(self) -> dict[str, Any]:
        """Its keys as JSON has them; a folder only where there is one: digests are older."""
        keys = self.model_dump(mode="json")
        if not self.folder:
            del keys["folder"]
        return keys

    @property
    def text(self) -> str:
        """What stands in a zero-shot template: _ and - become spaces."""
        return self.name.replace("_", " ").replace("-", " ")

    @property
    def slug(self) -> str:
        """Folder name of the class."""
        return self.folder or self.name.replace(" ", "_")


# key -> (what is wanted, an example): what the line of a wrong or missing key says
WANTED: dict[str, tuple[str, str]] = {
    "name": ("a short name, without a slash", "name: photos"),
    "title": ("a title in words", "title: Mugs and plates"),
    "card": ("a text: where the images are from and what they can show", "card: Taken in May."),
    "licence": ("the licence in words", "licence: CC-BY 4.0"),
    "homepage": ("an address", "homepage: https://example.org"),
    "domains": ("a list of domains", "domains: [studio, phone, sketch]"),
    "reference": ("the domain that is trained on", "reference: studio"),
    "classes": (
        "a list of class names, the YAML file of one, or imagenet",
        "classes: [mug, plate]",
    ),
    "root": ("the folder of the images", "root: photos"),
    "folders": ("how the folders lie", 'folders: "{domain}/{class}"'),
    "table": ("a table of images, a folder of Hugging Face's datasets, or tars", "table: rows.csv"),
    "kept": ("the layout and folder of each domain", "kept: {photo: {layout: domainbed}}"),
    "lists": ("how the list files are called", 'lists: "{domain}_{split}.txt"'),
    "labels": ("list or folder", "labels: folder"),
    "outside": ("true where lists may name images out of the root", "outside: true"),
    "look": ("file, or viewer: upright, on white and in sRGB", "look: viewer"),
    "megapixels": ("a number, of the largest image that is read", "megapixels: 250"),
    "holdout": ("a fraction of train, 0 <= holdout < 1", "holdout: 0.2"),
    "underscores": ("spaces, or kept: as class names are written", "underscores: kept"),
    "metric": (
        "accuracy, class_accuracy, macro_f1 or worst_group, or one for each kind of images",
        "metric: macro_f1",
    ),
    "mask": (
        "for a domain, the classes that may be predicted, or found: those its images have",
        "mask: {sketch: found}",
    ),
    "groups": ("class: each class is a group", "groups: class"),
    "templates": ("openai, or a list of texts", 'templates: ["a photo of a {}."]'),
    "captions": ("a list of texts for each domain", 'captions: {any: ["a photo of a {}."]}'),
}
OPENAI = "openai"  # of templates: the 80 of CLIP's release
ANY = "any"  # of captions: joins each domain
AN = "{an}"  # of a template: the name after a or an, with spaces for _, as FMoW's releases have it
PROSE = ("title", "card", "licence", "homepage")  # keys that decide nothing
# younger than some runs: a key at its default is left out of the digest
YOUNGER = {
    "folders": "", "table": "", "kept": {}, "underscores": "spaces", "look": "file",
    "metric": "accuracy", "mask": {}, "groups": "",
}  # fmt: skip
ACCESS = ("root", "outside", "megapixels")  # where images lie, and what of them may be read


class Kept(Record):
    """How the files of a domain are kept: in which layout, and in which folder below the root."""

    layout: str
    folder: str = ""  # below the root; "" for the root itself


class Metrics(Record):
    """What a data set is scored by, see `ScoredBy`."""

    reference: Metric = "accuracy"
    shift: Metric = "accuracy"
    together: Literal["", "harmonic"] = ""


class Manifest(Record):
    """One data set: domains, splits, classes, texts, and how to find or build its files.

    Every key: data_manifests/README.md.
    """

    name: str
    title: str = ""
    card: str = ""  # source, licence, what it can and cannot show
    licence: str = ""
    homepage: str = ""
    domains: tuple[str, ...]
    reference: str
    # in label order, or the YAML file that lists them so, or the name of a library's list
    classes: str | tuple[Any, ...]
    root: str = ""  # the folder of the images, absolute or as seen from the manifest's file
    folders: Layout = ""  # set: class folders say what belongs where, and no list file does
    # of images; CSV, parquet, a folder of Hugging Face's datasets or of tars; as seen from here
    table: str = ""
    kept: dict[str, Kept] = {}  # set: how the files of each domain are kept; see data/layouts
    lists: str = "{domain}_{split}.txt"  # lines: path label
    labels: Literal["list", "folder"] = "list"  # folder: of the image, whatever the list says
    outside: bool = False  # whether list files may name images out of the root
    look: Look = "file"  # of the images; viewer: upright, on white, in sRGB
    megapixels: int = Field(MEGAPIXELS, gt=0)  # of the largest image that is read
    # of train, kept as val where there is no val list; of folders as test, too
    holdout: float = Field(0.0, ge=0, lt=1)
    # of class names in texts; kept: as they are written
    underscores: Literal["spaces", "kept"] = "spaces"
    # what tables, figures and explorers show: of all images, or of the reference's and the shifts'
    metric: Metric | Metrics = "accuracy"
    # domain -> the classes that its logits are masked to; found: those its test images have
    mask: dict[str, Literal["found"] | tuple[str, ...]] = {}
    groups: Literal["", "class"] = ""  # of images, for the worst one
    templates: str | tuple[str, ...] = OPENAI  # of the zero-shot head
    captions: dict[str, tuple[str, ...]] = {}  # templates by domain, or ANY
    emoji: EmojiSpec | None = None  # set: the files are rendered on first use
    _file: Path = PrivateAttr(default=Path("manifest.yaml"))
    _class_rows: list[Any] | None = PrivateAttr(default=None)  # of a copy; else they are a file
    _splits: dict[str, Split] = PrivateAttr(default_factory=dict)
    _parts: dict[str, dict[str, Split]] = PrivateAttr(default_factory=dict)  # by domain
    _trained: tuple[str, ...] = PrivateAttr(default=())  # domains; else the reference

    @classmethod
    def open(cls, path: Path) -> Manifest:
        """The manifest of a YAML file; raises ConfigError where its keys or values are wrong."""
        return cls.of(read_yaml(path), path)

    @classmethod
    def of(cls, values: Any, path: Path) -> Manifest:
        """The manifest of what stands, or may stand, in a file; raises as `open` does."""
        if not isinstance(values, dict):
            got = "nothing" if values is None else f"a {type(values).__name__}"
            raise ConfigError(f"{path} holds {got}; wanted: keys and values, e.g. name: photos")
        try:
            manifest: Manifest = cls.read(values, str(path))
        except ConfigError as error:
            raise ConfigError(f"{error}{_hint_on_texts(values, path)}") from None
        manifest._file = path
        manifest._check(str(path))
        return manifest

    @classmethod
    def _explain(cls, error: ValidationError) -> str:
        """The first wrong or missing key: what came, what is wanted, a valid example."""
        errors = error.errors()
        if any(row["type"] == "extra_forbidden" and len(row["loc"]) == 1 for row in errors):
            return super()._explain(error)
        key = str(errors[0]["loc"][0])
        if key not in WANTED:
            return super()._explain(error)
        wanted, example = WANTED[key]
        got = "missing" if errors[0]["type"] == "missing" else f"got {errors[0]['input']!r:.80}"
        return f"{key}: {got}; wanted: {wanted}, e.g. {example}"

    def _check(self, source: str) -> None:
        """Raise ConfigError where keys do not fit each other."""
        self._check_names(source)
        self._check_texts(source)
        self._check_lists(source)
        if self.reference not in self.domains:
            wanted = f"wanted: one of domains, e.g. reference: {next(iter(self.domains), 'studio')}"
            problem = unknown(f"domain of {self.name}", self.reference, self.domains)
            raise ConfigError(f"{source}: reference: {problem}; {wanted}")
        said = [key for key in ("folders", "table", "kept") if getattr(self, key)]
        if len(said) > 1:
            both = f"{said[0]} and {said[1]} both say what belongs where"
            raise ConfigError(f"{source}: {both}; wanted: one of them")
        if self.folders and "{domain}" not in self.folders and len(self.domains) > 1:
            several = f"{len(self.domains)} domains, and folders {self.folders!r} has one"
            raise ConfigError(f'{source}: {several}; wanted: e.g. folders: "{{domain}}/{{class}}"')
        self._check_kept(source)
        self._check_protocol(source)

    def _check_kept(self, source: str) -> None:
        """Raise ConfigError where `kept` names no layout, or leaves a domain out."""
        for domain, kept in self.kept.items():
            if kept.layout not in READERS:
                problem = unknown("layout", kept.layout, READERS)
                raise ConfigError(f"{source}: kept: {domain}: {problem}")
            if kept.folder.startswith("/") or ".." in Path(kept.folder).parts:
                fault = f"the folder {kept.folder} lies outside of the root"
                raise ConfigError(f"{source}: kept: {domain}: {fault}; wanted: one below it")
        if self.kept and set(self.kept) != set(self.domains):
            other = sorted(set(self.kept) ^ set(self.domains))[0]
            wanted = "wanted: a layout for each of domains"
            raise ConfigError(f"{source}: kept and domains differ in {other!r}; {wanted}")

    def _check_protocol(self, source: str) -> None:
        """Raise ConfigError for a mask of no domain or class, a worst group without groups."""
        if "worst_group" in self.scored_by and not (self.groups or self.kept or self.table):
            wanted, example = WANTED["groups"]
            raise ConfigError(
                f"{source}: worst_group needs groups; wanted: {wanted}, e.g. {example}"
            )
        for domain, classes in self.mask.items():
            if domain not in self.domains:
                problem = unknown(f"domain of {self.name}", domain, self.domains)
                raise ConfigError(f"{source}: mask: {problem}")
            if not classes:
                wanted, example = WANTED["mask"]
                problem = f"mask of {domain} has no class; wanted: {wanted}, e.g. {example}"
                raise ConfigError(f"{source}: {problem}")

    def _check_names(self, source: str) -> None:
        """Raise ConfigError for a name that a path cannot hold, and for a domain given twice."""
        for key, names in (("name", [self.name]), ("domains", self.domains)):
            for name in names:
                in_paths = name.strip() not in ("", ".", "..") and not set(name) & set("/\\")
                if not in_paths or not name.isprintable():
                    why = "it is part of the names of files, and of splits: domain/test"
                    wanted = f"wanted: a name without a slash, e.g. {WANTED[key][1]}"
                    raise ConfigError(f"{source}: {key}: {name!r}; {why}; {wanted}")
        twice = [name for name, count in Counter(self.domains).items() if count > 1]
        if twice:
            raise ConfigError(f"{source}: domains: {twice[0]!r} is given twice; wanted: once")

    def _check_texts(self, source: str) -> None:
        """Raise ConfigError for no template, for one without a name's place, and for other keys."""
        wanted, example = WANTED["templates"]
        advice = f"wanted: {wanted}, e.g. {example}"
        if not self.templates:
            raise ConfigError(f"{source}: templates: none; {advice}")
        if isinstance(self.templates, str) and self.templates != OPENAI:
            raise ConfigError(f"{source}: templates: got {self.templates!r}; {advice}")

        for domain in self.captions:
            if domain not in (ANY, *self.domains):
                problem = unknown(f"domain of {self.name}", domain, [ANY, *self.domains])
                raise ConfigError(f"{source}: captions: {problem}")
        of_all = {"templates": () if self.templates == OPENAI else self.templates}
        of_all |= {f"captions: {domain}": texts for domain, texts in self.captions.items()}
        for key, texts in of_all.items():
            for text in texts:
                if "{}" not in text and AN not in text:
                    fault = f"{text!r} has no {{}} for the class name"
                    raise ConfigError(f"{source}: {key}: {fault}")

    def _check_lists(self, source: str) -> None:
        """Raise ConfigError where several domains, or train and test, would share a list."""
        needed = ["{split}"]
        if len(self.domains) > 1:
            needed.insert(0, "{domain}")
        for word in needed:
            if word not in self.lists and not self.folders:
                wanted, example = WANTED["lists"]
                fault = f"lists: {self.lists!r} has no {word}"
                raise ConfigError(f"{source}: {fault}; wanted: {wanted}, e.g. {example}")

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
        for key in ("kept", "metric", "mask", "groups"):
            if copy[key] == YOUNGER[key]:
                del copy[key]
        copy["class_names"] = [name.as_kept() for name in self.class_names]
        # A copy lies elsewhere: what is seen from the manifest's file is not seen from there.
        copy["root"] = str(self._own_root) if self.root else ""
        copy["table"] = str(self._own_table) if self.table else ""
        return copy

    @cached_property
    def class_names(self) -> tuple[ClassName, ...]:
        """The classes in label order; raises ConfigError where two share a folder."""
        source = self.classes_source
        rows = self._class_rows
        if rows is None:
            rows = self._listed_classes()
        if not rows:
            raise ConfigError(f"{source}: no class; wanted: a list, e.g. classes: [mug, plate]")
        if not isinstance(rows, list):
            got = type(rows).__name__
            raise ConfigError(f"{source}: expected a list of classes, got {got}")

        by_folder = {}
        for label, row in enumerate(rows):
            try:
                name = ClassName.of(row, source)
            except ConfigError as error:
                raise ConfigError(f"{error}{self._hint_on_class(label, row)}") from None
            if not name.text.strip():
                raise ConfigError(f"{source}: class {label} has no name, got {name.name!r}")
            key = class_key(name.slug) if self.has_tree else name.slug
            if key in by_folder:
                twice = f"{by_folder[key].name!r} and {name.name!r}"
                raise ConfigError(f"{source}: two classes have the same name or folder: {twice}")
            by_folder[key] = name
        return tuple(by_folder.values())

    @property
    def classes_source(self) -> str:
        """Where the classes are listed, for errors."""
        return self.classes if isinstance(self.classes, str) else f"classes of {self.name}"

    @property
    def _classes_file(self) -> Path:
        """The file in which the classes stand, where they were read."""
        if isinstance(self.classes, str):
            return self._file.parent / self.classes
        return self._file

    def _hint_on_class(self, label: int, row: Any) -> str:
        """Where a class stands whose name is no text, and how to quote it."""
        if self._class_rows is not None:
            return ""
        keys: list[str | int] = [label] if isinstance(self.classes, str) else ["classes", label]
        if isinstance(row, dict):
            keys += [key for key in ("name", "folder") if not isinstance(row.get(key, ""), str)][:1]
        return quoting_hint(self._classes_file, keys)

    def _listed_classes(self) -> Any:
        """What stands in the manifest's list of classes, or in the file that it names."""
        if not isinstance(self.classes, str):
            return list(self.classes)
        if self.classes in LISTS:
            return LISTS[self.classes]()
        file = self._classes_file
        if file.is_dir():
            wanted = "wanted: a YAML file, or the names themselves, e.g. classes: [mug, plate]"
            raise ConfigError(f"classes of {self.name}: {file} is a folder; {wanted}")
        return read_yaml(file)

    @property
    def names(self) -> list[str]:
        """The names that go into zero-shot templates, in label order.

        As they are written where `underscores` are kept, else with spaces for _ and -.
        """
        if self.underscores == "kept":
            return [name.name for name in self.class_names]
        return [name.text for name in self.class_names]

    @cached_property
    def label_of_folder(self) -> dict[str, int]:
        """The label of each class by the name of its folder."""
        return {name.slug: label for label, name in enumerate(self.class_names)}

    def digest(self) -> str:
        """12 letters that name what decides a run's data and texts.

        The prose is left out, and where the images lie and what of them may be read. A key that is
        younger than some runs counts only where it is set.
        """
        fields = self.copy_for_run()
        rows = fields.pop("class_names")
        for key in (*PROSE, *ACCESS):
            del fields[key]
        # Where a table lies decides nothing; that there is one, and which, does.
        fields["table"] = posixpath.basename(fields["table"])
        # So it is with the folders of layouts.
        fields["kept"] = {domain: kept.layout for domain, kept in self.kept.items()}
        for key, default in YOUNGER.items():
            if fields.get(key, default) == default:
                fields.pop(key, None)
        if not isinstance(self.classes, str):
            del fields["classes"]  # the rows say it
        return digest([fields, rows])

    @property
    def scored_by(self) -> ScoredBy:
        """What tables, figures and explorers show of it."""
        return ScoredBy.of(
            self.metric if isinstance(self.metric, str) else self.metric.model_dump()
        )

    @property
    def heading(self) -> str:
        """Its title, or its name where it has none."""
        return self.title or self.name

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
    def trained(self) -> tuple[str, ...]:
        """The domains of which val and test are held out; of all others everything is test."""
        return self._trained or (self.reference,)

    def trained_on(self, domains: Iterable[str]) -> Manifest:
        """The data set as a run sees it that trains on these domains; its digest stays.

        Raises ConfigError with the nearest name for an unknown domain.
        """
        named = tuple(sorted({self.check_domain(domain) for domain in domains}))
        if named == self.trained:
            return self
        seen: Manifest = self.model_copy()
        seen._trained = named
        seen._splits = {}
        seen._parts = {}
        return seen

    @property
    def is_rendered(self) -> bool:
        """Whether files and lists are made of the manifest itself, on first use: EmojiShift."""
        return self.emoji is not None

    @property
    def has_tree(self) -> bool:
        """Whether folders, a table or a known layout say what belongs where, and no lists do."""
        return bool(self.folders or self.table or self.kept)

    @property
    def is_unpacked(self) -> bool:
        """Whether its images lie in the cache, taken out of a table or of tars."""
        return bool(self.table) and is_packed(self.table_source)

    @property
    def place(self) -> Path:
        """Where the files belong, there or not.

        EmojiShift lies in the cache, and so do images that were taken out of a table or of arrays.
        Else $CLIPFT_DATA/<name> comes first where it is a folder, so that a copied run finds its
        images on another machine; then `root`, or where the table lies; then $CLIPFT_DATA/<name>
        whether it is there or not.
        """
        if self.emoji is not None:
            pixels = self.emoji.model_dump(mode="json", exclude=CHECKS)
            return cache_dir() / f"{self.name}-{digest([pixels, self._concepts], 8)}"
        if self.is_unpacked:
            return unpacked_place(self.table_source, self.name)
        if any(kept.layout in IN_ARRAYS for kept in self.kept.values()):
            return cache_dir() / f"{self.name}-{digest(str(self.source.resolve()), 8)}"
        return self.source

    @property
    def source(self) -> Path:
        """The data set's own folder, there or not; see `place`, which may be in the cache."""
        in_base = self._in_base
        if in_base is not None and (in_base.is_dir() or not (self.root or self.table)):
            return in_base
        if self.root:
            return self._own_root
        if self.table:
            return self._own_table.parent
        advice = f"set CLIPFT_DATA to the folder that holds {self.name}/"
        raise ConfigError(f"where is {self.name}? {advice}, or root in its manifest")

    @property
    def _in_base(self) -> Path | None:
        """The folder of this data set in $CLIPFT_DATA, there or not."""
        base = os.environ.get("CLIPFT_DATA")
        return Path(base) / self.name if base else None

    @property
    def table_source(self) -> Path:
        """The table, there or not: in $CLIPFT_DATA/<name> where one of its name is there."""
        own = self._own_table
        in_base = self._in_base
        if in_base is not None and (in_base / own.name).exists():
            return in_base / own.name
        return own

    @property
    def _own_table(self) -> Path:
        """`table` as an absolute path."""
        return (self._file.parent / Path(self.table).expanduser()).resolve()

    @property
    def _own_root(self) -> Path:
        """`root` as an absolute path."""
        return (self._file.parent / Path(self.root).expanduser()).resolve()

    @property
    def _concepts(self) -> dict[str, str]:
        return {name.slug: name.code for name in self.class_names}

    def root_folder(self) -> Path:
        """The folder of the files; those of EmojiShift are rendered into it on first use."""
        if self.emoji is not None:
            return build(self.place, self.emoji, self._concepts)
        if self.is_unpacked:
            return unpack(self.table_source, self.place, outside=self.outside)
        root = self.source
        if root.is_dir():
            return self.place
        advice = f"put {self.heading} there (see clipft datasets) or set CLIPFT_DATA"
        if self.root:
            holds = f"set CLIPFT_DATA to the folder that holds {self.name}/"
            advice = f"mend root in the manifest, or {holds}"
        raise ConfigError(f"no folder {root}; {advice}")

    @cached_property
    def tree(self) -> Tree:
        """The images by their folders or by a table, read once; for manifests with either."""
        root = self.root_folder()
        if not self.table:
            tree = Tree.read(root, self.folders)
        elif self.is_unpacked:
            tree = read_unpacked(self.table_source, root)
        else:
            tree = Table(self.table_source, root, self.outside).tree()
        say(tree.said())
        return tree

    def first_images(self, labels: Sequence[int], part: Part) -> dict[str, list[Image.Image]]:
        """The first image of some classes in each domain, where no file need be there for it.

        That is an EmojiShift which is not rendered yet; empty for all else: its files are read.
        """
        spec = self.emoji
        if spec is None or not spec.per_class.get(part) or is_built(self.place):
            return {}
        concepts = list(self._concepts.items())
        return first_images(spec, dict(concepts[label] for label in labels), part)

    def split(self, name: str) -> Split:
        """`domain/part`, read once.

        Where val has no list it is held out of train, of each class, always the same rows; see
        `folders.complete` for data sets of class folders. Raises ConfigError on an unknown domain
        or part, one without images, a malformed line or a label outside the classes.
        """
        if name not in self._splits:
            split = self._read_split(name)
            self._splits[name] = replace(
                split,
                decoding=replace(self.decoding, border=split.decoding.border),
                allowed=self._allowed(split),
                groups=self._groups_of(split),
            )
        return self._splits[name]

    def has(self, name: str) -> bool:
        """Whether `domain/part` has any image listed; a list that is there is not read for it.

        Raises ConfigError where the data set is not there, or has no such domain.
        """
        part = SplitName.parse(name).part
        domain = self.check_domain(SplitName.parse(name).domain)
        if self.emoji is not None:
            counts = self.emoji.per_class.items()
            return self.holdout > 0 or any(count for known, count in counts if known == part)
        if self.has_tree:
            return part in self.parts(domain)
        if self.holdout and part != "test":
            return len(self.split(name)) > 0
        return self._list_file(domain, part).is_file()

    def _allowed(self, split: Split) -> tuple[int, ...]:
        """The labels that a domain's logits are masked to, rising; () for all.

        Raises ConfigError for a name of no class, and where an image has a label that is masked.
        """
        classes = self.mask.get(split.domain, ())
        if not classes:
            return ()
        if classes == "found":
            # The same for all parts of a domain: its classes are those of what is reported.
            test = split if split.part == "test" else self._read_split(f"{split.domain}/test")
            labels = set(test.labels)
        else:
            labels = {self._label_of_name(name, split.domain) for name in classes}
        beside = sorted(set(split.labels) - labels)
        if beside:
            name = self.class_names[beside[0]].name
            count = f"{len(beside)} of the classes of {split.name} are masked, e.g. {name!r}"
            raise ConfigError(f"{count}; wanted: all in mask, or mask: {{{split.domain}: found}}")
        return tuple(sorted(labels))

    def _label_of_name(self, name: str, domain: str) -> int:
        """The label of a class in a mask, by its name or its folder."""
        label = self.label_in(name)
        if label is None:
            label = self._label_of_text.get(name)
        if label is None:
            raise ConfigError(f"mask of {domain}: {unknown('class', name, self._label_of_text)}")
        return label

    @cached_property
    def _label_of_text(self) -> dict[str, int]:
        return {name.name: label for label, name in enumerate(self.class_names)}

    def _groups_of(self, split: Split) -> tuple[str, ...]:
        """The group of each row, where images are grouped."""
        if not self.groups:
            if "worst_group" in self.scored_by and self.table and not split.groups:
                no_column = f"{self.table}: no column of groups, which worst_group needs"
                raise ConfigError(f"{no_column}; wanted: one called group, or groups: class")
            return split.groups
        return tuple(self.class_names[label].name for label in split.labels)

    @property
    def decoding(self) -> Decoding:
        """How the image files become pixels."""
        return Decoding(self.look, self.megapixels)

    def _read_split(self, name: str) -> Split:
        part = SplitName.parse(name).part
        domain = self.check_domain(SplitName.parse(name).domain)
        if part not in PARTS:
            raise unknown("split", name, [f"{domain}/{known}" for known in PARTS])
        if self.has_tree:
            return self._read_tree(domain, part)
        if not self.holdout or part == "test":
            return self._read_list(domain, part)

        if domain not in self._parts:
            whole = self._read_list(domain, "train")
            seed = seed_of(0, f"holdout:{self.name}:{domain}")
            train, val = hold_out(whole, "val", self.holdout, seed)
            self._parts[domain] = {"train": train, "val": val}
        return self._parts[domain][part]

    def parts(self, domain: str) -> dict[str, Split]:
        """Train, val and test of class folders or a table, as many as there are; made once."""
        if domain not in self._parts:
            if self.kept:
                found = self._read_kept(domain)
            else:
                found = self.tree.parts(domain, self.label_of_key)
            is_reference = domain in self.trained
            purpose = f"{self.name}:{domain}"
            self._parts[domain] = complete(found, self.holdout, purpose, is_reference=is_reference)
        return self._parts[domain]

    def _read_kept(self, domain: str) -> dict[str, Split]:
        """The parts of a domain in a known layout, as the data set's own files name them."""
        root = self.root_folder()
        kept = self.kept[domain]
        asked = Asked(
            self.source / kept.folder,
            kept.folder,
            domain,
            folders=self.label_of_folder,
            heading=self.heading,
            cache=root,
        )
        parts = {}
        for part, rows in READERS[kept.layout](asked).items():
            say(rows.notes)
            if rows.ids:
                parts[part] = Split(
                    domain,
                    part,
                    root,
                    ids=tuple(rows.ids),
                    labels=tuple(rows.labels),
                    groups=tuple(rows.groups),
                    alike=rows.alike,
                    decoding=Decoding(border=rows.border),
                )
        return parts

    @cached_property
    def label_of_key(self) -> Mapping[str, int]:
        """The label of each class by what all spellings of its folder share."""
        return {class_key(folder): label for folder, label in self.label_of_folder.items()}

    def _read_tree(self, domain: str, part: str) -> Split:
        parts = self.parts(domain)
        if part in parts:
            return parts[part]

        root = self.root_folder()
        if not parts:
            known = ", ".join(self.names[:3])
            problem = f"{root} has no image of {domain} in a folder of its classes ({known} ...)"
            if self.table:
                problem = f"{self.table} has no row of {domain} and its classes ({known} ...)"
            raise ConfigError(f"{problem}; wanted: {self.folders or self.table}")
        found = ", ".join(f"{len(parts[name])} {name}" for name in PARTS if name in parts)
        problem = f"{domain} of {self.name} has no {part} images ({found})"
        if domain not in self.trained:
            advice = f"to train on it: reference={domain}"
        elif not self.holdout and "train" in parts:
            advice = "hold some out of train, e.g. holdout: 0.2"
        elif "train" in parts:
            advice = "a class needs three images: one for train, one for val, one for test"
        elif self.table:
            advice = f"wanted: rows of split train in {self.table}, or no column of splits"
        else:
            advice = f"wanted: a folder train in {root}, or class folders without splits"
        raise ConfigError(f"{problem}; {advice}")

    def _read_list(self, domain: str, part: str) -> Split:
        file = self._list_file(domain, part)
        if not file.is_file():
            problem = f"no list file {file}; {self.heading} keeps one per domain and split"
            if part == "val":
                problem += "; or hold some of train out: holdout: 0.2 in its manifest; or train to"
                problem += " the end: selection=last"
            raise ConfigError(problem)

        root = self.root_folder()

        rows = ListFile(file, root, self.outside).rows(self._listed_label)
        say(self._notes_on_list(file, rows))
        if not rows.ids:
            why = "; ".join(rows.left_out.lines())
            raise ConfigError(f"no row of {file} is an image; {why}" if why else f"{file} is empty")
        return Split(domain, part, root, ids=tuple(rows.ids), labels=tuple(rows.labels))

    def _list_file(self, domain: str, part: str) -> Path:
        name = self.lists.replace("{domain}", domain).replace("{split}", part)
        return self.root_folder() / name

    def label_in(self, folder: str) -> int | None:
        """The label of a class folder, as it is called or in another spelling of one class."""
        label = self.label_of_folder.get(folder)
        return self._label_of_spelling.get(class_key(folder)) if label is None else label

    @cached_property
    def _label_of_spelling(self) -> Mapping[str, int]:
        """Class key -> label, where it means one class."""
        keys = Counter(class_key(folder) for folder in self.label_of_folder)
        return {key: label for key, label in self.label_of_key.items() if keys[key] == 1}

    def _listed_label(self, folder: str, listed: str, where: str) -> int:
        """The label of what lies in a folder; raises ConfigError that says `where`."""
        if self.labels == "folder":
            own = posixpath.basename(folder)
            label = self.label_in(own)
            if label is None:
                problem = unknown("class folder", own, self.label_of_folder)
                raise ConfigError(f"{where}: {problem}")
            return label

        count = len(self.class_names)
        digits = listed.lstrip("0")
        label = int(digits or "0") if len(digits) <= len(str(count)) else count + 1
        if label >= count:
            wanted = f"expected one below {count}, see {self.classes_source}"
            hint = "; labels start at 0" if label == count else ""
            raise ConfigError(f"{where}: label {listed:.24}, {wanted}{hint}")
        return label

    def _notes_on_list(self, file: Path, rows: Rows) -> list[str]:
        """What a person should know of a list file, a line each."""
        notes = [*rows.left_out.lines(), *repeats(rows)]
        if self.labels == "folder":
            notes += mixed_folders(rows)
        else:
            notes += self._contradictions(rows)
        return [f"{file}: {note}" for note in notes]

    def _contradictions(self, rows: Rows) -> list[str]:
        """Where folders that are called as classes say another label than the list."""
        odd = set()
        for (folder, _), label in rows.of_folders.items():
            own = self.label_in(posixpath.basename(folder[:-1]))
            if own is not None and own != label:
                odd.add((folder, label))
        if not odd:
            return []
        pairs = zip(rows.ids, rows.labels, strict=True)
        wrong = [(path, label) for path, label in pairs if (folder_of(path), label) in odd]
        path, label = wrong[0]
        count = f"{len(wrong)} of {len(rows.ids)} labels contradict the class folders"
        ways = "the list is used; labels: folder would take the folders"
        return [f"{count}, e.g. {path} as {self.class_names[label].name!r}; {ways}"]


def _hint_on_texts(values: dict[str, Any], path: Path) -> str:
    """Of the first text that YAML took for something else: its line, and how to quote it."""
    for key in ("name", "reference", "domains", "templates"):
        given = values.get(key, "")
        if isinstance(given, list):
            for row, text in enumerate(given):
                if not isinstance(text, str):
                    return quoting_hint(path, (key, row))
        elif key in ("name", "reference") and not isinstance(given, str | dict):
            return quoting_hint(path, (key,))
    return ""


def available() -> list[str]:
    """Names of the manifests that come with clipft."""
    files = manifests_folder().glob("*.yaml")
    return sorted(file.stem for file in files if ".classes" not in file.name)


def load_manifest(name: str) -> Manifest:
    """Open a data set's description: what it holds, how it is called, where it lies.

    Arguments:
        name: a name of `clipft datasets`, NAME of a NAME.yaml here, or the path of a YAML file;
            release/domainnet is DomainNet with class names as Lipsum-FT's release writes them.

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
    if path.is_file():
        return Manifest.open(path)

    for folder in (path, Path(name)):
        if folder.is_dir():
            command = f"clipft train --data {folder} --reference DOMAIN"
            own = f"to train on the images in it: {command}"
            raise ConfigError(f"{folder} is a folder, wanted: a manifest, e.g. photos.yaml; {own}")
    if name.endswith((".yaml", ".yml")):
        command = f"clipft datasets new {path.stem} --root FOLDER --reference DOMAIN"
        raise ConfigError(f"no manifest {name}; to make one of class folders: {command}")
    raise unknown("data set", name, available())


def is_shipped(manifest: Manifest) -> bool:
    """Whether clipft comes with this manifest: its name and its content."""
    path = manifests_folder() / f"{manifest.name}.yaml"
    return path.is_file() and Manifest.open(path).digest() == manifest.digest()
