"""What post-hoc methods may ask of the held-out images, on which all choices are made; and of the
images that were trained on.
"""

from collections.abc import Callable, Collection, Iterable
from typing import Any, Protocol

from torch import Tensor

from .weights import Weights

Loss = Callable[[Weights, Any], Tensor]  # of weights on a batch, a scalar


class HeldOut(Protocol):
    """The images on which choices are made, as questions about weights; N images, C classes."""

    @property
    def labels(self) -> Tensor:
        """(N,)."""

    @property
    def parameters(self) -> Collection[str]:
        """Names of the weights that are parameters; the others are buffers, without gradient."""

    def accuracy(self, weights: Weights) -> float:
        """A fraction: top-1 accuracy, or what else the data set is scored by."""

    def logits(self, weights: Weights) -> Tensor:
        """(N, C)."""

    def outputs(self, weights: Weights) -> tuple[Tensor, Tensor]:
        """Unit embeddings (N, D), and `logits`."""

    def train_features(self, weights: Weights) -> tuple[Tensor, Tensor]:
        """Of the images that were trained on, not augmented: unit embeddings (M, D), and which are
        predicted rightly (M,).
        """

    def batches(self, size: int, steps: int) -> Iterable[Any]:
        """Shuffled batches, for `loss`."""

    def loss(self, weights: Weights, batch: Any) -> Tensor:
        """Cross-entropy of one batch in evaluation mode, with gradient to the parameters."""

    def sampled_loss(self, weights: Weights, batch: Any) -> Tensor:
        """The same with labels drawn from the model's own predictions."""
