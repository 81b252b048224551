"""What comes with clipft to be run: notebooks and batch specs, in a checkout or in the wheel."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from ..errors import unknown

PACKAGE = Path(__file__).resolve().parent.parent
SPECS = "papermill_runs"  # the folder of specs, here as in a checkout


def shipped(folder: Literal["notebooks", "papermill_runs"]) -> Path:
    """The folder of the checkout, or its copy inside of an installed wheel."""
    inside = PACKAGE / folder
    return inside if inside.is_dir() else PACKAGE.parent / folder


def is_installed(path: Path) -> bool:
    """Whether it lies in an installed wheel, where nothing is written."""
    return path.resolve().is_relative_to(PACKAGE)


def find_spec(path: Path | str) -> Path:
    """The file of a batch spec: the path itself, or NAME of papermill_runs/NAME.yaml, where the one
    here goes before those that come with clipft. Raises ConfigError where there is none.
    """
    path = Path(path)
    if path.is_file():
        return path
    for folder in _folders():
        file = folder / f"{path}.yaml"
        if path.name == str(path) and file.is_file():
            return file
    raise unknown("batch spec", str(path), spec_names())


def spec_names() -> list[str]:
    """The names that `find_spec` knows."""
    return sorted({file.stem for folder in _folders() for file in folder.glob("*.yaml")})


def _folders() -> tuple[Path, Path]:
    return Path(SPECS), shipped("papermill_runs")


def home_of(specs: Path) -> Path:
    """Where what specs in a folder make and read lies: there, but for the wheel's in this folder,
    as in a checkout.
    """
    return Path(SPECS).absolute() if is_installed(specs) else specs
