"""Records in, explorers out: widgets in a live page, a static twin figure everywhere else."""

from .energy_gap import (
    DistortionExplorer as DistortionExplorer,
    EnergyGapExplorer as EnergyGapExplorer,
)
from .energy_map import EnergyMapExplorer as EnergyMapExplorer
from .form import FineTuneForm as FineTuneForm
from .run_browser import RunBrowser as RunBrowser
from .wise import ReliabilityExplorer as ReliabilityExplorer, WiseExplorer as WiseExplorer
