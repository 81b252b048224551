"""Files that are whole or absent: every write goes to a temporary name, is fsynced, then renamed. Never pickle."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from ..config import digest
from ..errors import RunError, StorageError, WeightsError

if TYPE_CHECKING:
    import pandas as pd

    from ..data.splits import Weights


CONFIG_COLUMNS = (
    "manifest", "manifest_digest", "model", "model_digest", "method", "lr", "steps", "seed", "selection",
)  # fmt: skip


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
        raise RunError(f"{path} is missing or no file; is this the folder of a clipft run?") from None
    except ValueError:
        raise RunError(f"{path} is not valid JSON; delete the folder and run it again") from None


def write_weights(path: Path | str, weights: Weights, metadata: dict[str, str] | None = None) -> None:
    """Write tensors as safetensors, whole or not at all."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    with atomic(path) as temporary:
        try:
            save_file(tensors, temporary, metadata)
        except SafetensorError as error:  # its way to say that the disk refused
            raise OSError(str(error)) from None


def read_weights(path: Path | str) -> Weights:
    """Read safetensors; raises WeightsError where the file is missing, truncated or of another kind."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not Path(path).is_file():
        raise WeightsError(f"no weights file {path}")
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(
            f"{path} is truncated or no safetensors file ({error}); copy it again or train the run again"
        ) from None


def read_metadata(path: Path | str) -> dict[str, str]:
    """The strings stored beside the tensors of a safetensors file."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return file.metadata() or {}


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


@contextlib.contextmanager
def lock(folder: Path | str) -> Iterator[None]:
    """Hold a folder for this process; raises RunError at once when another process holds it."""
    folder = Path(folder)
    with disk(folder):
        folder.mkdir(parents=True, exist_ok=True)
        guard = FileLock(folder / ".lock")
        try:
            guard.acquire(timeout=0)
        except Timeout:
            raise RunError(f"{folder} is being written by another process; wait for it or stop it first") from None
    try:
        yield
    finally:
        guard.release()


def read_scores(path: Path | str, mend: str = "") -> pd.DataFrame:
    """A run's scores.parquet or images.parquet; raises RunError where it is damaged, with the command to `mend` it."""
    import pandas as pd

    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        reason = str(error).splitlines()[0]
        mend = mend or f"clipft wise {Path(path).parent}"
        raise RunError(f"{path} is damaged ({reason}); delete it, then: {mend}") from None


def _summary(folder: Path) -> pd.DataFrame:
    table = read_scores(folder / "scores.parquet")
    if "low" not in table:
        raise RunError(f"{folder}/scores.parquet is of an older clipft; score the run again: clipft wise {folder}")
    return table


def results(runs: Path | str) -> pd.DataFrame:
    """Every finished run under a folder as one tidy table: one row per run, alpha, split and metric.

    Columns: run, recipe (all of the configuration but the seed, as 6 letters), those of CONFIG_COLUMNS, then reference,
    alpha, split, role, metric, mean, low, high (95 % bootstrap over images), n. The method of a combination is, say,
    `lipsum+tpgm`; its lr and steps are those of its first run. Unfinished runs are left out and listed in
    `.attrs["unfinished"]`. Raises RunError where there is no finished run.
    """
    import pandas as pd

    tables, unfinished = [], []
    for config_file in sorted(Path(runs).glob("*/config.json")):
        folder = config_file.parent
        if not (folder / "scores.parquet").exists():
            unfinished.append(folder.name)
            continue
        config = read_json(config_file)
        if not isinstance(config, dict) or not set(CONFIG_COLUMNS) <= config.keys():
            raise RunError(f"{config_file} is no run's configuration; delete the folder and run it again")
        table = _summary(folder)
        after = config.pop("after", None)
        recipe = {key: value for key, value in config.items() if key != "seed"}
        if after is not None:  # of which runs is left out: they carry the seed
            config["method"] = "+".join([config["method"], *after["of"], after["name"]])
            recipe["after"] = [config["method"], after["options"], after["among"]]
        for column, key in enumerate(CONFIG_COLUMNS):
            table.insert(column, key, config[key])
        table.insert(0, "recipe", digest(recipe, 6))
        table.insert(0, "run", folder.name)
        tables.append(table)
    if not tables:
        raise RunError(f"no scored run under {runs}; train one: clipft train, or score one: clipft evaluate RUN")
    table = pd.concat(tables, ignore_index=True)
    table.attrs["unfinished"] = unfinished
    return table
