"""The judge of methods that mix the two models anew for each image, see `posthoc.per_image`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ..config import TUNED, ZERO_SHOT
from ..data.splits import Split
from ..diagnostics.energies import unit
from ..inputs.batches import Pixels, rows_of
from ..models.embeddings import stream
from ..posthoc.per_image import PerImage, Seen
from ..progress import progress_bar
from ..runs.scores import PREDICTED
from .mixtures import Columns, Embeddings, Judge, Known, Mixtures
from .predictions import restricted, said_of


class PerImageJudge(Judge):
    """Each image is mixed by its own coefficient, which alpha scales: alpha * lam(x).

    Where a coefficient depends on all images of a split, or says which weights are looked up, the
    split is shown to both ends first; embeddings that the cache keeps are not made again. Of the
    models that are looked up those alone are made that some image asks for. There is no one
    embedding of an image, hence no energy gap. In output space probabilities are mixed, whose
    log-sum-exp is 0, hence no energy either.
    """

    def __init__(self, mixtures: Mixtures, alphas: Sequence[float], rule: PerImage):
        super().__init__(mixtures, alphas)
        self.rule = rule
        if not rule.in_weights:
            self.columns = [name for name in PREDICTED if name != "logsumexp"]
        (self._tuned,) = mixtures.ends
        towers = zip((ZERO_SHOT, TUNED), mixtures.towers, strict=True)
        self._digests = dict(towers)
        self._of_rows = torch.empty(0, dtype=torch.float64)  # lam of the split's rows
        self._show([ZERO_SHOT, TUNED])

    def _show(self, alphas: Sequence[float]) -> None:
        """The weights at these alphas are what images are shown to next."""
        self.points.clear()
        for alpha in alphas:
            self.show(alpha, self._tuned, alpha, self._digests.get(alpha))

    def begin(self, split: Split, pixels: Pixels) -> None:
        """Look at all of a split where the rule asks for it."""
        if not (self.rule.sees_set or self.rule.in_weights):
            return
        self._show([ZERO_SHOT, TUNED])
        rows, measured = self._measured(split, pixels)
        ranks = self.mixtures.ranks
        order = ranks.joined(rows).argsort()
        of_set = ranks.joined(measured)[order]  # whoever read a row, the set is the same
        self._of_rows = torch.full((len(split),), torch.nan, dtype=torch.float64)
        self._of_rows[rows] = self.rule.coefficients(measured, of_set)
        if self.rule.in_weights:
            wanted = [self._wanted(rows, alpha) for alpha in self.alphas]
            self._show(torch.cat(wanted).unique().tolist())

    def _measured(self, split: Split, pixels: Pixels) -> tuple[Tensor, Tensor]:
        """(rows (n,), numbers (n, M)) of the images that this rank reads."""
        rows = [torch.empty(0, dtype=torch.long)]
        measured = [torch.empty(0, self.rule.numbers, dtype=torch.float64)]
        images = len(rows_of(split, self.mixtures.ranks)) * len(self.points)
        show = self.mixtures.reading.progress
        with progress_bar(images, f"looking at {split.name}", "image", show=show) as bar:
            student = self.mixtures.student
            for chunk, embeddings in stream(student, self.points, pixels, bar.update):
                if len(chunk.rows):
                    known = Known(chunk.labels, chunk.rows, split.allowed, split.alike)
                    seen = self._seen(known, dict(embeddings))
                    rows.append(chunk.rows)
                    measured.append(self.rule.measure(seen).cpu())
        return torch.cat(rows), torch.cat(measured)

    @torch.inference_mode()
    def _logits(self, alpha: float, known: Known, embeddings: Tensor) -> Tensor:
        return restricted(self.heads.logits(alpha, embeddings), known.allowed, known.alike)

    def _seen(self, known: Known, embeddings: dict[Any, Tensor]) -> Seen:
        """What both ends say of a chunk."""
        return Seen(
            zero_shot=self._logits(ZERO_SHOT, known, embeddings[ZERO_SHOT]),
            tuned=self._logits(TUNED, known, embeddings[TUNED]),
            features=unit(embeddings[TUNED]),
        )

    def _wanted(self, rows: Tensor, alpha: float) -> Tensor:
        """At which alphas (n,) the weights of these rows are mixed."""
        return self.rule.nearest(alpha * self._of_rows[rows])

    def __call__(self, known: Known, embeddings: Embeddings) -> Iterator[tuple[float, Columns]]:
        """See `Judge`."""
        mix = self._in_weights if self.rule.in_weights else self._in_outputs
        for alpha, logits in mix(known, dict(embeddings)):
            said = said_of(logits, known.labels)._asdict()
            yield alpha, {name: said[name] for name in self.columns}

    def _in_weights(
        self, known: Known, embeddings: dict[Any, Tensor]
    ) -> Iterator[tuple[float, Tensor]]:
        """Alpha, and of each image the logits of the weights that it looks up."""
        of_weights = {}
        for point, own in embeddings.items():
            of_weights[point] = self._logits(point, known, own)
        for alpha in self.alphas:
            logits = torch.full_like(next(iter(of_weights.values())), torch.nan)
            wanted = self._wanted(known.rows, alpha)
            for point in wanted.unique().tolist():
                are_these = (wanted == point).to(logits.device)
                logits[are_these] = of_weights[point][are_these]
            yield alpha, logits

    def _in_outputs(
        self, known: Known, embeddings: dict[Any, Tensor]
    ) -> Iterator[tuple[float, Tensor]]:
        """Alpha, and the log-probabilities of the mixture; zero-shot's own logits at 0."""
        seen = self._seen(known, embeddings)
        if self.rule.sees_set:
            own = self._of_rows[known.rows]
        else:
            measured = self.rule.measure(seen).cpu()
            own = self.rule.coefficients(measured, measured)
        for alpha in self.alphas:
            if alpha == ZERO_SHOT:
                yield alpha, seen.zero_shot
                continue
            shares = (alpha * own).to(seen.tuned.device)
            yield alpha, self.rule.mixed(seen.zero_shot, seen.tuned, shares)
