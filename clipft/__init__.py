"""clipft: fine-tune CLIP and see what happens to its robustness. Importing it costs nothing until a name is used."""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .batch import run_batch as run_batch
    from .combining import combine as combine
    from .config import RunConfig as RunConfig
    from .diagnostics import correlation as correlation
    from .diagnostics import energy_gap as energy_gap
    from .diagnostics import feature_distortion as feature_distortion
    from .errors import ClipftError as ClipftError
    from .evaluation import sweep as sweep
    from .export import export_clip as export_clip
    from .manifests import load_manifest as load_manifest
    from .models import load_clip as load_clip
    from .objectives import METHODS as METHODS
    from .posthoc import wise as wise
    from .runs import Run as Run
    from .store import results as results
    from .sweeps import read_sweep as read_sweep
    from .training import train as train

_HOME = {
    "METHODS": "objectives",
    "ClipftError": "errors",
    "Run": "runs",
    "RunConfig": "config",
    "combine": "combining",
    "correlation": "diagnostics",
    "energy_gap": "diagnostics",
    "export_clip": "export",
    "feature_distortion": "diagnostics",
    "load_clip": "models",
    "load_manifest": "manifests",
    "read_sweep": "sweeps",
    "results": "store",
    "run_batch": "batch",
    "sweep": "evaluation",
    "train": "training",
    "wise": "posthoc",
}
__all__ = list(_HOME)


_MODULES = (
    "choosing",
    "diagnostics",
    "figures",
    "lipsum_ft",
    "metrics",
    "pages",
    "reports",
    "store",
    "tables",
    "widgets",
)  # public as modules: too many names for this list


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    if name not in _HOME:
        raise AttributeError(f"module 'clipft' has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
