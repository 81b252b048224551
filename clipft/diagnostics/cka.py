"""Linear CKA: how alike two representations of the same images are, whatever their axes.

    CKA(X, Y) = HSIC(X, Y) / sqrt(HSIC(X, X) HSIC(Y, Y))
              = || Yc^T Xc ||_F^2 / (|| Xc^T Xc ||_F || Yc^T Yc ||_F)

of X (N, D) and Y (N, E), Xc and Yc less their means. 1 where they are equal but for a rotation, a
scale and a shift. The second form needs sums of size D x E alone, which images are added to as
they come. With fewer images than dimensions it is too high. Source: Kornblith et al.,
arXiv:1905.00414.
"""

import math

import torch
from torch import Tensor


class LinearCKA:
    """The sums over images that linear CKA is made of, in fp64."""

    def __init__(self):
        self.count = 0
        self._sums: dict[str, Tensor] = {}

    def add(self, first: Tensor, second: Tensor) -> None:
        """More images: their representations (n, D) and (n, E)."""
        x = first.double()
        y = second.double()
        parts = {"x": x.sum(0), "y": y.sum(0), "xx": x.T @ x, "yy": y.T @ y, "xy": x.T @ y}
        for name, part in parts.items():
            self._sums[name] = self._sums[name] + part if name in self._sums else part
        self.count += len(x)

    @property
    def value(self) -> float:
        """CKA of all images so far; nan where one of the representations is constant, or none."""
        if self.count < 2:
            return math.nan
        among = self._centred("xy").square().sum()
        own = self._centred("xx").norm() * self._centred("yy").norm()
        return float(among / own) if own else math.nan

    def _centred(self, pair: str) -> Tensor:
        """Xc^T Yc = X^T Y - N mean(x) mean(y)^T."""
        means = torch.outer(self._sums[pair[0]], self._sums[pair[1]]) / self.count
        return self._sums[pair] - means


def linear_cka(first: Tensor, second: Tensor) -> float:
    """Linear CKA of two representations of the same images: (N, D), (N, E)."""
    cka = LinearCKA()
    cka.add(first, second)
    return cka.value
