"""clipft: fine-tune CLIP and see what happens to its robustness. Importing it costs nothing until a name is used."""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .batch.runner import run_batch as run_batch
    from .config import RunConfig as RunConfig
    from .data.manifests import load_manifest as load_manifest
    from .diagnostics.energy_gap import energy_gap as energy_gap
    from .diagnostics.feature_distortion import feature_distortion as feature_distortion
    from .errors import ClipftError as ClipftError
    from .evaluation.score import sweep as sweep
    from .metrics.correlation import correlation as correlation
    from .models.export import export_clip as export_clip
    from .models.load import load_clip as load_clip
    from .objectives.registry import METHODS as METHODS
    from .posthoc.wise import wise as wise
    from .runs.run import Run as Run
    from .runs.sweep import read_sweep as read_sweep
    from .runs.table import results as results
    from .training.combine import combine as combine
    from .training.train import train as train

_HOME = {
    "METHODS": "objectives.registry",
    "ClipftError": "errors",
    "Run": "runs.run",
    "RunConfig": "config",
    "combine": "training.combine",
    "correlation": "metrics.correlation",
    "energy_gap": "diagnostics.energy_gap",
    "export_clip": "models.export",
    "feature_distortion": "diagnostics.feature_distortion",
    "load_clip": "models.load",
    "load_manifest": "data.manifests",
    "read_sweep": "runs.sweep",
    "results": "runs.table",
    "run_batch": "batch.runner",
    "sweep": "evaluation.score",
    "train": "training.train",
    "wise": "posthoc.wise",
}
__all__ = list(_HOME)


# public as modules: too many names for this list
_MODULES = {
    "choosing": "runs.choosing",
    "diagnostics": "diagnostics.energy_gap",
    "figures": "figures",
    "lipsum_ft": "papers.lipsum_ft",
    "metrics": "metrics.accuracy",
    "pages": "figures.pages",
    "reports": "reports.energy_gap",
    "store": "disk.files",
    "tables": "runs.table",
    "widgets": "widgets",
}


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return import_module(f".{_MODULES[name]}", __name__)
    if name not in _HOME:
        raise AttributeError(f"module 'clipft' has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
