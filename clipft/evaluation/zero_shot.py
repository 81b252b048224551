"""Zero-shot models scored without a run: how good is a CLIP before anybody tunes it?"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch

from ..config import Reading, RunConfig, digest
from ..progress import progress_bar
from ..runs.checks import check_evaluation
from ..runs.identity import model_name
from ..runs.image_scores import Gathered
from ..runs.rows import reference_of
from ..runs.scores import table, with_scored_by
from ..runs.table import CONFIG_COLUMNS
from .bench import Bench
from .mixtures import Mixtures, ZeroShotJudge, score_splits

METHOD = "zero-shot"


def evaluate(
    models: str | Sequence[str],
    manifest: str,
    *,
    reference: str = "",
    reading: Reading | None = None,
) -> pd.DataFrame:
    """Score zero-shot models on every reported split of a data set; no run is made.

    Several of them make the baselines of effective robustness: `clipft.effective(results,
    baselines=table)`, or the file baselines.csv in a folder of runs.

    Arguments:
        models: one or several, NAME or NAME:WEIGHTS, as `model` and `pretrained` of `RunConfig`.
        manifest: the data set: a name of `clipft datasets`, or the path of a YAML file.
        reference: the domain that the others are shifts of; "": the manifest's own.
        reading: how images are read, and on which device.

    Returns:
        The columns of `clipft.results`, with alpha 0 and the model's name as its run: a row per
        model, split and metric. Metrics: accuracy, class_accuracy, macro_f1, nll, ece,
        ece_debiased, relative_accuracy.

    Raises:
        ConfigError: for an unknown model or data set.
        WeightsError: where weights cannot be read.

    Example:
        >>> own = clipft.new_manifest("mine", root="photos", reference="studio")
        >>> table = clipft.evaluate(["emoji-tiny", "emoji-tiny:none"], "mine.yaml")
        >>> rows = table[(table.metric == "accuracy") & (table.part == "test")]
        >>> rows.pivot(index="run", columns="domain", values="mean").shape
        (2, 3)
    """
    names = [models] if isinstance(models, str) else list(models)
    reading = reading or Reading()
    configs = check_evaluation(names, manifest, reference, skip_bad=reading.skip_bad)
    tables = []
    for name, config in progress_bar(configs.items(), "models", "model", show=len(configs) > 1):
        tables.append(_evaluate(name, config, reading))
    return pd.concat(tables, ignore_index=True)


def _evaluate(name: str, config: RunConfig, reading: Reading) -> pd.DataFrame:
    """The rows of one model."""
    bench = Bench(config, reading)
    student = bench.student(config)
    student.precision = reading.precision or config.precision
    start = student.state_dict()
    no_gap = torch.full((1, 1), torch.nan)  # nothing moved
    mixtures = Mixtures(student, start, [start], moment=lambda: no_gap, reading=reading)
    scores = Gathered()
    score_splits(ZeroShotJudge(mixtures), bench.reported_splits(config), scores)

    told = bench.manifest.scored_by
    rows = table(scores, reference_of(config, bench.manifest), told=told)
    recipe = digest([config.model, bench.clip.digest()], 6)
    settings = {
        "manifest": bench.manifest.name,
        "model": model_name(config.model),
        "method": METHOD,
        "lr": 0.0,
        "steps": 0,
        "seed": 0,
        "selection": "none",
    }
    settings |= bench.made_of(config)
    about = {"run": name, "recipe": recipe, "family": recipe}
    about |= {key: settings[key] for key in CONFIG_COLUMNS}
    for place, (column, value) in enumerate(about.items()):
        rows.insert(place, column, value)
    return with_scored_by(rows, told)
