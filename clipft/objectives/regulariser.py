"""The regularisers of KD, CAR-FT and Lipsum-FT: hold scores on texts where zero-shot had them.

    {KLD, MSE} x {class head, fixed context, random texts}
    u, v (B, K): scores of the tuned and of the zero-shot model on K texts
    KLD = tau^2 mean_x KL(softmax(v / tau) || softmax(u / tau)),   MSE = mean_x ||u - v||^2 / (2 K)

Of the six, KD is KLD on the class head, CAR-FT KLD on the context, Lipsum-FT MSE on random texts;
the other three are in `ablations`. For tau -> infinity KLD goes to the MSE of the centred scores
(Kim et al.).
Sources: Nam et al., Lipsum-FT, arXiv:2404.00860; Kim et al., IJCAI 2021, arXiv:2105.08919.
"""

from torch import Tensor
from torch.nn import functional as F

from ..diagnostics.energies import energy_vectors, squared_gap, unit
from ..errors import ConfigError
from .step import Step

Scores = tuple[Tensor, Tensor]


def on_texts(step: Step, texts: Tensor) -> Scores:
    """(u, v) on the unit rows of texts (K, D)."""
    u = energy_vectors(unit(step.images), texts, step.scale)
    v = energy_vectors(unit(step.anchor), texts, step.scale)
    return u, v


def on_class_head(step: Step) -> Scores:
    """(u, v) on the classes: u by the trained head, v by the zero-shot head."""
    v = energy_vectors(unit(step.anchor), step.zero_shot.T, step.scale)
    return step.logits, v


def kld(scores: Scores, tau: float = 1.0) -> Tensor:
    """tau^2 KL(softmax(v / tau) || softmax(u / tau)), mean over the batch, in nats.

    Raises ConfigError for tau <= 0.
    """
    if tau <= 0:
        raise ConfigError(f"tau is {tau}, expected a temperature above 0")
    u, v = scores
    tuned = (u / tau).log_softmax(-1)
    zero_shot = (v / tau).log_softmax(-1)
    return tau**2 * F.kl_div(tuned, zero_shot, log_target=True, reduction="batchmean")


def mse(scores: Scores) -> Tensor:
    """||u - v||^2 / (2 K), mean over the batch, in squared logits: half the batch's energy gap."""
    return squared_gap(*scores).mean() / 2
