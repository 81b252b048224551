"""Small images of a run's data set: packed beside the runs, or made of its files."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..data.images import thumbnail
from ..data.made_shifts import apart, key_of
from ..data.splits import Decoding
from ..disk.files import write_parquet
from ..disk.inside import leads_out
from ..errors import ClipftError, RunError
from ..progress import progress_bar
from .folder import THUMBNAILS, RunFolder, read_scores, run_folders
from .run import Run
from .versions import METADATA

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..data.made_shifts import Made
    from .sweep import Sweep

LARGE = 640  # pixels of the longer side of an image that is opened


def read_as(decoding: Decoding, made: Mapping[str, Made], domain: str, image: str) -> Decoding:
    """How an image is read that is shown as one of a made domain, or as it is."""
    return replace(decoding, made=made.get(domain)).of(image)


class Thumbnails:
    """Small images as `data:` addresses: from the pack beside the runs, or the files, else none.

    They are asked for by `made_shifts.key_of`: an image, or what a made shift makes of it.
    """

    def __init__(self, sweep: Sweep):
        self._packed: dict[str, bytes] = {}
        self._addresses: dict[str, str | None] = {}
        self._root: Path | None = None
        self._outside = False
        self._decoding = Decoding()
        self._made: Mapping[str, Made] = {}
        if sweep.folder is None:
            return
        self._packed = _packed(RunFolder(sweep.folder), sweep.about.get("manifest_digest", ""))
        try:
            manifest = Run.open(sweep.folder).manifest
            self._root = manifest.place
            self._decoding = manifest.decoding
            self._made = manifest.made
            self._outside = manifest.outside
        except ClipftError:  # the pack has to do
            return

    def __getitem__(self, name: str) -> str | None:
        """The address of one image's thumbnail, or None where neither pack nor file has it."""
        if name not in self._addresses:
            self._addresses[name] = self._address(name)
        return self._addresses[name]

    def _address(self, name: str) -> str | None:
        image = self.bytes_of(name)
        if image is None:
            return None
        return f"data:image/webp;base64,{base64.b64encode(image).decode()}"

    def bytes_of(self, name: str) -> bytes | None:
        """One image's thumbnail as a WebP; None where neither pack nor file has it."""
        image = self._packed.get(name)
        found = self._file(name)
        if image is None and found is not None:
            image = thumbnail(*found)
        return image

    def large(self, name: str) -> bytes | None:
        """One image as a WebP as large as a page shows it; None where its file is not at hand."""
        found = self._file(name)
        return None if found is None else thumbnail(*found, LARGE)

    def _file(self, name: str) -> tuple[Path, Decoding] | None:
        """Where an image lies and how it is read, unless that leads out of the data set."""
        domain, image = apart(name)
        is_inside = self._outside or not leads_out(image)
        if self._root is None or not is_inside:
            return None
        return self._root / image, read_as(self._decoding, self._made, domain, image)


def _packed(folder: RunFolder, manifest_digest: str) -> dict[str, bytes]:
    """Image id -> its bytes in the pack beside a run, where there is one."""
    file = folder.thumbnails_file
    if not file.exists():
        return {}
    rows = read_scores(file, mend=f"clipft thumbnails --runs {file.parent}")
    rows = rows[rows.manifest == manifest_digest]
    return dict(zip(rows["id"], rows["image"], strict=True))


def pack_thumbnails(runs: Path | str) -> Path:
    """Write thumbnails of all scored images beside the runs, so that the folder can be explored
    without the data set.

    Raises RunError where there is no scored run; an image that cannot be read is left out and shows
    as a grey tile.
    """
    import pandas as pd

    source_of_image: dict[tuple[str, str], tuple[Path, Decoding]] = {}
    for folder in run_folders(runs):
        if not folder.images_file.exists():
            continue
        manifest = Run.open(folder).manifest
        digest = manifest.digest()
        root = manifest.root_folder()
        scored = folder.images()[["domain", "id"]].drop_duplicates()
        for domain, image in scored.astype(str).itertuples(index=False):
            if leads_out(image) and not manifest.outside:
                continue
            decoding = read_as(manifest.decoding, manifest.made, domain, image)
            source_of_image.setdefault((digest, key_of(domain, image)), (root / image, decoding))
    if not source_of_image:
        raise RunError(f"no scored run under {runs}; score one: clipft wise RUN")

    rows = []
    for image, source in progress_bar(list(source_of_image.items()), "thumbnails", "image"):
        digest, name = image
        small = thumbnail(*source)
        if small is not None:
            rows.append((digest, name, small))
    file = Path(runs) / THUMBNAILS
    write_parquet(file, pd.DataFrame(rows, columns=["manifest", "id", "image"]), METADATA)
    return file
