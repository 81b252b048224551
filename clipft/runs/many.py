"""Scored rows of thousands of runs as one table: each file is read once, and found again by stamps.

What repeats is held once. The texts of a run's rows (split, metric ...) are its layout, and most
runs have the same; a column with one value a run is made of stretches of one block. So a million
rows take less than the numbers in them, and no row is touched.

What was read of many runs is kept in the cache, and each run of it is good as long as every one of
its files has the same stamps (`RunFolder.stamps`); reading writes nothing into a folder of runs.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.splits import ScoredBy
from ..disk.cache import default_cache
from ..progress import progress_bar
from .about import BEFORE, BEHIND, about
from .folder import RunFolder, Stamps, with_split_columns

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    import pyarrow as pa

NUMBERS = ("mean", "low", "high")  # what differs in each row
KIND = "results"  # in the cache
MANY = 32  # runs of a folder from which on they are kept in the cache
NEW = 0.05  # new ones as a part of all: with fewer, what is kept is not written again
SETTLED = 2_000_000_000  # ns: of a younger file another one could have the same stamps
READERS = min(4, os.cpu_count() or 1)  # threads; more of them wait for each other
BLOCK = 1 << 14  # rows of a text that are held for all of its rows


@dataclass(frozen=True, eq=False)
class Layout:
    """All of a run's scores but the NUMBERS; columns: of all, in order."""

    digest: str
    rows: pa.Table
    columns: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class ScoredRun:
    """A run's rows in the table of results: what is the same in all, the layout, NUMBERS (3, n)."""

    folder: RunFolder
    about: Mapping[str, Any]
    told: ScoredBy
    layout: Layout
    numbers: np.ndarray
    stamps: Stamps

    def value(self, column: str) -> Any:
        """Of its first row; raises KeyError for what is no column."""
        if column == "scored_by":
            return self.told.on(self.layout.rows["role"][0].as_py())
        if column in NUMBERS:
            return float(self.numbers[NUMBERS.index(column), 0])
        if column in self.about:
            return self.about[column]
        return self.layout.rows[column][0].as_py()

    @property
    def columns(self) -> list[str]:
        """The columns of its rows, in order."""
        return [*BEFORE, *self.layout.columns, "scored_by", *BEHIND]


def read_runs(folders: Sequence[RunFolder]) -> list[ScoredRun]:
    """Scored runs, from the cache where nothing in their folders changed.

    Raises RunError for one whose files are damaged, or of an older or newer clipft.
    """
    by_parent: dict[Path, list[RunFolder]] = {}
    for folder in folders:
        by_parent.setdefault(folder.path.parent, []).append(folder)
    known: dict[Path, ScoredRun] = {}
    for parent, of_parent in by_parent.items():
        for run in _of_one_folder(parent, of_parent):
            known[run.folder.path] = run
    return [known[folder.path] for folder in folders]


def _of_one_folder(parent: Path, folders: Sequence[RunFolder]) -> list[ScoredRun]:
    """Runs that lie in one folder of runs, those of which nothing is kept last."""
    if len(folders) < MANY:
        return [_read(folder, {}) for folder in folders]
    key = {"folder": str(parent.resolve()), "code": code_digest()}
    kept = _kept(key, parent)
    begun = time.time_ns()
    good = []
    unread = []
    for folder in folders:
        run = kept.get(folder.name)
        if run is not None and run.stamps == folder.stamps():
            good.append(run)
        else:
            unread.append(folder)
    layouts = {run.layout.digest: run.layout for run in good}
    fresh = _read_all(unread, layouts)
    settled = [run for run in fresh if _is_settled(run, begun)]
    if len(settled) > NEW * len(folders):
        _keep(key, parent, [*good, *settled])
    return [*good, *fresh]


def _read_all(folders: Sequence[RunFolder], layouts: dict[str, Layout]) -> list[ScoredRun]:
    """Runs, several at a time; of equal layouts one is held, those given too."""
    runs = []
    with ThreadPoolExecutor(READERS) as readers:
        bar = progress_bar(len(folders), "results", "run", show=len(folders) >= MANY)
        with bar:
            for run in readers.map(_read, folders, itertools.repeat(layouts)):
                runs.append(run)
                bar.update()
    return runs


def _read(folder: RunFolder, layouts: dict[str, Layout]) -> ScoredRun:
    """One run; layouts: those that are there already, by their digests."""
    import pyarrow as pa

    stamps = folder.stamps()  # before: what is written meanwhile has others
    rows = folder.score_rows()
    if "domain" not in rows.column_names:
        rows = pa.Table.from_pandas(with_split_columns(rows.to_pandas()), preserve_index=False)
    numbers = [rows[name].cast(pa.float64()).to_numpy() for name in NUMBERS]
    told = folder.scored_by
    return ScoredRun(
        folder, about(folder, told), told, _layout(rows, layouts), np.stack(numbers), stamps
    )


def _layout(rows: pa.Table, layouts: dict[str, Layout]) -> Layout:
    """All but the numbers, texts as pandas holds them, so that none is copied again.

    One that is among the layouts is that; a new one is added to them.
    """
    import pyarrow as pa

    others = [name for name in rows.column_names if name not in NUMBERS]
    plain = rows.select(others).replace_schema_metadata(None)
    order = ",".join(rows.column_names).encode()
    digest = hashlib.blake2b(_content(plain) + order, digest_size=16).hexdigest()
    if digest not in layouts:
        columns = {}
        for name in others:
            column = plain[name].combine_chunks()
            columns[name] = column.cast(pa.large_string()) if _is_text(column.type) else column
        layouts[digest] = Layout(digest, pa.table(columns), tuple(rows.column_names))
    return layouts[digest]


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


# --- the table


def table_of(runs: Sequence[ScoredRun]) -> pd.DataFrame:
    """The rows of runs, one after the other."""
    import pandas as pd

    counts = [run.numbers.shape[1] for run in runs]
    columns: dict[str, Any] = {}
    for name in BEFORE:
        columns[name] = _constant([run.about[name] for run in runs], counts)
    numbers = np.concatenate([run.numbers for run in runs], axis=1)
    in_order = dict.fromkeys(itertools.chain.from_iterable(run.layout.columns for run in runs))
    for name in in_order:
        if name in NUMBERS:
            columns[name] = numbers[NUMBERS.index(name)]
        else:
            columns[name] = _of_layouts(name, runs)
    columns["scored_by"] = _scored_by(runs)
    for name in BEHIND:
        columns[name] = _constant([run.about[name] for run in runs], counts)
    return pd.DataFrame(columns, copy=False)


def _constant(values: Sequence[Any], counts: Sequence[int]) -> pd.Series:
    """A column that has one value in each run."""
    import pandas as pd
    import pyarrow as pa

    if not all(isinstance(value, str) for value in values):
        return pd.Series(np.repeat(pd.Series(values).to_numpy(), counts))
    if len(set(values)) == 1:
        values = values[:1]
        counts = [sum(counts)]
    stretches = []
    longest: dict[str, int] = {}
    for value, group in itertools.groupby(zip(values, counts, strict=True), key=lambda run: run[0]):
        rows = sum(count for _, count in group)
        stretches.append((value, rows))
        longest[value] = max(rows, longest.get(value, 0))
    blocks = {}
    for value, rows in longest.items():
        blocks[value] = pa.repeat(pa.scalar(value, pa.large_string()), min(rows, BLOCK))
    chunks = []
    for value, rows in stretches:
        for begin in range(0, rows, BLOCK):
            chunks.append(blocks[value].slice(0, min(BLOCK, rows - begin)))
    return pa.chunked_array(chunks, pa.large_string()).to_pandas()


def _of_layouts(name: str, runs: Sequence[ScoredRun]) -> pd.Series:
    """A column of the layouts; one that a run does not have is empty there."""
    import pyarrow as pa

    layouts = {run.layout.digest: run.layout.rows for run in runs}
    fields = [rows.select([name]).schema for rows in layouts.values() if name in rows.column_names]
    kind = pa.unify_schemas(fields, promote_options="permissive").field(name).type
    chunks = {}
    for digest, rows in layouts.items():
        if name in rows.column_names:
            chunks[digest] = rows[name].combine_chunks().cast(kind)
        else:
            chunks[digest] = pa.nulls(len(rows), kind)
    return pa.chunked_array([chunks[run.layout.digest] for run in runs], kind).to_pandas()


def _scored_by(runs: Sequence[ScoredRun]) -> pd.Series:
    """The metric by which each row's split is scored."""
    import pyarrow as pa

    chunks = {}
    for run in runs:
        key = (run.layout.digest, run.told)
        if key not in chunks:
            metrics = [run.told.on(role) for role in run.layout.rows["role"].to_pylist()]
            chunks[key] = pa.array(metrics, pa.large_string())
    in_order = [chunks[run.layout.digest, run.told] for run in runs]
    return pa.chunked_array(in_order, pa.large_string()).to_pandas()


# --- what is kept


@functools.cache
def code_digest() -> str:
    """Names the code that makes rows of files: what another code made is not taken."""
    here = Path(__file__).parent
    house = here.parent
    content = hashlib.blake2b(digest_size=12)
    for file in sorted([*here.glob("*.py"), *house.glob("*.py"), house / "data/splits.py"]):
        content.update(file.read_bytes())
    return content.hexdigest()


def _is_settled(run: ScoredRun, now: int) -> bool:
    """Whether its files are so old that writing them again gives them other stamps."""
    return all(now - max(stamp[2:]) > SETTLED for stamp in run.stamps)


def _keep(key: Mapping[str, Any], parent: Path, runs: Sequence[ScoredRun]) -> None:
    """Write what was read of the runs in a folder into the cache."""
    place: dict[str, int] = {}
    layouts = {run.layout.digest: run.layout for run in runs}
    contents = []
    lengths = []
    for number, layout in enumerate(layouts.values()):
        place[layout.digest] = number
        contents.append(_content(layout.rows))
        lengths.append(len(contents[-1]))
    columns = {name: [run.about[name] for run in runs] for name in (*BEFORE, *BEHIND)}
    said = {
        "layouts": [[layout.digest, layout.columns] for layout in layouts.values()],
        "lengths": lengths,
        "about": columns,
        "told": [[run.told.reference, run.told.shift, run.told.together] for run in runs],
    }
    arrays = {
        "numbers": np.concatenate([run.numbers for run in runs], axis=1),
        "counts": np.array([run.numbers.shape[1] for run in runs]),
        "places": np.array([place[run.layout.digest] for run in runs]),
        "stamps": np.array([run.stamps for run in runs]),  # (N, files, 4)
        "layouts": np.frombuffer(b"".join(contents), np.uint8),
        "said": np.frombuffer(json.dumps(said).encode(), np.uint8),
    }
    default_cache().replace(KIND, f"scores of the runs in {parent.name}", key, arrays)


def _kept(key: Mapping[str, Any], parent: Path) -> dict[str, ScoredRun]:
    """What is kept of the runs in a folder, by name; their files may be others by now."""
    arrays = default_cache().find(KIND, key)
    if arrays is None:
        return {}
    said = json.loads(arrays["said"].tobytes())
    layouts = list(_layouts_of(arrays["layouts"].tobytes(), said))
    stamps = arrays["stamps"].tolist()
    places = arrays["places"].tolist()
    ends = np.cumsum(arrays["counts"]).tolist()
    runs = {}
    first = 0
    for number, values in enumerate(zip(*said["about"].values(), strict=True)):
        own = dict(zip(said["about"], values, strict=True))
        rows = arrays["numbers"][:, first : ends[number]]
        first = ends[number]
        runs[own["run"]] = ScoredRun(
            RunFolder(parent / own["run"]),
            own,
            ScoredBy(*said["told"][number]),
            layouts[places[number]],
            rows,
            tuple(map(tuple, stamps[number])),
        )
    return runs


def _layouts_of(content: bytes, said: Mapping[str, Any]) -> Iterator[Layout]:
    import pyarrow as pa

    first = 0
    for (digest, columns), length in zip(said["layouts"], said["lengths"], strict=True):
        with pa.ipc.open_stream(content[first : first + length]) as stream:
            yield Layout(digest, stream.read_all(), tuple(columns))
        first += length


def _content(rows: pa.Table) -> bytes:
    """A table as bytes; equal ones for equal tables."""
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as stream:
        stream.write_table(rows)
    return sink.getvalue().to_pybytes()
