"""List files of any tool: lines `path label` become rows.

Read are UTF-8 and UTF-16, marks of the byte order, line ends of every system, tabs and blanks,
quotes, comments that start with #, backslashes, paths that start with the root, and names in
another Unicode form than on disk. What cannot be read is one line that names the file and the line.
"""

from __future__ import annotations

import codecs
import contextlib
import itertools
import os
import posixpath
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np

from ..disk.inside import DRIVE, leads_out
from ..errors import ConfigError
from .columns import Columns, Words, distinct, find, keep
from .found import IMAGES, LeftOut, ending_of, is_hidden, why_not

MARKS = {  # of the byte order, the longer ones first
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
WANTED = "wanted: `path label`, e.g. sketch/mug/1.jpg 3"
# What asks for a closer look at every path of a block; few lists have any.
SPECIAL = ('"', "'", "\\", "#", ":", "/.", "\0")
SPECIAL_FIRST = {"/", "."}
BLOCK = 1 << 20  # letters of a list that are read at once


def read_text(file: Path) -> str:
    """The text of a file of lines, which end in newlines alone; of any mark nothing is left.

    Raises ConfigError where it is neither UTF-8 nor marked as UTF-16, OSError where it is not read.
    """
    content = file.read_bytes()
    encodings = [name for mark, name in MARKS.items() if content.startswith(mark)]
    try:
        text = content.decode(encodings[0] if encodings else "utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        what = f"{file}:{line}: the byte 0x{content[error.start]:02x} is not {error.encoding}"
        raise ConfigError(f"{what}; save it as UTF-8, e.g. {_converted(file)}") from None
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        what = f"{file}:{line}: a byte is 0, as in UTF-16 without a mark or in no text"
        raise ConfigError(f"{what}; save it as UTF-8") from None
    text = text.replace("\ufeff", "")  # the mark of a file that another one was put behind
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text


def _converted(file: Path) -> str:
    return f"iconv -f latin1 -t utf-8 {file.name} > new.txt"


@dataclass
class Rows:
    """What a list file holds, in its order.

    of_folders: (folder, label as listed) -> label, of all that occur. distinct: how many different
    ids. codes: of blocks that were read by columns, the place in of_folders of each row.
    """

    ids: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    left_out: LeftOut = field(default_factory=LeftOut)
    of_folders: dict[tuple[str, str], int] = field(default_factory=dict)
    distinct: int = 0
    codes: list[np.ndarray] = field(default_factory=list, compare=False)


LabelOf = Callable[[str, str, str], int]  # (folder, label as listed, where it stands) -> label


@dataclass(frozen=True)
class ListFile:
    """A list file.

    root: the folder of the images. outside: whether a path may lead out of it.
    """

    file: Path
    root: Path
    outside: bool = False

    def rows(self, label_of: LabelOf) -> Rows:
        """The images that are listed, and what is left out.

        label_of: makes a label of the folder of an image, its label in the list, and where that
        stands. Raises ConfigError for a line that has no path and label, and for a path out of the
        root.
        """
        kept = find(self.file, "list")
        if kept is not None:
            with contextlib.suppress(ConfigError):  # to be said with the number of the line
                return _rows_of(kept, label_of)

        rows = Rows()
        number = 1
        is_quick = True
        for block in _blocks(read_text(self.file)):
            if not _add_quickly(block, rows, label_of):
                self._add(block, number, rows, label_of)
                is_quick = False
            number += block.count("\n")
        rows.distinct = distinct(rows.ids)
        if is_quick and rows.ids:
            keep(self.file, "list", _columns_of(rows))
        return rows

    def _add(self, block: str, first: int, rows: Rows, label_of: LabelOf) -> None:
        """Add the lines of a block, with a look at each; first: the number of the first of them."""
        for number, line in enumerate(block.split("\n"), first):
            *before, listed = line.rsplit(None, 1) or [""]
            if not listed or _is_comment(line, listed):
                continue
            path = self.cleaned(before[0], number) if before else ""
            if not path or "\t" in path or not listed.isdecimal():
                raise self._malformed(number, line)

            why = reason_of(path)
            if why:
                rows.left_out.add(why, path, ending_of(path))
                continue
            key = (folder_of(path), listed)
            if key not in rows.of_folders:
                where = f"{self.file}:{number}"
                rows.of_folders[key] = label_of(key[0][:-1], listed, where)
            rows.ids.append(path)
            rows.labels.append(rows.of_folders[key])

    def _malformed(self, number: int, line: str) -> ConfigError:
        """The error for a line that is no path and label: what it may be, and what is wanted."""
        where = f"{self.file}:{number}"
        separated = re.search(r"[,;]\s*(\"?\w+\"?)\s*$", line)
        if separated and (number == 1 or separated[1].strip('"').isdecimal()):
            table = "a table with commas" if "," in line else "a table with semicolons"
            as_list = "without its header, a blank before the label"
            return ConfigError(f"{where}: {line!r:.80} is of {table}; {WANTED}, {as_list}")
        if "\t" in line.strip() and line.split()[-1].isdecimal():
            return ConfigError(f"{where}: {line!r:.80} has a tab in its path; {WANTED}")
        if line.split()[0].isdecimal():
            return ConfigError(f"{where}: {line!r:.80} has its label first; {WANTED}")
        header = ", not a table's header" if number == 1 and len(line.split()) == 2 else ""
        return ConfigError(f"{where}: expected `path label`, got {line!r:.80}{header}")

    def cleaned(self, path: str, number: int) -> str:
        """A path without quotes and backslashes, below the root, as the file is called on disk.

        number: of its line, for errors.
        """
        path = path.strip()
        if len(path) > 1 and path[0] == path[-1] and path[0] in "\"'":
            path = path[1:-1]
        if "\\" in path and not self._is_there(path):
            path = path.replace("\\", "/")
        if path.startswith("/") or ".." in path or DRIVE.match(path):
            path = self._below_root(path, number)
        if not path.isascii():
            path = self._as_on_disk(path)
        return path

    def _is_there(self, path: str) -> bool:
        return os.path.lexists(os.path.join(self._root, path))

    @cached_property
    def _root(self) -> str:
        return os.path.abspath(self.root)

    def _below_root(self, path: str, number: int) -> str:
        """A path that may lead out of the root; below it an absolute one is made relative."""
        for root in dict.fromkeys((self._root, os.path.realpath(self._root))):
            place = posixpath.normpath(posixpath.join(root, path))
            if place.startswith(f"{root}/") and not DRIVE.match(path):
                # Behind a link the system takes `..` for another folder than is meant here.
                return place.removeprefix(f"{root}/") if leads_out(path) else path
        if self.outside:
            return path
        fault = f"{self.file}:{number}: {path} lies outside of {self.root}"
        raise ConfigError(f"{fault}; if that is meant, say so in the manifest: outside: true")

    def _as_on_disk(self, path: str) -> str:
        """The path in the Unicode form in which it is there; macOS writes accents apart."""
        forms = {unicodedata.normalize(form, path) for form in ("NFC", "NFD")}
        if forms == {path} or self._is_there(path):
            return path
        folder, name = posixpath.split(path)
        spellings = [
            [part, *(unicodedata.normalize(form, part) for form in ("NFC", "NFD"))]
            for part in (folder, name)
        ]
        for pair in itertools.product(*spellings):
            spelled = posixpath.join(*pair)
            if self._is_there(spelled):
                return spelled
        return path


def _columns_of(rows: Rows) -> Columns:
    """Rows that were all read by columns, without what their labels mean."""
    texts = tuple(f"{folder}\t{listed}" for folder, listed in rows.of_folders)
    words = {"folder and label": Words(texts, np.concatenate(rows.codes))}
    return Columns(rows.ids, words, {"distinct": rows.distinct})


def _rows_of(kept: Columns, label_of: LabelOf) -> Rows:
    """The same rows with their labels; raises ConfigError as label_of does."""
    words = kept.words["folder and label"]
    of_folders = {}
    for text in words.texts:
        folder, _, listed = text.partition("\t")
        of_folders[folder, listed] = label_of(folder[:-1], listed, "")
    labels = np.array(list(of_folders.values()))[words.codes].tolist()
    return Rows(kept.paths, labels, of_folders=of_folders, distinct=kept.more["distinct"])


def _blocks(text: str) -> Iterator[str]:
    """The text in parts of whole lines, so that what is made of a part is small."""
    start = 0
    while start < len(text):
        end = text.find("\n", start + BLOCK) + 1
        if not end:
            end = len(text)
        yield text[start:end]
        start = end


def _add_quickly(block: str, rows: Rows, label_of: LabelOf) -> bool:
    """Add the lines of a block where all are `path label` and nothing more; else add none.

    A list of ImageNet has a million of them, so this goes by columns.
    """
    fields = block.split()
    ids = fields[0::2]
    listed = fields[1::2]
    lines = block.count("\n") + (not block.endswith("\n"))
    if not (_is_plain(block) and len(ids) == len(listed) == lines and _are_rows(ids, listed)):
        return False

    folders = [path[: path.rfind("/") + 1] for path in ids]
    pairs = list(zip(folders, listed, strict=True))
    try:
        for folder, label in set(pairs) - rows.of_folders.keys():
            if _is_hidden(folder):
                return False
            rows.of_folders[folder, label] = label_of(folder[:-1], label, "")
    except ConfigError:
        return False  # to be said with the number of the line
    code_of = {pair: code for code, pair in enumerate(rows.of_folders)}
    codes = np.fromiter(map(code_of.__getitem__, pairs), np.int32, len(pairs))
    rows.ids += ids
    rows.labels += np.array(list(rows.of_folders.values()))[codes].tolist()
    rows.codes.append(codes)
    return True


def _is_plain(block: str) -> bool:
    return block.isascii() and not any(sign in block for sign in SPECIAL)


def _are_rows(ids: list[str], listed: list[str]) -> bool:
    """Whether the columns are names of images below the root and numbers."""
    if any(map(str.isdecimal, ids)) or not all(map(str.isdecimal, set(listed))):
        return False
    if {path[:1] for path in ids} & SPECIAL_FIRST:
        return False
    # The last letters of a path hold its ending, and there are few of them in a list.
    return all(ending_of(last) in IMAGES for last in {path[-6:] for path in ids})


def are_plain(paths: list[str]) -> bool:
    """Whether paths of a table need no closer look: images below the root, none hidden."""
    together = "\n".join(paths)
    is_plain = together.count("\n") == len(paths) - 1 and "__MACOSX" not in together
    return is_plain and _is_plain(together) and _are_rows(paths, [])


def reason_of(path: str) -> str:
    """Why a path that is named is left out; "" for an image."""
    if "\0" in path:
        return "a name with a zero byte, which no file has"
    return "hidden" if _is_hidden(path) else why_not(ending_of(path), named=True)


def _is_hidden(path: str) -> bool:
    return any(is_hidden(part) for part in PurePosixPath(path).parts if part != "..")


def _is_comment(line: str, last: str) -> bool:
    """`# names` and `#` alone; `#1/x.jpg 0` is a row."""
    line = line.lstrip()
    return line.startswith("#") and (line[1:2] in ("", "#", " ", "\t") or not last.isdecimal())


def folder_of(path: str) -> str:
    """The folder of an image, with its slash."""
    return path[: path.rfind("/") + 1]


# --- what a person should know of the rows


def repeats(rows: Rows) -> list[str]:
    """How many rows repeat an image, and how many images have several labels."""
    more = len(rows.ids) - rows.distinct
    if not more:
        return []
    counts = Counter(rows.ids)
    first = next(path for path, count in counts.items() if count > 1)
    notes = [f"rows that repeat an image: {more}, e.g. {first}; every row counts"]
    labels = Counter(path for path, _ in set(zip(rows.ids, rows.labels, strict=True)))
    several = sorted(path for path, count in labels.items() if count > 1)
    if several:
        notes.append(f"images under several labels: {len(several)}, e.g. {several[0]}")
    return notes


def mixed_folders(rows: Rows) -> list[str]:
    """How many class folders have several labels in a list whose labels are not used."""
    listed: dict[str, set[str]] = {}
    for folder, label in rows.of_folders:
        listed.setdefault(posixpath.basename(folder[:-1]), set()).add(label)
    mixed = sorted(folder for folder, labels in listed.items() if len(labels) > 1)
    if not mixed:
        return []
    labels = " and ".join(sorted(listed[mixed[0]])[:2])
    count = f"{len(mixed)} of {len(listed)} class folders are listed under several labels"
    return [f"{count}, e.g. {mixed[0]}: {labels}; folders are used"]
