"""What stays in its folder: names that become files, paths below a root, a run's own files.

A name is of one file or folder, whatever its text says. A path that somebody lists is seen from a
root and does not leave it. Links are another matter: a root may hold links to other disks, which
whoever owns it has put there, and these are followed; but nothing is written through one.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from ..errors import ConfigError, RunError

LONGEST = 200  # bytes of a name: file systems take 255, and endings come behind it
DRIVE = re.compile(r"[A-Za-z]:[/\\]")  # how a path of Windows begins
FORMULA = "=+@"  # what a table of numbers would compute


def is_file_name(name: str) -> bool:
    """Whether a text is the name of one file: not empty, no folder, no path, and not too long."""
    if name.strip() in ("", ".", "..") or set(name) & set("/\\"):
        return False
    return name.isprintable() and len(name.encode()) <= LONGEST


def check_file_name(name: str, of: str) -> str:
    """The name itself; raises ConfigError where it would leave its folder. of: what it names."""
    if not is_file_name(name):
        wanted = f"wanted: a name without a slash, of at most {LONGEST} letters"
        raise ConfigError(f"{of}: {name!r:.80} cannot be the name of a file; {wanted}")
    return name


def leads_out(path: str) -> bool:
    """Whether a path may lead out of the folder that it is seen from; no file is looked at."""
    if path.startswith(("/", "\\")) or DRIVE.match(path):
        return True
    # Behind a link `..` is elsewhere, however deep it stands.
    return ".." in path and ".." in re.split(r"[/\\]", path)


def check_own_files(folder: Path) -> None:
    """Raise RunError where a folder, or what lies in it, is a link out of the folder around it.

    That one may be a link to another disk, as folders of runs are.
    """
    around = os.path.realpath(folder.parent)
    places = [folder]
    if folder.is_dir():
        # Temporary names are new whenever they are written: none is written through.
        written = [entry for entry in os.scandir(folder) if not entry.name.endswith(".tmp")]
        places += [Path(entry.path) for entry in written if entry.is_symlink()]
    for place in places:
        real = os.path.realpath(place)
        if not real.startswith(f"{around}{os.sep}"):
            fault = f"{place} is a link to {real}, out of {folder.parent}"
            ways = "nothing is written through it: copy what it leads to, or name that folder"
            raise RunError(f"{fault}; {ways}")
