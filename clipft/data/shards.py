"""Tables that hold the images themselves: taken out into files once, into the cache.

Read are the folders that Hugging Face's `datasets` writes (`save_to_disk`: arrow files), and
parquet files with a column of images as its hub keeps them. `datasets` itself is not needed. All
else reads files: after this a data set of this kind is a table of image paths like any other.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import digest
from ..disk.files import atomic_folder, cache_dir, disk, read_json
from ..errors import ConfigError, first_line
from ..progress import progress_bar
from .folders import part_of
from .tables import PARQUET, Table, class_labels, columns_of, names_in, texts_of

if TYPE_CHECKING:
    import pyarrow

    from .folders import Tree

ROWS = "rows.parquet"  # the table of what was taken out
ENDINGS = {  # the first bytes of an image file -> its ending
    b"\xff\xd8": ".jpg", b"\x89PNG": ".png", b"GIF8": ".gif", b"RIFF": ".webp", b"BM": ".bmp",
    b"II*\0": ".tif", b"MM\0*": ".tif",
}  # fmt: skip
BATCH = 256  # rows that are held in memory at once
WANTED = "wanted: a folder of save_to_disk, or parquet files with a column of images"
MARKS = ("dataset_dict.json", "dataset_info.json", "state.json")  # of a `datasets` folder


@dataclass(frozen=True)
class Shard:
    """A file of rows, and the split that its place says; "" where it says none."""

    file: Path
    split: str

    @cached_property
    def schema(self) -> pyarrow.Schema:
        """Its columns."""
        from pyarrow import parquet

        with readable(self.file):
            if self.file.suffix.lower() in PARQUET:
                return parquet.read_schema(self.file)
            with _arrow(self.file) as reader:
                return reader.schema

    def batches(self) -> Iterator[pyarrow.RecordBatch]:
        """Its rows, some at a time."""
        from pyarrow import parquet

        with readable(self.file):
            if self.file.suffix.lower() in PARQUET:
                with parquet.ParquetFile(self.file) as opened:
                    yield from opened.iter_batches(BATCH)
                return
            with _arrow(self.file) as reader:
                for batch in reader:
                    for start in range(0, batch.num_rows, BATCH):
                        yield batch.slice(start, BATCH)

    def image_column(self) -> str:
        """What the column that holds whole images is called; "" where there is none."""
        import pyarrow as pa

        for column in self.schema:
            kind = column.type
            is_image = pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0
            if is_image or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
                return column.name
        return ""


@contextlib.contextmanager
def readable(file: Path) -> Iterator[None]:
    """Turn what pyarrow says of a file into one line; raises ConfigError."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise ConfigError(f"{file}: cannot be read: {first_line(error)}") from None


@contextlib.contextmanager
def _arrow(file: Path) -> Iterator[pyarrow.RecordBatchStreamReader]:
    import pyarrow as pa

    with pa.memory_map(str(file)) as opened, pa.ipc.open_stream(opened) as reader:
        yield reader


# --- which tables hold images


def is_packed(source: Path) -> bool:
    """Whether this is a folder of tables, or one table, that holds the images themselves."""
    if source.is_dir():
        return True
    is_parquet = source.suffix.lower() in PARQUET and source.is_file()
    return is_parquet and bool(Shard(source, "").image_column())


def is_dataset_folder(folder: Path) -> bool:
    """Whether a folder is one of Hugging Face's `datasets`, or of parquet files with images."""
    if any((folder / mark).is_file() for mark in MARKS):
        return True
    files = shards_of(folder)
    return bool(files) and all(shard.image_column() for shard in files)


def shards_of(source: Path) -> list[Shard]:
    """The files of rows in a folder, in order, and the split that each is of."""
    if not source.is_dir():
        return [Shard(source, _split_of(source.name))]
    splits = _saved_splits(source)
    shards = []
    for file in sorted([*source.rglob("*.arrow"), *source.rglob("*.parquet")]):
        inside = file.relative_to(source)
        is_hidden = any(part.startswith(".") for part in inside.parts)
        if is_hidden or not _is_listed(file):
            continue
        named = [folder for folder in inside.parts[:-1] if part_of(folder) or folder in splits]
        split = named[0] if named else _split_of(file.name) or _saved(file, "_split")
        shards.append(Shard(file, split))
    return shards


def _split_of(name: str) -> str:
    """`train` of train-00000-of-00002.parquet."""
    word = re.split(r"[-_.]", name)[0]
    return word if part_of(word) else ""


def _saved_splits(folder: Path) -> list[str]:
    """The splits that `save_to_disk` wrote down."""
    file = folder / "dataset_dict.json"
    return list(read_json(file).get("splits", ())) if file.is_file() else []


def _saved(file: Path, key: str) -> Any:
    """What state.json beside a file of rows says; "" where there is none."""
    state = file.parent / "state.json"
    return (read_json(state).get(key) if state.is_file() else "") or ""


def _is_listed(file: Path) -> bool:
    """Whether state.json counts a file in; beside the rows lie caches of what was made of them."""
    listed = [row.get("filename") for row in _saved(file, "_data_files") or ()]
    return not listed or file.name in listed


# --- taking the images out


def unpacked_place(source: Path, name: str) -> Path:
    """The folder in the cache for the images of a table, there or not; new where the table is."""
    if not source.exists():
        wanted = "mend table in the manifest, or set CLIPFT_DATA to the folder that holds"
        raise ConfigError(f"no table {source}; {wanted} {name}/{source.name}")
    stamps = []
    for shard in shards_of(source):
        state = shard.file.stat()
        stamps.append([shard.file.name, shard.split, state.st_size, state.st_mtime_ns])
    return cache_dir() / f"{name}-{digest(stamps, 8)}"


def unpack(source: Path, place: Path) -> Path:
    """Write the images of a table as files, and a table of their paths; once, with a bar."""
    if place.is_dir():
        return place
    with atomic_folder(place, instead="set CLIPFT_CACHE to another folder") as temporary:
        rows = []
        named = progress_bar(_rows(source), f"images of {source.name}", "image")
        for number, (row, image) in enumerate(named):
            ending = next((known for mark, known in ENDINGS.items() if image.startswith(mark)), "")
            path = f"{number // 1000:05d}/{number:07d}{ending}"
            file = temporary / path
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(image)
            rows.append({"path": path} | row)
        if not rows:
            raise ConfigError(f"{source} holds no row")
        _write_rows(temporary / ROWS, rows)
    return place


def read_unpacked(source: Path, place: Path) -> Tree:
    """The rows of a table whose images were taken out."""
    tree = Table(place / ROWS, place).tree()
    return replace(tree, read_as=f"{tree.read_as}, with the images of {source}")


def _write_rows(file: Path, rows: list[dict[str, str]]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.Table.from_pylist(rows), file)


def _rows(source: Path) -> Iterator[tuple[dict[str, str], bytes]]:
    """(its texts, the bytes of its image) of each row."""
    import pyarrow as pa

    shards = shards_of(source)
    if not shards:
        raise ConfigError(f"{source}: no .arrow or .parquet file; {WANTED}")
    for shard in shards:
        images = shard.image_column()
        if not images:
            columns = ", ".join(shard.schema.names)
            raise ConfigError(f"{shard.file}: no column of images among {columns}; {WANTED}")
        names = _class_names(shard)
        columns = columns_of(
            [name for name in shard.schema.names if name != images], shard.file, needed=("label",)
        )
        if shard.split:
            columns["split"] = ""
        for batch in shard.batches():
            table = pa.Table.from_batches([batch])
            texts = {
                purpose: texts_of(table, name, shard.file, names.get(name))
                for purpose, name in columns.items()
                if name
            }
            for position, image in enumerate(table[images].to_pylist()):
                row = {purpose: values[position] for purpose, values in texts.items()}
                split = {"split": shard.split} if shard.split else {}
                yield row | split, _bytes_of(image, shard.file)


def _class_names(shard: Shard) -> dict[str, list[str]]:
    """Column -> the names of its numbers, from the file itself or dataset_info.json beside it."""
    info = shard.file.parent / "dataset_info.json"
    written = names_in(read_json(info).get("features")) if info.is_file() else {}
    return written | class_labels(shard.schema)


def _bytes_of(image: Any, shard: Path) -> bytes:
    """The content of an image's file, which is in the row or where the row says."""
    if isinstance(image, bytes):
        return image
    content = (image or {}).get("bytes")
    path = (image or {}).get("path")
    if content is None and path:
        with disk(Path(path)):
            content = (shard.parent / path).read_bytes()
    if content is None:
        raise ConfigError(f"{shard}: a row holds no image; wanted: one in each row")
    return content
