"""JupyterLab, or Voila, on the stories: the notebooks that come with clipft."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import util
from pathlib import Path

from ..disk.files import write_text
from ..errors import ConfigError, MissingExtra
from .shipped import is_installed, shipped


def open_lab(
    folder: Path | None = None, options: Sequence[str] = (), *, voila: bool = False
) -> None:
    """Become JupyterLab on a folder of notebooks, or Voila; options are the server's own.

    The kernel `python3` is this interpreter, whatever kernels the user has. Without a folder:
    notebooks/ of the checkout; from an installed wheel a copy of them, made in ./notebooks.
    Raises MissingExtra where the server is not installed, ConfigError where no folder is there.
    """
    server = "voila" if voila else "jupyterlab"
    if util.find_spec(server) is None:
        raise MissingExtra(server, "voila" if voila else "notebooks")
    folder = (folder or stories()).resolve()
    if not folder.is_dir():
        raise ConfigError(f"no folder {folder}; wanted: a folder of notebooks")

    page = f"--LabApp.default_url=/lab/tree/{folder.name}"
    place = [f"--ServerApp.root_dir={folder.parent}", page]
    if voila:
        place = [str(folder)]
    environment = os.environ | {"JUPYTER_PREFER_ENV_PATH": "1"}
    environment.pop("CLIPFT_HEADLESS", None)  # a person looks: bars and sliders are alive
    os.execve(sys.executable, [sys.executable, "-m", server, *place, *options], environment)


def stories() -> Path:
    """The notebooks of the checkout, or a copy of the wheel's; what is there is not overwritten."""
    notebooks = shipped("notebooks")
    if not is_installed(notebooks):
        return notebooks

    copy = Path("notebooks").resolve()
    for file in sorted(notebooks.glob("*.ipynb")):
        if not (copy / file.name).exists():
            write_text(copy / file.name, file.read_text(encoding="utf-8"))
    return copy
