"""Methods that mix the two models anew for each image: what they share, and what scores them.

    output space: p(x) = (1 - lam(x)) p0(x) + lam(x) p1(x),   p = softmax(z / T)
    weight space: theta(x) = (1 - lam(x)) theta0 + lam(x) theta1

T is fitted to held-out images, one for each model. A sweep's alpha scales lam(x): 0 is the
zero-shot model bit for bit, its temperature too, and 1 the method.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .held_out import HeldOut
from .weights import Weights

WARMEST = 20.0  # bound of a temperature, and of its inverse: of an always right model it has none
HALVINGS = 60


class Seen(NamedTuple):
    """What both models say of n images.

    zero_shot, tuned: logits (n, C), -inf of classes that may not be predicted; features: the tuned
    model's unit embeddings (n, D).
    """

    zero_shot: Tensor
    tuned: Tensor
    features: Tensor


class PerImage:
    """How single images are mixed, made of the tensors that the method fitted and its run keeps.

    in_weights: whether lam(x) mixes weights; else it mixes probabilities. sees_set: whether lam of
    an image depends on all images of its split, which then are looked at first. numbers: M, how
    many are measured of each image.
    """

    in_weights = False
    sees_set = False
    numbers = 1

    def __init__(self, fitted: Weights):
        self.fitted = fitted

    def measure(self, seen: Seen) -> Tensor:
        """The numbers (n, M) of which the coefficients are made, float64."""
        raise NotImplementedError

    def coefficients(self, measured: Tensor, of_set: Tensor, /) -> Tensor:
        """lam (n,), 0 ... 1; of_set: the numbers of all images of the split, if it sees them."""
        raise NotImplementedError

    def nearest(self, wanted: Tensor) -> Tensor:
        """Alphas (n,) of the weights that are mixed where these are wanted."""
        return wanted

    def mixed(self, zero_shot: Tensor, tuned: Tensor, coefficients: Tensor) -> Tensor:
        """Log-probabilities (n, C) of logits that are mixed in output space."""
        return log_mixture(zero_shot, tuned, coefficients, self.fitted["temperatures"])


def log_mixture(
    zero_shot: Tensor, tuned: Tensor, coefficients: Tensor, temperatures: Tensor
) -> Tensor:
    """log((1 - lam) p0 + lam p1): logits (n, C) twice, lam (n,), T (2,) -> (n, C)."""
    shares = coefficients.to(zero_shot)[:, None]
    warm0, warm1 = temperatures.tolist()
    before = (zero_shot / warm0).log_softmax(-1) + torch.log1p(-shares)
    after = (tuned / warm1).log_softmax(-1) + shares.log()
    return torch.logaddexp(before, after)


def temperature(logits: Tensor, labels: Tensor) -> float:
    """T at which softmax(z / T) has the least NLL of the labels, 1 / 20 ... 20.

    The NLL is convex in 1 / T, so its slope is halved to 0. Source: Guo et al., ICML 2017,
    arXiv:1706.04599.
    """
    scores = logits.double()
    true = scores.gather(-1, labels.to(scores.device)[:, None])[:, 0].mean()

    def rises(cold: float) -> bool:
        chances = (cold * scores).softmax(-1)
        return bool((chances * scores).sum(-1).mean() >= true)

    low, high = 1 / WARMEST, WARMEST  # of 1 / T
    for _ in range(HALVINGS):
        middle = (low * high) ** 0.5
        low, high = (low, middle) if rises(middle) else (middle, high)
    return 1 / high


def temperatures_of(held_out: HeldOut, *models: Weights) -> Tensor:
    """T of each model on the held-out images, (models,) float64."""
    fitted = [temperature(held_out.logits(model), held_out.labels) for model in models]
    return torch.tensor(fitted, dtype=torch.float64)
