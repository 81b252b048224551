"""A run is scored again from its weights and compared with what its folder records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..config import GAP_TEXTS, Reading, check_alpha
from ..disk.cache import without_memory
from ..disk.files import file_digest
from ..errors import ImageError, RunError, WeightsError
from ..runs.checks import check_precision, check_scoring, check_verifiable, weight_bearers
from ..runs.made import SCORING, Made, is_alike
from ..runs.run import Run
from ..runs.scores import Listed, Scores, ScoreStore, table
from .bench import Bench, Benches, compare_digests
from .recorder import part_on

Given = Run | Path | str

TOLERANCE = 1e-3  # of a number or of 1, whichever is larger; what another device may add up to
CLASSES = ("label", "prediction", "group")  # near to each other means nothing
METRIC = ["alpha", "split", "metric"]  # name a row of the metrics
NUMBERS = ["mean", "low", "high"]


@dataclass(frozen=True)
class Difference:
    """Where what is recorded and what was scored again are furthest apart.

    size: as a part of the recorded number or of 1, whichever is larger; of predicted classes the
    fraction of the split's images.
    """

    size: float
    where: str  # the file, the number and its place, in words
    recorded: str
    again: str

    def __str__(self) -> str:
        return f"{self.where} is {self.recorded}, scored again {self.again}"


@dataclass(frozen=True)
class Verification:
    """What came of scoring a run again; its text is one line.

    Arguments:
        run: the run's id.
        numbers: how many were compared.
        alphas: at which it was scored again.
        tolerance: differences up to it are let pass.
        faults: what else is not as recorded, in words: weights, model, manifest, images.
        largest: the largest difference; None where all is equal to the bit.
        made: how it was made then where that was with other things than now, in words.

    Example:
        >>> verification = clipft.verify(clipft.open_runs("runs")[0], alphas=[0, 1])
        >>> verification.is_equal, verification.holds
        (True, True)
    """

    run: str
    numbers: int
    alphas: tuple[float, ...]
    tolerance: float
    faults: tuple[str, ...] = ()
    largest: Difference | None = None
    made: str = ""

    @property
    def is_equal(self) -> bool:
        """Whether all is as recorded, to the bit."""
        return not self.faults and self.largest is None

    @property
    def holds(self) -> bool:
        """Whether all is as recorded within the tolerance."""
        return not self.faults and (self.largest is None or self.largest.size <= self.tolerance)

    def __str__(self) -> str:
        said = list(self.faults)
        if self.largest is not None:
            within = "within" if self.largest.size <= self.tolerance else "beyond"
            size = f"largest difference {self.largest.size:.2g}, {within} {self.tolerance:g}"
            said.append(f"{size}: {self.largest}")
            if self.made:
                said.append(f"it was scored with {self.made}")
        elif self.numbers:
            alphas = f"{len(self.alphas)} alphas"
            if len(self.alphas) == 1:
                alphas = f"alpha {self.alphas[0]:g}"
            said.append(f"{self.numbers} numbers at {alphas} equal to the bit")
        verdict = "verified" if self.holds else "NOT as recorded"
        return f"{self.run} {verdict}: {'; '.join(said)}"


def verify(
    run: Given,
    alphas: Sequence[float] = (),
    *,
    tolerance: float = TOLERANCE,
    reading: Reading | None = None,
) -> Verification:
    """Score a run again from its weights and compare with its recorded scores; nothing is written.

    No embedding is taken from the cache: weights, images and texts are gone through anew. Compared
    are every score of every image, every metric and its interval; the digests of the weights' file,
    of the zero-shot model, of the manifest and of the lists of images. The images that were trained
    on are not looked at, and what an older clipft did not record is not compared.

    Arguments:
        run: a Run, its folder, or the first letters of its id.
        alphas: some of those that are recorded; default: all of them.
        tolerance: of a number, as a part of it or of 1, whichever is larger; of predicted classes
            the fraction of a split's images that may differ.
        reading: how images are read, and on which device.

    Returns:
        The verification, whose text is one line.

    Raises:
        RunError: where the run was not scored, or not at such an alpha.
        ConfigError: for an alpha outside 0 ... 1, a precision in which it was not scored, or where
            its data set is not here.

    Example:
        >>> run = clipft.open_runs("runs")[0]
        >>> str(clipft.verify(run, alphas=[1])).partition(" numbers ")[2]
        'at alpha 1 equal to the bit'
    """
    (verification,) = verify_runs([run], alphas, tolerance=tolerance, reading=reading)
    return verification


def verify_runs(
    runs: Iterable[Given],
    alphas: Sequence[float] = (),
    *,
    tolerance: float = TOLERANCE,
    reading: Reading | None = None,
) -> Iterator[Verification]:
    """The same of several, one by one; those of one model and data set share what they can."""
    reading = reading or Reading()
    benches: dict[int, Benches] = {}
    opened = [Run.open(given) for given in runs]
    check_precision(opened, reading.precision)
    for run in opened:
        check_verifiable(run)
        try:
            recorded = run.folder.image_scores()
        except RunError as error:  # the file is damaged
            yield Verification(run.id, 0, (), tolerance, (str(error),))
            continue
        chosen = _chosen_alphas(run, alphas, recorded.alphas)
        comparison = _Comparison(run, recorded, chosen)
        with without_memory():
            comparison.score_again(reading, benches)
        yield comparison.verification(tolerance)


def _chosen_alphas(run: Run, alphas: Sequence[float], recorded: Sequence[float]) -> list[float]:
    for alpha in alphas:
        if check_alpha(alpha) not in recorded:
            there = ", ".join(f"{known:g}" for known in recorded)
            raise RunError(f"{run.folder} is not scored at alpha {alpha:g}; recorded: {there}")
    return sorted(set(alphas) or recorded)


class _Comparison:
    """The recorded scores of a run beside those that are made again, and what is not alike."""

    def __init__(self, run: Run, recorded: ScoreStore, alphas: Sequence[float]):
        self.run = run
        self.alphas = alphas
        self.recorded = recorded.among([key for key in recorded.keys if key[1] in alphas])
        self.made = Made.of(run.folder)
        self.faults: list[str] = []
        self.of_images: list[Difference] = []
        self.of_metrics: list[Difference] = []
        self.numbers = 0
        self.other = ""

    def score_again(self, reading: Reading, benches: dict[int, Benches]) -> None:
        """Score at every alpha, on as many random texts as then; compare images, then metrics."""
        self._check_weights()
        parts: list[ScoreStore] = []
        try:
            check_scoring([self.run], skip_bad=reading.skip_bad, progress=reading.progress)
            for texts, alphas in self._by_texts().items():
                bench = benches.setdefault(texts, Benches(reading, texts)).of(self.run)
                self._check_rows(bench)
                splits = bench.reported_splits(self.run.config)
                parts.append(bench.mixtures(self.run).score(splits, alphas))
                self.other = self.other or self._scored_otherwise(bench.device)
        except (RunError, WeightsError, ImageError) as error:
            # What follows ; is advice to somebody who trains.
            self.faults.append(str(error).partition(";")[0])
            return
        scores = Listed(parts)
        self._compare_images(scores)
        self._compare_metrics(scores)

    def verification(self, tolerance: float) -> Verification:
        """What came of it; of differences that are too large an image's is named first."""
        largest = _largest(self.of_images)
        of_metrics = _largest(self.of_metrics)
        if of_metrics is not None and (
            largest is None or largest.size <= min(tolerance, of_metrics.size)
        ):
            largest = of_metrics
        return Verification(
            run=self.run.id,
            numbers=self.numbers,
            alphas=tuple(self.alphas),
            tolerance=tolerance,
            faults=tuple(self.faults),
            largest=largest,
            made=self.other,
        )

    def _check_weights(self) -> None:
        """Compare the digests of the weights' files, where they were recorded."""
        files = [(member, member.folder.weights_file) for member in weight_bearers(self.run)]
        if self.run.rule is not None:
            files.append((self.run, self.run.folder.mixture_file))
        for owner, file in files:
            recorded = Made.of(owner.folder).weights
            now = file_digest(file)
            if recorded and recorded != now:
                fault = f"{file} is not the file that was written"
                self.faults.append(f"{fault} (digest {recorded} recorded, {now} now)")

    def _check_rows(self, bench: Bench) -> None:
        """Raise RunError where the data set lists other rows to train or choose on today."""
        config = self.run.config
        if "rows_digest" not in self.run.made_of:
            return  # an older clipft did not look, and nobody knows what a stranger trained on
        compare_digests(self.run.folder, self.run.made_of, bench.rows_of(config), config.model)

    def _by_texts(self) -> dict[int, list[float]]:
        """How many random texts energy gaps were measured on -> alphas."""
        texts = dict.fromkeys(self.alphas, GAP_TEXTS)  # an older clipft did not write it down
        for part in self.made.of_work(SCORING):
            for alpha in part.get("alphas", ()):
                if alpha in texts:
                    texts[alpha] = part.get("gap_texts", GAP_TEXTS)
        by_texts: dict[int, list[float]] = {}
        for alpha, count in texts.items():
            by_texts.setdefault(count, []).append(alpha)
        return by_texts

    def _scored_otherwise(self, device: str) -> str:
        """What it was scored with then, where that is something else than now."""
        now = part_on(device, SCORING)
        for part in self.made.of_work(SCORING):
            if not is_alike(part, now):
                then = Made((part,))
                return f"{then.versions} on {then.devices}, threads {then.threads}"
        return ""

    def _compare_images(self, scores: ScoreStore) -> None:
        again = list(scores.keys)
        for old in self.recorded:
            key = (old.split, old.alpha)
            if key not in again:
                self.faults.append(f"{old.split} is recorded, but is no reported split now")
                continue
            again.remove(key)
            new = scores.read(key)
            if old.ids != new.ids:
                counts = f"{len(old.ids)} recorded, {len(new.ids)} now"
                self.faults.append(f"{old.split} at alpha {old.alpha:g} has other images: {counts}")
            else:
                self._compare_split(old, new)
        for split, alpha in again:
            file = self.run.folder.images_file.name
            self.faults.append(f"{file} lacks {split} at alpha {alpha:g}")

    def _compare_split(self, old: Scores, new: Scores) -> None:
        """Each column of two scores of the same images; an older clipft has fewer."""
        now = new.columns()
        for name, before in old.columns().items():
            if name in now:
                self.numbers += before.size
                sizes = _sizes(before, now[name], is_class=name in CLASSES)
                if sizes.any():
                    at = int(sizes.argmax())
                    # Of classes it counts how many are others.
                    size = sizes.mean() if name in CLASSES else sizes[at]
                    where = f"{name} of {old.ids[at]} ({old.split}, alpha {old.alpha:g})"
                    self.of_images.append(_difference(size, where, before[at], now[name][at]))

    def _compare_metrics(self, scores: ScoreStore) -> None:
        """Each metric and its interval against those of the scores that were made again."""
        folder = self.run.folder
        if not folder.is_scored:
            return
        try:
            recorded = folder.scores()
        except RunError as error:
            self.faults.append(str(error))
            return
        config = self.run.config
        again = table(scores, self.run.reference, config.train_domains, folder.scored_by)
        both = recorded[recorded["alpha"].isin(self.alphas)].merge(
            again, on=METRIC, how="left", suffixes=("", "_again"), indicator=True
        )
        for row in both[both["_merge"] == "left_only"].itertuples():
            self.faults.append(f"{row.metric} of {row.split} is recorded, but not made again")
        both = both[both["_merge"] == "both"].reset_index(drop=True)
        for name in NUMBERS:
            before = both[name].to_numpy()
            now = both[f"{name}_again"].to_numpy()
            self.numbers += before.size
            sizes = _sizes(before, now, is_class=False)
            if sizes.any():
                at = int(sizes.argmax())
                row = both.iloc[at]
                where = f"{name} of {row.metric} ({row['split']}, alpha {row.alpha:g})"
                where = f"in {folder.scores_file.name} the {where}"
                self.of_metrics.append(_difference(sizes[at], where, before[at], now[at]))


def _sizes(before: np.ndarray, now: np.ndarray, *, is_class: bool) -> np.ndarray:
    """(N,) how far each number is off; 0 where it is equal to the bit, or both are NaN."""
    if is_class:
        return (before != now).astype(float)
    before = before.astype(float)
    now = now.astype(float)
    sizes = np.abs(before - now) / np.maximum(1, np.abs(before))
    sizes[np.isnan(before) & np.isnan(now)] = 0
    return np.nan_to_num(sizes, nan=np.inf)


def _difference(size: float, where: str, recorded: object, again: object) -> Difference:
    return Difference(float(size), where, recorded=_text(recorded), again=_text(again))


def _text(value: object) -> str:
    """A number with nine digits; a group as it is called."""
    return value if isinstance(value, str) else f"{value:.9g}"


def _largest(differences: Sequence[Difference]) -> Difference | None:
    return max(differences, key=lambda difference: difference.size, default=None)
