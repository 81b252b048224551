"""What made shifts say of real ones: by accuracy on them, and by agreement with zero-shot on them.

    python papermill_runs/made_agreement.py papermill_runs/out/without_labels/runs

Prints, for each reference, Spearman's rank correlation with the mean accuracy on the real shifts,
over all runs and alphas above 0. The made shifts are those that `clipft tune` chooses on: some
kinds at the middle severity, of validation images.
"""

import sys

import numpy as np
import pandas as pd

import clipft
from clipft.config import ZERO_SHOT
from clipft.evaluation.beside import score_beside
from clipft.metrics.without_labels import agreement
from clipft.runs.run import Run
from clipft.tuning.beside import KINDS, splits_beside

DATA = "emoji_made"  # the data set of the runs, with made shifts of all fifteen kinds
CHOSEN_ON = {f"made_{kind}_3" for kind in KINDS}
SAID = ["made accuracy", "made agreement", "val accuracy"]


def rows_of(run: Run) -> list[dict[str, float | str]]:
    """A row per alpha above 0: what made shifts say, and the mean accuracy on real ones."""
    manifest = clipft.load_manifest(DATA).trained_on([run.reference], run.reference)
    splits = [split for split in splits_beside(manifest, ()) if split.domain in CHOSEN_ON]
    store = run.folder.image_scores(with_ids=False)
    scores = score_beside(run, splits, store.alphas)[run.id]
    real_shifts = manifest.shifts(run.reference, made=False)
    rows = []
    for alpha in store.alphas:
        if alpha == ZERO_SHOT:
            continue
        right = []
        same = []
        for split in splits:
            here = scores.read((split.name, alpha))
            right.append(here.correct.mean())
            zero_shot = scores.read((split.name, ZERO_SHOT))
            same.append(agreement(here.prediction, zero_shot.prediction).value)
        real = [store.read((f"{shift}/test", alpha)).correct.mean() for shift in real_shifts]
        val = store.read((f"{run.reference}/val", alpha)).correct.mean()
        said = dict(zip(SAID, (np.mean(right), np.mean(same), val), strict=True))
        rows.append({"reference": run.reference, "real": float(np.mean(real)), **said})
    return rows


def main(runs: str) -> None:
    """Print the correlations of each reference."""
    rows = []
    for run in clipft.open_runs(runs):
        rows += rows_of(run)
    table = pd.DataFrame(rows)
    for reference, models in table.groupby("reference"):
        found = models[SAID].corrwith(models.real, method="spearman").round(2)
        said = ", ".join(f"{name} {value:.2f}" for name, value in found.items())
        sys.stdout.write(f"{reference}, {len(models)} models: {said}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
