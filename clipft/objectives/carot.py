"""CaRot and TRACER: contrastive tuning that learns from a teacher, which is made of the student.

    L = FLYP + oc ||P^T P - 1||_F + sd SD + x ||P T^T||_F
    SD = H(softmax(Z_t), softmax(Z)) + H(softmax(Z_t^T), softmax(Z^T)),   Z = s I G^T

H is the soft cross-entropy, mean over rows; I, G (B, D) unit embeddings of images and captions.
P (V, D) and T (U, D) are the matrices at the end of both towers; the second norm is of all products
of their rows. t: the teacher, both towers with their own scale, asked from the second step on.
CaRot's is a moving average (`Moving` in training/averages.py), TRACER's the Beta-weighted mean of
all weights from theta0 on (`BetaMean`), which does not run after the student; its scores may be
divided by a temperature. FLYP is the mean of two directions, SD their sum. Pairs of one class stay
negatives, which the teacher softens.
Sources: CaRot, Oh et al., NeurIPS 2024, arXiv:2311.01723, and release; oc 0.2, sd 1.5 and x 0.05
are those of its command, the paper names the first two alone. The release's logarithm of a softmax
is a log-softmax here, and the gradient of a norm at 0 is 0. TRACER, Asadollahzadeh et al., ICML
2026, arXiv:2605.29380, and release, whose script is a template with a weight of 0: sd is CaRot's
1.5 here, the paper's value is unknown to us.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..diagnostics.energies import energy_vectors, unit
from ..errors import ConfigError
from .flyp import flyp
from .self_distill import soft_cross_entropy
from .step import ABSENT, Step


def carot(step: Step, oc: float = 0.2, sd: float = 1.5, x: float = 0.05) -> Tensor:
    """FLYP's loss and the terms that have a weight; without weights it is FLYP's, bit for bit."""
    loss = flyp(step)
    if oc:
        loss = loss + oc * orthogonality(step.image_projection)
    if x:
        loss = loss + x * torch.linalg.matrix_norm(step.image_projection @ step.text_projection.T)
    if sd and step.teacher_images is not ABSENT:
        loss = loss + sd * distillation(step)
    return loss


def tracer(
    step: Step, sd: float = 1.5, temperature: float = 1.0, oc: float = 0.0, x: float = 0.0
) -> Tensor:
    """CaRot's loss with TRACER's weights; the teacher's scores are divided by the temperature.

    Raises ConfigError for temperature <= 0.
    """
    if temperature <= 0:
        raise ConfigError(f"temperature is {temperature}, expected one above 0")
    loss = carot(step, oc, 0.0, x)
    if sd and step.teacher_images is not ABSENT:
        loss = loss + sd * distillation(step, temperature)
    return loss


def orthogonality(projection: Tensor) -> Tensor:
    """||P^T P - 1||_F of P (V, D): 0 where its columns are orthogonal and of length 1."""
    products = projection.T @ projection  # (D, D)
    one = torch.eye(len(products), device=products.device, dtype=products.dtype)
    # The root of a sum of squares has no gradient at 0, this norm has 0 there.
    return torch.linalg.matrix_norm(products - one)


def distillation(step: Step, temperature: float = 1.0) -> Tensor:
    """SD, in nats; the teacher's scores are divided by the temperature."""
    scores = energy_vectors(unit(step.images), step.captions, step.scale)  # (B, B)
    images = unit(step.teacher_images)
    teacher = energy_vectors(images, step.teacher_captions, step.teacher_scale)  # (B, B)
    teacher = teacher / temperature
    return soft_cross_entropy(scores, teacher) + soft_cross_entropy(scores.T, teacher.T)
