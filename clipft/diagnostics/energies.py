"""Energy of an image and a text, and its change under tuning: one formula, one home.

E(x, t) = -s <f(x), g(t)> with unit embeddings f, g and the logit scale s of the pre-trained model.
Training (`objectives.lipsum`) and measurement (`diagnostics.energy_gap`) both call what stands
here.
Source: Lipsum-FT, arXiv:2404.00860, equations 4 and 5 (energy), 6 (gap) and 7 (its stochastic
version); whether the paper's figures carry s is not said, ours do.
"""

from torch import Tensor
from torch.nn.functional import normalize

from ..errors import ConfigError


def unit(x: Tensor) -> Tensor:
    """Rows at length one: (N, D) -> (N, D)."""
    return normalize(x, dim=-1)


def energy_vectors(images: Tensor, texts: Tensor, scale: float | Tensor) -> Tensor:
    """Score each image against each text: v[n, m] = s <image_n, text_m> = -E(x_n, t_m).

    images (N, D), texts (M, D), unit rows -> (N, M), in logits.
    """
    return scale * images @ texts.T


def squared_gap(v: Tensor, v0: Tensor) -> Tensor:
    """Mean over texts of the squared change of energy of each image, in squared logits.

    (N, M), (N, M) -> (N,).
    """
    return ((v - v0) ** 2).mean(-1)


def second_moment(texts: Tensor, scale: float | Tensor) -> Tensor:
    """S = s^2 / M * T^T T, all that the squared gap needs of the texts: (M, D) -> (D, D)."""
    return scale**2 / len(texts) * texts.T @ texts


def quadratic_gap(images: Tensor, anchors: Tensor, moment: Tensor) -> Tensor:
    """The squared gap without any N x M matrix: d^T S d with d = f - f0.

    images, anchors (N, D), unit rows, moment (D, D) -> (N,), in squared logits. Equals squared_gap
    of the energy vectors, since mean_m (s <d, t_m>)^2 = d^T (s^2 / M * T^T T) d. Never below 0, as
    a mean of squares: what rounding leaves below is 0.
    """
    return quadratic_form(images - anchors, moment)


def quadratic_form(rows: Tensor, moment: Tensor) -> Tensor:
    """r^T S r of each row, for a second moment S: (N, D), (D, D) -> (N,), never below 0."""
    return ((rows @ moment) * rows).sum(-1).clamp(min=0)


def check_same_images(images: Tensor, anchors: Tensor) -> None:
    """Raise ConfigError where these cannot be embeddings of the same images, or are of none."""
    if images.shape != anchors.shape:
        shapes = f"{tuple(images.shape)} and {tuple(anchors.shape)}"
        raise ConfigError(f"embeddings of shape {shapes}; wanted: the same images twice")
    if len(images) == 0:
        raise ConfigError("no images to measure: the split is empty or every image was skipped")


def check_same_model(images: int, texts: int) -> None:
    """Raise ConfigError where images and texts have different numbers of dimensions."""
    if images != texts:
        raise ConfigError(f"images have {images} dimensions, texts {texts}; use one model for both")
