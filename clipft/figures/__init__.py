"""Records in, plotly figures out."""

from .accuracy import split_bars as split_bars
from .calibration import reliability as reliability
from .distortion import distortion as distortion
from .energy_gap import classes as classes, energy_gap as energy_gap, leave_one_out as leave_one_out
from .energy_map import energy_map as energy_map
from .images import contact_sheet as contact_sheet
from .panels import join as join, lines as lines, nothing as nothing
from .style import CONFIG as CONFIG, LAYOUT as LAYOUT, paper as paper, style as style
from .tables import blocks as blocks, table as table
from .trade_off import choices as choices, trade_off as trade_off
from .training import training_curves as training_curves
from .weight_path import layers as layers, path as path
from .wise import sweep as sweep, wise_curves as wise_curves, wise_slider as wise_slider
