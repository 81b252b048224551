"""What a model says of every image of a sweep, on disk: as it comes, and then as images.parquet.

Both are read and written a part at a time, so that memory does not grow with a sweep.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from ..disk.files import atomic, disk
from ..disk.leftovers import temporary_prefix
from ..errors import RunError
from .scores import IMAGE_COLUMNS, ROWS, Key, Scores, ScoreStore, scores_of_rows, to_frame
from .versions import METADATA, check_metadata

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd
    import pyarrow as pa

    from ..data.splits import Split

TEXTS = ("split", "domain", "part", "id")  # columns whose texts come again and again
ROW = "row"  # of the split, in a record


@contextlib.contextmanager
def reading(path: Path, mend: str = "") -> Iterator[None]:
    """Within, a parquet file of scores that is damaged raises RunError, with what to do."""
    try:
        yield
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        reason = str(error).splitlines()[0]
        command = mend or f"clipft wise {path.parent}"
        raise RunError(f"{path} is damaged ({reason}); delete it, then: {command}") from None


@dataclass(frozen=True)
class _Rows:
    """A split with its labels as an array."""

    split: Split
    label: np.ndarray


@dataclass(frozen=True)
class _Piece:
    """Records that lie together: where in the file, in bytes, and how many."""

    offset: int
    count: int


class Gathered(ScoreStore):
    """What a sweep says, as it comes: records in a file without a name, which a killed process
    leaves nowhere; one that is asked to stop may `keep` those of whole splits.

    folder: whose disk holds it; "": that of temporary files. Keys are in the order in which they
    came. Raises StorageError where the disk refuses.
    """

    def __init__(self, folder: Path | str = ""):
        self._folder = folder or tempfile.gettempdir()
        with disk(self._folder):
            # It has a name for a moment where a file system has no files without one.
            prefix = temporary_prefix("scores")
            self._file = tempfile.TemporaryFile(dir=self._folder, prefix=prefix, suffix=".tmp")
        weakref.finalize(self, _close, self._file)
        self.keys: Sequence[Key] = []
        self._splits: dict[str, _Rows] = {}
        self._records: dict[Key, np.dtype] = {}
        self._pieces: dict[Key, list[_Piece]] = {}
        self._whole: dict[Key, None] = {}
        self._kept: dict[Key, list[np.ndarray]] = {}

    def keep(self, path: Path, about: Mapping[str, Any]) -> int:
        """Write the records of whole splits; about: all that they depend on beside the run.

        Returns of how many splits. Raises StorageError where the disk refuses.
        """
        arrays: dict[str, np.ndarray] = {}
        pieces: list[list[Any]] = []
        # Those that an earlier stop kept, and this sweep has not come to, stay.
        for key in {**self._kept, **self._whole}:
            records = self._kept.get(key)
            if key in self._whole:
                records = [self._read(key, [piece]) for piece in self._pieces[key]]
            for part in records or ():
                arrays[str(len(pieces))] = part
                pieces.append(list(key))
        content = json.dumps({"about": dict(about), "pieces": pieces})
        with atomic(path) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, content=np.array(content), **arrays)
        return len({split for split, _ in pieces})

    def go_on(self, path: Path, about: Mapping[str, Any]) -> None:
        """Take up what `keep` left, unless it is damaged or depends on something else."""
        with (
            contextlib.suppress(OSError, ValueError, KeyError),
            np.load(path, allow_pickle=False) as arrays,
        ):
            content = json.loads(str(arrays["content"]))
            if content["about"] == dict(about):
                for number, key in enumerate(content["pieces"]):
                    self._kept.setdefault(tuple(key), []).append(arrays[str(number)])

    def has_kept(self, split: Split, alphas: Sequence[float]) -> bool:
        """Whether an earlier stop kept all of a split at these alphas: then it is added now."""
        keys = [(split.name, alpha) for alpha in alphas]
        if not all(key in self._kept for key in keys):
            return False
        for key in keys:
            for part in self._kept[key]:
                columns = {name: part[name] for name in _columns_of(part.dtype)}
                self.add(split, key[1], part[ROW], columns)
        self.is_whole(split)
        return True

    def is_whole(self, split: Split) -> None:
        """All that is to be said of a split, at the alphas so far, was added."""
        self._whole |= dict.fromkeys(key for key in self.keys if key[0] == split.name)

    def add(
        self, split: Split, alpha: float, rows: np.ndarray, columns: Mapping[str, np.ndarray]
    ) -> None:
        """What the model at an alpha says of some rows (n,) of a split: columns (n,) of `Scores`.

        Raises StorageError where the disk refuses.
        """
        key = (split.name, alpha)
        if split.name not in self._splits:
            self._splits[split.name] = _Rows(split, np.asarray(split.labels))
        if key not in self._records:
            fields = [(ROW, np.dtype(np.int32))]
            fields += [(name, column.dtype) for name, column in columns.items()]
            self._records[key] = np.dtype(fields)
            self._pieces[key] = []
            self.keys = [*self.keys, key]
        records = np.empty(len(rows), self._records[key])
        records[ROW] = rows
        for name, column in columns.items():
            records[name] = column
        with disk(self._folder):
            offset = self._file.seek(0, os.SEEK_END)
            self._file.write(records.tobytes())
        self._pieces[key].append(_Piece(offset, len(records)))

    def read(self, key: Key) -> Scores:
        """See `ScoreStore`."""
        return self._scores(key, self._read(key, self._pieces[key]))

    def frames(self, key: Key) -> Iterator[pd.DataFrame]:
        """See `ScoreStore`."""
        for pieces in _together(self._pieces[key]):
            yield to_frame([self._scores(key, self._read(key, pieces))])

    def columns(self, key: Key) -> list[str]:
        """See `ScoreStore`."""
        columns = _columns_of(self._records[key])
        return [*columns, "group"] if self._splits[key[0]].split.groups else columns

    def _read(self, key: Key, pieces: Sequence[_Piece]) -> np.ndarray:
        """Their records, one piece after the other."""
        records = np.empty(sum(piece.count for piece in pieces), self._records[key])
        filled = 0
        with disk(self._folder):
            for piece in pieces:
                self._file.seek(piece.offset)
                content = self._file.read(piece.count * records.itemsize)
                part = np.frombuffer(content, records.dtype)
                records[filled : filled + piece.count] = part
                filled += piece.count
        return records

    def _scores(self, key: Key, records: np.ndarray) -> Scores:
        split = self._splits[key[0]].split
        rows = records[ROW]
        names = _columns_of(records.dtype)
        columns = {name: np.ascontiguousarray(records[name]) for name in names}
        if split.groups:
            columns["group"] = np.asarray(_taken(split.groups, rows))
        label = self._splits[key[0]].label[rows]
        return Scores(*key, _taken(split.ids, rows), label, **columns)


def _close(file: BinaryIO) -> None:
    """Close a file that nobody reads again: what a full disk did not take is said already."""
    with contextlib.suppress(OSError):
        file.close()


def _together(pieces: Sequence[_Piece]) -> Iterator[list[_Piece]]:
    """Pieces in their order, as many at a time as have ROWS records."""
    waiting: list[_Piece] = []
    count = 0
    for piece in pieces:
        if waiting and count + piece.count > ROWS:
            yield waiting
            waiting = []
            count = 0
        waiting.append(piece)
        count += piece.count
    yield waiting


def _columns_of(records: np.dtype) -> list[str]:
    return [name for name in records.names or () if name != ROW]


def _taken(column: tuple[str, ...], rows: np.ndarray) -> tuple[str, ...]:
    """The texts of these rows, which rise; all of them, or a piece, without a look at each."""
    first = int(rows[0])
    last = int(rows[-1]) + 1
    if last - first == len(rows):
        return column[first:last]
    return tuple(map(column.__getitem__, rows.tolist()))


class ImagesFile(ScoreStore):
    """images.parquet of a run; without ids where they are not asked for, which take most room.

    Raises RunError where the file is damaged, here and when it is read.
    """

    def __init__(self, path: Path, *, with_ids: bool = True):
        import pyarrow.parquet as pq

        self._path = path
        with reading(path), pq.ParquetFile(path) as file:
            check_metadata(file.schema_arrow.metadata, path)
            names = file.schema_arrow.names
            self._names = [name for name in IMAGE_COLUMNS if name in names]
            if with_ids:
                self._names.append("id")
            self._places: dict[Key, list[tuple[int, int, int]]] = {}
            for group in range(file.num_row_groups):
                for key, first, count in _stretches(file.read_row_group(group, ["split", "alpha"])):
                    self._places.setdefault(key, []).append((group, first, count))
        self.keys = list(self._places)
        self._held: tuple[int, Any] = (-1, None)

    def read(self, key: Key) -> Scores:
        """See `ScoreStore`."""
        import pyarrow as pa

        parts = [self._part(*place) for place in self._places[key]]
        return scores_of_rows(key, pa.concat_tables(parts).to_pandas())

    def frames(self, key: Key) -> Iterator[pd.DataFrame]:
        """See `ScoreStore`."""
        for group, first, count in self._places[key]:
            for offset in range(first, first + count, ROWS):
                part = self._part(group, offset, min(ROWS, first + count - offset))
                # Of an id that is in the row group alone there is no category.
                yield to_frame([scores_of_rows(key, part.to_pandas())])

    def columns(self, key: Key) -> list[str]:  # noqa: ARG002
        """See `ScoreStore`; some of them may be empty there."""
        return [name for name in self._names if name != "id"]

    def _part(self, group: int, first: int, count: int) -> pa.Table:
        import pyarrow.parquet as pq

        if self._held[0] != group:
            self._held = (-1, None)
            with reading(self._path), pq.ParquetFile(self._path) as file:
                self._held = (group, file.read_row_group(group, self._names))
        return self._held[1].slice(first, count)


def _stretches(table: pa.Table) -> Iterator[tuple[Key, int, int]]:
    """Rows of one split and alpha that follow each other: which, the first, and how many."""
    import pyarrow as pa

    splits = table["split"].combine_chunks()
    if not pa.types.is_dictionary(splits.type):
        splits = splits.dictionary_encode()
    code = splits.indices.to_numpy(zero_copy_only=False)
    alpha = table["alpha"].to_numpy()
    is_first = np.ones(len(code), bool)
    is_first[1:] = (code[1:] != code[:-1]) | (alpha[1:] != alpha[:-1])
    starts = np.flatnonzero(is_first)
    ends = [*starts[1:], len(code)]
    for first, end in zip(starts.tolist(), ends, strict=True):
        key = (str(splits.dictionary[code[first]]), float(alpha[first]))
        yield key, first, int(end) - first


def write_images(path: Path, store: ScoreStore) -> None:
    """Write all scores as a parquet file, in the order of alphas; no more than ROWS are held."""
    columns = dict.fromkeys(name for key in store.keys for name in store.columns(key))
    writer = _Writer(path, list(columns))
    try:
        for key in sorted(store.keys, key=lambda key: key[1]):
            for frame in store.frames(key):
                writer.add(frame)
        writer.flush()
    finally:
        writer.close()


class _Writer:
    """Frames become row groups of at most ROWS rows; texts are written once in each."""

    def __init__(self, path: Path, columns: Sequence[str]):
        self._path = path
        self._columns = columns
        self._file: Any = None
        self._waiting: list[pd.DataFrame] = []
        self._rows = 0

    def add(self, frame: pd.DataFrame) -> None:
        if self._rows + len(frame) > ROWS:
            self.flush()
        self._waiting.append(frame)
        self._rows += len(frame)

    def flush(self) -> None:
        import pandas as pd
        import pyarrow.parquet as pq

        if not self._waiting:
            return
        frame = pd.concat(self._waiting, ignore_index=True)
        self._waiting = []
        self._rows = 0
        table = self._table(frame.astype(dict.fromkeys(TEXTS, "category")))
        if self._file is None:
            self._file = pq.ParquetWriter(self._path, table.schema)
        self._file.write_table(table)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _table(self, frame: pd.DataFrame) -> pa.Table:
        import pyarrow as pa

        for name in self._columns:
            if name not in frame:  # rows of other row groups have it
                frame[name] = np.nan if name != "group" else None
        if self._file is not None:
            return pa.Table.from_pandas(frame, self._file.schema, preserve_index=False)
        table = pa.Table.from_pandas(frame, preserve_index=False)
        schema = table.schema
        for place, name in enumerate(schema.names):
            if name in TEXTS:
                text = pa.dictionary(pa.int32(), pa.string())
                schema = schema.set(place, schema.field(place).with_type(text))
            elif name == "group":
                schema = schema.set(place, schema.field(place).with_type(pa.string()))
        return table.cast(schema.with_metadata({**(schema.metadata or {}), **METADATA}))
