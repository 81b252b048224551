"""The geometry of the two towers: unit embeddings f (N, D) of images, g (C, D) of classes.

modality gap   || mean_n f_n - mean_c g_c ||_2                      arXiv:2203.02053
alignment      mean_n || f_n - g_y(n) ||^2, y the label             arXiv:2005.10242
uniformity     log mean_(i != j) exp(-2 || f_i - f_j ||^2)          arXiv:2005.10242
sigma_min      the smallest eigenvalue of the covariance of f       CaRot, arXiv:2311.01723
"""

import math

import torch
from torch import Tensor

from .energies import unit

ROWS = 1024  # of the N x N distances that are in memory at once


def modality_gap(images: Tensor, classes: Tensor) -> float:
    """How far the middle of the images lies from that of the classes; between 0 and 2."""
    middle = unit(images).double().mean(0)
    other = unit(classes).double().mean(0)
    return float((middle - other).norm())


def alignment(images: Tensor, classes: Tensor, labels: Tensor) -> float:
    """Mean squared distance of an image and its class, (N, D), (C, D), (N,); between 0 and 4."""
    own = unit(classes)[labels]
    return float((unit(images).double() - own.double()).square().sum(1).mean())


def uniformity(images: Tensor) -> float:
    """How evenly images cover the sphere: 0 where all are alike, the lower the more even.

    nan below two images. On unit rows ||f_i - f_j||^2 = 2 - 2 <f_i, f_j>.
    """
    rows = unit(images)
    count = len(rows)
    if count < 2:
        return math.nan
    total = torch.zeros((), dtype=torch.float64, device=rows.device)
    for start in range(0, count, ROWS):
        part = rows[start : start + ROWS]
        kernel = torch.exp(4 * (part @ rows.T) - 4)  # (b, N)
        kernel.diagonal(offset=start).zero_()
        total += kernel.sum(dtype=torch.float64)
    return math.log(float(total) / (count * (count - 1)))


def sigma_min(images: Tensor) -> float:
    """The smallest eigenvalue of the (D, D) covariance; 0 where there are no more images than D."""
    rows = unit(images).double()
    centred = rows - rows.mean(0)
    covariance = centred.T @ centred / len(rows)
    return max(0.0, float(torch.linalg.eigvalsh(covariance)[0]))
