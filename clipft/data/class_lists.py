"""Names of classes from a text file, one a line: what `clipft predict --classes` is given; and the
lists that come with libraries.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import util
from pathlib import Path
from types import ModuleType

from ..errors import ConfigError
from .lists import read_text


def class_lines(file: Path) -> list[str]:
    """The names in order, without blanks around them; empty lines are passed over.

    Raises ConfigError where there is no such file or no name in it, a name stands twice, or the
    file is no text of UTF-8 or marked UTF-16.
    """
    if file.suffix.lower() in (".yaml", ".yml"):
        raise ConfigError(f"{file} is YAML; wanted: a text, one class a line")
    try:
        text = read_text(file)
    except OSError:
        raise ConfigError(f"no file of classes {file}; wanted: a text, one class a line") from None

    line_of: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        name = " ".join(line.split())
        if not name:
            continue
        if name in line_of:
            twice = f"{name!r} stands in lines {line_of[name]} and {number}"
            raise ConfigError(f"{file}: {twice}; leave one out")
        line_of[name] = number
    if not line_of:
        raise ConfigError(f"{file} names no class; wanted: one class a line")
    return list(line_of)


# --- lists of libraries; neither is imported, since both would bring torch


def imagenet_classes() -> list[dict[str, str]]:
    """The 1000 classes of ImageNet in the order of their synsets: OpenAI's names, as open_clip has
    them, and the folders.
    """
    names = _open_clip_names().IMAGENET_CLASSNAMES
    rows = zip(names, synsets("imagenet"), strict=True)
    return [{"name": name, "folder": folder} for name, folder in rows]


@cache
def synsets(name: str) -> tuple[str, ...]:
    """The sorted synsets of imagenet, imagenet_r or imagenet_a, from timm's files."""
    file = _package("timm") / "data" / "_info" / f"{name}_synsets.txt"
    if not file.is_file():
        raise ConfigError(f"no {file}; the classes of {name} are read there; try pip install timm")
    return tuple(file.read_text(encoding="utf-8").split())


@cache
def _open_clip_names() -> ModuleType:
    file = _package("open_clip") / "zero_shot_metadata.py"
    spec = util.spec_from_file_location("zero_shot_metadata", file)
    if spec is None or spec.loader is None or not file.is_file():
        raise ConfigError(f"no {file}; the names of ImageNet are read there")
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _package(name: str) -> Path:
    """The folder of an installed package."""
    spec = util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ConfigError(f"{name} is not installed; try pip install {name}")
    return Path(spec.origin).parent


LISTS: dict[str, Callable[[], list[dict[str, str]]]] = {"imagenet": imagenet_classes}
