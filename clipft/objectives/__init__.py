"""One file per method. A method is one decorated function from a Step to a scalar; the loop owns everything else.

A new method is a file here and a line below; the order of the lines is the order in tables and figures.
"""

from .registry import METHODS as METHODS  # isort: skip
from .registry import Method as Method  # isort: skip
from .step import Step as Step

from .registry import method as method  # isort: skip

from .cross_entropy import cross_entropy as cross_entropy  # isort: skip
from .l2sp import l2sp as l2sp  # isort: skip
from .kd import kd as kd  # isort: skip
from .feat_kd import feat_kd as feat_kd  # isort: skip
from .car import car as car  # isort: skip
from .lipsum import lipsum as lipsum  # isort: skip
from .flyp import flyp as flyp  # isort: skip
from .ablations import mse_class as mse_class  # isort: skip
