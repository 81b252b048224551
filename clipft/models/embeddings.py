"""Embeddings, each computed once: a model's, of a split, cached under all that they depend on.

The key is (digest of the vision tower, digest of the files, preprocessing, precision), and the
activation where it is QuickGELU: weights do not say it. Logits of
any head follow from embeddings by one product, so heads are no part of it: every run of one
zero-shot model shares its embeddings, and a linear probe shares them with zero-shot.
"""

import contextlib
import hashlib
import os
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..config import Reading, digest
from ..data.splits import Split
from ..disk.cache import Draft, default_cache
from ..errors import ConfigError, ImageError
from ..inputs.batches import Batch, Pixels, rows_of, to_device
from ..posthoc.weights import Weights
from ..progress import progress_bar, write
from .clip import Clip
from .load import memory_of
from .precision import computing_in
from .students import Student
from .text_tower import is_cut

NamedEmbeddings = Iterator[tuple[Hashable, Tensor]]

FORWARD = 256  # images in one forward pass
KIND = "embeddings"
PRECISIONS = {"32-true": "fp32", "tf32": "tf32", "bf16-mixed": "bf16"}  # as keys call them
ROWS = 8192  # of embeddings at a time, where all of them come from the cache


def _do_nothing(*_: object) -> None:
    """A student that is loaded already; progress that nobody watches."""


@dataclass(frozen=True)
class Point:
    """One of the models that a split is shown to: what makes the student that model.

    Embeddings are looked up and kept under the digest of its tower; with None they are neither.
    """

    load: Callable[[], object]
    digest: str | None = None


@dataclass(frozen=True)
class Features:
    """Embeddings (N, D) of one split by one model, not normalised, with label (N,) and ids (N)."""

    split: str
    ids: tuple[str, ...]
    label: np.ndarray
    embeddings: np.ndarray


@torch.inference_mode()
def embed(student: Student, pixels: Tensor) -> Tensor:
    """uint8 (N, 3, H, W) -> embeddings before normalising (N, D), on the student's device, in its
    precision.
    """
    parts: list[Tensor] = []
    done = 0
    while done < len(pixels):
        size = min(FORWARD, student.most_images or FORWARD)
        images = pixels[done : done + size]
        embeddings = _forward(student, images)
        if embeddings is None:
            _take_fewer(student, images)
            continue
        parts.append(embeddings)
        done += len(images)
    return torch.cat(parts)


def _forward(student: Student, images: Tensor) -> Tensor | None:
    """Embeddings of some images; None where the device has no room for so many."""
    with computing_in(student.precision, student.device):
        try:
            return student(to_device(images, student.device))[0].float()
        except torch.OutOfMemoryError:
            return None


def _take_fewer(student: Student, images: Tensor) -> None:
    """Halve the images of a forward pass, and say so once; raises ConfigError where it is one."""
    shape = " x ".join(map(str, images.shape[1:]))
    if student.device.type == "cuda":
        torch.cuda.empty_cache()
    if len(images) == 1:
        remedies = ["end other processes there", "a smaller model", "--device cpu"]
        if student.precision != "bf16-mixed":
            remedies.insert(1, "--precision bf16-mixed")
        room = memory_of(student.device)
        raise ConfigError(
            f"this model and one image of {shape} in {student.precision} do not fit into {room};"
            f" try: {', '.join(remedies)}"
        )
    if student.most_images is None:
        count = f"{len(images)} images of {shape}"
        write(f"{student.device} has no room for {count} at once; it takes fewer, as many as fit")
    student.most_images = len(images) // 2


def in_tower(name: str) -> bool:
    """Whether a tensor of a student is its vision tower's: embeddings depend on no other."""
    return name.removeprefix("clip.").startswith("visual.")


def tower_digest(weights: Weights) -> str:
    """Names the vision tower within a student's weights; the same for both kinds of student."""
    whole = hashlib.sha256()
    for name in sorted(weights):
        if in_tower(name):
            own_name = name.removeprefix("clip.")
            tensor = weights[name].detach().cpu().contiguous()
            whole.update(f"{own_name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            whole.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return whole.hexdigest()[:16]


def files_digest(split: Split) -> str:
    """Names the files of a split: ids, sizes and times of change; a missing file counts as such."""
    whole = hashlib.sha256()
    root = str(split.root)
    for name in split.ids:
        try:
            stat = os.stat(os.path.join(root, name))
            whole.update(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
        except OSError:
            whole.update(f"{name}\0missing\n".encode())
    return whole.hexdigest()[:16]


def stream(
    student: Student,
    points: Mapping[Any, Point],
    pixels: Pixels,
    progress: Callable[[int], object] = _do_nothing,
) -> Iterator[tuple[Batch, NamedEmbeddings]]:
    """Chunks of a split, and for each, one by one, (name, embeddings (n, D)) of every point.

    Each image is decoded once for all points, and not at all where the cache has them all.
    `progress` is told of every image and point that is done. Each inner iterator is to be used up.
    Where ranks share the pixels, each has its own rows, and none keeps embeddings. Raises
    ImageError for an unreadable image unless reading.skip_bad, and where none at all can be read.
    """
    split = pixels.split
    ranks = pixels.ranks
    chunks: Iterable[Batch] = pixels
    memory = SplitMemory(student, split, points, keeps=ranks.is_alone)
    is_cached = all(point.digest in memory.cached for point in points.values())
    # Ranks read alike: what lies in the cache of one machine may not in another's.
    if ranks.total(torch.tensor(int(is_cached))) == ranks.count:
        chunks = _rows_alone(split, rows_of(split, ranks))

    student.eval()
    unreadable = 0
    with memory.drafts:
        for chunk in chunks:
            unreadable += len(chunk.bad)
            progress(len(chunk.bad) * len(points))
            yield chunk, memory.embeddings_of(chunk, progress)

    if ranks.total(torch.tensor(unreadable)) == len(split):
        first = split.root / split.ids[0]
        raise ImageError(f"no image of {split.name} can be read, the first is {first}")


class SplitMemory:
    """Embeddings of a split by the digest of the tower: `cached` are there, `fresh` are new, and
    written as they come. At the end of `drafts` they are kept, if they are of all rows.

    keeps: off, what is computed is not kept.
    """

    def __init__(
        self, student: Student, split: Split, points: Mapping[Any, Point], *, keeps: bool = True
    ):
        self.keeps = keeps
        self.student = student
        self.split = split
        self.points = points
        self.cached: dict[str | None, np.ndarray] = {}
        self.fresh: dict[str, Draft] = {}
        self.drafts = contextlib.ExitStack()

        values = {name: repr(value) for name, value in student.preprocessing.items()}
        towers = dict.fromkeys(point.digest for point in points.values())
        towers.pop(None, None)  # a point without a digest is neither looked up nor kept
        files = files_digest(split) if towers else ""  # a look at every file
        self.key = {
            "files": files,
            "preprocessing": digest(values),
            "precision": PRECISIONS[student.precision],
        }
        self.key |= student.activation
        self.key |= split.decoding.changes()
        for tower in towers:
            arrays = default_cache().find(KIND, {"tower": tower} | self.key)
            if arrays is not None:
                self.cached[tower] = arrays[KIND]

    def embeddings_of(self, chunk: Batch, progress: Callable[[int], object]) -> NamedEmbeddings:
        """(name, embeddings (n, D)) of every point: cached, or embedded once for each tower."""
        if not len(chunk.rows):
            return
        rows = chunk.rows.numpy()
        by_tower: dict[str, Tensor] = {}
        for name, point in self.points.items():
            tower = point.digest
            if tower in self.cached:
                embeddings = torch.from_numpy(self.cached[tower][rows]).to(self.student.device)
            elif tower in by_tower:
                embeddings = by_tower[tower]
            else:
                point.load()
                embeddings = embed(self.student, chunk.pixels)
                if tower is not None:
                    by_tower[tower] = embeddings
                if tower is not None and self.keeps:
                    self._add(tower, embeddings)
            progress(len(rows))
            yield name, embeddings

    def _add(self, tower: str, embeddings: Tensor) -> None:
        if tower not in self.fresh:
            title = f"{self.split.name}, {len(self.split)} images, tower {tower}"
            shape = (len(self.split), embeddings.shape[1])
            draft = default_cache().draft(KIND, title, {"tower": tower} | self.key, shape)
            self.fresh[tower] = self.drafts.enter_context(draft)
        self.fresh[tower].add(embeddings.cpu().numpy())


def _rows_alone(split: Split, wanted: range) -> Iterator[Batch]:
    """Labels and wanted rows of a split in parts, without any pixel."""
    labels = torch.tensor(split.labels)
    no_pixels = torch.empty(0, dtype=torch.uint8)
    for rows in torch.arange(wanted.start, wanted.stop).split(ROWS):
        yield Batch(no_pixels, labels[rows], rows)


def extract(student: Student, split: Split, reading: Reading = Reading()) -> Features:
    """The embeddings of a whole split by the student as it is, from the cache if they are there.

    Rows whose image is unreadable are left out with reading.skip_bad, and a line says so; without
    it they raise ImageError, as does a split of which no image can be read.
    """
    points = {"": Point(_do_nothing, tower_digest(student.state_dict()))}
    rows: list[np.ndarray] = []
    embeddings = np.empty((0, 0), np.float32)
    count = 0
    was_training = student.training
    bar = progress_bar(len(split), f"embedding {split.name}", "image", show=reading.progress)
    pixels = Pixels(split, student.transform, reading, keep_bytes=0)
    chunks = stream(student, points, pixels, bar.update)
    try:
        with bar:
            for chunk, named in chunks:
                rows.append(chunk.rows.numpy())
                for _, part in named:
                    if not count:
                        embeddings = np.empty((len(split), part.shape[1]), np.float32)
                    embeddings[count : count + len(part)] = part.cpu().numpy()
                    count += len(part)
    finally:
        student.train(was_training)

    readable = split if count == len(split) else split.take(np.concatenate(rows).tolist())
    return Features(split.name, readable.ids, np.asarray(readable.labels), embeddings[:count])


def texts(
    clip: Clip, tokens: Tensor, title: str, make: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """What `make` says of token ids, from the cache if it is there.

    By default their unit embeddings (N, D). Raises as `Clip.embed_texts` does.
    """
    if make is None:
        make = clip.embed_texts
    tokens_digest = hashlib.sha256(tokens.numpy().tobytes()).hexdigest()[:16]
    key = {"clip": clip.digest(), "tokens": tokens_digest, "what": title} | clip.activation
    if is_cut(clip.model):
        key["cut"] = "yes"  # what an older clipft kept differs by rounding, and is not mixed in
    arrays = default_cache().find("texts", key)
    if arrays is None:
        computed = {"texts": make(tokens).cpu().numpy()}
        arrays = default_cache().keep("texts", f"{title}, {clip.name}", key, computed)
    own_copy = np.array(arrays["texts"])
    return torch.from_numpy(own_copy).to(clip.model.logit_scale.device)
