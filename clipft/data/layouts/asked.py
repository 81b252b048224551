"""What a reader of a layout is asked, and what it answers."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ...disk.inside import leads_out
from ...errors import ClipftError, ConfigError, first_line, unknown
from ..folders import listed
from ..found import LeftOut
from ..walks import walk


@dataclass(frozen=True)
class Asked:
    """A domain of a data set, as its manifest has it.

    place: of the files of this domain. inside: the same as seen from the data set's root, which
    paths begin with; "" for the root itself. folders: class folder -> label. heading: of the data
    set, for errors. cache: where images that lie in arrays are taken out to, and what their paths
    are seen from.
    """

    place: Path
    inside: str
    domain: str
    folders: Mapping[str, int]
    heading: str
    cache: Path = Path()

    def file(self, *parts: str) -> Path:
        """A file or folder of the domain; raises ConfigError where it is not there."""
        path = self.place.joinpath(*parts)
        if not path.exists():
            wanted = f"wanted: {self.heading} as its card says, see clipft datasets"
            raise ConfigError(f"no {path}; {wanted}")
        return path

    def path(self, below: str) -> str:
        """A path below the domain's folder as one below the root.

        Raises ConfigError for one that leads out of it, or that no file can have.
        """
        if leads_out(below) or "\0" in below:
            fault = f"{self.heading}: a file of it names {below!r:.80}, out of {self.place}"
            raise ConfigError(f"{fault}; wanted: the files as they were published")
        return f"{self.inside}/{below}" if self.inside else below

    def label(self, folder: str, where: Path) -> int:
        """The label of a class folder; raises ConfigError where there is no such class."""
        if folder not in self.folders:
            raise ConfigError(f"{where}: {unknown('class', folder, self.folders)}")
        return self.folders[folder]

    def without_image(self, rows: Rows) -> list[str]:
        """The class folders of which there is no row, in the order of labels."""
        there = set(rows.labels)
        return [folder for folder, label in self.folders.items() if label not in there]

    def check_every_class(self, rows: Rows, where: Path) -> None:
        """Raise ConfigError where a class has no row."""
        missing = self.without_image(rows)
        if missing:
            wanted = f"wanted: {self.heading} as its card says, see clipft datasets"
            raise ConfigError(f"{where} has no image of {listed(missing)}; {wanted}")


@dataclass
class Rows:
    """The images of one part: paths below the root, labels, and groups where there are any."""

    ids: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what a person should know, a line each
    border: int = 0  # pixels of each image that are cut off at each side
    # labels that count as the first of them: one class here, several of the data set
    alike: tuple[tuple[int, ...], ...] = ()

    def add(self, path: str, label: int, group: str | None = None) -> None:
        """Add an image."""
        self.ids.append(path)
        self.labels.append(label)
        if group is not None:
            self.groups.append(group)


Reader = Callable[[Asked], dict[str, Rows]]  # part -> its rows


def class_folders(
    asked: Asked, *parts: str, label_of: Callable[[str], int | None] | None = None
) -> Rows:
    """The images of a folder of class folders, in the order of labels and then of paths.

    label_of: makes a label of a class folder, None where it is left out; else it is looked up in
    `asked`. Raises ConfigError for a folder of no class, and where there is no image.
    """
    top = asked.file(*parts)
    found = walk(top)
    runs, outside = _runs_of_folders(found.images)
    labelled = []
    for folder, run in runs:
        label = asked.label(folder, top / folder) if label_of is None else label_of(folder)
        if label is not None:
            labelled.append((label, run))
    if not labelled:
        raise ConfigError(f"no image in a class folder of {top}")

    before = "/".join([*filter(None, [asked.inside]), *parts, ""])
    rows = Rows(notes=notes_on(top, found.left_out, outside))
    # Paths of folders of one label stay in order: runs are.
    for label, run in sorted(labelled, key=lambda pair: pair[0]):
        rows.ids += [before + image for image in found.images[run]]
        rows.labels += [label] * (run.stop - run.start)
    return rows


def _runs_of_folders(images: Sequence[str]) -> tuple[list[tuple[str, slice]], list[str]]:
    """((first folder, where its images are) in order, images in none), of sorted paths.

    By folders, since ImageNet has a thousand of them and a million images.
    """
    runs = []
    outside = []
    start = 0
    while start < len(images):
        folder, slash, _ = images[start].partition("/")
        if not slash:
            outside.append(images[start])
            start += 1
            continue
        # The sign behind the slash: all that begins with the folder sorts before it.
        stop = bisect_left(images, f"{folder}0", lo=start)
        runs.append((folder, slice(start, stop)))
        start = stop
    return runs, outside


@contextmanager
def in_known_form(file: Path) -> Iterator[None]:
    """Turn what goes wrong with the content of a data set's own file into one line.

    Raises ConfigError.
    """
    try:
        yield
    except ClipftError:
        raise
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        fault = f"{file} is not as it was published ({first_line(error)})"
        raise ConfigError(f"{fault}; wanted: the file as it was downloaded") from None


def notes_on(place: Path, left_out: LeftOut, outside: Sequence[str]) -> list[str]:
    """What is left out of a folder, a line for each kind."""
    notes = left_out.lines()
    if outside:
        notes.append(f"left out, in no class folder: {listed(outside)}")
    return [f"{place}: {note}" for note in notes]
