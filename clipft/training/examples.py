"""What a training run is shown: augmented pixels, or where the tower is frozen, embeddings of plain
images.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

import torch

from ..config import RunConfig
from ..data.splits import Split
from ..evaluation.bench import Bench
from ..inputs.batches import Batch, Pixels, Stream, train_batches, train_transform
from ..models.embeddings import extract
from ..models.students import Student


class Examples(Protocol):
    """Batches of the training split, and the selection split again and again."""

    train: Split
    selection: Iterable[Batch]

    def batches(self, steps: range) -> Iterable[Batch]:
        """The batches of these steps: the same ones whenever they are asked for."""


class PixelExamples:
    """Augmented training images, decoded selection images."""

    def __init__(self, bench: Bench, config: RunConfig):
        self.train = bench.train_split(config)
        self.selection: Iterable[Batch] = Pixels(
            bench.selection_split(config), bench.clip.transform, bench.reading
        )
        self._bench = bench
        self._config = config

    def batches(self, steps: range) -> Iterable[Batch]:
        """See `Examples`."""
        config = self._config
        transform = train_transform(self._bench.clip.size, config.crop, config.flip)
        stream = Stream(len(self.train), config.batch_size, steps, config.seed)
        return train_batches(self.train, transform, stream, self._bench.reading)


class EmbeddedExamples:
    """Embeddings of unaugmented images, each made once."""

    def __init__(self, bench: Bench, config: RunConfig, student: Student):
        self.train = bench.train_split(config)
        self._bench = bench
        self._config = config
        self._student = student
        self.selection: Iterable[Batch] = [self._embedded(bench.selection_split(config))]

    def batches(self, steps: range) -> Iterator[Batch]:
        """See `Examples`."""
        if not steps:
            return
        whole = self._embedded(self.train)
        for draws in Stream(len(whole.rows), self._config.batch_size, steps, self._config.seed):
            rows = [row for row, _ in draws]
            yield Batch(whole.pixels[rows], whole.labels[rows], whole.rows[rows])

    def _embedded(self, split: Split) -> Batch:
        features = extract(self._student, split, self._bench.reading)
        place = {name: row for row, name in enumerate(split.ids)}
        rows = torch.tensor([place[name] for name in features.ids])
        embeddings = torch.from_numpy(features.embeddings)
        return Batch(embeddings, torch.from_numpy(features.label), rows)
