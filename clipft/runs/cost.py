"""What a step of each method costs, against one of plain tuning: Lipsum-FT's paragraph on cost."""

from __future__ import annotations

from math import isnan, nan
from typing import TYPE_CHECKING, Any

from ..errors import RunError
from .identity import model_name
from .made import TRAINING, Made
from .names import ordered, title_of
from .run import Run, open_runs

if TYPE_CHECKING:
    import pandas as pd

BASE = "ft"
# alike in runs whose steps can be compared: what a step does, and what it is done on
SETTING = ["manifest", "model", "batch_size", "precision", "protocol", "device", "threads"]


def cost_table(runs: Any) -> pd.DataFrame:
    """Seconds per step of each method, and against those of FT on the same machine and data.

    Of the recorded seconds of training, validations left out. A run that was trained on several
    devices, or by a clipft that recorded none, is left out. The paper's own minutes are lost to us;
    it says that KD, CAR-FT and Lipsum-FT cost about 20 % more than FT
    (arXiv:2404.00860, in its paragraph on cost).

    Arguments:
        runs: one run, several, or a folder of runs.

    Returns:
        A row per method and SETTING (manifest, model, batch_size, precision, protocol, device,
        threads): title, runs, seconds_per_step (mean over runs), its standard deviation, and
        relative: the mean over that of FT, NaN where no FT was trained alike.

    Raises:
        RunError: where no run says how long it took.

    Example:
        >>> table = clipft.cost_table("runs")
        >>> table.method.tolist(), float(table.relative.iloc[0])
        (['ft', 'lipsum'], 1.0)
    """
    import pandas as pd

    rows = [row for run in open_runs(runs) if (row := _row(run))]
    if not rows:
        raise RunError(f"no run of {runs} records its seconds per step; train one: clipft train")
    by_method = pd.DataFrame(rows).groupby([*SETTING, "method"])["seconds_per_step"]
    costs = by_method.agg(["size", "mean", "std"]).reset_index()
    costs.columns = [*SETTING, "method", "runs", "seconds_per_step", "std"]

    base = costs[costs.method == BASE].set_index(SETTING)["seconds_per_step"].to_dict()
    settings = costs[SETTING].itertuples(index=False, name=None)
    costs["relative"] = costs.seconds_per_step / [base.get(setting, nan) for setting in settings]
    costs.insert(0, "title", costs.method.map(title_of))

    place = {name: number for number, name in enumerate(ordered(costs.method))}
    costs["place"] = costs.method.map(place)
    return costs.sort_values([*SETTING, "place"], ignore_index=True).drop(columns="place")


def _row(run: Run) -> dict[str, Any]:
    """What a run's steps cost, and what they were; empty where nothing says it."""
    training = Made(tuple(run.made.of_work(TRAINING)))
    devices = {str(part.get("device")) for part in training.parts}
    if isnan(training.seconds_per_step) or len(devices) > 1:
        return {}
    config = run.config
    return {
        "manifest": config.manifest,
        "model": model_name(config.model),
        "batch_size": config.batch_size,
        "precision": config.precision,
        "protocol": config.protocol,
        "device": training.devices,
        "threads": training.threads,
        "method": config.method,
        "seconds_per_step": training.seconds_per_step,
    }
