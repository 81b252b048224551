"""Files that are whole or absent: every write goes to a temporary name, is fsynced, then renamed. Never pickle."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from ..errors import ConfigError, RunError, StorageError


def cache_dir() -> Path:
    """Where rendered data sets and other things that can be made again live; $CLIPFT_CACHE overrides it."""
    from platformdirs import user_cache_dir

    return Path(os.environ.get("CLIPFT_CACHE") or user_cache_dir("clipft"))


@contextlib.contextmanager
def disk(path: Path | str, instead: str = "choose another folder") -> Iterator[None]:
    """Turn what the operating system says of a path into one line for the user, with what to do `instead`."""
    try:
        yield
    except FileNotFoundError as error:
        raise StorageError(f"no such file or folder: {error.filename or path}") from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise StorageError(
            f"cannot write {path}: {reason}; nothing was damaged. Free some space or {instead}"
        ) from None


@contextlib.contextmanager
def atomic(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success fsync it and rename it there, else remove it."""
    path = Path(path)
    with disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: Path | str, text: str) -> None:
    """Write a text file, whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path | str, content: Any) -> None:
    """Write JSON, whole or not at all."""
    write_text(path, json.dumps(content, indent=1) + "\n")


def read_json(path: Path | str) -> Any:
    """Read JSON; raises RunError where it is missing or cut short."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError:
        raise RunError(
            f"{path} is missing or no file; is this the folder of a clipft run?"
        ) from None
    except ValueError:
        raise RunError(f"{path} is not valid JSON; delete the folder and run it again") from None


def append_json(path: Path | str, row: dict[str, Any]) -> None:
    """Add one line to a .jsonl file."""
    with disk(path), open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def read_jsonl(path: Path | str) -> list[dict[str, Any]]:
    """The rows of a .jsonl file; lines cut short by a kill are left out."""
    rows = []
    for line in Path(path).read_text(encoding="utf-8").splitlines() if Path(path).exists() else []:
        with contextlib.suppress(ValueError):
            rows.append(json.loads(line))
    return rows


LOADER = getattr(
    yaml, "CSafeLoader", yaml.SafeLoader
)  # the same language, ten times faster where it was compiled


def read_yaml(path: Path) -> Any:
    try:
        return yaml.load(path.read_text(encoding="utf-8"), LOADER)
    except FileNotFoundError:
        raise ConfigError(f"no such file: {path}") from None
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {str(error).splitlines()[0]}") from None
