"""DaWin: each image is mixed by how certain either model is of it; it needs no label.

    lam(x) = e^{-H1(x)} / (e^{-H0(x)} + e^{-H1(x)}),   H = entropy of softmax(z / T), nats
    offset:  lam(x) = (e^{-H1} + o / r) / (e^{-H0} + e^{-H1} + o)
             o = (sd(H0) / mean(H0) + sd(H1) / mean(H1)) / 2,   r = (mean(H0) + mean(H1)) / mean(H0)

`dawin` mixes weights by it, `dawin_output` probabilities: the output-space twin. With the offset,
or in clusters, the method needs unlabelled test images as a set: o and r are of the whole split.
Another selection of images has other predictions. A forward pass for each image's own weights is
dear, so weights are looked up: by=grid rounds alpha * lam(x) to `points` alphas, 0 ... 1, of which
those that occur are shown the images; by=beta has the mean of the most probable component of a
mixture of Beta distributions, fitted to the lams of the split.
Source: Oh et al., ICLR 2025, arXiv:2410.03782 and release (offset, three components, T fitted
before; sd with N - 1). The rounding is ours. There the mixture begins with k-means from random
centres, three times; here with quantiles, once.
"""

from typing import Any

import torch
from torch import Tensor

from ..errors import ConfigError
from .held_out import HeldOut
from .per_image import PerImage, Seen, temperatures_of
from .weights import Members, Weights

GRID, BETA = "grid", "beta"
EDGE = 1e-6  # a Beta distribution is on the open interval
NARROWEST = 1e-8  # variance of a component
ROUNDS = 1000  # of EM
TOLERANCE = 1e-6  # nats an image


def entropy(logits: Tensor, warmth: float) -> Tensor:
    """Entropy (n,) of softmax(z / T) in nats, float64; a class of logit -inf has none."""
    logs = (logits.double() / warmth).log_softmax(-1)
    return torch.special.entr(logs.exp()).sum(-1)


def offset_of(entropies: Tensor) -> tuple[float, float]:
    """(o, o / r) of the entropies (N, 2) of a set; both 0 of a single image."""
    means = entropies.mean(0)
    if len(entropies) < 2 or not float(means.min()) > 0:
        return 0.0, 0.0
    offset = float((entropies.std(0) / means).mean())
    return offset, offset * float(means[0] / means.sum())


def expertise(entropies: Tensor, offset: tuple[float, float] = (0.0, 0.0)) -> Tensor:
    """lam (n,) of entropies (n, 2) of the zero-shot and the tuned model; offset: (o, o / r)."""
    whole, share = offset
    before, after = entropies.neg().exp().unbind(-1)
    return (after + share) / (before + after + whole)


def beta_means(values: Tensor, components: int = 3) -> Tensor:
    """Each value (N,), 0 ... 1, becomes the mean a / (a + b) of its most probable component.

    EM for a mixture of Beta distributions, with moments in place of likelihood in its M step;
    fewer components where there are fewer values.
    """
    inner = values.double().clamp(EDGE, 1 - EDGE)
    shares = _in_clusters(inner, components)
    logs = torch.stack([inner.log(), (-inner).log1p()])  # (2, N)
    fit = torch.tensor(-torch.inf, dtype=torch.float64)
    means = inner
    for _ in range(ROUNDS):
        counts = shares.sum(0)
        shares, counts = shares[:, counts > EDGE], counts[counts > EDGE]
        means = (inner @ shares) / counts
        variances = (inner.square() @ shares) / counts - means.square()
        whole = means * (1 - means)  # of which a Beta distribution's variance is less
        strength = whole / variances.clamp(min=NARROWEST).minimum(whole / 4) - 1  # a + b
        a, b = means * strength, (1 - means) * strength
        normalised = torch.lgamma(a + b) - torch.lgamma(a) - torch.lgamma(b)
        log_chances = torch.outer(logs[0], a - 1) + torch.outer(logs[1], b - 1)
        log_chances += normalised + (counts / counts.sum()).log()
        of_all = log_chances.logsumexp(-1)
        shares = (log_chances - of_all[:, None]).exp()
        before, fit = fit, of_all.mean()
        if (fit - before).abs() < TOLERANCE:
            break
    return means[shares.argmax(-1)]


def _in_clusters(values: Tensor, count: int) -> Tensor:
    """(N, clusters) of 0 and 1: k-means on a line, which begins with quantiles."""
    places = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    centres = values.unique().quantile(places.to(values.device)).unique()
    nearest = values
    for _ in range(ROUNDS):
        before = centres
        nearest = (values[:, None] - centres).abs().argmin(-1)
        shares = torch.nn.functional.one_hot(nearest, len(centres)).double()
        centres = ((values @ shares) / shares.sum(0))[shares.sum(0) > 0]
        if len(centres) == len(before) and torch.equal(centres, before):
            break
    return torch.nn.functional.one_hot(nearest).double()


class DaWin(PerImage):
    """DaWin in weight space; `fitted` holds temperatures (2,), offset, points and components (0:
    the grid).
    """

    in_weights = True
    numbers = 2

    def __init__(self, fitted: Weights):
        super().__init__(fitted)
        self.components = int(fitted["components"])
        self.sees_set = bool(fitted["offset"]) or self.components > 0

    def measure(self, seen: Seen) -> Tensor:
        """The entropies (n, 2)."""
        warmths = self.fitted["temperatures"].tolist()
        both = zip((seen.zero_shot, seen.tuned), warmths, strict=True)
        return torch.stack([entropy(logits, warmth) for logits, warmth in both], -1)

    def coefficients(self, measured: Tensor, of_set: Tensor, /) -> Tensor:
        """lam (n,); in clusters the mean of each image's component."""
        offset = offset_of(of_set) if self.fitted["offset"] else (0.0, 0.0)
        if not self.components:
            return expertise(measured, offset)
        whole = expertise(of_set, offset)
        means = beta_means(whole, self.components)
        # An image is found again by its own number, which is the same in the set.
        order = whole.sort()
        places = torch.searchsorted(order.values, expertise(measured, offset))
        return means[order.indices[places.clamp(max=len(whole) - 1)]]

    def nearest(self, wanted: Tensor) -> Tensor:
        """The alphas of the grid; in clusters those that are wanted."""
        if self.components:
            return wanted
        steps = int(self.fitted["points"]) - 1
        return (wanted * steps).round() / steps


class DaWinOutput(DaWin):
    """The same lam in output space."""

    in_weights = False


def apply_dawin(
    anchor: Weights,
    members: Members,
    held_out: HeldOut,
    *,
    points: int = 11,
    offset: bool = True,
    by: str = GRID,
    components: int = 3,
) -> Weights:
    """What DaWin of one run is made of: temperatures, and how lam becomes an alpha."""
    if points < 2:
        raise ConfigError(f"a grid of {points} alphas; wanted: two or more, its ends are 0 and 1")
    if components < 1:
        raise ConfigError(f"a mixture of {components} components; wanted: one or more")
    fitted = _fitted(anchor, members, held_out, offset=offset)
    chosen = {"points": points, "components": components if by == BETA else 0}
    return fitted | {name: torch.tensor(value) for name, value in chosen.items()}


def apply_dawin_output(
    anchor: Weights, members: Members, held_out: HeldOut, *, offset: bool = True
) -> Weights:
    """The same of the output-space twin."""
    return _fitted(anchor, members, held_out, offset=offset) | {"components": torch.tensor(0)}


def _fitted(anchor: Weights, members: Members, held_out: HeldOut, **about: Any) -> Weights:
    fitted = {"temperatures": temperatures_of(held_out, anchor, members[0])}
    return fitted | {name: torch.tensor(value) for name, value in about.items()}
