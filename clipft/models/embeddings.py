"""Embeddings, each computed once: a model's, of a split, kept in the cache under all that they depend on.

The key is (digest of the vision tower, digest of the files, preprocessing, precision). Logits of any head follow from
embeddings by one product, so heads are no part of it: every run of one zero-shot model shares its embeddings, and a
linear probe shares them with zero-shot.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..config import digest
from ..disk import cache
from ..errors import ImageError
from ..inputs.batches import Batch, Pixels, pixel_chunks
from ..progress import progress_bar

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ..data.splits import Split
    from ..posthoc.weights import Weights
    from .load import Clip
    from .students import Student


FORWARD = 256  # images in one forward pass
KIND = "embeddings"
ROWS = 8192  # of embeddings at a time, where all of them come from the cache


@dataclass(frozen=True)
class Point:
    """One of the models that a split is shown to: what makes the student that model, and its tower's digest.

    Embeddings are looked up and kept under the digest; with None they are neither.
    """

    load: Callable[[], object]
    digest: str | None = None


@torch.inference_mode()
def embed(student: Student, pixels: Tensor) -> Tensor:
    """uint8 (N, 3, H, W) -> embeddings before normalising (N, D), on the student's device."""
    device = student.mean.device
    return torch.cat([student(part.to(device))[0].float() for part in pixels.split(FORWARD)])


def tower_digest(weights: Weights) -> str:
    """Names the vision tower within a student's weights; the same for both kinds of student."""
    whole = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        name = name.removeprefix("clip.")
        if name.startswith("visual."):
            whole.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            whole.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return whole.hexdigest()[:16]


def files_digest(split: Split) -> str:
    """Names the files of a split: their ids, sizes and times of change; a missing file counts as such."""
    whole, root = hashlib.sha256(), str(split.root)
    for name in split.ids:
        try:
            found = os.stat(f"{root}/{name}")
            whole.update(f"{name}\0{found.st_size}\0{found.st_mtime_ns}\n".encode())
        except OSError:
            whole.update(f"{name}\0missing\n".encode())
    return whole.hexdigest()[:16]


def _key(student: Student, point: Point, files: str) -> dict[str, Any]:
    preprocessing = digest({name: repr(value) for name, value in student.preprocessing.items()})
    return {
        "tower": point.digest,
        "files": files,
        "preprocessing": preprocessing,
        "precision": "fp32",
    }


def stream(
    student: Student,
    points: Mapping[Hashable, Point],
    split: Split,
    pixels: Pixels | None = None,
    workers: int = 0,
    skip_bad: bool = False,
    progress: Callable[[int], object] = lambda images: None,
) -> Iterator[tuple[Batch, Iterator[tuple[Hashable, Tensor]]]]:
    """Chunks of a split, and for each, one after the other, (name, embeddings (n, D)) of every point.

    Each image is decoded once for all points, and not at all where the cache has them all; points of one digest are
    embedded once. What has a digest is kept, if no image was unreadable. `progress` is told of every image and point
    that is done. Each inner iterator is to be used up. Raises ImageError for an unreadable image unless skip_bad.
    """
    files = files_digest(split) if any(point.digest for point in points.values()) else ""
    keys = {point.digest: _key(student, point, files) for point in points.values() if point.digest}
    known = {name: found[KIND] for name, key in keys.items() if (found := cache.find(KIND, key))}
    fresh: dict[str, np.ndarray] = {}
    if any(point.digest not in known for point in points.values()):
        chunks = (
            pixels
            if pixels is not None
            else pixel_chunks(split, student.transform, workers, skip_bad)
        )
    else:
        chunks = _rows_alone(split)
    device, bad = student.mean.device, 0

    def embeddings(chunk: Batch) -> Iterator[tuple[Hashable, Tensor]]:
        done: dict[str, Tensor] = {}
        rows = chunk.rows.numpy()
        for name, point in points.items():
            if point.digest in known:
                now = torch.from_numpy(known[point.digest][rows]).to(device)
            elif point.digest in done:
                now = done[point.digest]
            else:
                point.load()
                now = embed(student, chunk.pixels)
                if point.digest:
                    done[point.digest] = now
                    if point.digest not in fresh:
                        fresh[point.digest] = np.empty((len(split), now.shape[1]), np.float32)
                    fresh[point.digest][rows] = now.cpu().numpy()
            progress(len(chunk.rows))
            yield name, now

    student.eval()
    for chunk in chunks:
        bad += len(chunk.bad)
        progress(len(chunk.bad) * len(points))
        yield chunk, embeddings(chunk) if len(chunk.rows) else iter(())
    for name, found in fresh.items() if not bad else ():
        cache.keep(
            KIND, f"{split.name}, {len(split)} images, tower {name}", keys[name], {KIND: found}
        )


def _rows_alone(split: Split) -> Iterator[Batch]:
    """Labels and rows of a split in parts, without any pixel."""
    labels = torch.tensor(split.labels)
    for rows in torch.arange(len(split)).split(ROWS):
        yield Batch.of(torch.empty(0, dtype=torch.uint8), labels[rows], rows)


def extract(
    student: Student, split: Split, workers: int = 0, skip_bad: bool = False, progress: bool = True
) -> Features:
    """The embeddings of a whole split by the student as it is, from the cache if they are there.

    Rows whose image is unreadable are left out with skip_bad, and a line says so; without it they raise ImageError.
    """
    was_training, parts, rows, labels = student.training, [], [], []
    point = {"": Point(lambda: None, tower_digest(student.state_dict()))}
    try:
        with progress_bar(len(split), f"embedding {split.name}", "image", progress) as bar:
            for chunk, found in stream(student, point, split, None, workers, skip_bad, bar.update):
                parts += [embeddings.cpu().numpy() for _, embeddings in found]
                rows, labels = [*rows, *chunk.rows.tolist()], [*labels, *chunk.labels.tolist()]
    finally:
        student.train(was_training)
    if not rows:
        raise ImageError(
            f"no image of {split.name} can be read, the first is {split.root / split.ids[0]}"
        )
    return Features(
        split.name, tuple(split.ids[row] for row in rows), np.asarray(labels), np.concatenate(parts)
    )


def texts(
    clip: Clip, tokens: Tensor, title: str, make: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """What `make` says of token ids, from the cache if it is there; by default their unit embeddings (N, D).

    Raises as `Clip.embed_texts` does.
    """
    key = {
        "clip": clip.digest(),
        "tokens": hashlib.sha256(tokens.numpy().tobytes()).hexdigest()[:16],
        "what": title,
    }
    found = cache.remember(
        "texts",
        f"{title}, {clip.name}",
        key,
        lambda: {"texts": (make or clip.embed_texts)(tokens).cpu().numpy()},
    )
    return torch.from_numpy(np.array(found["texts"])).to(clip.model.logit_scale.device)


@dataclass(frozen=True)
class Features:
    """Embeddings (N, D) of one split by one model, before normalising, with label (N,) and ids (N)."""

    split: str
    ids: tuple[str, ...]
    label: np.ndarray
    embeddings: np.ndarray
