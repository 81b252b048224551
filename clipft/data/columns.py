"""Rows of a file by columns; those of large files are kept in the cache.

Of a column whose texts repeat, each text is held once: a million rows have few labels. What was
read of a large file is found again by its content, so that the second time no line is taken apart.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..disk.cache import default_cache
from ..disk.files import file_digest

LARGE = 1 << 23  # bytes of a file whose rows are kept in the cache
KIND = "rows"
VERSION = 1  # of what is found out of a file; another number finds nothing of the old
SAID = "said"
CODES = "codes of "


@dataclass(frozen=True, eq=False)
class Words:
    """A column of texts that repeat; codes (N,): which of the texts each row has."""

    texts: tuple[str, ...]
    codes: np.ndarray

    def of_rows(self) -> list[str]:
        """The text of each row."""
        return list(map(self.texts.__getitem__, self.codes.tolist()))

    def take(self, rows: np.ndarray) -> Words:
        """The same column of these rows alone."""
        return Words(self.texts, self.codes[rows])


@dataclass(frozen=True, eq=False)
class Columns:
    """Paths and other texts of each row; more: what else was found out, as JSON has it."""

    paths: list[str]
    words: Mapping[str, Words]
    more: Mapping[str, Any] = field(default_factory=dict)


def find(file: Path, reader: str) -> Columns | None:
    """What was read of a large file of this content before; reader: by what. None where nothing."""
    if file.stat().st_size < LARGE:
        return None
    arrays = default_cache().find(KIND, _key(file, reader))
    if arrays is None:
        return None
    said = json.loads(arrays[SAID].tobytes())
    words = {}
    for name, texts in said["texts"].items():
        words[name] = Words(tuple(texts), np.asarray(arrays[CODES + name]))
    paths = arrays["paths"].tobytes().decode()
    return Columns(paths.split("\n") if said["rows"] else [], words, said["more"])


def keep(file: Path, reader: str, columns: Columns) -> None:
    """Keep what was read of a large file; paths that hold line ends are not kept."""
    if file.stat().st_size < LARGE:
        return
    paths = "\n".join(columns.paths).encode()
    rows = len(columns.paths)
    if paths.count(b"\n") != max(rows - 1, 0):
        return
    texts = {name: words.texts for name, words in columns.words.items()}
    said = {"rows": rows, "texts": texts, "more": dict(columns.more)}
    arrays = {"paths": _array(paths), SAID: _array(json.dumps(said).encode())}
    for name, words in columns.words.items():
        arrays[CODES + name] = words.codes
    default_cache().keep(KIND, f"rows of {file.name}", _key(file, reader), arrays)


def remembered(file: Path, reader: str, read: Callable[[], Columns]) -> Columns:
    """The columns of a file, read where they are not kept."""
    columns = find(file, reader)
    if columns is None:
        columns = read()
        keep(file, reader, columns)
    return columns


def distinct(texts: Sequence[str]) -> int:
    """How many different texts there are; a set of a million is only made where some repeat."""
    hashes = np.sort(np.fromiter(map(hash, texts), np.int64, len(texts)))
    if (hashes[1:] != hashes[:-1]).all():
        return len(texts)
    return len(set(texts))


def _key(file: Path, reader: str) -> dict[str, Any]:
    return {"content": file_digest(file), "reader": reader, "version": VERSION}


def _array(content: bytes) -> np.ndarray:
    return np.frombuffer(content, dtype=np.uint8)
