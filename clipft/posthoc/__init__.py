"""What is done after training: pure functions on weight mappings, one file each; POSTHOC lists them by name."""

from .ensemble import distance as distance
from .ensemble import greedy_ensemble as greedy_ensemble
from .ensemble import output_ensemble as output_ensemble
from .fisher import diagonal_fisher as diagonal_fisher
from .fisher import fisher_merge as fisher_merge
from .registry import POSTHOC as POSTHOC
from .soup import greedy_soup as greedy_soup
from .soup import uniform_soup as uniform_soup
from .tpgm import tpgm as tpgm
from .wise import wise as wise
from .wise import wise_head as wise_head
