"""Files that are whole or absent: written to a temporary name, fsynced, renamed. Never pickle."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import stat
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ..errors import ConfigError, RunError, StorageError
from ..parsing import (
    JSON_BYTES,
    YAML_BYTES,
    ParseError,
    PlainLoader,
    parse_json,
    parse_large_json,
    parse_yaml,
)
from .leftovers import remove_leftovers, temporary_prefix

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd


# Folders that this process holds (`lock`): path -> which file their lock is, by device and inode.
HELD: dict[str, tuple[int, int] | None] = {}
LOCK = ".lock"


def cache_dir() -> Path:
    """Where rendered data sets and all else that can be made again live: $CLIPFT_CACHE, if set."""
    from platformdirs import user_cache_path

    chosen = os.environ.get("CLIPFT_CACHE")
    return Path(chosen) if chosen else user_cache_path("clipft")


@contextlib.contextmanager
def disk(path: Path | str, instead: str = "choose another folder") -> Iterator[None]:
    """Turn what the operating system says of a path into one line, with what to do `instead`.

    Raises StorageError for every OSError within.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise StorageError(f"no such file or folder: {error.filename or path}") from None
    except OSError as error:
        refused = f"cannot write {path}: {_reason(error)}; nothing was damaged"
        raise StorageError(f"{refused}. Free some space or {instead}") from None


_WRITING: set[Path] = set()  # temporary files of this process


@contextlib.contextmanager
def atomic(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success fsync it and rename it, else remove it.

    Raises StorageError where the disk refuses; what lay at `path` is then as it was.
    """
    path = Path(path)
    with disk(path):
        check_held(path.parent)
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path.parent, path.name)
        prefix = temporary_prefix(path.name)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=prefix, suffix=".tmp")
        os.close(handle)
        temporary = Path(name)

        _WRITING.add(temporary)
        try:
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
            _WRITING.discard(temporary)


def is_writing() -> bool:
    """Whether a file is half written by this process."""
    return bool(_WRITING)


@contextlib.contextmanager
def atomic_folder(path: Path, instead: str = "choose another folder") -> Iterator[Path]:
    """Yield a temporary folder beside `path`; on success rename it, else remove it.

    Where another process was first, its folder stays. Nothing in it is fsynced.
    Raises StorageError where the disk refuses, with what to do `instead`.
    """
    with disk(path.parent, instead):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path.parent, path.name)
        prefix = temporary_prefix(path.name)
        name = tempfile.mkdtemp(dir=path.parent, prefix=prefix, suffix=".tmp")
        temporary = Path(name)

        try:
            yield temporary
            os.chmod(temporary, 0o755)
            try:
                os.rename(temporary, path)
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def staged_folder(path: Path, old: Sequence[str], new: Sequence[str]) -> Iterator[Path]:
    """Yield a temporary folder; on success its files are those of `path`, in place of `old` ones.

    old, new: names of files in the order in which they go. Without the first nobody reads the rest:
    it goes first and comes last, so that a kill between two files leaves none of both kinds. Other
    files in `path` stay. A folder that is not there yet is made beside and renamed.
    Raises StorageError where the disk refuses; what lay at `path` is then as it was.
    """
    path = path.resolve()
    if not path.is_dir():
        with atomic_folder(path) as temporary:
            yield temporary
        return

    with disk(path):
        remove_leftovers(path)
        # Inside: beside it may be another disk, or not ours to write.
        prefix = temporary_prefix("staged")
        temporary = Path(tempfile.mkdtemp(dir=path, prefix=prefix, suffix=".tmp"))
        try:
            yield temporary
            for name in old:
                (path / name).unlink(missing_ok=True)
            for name in reversed(new):
                if (temporary / name).exists():
                    os.replace(temporary / name, path / name)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def check_held(folder: Path) -> None:
    """Raise StorageError where a folder that this process holds is no longer the one it locked.

    Somebody removed it, and may have begun it anew: nothing of this process belongs there.
    """
    key = os.path.abspath(folder)
    if key not in HELD:
        return
    found = None
    with contextlib.suppress(OSError):
        status = (folder / LOCK).stat()
        found = (status.st_dev, status.st_ino)
    if found != HELD[key]:
        raise StorageError(
            f"{folder} was removed while it was written; nothing is written there any more,"
            " the same command begins anew"
        )


def check_target(path: Path | str, *, folder: bool = False) -> None:
    """Raise StorageError where no such file, or folder, could be written; nothing is written."""
    path = Path(path)
    with disk(path):
        if path.exists() and path.is_dir() != folder:
            kind = "folder" if path.is_dir() else "file"
            raise StorageError(f"cannot write {path}: a {kind} is there; choose another name")
        nearest = path
        while not nearest.exists():
            nearest = nearest.parent
        if nearest != path and not nearest.is_dir():
            raise StorageError(f"cannot write {path}: {nearest} is a file; choose another folder")
        if not os.access(nearest, os.W_OK):
            raise StorageError(f"cannot write {path}: not permitted; choose another folder")


def check_room(folder: Path, needed: int) -> None:
    """Raise StorageError where the disk of a folder, there or not, has fewer free bytes."""
    nearest = folder.absolute()
    while not nearest.exists():
        nearest = nearest.parent
    free = shutil.disk_usage(nearest).free
    if free < needed:
        room = f"{needed / 1e9:.2g} GB are needed in {folder}, {free / 1e9:.2g} GB are free"
        raise StorageError(f"{room}; free some space or choose another folder")


def write_text(path: Path | str, text: str) -> None:
    """Write a text file, whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path | str, content: Any) -> None:
    """Write JSON, whole or not at all."""
    write_text(path, json.dumps(content, indent=1) + "\n")


def write_parquet(
    path: Path | str, frame: pd.DataFrame, metadata: Mapping[str, str] | None = None
) -> None:
    """Write a table, whole or not at all; metadata: what the file says of itself."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(frame)
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), **(metadata or {})})
    with atomic(path) as temporary:
        pq.write_table(table, temporary)


# What a spreadsheet computes when it opens a CSV; a number with its sign is none.
FORMULA = re.compile(r"[=@\t\r]|[+-](?![\d\s.,%\[\]()eE±+-]*$)")


def write_csv(path: Path | str, table: pd.DataFrame) -> None:
    """Write a table as CSV, whole or not at all; a text that is a formula stands behind a '."""
    plain = table.copy(deep=False)
    for name in plain.columns:
        if any(_is_formula(value) for value in plain[name].unique()):
            texts = plain[name].astype(object)
            plain[name] = texts.map(lambda value: f"'{value}" if _is_formula(value) else value)
    write_text(path, plain.to_csv(index=False))


def _is_formula(value: Any) -> bool:
    return isinstance(value, str) and FORMULA.match(value) is not None


def append_json(path: Path | str, row: dict[str, Any]) -> None:
    """Add one line to a .jsonl file; raises StorageError where the disk refuses."""
    check_held(Path(path).parent)
    with disk(path), Path(path).open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def names_in(folder: Path) -> set[str]:
    """The names of what lies in a folder; none where there is no folder."""
    try:
        return set(os.listdir(folder))
    except OSError:
        return set()


def read_json(path: Path | str) -> Any:
    """Read JSON; raises RunError where it is missing, cut short, or beyond the limits."""
    try:
        return parse_json(_text_of(Path(path), JSON_BYTES))
    except OSError:
        raise RunError(
            f"{path} is missing or no file; is this the folder of a clipft run?"
        ) from None
    except ValueError as error:
        advice = "delete the folder and run it again"
        raise RunError(f"{path} is not valid JSON: {error}; {advice}") from None


def read_large_json(path: Path) -> Any:
    """JSON of any size that holds whole images: notebooks, figures; raises RunError as above."""
    try:
        return parse_large_json(_text_of(path, sys.maxsize))
    except OSError as error:
        raise RunError(f"cannot read {path}: {_reason(error)}") from None
    except ValueError as error:
        raise RunError(f"{path} is not valid JSON: {error}") from None


def read_foreign_json(path: Path) -> dict[str, Any]:
    """An object of JSON that others wrote; raises ConfigError where the file holds none."""
    try:
        content = parse_json(_text_of(path, JSON_BYTES))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {_reason(error)}") from None
    except ValueError as error:
        raise ConfigError(f"{path} is not valid JSON: {error}; copy it again") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds no JSON object; copy it again")
    return content


def file_digest(path: Path | str) -> str:
    """12 letters of the sha256 of a file's bytes; raises StorageError where it cannot be read."""
    with disk(path), Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


def read_jsonl(path: Path | str) -> list[dict[str, Any]]:
    """The rows of a .jsonl file, none without a file; lines cut short by a kill are left out."""
    rows: list[dict[str, Any]] = []
    if not Path(path).is_file():
        return rows

    with disk(path), Path(path).open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            with contextlib.suppress(ValueError):
                row = parse_json(line)
                if isinstance(row, dict):
                    rows.append(row)
    return rows


def read_yaml(path: Path, *, written: bool = False) -> Any:
    """Read YAML; raises ConfigError where it is missing, no YAML, or beyond the limits.

    written: numbers with an exponent are `Written`, with or without a point; else they are texts.
    """
    try:
        return parse_yaml(_text_of(path, YAML_BYTES), written=written)
    except FileNotFoundError:
        raise ConfigError(f"no such file: {path}") from None
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {_reason(error)}") from None
    except ValueError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from None


def _text_of(path: Path, largest: int) -> str:
    """The text of a file of at most so many bytes, without the mark that Windows puts before it.

    Raises OSError where there is no file, ParseError where it is larger or not UTF-8. Pipes and
    devices, which may have no end, are no files.
    """
    state = path.stat()
    if not stat.S_ISREG(state.st_mode):
        raise OSError(errno.EINVAL, "it is no file")
    if state.st_size > largest:
        wanted = f"wanted: at most {largest >> 20} MB"
        raise ParseError(f"it has {state.st_size / 1e6:.0f} MB; {wanted}")
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        byte = content[error.start]
        raise ParseError(f"line {line}: the byte 0x{byte:02x} is not UTF-8") from None


def quoting_hint(path: Path, keys: Sequence[str | int]) -> str:
    """How to write a text that YAML took for something else, and on which line; "" if unknown.

    keys: on the way to it, names and numbers, e.g. ("classes", 3).
    """
    try:
        node = yaml.compose(_text_of(path, YAML_BYTES), PlainLoader)
        for key in keys:
            if isinstance(key, int):
                node = node.value[key]
            else:
                node = next(value for name, value in node.value if name.value == key)
    except (OSError, ValueError, LookupError, AttributeError, StopIteration, yaml.YAMLError):
        return ""
    where = f"{path.name}:{node.start_mark.line + 1}"
    if not isinstance(node, yaml.ScalarNode):
        return f"; see {where}: quote a name that holds a colon"
    if not node.value:
        return f"; see {where}: there is nothing"
    return f"; quote it in {where}: {json.dumps(node.value, ensure_ascii=False)}"


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
