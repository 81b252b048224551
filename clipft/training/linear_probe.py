"""The linear probe of LP and LP-FT: logistic regression on frozen embeddings. Tensors only.

    min_W,b  C sum_i CE(s f_i W + b, y_i) + ||W||^2 / 2,   C chosen on held-out images

By AdamW it is trained by the ordinary loop on cached embeddings, see `training`.

Sources: Radford et al., CLIP, arXiv:2103.00020, section 3.2; Kumar et al., LP-FT, arXiv:2202.10054.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch

from ..diagnostics.energies import unit
from ..errors import ConfigError
from ..models.embeddings import extract
from ..models.head import Head
from ..progress import progress_bar
from ..runs.run import Run

if TYPE_CHECKING:
    from torch import Tensor


STRENGTHS = tuple(
    10.0**k for k in range(-4, 2)
)  # C of scikit-learn, from the strongest penalty to the weakest
Linear = tuple["Tensor", "Tensor"]
Labelled = tuple["Tensor", "Tensor"]


def accuracy(head: Linear, held: Labelled) -> float:
    """Top-1 accuracy of weight (D, C), bias (C,) on scaled embeddings (N, D) with labels (N,), as a fraction."""
    return float(((held[0] @ head[0] + head[1]).argmax(-1) == held[1]).float().mean())


def logistic(
    train: Labelled, held: Labelled, classes: int, bias: bool, progress: bool = True
) -> Linear:
    """The logistic regression that does best on the held-out images, among STRENGTHS.

    train, held: scaled embeddings s f (N, D) and labels (N,). -> weight (D, C), bias (C,), zeros unless `bias`. Raises
    ConfigError where a class has no training image.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    absent = sorted(set(range(classes)) - set(train[1].tolist()))
    if absent:
        raise ConfigError(
            f"class {absent[0]} has no training image; try solver=adamw, which starts from zero-shot"
        )
    best, kept = -1.0, None
    x, y = train[0].cpu().numpy(), train[1].cpu().numpy()
    fit = LogisticRegression(fit_intercept=bias, max_iter=100, warm_start=True)
    with (
        progress_bar(len(STRENGTHS), "linear probe", "fit", progress) as bar,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter(
            "ignore", ConvergenceWarning
        )  # weak penalties converge slowly; held-out images judge
        for strength in STRENGTHS:
            fit.set_params(C=strength).fit(x, y)
            weight, intercept = torch.as_tensor(fit.coef_).T, torch.as_tensor(fit.intercept_)
            if classes == 2:  # scikit-learn gives the difference of the two classes
                weight, intercept = (
                    torch.cat([-weight, weight], 1) / 2,
                    torch.cat([-intercept, intercept]) / 2,
                )
            head = weight.to(train[0]), intercept.to(train[0]).expand(classes).clone()
            found = accuracy(head, held)
            if found > best:
                best, kept = found, head
            bar.update()
    return kept


def probe_head(run: Run, workers: int = 0, skip_bad: bool = False, progress: bool = True) -> Head:
    """The linear probe of a run's training images, each embedded once; its C is chosen on the selection split."""
    splits = (run.train_split(), run.selection_split())
    found = [extract(run.student, split, workers, skip_bad, progress) for split in splits]
    scale = run.clip.scale
    train, held = (
        (scale * unit(torch.from_numpy(f.embeddings)), torch.from_numpy(f.label)) for f in found
    )
    weight, bias = logistic(
        train, held, len(run.manifest.names), run.config.head == "absorbed", progress
    )
    return Head(scale * weight, bias, tuple(run.manifest.names))
