"""What runs were told: settings that differ from the defaults, or between two runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from ..config import RunConfig
from ..runs.folder import ABOUT, RunFolder
from ..runs.identity import model_name
from ..runs.names import MethodName, title_of

WORDS = {  # what a setting is called, where its own name says too little
    "train_domains": "domains to train on",
    "shifts": "shifts measured on",
    "lam": "weight of the regulariser",
    "lr": "learning rate",
    "layer_decay": "learning rate of a block below, as a part",
    "train_only": "trained alone",
    "batch_size": "images in a batch",
    "warmup": "warm-up, part of the steps",
    "betas": "betas of AdamW",
    "clip_norm": "gradients clipped to norm",
    "crop": "crop, part of the image",
    "flip": "half of the images mirrored",
    "shots": "training images per class",
    "head_from": "head starts from",
    "solver": "solver of the linear probe",
    "ema": "decay of averaged weights",
    "average": "average of the weights that is kept",
    "beta_b": "b of the Beta average",
    "text_count": "random texts in a step",
    "text_length": "tokens in a random text",
    "eval_every": "steps between validations",
    "selection": "weights chosen by",
    "protocol": "clipft's own way, or a release's",
}
SAID_FIRST = {"method", "manifest", "model"}
# A digest of what a setting stands for -> that setting, and what differs where its name does not.
CONTENTS = {
    "manifest_digest": ("manifest", "other images or classes"),
    "rows_digest": ("manifest", "other images to train on"),
    "model_digest": ("model", "other weights"),
    "head_digest": ("head_from", "another head"),
    "spurious_digest": ("manifest", "other spurious templates"),
    "method_digest": ("method", "other code"),
}


def settings_table(settings: Mapping[str, object]) -> pd.DataFrame:
    """Settings as columns setting and value, both words."""
    return pd.DataFrame({"setting": list(settings), "value": [str(v) for v in settings.values()]})


def _told(folder: Path) -> dict[str, object]:
    """What a run was made of and with, as recorded."""
    recorded = RunFolder(folder).config()
    return {name: value for name, value in recorded.items() if name not in ABOUT}


def changed_settings(folder: Path) -> dict[str, str]:
    """A run's method, data set and model, and what else differs from clipft's defaults, in words.

    Digests are left out, and ids: a combination says of how many runs it is. Raises RunError
    without a run.
    """
    told = _told(folder)
    defaults = RunConfig().model_dump(mode="json")  # as the file has them: it knows no tuples
    method = str(told.get("method", ""))
    after = told.get("after")
    if isinstance(after, Mapping):
        method = str(MethodName(method, (*after["of"], after["name"])))

    settings = {
        "method": title_of(method),
        "data set": str(told.get("manifest", "")),
        "model": model_name(str(told.get("model", ""))),
    }
    for name, value in told.items():
        if name in defaults.keys() - SAID_FIRST and value != defaults[name]:
            settings[WORDS.get(name, name.replace("_", " "))] = in_words(value)
    if isinstance(after, Mapping):
        settings["made of runs"] = str(after["among"])
        if after["options"]:
            settings["options of that"] = in_words(after["options"])
    return settings


def told_table(runs: Sequence[Path]) -> pd.DataFrame:
    """The settings in which runs differ, in words: columns setting, and one for each run's id.

    A file that has the same name as the first run's and another content is said to be another.
    """
    told = [_told(run) for run in runs]
    first = told[0]
    every = dict.fromkeys(key for one in told for key in one)
    differ = [key for key in every if any(one.get(key) != first.get(key) for one in told)]
    rows = {}
    for key in differ:
        if key not in CONTENTS:
            rows[key] = [in_words(one.get(key)) for one in told]
    for key in differ:
        setting, other = CONTENTS.get(key, (key, ""))
        if setting not in rows:
            rows[setting] = [
                _named(one, setting, other, is_other=one.get(key) != first.get(key)) for one in told
            ]
    names = [f"run {run.name}" for run in runs]
    return pd.DataFrame(
        [(setting, *words) for setting, words in rows.items()], columns=["setting", *names]
    )


def _named(told: Mapping[str, object], setting: str, other: str, *, is_other: bool) -> str:
    """What a run has of a setting; with what differs in it where the name does not say it."""
    name = in_words(told.get(setting))
    return f"{name}, {other}" if is_other else name


def in_words(value: object) -> str:
    """The value of a setting as a reader would say it; what was not set is `default`."""
    if value is None or value in ("", [], {}):
        words = "default"
    elif isinstance(value, bool):
        words = "yes" if value else "no"
    elif isinstance(value, float):
        words = f"{value:g}"
    elif isinstance(value, Mapping):
        words = ", ".join(f"{key} {in_words(part)}" for key, part in value.items())
    elif isinstance(value, list | tuple):
        words = ", ".join(in_words(part) for part in value)
    else:
        words = str(value)
    return words
