"""Files that hold the images themselves: these are taken out once, into the cache.

Read are the folders that Hugging Face's `datasets` writes (`save_to_disk`: arrow files), parquet
files with a column of images as its hub keeps them, and WebDataset's tars. `datasets` and
`webdataset` are not needed. All else reads files: after this a data set of this kind is a table of
image paths like any other.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import digest
from ..disk.files import atomic_folder, cache_dir, disk, read_foreign_json, read_json, write_json
from ..errors import ConfigError, first_line
from ..progress import progress_bar
from .folders import part_of
from .found import find_images
from .tables import CALLED, PARQUET, Table, class_labels, columns_of, names_in, texts_of
from .taken_out import numbered, stamp
from .tars import TARS, Sample, is_tar, names_beside, samples_of_tar

if TYPE_CHECKING:
    import pyarrow

    from .folders import Tree

FORMAT = 2  # of what was taken out; another number finds nothing of the old
ROWS = "rows.parquet"  # the table of what was taken out
ENDINGS = {  # the first bytes of an image file -> its ending
    b"\xff\xd8": ".jpg", b"\x89PNG": ".png", b"GIF8": ".gif", b"RIFF": ".webp", b"BM": ".bmp",
    b"II*\0": ".tif", b"MM\0*": ".tif",
}  # fmt: skip
FEWEST = 10  # images that all have labels of their own are those of captions
LABELS = "a column of labels, or 0001.cls, .json or .txt beside 0001.jpg"
BATCH = 256  # rows that are held in memory at once
LEFT_OUT = "left_out.json"  # what of it holds no image: why -> places
WANTED = "wanted: a folder of save_to_disk, parquet files with a column of images, or tars"
MARKS = ("dataset_dict.json", "dataset_info.json", "state.json")  # of a `datasets` folder


@dataclass(frozen=True)
class Shard:
    """A file of rows or samples, and the split that its place says; "" where it says none."""

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
    if source.is_dir() or is_tar(source):
        return True
    is_parquet = source.suffix.lower() in PARQUET and source.is_file()
    return is_parquet and bool(Shard(source, "").image_column())


def is_dataset_folder(folder: Path) -> bool:
    """Whether a folder is one of Hugging Face's `datasets`, or of parquet files or tars of images.

    Tars beside images are taken for their archives.
    """
    if any((folder / mark).is_file() for mark in MARKS):
        return True
    shards = shards_of(folder)
    tars = [shard for shard in shards if is_tar(shard.file)]
    if tars and find_images(folder).images:
        return False
    return bool(shards) and all(shard in tars or shard.image_column() for shard in shards)


def shards_of(source: Path) -> list[Shard]:
    """The files of rows in a folder, in order, and the split that each is of."""
    if not source.is_dir():
        return [Shard(source, _split_of(source.name))]
    splits = _saved_splits(source)
    shards = []
    endings = ("*.arrow", "*.parquet", *(f"*{ending}" for ending in TARS))
    for file in sorted(file for ending in endings for file in source.rglob(ending)):
        inside = file.relative_to(source)
        is_hidden = any(part.startswith(".") for part in inside.parts)
        if is_hidden or not file.is_file() or not _is_listed(file):
            continue
        named = [folder for folder in inside.parts[:-1] if part_of(folder) or folder in splits]
        split = named[0] if named else _split_of(file.name) or _saved(file, "_split")
        shards.append(Shard(file, split))
    return shards


def _split_of(name: str) -> str:
    """`train` of train-00000-of-00002.parquet and of imagenet-train-000000.tar."""
    return next((word for word in re.split(r"[-_.]", name) if part_of(word)), "")


def _saved_splits(folder: Path) -> list[str]:
    """The splits that `save_to_disk` wrote down."""
    file = folder / "dataset_dict.json"
    return list(read_foreign_json(file).get("splits", ())) if file.is_file() else []


def _saved(file: Path, key: str) -> Any:
    """What state.json beside a file of rows says; "" where there is none."""
    state = file.parent / "state.json"
    return (read_foreign_json(state).get(key) if state.is_file() else "") or ""


def _is_listed(file: Path) -> bool:
    """Whether state.json counts a file in; beside the rows lie caches of what was made of them."""
    listed = [row.get("filename") for row in _saved(file, "_data_files") or ()]
    return file.name in listed if listed else not file.name.startswith("cache-")


# --- taking the images out


def unpacked_place(source: Path, name: str) -> Path:
    """The folder in the cache for the images of a table, there or not; new where the table is."""
    if not source.exists():
        wanted = "mend table in the manifest, or set CLIPFT_DATA to the folder that holds"
        raise ConfigError(f"no table {source}; {wanted} {name}/{source.name}")
    stamps = []
    for shard in shards_of(source):
        stamps.append([shard.file.name, shard.split, *stamp(shard.file)])
    return cache_dir() / f"{name}-{digest([FORMAT, stamps], 8)}"


def unpack(source: Path, place: Path, *, outside: bool = False) -> Path:
    """Write the images of a table as files, and a table of their paths; once, with a bar.

    outside: whether a row may name an image out of the source's folder.
    """
    if place.is_dir():
        return place
    with atomic_folder(place, instead="set CLIPFT_CACHE to another folder") as temporary:
        rows = []
        imageless = []
        named = progress_bar(_samples(source, outside), f"images of {source.name}", "image")
        for number, sample in enumerate(named):
            if not sample.image:
                imageless.append(sample.where)
                continue
            ending = next((ENDINGS[mark] for mark in ENDINGS if sample.image.startswith(mark)), "")
            path = numbered(number, ending)
            file = temporary / path
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(sample.image)
            rows.append({"path": path, "where": sample.where} | sample.texts)
        if not rows:
            first = f"; {imageless[0]} holds no image" if imageless else ""
            raise ConfigError(f"{source} holds no row with an image{first}; {WANTED}")
        write_json(temporary / LEFT_OUT, _imageless(imageless) | _unlabelled(rows))
        _write_rows(temporary / ROWS, rows)
    return place


def _imageless(places: list[str]) -> dict[str, list[str]]:
    return {"without an image": places} if places else {}


def _unlabelled(rows: list[dict[str, str]]) -> dict[str, list[str]]:
    """Where rows without a label stand; takes these out of the rows.

    Raises ConfigError where all labels differ, as captions do.
    """
    places = [row["where"] for row in rows if not row.get("label")]
    rows[:] = [row for row in rows if row.get("label")]
    labels = {row["label"] for row in rows}
    if len(rows) == len(labels) >= FEWEST:
        captions = f"each of {len(rows)} images has a label of its own, e.g. {min(labels)!r:.80}"
        raise ConfigError(f"{captions}; wanted: the names or numbers of classes, no captions")
    if not rows:
        raise ConfigError(f"no image has a label, e.g. {places[0]}; wanted: {LABELS}")
    return {"without a label": places} if places else {}


def read_unpacked(source: Path, place: Path) -> Tree:
    """The rows of a table whose images were taken out."""
    tree = Table(place / ROWS, place).tree()
    for why, places in read_json(place / LEFT_OUT).items():
        for where in places:
            tree.left_out.add(why, where)
    return replace(tree, read_as=f"{tree.read_as}, with the images of {source}")


def _write_rows(file: Path, rows: list[dict[str, str]]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    purposes = [name for name in ("path", *CALLED) if any(name in row for row in rows)]
    columns = {name: [row.get(name, "") for row in rows] for name in dict.fromkeys(purposes)}
    parquet.write_table(pa.table(columns), file)


def _samples(source: Path, outside: bool) -> Iterator[Sample]:  # noqa: FBT001
    """The rows of all shards, with the split that the place of their shard says."""
    shards = shards_of(source)
    if not shards:
        raise ConfigError(f"{source}: no .arrow, .parquet or .tar file; {WANTED}")
    for shard in shards:
        if is_tar(shard.file):
            samples = samples_of_tar(shard.file, names_beside(shard.file, source))
        else:
            samples = _samples_of_table(shard, source, outside=outside)
        for sample in samples:
            split = {"split": shard.split} if shard.split else {}
            yield replace(sample, texts=sample.texts | split)


def _samples_of_table(shard: Shard, source: Path, *, outside: bool) -> Iterator[Sample]:
    import pyarrow as pa

    images = shard.image_column()
    if not images:
        columns = ", ".join(shard.schema.names)
        raise ConfigError(f"{shard.file}: no column of images among {columns}; {WANTED}")
    names = _class_names(shard)
    called = [name for name in shard.schema.names if name != images]
    columns = columns_of(called, shard.file, needed=("label",))
    if shard.split:
        columns["split"] = ""
    first = 0
    folder = source if source.is_dir() else source.parent
    for batch in shard.batches():
        table = pa.Table.from_batches([batch])
        texts = {
            purpose: texts_of(table, name, shard.file, names.get(name))
            for purpose, name in columns.items()
            if name and purpose != "path"
        }
        for position, image in enumerate(table[images].to_pylist()):
            row = {purpose: values[position] for purpose, values in texts.items()}
            where = f"{shard.file.name}: row {first + position}"
            yield Sample(row, _bytes_of(image, shard.file, folder, outside=outside), where)
        first += batch.num_rows


def _class_names(shard: Shard) -> dict[str, list[str]]:
    """Column -> the names of its numbers, from the file itself or dataset_info.json beside it."""
    info = shard.file.parent / "dataset_info.json"
    written = names_in(read_foreign_json(info).get("features")) if info.is_file() else {}
    return written | class_labels(shard.schema)


def _bytes_of(image: Any, shard: Path, folder: Path, *, outside: bool) -> bytes | None:
    """The content of an image's file, which is in the row or where the row says; None: nowhere.

    folder: which a path may not lead out of. Raises ConfigError for one that does.
    """
    if isinstance(image, bytes):
        return image
    content = (image or {}).get("bytes")
    path = (image or {}).get("path")
    if content is None and path:
        file = Path(os.path.normpath(shard.parent.absolute() / path))
        if not (outside or file.is_relative_to(os.path.normpath(folder.absolute()))):
            fault = f"{shard}: a row names {path}, which lies outside of {folder}"
            ways = "outside: true in the manifest, or clipft datasets new ... --outside"
            raise ConfigError(f"{fault}; if that is meant: {ways}")
        with disk(file):
            content = file.read_bytes()
    return content
