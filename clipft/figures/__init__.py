"""Records in, plotly figures out. Nothing is computed here but means over seeds and where a marker stands."""

from .diagnostics import choices as choices
from .diagnostics import classes as classes
from .diagnostics import distortion as distortion
from .diagnostics import energy_map as energy_map
from .diagnostics import layers as layers
from .diagnostics import leave_one_out as leave_one_out
from .diagnostics import path as path
from .diagnostics import reliability as reliability
from .diagnostics import trade_off as trade_off
from .panels import blocks as blocks
from .panels import join as join
from .panels import lines as lines
from .panels import nothing as nothing
from .results import contact_sheet as contact_sheet
from .results import energy_gap as energy_gap
from .results import split_bars as split_bars
from .results import table as table
from .results import training_curves as training_curves
from .results import wise_curves as wise_curves
from .results import wise_slider as wise_slider
from .style import CONFIG as CONFIG
from .style import LAYOUT as LAYOUT
from .style import paper as paper
from .style import style as style
from .sweeps import sweep as sweep
