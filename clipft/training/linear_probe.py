"""The linear probe of LP and LP-FT: logistic regression on frozen embeddings.

    min_W,b  C sum_i CE(s f_i W + b, y_i) + ||W||^2 / 2,   C chosen on held-out images

By AdamW it is trained by the ordinary loop on cached embeddings, see `examples`.

Sources: Radford et al., CLIP, arXiv:2103.00020, section 3.2; Kumar et al., LP-FT, arXiv:2202.10054.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..config import RunConfig
from ..data.splits import Split
from ..diagnostics.energies import unit
from ..errors import ConfigError
from ..evaluation.bench import Bench
from ..evaluation.predictions import ACCURACY, ChosenBy, predictions
from ..models.embeddings import extract
from ..models.head import Head
from ..models.students import Student
from ..progress import progress_bar

# C of scikit-learn, from the strongest penalty to the weakest
STRENGTHS = tuple(10.0**power for power in range(-4, 2))


@dataclass(frozen=True)
class Labelled:
    """Scaled embeddings s f (N, D) with labels (N,), and by what they choose a head."""

    embeddings: Tensor
    labels: Tensor
    chosen_by: ChosenBy = ACCURACY

    def accuracy(self, weight: Tensor, bias: Tensor) -> float:
        """Of weight (D, C), bias (C,), as a fraction: top-1 accuracy, or see `ChosenBy`."""
        logits = self.embeddings @ weight + bias
        prediction = predictions(logits, self.labels, self.chosen_by.allowed).prediction
        return self.chosen_by.accuracy(prediction, self.labels)


def logistic(
    train: Labelled, held_out: Labelled, classes: int, *, bias: bool, progress: bool = True
) -> tuple[Tensor, Tensor]:
    """The logistic regression that does best on the held-out images, among STRENGTHS.

    -> weight (D, C), bias (C,), zeros unless `bias`. Raises ConfigError where a class has no
    training image.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    absent = sorted(set(range(classes)) - set(train.labels.tolist()))
    if absent:
        raise ConfigError(
            f"class {absent[0]} has no training image;"
            " try solver=adamw, which starts from zero-shot"
        )
    embeddings = train.embeddings.cpu().numpy()
    labels = train.labels.cpu().numpy()
    regression = LogisticRegression(fit_intercept=bias, max_iter=100, warm_start=True)
    heads = []
    bar = progress_bar(len(STRENGTHS), "linear probe", "fit", show=progress)
    with bar, warnings.catch_warnings():
        # Weak penalties converge slowly; held-out images judge what they reached.
        warnings.simplefilter("ignore", ConvergenceWarning)
        for strength in STRENGTHS:
            regression.set_params(C=strength).fit(embeddings, labels)
            heads.append(_head(regression, classes, train.embeddings))
            bar.update()
    # Of equals the first, with the strongest penalty.
    return max(heads, key=lambda head: held_out.accuracy(*head))


def _head(regression: Any, classes: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """A fitted regression as weight (D, C) and bias (C,), of the kind of `like`."""
    weight = torch.as_tensor(regression.coef_).T
    bias = torch.as_tensor(regression.intercept_)
    if classes == 2:  # scikit-learn gives the difference of the two classes
        weight = torch.cat([-weight, weight], 1) / 2
        bias = torch.cat([-bias, bias]) / 2
    return weight.to(like), bias.to(like).expand(classes).clone()


def probe_head(bench: Bench, config: RunConfig, student: Student) -> Head:
    """The linear probe of a run's training images; its C is chosen on the selection split."""
    scale = bench.clip.scale
    names = tuple(bench.manifest.names)

    def labelled(split: Split, chosen_by: ChosenBy) -> Labelled:
        features = extract(student, split, bench.reading)
        embeddings = scale * unit(torch.from_numpy(features.embeddings))
        if chosen_by.groups:
            group_of = dict(zip(split.ids, chosen_by.groups, strict=True))
            chosen_by = replace(chosen_by, groups=tuple(group_of[name] for name in features.ids))
        return Labelled(embeddings, torch.from_numpy(features.label), chosen_by)

    train = labelled(bench.train_split(config), ACCURACY)
    held_out = labelled(bench.selection_split(config), bench.chosen_by(config))
    bias_is_trained = config.head == "absorbed"
    weight, bias = logistic(
        train, held_out, len(names), bias=bias_is_trained, progress=bench.reading.progress
    )
    return Head(scale * weight, bias, names)
