"""What a file of weights holds, whoever wrote it: every tensor by its name, and nothing is run.

A file is safetensors, a zip of TorchScript, or what torch.save wrote; a folder has one of them, or
parts with an index. Containers (`state_dict`, `model`, `ema`) become the first parts of a name.
"""

from __future__ import annotations

import argparse
import codecs
import collections
import contextlib
import datetime
import pathlib
import re
import types
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..disk.files import read_foreign_json
from ..disk.inside import is_file_name
from ..errors import ConfigError, WeightsError, first_line
from ..runs.model_names import OPEN_CLIP_CONFIG, TRANSFORMERS_CONFIG
from .huggingface import quick_gelu_of

Tensors = dict[str, Tensor]

INDEX = ".index.json"  # of weights in several parts
PART = re.compile(r"-\d{5}-of-\d{5}\.(safetensors|bin)$")
# In a folder, in the order of open_clip.
NAMES = (
    *("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors"),
    *("open_clip_pytorch_model.bin", "open_clip_pytorch_model.pth"),
    *("model.safetensors", f"model.safetensors{INDEX}"),
    *("pytorch_model.bin", f"pytorch_model.bin{INDEX}", "pytorch_model.pth", "model.pth"),
)
SUFFIXES = (".safetensors", ".bin", ".pth", ".pt", ".ckpt")
MOST_CODE = 1 << 24  # bytes; that of OpenAI's is a hundredth of it
BEGINNING = 16  # bytes of a file that are shown where it is a text
POINTER = b"version https://"[:BEGINNING]
SAYS_MODEL = ("name", "model", "arch", "model_name", "clip_model", "backbone")


@dataclass(frozen=True)
class Shape:
    """All tensors of a file by dotted names, and what the file says of its model beside them."""

    file: Path
    kind: str  # "safetensors", "TorchScript", ...
    tensors: Tensors
    quick_gelu: bool | None = None  # None: the file does not say
    notes: dict[str, str] = field(default_factory=dict)  # of SAYS_MODEL


def read_shape(path: Path | str) -> Shape:
    """Read a file of weights, or the one of a folder.

    Raises WeightsError where there is none, it is damaged, or it holds what would have to be run.
    """
    file = weights_file(Path(path).expanduser())
    if file.name.endswith(INDEX):
        return _read_parts(file)
    if _is_safetensors(file):
        return Shape(file, "safetensors", _by_safetensors(file), _beside(file))
    if _is_torchscript(file):
        return Shape(file, "TorchScript", _by_torchscript(file), _activation_of_code(file))
    content = _by_torch(file)
    tensors = dict(_tensors(content))
    notes = dict(_notes(content))
    says_quick_gelu = any("quickgelu" in note.lower() for note in notes.values())
    return Shape(file, "torch.save", tensors, says_quick_gelu or _beside(file), notes)


def weights_file(path: Path) -> Path:
    """The file itself, the index of all parts for one of them, or a folder's file of weights.

    Raises WeightsError where there is none, or a folder has several that nobody chose from.
    """
    if path.is_file():
        stem = PART.sub("", path.name)
        index = path.with_name(f"{stem}{path.suffix}{INDEX}")
        if stem != path.name and not index.is_file():
            raise WeightsError(f"{path} is one of several parts; bring {index.name} and the others")
        return index if stem != path.name else path
    if not path.is_dir():
        raise WeightsError(f"no weights file {path}")
    for name in NAMES:
        if (path / name).is_file():
            return path / name

    others = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES)
    others = [file for file in others if file.name != "head.safetensors"]
    if len(others) == 1:
        return others[0]
    listed = ", ".join(file.name for file in others[:3]) or "none"
    wanted = f"one of {', '.join(NAMES[:2])}, model.safetensors ..."
    raise WeightsError(
        f"{path} holds no file of weights to take; found: {listed}; wanted: {wanted}"
    )


def _read_parts(index: Path) -> Shape:
    """All parts that an index lists."""
    listed = read_foreign_json(index).get("weight_map")
    if not isinstance(listed, dict):
        raise WeightsError(f"{index} lists no parts under weight_map; copy it again")
    tensors: Tensors = {}
    if not all(isinstance(part, str) and is_file_name(part) for part in listed.values()):
        raise WeightsError(f"{index} lists parts that are not beside it; copy it again")
    parts = sorted(set(listed.values()))
    for part in parts:
        file = index.parent / part
        if not file.is_file():
            raise WeightsError(f"{index} lists {part}, which is not beside it; copy it again")
        read = _by_safetensors(file) if _is_safetensors(file) else dict(_tensors(_by_torch(file)))
        tensors.update(read)
    return Shape(index, f"{len(parts)} parts", tensors, _beside(index))


def _is_safetensors(file: Path) -> bool:
    """By its suffix, or by its first bytes: a length, then JSON."""
    with file.open("rb") as stream:
        start = stream.read(9)
    return file.suffix == ".safetensors" or (len(start) == 9 and start[8:] == b"{")


def _by_safetensors(file: Path) -> Tensors:
    try:
        return load_file(file)
    except (SafetensorError, OSError, ValueError) as error:
        raise _unreadable(file, error) from None


def _unreadable(file: Path, error: Exception) -> WeightsError:
    """What to say of a file that no library reads: what it is by its first bytes, or a reason."""
    with file.open("rb") as stream:
        start = stream.read(BEGINNING)
    if not start:
        return WeightsError(f"{file} is empty; copy it again")
    if start.startswith(POINTER):
        return WeightsError(f"{file} is a pointer of Git LFS, not the file itself: git lfs pull")
    if start.isascii() and start.translate(None, b"\r\n\t").decode().isprintable():
        fault = f"is a text, no file of weights; it begins with {start.decode()!r}"
        return WeightsError(f"{file} {fault}")
    reason = first_line(error)[:120]
    return WeightsError(f"{file} is truncated or no file of weights ({reason}); copy it again")


def _is_torchscript(file: Path) -> bool:
    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _by_torchscript(file: Path) -> Tensors:
    """The tensors of an archive as OpenAI releases them; its code is not called."""
    try:
        with warnings.catch_warnings(action="ignore"):  # torch calls the format old
            module = torch.jit.load(str(file), map_location="cpu")
    except (RuntimeError, OSError, ValueError) as error:
        raise WeightsError(f"cannot read the TorchScript {file}: {first_line(error)}") from None
    return {name: tensor.detach() for name, tensor in module.state_dict().items()}


def _activation_of_code(file: Path) -> bool | None:
    """Whether an archive's code has QuickGELU, x sigmoid(1.702 x), or GELU."""
    with zipfile.ZipFile(file) as archive:
        files = [file for file in archive.infolist() if file.filename.endswith(".py")]
        if sum(file.file_size for file in files) > MOST_CODE:
            return None
        code = b"".join(archive.read(file) for file in files)
    if b"gelu(" in code:
        return False
    return True if b"sigmoid(" in code else None


def _beside(file: Path) -> bool | None:
    """What the JSON beside a file says of its activation, or the file's own name."""
    readers = {OPEN_CLIP_CONFIG: _of_open_clip, TRANSFORMERS_CONFIG: quick_gelu_of}
    for name, read in readers.items():
        with contextlib.suppress(ConfigError):  # not there, or of anything else: it says nothing
            said = read(read_foreign_json(file.with_name(name)))
            if said is not None:
                return said
    return True if "quickgelu" in file.name.lower() else None


def _of_open_clip(config: Mapping[str, Any]) -> bool | None:
    inner = config.get("model_cfg", config)
    says = isinstance(inner, dict) and "embed_dim" in inner
    return bool(inner.get("quick_gelu", False)) if says else None


# --- torch.save, of which nothing is run

CORES = ("core", "_core")  # of numpy 1, of numpy 2
REFUSED = re.compile(r"GLOBAL ([\w.]+)")  # how torch names what it would have to run
# Two lines each, for a file that is a whole model, and for one with an object beside its tensors.
OF_MODEL = "torch.save(model.state_dict(), 'weights.pt')"
OF_CONTAINER = "torch.save(model['state_dict'], 'weights.pt')  # or the key that holds the tensors"


def _harmless() -> list[Any]:
    """What trainers keep beside weights and what is data alone: torch may make it."""
    posix, windows = pathlib.PurePosixPath, pathlib.PureWindowsPath
    paths = [posix, windows]
    for module in ("pathlib", "pathlib._local"):  # of Python 3.13
        paths += [(posix, f"{module}.PosixPath"), (windows, f"{module}.WindowsPath")]

    scalar = np.float64(0).__reduce__()[0]
    array = np.zeros(1).__reduce__()[0]
    arrays: list[Any] = [np.dtype, np.ndarray, codecs.encode]
    arrays += {type(np.dtype(code)) for code in np.typecodes["All"]}
    for core in CORES:
        arrays.append((scalar, f"numpy.{core}.multiarray.scalar"))
        arrays.append((array, f"numpy.{core}.multiarray._reconstruct"))

    plain = [argparse.Namespace, types.SimpleNamespace, set, frozenset]
    counts = [collections.Counter, collections.OrderedDict]
    times = [getattr(datetime, kind) for kind in ("datetime", "date", "time", "timedelta")]
    return [*plain, *counts, *times, datetime.timezone, *paths, *arrays]


def _by_torch(file: Path) -> Any:
    """What torch.save wrote, by torch's reader of data alone; raises WeightsError for all else."""
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            torch.serialization.safe_globals(_harmless()),
        ):
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch has one for every way in which a file can be wrong
        refused = REFUSED.search(str(error))
        if refused:
            raise WeightsError(_recipe(file, refused[1])) from None
        raise _unreadable(file, error) from None


def _recipe(file: Path, kind: str) -> str:
    """How to take the tensors out of a file that holds an object, where the object's code is."""
    kinds = [kind]
    with contextlib.suppress(Exception):  # an older format does not list them
        kinds += torch.serialization.get_unsafe_globals_in_checkpoint(file)
    whole_model = any("nn.modules" in kind for kind in kinds)

    fault = f"{file} holds an object ({kind}), not tensors alone, and clipft runs no pickle"
    first = f"model = torch.load({file.name!r}, weights_only=False)"
    return f"{fault}; where it was made: {first}; {OF_MODEL if whole_model else OF_CONTAINER}"


def _tensors(value: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor of nested containers, by its dotted name."""
    if isinstance(value, Tensor):
        yield name, value.detach()
    elif isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        yield name, torch.from_numpy(value)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _tensors(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _tensors(inner, f"{name}.{index}" if name else str(index))


def _notes(value: Any, depth: int = 0) -> Iterator[tuple[str, str]]:
    """What a trainer wrote of its model's name, beside the weights or among its arguments."""
    if isinstance(value, argparse.Namespace | types.SimpleNamespace):
        value = vars(value)
    if not isinstance(value, Mapping) or depth > 2:
        return
    for key, inner in value.items():
        if key in SAYS_MODEL and isinstance(inner, str):
            yield str(key), inner
        elif not isinstance(inner, Tensor):
            yield from _notes(inner, depth + 1)
