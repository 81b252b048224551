"""TODO: docstring."""

from __future__ import annotations

import base64
from pathlib import Path

from ..data.images import thumbnail
from ..data.manifests import load_manifest
from ..disk.files import atomic, read_json
from ..errors import ClipftError, RunError
from .folder import read_scores
from .sweep import Sweep

PACK = "thumbnails.parquet"  # beside the runs: their images in small, for a machine without the data set


class Thumbnails:
    """Small images of a run's data set as `data:` addresses: from the pack beside the runs, or the files; else none."""

    def __init__(self, sweep: Sweep):
        self.kept: dict[str, str | None] = {}
        self.pack, self.root = {}, None
        if sweep.folder is None:
            return
        digest = sweep.about.get("manifest_digest", "")
        if (file := sweep.folder.parent / PACK).exists():
            rows = read_scores(file, f"clipft thumbnails --runs {file.parent}")
            self.pack = dict(
                zip(*(rows[rows.manifest == digest][name] for name in ("id", "image")), strict=True)
            )
        try:
            self.root = load_manifest(sweep.about["manifest"]).place
        except ClipftError:
            return

    def __getitem__(self, name: str) -> str | None:
        """The address of one image's thumbnail, or None where neither pack nor file has it."""
        if name not in self.kept:
            image = self.pack.get(name) or (thumbnail(self.root / name) if self.root else None)
            self.kept[name] = image and f"data:image/webp;base64,{base64.b64encode(image).decode()}"
        return self.kept[name]


def pack_thumbnails(runs: Path | str) -> Path:
    """Write thumbnails of all scored images beside the runs, so that the folder can be explored without the data set.

    Raises RunError where there is no scored run; an image that cannot be read is left out and shows as a grey tile.
    """
    import pandas as pd

    from ..progress import progress_bar

    runs, wanted = Path(runs), {}
    for file in sorted(runs.glob("*/images.parquet")):
        about = read_json(file.parent / "config.json")
        for name in read_scores(file)["id"].astype(str).unique():
            wanted.setdefault((about["manifest_digest"], name), about["manifest"])
    if not wanted:
        raise RunError(f"no scored run under {runs}; score one: clipft wise RUN")
    roots = {manifest: load_manifest(manifest).root() for manifest in set(wanted.values())}
    rows = []
    for (digest, name), manifest in progress_bar(list(wanted.items()), "thumbnails", "image"):
        if image := thumbnail(roots[manifest] / name):
            rows.append((digest, name, image))
    with atomic(runs / PACK) as temporary:
        pd.DataFrame(rows, columns=["manifest", "id", "image"]).to_parquet(temporary)
    return runs / PACK
