"""From a split's rows to pixels: decode, transform, chunk; and the endless training stream."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from ..config import Reading
from ..data.images import Decoded, Transform, any_size, as_image, decode, decoded_size
from ..data.packs import Packs
from ..data.splits import Split, rows_by_label
from ..errors import ImageError, RunError
from ..progress import write
from ..stops import be_deaf, is_listening
from .decoding import FAST, decode_fast, packed_pixels, pixels_of
from .ranks import ALONE, Ranks
from .seeds import drawing, rng
from .workers import AHEAD, on_card, worker_count

KEEP_BYTES = 2 << 30  # decoded training images are kept in memory up to this size
SELECTION_BYTES = 1 << 30  # and the pixels of a split that is gone through several times
CHUNK_BYTES = 32 << 20  # evaluation pixels are held this many at a time, or READ images
READ = 256  # images of which chunks are made up, and as many wait while others are embedded
HANDED = 16  # images that a process hands over at once to evaluate; a part of READ

Size = int | tuple[int, int]  # height and width
Draw = tuple[int, int]  # a row, and its number in the stream


def train_transform(size: Size, crop: tuple[float, float], flip: bool) -> Transform:  # noqa: FBT001
    """Random-resized crop (area as a fraction of the image) and horizontal flip, as the papers.

    After the size the words of a recipe, in its order. An image becomes an image, pixels, uint8
    (3, H, W), become pixels: by the same draws the same crop, resized by Pillow or by torchvision,
    whose values are seldom off by 1 of 255, and in crops that are enlarged rarely by up to 4.
    On purpose unlike Lipsum-FT's release, which does neither: both resize with antialiasing and
    round to 8 bits. `protocol: release` is as there, see `inputs.release`.
    """
    bicubic = v2.InterpolationMode.BICUBIC
    steps: list[Any] = [v2.RandomResizedCrop(size, scale=crop, interpolation=bicubic)]
    if flip:
        steps.append(v2.RandomHorizontalFlip())
    return v2.Compose(steps)


def pass_over(transform: Transform, height: int, width: int) -> None:
    """Draw what the transform draws for an image of this size; no pixel is made."""
    image = torch.empty((3, height, width), dtype=torch.uint8, device="meta")
    for step in getattr(transform, "transforms", [transform]):
        if isinstance(step, v2.RandomResizedCrop):
            step.make_params([image])
        else:
            step(image)


def to_device(tensor: Tensor, device: torch.device | str) -> Tensor:
    """A tensor on the device: a card copies it from pinned memory while we go on."""
    if torch.device(device).type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows of a split that were read, and the numbers of those that could not be (skip_bad).

    whole: where several ranks read a batch, (rank, row) of every image of it that is in some rank's
    part; `bad` is of the whole batch, too.
    """

    pixels: Tensor  # (B, 3, H, W), 0 ... 255: uint8, or floats of `inputs.release`
    labels: Tensor  # (B,)
    rows: Tensor  # (B,), positions in the split
    bad: tuple[int, ...] = ()
    whole: tuple[tuple[int, int], ...] = ()

    @property
    def all_rows(self) -> Tensor:
        """The rows of the whole batch, those of other ranks, too."""
        return torch.tensor([row for _, row in self.whole]) if self.whole else self.rows

    def sizes(self, ranks: Ranks) -> list[int]:
        """How many images each rank has of the whole batch."""
        if ranks.is_alone:
            return [len(self.rows)]
        counts = Counter(rank for rank, _ in self.whole)
        return [counts[rank] for rank in range(ranks.count)]

    @classmethod
    def join(cls, batches: Sequence[Self]) -> Self:
        """One batch of several, in their order."""
        # torch.cat passes over the pixels () of batches in which no image could be read.
        pixels = torch.cat([batch.pixels for batch in batches])
        labels = torch.cat([batch.labels for batch in batches])
        rows = torch.cat([batch.rows for batch in batches])
        bad = chain.from_iterable(batch.bad for batch in batches)
        whole = chain.from_iterable(batch.whole for batch in batches)
        return cls(pixels, labels, rows, bad=tuple(bad), whole=tuple(whole))

    def pin_memory(self) -> Self:
        """The same in pinned memory, as DataLoader asks it where a card waits."""
        pixels, labels = self.pixels.pin_memory(), self.labels.pin_memory()
        return replace(self, pixels=pixels, labels=labels)

    @classmethod
    def join_all(cls, batches: list[Self]) -> Self:
        """One batch of a list's, which is empty then: nothing is held twice, and one not copied."""
        whole = batches[0] if len(batches) == 1 else cls.join(batches)
        batches.clear()
        return whole

    @classmethod
    def unread(cls, row: int) -> Self:
        """A batch of nothing but a row whose image is unreadable."""
        return cls._without_pixels(bad=(row,))

    @classmethod
    def elsewhere(cls, rank: int, row: int) -> Self:
        """A batch of nothing but a row that another rank reads."""
        return cls._without_pixels(whole=((rank, row),))

    @classmethod
    def _without_pixels(cls, **about: Any) -> Self:
        none = torch.empty(0, dtype=torch.long)
        return cls(torch.empty(0, dtype=torch.uint8), none, none, **about)


@dataclass(eq=False)
class Images(Dataset):
    """Each row as a batch of one; an unreadable image raises ImageError, or is `bad` with skip_bad.

    With a `seed` an index is a Draw: a batch's randomness depends on the seed and its first draw
    alone, so any step of the stream can be made again, whatever the number of workers. `once`: on
    the seed and the row instead, so that an image looks the same at every step. `ranks`: each reads
    its part of a batch, which looks as if one had read them all: what is drawn for the images
    before it follows from their sizes.
    """

    split: Split
    transform: Transform
    seed: int | None = None
    keep_bytes: int = 0  # room for decoded images
    once: bool = False
    skip_bad: bool = False
    decoded: dict[int, Decoded | Tensor] = field(default_factory=dict)
    ranks: Ranks = ALONE
    sizes: dict[int, tuple[int, int]] = field(default_factory=dict)  # height, width

    def __post_init__(self) -> None:
        self.packs = Packs(self.split)

    def __len__(self) -> int:
        return len(self.split)

    def __getitems__(self, indices: list[Any]) -> list[Batch]:
        if self.seed is None:
            return [self._read(row) for row in indices]

        rows = [row for row, _ in indices]
        if self.once:
            return self._parts(rows, self._drawn_once)
        first_draw = indices[0][1]
        with drawing(self.seed, f"augment:{first_draw}"):
            return self._parts(rows, self._read)

    def _parts(self, rows: list[int], read: Callable[[int], Batch]) -> list[Batch]:
        """The images of this rank's part of a batch, and what is known of the others'."""
        if self.ranks.is_alone:
            return [read(row) for row in rows]
        parts = []
        for rank in range(self.ranks.count):
            for place in self.ranks.part(len(rows), rank=rank):
                row = rows[place]
                batch = read(row) if rank == self.ranks.rank else self._not_mine(row, rank)
                if not batch.bad:
                    batch = replace(batch, whole=((rank, row),))
                parts.append(batch)
        return parts

    def _not_mine(self, row: int, rank: int) -> Batch:
        """Of an image of another rank: whether it can be read, and what is drawn for it."""
        is_before = rank < self.ranks.rank and not self.once
        if not (is_before or self.skip_bad):
            return Batch.elsewhere(rank, row)
        try:
            size = self._size(row)
        except ImageError:
            if self.skip_bad:
                return Batch.unread(row)
            raise
        if is_before:
            pass_over(self.transform, *size)
        return Batch.elsewhere(rank, row)

    def _size(self, row: int) -> tuple[int, int]:
        """Height and width of a decoded image; with skip_bad it is decoded once to see whether it
        can be.
        """
        if row not in self.sizes:
            packed = self.packs.find(row)
            if packed is not None:
                height, width = packed.shape[:2]
            elif self.skip_bad or row in self.decoded:
                height, width = pixels_of(self._image(row)).shape[1:]
            else:
                file = self.split.root / self.split.ids[row]
                width, height = decoded_size(file, self.split.decoding)
            self.sizes[row] = (height, width)
        return self.sizes[row]

    def _drawn_once(self, row: int) -> Batch:
        assert self.seed is not None
        with drawing(self.seed, f"augment row:{row}"):
            return self._read(row)

    def _read(self, row: int) -> Batch:
        try:
            image = self._image(row)
        except ImageError:
            if self.skip_bad:
                return Batch.unread(row)
            raise
        with any_size():
            pixels = pixels_of(self.transform(image))
        return Batch(pixels[None], torch.tensor([self.split.labels[row]]), torch.tensor([row]))

    def _image(self, row: int) -> Decoded | Tensor:
        if row in self.decoded:
            return self.decoded[row]
        decoding = self.split.decoding
        packed = self.packs.find(row)
        if packed is not None:
            return packed_pixels(packed) if decoding.decoder == FAST else as_image(packed)
        name = self.split.ids[row]
        file, decoding = self.split.root / name, decoding.of(name)
        image = decode_fast(file, decoding) if decoding.decoder == FAST else decode(file, decoding)
        size = image.nbytes if isinstance(image, Tensor) else 3 * image.width * image.height
        if size <= self.keep_bytes:
            self.decoded[row] = image
            self.keep_bytes -= size
        return image


@dataclass(frozen=True)
class Stream:
    """Batch sampler over endless epochs of `rows` rows, each of them shuffled anew.

    Batch t holds the draws t*B ... (t+1)*B of the concatenated shuffles: a pure function of
    (seed, step), so a resumed run sees what the uninterrupted one would have seen. `short`: the
    last batch of an epoch holds the rows that are left, instead of more from the next shuffle.
    ranks: those that share each batch, of which it does not depend.
    """

    rows: int
    batch_size: int
    steps: range
    seed: int
    short: bool = False
    ranks: Ranks = ALONE

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[list[Draw]]:
        epoch = -1
        order = torch.empty(0)
        for step in self.steps:
            batch: list[Draw] = []
            draws = self._draws(step)
            while len(batch) < len(draws):
                draw = draws[len(batch)]
                if draw // self.rows != epoch:
                    epoch = draw // self.rows
                    generator = rng(self.seed, f"shuffle:{epoch}")
                    order = torch.randperm(self.rows, generator=generator)
                first = draw % self.rows
                rows = order[first : first + len(draws) - len(batch)].tolist()
                batch += zip(rows, range(draw, draw + len(rows)), strict=True)
            yield batch

    def _draws(self, step: int) -> range:
        """The numbers of a step's draws in the concatenated shuffles."""
        if not self.short:
            return range(step * self.batch_size, (step + 1) * self.batch_size)
        epoch, batch = divmod(step, -(-self.rows // self.batch_size))
        first = batch * self.batch_size
        last = min(first + self.batch_size, self.rows)
        return range(epoch * self.rows + first, epoch * self.rows + last)


def train_batches(
    split: Split,
    transform: Transform,
    stream: Stream,
    reading: Reading = Reading(),
    keep_bytes: int = KEEP_BYTES,
    *,
    once: bool = False,
) -> Iterator[Batch]:
    """The augmented batches of a stream; decoded images are kept in memory up to keep_bytes.

    once: an image is augmented alike whenever it comes.
    """
    ranks = stream.ranks
    images = Images(split, transform, seed=stream.seed, once=once, skip_bad=reading.skip_bad)
    images.ranks = replace(ranks, store=None)  # which goes to no other process
    size = -(-stream.batch_size // ranks.count)
    draws = len(stream) * size
    workers = worker_count(reading, split, images=draws, batch_size=size, training=True)
    if workers == 0:  # else every worker process would keep its own
        images.keep_bytes = keep_bytes // reading.devices
    pinned = on_card(reading.device)  # uint8 goes to the card, which normalises it
    return _load(images, workers, batch_sampler=stream, pin_memory=pinned)


def pixel_chunks(
    split: Split,
    transform: Transform,
    reading: Reading = Reading(),
    *,
    announce: bool = True,
    chunk_bytes: int | None = None,
    ranks: Ranks = ALONE,
) -> Iterator[Batch]:
    """The split's pixels, decoded once, in chunks just over chunk_bytes (None: CHUNK_BYTES).

    At the end one line announces how many images were skipped. ranks: each has its own rows.
    """
    if chunk_bytes is None:
        chunk_bytes = CHUNK_BYTES
    images = Images(split, transform, skip_bad=reading.skip_bad)
    batches: list[Batch] = []
    size = 0
    unread_rows: list[int] = []
    seen = 0
    own = rows_of(split, ranks)
    workers = worker_count(reading, split, images=len(own), batch_size=HANDED, waiting=READ)
    sampler = None if ranks.is_alone else own
    for batch in _load(images, workers, waiting=READ, batch_size=HANDED, sampler=sampler):
        batches.append(batch)
        size += batch.pixels.nbytes
        unread_rows += batch.bad
        seen += len(batch.rows) + len(batch.bad)
        # Whatever is handed over at once: a forward pass sees the same images together.
        if seen % READ == 0 and size > chunk_bytes:
            yield Batch.join_all(batches)
            size = 0

    if batches:
        yield Batch.join_all(batches)
    if announce and ranks.total(torch.tensor(len(unread_rows))):
        write(skipped(split, ranks.joined(torch.tensor(unread_rows, dtype=torch.long)).tolist()))


def rows_of(split: Split, ranks: Ranks) -> range:
    """The rows that a rank evaluates: whole forward passes, which see the same images together."""
    return ranks.part(len(split), block=READ)


def _load(images: Images, workers: int, *, waiting: int = 0, **batching: Any) -> Iterator[Batch]:
    """Batches in order; waiting: images that all processes together have ready, at least."""
    if workers:
        of_each = waiting // (workers * batching.get("batch_size", 1))
        batching["prefetch_factor"] = max(AHEAD, of_each)
        if is_listening():  # a scheduler sends a signal to all of a job
            batching["worker_init_fn"] = be_deaf
    loader = DataLoader(images, collate_fn=Batch.join, num_workers=workers, **batching)
    try:
        yield from loader
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        fault = "a process that decodes images was ended from outside, perhaps for its memory"
        raise RunError(f"{fault}; try fewer: --workers 1, or --workers 0 for none") from None
    except ImageError as error:
        # From a worker process its text is a whole traceback; the last line is ours.
        line = str(error).strip().splitlines()[-1]
        problem = line.removeprefix("clipft.errors.ImageError: ")
        advice = "repair it, or leave it out: --skip-bad-images, or Reading(skip_bad=True)"
        raise ImageError(f"{problem}; {advice}") from None


def skipped(split: Split, bad: Sequence[int]) -> str:
    """The one line that says which images were left out."""
    first = split.root / split.ids[bad[0]]
    return f"skipped {len(bad)} of {len(split)} images of {split.name}, the first is {first}"


@dataclass(eq=False)
class Pixels:
    """A split's pixels, again and again: kept as uint8 if they fit in keep_bytes, else decoded."""

    split: Split
    transform: Transform
    reading: Reading = field(default_factory=Reading)
    keep_bytes: int = SELECTION_BYTES
    ranks: Ranks = ALONE
    _chunks: list[Batch] | None = field(default=None, init=False)
    _announce: bool = field(default=True, init=False)

    def __iter__(self) -> Iterator[Batch]:
        if self._chunks is not None:
            yield from self._chunks
            return

        chunks: list[Batch] = []
        size = 0
        about: dict[str, Any] = {"announce": self._announce, "ranks": self.ranks}
        for chunk in pixel_chunks(self.split, self.transform, self.reading, **about):
            size += chunk.pixels.nbytes
            if size <= self.keep_bytes:
                chunks.append(chunk)
            else:
                chunks.clear()
            yield chunk

        self._announce = False
        if size <= self.keep_bytes:
            self._chunks = chunks


def few_shot(split: Split, shots: int, generator: torch.Generator) -> Split:
    """Draw `shots` rows of every class, in list order; a class with fewer gives all it has."""
    chosen: list[int] = []
    for rows in rows_by_label(split.labels):
        order = torch.randperm(len(rows), generator=generator)
        chosen += rows[order[:shots].numpy()].tolist()
    return split.take(sorted(chosen))
