"""What `clipft pick --unlabelled FOLDER` adds: a choice that looks at images without labels, and
what accuracy it may have there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import TUNED, ZERO_SHOT
from ..errors import ConfigError
from ..runs.choosing import AGREEMENT, AMONG, candidates, choices, has_shift, verdict
from ..runs.run import Run, open_runs
from ..runs.scores import Listed, ScoreStore
from ..runs.shift_estimates import ESTIMATORS, LINES, agreements, shift_estimates
from .terminal_tables import show, show_frame

if TYPE_CHECKING:
    import pandas as pd

    from ..config import Reading

LIMIT = (
    "no estimate can know what a shift does to confidence or agreement: an interval is of images"
    " alone, and clipft.track_record tells how far each was off where labels are known"
)


def pick_unlabelled(
    results: pd.DataFrame, runs: str, folders: Sequence[Path], among: str, reading: Reading
) -> None:
    """Score folders beside, choose with them, and say what is estimated of what was chosen."""
    candidates(results, with_shift=has_shift(results))  # raises, before anything is scored
    opened = [run for run in open_runs(runs) if run.folder.is_scored]
    beside = _scored_beside(opened, folders, reading)
    names = list(dict.fromkeys(split for store in beside.values() for split, _ in store.keys))
    said = shift_estimates(opened, estimators=["agreement"], beside=beside, resamples=0)
    agreement = agreements(said, names)
    chosen = choices(results, among, agreement)
    words = f"fractions; agreement: with zero-shot on the unlabelled images, at least {AGREEMENT:g}"
    show_frame(chosen, words)
    if has_shift(results):
        print(f"by energy gap instead of accuracy: {verdict(chosen)}")

    taken = _taken(chosen, among)
    by_id = {run.id: run for run in opened}
    lines = shift_estimates(opened, estimators=LINES, beside=beside, resamples=0)
    rows: list[dict[str, Any]] = []
    for run, alpha in taken:
        told = _estimates_of(by_id[run], alpha, beside)
        of_line = lines[(lines.run == run) & (lines.alpha == alpha)]
        of_run = agreement[(agreement.run == run) & (agreement.alpha == alpha)]
        for name in names:
            row = {"run": run, "alpha": f"{alpha:g}", "images": name}
            row |= {"agreement": f"{100 * of_run.agreement.iloc[0]:.1f}"}
            rows.append(row | _row(told, name) | _row(of_line, name))
    show(rows, "estimated accuracy in %, with 95 % intervals over images, of what agreement takes")
    for why in lines[lines["split"].isin(names) & (lines.why != "")].why.unique():
        print(f"left out: {why}")
    print(LIMIT)


def _scored_beside(
    runs: Sequence[Run], folders: Sequence[Path], reading: Reading
) -> dict[str, ScoreStore]:
    """Each run's scores of the folders at the alphas at which it is scored, and zero-shot's."""
    from ..evaluation.beside import score_beside, unlabelled_split

    splits = [unlabelled_split(folder, runs[0].manifest) for folder in folders]
    alike: dict[tuple[float, ...], list[Run]] = {}
    for run in runs:
        scored = run.folder.image_scores(with_ids=False).alphas
        alphas = tuple(sorted({ZERO_SHOT, *scored}))
        alike.setdefault(alphas, []).append(run)
    found: dict[str, ScoreStore] = {}
    for alphas, some in alike.items():
        found |= score_beside(some, splits, alphas, reading=reading)
    return {run: Listed([store]) for run, store in found.items()}


def _taken(chosen: pd.DataFrame, among: str) -> list[tuple[str, float]]:
    """Run and alpha of what the rule takes, each once."""
    group_by, chosen_by = AMONG[among]
    taken: dict[tuple[str, float], None] = {}
    for row in chosen.to_dict("records"):
        told = {group_by: row[group_by], chosen_by: row[f"agreement: {chosen_by}"]}
        taken[told["run"], told.get("alpha", TUNED)] = None
    return list(taken)


def _estimates_of(run: Run, alpha: float, beside: dict[str, ScoreStore]) -> pd.DataFrame:
    """What each estimator of one model says."""
    names = []
    for name, estimator in ESTIMATORS.items():
        if estimator.estimates and name not in LINES:
            names.append(name)
    return shift_estimates(run, [alpha], estimators=names, beside=beside)


def _row(estimates: pd.DataFrame, split: str) -> dict[str, str]:
    """A column for each estimator that says an accuracy."""
    row = {}
    for line in estimates[estimates["split"] == split].to_dict("records"):
        if line["why"]:
            continue
        text = f"{100 * line['estimate']:.1f}"
        if line["low"] == line["low"]:  # not nan
            text += f" [{100 * line['low']:.1f}, {100 * line['high']:.1f}]"
        row[line["estimator"]] = text
    return row


def check_folders(folders: Sequence[Path]) -> None:
    """Raise ConfigError for what is no folder, before anything is scored."""
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"no folder {folder}; --unlabelled wants a folder of images")
