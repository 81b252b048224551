"""A table of images, CSV or parquet, becomes the same tree of rows that class folders make.

A row is an image: its path, its label, and where the table has them its split and its domain. What
the columns are called is found out, and said.
"""

from __future__ import annotations

import contextlib
import csv
import os
import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ConfigError, first_line
from ..parsing import parse_json
from .columns import Columns, Words, distinct, remembered
from .folders import NUMBERED, WHOLE, Layout, Parts, Tree, class_key, listed, part_of
from .found import IMAGES, LeftOut, ending_of
from .lists import ListFile, are_plain, read_text, reason_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

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
    "group": ("group", "groupname", "groupid", "groups"),
}
NEEDED = ("path", "label")
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
        left_out = LeftOut()
        columns = self._images(left_out)
        parts = self._part_of_word()
        columns = _labelled(columns, parts, left_out, with_domains=bool(self.names["domain"]))
        if not columns.paths:
            why = "; ".join(left_out.lines()) or "it has no row"
            raise ConfigError(f"no row of {self.file} is an image with a label; {why}")

        spelling = _spelling(columns.words["label"])
        groups = columns.words["group"].of_rows() if self.names["group"] else []
        notes = (*self._notes_on_spellings(spelling), *self._notes_on_repeats(columns, groups))
        return Tree(
            self.root,
            self.layout,
            _sorted_in(columns, parts, spelling),
            left_out=left_out,
            read_as=self.read_as,
            more_notes=notes,
            groups=dict(zip(columns.paths, groups, strict=True)) if groups else {},
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
        unused = self._columns.more["unused"]
        more = f"; not used: {listed(unused)}" if unused else ""
        return f"a row an image, {self.file.name}: {', '.join(said)}{more}"

    @property
    def names(self) -> dict[str, str]:
        """What the column of each purpose is called; "" where there is none.

        Raises ConfigError where a needed one is missing.
        """
        return self._columns.more["names"]

    def paths(self) -> list[str]:
        """The column of paths as it stands in the table."""
        return self._columns.paths

    @cached_property
    def _columns(self) -> Columns:
        """All that is used of the table, as it stands there."""
        if not self.file.is_file():
            raise ConfigError(f"no table {self.file}; wanted: a .csv or .parquet file")
        return remembered(self.file, "table", lambda: _read_columns(self.file))

    def _images(self, left_out: LeftOut) -> Columns:
        """The rows that name an image, with paths as the files are called."""
        columns = self._columns
        if columns.more["plain"]:
            return columns

        cleaner = ListFile(self.file, self.root, self.outside)
        paths: list[str] = []
        rows: list[int] = []
        for row, given in enumerate(columns.paths):
            number = row + 2
            path = cleaner.cleaned(given, number) if given else ""
            why = reason_of(path) if path else "without a path"
            if why:
                left_out.add(why, path or f"row {number}", ending_of(path))
            else:
                paths.append(path)
                rows.append(row)
        words = {name: column.take(np.array(rows, int)) for name, column in columns.words.items()}
        return Columns(paths, words, {"distinct": distinct(paths)})

    def _part_of_word(self) -> dict[str, str]:
        """The part that each word in the column of splits means; of a blank one WHOLE.

        Raises ConfigError where no word means any.
        """
        words = set(self._columns.words["split"].texts)
        if words <= {""}:
            return {"": WHOLE}
        if words - {""} == NUMBERED.keys():
            return NUMBERED
        parts = {word: part for word in words if (part := part_of(word))}
        if not parts:
            column = f"{self.file}: {self.names['split']}: {listed(sorted(words))}"
            raise ConfigError(f"{column}; wanted: train, val, test, or no such column")
        return parts

    def _notes_on_spellings(self, spelling: dict[str, str]) -> list[str]:
        """Labels that are spellings of one class, and labels that are numbers."""
        notes = []
        labels = self._labels()
        others = [label for label in labels if spelling.get(label, label) != label]
        if others:
            pair = f"{others[0]!r} is read as {spelling[others[0]]!r}"
            notes.append(f"labels in several spellings: {len(others)}, e.g. {pair}")
        if _are_numbers(labels):
            example = f'{{name: coffee mug, folder: "{labels[0]}"}}'
            words = f"for zero-shot words write e.g. {example} under classes"
            notes.append(f"the classes are called by numbers; {words}")
        return notes

    def _labels(self) -> list[str]:
        return sorted(set(self._columns.words["label"].texts) - {""})

    def _notes_on_repeats(self, columns: Columns, groups: list[str]) -> list[str]:
        """Images that several rows name, and those of several groups."""
        more = len(columns.paths) - columns.more["distinct"]
        if not more:
            return []
        first = next(path for path, count in Counter(columns.paths).items() if count > 1)
        notes = [f"rows that repeat an image: {more}, e.g. {first}; to see where: datasets check"]
        if groups:
            counts = Counter(path for path, _ in set(zip(columns.paths, groups, strict=True)))
            several = sorted(path for path, count in counts.items() if count > 1)
            if several:
                count = f"{len(several)}, e.g. {several[0]}"
                notes.append(f"images of several groups: {count}; the last one counts")
        return notes


def _faults(
    words: Mapping[str, Words], parts: Mapping[str, str], needed: Sequence[str]
) -> Iterable[tuple[str, np.ndarray]]:
    """(why, which rows) are of no use: of no known part, or without a needed text."""
    splits = words["split"]
    for code, word in enumerate(splits.texts):
        if word not in parts:
            yield f"split {word!r}" if word else "without a split", splits.codes == code
    for purpose in needed:
        for code, word in enumerate(words[purpose].texts):
            if not word:
                yield f"without a {purpose}", words[purpose].codes == code


def _labelled(
    columns: Columns, parts: Mapping[str, str], left_out: LeftOut, *, with_domains: bool
) -> Columns:
    """The rows of a known part that have a label, and a domain where there is such a column."""
    needed = ("label", "domain") if with_domains else ("label",)
    is_used = np.ones(len(columns.paths), dtype=bool)
    for why, is_at_fault in _faults(columns.words, parts, needed):
        for row in np.flatnonzero(is_at_fault & is_used).tolist():
            left_out.add(why, columns.paths[row])
        is_used &= ~is_at_fault
    if is_used.all():
        return columns
    rows = np.flatnonzero(is_used)
    paths = [columns.paths[row] for row in rows.tolist()]
    words = {name: column.take(rows) for name, column in columns.words.items()}
    return Columns(paths, words, {"distinct": distinct(paths)})


def _spelling(labels: Words) -> dict[str, str]:
    """Label -> the spelling of its class that comes first in the rows."""
    found, first = np.unique(labels.codes, return_index=True)
    spelling: dict[str, str] = {}
    first_of: dict[str, str] = {}  # class key -> spelling
    for code in found[np.argsort(first)].tolist():
        label = labels.texts[code]
        spelling[label] = first_of.setdefault(class_key(label), label)
    return spelling


def _sorted_in(
    columns: Columns, parts: Mapping[str, str], spelling: Mapping[str, str]
) -> dict[str, Parts]:
    """The paths by domain, part and class, each in the order of the rows.

    parts: word of the split -> part. spelling: label -> class.
    """
    texts = [columns.words[purpose].texts for purpose in ("domain", "split", "label")]
    codes = [columns.words[purpose].codes for purpose in ("domain", "split", "label")]
    # One number for the three, so that rows are sorted once.
    places = np.ravel_multi_index(codes, [len(words) for words in texts])
    order = np.argsort(places, kind="stable")
    _, starts = np.unique(places[order], return_index=True)
    paths = list(map(columns.paths.__getitem__, order.tolist()))

    sorted_in: dict[str, dict[str, dict[str, list[str]]]] = {}
    ends = [*starts[1:].tolist(), len(paths)]
    for start, end in sorted(zip(starts.tolist(), ends, strict=True), key=lambda at: order[at[0]]):
        row = order[start]
        domain, word, label = (text[code[row]] for text, code in zip(texts, codes, strict=True))
        classes = sorted_in.setdefault(domain, {}).setdefault(parts[word], {})
        classes.setdefault(spelling[label], []).extend(paths[start:end])

    domains: dict[str, Parts] = {}
    for domain in sorted(sorted_in):
        domains[domain] = {
            part: {name: tuple(images) for name, images in classes.items()}
            for part, classes in sorted_in[domain].items()
        }
    return domains


def _are_numbers(texts: Iterable[str]) -> bool:
    return all(text.lstrip("-").isdecimal() for text in texts if text)


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
            known = known if len(known) < 2 else sorted(known, key=holds_numbers)
        found[purpose] = known[0] if known else ""
    return found


def _lacks(purpose: str, columns: Sequence[str], file: Path) -> str:
    """The message for a table without a needed column."""
    if any(ending_of(name) in IMAGES for name in columns):
        wanted = "wanted: names of columns there, e.g. path,label"
        return f"{file}:1: the first line names no columns but an image; {wanted}"
    wanted = f"wanted: a column {purpose}, or one called {', '.join(CALLED[purpose][1:4])} ..."
    return f"{file}: no column of {purpose}s among {listed(list(columns))}; {wanted}"


def _read_columns(file: Path) -> Columns:
    """The columns of a table that are used, and how all are called."""
    paths, words, more = _columns_in(read_content(file), file)
    # By now the content is gone from memory.
    more |= {"plain": are_plain(paths), "distinct": distinct(paths)}
    return Columns(paths, words, more)


def _columns_in(
    content: pyarrow.Table, file: Path
) -> tuple[list[str], dict[str, Words], dict[str, Any]]:
    """(paths, a column for each other purpose, how all are called) of the content of a table."""
    called = content.column_names
    names = columns_of(
        called, file, holds_numbers=lambda name: _are_numbers(words_of(content, name, file).texts)
    )
    words = {}
    for purpose, name in names.items():
        if purpose != "path":
            blank = Words(("",), np.zeros(content.num_rows, np.int32))
            words[purpose] = words_of(content, name, file) if name else blank
    unused = [name for name in called if name not in names.values()]
    paths = _as_texts(content, names["path"], file).to_pylist()
    return paths, words, {"names": names, "unused": unused}


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

    text = _utf8(file)
    header = text[: text.find(b"\n") + 1 or None].decode().rstrip("\n")
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
    parse = arrow_csv.ParseOptions(delimiter=separator, newlines_in_values=b'"' in text)
    content = arrow_csv.read_csv(
        pa.BufferReader(text), convert_options=as_text, parse_options=parse
    )
    return content.rename_columns([name.strip() for name in content.column_names])


def _utf8(file: Path) -> bytes:
    """The text of a file in UTF-8 with plain ends of lines; that of most is so already."""
    content = file.read_bytes()
    if content.isascii() and b"\r" not in content and b"\0" not in content:
        return content
    return read_text(file).encode()


def _header(line: str, separator: str) -> list[str]:
    """The names of the columns, as the reader of the table will call them."""
    return next(csv.reader([line], delimiter=separator))


def texts_of(
    content: pyarrow.Table, name: str, file: Path, names: Sequence[str] | None = None
) -> list[str]:
    """A column as texts; of numbers that stand for named classes the names.

    names: of the classes, where they are not written in the table itself.
    """
    return words_of(content, name, file, names).of_rows()


def words_of(
    content: pyarrow.Table, name: str, file: Path, names: Sequence[str] | None = None
) -> Words:
    """The same column, each text of it held once."""
    import pyarrow as pa

    kind = content.schema.field(name).type
    names = names or class_labels(content.schema).get(name)
    encoded = _as_texts(content, name, file).combine_chunks().dictionary_encode()
    texts = encoded.dictionary.to_pylist()
    if names and pa.types.is_integer(kind):
        known = {str(number): text for number, text in enumerate(names)}
        texts = [known.get(text, "") for text in texts]
    return Words(tuple(texts), encoded.indices.to_numpy())


def _as_texts(content: pyarrow.Table, name: str, file: Path) -> pyarrow.ChunkedArray:
    """A column as texts without blanks around them; "" where it has no value."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = content[name]
    kind = column.type
    if pa.types.is_floating(kind):
        with contextlib.suppress(pa.ArrowInvalid):  # 3.0 is 3 beside a missing value
            column = column.cast(pa.int64())
    try:
        texts = column.cast(pa.string())
    except pa.ArrowException:
        wanted = "wanted: texts or numbers"
        raise ConfigError(f"{file}: the column {name} holds {kind}; {wanted}") from None
    return pc.call_function("utf8_trim_whitespace", [pc.fill_null(texts, "")])


def class_labels(schema: pyarrow.Schema) -> dict[str, list[str]]:
    """Column -> the names of its numbers, where Hugging Face's `datasets` wrote them down."""
    written = (schema.metadata or {}).get(b"huggingface", b"{}")
    with contextlib.suppress(ValueError, TypeError, KeyError):  # what others wrote is no such JSON
        return names_in(parse_json(written.decode())["info"]["features"])
    return {}


def names_in(features: Any) -> dict[str, list[str]]:
    """Column -> the names of its numbers, of the features of a `datasets` folder."""
    found = {}
    for name, feature in features.items() if isinstance(features, dict) else ():
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel":
            names = feature.get("names")
            if isinstance(names, list) and all(isinstance(text, str) for text in names):
                found[name] = names
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
                if any(os.path.isfile(table.root / image) for image in images[:SAMPLE]):
                    return
    first = next(path for path in table.paths() if path)
    ways = "wanted: the folder that the paths are seen from: --table TABLE --root FOLDER"
    raise ConfigError(f"{table.file}: no {first} in {table.root}; {ways}")
