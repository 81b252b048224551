"""What a training run is shown: augmented pixels, or where the tower is frozen, embeddings of plain
images.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Protocol

import torch

from ..config import RunConfig
from ..data.images import Transform
from ..data.splits import Split
from ..evaluation.bench import Bench
from ..evaluation.predictions import ACCURACY, ChosenBy
from ..inputs.batches import Batch, Pixels, Stream, train_batches, train_transform
from ..inputs.release import TrainPixels, both_sides
from ..models.embeddings import extract
from ..models.students import Student
from ..runs.protocol import protocol_of


class Examples(Protocol):
    """Batches of the training split, and the selection split again and again, if there is one.

    chosen_by: by what that chooses weights.
    """

    train: Split
    selection: Iterable[Batch] | None
    chosen_by: ChosenBy

    def batches(self, steps: range) -> Iterable[Batch]:
        """The batches of these steps: the same ones whenever they are asked for."""


class PixelExamples:
    """Augmented training images, decoded selection images; of several ranks each its part."""

    def __init__(self, bench: Bench, config: RunConfig):
        self.train = bench.train_split(config)
        self.selection: Iterable[Batch] | None = None
        self.chosen_by = ACCURACY
        if bench.has_selection(config):
            self.chosen_by = bench.chosen_by(config)
            transform = bench.selection_transform(config)
            split = bench.selection_split(config)
            self.selection = Pixels(split, transform, bench.reading, ranks=bench.ranks)
        self._bench = bench
        self._config = config
        self._protocol = protocol_of(config)

    def batches(self, steps: range) -> Iterable[Batch]:
        """See `Examples`."""
        config = self._config
        size = self._bench.clip.size
        if self._protocol.plain_resize:
            transform: Transform = TrainPixels(both_sides(size), config.crop, config.flip)
        else:
            transform = train_transform(size, config.crop, config.flip)
        stream = replace(_stream(len(self.train), steps, config), ranks=self._bench.ranks)
        once = self._protocol.drawn_once
        return train_batches(self.train, transform, stream, self._bench.reading, once=once)


def _stream(rows: int, steps: range, config: RunConfig) -> Stream:
    short = protocol_of(config).short_batches
    return Stream(rows, config.batch_size, steps, config.seed, short=short)


class EmbeddedExamples:
    """Embeddings of unaugmented images, each made once."""

    def __init__(self, bench: Bench, config: RunConfig, student: Student):
        self.train = bench.train_split(config)
        self._bench = bench
        self._config = config
        self._student = student
        self.selection: Iterable[Batch] | None = None
        self.chosen_by = ACCURACY
        if bench.has_selection(config):
            self.chosen_by = bench.chosen_by(config)
            self.selection = [self._embedded(bench.selection_split(config))]

    def batches(self, steps: range) -> Iterator[Batch]:
        """See `Examples`."""
        if not steps:
            return
        whole = self._embedded(self.train)
        for draws in _stream(len(whole.rows), steps, self._config):
            rows = [row for row, _ in draws]
            yield Batch(whole.pixels[rows], whole.labels[rows], whole.rows[rows])

    def _embedded(self, split: Split) -> Batch:
        features = extract(self._student, split, self._bench.reading)
        place = {name: row for row, name in enumerate(split.ids)}
        rows = torch.tensor([place[name] for name in features.ids])
        embeddings = torch.from_numpy(features.embeddings)
        return Batch(embeddings, torch.from_numpy(features.label), rows)
