"""Records in, plotly figures out."""

from .accuracy import split_bars as split_bars
from .calibration import reliability as reliability
from .distortion import distortion as distortion
from .energy_gap import classes as classes
from .energy_gap import energy_gap as energy_gap
from .energy_gap import leave_one_out as leave_one_out
from .energy_map import energy_map as energy_map
from .images import contact_sheet as contact_sheet
from .panels import join as join
from .panels import lines as lines
from .panels import nothing as nothing
from .style import CONFIG as CONFIG
from .style import LAYOUT as LAYOUT
from .style import paper as paper
from .style import style as style
from .tables import blocks as blocks
from .tables import table as table
from .trade_off import choices as choices
from .trade_off import trade_off as trade_off
from .training import training_curves as training_curves
from .weight_path import layers as layers
from .weight_path import path as path
from .wise import sweep as sweep
from .wise import wise_curves as wise_curves
from .wise import wise_slider as wise_slider
