"""The front door: every public name and where it lives. This list is the only one."""

from .batch.on_ray import OnRay as OnRay
from .batch.runner import run_batch as run_batch
from .config import Reading as Reading, RunConfig as RunConfig
from .data.corruptions import corrupt as corrupt
from .data.images import sample_tiles as sample_tiles
from .data.manifests import load_manifest as load_manifest
from .data.own import new_manifest as new_manifest
from .data.packs import pack as pack
from .diagnostics.energy_gap import energy_gap as energy_gap
from .diagnostics.feature_distortion import feature_distortion as feature_distortion
from .errors import ClipftError as ClipftError
from .evaluation.bench import Bench as Bench
from .evaluation.score import export as export, score as score
from .evaluation.verify import verify as verify
from .evaluation.zero_shot import evaluate as evaluate
from .figures.accuracy import accuracy_figure as accuracy_figure
from .figures.calibration import reliability_figure as reliability_figure
from .figures.confusions import confusion_figure as confusion_figure
from .figures.corruption import corruption_figure as corruption_figure
from .figures.detection import detection_figure as detection_figure
from .figures.distortion import (
    distortion_bars_figure as distortion_bars_figure,
    distortion_figure as distortion_figure,
)
from .figures.energy_gap import (
    class_figure as class_figure,
    energy_gap_figure as energy_gap_figure,
    leave_one_out_figure as leave_one_out_figure,
)
from .figures.energy_map import energy_map_figure as energy_map_figure
from .figures.flips import (
    class_losses_figure as class_losses_figure,
    flips_figure as flips_figure,
    group_figure as group_figure,
)
from .figures.geometry import cka_figure as cka_figure, geometry_figure as geometry_figure
from .figures.images import contact_sheet_figure as contact_sheet_figure
from .figures.on_the_line import on_the_line_figure as on_the_line_figure
from .figures.pages import save_figure as save_figure
from .figures.parallel import parallel_figure as parallel_figure
from .figures.tables import table_figure as table_figure
from .figures.throughput import throughput_figure as throughput_figure
from .figures.trade_off import choice_figure as choice_figure, trade_off_figure as trade_off_figure
from .figures.training import training_figure as training_figure
from .figures.weight_path import layer_figure as layer_figure, path_figure as path_figure
from .figures.wise import (
    sweep_figure as sweep_figure,
    wise_curve_figure as wise_curve_figure,
    wise_slider_figure as wise_slider_figure,
)
from .figures.without_labels import (
    estimates_figure as estimates_figure,
    record_figure as record_figure,
    regret_figure as regret_figure,
)
from .methods import METHODS as METHODS, POSTHOC as POSTHOC
from .metrics.correlation import correlation as correlation, leave_one_out as leave_one_out
from .models.load import load_clip as load_clip
from .models.predict import Predictor as Predictor
from .papers.published import published as published, published_rows as published_rows
from .posthoc.wise import wise as wise
from .reports.cka import cka_table as cka_table
from .reports.class_similarity import (
    class_losses as class_losses,
    class_similarity as class_similarity,
)
from .reports.energy_gap import gap_table as gap_table
from .reports.energy_map import energy_map as energy_map
from .reports.geometry import geometry_table as geometry_table
from .reports.throughput import throughput as throughput
from .reports.weight_paths import layer_table as layer_table, path_table as path_table
from .runs.above_wise import above_wise as above_wise
from .runs.choosing import choices as choices, ordered_pairs as ordered_pairs, verdict as verdict
from .runs.claims import claims as claims
from .runs.confusion import confusion_table as confusion_table
from .runs.corruption import (
    corruption_table as corruption_table,
    made_against_real as made_against_real,
)
from .runs.cost import cost_table as cost_table
from .runs.detection import detection_table as detection_table
from .runs.findings import findings as findings
from .runs.flips import flips_table as flips_table, group_table as group_table
from .runs.labels import label as label
from .runs.measures import explanations as explanations, with_measures as with_measures
from .runs.names import is_ensemble as is_ensemble, ordered as ordered, title_of as title_of
from .runs.on_the_line import line_table as line_table, robustness_table as robustness_table
from .runs.pruning import prune as prune
from .runs.reading import (
    barrier_table as barrier_table,
    class_table as class_table,
    compare_runs as compare_runs,
    distortion_table as distortion_table,
    gzsl_table as gzsl_table,
    reliability_of as reliability_of,
)
from .runs.recipes import recipe as recipe
from .runs.run import Run as Run, open_runs as open_runs, read_sweep as read_sweep
from .runs.shift_estimates import shift_estimates as shift_estimates
from .runs.sweep import Sweep as Sweep
from .runs.table import (
    best_by_val as best_by_val,
    changes as changes,
    effective as effective,
    mixture as mixture,
    paths as paths,
    recipes as recipes,
    results as results,
    results_table as results_table,
    wide as wide,
)
from .runs.track_record import regrets as regrets, track_record as track_record
from .testing import check_method as check_method
from .training.adopt import adopt as adopt
from .training.combine import combine as combine
from .training.train import train as train
from .tuning.tune import tune as tune
from .widgets.calibration import ReliabilityExplorer as ReliabilityExplorer
from .widgets.classes import ClassExplorer as ClassExplorer
from .widgets.distortion import DistortionExplorer as DistortionExplorer
from .widgets.energy_gap import EnergyGapExplorer as EnergyGapExplorer
from .widgets.energy_map import EnergyMapExplorer as EnergyMapExplorer
from .widgets.explore import RunExplorer as RunExplorer, explore as explore
from .widgets.form import FineTuneForm as FineTuneForm
from .widgets.link import link as link
from .widgets.run_browser import RunBrowser as RunBrowser
from .widgets.view import show as show
from .widgets.wise import WiseExplorer as WiseExplorer
from .widgets.workspace import Workspace as Workspace

__version__: str
__all__: list[str]
