"""What runs were told: settings that differ from the defaults, or between two runs."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from ..config import RunConfig
from ..runs.folder import ABOUT, RunFolder


def settings_table(settings: Mapping[str, object]) -> pd.DataFrame:
    """Settings as columns setting and value, both words."""
    return pd.DataFrame({"setting": list(settings), "value": [str(v) for v in settings.values()]})


def _told(folder: Path) -> dict[str, object]:
    """What a run was made of and with, as recorded."""
    recorded = RunFolder(folder).config()
    return {name: value for name, value in recorded.items() if name not in ABOUT}


def changed_settings(folder: Path) -> dict[str, object]:
    """The settings of a run that are not clipft's defaults. Raises RunError without a run."""
    defaults = RunConfig().model_dump(mode="json")  # as the file has them: it knows no tuples
    return {name: value for name, value in _told(folder).items() if value != defaults.get(name)}


def config_diff(first: Path, second: Path) -> pd.DataFrame:
    """The settings in which two runs differ: columns setting, first, second."""
    config = _told(first)
    other = _told(second)
    rows = []
    for name in dict.fromkeys([*config, *other]):
        if config.get(name) != other.get(name):
            rows.append((name, str(config.get(name, "")), str(other.get(name, ""))))
    return pd.DataFrame(rows, columns=["setting", "first", "second"])
