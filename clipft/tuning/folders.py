"""Folders here and there become one data set: what is tuned on, and shifts that lie elsewhere.

Images stay where they are: of several folders a table beside the manifest names each by its path.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.folders import WHOLE, Tree, class_key, listed
from ..data.found import find_images
from ..data.manifests import available
from ..data.own import OwnData, Source, default_name, new_manifest
from ..disk.files import write_text
from ..disk.inside import is_file_name
from ..errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..data.folders import Parts

WORDS_OF_COMMANDS = ("new", "check", "pack")  # that `clipft datasets` takes for no name
Row = tuple[str, str, str, str]  # path, label, split, domain


def data_name(folder: Path | str) -> str:
    """What the data set of a folder is called: as the folder, but never as one of clipft's own."""
    name = default_name(folder).replace(":", "_").lstrip(".")
    if name in available() or name in WORDS_OF_COMMANDS:
        return f"{name}_folder"
    return name


def own_data(
    folder: Path | str,
    shifts: Sequence[Path | str],
    out: Path,
    reference: str = "",
    made: str | Mapping[str, Any] = "",
) -> OwnData:
    """Write the manifest of a folder, and of labelled shifts that lie elsewhere; or take up the one
    that is there, which somebody may have edited.

    made: `made_shifts` of the manifest. Raises ConfigError where a folder cannot be read so, or a
    shift has classes of its own.
    """
    name = data_name(folder)
    if not shifts:
        return new_manifest(name, folder, reference, out, keep_edited=True, made_shifts=made)

    table = out / f"{name}.csv"
    reference, rows = _rows(Path(folder), [Path(shift) for shift in shifts], name, reference)
    text = _as_csv(rows)
    if not table.is_file() or table.read_text(encoding="utf-8") != text:
        write_text(table, text)
    return new_manifest(name, "", reference, out, table=table, keep_edited=True, made_shifts=made)


def _as_csv(rows: Sequence[Row]) -> str:
    """The rows as a table, each text as it is."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "label", "split", "domain"])
    writer.writerows(rows)
    return text.getvalue()


@dataclass(frozen=True)
class _Domain:
    """The images of one domain by part and class folder, below a root."""

    name: str
    root: Path
    parts: Parts

    def classes(self) -> dict[str, str]:
        """Class key -> its folder, as it is called where it comes first."""
        folders: dict[str, str] = {}
        for classes in self.parts.values():
            for folder in classes:
                folders.setdefault(class_key(folder), folder)
        return folders

    def rows(self, whole: str) -> Iterator[Row]:
        """A row an image; whole: the part of those whose folders name none."""
        for part, classes in self.parts.items():
            for folder, images in classes.items():
                for image in images:
                    path = str(self.root.resolve() / image)
                    yield path, folder, whole if part == WHOLE else part, self.name


def _rows(folder: Path, shifts: Sequence[Path], name: str, reference: str) -> tuple[str, list[Row]]:
    """(what is tuned on, a row for each image of all folders)."""
    _check_apart([folder, *shifts])
    found = _domains(folder, name)
    tuned_on = _reference(folder, found, reference)
    others = [domain for domain in found if domain is not tuned_on]
    elsewhere = [domain for shift in shifts for domain in _domains(shift, name)]
    for domain in elsewhere:
        _check_classes(domain, tuned_on)
    domains = _apart([tuned_on, *others, *elsewhere])

    rows: list[Row] = []
    for domain in domains:
        rows += domain.rows("train" if domain.name == domains[0].name else "test")
    return domains[0].name, rows


def _domains(folder: Path, name: str) -> list[_Domain]:
    """The domains of a folder: one, called as the folder, unless it has a folder for each."""
    tree = Source.find(folder, "").tree(name)
    if "{domain}" in tree.layout:
        return [_Domain(domain, tree.root, parts) for domain, parts in tree.domains.items()]
    return [_Domain(_name_of(folder), tree.root, parts) for parts in tree.domains.values()]


def _name_of(folder: Path) -> str:
    """A domain is called as its folder."""
    name = default_name(folder)
    if not is_file_name(name):
        raise ConfigError(f"{folder}: {name!r} cannot be the name of a domain; rename the folder")
    return name


def _reference(folder: Path, domains: Sequence[_Domain], reference: str) -> _Domain:
    """The domain that is tuned on; raises ConfigError where that is a guess."""
    names = [domain.name for domain in domains]
    if not reference and len(domains) == 1:
        return domains[0]
    if reference not in names:
        got = f"it has no {reference}" if reference else "which one is tuned on is not said"
        wanted = f"wanted: --reference, e.g. {names[0]}"
        raise ConfigError(f"{folder} holds {', '.join(names)}, and {got}; {wanted}")
    return domains[names.index(reference)]


def _check_apart(folders: Sequence[Path]) -> None:
    """Raise ConfigError where one folder is given twice, or lies in another one."""
    places = [folder.expanduser().resolve() for folder in folders]
    for number, place in enumerate(places):
        for other in places[number + 1 :]:
            if place == other:
                raise ConfigError(f"{place} is given twice; wanted: each folder once")
            if other.is_relative_to(place) or place.is_relative_to(other):
                way = "wanted: folders beside each other, or one folder with a folder a domain"
                raise ConfigError(f"of {place} and {other} one lies in the other; {way}")


def _check_classes(domain: _Domain, reference: _Domain) -> None:
    """Raise ConfigError where a shift has class folders that are no class of the reference."""
    known = reference.classes()
    own = domain.classes()
    others = [folder for key, folder in own.items() if key not in known]
    if not others:
        return
    count = f"{len(others)} of the {len(own)} class folders of {domain.name}"
    wanted = f"wanted: its classes alone, {listed(sorted(known.values()))}"
    raise ConfigError(
        f"{count} are no class of {reference.name}: {listed(sorted(others))}; {wanted}"
    )


def _apart(domains: Sequence[_Domain]) -> list[_Domain]:
    """Domains with names that differ: of two alike the later one is called by its parent, too."""
    named: dict[str, _Domain] = {}
    for domain in domains:
        name = domain.name
        if name in named:
            name = f"{domain.root.resolve().parent.name}_{name}"
        if name in named:
            raise ConfigError(f"two domains are called {name}; rename one of the folders")
        named[name] = _Domain(name, domain.root, domain.parts)
    return list(named.values())


def check_unlabelled(folders: Sequence[Path | str]) -> None:
    """Raise ConfigError where a folder without labels is not there, or holds no image; and where
    two have one name.
    """
    names = [Path(folder).expanduser().resolve().name for folder in folders]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"--unlabelled: two folders are called {name}; rename one of them")
    for given in folders:
        folder = Path(given).expanduser()
        if not folder.is_dir():
            raise ConfigError(f"--unlabelled: no folder {folder}; wanted: a folder of images")
        if not find_images(folder).images:
            raise ConfigError(f"--unlabelled: no image under {folder}; wanted: a folder of images")


def check_shifts(folders: Sequence[Path | str]) -> None:
    """Raise ConfigError where a folder of labelled shifted images is not there, or holds none."""
    for given in folders:
        folder = Path(given).expanduser()
        if not folder.is_dir():
            raise ConfigError(f"--shift: no folder {folder}; wanted: a folder of class folders")
        Tree.read(folder)


def check_places(
    labelled: Sequence[Path | str], unlabelled: Sequence[Path | str], out: Path
) -> None:
    """Raise ConfigError where `out` lies among the images, or what is chosen on among what is
    reported: no page could say then that nothing was chosen on that.
    """
    place = out.resolve()
    for given in (*labelled, *unlabelled):
        if place.is_relative_to(given):
            wanted = "wanted: --out with a folder that lies elsewhere"
            raise ConfigError(f"{out} lies among the images of {given}; {wanted}")
    for images in map(Path, unlabelled):
        for other in map(Path, labelled):
            if images.is_relative_to(other) or other.is_relative_to(images):
                fault = f"--unlabelled {images} shares images with {other}, which is reported"
                raise ConfigError(f"{fault}; wanted: images that are chosen on alone")
