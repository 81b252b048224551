"""The processes that share the work of one run: which of them this is, what is its share, and how
numbers go from one to all.

Every rank does the same steps in the same order, or a sum would wait for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed

BUCKET = 25 << 20  # bytes of gradients that are added at once
LONG = timedelta(days=365)  # whoever waits for the first rank is told if that ends


@dataclass(eq=False)
class Ranks:
    """One of `count` processes, or a process alone.

    device: what its numbers have to lie on to be added. store: what ranks say to each other without
    a sum.
    """

    rank: int = 0
    count: int = 1
    device: torch.device | str = "cpu"
    store: Any = None
    turns: int = 0  # how often the others waited for the first

    @property
    def is_alone(self) -> bool:
        """Whether there is no other."""
        return self.count == 1

    @property
    def is_first(self) -> bool:
        """Whether this one writes and speaks for all."""
        return self.rank == 0

    def part(self, size: int, block: int = 1, rank: int | None = None) -> range:
        """Which of so many this rank, or another, takes: about as many as each, in whole blocks."""
        rank = self.rank if rank is None else rank
        blocks = -(-size // block)
        first = min(size, rank * blocks // self.count * block)
        last = min(size, (rank + 1) * blocks // self.count * block)
        return range(first, last)

    def total(self, numbers: Tensor) -> Tensor:
        """The sum over all ranks."""
        if self.is_alone:
            return numbers
        summed = numbers.detach().to(self.device, copy=True)
        distributed.all_reduce(summed)
        return summed.to(numbers.device)

    def counts(self, count: int) -> list[int]:
        """What each rank counted."""
        counts = torch.zeros(self.count, dtype=torch.long)
        counts[self.rank] = count
        return self.total(counts).tolist()

    def joined(self, part: Tensor, sizes: Sequence[int] | None = None) -> Tensor:
        """The parts (n, ...) of all ranks, one after the other; sizes: n of each, if known."""
        if self.is_alone:
            return part
        sizes = self.counts(len(part)) if sizes is None else sizes
        whole = part.new_zeros(sum(sizes), *part.shape[1:])
        whole.detach().split(list(sizes))[self.rank].copy_(part.detach())
        return self.total(whole)  # zeros and one part: the same bits

    def coupled(self, part: Tensor, sizes: Sequence[int]) -> Tensor:
        """As `joined`, with the gradient of a loss of which each rank has the same 1 / count.

        Every rank computes it of the whole, so its own part's gradient is known without asking.
        """
        parts = list(self.joined(part, sizes).split(list(sizes)))
        if part.requires_grad:
            part = part.view_as(part)
            part.register_hook(lambda gradient: self.count * gradient)
        parts[self.rank] = part
        return torch.cat(parts)

    def joined_array(self, part: np.ndarray) -> np.ndarray:
        """The rows of all ranks, one after the other."""
        return self.joined(torch.from_numpy(part)).numpy()

    def add_gradients(self, weights: Iterable[Tensor]) -> None:
        """Each weight's gradient becomes the sum over all ranks, which have them of the same."""
        if self.is_alone:
            return
        works = []
        for bucket in _buckets([weight.grad for weight in weights if weight.grad is not None]):
            flat = torch.cat([gradient.flatten() for gradient in bucket])
            works.append((distributed.all_reduce(flat, async_op=True), flat, bucket))
        for work, flat, bucket in works:
            work.wait()
            parts = flat.split([gradient.numel() for gradient in bucket])
            for gradient, part in zip(bucket, parts, strict=True):
                gradient.copy_(part.view(gradient.shape))

    @torch.no_grad()
    def share_out(self, tensors: Iterable[Tensor]) -> None:
        """Tensors become those of the first rank, in place."""
        if self.is_alone:
            return
        for tensor in tensors:
            first = tensor.contiguous()
            distributed.broadcast(first, 0)
            tensor.copy_(first)

    def first_says(self, answer: Callable[[], int]) -> int:
        """What the first rank answers; the others do not look themselves."""
        if self.is_alone:
            return int(answer())
        return int(self.total(torch.tensor(int(answer()) if self.is_first else 0)))

    def by_first(self, work: Callable[[], object]) -> None:
        """The first rank does it, the others wait, however long it takes."""
        if self.is_first:
            work()
        if self.is_alone:
            return
        self.turns += 1
        done = f"done {self.turns}"
        if self.is_first:
            self.store.set(done, "")
        else:
            self.store.wait([done], LONG)

    def wait_for_first(self) -> None:
        """The others go on once the first rank is here, too."""
        self.by_first(lambda: None)


ALONE = Ranks()


def _buckets(gradients: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Gradients of one dtype together, until they are a BUCKET."""
    bucket: list[Tensor] = []
    for gradient in gradients:
        size = sum(other.nbytes for other in bucket)
        if bucket and (size > BUCKET or gradient.dtype != bucket[0].dtype):
            yield bucket
            bucket = []
        bucket.append(gradient)
    if bucket:
        yield bucket
