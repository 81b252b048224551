"""Names of classes from a text file, one a line: what `clipft predict --classes` is given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


def class_lines(file: Path) -> list[str]:
    """The names in order, without blanks around them; empty lines are passed over.

    Raises ConfigError where there is no such file or no name in it, a name stands twice, or the
    file is no UTF-8.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError:
        raise ConfigError(f"no file of classes {file}; wanted: a text, one class a line") from None
    except UnicodeDecodeError as error:
        place = f"byte {error.start} is not UTF-8"
        raise ConfigError(f"{file}: {place}; save it as UTF-8, one class a line") from None

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
