"""A table of images, CSV or parquet, becomes the same tree of rows that class folders make.

A row is an image: its path, its label, and where the table has them its split and its domain. What
the columns are called is found out, and said.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError, first_line
from .folders import WHOLE, Layout, Parts, Tree, class_key, listed, part_of
from .found import IMAGES, LeftOut, ending_of
from .lists import ListFile, are_plain, read_text, reason_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import pyarrow

CSV = (".csv", ".tsv")
PARQUET = (".parquet", ".pq")
TABLES = (*CSV, *PARQUET)
# What a column is for -> what it may be called, without case, blanks, _ and -; the first wins.
CALLED = {
    "path": (
        *("path", "filepath", "imagepath", "imgpath", "relpath", "file", "filename"),
        *("imagefile", "imgfile", "imagefilename", "imgfilename", "imagename", "image", "img"),
    ),
    "label": (
        *("label", "labelname", "class", "classname", "classlabel", "category", "categoryname"),
        *("target", "targetname", "y"),
    ),
    "split": ("split", "splitname", "subset", "partition", "set", "part"),
    "domain": ("domain", "domainname", "environment", "env"),
}
NEEDED = ("path", "label")
OF_WILDS = {"0": "train", "1": "val", "2": "test"}  # split numbers of Waterbirds, CelebA and others
SAMPLE = 100  # rows whose files are looked for before a manifest is written


def is_table(path: Path) -> bool:
    """Whether a file's name says that it is a table."""
    return path.suffix.lower() in TABLES and not path.is_dir()


@dataclass(frozen=True)
class Table:
    """A table of images; root: the folder that its paths are seen from.

    outside: whether a path may lead out of it.
    """

    file: Path
    root: Path
    outside: bool = False

    def tree(self) -> Tree:
        """The rows by domain, part and class; raises ConfigError where they cannot be read so."""
        sorted_in: dict[str, dict[str, dict[str, list[str]]]] = {}
        left_out = LeftOut()
        parts = self._part_of_word()
        spelling: dict[str, str] = {}  # class key -> the first spelling of it
        for path, label, word, domain in self._rows(left_out):
            part = parts.get(word)
            if part is None:
                left_out.add(f"split {word!r}" if word else "without a split", path)
            elif not label:
                left_out.add("without a label", path)
            elif not domain and self.names["domain"]:
                left_out.add("without a domain", path)
            else:
                name = spelling.get(label) or spelling.setdefault(class_key(label), label)
                spelling[label] = name
                classes = sorted_in.setdefault(domain, {}).setdefault(part, {})
                classes.setdefault(name, []).append(path)

        domains: dict[str, Parts] = {}
        for domain in sorted(sorted_in):
            domains[domain] = {
                part: {name: tuple(paths) for name, paths in classes.items()}
                for part, classes in sorted_in[domain].items()
            }
        if not domains:
            why = "; ".join(left_out.lines()) or "it has no row"
            raise ConfigError(f"no row of {self.file} is an image with a label; {why}")
        notes = (*self._notes_on_spellings(spelling), *_notes_on_repeats(domains))
        return Tree(
            self.root,
            self.layout,
            domains,
            left_out=left_out,
            read_as=self.read_as,
            more_notes=notes,
        )

    @property
    def layout(self) -> Layout:
        """What the table says, as the layout of folders that would say the same."""
        return "{domain}/{split}/{class}" if self.names["domain"] else "{split}/{class}"

    @property
    def read_as(self) -> str:
        """Which column is what, in words."""
        said = []
        for purpose, name in self.names.items():
            if name:
                said.append(purpose if name == purpose else f"{purpose} (called {name})")
        used = set(self.names.values())
        unused = [name for name in self._content.column_names if name not in used]
        more = f"; not used: {listed(unused)}" if unused else ""
        return f"a row an image, {self.file.name}: {', '.join(said)}{more}"

    @cached_property
    def names(self) -> dict[str, str]:
        """What the column of each purpose is called; "" where there is none.

        Raises ConfigError where a needed one is missing.
        """
        return columns_of(self._content.column_names, self.file, holds_numbers=self._holds_numbers)

    def _holds_numbers(self, name: str) -> bool:
        values = set(self._texts(name)) - {""}
        return all(value.lstrip("-").isdecimal() for value in values)

    def paths(self) -> list[str]:
        """The column of paths as it stands in the table."""
        return self._texts(self.names["path"])

    @cached_property
    def _content(self) -> pyarrow.Table:
        return read_content(self.file)

    def _texts(self, name: str) -> list[str]:
        """A column as texts, without blanks around them; "" where it has no value."""
        if not name:
            return [""] * self._content.num_rows
        return texts_of(self._content, name, self.file)

    def _rows(self, left_out: LeftOut) -> Iterable[tuple[str, str, str, str]]:
        """(path, label, word of the split, domain) of each row that is an image."""
        labels, words, domains = (
            self._texts(self.names[purpose]) for purpose in ("label", "split", "domain")
        )
        paths = self.paths()
        if are_plain(paths):
            return zip(paths, labels, words, domains, strict=True)

        cleaner = ListFile(self.file, self.root, self.outside)
        rows: list[tuple[str, str, str, str]] = []
        columns = zip(paths, labels, words, domains, strict=True)
        for number, (given, label, word, domain) in enumerate(columns, 2):
            path = cleaner.cleaned(given, number) if given else ""
            why = reason_of(path) if path else "without a path"
            if why:
                left_out.add(why, path or f"row {number}", ending_of(path))
            else:
                rows.append((path, label, word, domain))
        return rows

    def _part_of_word(self) -> dict[str, str]:
        """The part that each word in the column of splits means; of a blank one WHOLE.

        Raises ConfigError where no word means any.
        """
        words = set(self._texts(self.names["split"]))
        if words <= {""}:
            return {"": WHOLE}
        if words - {""} == OF_WILDS.keys():
            return OF_WILDS
        parts = {word: part for word in words if (part := part_of(word))}
        if not parts:
            column = f"{self.file}: {self.names['split']}: {listed(sorted(words))}"
            raise ConfigError(f"{column}; wanted: train, val, test, or no such column")
        return parts

    def _notes_on_spellings(self, spelling: dict[str, str]) -> list[str]:
        """Labels that are spellings of one class, and labels that are numbers."""
        notes = []
        others = [label for label in self._labels() if spelling.get(label, label) != label]
        if others:
            pair = f"{others[0]!r} is read as {spelling[others[0]]!r}"
            notes.append(f"labels in several spellings: {len(others)}, e.g. {pair}")
        if self._holds_numbers(self.names["label"]):
            example = f'{{name: coffee mug, folder: "{min(self._labels())}"}}'
            words = f"for zero-shot words write e.g. {example} under classes"
            notes.append(f"the classes are called by numbers; {words}")
        return notes

    def _labels(self) -> list[str]:
        return sorted(set(self._texts(self.names["label"])) - {""})


def _notes_on_repeats(domains: dict[str, Parts]) -> list[str]:
    """Images that several rows name, and those under several labels or in several splits."""
    paths: list[str] = []
    for parts in domains.values():
        for classes in parts.values():
            for images in classes.values():
                paths += images
    more = len(paths) - len(set(paths))
    if not more:
        return []
    first = next(path for path, count in Counter(paths).items() if count > 1)
    return [f"rows that repeat an image: {more}, e.g. {first}; to see where: datasets check"]


# --- from a file to columns


def columns_of(
    columns: Sequence[str],
    file: Path,
    needed: Sequence[str] = NEEDED,
    holds_numbers: Callable[[str], bool] = str.isdecimal,
) -> dict[str, str]:
    """What the column of each purpose is called; "" where there is none.

    holds_numbers: whether a column does; words make better classes than numbers beside them.
    Raises ConfigError where a needed one is missing.
    """
    by_plain: dict[str, str] = {}
    for name in columns:
        by_plain.setdefault(re.sub(r"[\s_-]+", "", name).lower(), name)

    found = {}
    for purpose, spellings in CALLED.items():
        known = [by_plain[spelling] for spelling in spellings if spelling in by_plain]
        if not known and purpose in needed:
            raise ConfigError(_lacks(purpose, columns, file))
        if purpose == "label":
            known.sort(key=holds_numbers)
        found[purpose] = known[0] if known else ""
    return found


def _lacks(purpose: str, columns: Sequence[str], file: Path) -> str:
    """The message for a table without a needed column."""
    if any(ending_of(name) in IMAGES for name in columns):
        wanted = "wanted: names of columns there, e.g. path,label"
        return f"{file}:1: the first line names no columns but an image; {wanted}"
    wanted = f"wanted: a column {purpose}, or one called {', '.join(CALLED[purpose][1:4])} ..."
    return f"{file}: no column of {purpose}s among {listed(list(columns))}; {wanted}"


def read_content(file: Path) -> pyarrow.Table:
    """The columns of a CSV or parquet file; raises ConfigError where it cannot be read."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        if file.suffix.lower() in PARQUET:
            return parquet.read_table(file)
        return _read_csv(file)
    except FileNotFoundError:
        raise ConfigError(f"no table {file}; wanted: a .csv or .parquet file") from None
    except (pa.ArrowException, OSError) as error:
        raise ConfigError(f"{file}: cannot be read as a table: {first_line(error)}") from None


def _read_csv(file: Path) -> pyarrow.Table:
    """All columns as texts: 007 and NA stay as they are written."""
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    text = read_text(file)
    header = text.partition("\n")[0]
    if not header.strip():
        raise ConfigError(f"{file}:1: empty; wanted: names of columns there, e.g. path,label")
    separator = max(",;\t", key=header.count)
    names = _header(header, separator)
    twice = [name for name, count in Counter(names).items() if name and count > 1]
    if twice:
        raise ConfigError(f"{file}:1: two columns are called {twice[0]}; wanted: one")
    as_text = arrow_csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
    )
    parse = arrow_csv.ParseOptions(delimiter=separator, newlines_in_values='"' in text)
    content = arrow_csv.read_csv(
        pa.BufferReader(text.encode()), convert_options=as_text, parse_options=parse
    )
    return content.rename_columns([name.strip() for name in content.column_names])


def _header(line: str, separator: str) -> list[str]:
    """The names of the columns, as the reader of the table will call them."""
    return next(csv.reader([line], delimiter=separator))


def texts_of(
    content: pyarrow.Table, name: str, file: Path, names: Sequence[str] | None = None
) -> list[str]:
    """A column as texts; of numbers that stand for named classes the names.

    names: of the classes, where they are not written in the table itself.
    """
    import pyarrow as pa

    column = content[name]
    kind = column.type
    names = names or class_labels(content.schema).get(name)
    if names and pa.types.is_integer(kind):
        known = dict(enumerate(names))
        return [known.get(number, "") for number in column.to_pylist()]
    if pa.types.is_floating(kind):
        with contextlib.suppress(pa.ArrowInvalid):  # 3.0 is 3 beside a missing value
            column = column.cast(pa.int64())
    try:
        texts = column.cast(pa.string())
    except pa.ArrowException:
        wanted = "wanted: texts or numbers"
        raise ConfigError(f"{file}: the column {name} holds {kind}; {wanted}") from None
    return [(text or "").strip() for text in texts.to_pylist()]


def class_labels(schema: pyarrow.Schema) -> dict[str, list[str]]:
    """Column -> the names of its numbers, where Hugging Face's `datasets` wrote them down."""
    written = (schema.metadata or {}).get(b"huggingface", b"{}")
    return names_in(json.loads(written).get("info", {}).get("features"))


def names_in(features: Any) -> dict[str, list[str]]:
    """Column -> the names of its numbers, of the features of a `datasets` folder."""
    found = {}
    for name, feature in (features or {}).items():
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel":
            found[name] = list(feature.get("names") or ())
    return {name: names for name, names in found.items() if names}


# --- where the images of a table lie


def common_root(file: Path) -> Path:
    """The folder that a table's paths are seen from: its own, or of absolute paths the shared."""
    paths = [path for path in Table(file, file.parent).paths() if path]
    if paths and all(path.startswith("/") for path in paths):
        return Path(os.path.commonpath([os.path.dirname(path) for path in set(paths)]))
    return file.parent


def check_some_there(table: Table, tree: Tree) -> None:
    """Raise ConfigError where none of some images of a table lies where it should."""
    for parts in tree.domains.values():
        for classes in parts.values():
            for images in classes.values():
                if any((table.root / image).is_file() for image in images[:SAMPLE]):
                    return
    first = next(path for path in table.paths() if path)
    ways = "wanted: the folder that the paths are seen from: --table TABLE --root FOLDER"
    raise ConfigError(f"{table.file}: no {first} in {table.root}; {ways}")
