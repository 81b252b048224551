"""Linear CKA by layer of finished runs: which blocks did tuning change, and on which images?"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..config import TUNED, ZERO_SHOT, Reading, check_alpha
from ..data.splits import Split
from ..diagnostics.cka import LinearCKA
from ..errors import ConfigError
from ..evaluation.bench import Benches
from ..evaluation.mixtures import Mixtures
from ..models.hidden import BlockMeans, check_hidden
from ..posthoc.wise import mix_into
from ..progress import progress_bar
from ..runs.run import open_runs
from .energy_gap import Given
from .geometry import about_run

if TYPE_CHECKING:
    import pandas as pd

IMAGES = 1000  # of a split, unless more are asked for


def cka_table(
    runs: Given | Sequence[Given],
    alpha: float = TUNED,
    images: int | None = IMAGES,
    reading: Reading | None = None,
) -> pd.DataFrame:
    """Linear CKA between the zero-shot and the tuned model, block by block, see `diagnostics.cka`.

    Of each block's hidden states the mean over tokens (a ResNet's stages: over places), and the
    embedding at the end. All are of the vision tower.

    Arguments:
        runs: one, several, or a folder of runs.
        alpha: of the model that is compared with zero-shot.
        images: so many of each reported split, evenly spaced; None: all. Fewer than a block has
            dimensions make it too high.
        reading: how images are read.

    Returns:
        A row per run, split and block, in order: block, place (0, 1 ...), cka, n.

    Raises:
        RunError: where a run is an ensemble, or its model or data set have changed since.
        ConfigError: for a tower whose blocks are not known, or fewer than two images.

    Example:
        >>> table = clipft.cka_table(clipft.open_runs("runs")[0])
        >>> table.block.unique().tolist()
        ['block 1', 'block 2', 'embedding']
    """
    import pandas as pd

    check_alpha(alpha)
    if images is not None and images < 2:
        raise ConfigError(f"CKA of {images} images, expected 2 or more")
    benches = Benches(reading)
    rows: list[dict[str, Any]] = []
    opened = open_runs(runs)
    for run in progress_bar(opened, "CKA", "run", show=len(opened) > 1):
        bench = benches.of(run)
        check_hidden(bench.clip.model.visual, run.config.model)
        mixtures = bench.mixtures(run)
        for split in bench.reported_splits(run.config):
            about = about_run(run) | {"alpha": alpha, "split": split.name}
            for place, (block, cka) in enumerate(_blocks(mixtures, split, alpha, images).items()):
                numbers = {"block": block, "place": place, "cka": cka.value, "n": cka.count}
                rows.append(about | numbers)
    return pd.DataFrame(rows)


def _blocks(
    mixtures: Mixtures, split: Split, alpha: float, images: int | None
) -> dict[str, LinearCKA]:
    """Block -> CKA of the two models on a split; each image is decoded once."""
    if images is not None and images < len(split):
        spaced = np.linspace(0, len(split) - 1, images).round().astype(int)
        split = split.take(spaced.tolist())
    student = mixtures.student
    student.eval()
    load = partial(mix_into, student.state_dict(), mixtures.start, mixtures.tuned)
    blocks: dict[str, LinearCKA] = {}
    with BlockMeans(student) as hidden:
        for chunk in mixtures.pixels(split, keep_bytes=0):
            if not len(chunk.rows):
                continue
            load(ZERO_SHOT)
            before = hidden.of(chunk.pixels)
            load(alpha)
            after = hidden.of(chunk.pixels)
            for name, states in before.items():
                blocks.setdefault(name, LinearCKA()).add(states, after[name])
    return blocks
