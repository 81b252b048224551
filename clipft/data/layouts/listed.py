"""Tables and lists that data sets bring along: read by column, and held against the files."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import ConfigError, first_line, unknown
from ..columns import distinct
from ..lists import Rows as ListedRows, read_text, repeats
from .asked import Asked, Rows

if TYPE_CHECKING:
    import pandas as pd


def read_columns(file: Path, wanted: Sequence[str]) -> pd.DataFrame:
    """Some columns of a CSV as texts; raises ConfigError where it is none, or has no such column.

    Row n of the frame is row n of the file's data, whatever is taken out later.
    """
    import pandas as pd

    try:
        frame = pd.read_csv(file, dtype=str, keep_default_na=False, skip_blank_lines=False)
    except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
        fault = f"{file} is no table: {first_line(error)}"
        raise ConfigError(f"{fault}; wanted: commas between {', '.join(wanted)}") from None
    for column in wanted:
        if column not in frame:
            has = ", ".join(map(str, frame.columns[:8]))
            fault = f"{file} has no column {column}, it has {has}"
            raise ConfigError(f"{fault}; wanted: {', '.join(wanted)}")
    return frame[list(wanted)]


def read_fields(file: Path, *, head: int = 0) -> list[list[str]]:
    """The words of each line of a text file, less the first `head` lines and empty ones."""
    lines = read_text(file).split("\n")[head:]
    return [line.split() for line in lines if line.strip()]


def whole_numbers(texts: pd.Series, file: Path) -> pd.Series:
    """A column as numbers from 0; raises ConfigError that names the first line with none."""
    bad = texts[~texts.str.fullmatch(r"\d{1,9}")]
    if len(bad):
        where = f"{file}:{bad.index[0] + 2}"  # lines count from 1, and the first is the header
        raise ConfigError(f"{where}: {texts.name} is {bad.iloc[0]!r:.40}; wanted: a number from 0")
    return texts.astype(int)


def check_words(texts: pd.Series, known: Iterable[str], file: Path) -> None:
    """Raise ConfigError that names the first line of a column with a word that is not known."""
    known = list(known)
    bad = texts[~texts.isin(known)]
    if len(bad):
        where = f"{file}:{bad.index[0] + 2}"
        raise ConfigError(f"{where}: {unknown(str(texts.name), bad.iloc[0], known)}")


def check_domain(asked: Asked, known: Iterable[str]) -> None:
    """Raise ConfigError where a layout has no such domain."""
    if asked.domain not in known:
        raise unknown(f"domain of {asked.heading}", asked.domain, known)


def check_images(asked: Asked, paths: Sequence[str], file: Path) -> None:
    """Raise ConfigError where images that a file names are not there: paths below the domain's."""
    names_in: dict[str, set[str]] = {}
    missing = []
    for path in paths:
        folder, name = posixpath.split(path)
        if folder not in names_in:
            place = asked.place / folder
            names_in[folder] = set(os.listdir(place)) if place.is_dir() else set()
        if name not in names_in[folder]:
            missing.append(path)
    if missing:
        count = f"{len(missing)} of {len(paths)} images of {file} are not there"
        wanted = f"wanted: {asked.heading} as its card says, whole"
        raise ConfigError(f"{count}, e.g. {asked.place / missing[0]}; {wanted}")


def checked(asked: Asked, file: Path, parts: Mapping[str, Rows]) -> dict[str, Rows]:
    """Parts whose paths lie below the domain's folder, as paths below the root.

    Raises ConfigError where an image is not there. A note says which rows repeat an image.
    """
    together = ListedRows()
    below_root = {}
    for part, rows in parts.items():
        below_root[part] = [asked.path(path) for path in rows.ids]
        together.ids += rows.ids
        together.labels += rows.labels
    together.distinct = distinct(together.ids)
    check_images(asked, together.ids, file)
    notes = [f"{file}: {note}" for note in repeats(together)]
    for part, rows in parts.items():
        rows.ids = below_root[part]
        rows.notes += notes
        notes = []  # said once
    return dict(parts)
