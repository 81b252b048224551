"""What a board asks of single runs: the scores of every image, their pictures, the images."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..config import TUNED
from ..data.images import coarser
from ..errors import ClipftError, RunError, unknown
from ..figures.calibration import reliability_slider_figure
from ..figures.energy_map import rows_in
from ..figures.style import called, domains_of
from ..figures.training import training_figure
from ..figures.wise import sweep_figure
from ..metrics.calibration import BINS
from ..runs.folder import run_folders
from ..runs.run import Run, read_sweep
from ..runs.scores import Scores
from ..runs.thumbnails import Thumbnails
from .desk import Answer, Desk, Question, SavedImages, painted, said

if TYPE_CHECKING:
    import pandas as pd

    from ..diagnostics.energy_map import EnergyMap
    from ..runs.sweep import Sweep

BESIDE = 12  # so many runs' curves are drawn thin beside the one that is shown, at most
ROOM_OF_IMAGES = 3_150_000  # bytes of thumbnails in a saved page
QUALITIES = (80, 60, 45, 30)  # of WebP, the first as they are packed
KEPT = 16  # runs whose scores are held in memory
STEPS = 65535  # in so many confidences are told, and the energy gaps of many runs


def id_of(sweep: Sweep, place: int = 0) -> str:
    """What a board calls a run: its folder's name; of one without, its place among others."""
    return f"sweep-{place}" if sweep.folder is None else sweep.folder.name


class Sweeps:
    """The runs of a board, each read when it is asked for.

    Arguments:
        titles: id -> title.
        read: id -> its sweep.
        bins: of reliability diagrams.
        folder: of the runs; runs that come into it later are known, too.
    """

    def __init__(
        self,
        titles: Mapping[str, str],
        read: Callable[[str], Sweep],
        bins: int = BINS,
        folder: Path | str = "",
    ):
        self.titles = dict(titles)
        self.folder = folder
        self.state: Mapping[str, Any] = {}
        # Of hundreds of runs a few are looked at; all would not fit into memory.
        self.sweep = lru_cache(KEPT)(read)
        self.small = lru_cache(KEPT)(lambda run: Thumbnails(self.sweep(run)))
        self.ids = lru_cache(KEPT)(lambda run: frozenset(self.sweep(run).keys.tolist()))
        self.bins = bins

    @classmethod
    def of(cls, sweeps: Iterable[Sweep], bins: int = BINS) -> Sweeps:
        """Of sweeps that are read already."""
        named = {id_of(sweep, place): sweep for place, sweep in enumerate(sweeps)}
        titles = {run: ", ".join(sweep.called) for run, sweep in named.items()}
        return cls(titles, named.__getitem__, bins)

    @classmethod
    def in_folder(cls, folder: Path | str, results: pd.DataFrame) -> Sweeps:
        """Of the runs of a folder, which these results are of."""
        rows = results.drop_duplicates("run").to_dict("records")
        titles = {row["run"]: called(row) for row in rows}
        return cls(titles, lambda run: read_sweep(Path(folder) / run), folder=folder)

    @property
    def runs(self) -> list[tuple[str, str]]:
        """(title, id) of each."""
        return [(title, run) for run, title in self.titles.items()]

    def asked(self, question: Question) -> str:
        """The run of a question; raises RunError for one that is not here."""
        run = question["run"]
        if run not in self.titles and not self._came(run):
            raise unknown("run", run, self.titles)
        return run

    def _came(self, run: str) -> bool:
        """Whether a run is in the folder that was not at first."""
        return bool(self.folder) and run in {own.name for own in run_folders(self.folder)}

    def forget(self) -> None:
        """Read again what may have been scored since."""
        for kept in (self.sweep, self.small, self.ids):
            kept.cache_clear()

    def teach(
        self, desk: Desk, state: Mapping[str, Any], *figures: str, tiles: bool = True
    ) -> None:
        """Let a desk answer what is asked of single runs.

        state: of the board, as it is when it is saved. figures: pictures that views show; tiles:
        whether they show images.
        """
        self.state = state

        def each() -> list[dict[str, str]]:
            return [{"run": run} for run in self.saved_runs]

        desk.teach("sweep", self.scores, saved=each)
        if tiles:
            desk.teach("thumbnails", self.thumbnails)
            desk.teach("image", self.image)
        if "wise" in figures:
            desk.teach("figure wise", self.wise, saved=each)
        if "reliability" in figures:
            desk.teach("figure reliability", self.reliability, saved=self._each_split)
        if "training" in figures:
            desk.teach("figure training", self.training, saved=each)

    @property
    def saved_runs(self) -> list[str]:
        """Those that a saved page can show: the one that is shown, and a few others."""
        shown = self.state.get("run")
        first = [shown] if shown in self.titles else []
        return list(dict.fromkeys([*first, *list(self.titles)[:BESIDE]]))

    def _each_split(self) -> list[dict[str, str]]:
        """A question for each split of each of them."""
        asked = []
        for run, sweep in self._scored(self.saved_runs):
            asked += [{"run": run, "split": split} for split in sweep.splits]
        return asked

    def _scored(self, runs: Iterable[str]) -> Iterator[tuple[str, Sweep]]:
        """Each with its sweep; those without scores of single images are left out."""
        for run in runs:
            try:
                sweep = self.sweep(run)
            except ClipftError:
                continue
            yield run, sweep

    # --- scores ---

    def scores(self, question: Question) -> Answer:
        """Every test image of a run: see `Sweep` in sweep.js."""
        run = self.asked(question)
        sweep = self.sweep(run)
        rows = np.flatnonzero(sweep.split_number >= 0)
        about = {
            "run": run,
            "title": sweep.title,
            "called": ", ".join(sweep.called),
            "splits": sweep.splits,
            "domains": domains_of(sweep.splits),
            "counted": sweep.counted,
            "made": sweep.said_of_shifts.made,
            "classes": list(sweep.classes),
            "metric": sweep.scored_by.title,
            "accuracies": sweep.accuracy.tolist(),
        }
        arrays = {
            "alphas": sweep.alphas.astype(np.float64),
            # All runs of a data set have these in common: a saved page then holds them once.
            "ids": np.frombuffer("\0".join(sweep.keys[rows].tolist()).encode(), np.uint8),
            "split": _small(sweep.split_number[rows]),
            "label": sweep.label[rows].astype(np.int32),
            "prediction": _small(sweep.prediction[:, rows]),
            "confidence": np.round(sweep.confidence[:, rows] * STEPS).astype(np.uint16),
        }
        if sweep.energy_gap is not None:
            arrays["gap"] = sweep.energy_gap[-1, rows].astype(np.float32)
        return Answer(about, arrays)

    def every_run(self, question: Question) -> Answer:
        """Gap and right or wrong of each tuned run on the images of one of them.

        A run that was scored on other images, or has no gap, is left out.
        """
        wanted = self.sweep(self.asked(question))
        tested = np.flatnonzero(wanted.split_number >= 0)
        runs: list[str] = []
        gaps = []
        right = []
        for run in self.titles:
            found = self._tuned(run, wanted)
            if found is not None:
                runs.append(run)
                gaps.append(found[0])
                right.append(found[1])
        if not runs:
            raise RunError("no run has an energy gap of these images: an ensemble has none")
        gap = np.stack(gaps)  # (R, N)
        most = np.maximum(gap.max(1, keepdims=True), np.finfo(np.float32).tiny)
        steps = np.round(gap / most * STEPS).astype(np.uint16)
        scales = (most[:, 0] / STEPS).tolist()
        about = {"runs": runs, "count": len(tested), "scales": scales}
        return Answer(about, {"gap": steps, "right": np.stack(right).astype(np.uint8)})

    def every_run_saved(self) -> list[dict[str, str]]:
        """What a saved page asks of `every_run`: of the run that it opens on, where it has room."""
        run = self.state.get("run")
        if run not in self.titles:
            return []
        images = sum(len(rows) for _, sweep in self._scored([run]) for rows in sweep.rows.values())
        is_small = 2 * images * len(self.titles) < ROOM_OF_IMAGES
        return [{"run": run}] if is_small else []

    def _tuned(self, run: str, wanted: Sweep) -> tuple[np.ndarray, np.ndarray] | None:
        """Gap and correctness of a sweep's test images by a tuned run; None where it saw others."""
        gap = np.full(len(wanted.ids), np.nan, np.float32)
        right = np.zeros(len(wanted.ids), bool)
        try:
            scores = self._tuned_scores(run)
        except ClipftError:  # not scored
            return None
        for split, rows in wanted.rows.items():
            of_split = scores.get(split)
            if of_split is None or list(of_split.ids) != wanted.ids[rows].tolist():
                return None
            if of_split.energy_gap is not None:
                gap[rows] = of_split.energy_gap
            right[rows] = of_split.prediction == of_split.label
        tested = wanted.split_number >= 0
        return None if np.isnan(gap[tested]).any() else (gap[tested], right[tested])

    def _tuned_scores(self, run: str) -> Mapping[str, Any]:
        """Split -> what the tuned model says of its images; of a folder's run, these alone."""
        if self.folder:
            return Run.open(Path(self.folder) / run).scores(TUNED)
        sweep = self.sweep(run)
        return {split: _tuned_of(sweep, split) for split in sweep.splits}

    # --- pictures ---

    def wise(self, question: Question) -> Answer:
        """Its WiSE curve, those of the others thin."""
        run = self.asked(question)
        sweep = self.sweep(run)
        beside: list[Sweep] = []
        if len(self.titles) <= BESIDE:
            others = [other for other in self.titles if other != run]
            beside = [own for _, own in self._scored(others)]
        return painted(sweep_figure(sweep, sweep.middle, beside=beside))

    def reliability(self, question: Question) -> Answer:
        """Its reliability diagram on a split."""
        sweep = self.sweep(self.asked(question))
        if question["split"] not in sweep.splits:
            raise unknown("split", question["split"], sweep.splits)
        figure = reliability_slider_figure(sweep, question["split"], sweep.middle, self.bins)
        return painted(figure, bins=self.bins)

    def training(self, question: Question) -> Answer:
        """How it was trained."""
        sweep = self.sweep(self.asked(question))
        if sweep.folder is None:
            return painted(None, said=said("This sweep came without its run's folder."))
        run = Run.open(sweep.folder)
        about = said(repr(run), table=run.accuracies())
        history = run.folder.history()
        if not history:
            return painted(None, said=about)
        title = f"{run.title}, run {run.id}"
        figure = training_figure(history, title=title, last_step=run.config.steps)
        return painted(figure, said=about)

    # --- images ---

    def thumbnails(self, question: Question) -> Answer:
        """Small images of a run's ids, one after the other, and how long each is."""
        run = self.asked(question)
        own = self.small(run)
        known = self.ids(run)  # nothing else of the disk is shown
        files = [(name in known and own.bytes_of(name)) or b"" for name in question["ids"]]
        lengths = [len(file) for file in files]
        return Answer({"lengths": lengths}, {"bytes": np.frombuffer(b"".join(files), np.uint8)})

    def saved_images(self, only: Collection[str] | None = None) -> SavedImages:
        """The thumbnails that a saved page has room for; only: of these ids."""
        seen = self._most_seen()
        if only is not None:
            wanted = set(only)
            seen = [(name, run) for name, run in seen if name in wanted]
        quality = self._quality(seen)
        of_id: dict[str, bytes] = {}
        room = ROOM_OF_IMAGES
        for name, run in seen:
            image = _at_quality(self.small(run).bytes_of(name), quality)
            room -= len(image)
            if room < 0:
                break
            if image:
                of_id[name] = image
        scored = self._scored(self.saved_runs)
        data = {sweep.about.get("manifest_digest", "") for _, sweep in scored}
        return SavedImages(" ".join(sorted(map(str, data))), of_id)

    def _quality(self, seen: Sequence[tuple[str, str]]) -> int:
        """The best quality at which all of these images have room, by some of them."""
        some = seen[:: max(1, len(seen) // 100)]
        packed = [self.small(run).bytes_of(name) for name, run in some]
        for quality in QUALITIES:
            mean = sum(len(_at_quality(image, quality)) for image in packed) / max(1, len(packed))
            if mean * len(seen) <= ROOM_OF_IMAGES:
                return quality
        return QUALITIES[-1]

    def _most_seen(self) -> list[tuple[str, str]]:
        """(id, run) of all images, in the order in which a page that has no room for all takes
        them: those that some run takes for another class than zero-shot did, the most moved first.
        """
        weights: dict[str, tuple[float, str]] = {}
        for run, sweep in self._scored(self.saved_runs):
            weight = (sweep.prediction != sweep.prediction[0]).any(0).astype(float)
            if sweep.energy_gap is not None:
                gap = np.nan_to_num(sweep.energy_gap[-1])
                weight += gap / (1 + gap)
            weight[sweep.split_number < 0] = -1  # validation images are not shown
            for name, own in zip(sweep.keys.tolist(), weight.tolist(), strict=True):
                if own >= 0 and own > weights.get(name, (-1.0, ""))[0]:
                    weights[name] = (own, run)
        heaviest = sorted(weights, key=lambda name: -weights[name][0])
        return [(name, weights[name][1]) for name in heaviest]

    def image(self, question: Question) -> Answer:
        """One image, as large as a page shows it."""
        run = self.asked(question)
        name = question["id"]
        large = self.small(run).large(name) if name in self.ids(run) else None
        if large is None:
            raise RunError(f"no image at hand: {name}")
        return Answer(arrays={"bytes": np.frombuffer(large, np.uint8)})


def _tuned_of(sweep: Sweep, split: str) -> Scores:
    """One split of a sweep at alpha 1."""
    rows = sweep.rows[split]
    gap = None if sweep.energy_gap is None else sweep.energy_gap[-1, rows]
    told = (sweep.label[rows], sweep.prediction[-1, rows], sweep.confidence[-1, rows])
    nll = np.zeros(len(rows))  # a sweep holds none
    return Scores(split, TUNED, tuple(sweep.ids[rows]), *told, nll=nll, energy_gap=gap)


def map_answers(maps: Callable[[str], EnergyMap], sweeps: Sweeps) -> Callable[[Question], Answer]:
    """What answers {what: "map", run}: the places of a run's images, and their rows."""

    def answer(question: Question) -> Answer:
        run = sweeps.asked(question)
        places = maps(run)
        sweep = sweeps.sweep(run)
        # Rows as the board counts them: test images alone.
        row_of = np.cumsum(sweep.split_number >= 0) - 1
        arrays = {
            "row": row_of[rows_in(sweep, places)].astype(np.uint32),
            "before": places.before.astype(np.float32),
            "after": places.after.astype(np.float32),
        }
        return Answer(arrays=arrays)

    return answer


def _at_quality(image: bytes | None, quality: int) -> bytes:
    """A thumbnail at a quality; nothing of none."""
    if image is None or quality == QUALITIES[0]:
        return image or b""
    return coarser(image, quality)


def _small(labels: np.ndarray) -> np.ndarray:
    """Class indices in as few bytes as hold them."""
    fits = not labels.size or int(labels.max()) < 65536
    return labels.astype(np.uint16 if fits else np.int32)
