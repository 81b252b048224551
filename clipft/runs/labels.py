"""A run's name, tags and note: what people call it, beside its id. No setting, no identity."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from string import hexdigits
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError
from .folder import RunFolder, folders_of, run_folders

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from .run import Run

LABEL_COLUMNS = ("name", "tags")  # of a table of results
WORD = re.compile(r"\w[\w.-]{0,63}")  # a name, or a tag: no path and no HTML
LONGEST_NOTE = 10_000  # letters


@dataclass(frozen=True)
class Label:
    """What people call a run: name, tags in order of letters, note; each may be empty."""

    name: str = ""
    tags: tuple[str, ...] = ()
    note: str = ""

    @classmethod
    def of(cls, folder: RunFolder) -> Label:
        """What lies in a run's folder; what is no label in it is left out."""
        recorded = folder.label()
        tags = recorded.get("tags")
        words = tags if isinstance(tags, list) else []
        name = str(recorded.get("name"))
        note = recorded.get("note")
        return cls(
            name=name if "name" in recorded and _is_word(name) else "",
            tags=tuple(sorted({word for word in words if _is_word(word)})),
            note=note[:LONGEST_NOTE] if isinstance(note, str) else "",
        )

    def columns(self) -> dict[str, str]:
        """The values of LABEL_COLUMNS; tags are one text, with a blank between two."""
        return {"name": self.name, "tags": " ".join(self.tags)}

    def write(self, folder: RunFolder) -> None:
        """Leave it in the run's folder."""
        folder.write_label({"name": self.name, "tags": list(self.tags), "note": self.note})


def label(
    run: Run | RunFolder | Path | str,
    *,
    name: str | None = None,
    note: str | None = None,
    add: Iterable[str] = (),
    remove: Iterable[str] = (),
) -> Label:
    """Name a run, note something about it, add tags or remove them; returns its label.

    It lies in the run's folder, in a file of its own: no result and no id depends on it. A run is
    then found by its name, `Run.open("runs/my-name")`, and by a tag,
    `results("runs", where={"tags": "good"})`. Of two that label one run at once the later one
    stands.

    Arguments:
        run: a Run, its folder, its name, or the first letters of its id; finished or not.
        name: letters, digits, `_`, `-` and `.`; "" takes it away, None leaves it.
        note: any text; "" takes it away, None leaves it.
        add: tags, words like a name.
        remove: tags; one that the run does not have is no fault.

    Returns:
        name, tags and note.

    Raises:
        ConfigError: for a name or tag of other letters, a name that could be the beginning of an
            id, or that another run of the folder has.
        RunError: where there is no such run.

    Example:
        >>> run = clipft.open_runs("runs")[0]
        >>> clipft.label(run, name="first-try", add=["good"]).tags
        ('good',)
        >>> clipft.Run.open("runs/first-try").id == run.id
        True
        >>> clipft.label(run, name="", remove=["good"]).tags
        ()
    """
    (folder,) = folders_of([run])
    given = Label.of(folder)
    if name:
        _check_name(name, folder)
    if note is not None and len(note) > LONGEST_NOTE:
        raise ConfigError(f"a note of {len(note)} letters; at most {LONGEST_NOTE} are kept")
    tags = (set(given.tags) | {_checked(tag, "tag") for tag in add}) - set(remove)
    changes: dict[str, Any] = {"tags": tuple(sorted(tags))}
    if name is not None:
        changes["name"] = name
    if note is not None:
        changes["note"] = note
    changed = replace(given, **changes)
    if changed != given:
        changed.write(folder)
    return changed


def _is_word(given: Any) -> bool:
    return isinstance(given, str) and WORD.fullmatch(given) is not None


def _checked(word: str, kind: str) -> str:
    if not _is_word(word):
        wanted = "wanted: at most 64 letters, digits, _, - and ., e.g. first-try"
        raise ConfigError(f"{word!r:.80} is no {kind} of a run; {wanted}")
    return word


def _check_name(name: str, folder: RunFolder) -> None:
    """Raise ConfigError for what is no name, or names something else already."""
    _checked(name, "name")
    if set(name) <= set(hexdigits):
        raise ConfigError(f"{name!r} could be the beginning of an id; wanted: another letter in it")
    for other in run_folders(folder.path.parent):
        taken = other.name if other.name == name else Label.of(other).name
        if taken == name and other.name != folder.name:
            raise ConfigError(f"{other} is called {name} already; wanted: another name")
