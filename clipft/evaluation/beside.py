"""Finished runs scored on images that are no reported split: a folder without labels, say.

What is said of them lies in the run's folder in a file of its own, and no table shows it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..config import ALPHAS, Reading, check_alpha, digest
from ..data.found import find_images
from ..data.manifests import Manifest
from ..data.splits import Split
from ..disk.files import atomic, check_room
from ..errors import ConfigError, ImageError
from ..inputs.ranks import Ranks
from ..progress import say
from ..runs.checks import check_images_there, check_scorable
from ..runs.image_scores import Gathered, ImagesFile, write_images
from ..runs.made import scoring_precision
from ..runs.rows import rows_digest
from ..runs.run import Run, open_runs
from ..runs.scores import UNLABELLED, Listed, ScoreStore, size_of_scores
from ..stops import held
from .bench import Benches
from .launch import sharing

ROWS = ("ids", "labels", "domains", "groups")  # fields of a split that are one value a row
Given = Run | Path | str


def unlabelled_split(folder: Path | str, manifest: Manifest) -> Split:
    """The images in a folder and in the folders in it, as a split of a data set without labels.

    Its domain is the folder's name; its images are read as those of the manifest are. What is left
    out is said, see `data.found`.

    Arguments:
        folder: of images.
        manifest: the data set whose classes they are of.

    Returns:
        The split NAME/test; each label is -1.

    Raises:
        ConfigError: where there is no such folder.
        ImageError: where it holds no image.

    Example:
        >>> from clipft.evaluation.beside import unlabelled_split
        >>> run = clipft.open_runs("runs")[0]
        >>> split = unlabelled_split("photos/phone", run.manifest)
        >>> split.name, set(split.labels)
        ('phone/test', {-1})
    """
    root = Path(folder)
    if not root.is_dir():
        raise ConfigError(f"no folder {root}; wanted: a folder of images, with or without folders")
    found = find_images(root)
    say(found.left_out.lines())
    if not found.images:
        raise ImageError(f"no image in the folder {root}, nor in the folders in it")
    name = root.resolve().name or "unlabelled"
    if name in manifest.domains:
        name += " (unlabelled)"
    return Split(
        name,
        "test",
        root.resolve(),
        ids=tuple(found.images),
        labels=(UNLABELLED,) * len(found.images),
        decoding=manifest.decoding,
    )


def score_beside(
    runs: Given | Iterable[Given],
    splits: Sequence[Split],
    alphas: Sequence[float] = ALPHAS,
    *,
    reading: Reading | None = None,
) -> dict[str, ScoreStore]:
    """What finished runs say of images that are no reported split, with labels or without.

    It is kept in each run's folder, as beside-DIGEST.parquet: the digest is of the split's rows,
    how they are decoded, where they lie and how large their files are. A second call reads it.
    Nothing of it gets into images.parquet, scores.parquet or `results`.

    Arguments:
        runs: a Run, its folder, the first letters of its id; a list, or a folder of runs.
        splits: of `unlabelled_split`, or any other of the runs' classes.
        alphas: 0 zero-shot ... 1 tuned.
        reading: how images are read.

    Returns:
        The id of each run -> its scores of these splits at these alphas.

    Raises:
        ConfigError: for an alpha outside 0 ... 1, no split, or two of one name.
        RunError: where weights are gone, or another process writes a folder.
        ImageError: for an unreadable image, unless the reading skips bad ones.

    Example:
        >>> from clipft.evaluation.beside import score_beside, unlabelled_split
        >>> run = clipft.open_runs("runs")[0]
        >>> split = unlabelled_split("photos/phone", run.manifest)
        >>> scores = score_beside(run, [split], [0, 1])[run.id]
        >>> scores.keys
        [('phone/test', 0.0), ('phone/test', 1.0)]
    """
    wanted = sorted({check_alpha(alpha) for alpha in alphas})
    _check(splits, wanted)
    opened = open_runs(runs)
    reading = reading or Reading()
    with sharing(reading) as (ranks, look):
        ranks.by_first(lambda: _check_missing(opened, splits, wanted, look))
        benches = Benches(look, ranks=ranks)
        for run in opened:
            for split in splits:
                _score(benches, run, split, wanted)
    return {run.id: _kept(run, splits, wanted, reading) for run in opened}


def _check(splits: Sequence[Split], alphas: Sequence[float]) -> None:
    """Raise ConfigError where nothing is asked for, or two splits would be one in a table."""
    if not alphas or not splits:
        raise ConfigError("nothing to score beside; give a split, and an alpha between 0 and 1")
    names = [split.name for split in splits]
    for split in splits:
        if names.count(split.name) > 1:
            wanted = "wanted: folders of different names"
            raise ConfigError(f"two splits are called {split.name} ({split.root}); {wanted}")


def _check_missing(
    runs: Sequence[Run], splits: Sequence[Split], alphas: Sequence[float], reading: Reading
) -> None:
    """Raise ClipftError where weights, images or room are lacking for what is not scored yet."""
    asked: dict[str, Split] = {}
    for run in runs:
        precision = scoring_precision(run, reading.precision)
        for split in splits:
            missing = _missing(_file(run, split, precision), alphas)
            if not missing:
                continue
            asked[split.name] = split
            check_scorable(run)
            check_room(run.path.parent, size_of_scores(split.ids, len(missing)))
    about = {"skip_bad": reading.skip_bad, "progress": reading.progress}
    check_images_there(list(asked.values()), **about)


def _file(run: Run, split: Split, precision: str) -> Path:
    """Where a run keeps what it says of a split."""
    about = {"rows": rows_digest([split]), "precision": precision, "bytes": list(_sizes(split))}
    for field in fields(split):
        if field.name not in ROWS:
            about[field.name] = str(getattr(split, field.name))
    return run.folder.beside_file(digest(about))


def _sizes(split: Split) -> Iterator[int]:
    """Bytes of each file: another image under an old name has other ones. -1 where it is gone."""
    for name in split.ids:
        try:
            yield os.stat(split.root / name).st_size
        except OSError:
            yield -1


def _missing(file: Path, alphas: Sequence[float]) -> list[float]:
    """The alphas at which a split is not scored yet."""
    known = ImagesFile(file, with_ids=False).alphas if file.exists() else []
    return [alpha for alpha in alphas if alpha not in known]


def _score(benches: Benches, run: Run, split: Split, alphas: Sequence[float]) -> None:
    """Score what is missing of one split; the first rank holds the run's folder, and writes."""
    ranks: Ranks = benches.ranks
    file = _file(run, split, scoring_precision(run, benches.reading.precision))
    if ranks.first_says(lambda: not _missing(file, alphas)):
        return
    mixtures = benches.of(run).mixtures(run)
    with run.folder.lock() if ranks.is_first else contextlib.nullcontext():
        ranks.wait_for_first()
        missing = _missing(file, alphas)
        scores = mixtures.score([split], missing, scores=Gathered(run.path))
        if ranks.is_first:
            known: list[Any] = [ImagesFile(file)] if file.exists() else []
            with held(), atomic(file) as temporary:
                write_images(temporary, Listed([*known, scores]))
        ranks.wait_for_first()


def _kept(
    run: Run, splits: Sequence[Split], alphas: Sequence[float], reading: Reading
) -> ScoreStore:
    """What lies in a run's folder of these splits, at these alphas."""
    precision = scoring_precision(run, reading.precision)
    stores = [ImagesFile(_file(run, split, precision)) for split in splits]
    both = Listed(stores)
    return both.among([key for key in both.keys if key[1] in alphas])
