"""What is done after training: pure functions on weight mappings, one file each; POSTHOC lists them by name."""

from .registry import POSTHOC as POSTHOC  # isort: skip

from .wise import wise as wise, wise_head as wise_head  # isort: skip
from .fisher import diagonal_fisher as diagonal_fisher, fisher_merge as fisher_merge  # isort: skip
from .tpgm import tpgm as tpgm  # isort: skip
from .soup import greedy_soup as greedy_soup, uniform_soup as uniform_soup  # isort: skip
from .ensemble import (
    distance as distance,
    greedy_ensemble as greedy_ensemble,
    output_ensemble as output_ensemble,
)  # isort: skip
