"""Names of classes from a text file, one a line: what `clipft predict --classes` is given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ConfigError
from .lists import read_text

if TYPE_CHECKING:
    from pathlib import Path


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
