"""How near classes lie to each other in the zero-shot head: cos(c, k) = <w_c, w_k> / |w_c| |w_k|.

w_c (D) is the column of class c, the mean embedding of its name in several sentences.
Source: CLIP, arXiv:2103.00020, section 3.1.4 (heads made of prompts).
"""

from torch import Tensor

from .energies import unit

BELOW_ALL = -2.0  # less than any cosine


def nearest_classes(head: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Of each class the classes of the largest cosine, in order, and these cosines.

    head (D, C) -> two of (C, min(most, C - 1)); of equal ones the first class goes first.
    """
    columns = unit(head.double().cpu().T)
    cosines = columns @ columns.T
    cosines.fill_diagonal_(BELOW_ALL)
    ordered = cosines.sort(dim=1, descending=True, stable=True)
    others = min(most, len(columns) - 1)
    return ordered.indices[:, :others], ordered.values[:, :others]
