"""Data sets as YAML: what there is, what it is called, where it lies. No pixel is touched."""

from __future__ import annotations

import os
import posixpath
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, PrivateAttr, ValidationError

from ..config import Record, digest
from ..disk.files import cache_dir, quoting_hint, read_yaml
from ..disk.inside import check_file_name
from ..errors import CONTROLS, ConfigError, unknown
from ..progress import say
from .class_lists import LISTS
from .emoji_shift import CHECKS, EmojiSpec, Part, build, first_images, is_built
from .folders import Layout, Tree, class_key
from .layouts.readers import IN_ARRAYS
from .made_shifts import Made, MadeShifts
from .manifest_keys import ACCESS, OPENAI, PROSE, WANTED, YOUNGER, check_keys, hint_on_texts
from .shards import is_packed, read_unpacked, unpack, unpacked_place
from .split_reader import SplitReader
from .splits import MEGAPIXELS, Decoding, Look, Metric, ScoredBy, Split
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
        if isinstance(row, str | dict):
            name: ClassName = cls.read({"name": row} if isinstance(row, str) else row, source)
            if CONTROLS.search(name.name + name.slug):
                fault = f"{name.name!r:.80} holds signs that control a terminal"
                raise ConfigError(f"{source}: {fault}; wanted: a name in letters")
            return name
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
    # templates that a caption is put into; part of a run only where its method reads them
    spurious: tuple[str, ...] = ()
    # common, all, or `MadeShifts`: shifts that are made of the reference as its images are read
    made_shifts: Literal["", "common", "all"] | MadeShifts = ""
    emoji: EmojiSpec | None = None  # set: the files are rendered on first use
    _file: Path = PrivateAttr(default=Path("manifest.yaml"))
    _class_rows: list[Any] | None = PrivateAttr(default=None)  # of a copy; else they are a file
    _reader: SplitReader | None = PrivateAttr(default=None)
    _trained: tuple[str, ...] = PrivateAttr(default=())  # domains; else the reference
    _made_of: str = PrivateAttr(default="")  # a domain; else the reference
    _decoder: str = PrivateAttr(default=Decoding().decoder)

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
            raise ConfigError(f"{error}{hint_on_texts(values, path)}") from None
        manifest._file = path
        check_keys(manifest, str(path))
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

    @classmethod
    def from_copy(cls, copy: dict[str, Any]) -> Manifest:
        """The manifest of a `copy_for_run`, with the same digest; no YAML file is read."""
        if "class_names" not in copy:
            raise ConfigError("copy of a manifest: it has no class_names")
        fields = dict(copy)
        rows = fields.pop("class_names")
        manifest: Manifest = cls.read(fields, "copy of a manifest")
        check_keys(manifest, "copy of a manifest")
        manifest._class_rows = rows
        return manifest

    def copy_for_run(self) -> dict[str, Any]:
        """All that the YAML files say, class names included, as JSON has it."""
        copy = self.model_dump(mode="json")
        if not copy["spurious"]:
            del copy["spurious"]
        for key in ("kept", "metric", "mask", "groups", "made_shifts"):
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

        The prose is left out, where the images lie and what of them may be read, and the spurious
        templates, which few methods read. A key that is
        younger than some runs counts only where it is set.
        """
        fields = self.copy_for_run()
        rows = fields.pop("class_names")
        fields.pop("spurious", None)
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

    def shifts(self, reference: str = "", *, made: bool = True) -> list[str]:
        """All domains but the reference, and then those that are made of it."""
        left_out = self.check_domain(reference if reference else self.reference)
        own = [domain for domain in self.domains if domain != left_out]
        return [*own, *self.made] if made else own

    @cached_property
    def made(self) -> dict[str, Made]:
        """Domain -> how it is made of the reference; none where `made_shifts` is not set."""
        if not self.made_shifts:
            return {}
        if isinstance(self.made_shifts, str):
            return MadeShifts(kinds=self.made_shifts).each()
        return self.made_shifts.each()

    @property
    def made_of(self) -> str:
        """The domain whose images made shifts show."""
        return self._made_of or self.reference

    def check_domain(self, domain: str) -> str:
        """The domain itself; raises ConfigError with the nearest name for one unknown, or made."""
        if domain not in self.domains:
            raise unknown(f"domain of {self.name}", domain, self.domains)
        return domain

    @property
    def trained(self) -> tuple[str, ...]:
        """The domains of which val and test are held out; of all others everything is test."""
        return self._trained or (self.reference,)

    def trained_on(self, domains: Iterable[str], reference: str = "") -> Manifest:
        """The data set as a run sees it that trains on these domains; its digest stays.

        reference: the run's, of which made shifts are made; else the manifest's. Raises ConfigError
        with the nearest name for an unknown domain.
        """
        named = tuple(sorted({self.check_domain(domain) for domain in domains}))
        made_of = self.check_domain(reference) if reference else self.made_of
        if named == self.trained and made_of == self.made_of:
            return self
        seen: Manifest = self.model_copy()
        seen._trained = named
        seen._made_of = made_of
        seen._reader = None
        return seen

    def decoded_by(self, decoder: str) -> Manifest:
        """The data set as a run with this setting sees it; its digest stays."""
        if decoder == self._decoder:
            return self
        seen: Manifest = self.model_copy()
        seen._decoder = decoder
        seen._reader = None
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
            # Of whatever name: what is rendered alike is rendered once.
            return cache_dir() / f"emoji_shift-{digest([pixels, self._concepts], 8)}"
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
        """The code point of each class folder; raises ConfigError where one is no file's name."""
        for name in self.class_names:
            for text in filter(None, (name.slug, name.code)):
                check_file_name(text, of=f"class {name.name!r:.80} of {self.name}")
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

    @property
    def reader(self) -> SplitReader:
        """What reads its rows, and remembers them."""
        if self._reader is None:
            self._reader = SplitReader(self)
        return self._reader

    def split(self, name: str) -> Split:
        """`domain/part`, see `SplitReader.split`."""
        return self.reader.split(name)

    def has(self, name: str) -> bool:
        """Whether `domain/part` has any image, see `SplitReader.has`."""
        return self.reader.has(name)

    def first_images(self, labels: Sequence[int], part: Part) -> dict[str, list[Image.Image]]:
        """The first image of some classes in each domain, where no file need be there for it.

        That is an EmojiShift which is not rendered yet; empty for all else: its files are read.
        """
        spec = self.emoji
        if spec is None or not spec.per_class.get(part) or is_built(self.place):
            return {}
        concepts = list(self._concepts.items())
        return first_images(spec, dict(concepts[label] for label in labels), part)

    @property
    def decoding(self) -> Decoding:
        """How the image files become pixels."""
        return Decoding(self.look, self.megapixels, decoder=self._decoder)


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
