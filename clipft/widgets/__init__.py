"""Records in, explorers out: widgets in a live page, a static twin figure everywhere else."""

from .browser import RunBrowser as RunBrowser
from .form import FineTuneForm as FineTuneForm
from .maps import EnergyMapExplorer as EnergyMapExplorer
from .runs import DistortionExplorer as DistortionExplorer
from .runs import EnergyGapExplorer as EnergyGapExplorer
from .wise import ReliabilityExplorer as ReliabilityExplorer
from .wise import WiseExplorer as WiseExplorer
