"""VRF: an image counts for the tuned model by how near it lies to what tuning put right.

    p(x) = (1 - w(x)) p0(x) + w(x) p1(x),   w(x) = sigmoid(-(d(x) - a) / b)
    d(x) = squared distance to the K-th nearest in Z,   K = round(1000 |Z| / N)

Z: of the N training images those that the tuned model has right and zero-shot wrong, as unit
embeddings of the tuned model; K is at least 1 and at most |Z|. Without any, p is p0. Both p have a
temperature, see `per_image`. a and b are chosen by held-out accuracy from a small grid around the
released pair, of equals the nearest to it, unless one of them is given. No text is asked, and no
label of a shift.
Source: Zhu et al., NeurIPS 2024, arXiv:2411.06966 and release: a = 1.5, b = 0.6. There temperatures
make the mean confidence on ImageNet's test what the accuracy is; here they have the least NLL on
held-out images.
"""

import math
from itertools import product

import torch
from torch import Tensor

from ..errors import ConfigError
from .held_out import HeldOut
from .per_image import PerImage, Seen, log_mixture, temperature
from .weights import Members, Weights

PER_IMAGES = 1000  # of training images there are K times |Z| / N neighbours
CENTRES = (0.25, 0.5, 1.0, 1.5, 2.0)  # a that are tried: squared distances of unit vectors
WIDTHS = (0.1, 0.3, 0.6, 1.0)  # b
ROWS = 1024  # of images whose distances are held at once


def neighbours(failures: int, images: int) -> int:
    """K, from |Z| and N: at least 1."""
    return min(max(1, round(PER_IMAGES * failures / max(1, images))), max(1, failures))


def distances(features: Tensor, failures: Tensor, count: int) -> Tensor:
    """Squared distance (n,) of unit rows (n, D) to the count-th nearest of (Z, D), 0 ... 4.

    Without any row in Z it is infinite.
    """
    if not len(failures):
        return features.new_full((len(features),), math.inf)
    found = []
    for rows in features.split(ROWS):
        squares = (2 - 2 * rows @ failures.T).clamp(min=0)
        found.append(squares.kthvalue(count, dim=-1).values)
    return torch.cat(found)


def weight_of(distance: Tensor, a: float, b: float) -> Tensor:
    """w = sigmoid(-(d - a) / b), 0 ... 1."""
    return torch.sigmoid((a - distance) / b)


class VRF(PerImage):
    """VRF; `fitted` holds temperatures (2,), a, b, neighbours and failures (Z, D)."""

    def measure(self, seen: Seen) -> Tensor:
        """d (n, 1)."""
        failures = self.fitted["failures"].to(seen.features)
        count = int(self.fitted["neighbours"])
        return distances(seen.features, failures, count).double()[:, None]

    def coefficients(self, measured: Tensor, _of_set: Tensor, /) -> Tensor:
        """w (n,); of each image by itself."""
        return weight_of(measured[:, 0], float(self.fitted["a"]), float(self.fitted["b"]))


def apply_vrf(
    anchor: Weights,
    members: Members,
    held_out: HeldOut,
    *,
    a: float = 1.5,
    b: float = 0.6,
    choose: bool = True,
) -> Weights:
    """What VRF of one run is made of; choose: a and b on held-out images, those given aside."""
    if not b > 0:
        raise ConfigError(f"b is {b}, expected a width above 0")
    tuned = members[0]
    _, was_right = held_out.train_features(anchor)
    features, is_right = held_out.train_features(tuned)
    failures = features[is_right & ~was_right]
    count = neighbours(len(failures), len(features))

    before = held_out.logits(anchor)
    own_features, after = held_out.outputs(tuned)
    warmths = [temperature(logits, held_out.labels) for logits in (before, after)]
    temperatures = torch.tensor(warmths, dtype=torch.float64)
    if choose:
        far = distances(own_features, failures, count)
        accuracies = {}
        for centre, width in sorted(product(CENTRES, WIDTHS), key=lambda pair: _far(pair, a, b)):
            mixed = log_mixture(before, after, weight_of(far, centre, width), temperatures)
            right = (mixed.argmax(-1) == held_out.labels).sum()
            accuracies[centre, width] = int(right)
        a, b = max(accuracies, key=accuracies.__getitem__)  # of equals the first
    numbers = {"a": a, "b": b, "neighbours": count}
    fitted = {name: torch.tensor(value) for name, value in numbers.items()}
    return fitted | {"temperatures": temperatures, "failures": failures}


def _far(pair: tuple[float, float], a: float, b: float) -> float:
    """How far a pair (a, b) that is tried is from another."""
    return abs(pair[0] - a) + abs(pair[1] - b)
