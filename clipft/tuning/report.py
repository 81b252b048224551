"""What was found, in numbers and sentences made of them: no model is asked, nothing is drawn."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..config import TUNED, ZERO_SHOT
from ..data.made_shifts import is_made, titled
from ..data.splits import SplitName
from ..metrics.calibration import ece
from ..runs.names import title_of
from ..runs.reading import class_table
from ..runs.scores import Scores, ScoreStore
from ..runs.table import reference_first
from .choose import BOUND, RECORD, Choice, Threshold, kept_above, threshold
from .estimate import WARNING, Estimate, estimate
from .plan import TINY, Plan

if TYPE_CHECKING:
    import pandas as pd

    from ..data.manifests import Manifest
    from ..runs.run import Run

MADE_RECORD = (
    "With three other hands of EmojiShift as reference, models that were better on made shifts were"
    " worse on the real ones (rank correlations -0.91 to -0.96): of made shifts it is agreement"
    " that counts."
)
PRECISION = 0.95  # of labels that are given, where the model may abstain
WORST = 8  # classes, and pairs of classes, that are listed
MOVED = 8  # images of each split that are shown
FEW = 100  # validation images below which the choice is said to be one of few


@dataclass(frozen=True)
class Report:
    """A finished `tune`: its plan, what was chosen of what, and what that model says.

    run, alpha: of the model to deploy; alpha 0 is zero-shot. beside: what the run says of the
    images that were chosen on. notes: on the data.
    """

    plan: Plan
    choice: Choice
    run: Run
    beside: ScoreStore
    notes: tuple[str, ...] = ()

    @property
    def alpha(self) -> float:
        """Of the model to deploy."""
        return float(self.choice.row["alpha"])

    @property
    def manifest(self) -> Manifest:
        """The data set."""
        return self.run.manifest

    @property
    def reference(self) -> str:
        """The test split of what was tuned on."""
        return f"{self.run.reference}/test"

    @cached_property
    def tests(self) -> pd.DataFrame:
        """Accuracy on every test split, at every alpha: what is chosen by, too, whatever else the
        data set is scored by.
        """
        table = self.run.table()
        return table[(table.part == "test") & (table.metric == "accuracy")]

    @cached_property
    def splits(self) -> list[str]:
        """The test splits: the reference, labelled shifts, made ones."""
        return reference_first(self.tests["split"].unique(), self.run.reference)

    @property
    def made(self) -> list[str]:
        """The test splits of made shifts."""
        return [split for split in self.splits if not self._is_real(split)]

    @property
    def first_shift(self) -> str:
        """The first labelled shift's test split; the reference's where there is none."""
        return next((split for split in self.splits[1:] if self._is_real(split)), self.reference)

    @cached_property
    def here(self) -> dict[str, Scores]:
        """What the model to deploy says of every split, val included."""
        return self.run.scores(self.alpha)

    @property
    def validated(self) -> Scores:
        """The same of the validation images."""
        return self.here[f"{self.run.reference}/val"]

    def told(self, split: str, alpha: float) -> str:
        """The accuracy of a split at an alpha, with its 95 % interval, in percent."""
        return _percent(self._row(split, alpha))

    def _row(self, split: str, alpha: float) -> dict[str, Any]:
        rows = self.tests[(self.tests["split"] == split) & (self.tests.alpha == alpha)]
        return rows.iloc[0].to_dict()

    # --- what to deploy

    def sentences(self) -> list[str]:
        """What to deploy and why, and how far to trust it elsewhere: three sentences."""
        return [self._what(), self._why(), self._elsewhere()]

    def _what(self) -> str:
        accuracy = self.told(self.reference, self.alpha)
        of = f"on the {self._row(self.reference, self.alpha)['n']} test images of"
        name = self.run.reference
        if self.choice.is_zero_shot:
            return f"Deploy the zero-shot model, as it is: {accuracy} {of} {name}."
        before = self.told(self.reference, ZERO_SHOT)
        return (
            f"Deploy {self.choice.called}: {accuracy} {of} {name}, where zero-shot has {before};"
            " in brackets stand 95 % intervals."
        )

    def _why(self) -> str:
        choice = self.choice
        row = choice.row
        least = f"{100 * BOUND:.0f} %"
        first = (
            f"Of {len(choice.rows)} candidates, zero-shot among them, {choice.agreeing} say on at"
            f" least {least} of the images under shift what zero-shot says"
        )
        taken = f"{100 * row['val_accuracy']:.1f} %, zero-shot {self._zero_shot_on_val():.1f} %"
        second = f"of these it is the best on the {int(row['val_n'])} validation images ({taken})"
        why = f"it is chosen so because {RECORD}"
        if choice.best["val_accuracy"] > row["val_accuracy"]:
            best = f"{100 * choice.best['val_accuracy']:.1f} %"
            second += f", where the best of all has {best}"
        return f"{first}; {second}; {why}."

    def _zero_shot_on_val(self) -> float:
        rows = self.choice.rows
        return 100 * float(rows[rows.alpha == ZERO_SHOT].val_accuracy.iloc[0])

    def _elsewhere(self) -> str:
        told = [self._against_zero_shot(split) for split in self.splits[1:] if self._is_real(split)]
        if told:
            return f"Elsewhere, on labelled shifts that nothing was chosen by: {'; '.join(told)}."
        guessed = [f"{each.split} {each}" for each in self.estimates()]
        if guessed:
            return f"Elsewhere, without labels, it is estimated: {'; '.join(guessed)}; {WARNING}."
        made = self.made
        if not made:
            return "How it does elsewhere was not measured: no image from elsewhere was given."
        accuracy, before = (
            100 * np.mean([self._row(split, alpha)["mean"] for split in made])
            for alpha in (self.alpha, ZERO_SHOT)
        )
        against = "" if self.choice.is_zero_shot else f" (zero-shot {before:.1f} %)"
        return (
            f"Elsewhere is only guessed at: on {len(made)} made shifts, corrupted copies of the"
            f" test images, it has {accuracy:.1f} %{against}; real shifts may be worse."
        )

    def _is_real(self, split: str) -> bool:
        return not is_made(SplitName.parse(split).domain)

    def _against_zero_shot(self, split: str) -> str:
        domain = SplitName.parse(split).domain
        here = self.told(split, self.alpha)
        if self.choice.is_zero_shot:
            return f"{domain} {here}"
        return f"{domain} {here} (zero-shot {self.told(split, ZERO_SHOT)})"

    # --- tables

    def accuracies(self) -> list[dict[str, str]]:
        """A row per split: accuracy of zero-shot, of the model to deploy, of the tuned end."""
        rows = []
        for split in self.splits:
            row = {"images of": called(split), "which are": self._kind(split)}
            row["n"] = str(self._row(split, self.alpha)["n"])
            row["zero-shot, %"] = self.told(split, ZERO_SHOT)
            row["deployed, %"] = self.told(split, self.alpha)
            row[f"{title_of(self.run.config.method)} at alpha 1, %"] = self.told(split, TUNED)
            rows.append(row)
        for each in self.estimates():
            row = dict.fromkeys(rows[0], "")
            row |= {"images of": each.split, "which are": "unlabelled", "n": str(each.n)}
            rows.append(row | {"deployed, %": f"estimated: {each}"})
        return rows

    def _kind(self, split: str) -> str:
        if split == self.reference:
            return "reference, held out"
        return "shift, labelled" if self._is_real(split) else "shift, made"

    def estimates(self) -> list[Estimate]:
        """Accuracy where there is no label, of the model to deploy."""
        if not self.plan.given.unlabelled:
            return []
        validated = self.validated
        return [
            estimate(self.beside.read((split, self.alpha)), validated)
            for split in self.choice.splits
        ]

    def worst_classes(self) -> list[dict[str, str]]:
        """The classes of the lowest accuracy on the reference's test images."""
        table = class_table(self.run, self.reference, self.alpha)
        table = table[table.n > 0].sort_values(["accuracy", "n"], ascending=[True, False])
        rows = []
        for row in table.head(WORST).to_dict("records"):
            told = {"class": row["class"], "images": str(row["n"])}
            told["zero-shot, %"] = f"{100 * row['zero_shot']:.0f}"
            rows.append(told | {"deployed, %": f"{100 * row['accuracy']:.0f}"})
        return rows

    def calibrations(self) -> list[dict[str, str]]:
        """A row per split: mean confidence against accuracy, and their mean distance over bins."""
        rows = []
        for split in self.splits:
            scores = self.here[split]
            right = scores.prediction == scores.label
            row = {
                "images of": called(split),
                "confidence, %": f"{100 * scores.confidence.mean():.1f}",
            }
            row["right, %"] = f"{100 * right.mean():.1f}"
            rows.append(row | {"ECE, points": f"{100 * ece(scores.confidence, right):.1f}"})
        return rows

    # --- when it should abstain

    @cached_property
    def abstains_at(self) -> Threshold | None:
        """From which confidence on validation images are right as often as is wanted."""
        return threshold(self.validated, PRECISION)

    def abstentions(self) -> list[dict[str, str]]:
        """A row per split: how many images keep their label, and how many of these are right."""
        at = self.abstains_at
        if at is None:
            return []
        rows = []
        for split in (f"{self.run.reference}/val", *self.splits):
            coverage, precision = kept_above(self.here[split], at.confidence)
            right = "-" if np.isnan(precision) else f"{100 * precision:.1f}"
            row = {"images of": called(split), "keep a label, %": f"{100 * coverage:.1f}"}
            rows.append(row | {"of these right, %": right})
        return rows

    def on_abstaining(self) -> str:
        """When it should abstain, in a sentence."""
        at = self.abstains_at
        if at is None:
            most = f"{100 * PRECISION:.0f} %"
            return (
                f"At no confidence are {most} of the labels right on validation images: whoever"
                " needs that must look at every image."
            )
        return (
            f"Below a confidence of {at.confidence!r} it should abstain: on validation images, by"
            f" which this was chosen, {100 * at.precision:.1f} % of the labels above it are right,"
            f" and {100 * at.coverage:.0f} % of the images are above it. Elsewhere:"
        )

    # --- commands

    def commands(self, model_folder: Path) -> dict[str, str]:
        """What to type next -> what for."""
        at = self.abstains_at
        abstain = f" --abstain {at.confidence!r}" if at else ""
        run = shlex.quote(str(self.run.path))
        model = shlex.quote(str(model_folder))
        return {
            "classify images": f"clipft predict {model} IMAGES{abstain}",
            "as a table": f"clipft predict {model} IMAGES --csv labels.csv{abstain}",
            "another alpha": f"clipft export {run} FOLDER --alpha 0.5",
            "look closer": f"clipft confusions {run} --alpha {self.alpha:g}",
        }

    # --- what was not tried

    def limits(self) -> list[str]:
        """What was not tried, and what this does not say."""
        lines = [f"{_capital(line)}." for line in self.plan.not_tried]
        if self.plan.given.model == TINY:
            lines.append(
                "The model is a toy that was made for emoji of 32 pixels: for photographs take"
                " --model ViT-B-16:openai."
            )
        if self.made:
            lines.append(
                "Made shifts are corrupted copies of the same images: they say how a model bears"
                " noise, blur and weather, and little of other cameras, places or drawings."
                f" {MADE_RECORD}"
            )
        count = len(self.validated.label)
        if count < FEW:
            lines.append(f"Only {count} images to choose on: another draw may choose otherwise.")
        for each in self.estimates():
            if each.n < FEW:
                few = f"Only {each.n} images of {each.split} to measure agreement on"
                lines.append(f"{few}: another draw may choose otherwise.")
        return lines


def called(split: str) -> str:
    """A split in words: a made one says so."""
    domain = SplitName.parse(split).domain
    return titled(domain) if is_made(domain) else split


def _capital(line: str) -> str:
    return line[:1].upper() + line[1:]


def _percent(row: dict[str, Any]) -> str:
    mean, low, high = (100 * row[name] for name in ("mean", "low", "high"))
    return f"{mean:.1f} % [{low:.1f}, {high:.1f}]"


@dataclass(frozen=True)
class Moved:
    """Images whose scores tuning moved most: of each split their ids, and a row for each."""

    ids: dict[str, list[str]]
    rows: list[dict[str, str]]


def most_moved(report: Report, splits: Sequence[str], most: int = MOVED) -> Moved:
    """The images of the largest energy gap of the model to deploy; none where nothing moved."""
    ids: dict[str, list[str]] = {}
    rows: list[dict[str, str]] = []
    before = report.run.scores(ZERO_SHOT)
    names = report.manifest.names
    for split in splits:
        scores = report.here[split]
        if scores.energy_gap is None or np.isnan(scores.energy_gap).all():
            continue
        order = np.argsort(-scores.energy_gap, kind="stable")[:most]
        ids[split] = [scores.ids[place] for place in order]
        for rank, place in enumerate(order, 1):
            row = {"image": f"{rank} of {called(split)}", "is": names[scores.label[place]]}
            row["zero-shot says"] = names[before[split].prediction[place]]
            row["deployed says"] = names[scores.prediction[place]]
            rows.append(row | {"energy gap": f"{scores.energy_gap[place]:.3g}"})
    return Moved(ids, rows)
