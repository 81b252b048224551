"""Finished runs are scored, and what was made is kept in their folders; or written as models that
others can use.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from ..config import ALPHAS, GAP_TEXTS, TUNED, ZERO_SHOT, Reading, check_alpha
from ..errors import ConfigError
from ..inputs.prompts import special_tokens, templates
from ..models.export import write_export
from ..models.outgoing import Outgoing
from ..posthoc.weights import Weights
from ..posthoc.wise import wise
from ..runs.card import model_card
from ..runs.checks import (
    check_export,
    check_precision,
    check_scorable,
    check_scoring,
    check_tracker,
)
from ..runs.formats import DEFAULT_FORMAT
from ..runs.image_scores import Gathered
from ..runs.made import SCORING
from ..runs.run import Run, open_runs
from ..runs.scores import Listed, ScoreStore, table
from ..stops import Interrupted, held
from .bench import Bench, Benches
from .launch import sharing
from .mixtures import NO_ADAPTIVE, Refine
from .recorder import recorded
from .trackers import track_scores

Given = Run | Path | str


def score(
    runs: Given | Iterable[Given],
    alphas: Sequence[float] = ALPHAS,
    *,
    adaptive: float = 0.0,
    summarise: bool = True,
    reading: Reading | None = None,
    gap_texts: int = GAP_TEXTS,
) -> list[Run]:
    """Score what is missing of one run, several, or a folder of runs; alike ones share one model.

    What the model at each alpha says of every image of the reported splits is kept as
    images.parquet, every metric of it, with 95 % intervals, as scores.parquet: read them by
    `Run.scores`, `Run.table`.

    Arguments:
        runs: a Run, its folder, the first letters of its id; a list, or a folder of runs.
        alphas: 0 zero-shot ... 1 tuned.
        adaptive: also score between alphas, where the accuracy of a split bends by more than this
            fraction.
        summarise: off, no scores.parquet is written, and `results` shows nothing new: enough for a
            diagnosis, which asks the images.
        reading: how images are read.
        gap_texts: how many random texts the energy gap is measured on.

    Returns:
        The runs.

    Raises:
        ConfigError: for an alpha outside 0 ... 1, adaptive alphas of an ensemble, and a precision
            other than that of the scores that a run has.
        RunError: where another process writes a folder, or the model is no longer what a run was
            made of.

    Example:
        >>> (run,) = clipft.score(clipft.open_runs("runs")[0], [0.37])
        >>> table = run.table()
        >>> bool((table.alpha == 0.37).any())
        True
    """
    wanted = sorted({check_alpha(alpha) for alpha in alphas})
    if not wanted:
        raise ConfigError("no alpha to score; give at least one between 0 and 1")
    refine = Refine(adaptive) if adaptive else None
    wish = _Wish(wanted, refine, summarise)
    scored = open_runs(runs)
    if refine is not None and any(run.is_ensemble for run in scored):
        raise ConfigError(NO_ADAPTIVE)
    reading = reading or Reading()
    check_tracker(reading.log)
    with sharing(reading) as (ranks, look):
        unscored = [run for run in scored if wish.lacks(run)]
        check_precision(scored, look.precision)
        about = {"skip_bad": look.skip_bad, "progress": look.progress}
        ranks.by_first(lambda: _check(unscored, wish, **about))
        benches = Benches(look, gap_texts, ranks)
        for run in scored:
            bench = benches.of(run)
            if ranks.first_says(partial(wish.lacks, run)):
                _score(bench, run, wish)
        ranks.by_first(lambda: track_scores(look.log, scored))
    return scored


@dataclass(frozen=True)
class _Wish:
    """What is to be scored: these alphas, and more where it is refined, with their metrics."""

    alphas: Sequence[float]
    refine: Refine | None
    summarise: bool

    def lacks(self, run: Run) -> bool:
        """Whether something of it may have to be scored."""
        return self.refine is not None or not self._has(run, summarised=self.summarise)

    def asks_weights(self, run: Run) -> bool:
        """Whether images may have to be shown to the run's models."""
        return self.refine is not None or not self._has(run, summarised=False)

    def _has(self, run: Run, *, summarised: bool) -> bool:
        return set(self.alphas) <= _scored_alphas(run, summarised=summarised)


def _check(runs: Sequence[Run], wish: _Wish, *, skip_bad: bool, progress: bool) -> None:
    """Raise ClipftError where weights or images are gone that scoring these runs asks for."""
    for run in runs:
        if wish.asks_weights(run):
            check_scorable(run)
    check_scoring(runs, wish.alphas, skip_bad=skip_bad, progress=progress)


def _score(bench: Bench, run: Run, wish: _Wish) -> None:
    """Score what is missing of a run; the first rank holds its folder, and writes."""
    ranks = bench.ranks
    with run.folder.lock() if ranks.is_first else contextlib.nullcontext():
        ranks.wait_for_first()  # or the others would go on where it is refused
        _score_images(bench, run, wish)
        if wish.summarise:
            alphas = wish.alphas if wish.refine is None else None
            ranks.by_first(lambda: _summarise(run, alphas))


def _scored_alphas(run: Run, *, summarised: bool) -> set[float]:
    """Alphas of which the images are there, and their metrics too where these are asked for."""
    folder = run.folder
    if not folder.images_file.exists():
        return set()
    if not summarised:
        return set(folder.image_scores(with_ids=False).alphas)
    return set(folder.scores()["alpha"]) if folder.is_scored else set()


def _score_images(bench: Bench, run: Run, wish: _Wish) -> None:
    """Add what the model says at the missing alphas to images.parquet."""
    known: ScoreStore = Listed([])
    if run.folder.images_file.exists():
        known = run.folder.image_scores(with_ids=False)
    missing = [alpha for alpha in wish.alphas if alpha not in known.alphas]
    if not missing and wish.refine is None:
        return
    splits = bench.reported_splits(run.config)
    mixtures = bench.mixtures(run)
    ranks = bench.ranks
    if not ranks.is_first:
        mixtures.score(splits, missing, wish.refine, known)
        ranks.wait_for_first()
        return

    about = {"gap_texts": bench.gap_texts, "precision": mixtures.student.precision}
    with contextlib.ExitStack() as kept_whole:
        with recorded(run.folder, bench.device, SCORING, ranks.count, **about) as part:
            scores = Gathered(run.path)
            scores.go_on(run.folder.unfinished_file, about)
            try:
                more = mixtures.score(splits, missing, wish.refine, known, scores)
                kept_whole.enter_context(held())  # a signal waits until the scores are there
            except Interrupted as stop:
                with held():
                    kept = scores.keep(run.folder.unfinished_file, about)
                stop.saved = f"{kept} of {len(splits)} splits are scored in {run.folder}"
                raise
            part["alphas"] = more.alphas
        # Last: whoever finds images finds in which precision they were scored.
        if more:
            run.folder.add_images(more)
        run.folder.unfinished_file.unlink(missing_ok=True)
    ranks.wait_for_first()


def _summarise(run: Run, alphas: Sequence[float] | None) -> None:
    """Add the metrics of these alphas, or of all that are scored, to scores.parquet."""
    import pandas as pd

    summary = run.folder.scores() if run.folder.is_scored else None
    summarised = set() if summary is None else set(summary["alpha"])
    scores = run.folder.image_scores(with_ids=False)
    keys = []
    for split, alpha in scores.keys:
        is_asked_for = alphas is None or alpha in alphas
        if is_asked_for and alpha not in summarised:
            keys.append((split, alpha))
    if not keys:
        return
    told = run.folder.scored_by
    rows = table(scores.among(keys), run.reference, run.config.train_domains, told)
    whole = pd.concat([summary, rows])
    run.folder.write_scores(whole.sort_values("alpha", kind="stable", ignore_index=True))


def export(
    run: Given,
    folder: Path | str,
    alpha: float = TUNED,
    *,
    format: str = DEFAULT_FORMAT,
    half: bool = False,
    reading: Reading | None = None,
) -> Path:
    """Write a run's model at this alpha as a folder for open_clip, or for another library.

    The head and the class names lie beside it; open_clip alone would classify with the zero-shot
    head. README.md is a model card: what the run's records say of it. A folder is whole or absent:
    an older export in it goes once the new one is there, other files stay. A model that was
    pre-trained here from random weights knows only the tokens of its captions: those are listed in
    clipft.json (random texts are drawn from them), and the embeddings of all others are set to 0.

    Arguments:
        run: a Run, its folder, or the first letters of its id.
        folder: where to write.
        alpha: 0 zero-shot ... 1 tuned.
        format: open_clip, a `local-dir:` folder; huggingface, a CLIPModel of transformers;
            state_dict, a .pt under open_clip's names; openai, a .pt under those of OpenAI's
            package; onnx, the vision tower and the head (pip install 'clipft[onnx]').
        half: in fp16.
        reading: on which device.

    Returns:
        The folder.

    Raises:
        ConfigError: for an unknown format, and a model that it cannot hold.
        MissingExtra: for onnx, where it is not installed.
        RunError: for an ensemble, which has no weights.
        StorageError: where a file of somebody else is in the way.

    Example:
        >>> folder = clipft.export(clipft.open_runs("runs")[0], "tuned", alpha=0.5)
        >>> sorted(file.name for file in folder.iterdir())[-2:]
        ['open_clip_config.json', 'open_clip_model.safetensors']
    """
    run = Run.open(run)
    target = check_export(run, folder, alpha, format, half=half)
    bench = Bench.of(run, reading)
    mixtures = bench.mixtures(run)
    weights = wise(mixtures.start, mixtures.tuned, alpha)
    notes = _notes(bench, run, alpha)
    if run.config.pretrained == "none" and run.config.entry.trains == "both":
        known_tokens = bench.captions().vocabulary()
        notes["random_text_tokens"] = known_tokens
        _forget_other_tokens(weights, bench, known_tokens)
    mixtures.student.load_state_dict(weights)
    dtype = torch.float16 if half else None
    outgoing = Outgoing(bench.clip, mixtures.student, bench.manifest.names, dtype)
    card = model_card(run, alpha, target, half=half)
    return write_export(folder, outgoing, target, notes, card)


def _notes(bench: Bench, run: Run, alpha: float) -> dict[str, Any]:
    """What an export's files do not say: where it is from, and how classes become texts."""
    return {
        "clipft": __version__,
        "run": run.id,
        "alpha": alpha,
        "templates": list(templates(bench.manifest)),
        "head": _head_of(run, alpha),
    }


def _head_of(run: Run, alpha: float) -> str:
    """Whether the head is what the text tower says of the classes, or was tuned."""
    config = run.config
    is_given = config.entry.two_towers or config.head == "frozen" or alpha == ZERO_SHOT
    return "zero-shot" if is_given and not config.head_from else "tuned"


def _forget_other_tokens(weights: Weights, bench: Bench, known_tokens: Sequence[int]) -> None:
    """Set the embeddings of all tokens that were never trained to 0, in place."""
    known = [*known_tokens, *special_tokens(bench.clip.tokenizer), 0]
    for name, tensor in weights.items():
        if name.endswith("token_embedding.weight"):
            unknown = torch.ones(len(tensor), dtype=torch.bool, device=tensor.device)
            unknown[known] = False
            tensor[unknown] = 0
