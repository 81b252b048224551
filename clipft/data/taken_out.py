"""How images that were taken out of arrays, tables and tars lie in the cache."""

from __future__ import annotations

from pathlib import Path

PER_FOLDER = 1000


def numbered(number: int, ending: str) -> str:
    """The path of an image by its place in what it was taken out of: 00001/0001234.png."""
    return f"{number // PER_FOLDER:05d}/{number:07d}{ending}"


def stamp(file: Path) -> list[int]:
    """What tells that a file is another one now: its size and its time of change."""
    state = file.stat()
    return [state.st_size, state.st_mtime_ns]
