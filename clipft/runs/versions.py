"""The version of what clipft writes into a run's folder and its exports: older ones are read, newer
ones are refused in one line.

A number stands in config.json (`format`), in each parquet file, in a checkpoint and in the record
of an export, since a newer clipft may score a run that an older one trained.

- 1: no title and no copy of the manifest in a run; scores without the columns domain and part. What
  has no number is of this version.
- 2: all of `runs.folder`. Of a table of scores without intervals, which is older still, a line says
  that the run is to be scored again.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import RunError

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT = 2
FIRST = 1
KEY = "clipft.format"  # in the metadata of files
METADATA = {KEY: str(FORMAT)}


def check_version(found: Any, path: Path | str) -> None:
    """Raise RunError where a file is of a newer clipft, or says no version that is one."""
    if isinstance(found, str) and found.isdecimal():
        found = int(found)
    if not isinstance(found, int) or isinstance(found, bool) or found < FIRST:
        raise RunError(f"{path} says format {found!r:.40}, expected {FIRST} ... {FORMAT}")
    if found > FORMAT:
        newer = f"{path} is of a newer clipft (format {found}, this one reads up to {FORMAT})"
        raise RunError(f"{newer}; update clipft to read it")


def check_metadata(metadata: Mapping[bytes, bytes] | None, path: Path) -> None:
    """The same for a parquet file by its metadata."""
    said = (metadata or {}).get(KEY.encode())
    if said is not None:
        check_version(said.decode(errors="replace"), path)
