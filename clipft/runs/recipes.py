"""Recipes by name, `paper/name`: what the papers trained, and what a sweep chose else."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import yaml

from ..config import Record, RunConfig
from ..data.manifests import available, manifests_folder
from ..data.splits import SplitName
from ..disk.files import read_yaml, write_text
from ..errors import ConfigError, RunError, unknown
from ..methods import METHODS, POSTHOC, Method, Posthoc, posthoc_method
from .folder import RunFolder, folders_of
from .identity import manifest_of
from .names import UNKNOWN, MethodName

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Sequence
    from pathlib import Path

    import pandas as pd

    from ..data.manifests import Manifest


class Preset(Record):
    """One recipe: settings of RunConfig, where they are from, and which of them a sweep chose."""

    title: str
    settings: dict[str, Any]
    source: str = ""
    # keys of `values` chosen on held-out reference images, because no paper gives them
    tuned: tuple[str, ...] = ()
    # keys that neither a paper nor a sweep gives: ours, untried
    unknown: tuple[str, ...] = ()
    # key -> the sentence, table or line of a release that its value is from
    sources: dict[str, str] = {}
    after: str = ""  # a post-hoc method, whose options the settings are
    note: str = ""

    @property
    def values(self) -> dict[str, Any]:
        """Its settings, of which an option of a method is `options.NAME`."""
        values = dict(self.settings)
        values |= {f"options.{key}": value for key, value in values.pop("options", {}).items()}
        return values

    @property
    def manifest(self) -> str:
        """The data set that it is for; "" for a post-hoc method, which takes any."""
        return "" if self.after else str(self.settings.get("manifest", RunConfig().manifest))

    @property
    def lacks_manifest(self) -> bool:
        """Whether no manifest of its data set comes with clipft: the user gives manifest=FILE."""
        return bool(self.manifest) and self.manifest not in available()


class Collection(Record):
    """One file of data_manifests/presets: recipes that share a source and some settings."""

    source: str
    common: dict[str, Any] = {}
    sources: dict[str, str] = {}  # of keys that several presets have
    agrees: tuple[str, ...] = ()  # what was compared with the authors' release and is the same
    differs: tuple[str, ...] = ()  # and what is not
    presets: dict[str, Preset]


def collections() -> dict[str, Collection]:
    """The files of data_manifests/presets by name; raises ConfigError for a malformed one."""
    files = sorted((manifests_folder() / "presets").glob("*.yaml"))
    return {file.stem: Collection.read(read_yaml(file), str(file)) for file in files}


def presets() -> dict[str, Preset]:
    """All recipes by `file/name`; raises ConfigError for a malformed file."""
    files = sorted((manifests_folder() / "presets").glob("*.yaml"))
    return dict(_presets(tuple((str(file), file.stat().st_mtime_ns) for file in files)))


@functools.lru_cache(maxsize=1)
def _presets(_files: tuple[tuple[str, int], ...]) -> dict[str, Preset]:
    """The recipes of these files, in their state; a batch asks for them once a job."""
    recipes = {}
    for file_name, collection in collections().items():
        for name, preset in collection.presets.items():
            changes: dict[str, Any] = {}
            if not preset.after:  # a post-hoc method has options of its own
                changes["settings"] = collection.common | preset.settings
            if not preset.source:
                changes["source"] = collection.source
            sources = collection.sources | preset.sources
            whole = preset.model_copy(update=changes)
            kept = {key: sources[key] for key in whole.values if key in sources}
            recipes[f"{file_name}/{name}"] = whole.model_copy(update={"sources": kept})
    return recipes


def load_preset(name: str) -> Preset:
    """One recipe; raises ConfigError with the nearest name."""
    known = presets()
    if name not in known:
        raise unknown("preset", name, known)
    return known[name]


OWN = ("lam", "ema", "options")  # settings that belong to one method
NAMES = ("manifest", "model")  # what a recipe is for; stand in every written one


def recipe(settings: dict[str, Any], **changes: Any) -> RunConfig:
    """Settings as a configuration; a `preset` among them stands for its own, and later ones win.

    With another method than the preset's, what belongs to that method (lam, ema, options) is left
    behind.

    Arguments:
        settings: of `RunConfig`, and `preset`.
        changes: more of them, which win.

    Returns:
        The configuration.

    Raises:
        ConfigError: for an unknown preset, one of a post-hoc method, and a bad setting.

    Example:
        >>> config = clipft.recipe({"preset": "lipsum_ft/domainnet_b16"}, reference="sketch")
        >>> config.steps, config.batch_size, config.reference
        (5000, 256, 'sketch')
    """
    settings = settings | changes
    name = settings.pop("preset", "")
    if not name:
        return RunConfig.read(settings, "settings")

    preset = load_preset(str(name))
    if preset.after:
        raise ConfigError(f"{name} is a post-hoc recipe; use it so: clipft combine {name} RUN")
    base = dict(preset.settings)
    if settings.get("method", base["method"]) != base["method"]:
        for key in OWN:
            base.pop(key, None)
    return RunConfig.read(base | settings, str(name))


def posthoc_recipe(name: str, options: dict[str, Any]) -> tuple[Posthoc, dict[str, Any]]:
    """A post-hoc method by its name, or with the options of its preset; those given win."""
    if "/" not in name:
        return posthoc_method(name), options
    preset = load_preset(name)
    if not preset.after:
        raise ConfigError(f"{name} is a recipe to train; use it so: clipft train --preset {name}")
    return POSTHOC[preset.after], preset.settings | options


# --- the recipe that fits


PLAIN = "none"  # in place of a preset's name: the defaults of RunConfig
OF_THE_PAPER = ("lr", "steps", "batch_size")  # defaults that no small data set wants
LISTED = 4  # presets in one line


def fitting_recipe(settings: dict[str, Any]) -> tuple[RunConfig, str]:
    """Settings over the preset that was made for their method, data set and model; and a line that
    says which it is, or that there is none.

    `preset` says it itself: its name, or "none" for the defaults of RunConfig; then there is
    nothing to say, and the line is empty. Raises as `recipe` does.
    """
    if settings.get("preset"):
        chosen = dict(settings)
        if chosen["preset"] == PLAIN:
            del chosen["preset"]
        return recipe(chosen), ""

    plain = recipe(settings)
    keys = ["method", *NAMES]
    if "pretrained" in settings:  # else the preset says it
        keys.append("pretrained")
    fitting = _presets_alike(plain, keys)
    if len(fitting) == 1:
        (name,) = fitting
        line = f"what is not given is as in the recipe {name}; --preset {PLAIN}: the plain defaults"
        return recipe(settings, preset=name), line
    return plain, _no_recipe(plain, settings, fitting)


def _presets_alike(config: RunConfig, keys: Sequence[str]) -> list[str]:
    """Names of the presets to train that say the same as a configuration under these keys."""
    wanted = config.model_dump(include=set(keys))
    plain = RunConfig().model_dump(include=set(keys))
    names = []
    for name, preset in presets().items():
        told = plain | {key: preset.settings[key] for key in keys if key in preset.settings}
        if not preset.after and told == wanted:
            names.append(name)
    return names


def _no_recipe(config: RunConfig, given: Container[str], fitting: Sequence[str]) -> str:
    """The line for settings that no preset, or more than one, was made for."""
    left_open = [key for key in OF_THE_PAPER if key not in given]
    if not left_open:
        return ""
    values = ", ".join(f"{key}={getattr(config, key):g}" for key in left_open)
    stands = f"{values} as in Lipsum-FT on DomainNet"
    if fitting:
        return f"{stands}; recipes that fit: {', '.join(fitting)}: take one with --preset"
    others = []
    for keys in (NAMES, NAMES[:1], ["method", "model"]):  # the nearest first
        others = others or _presets_alike(config, keys)
    if not others:
        return f"{stands}: no recipe is for {config.manifest}, so choose your own"
    listed = ", ".join(others[:LISTED]) + (", ..." if len(others) > LISTED else "")
    what = f"{config.method} on {config.manifest} with {config.model} {config.pretrained}".strip()
    return f"{stands}: no recipe is for {what}; the nearest, for --preset: {listed}"


# --- what a sweep chooses


# key -> whether a larger value holds the model nearer to zero-shot; options.* are of a method
OPEN = {
    "lam": True,
    "ema": True,
    "options.decay": True,
    "options.k": True,
    "options.sd": True,
    "options.margin": True,  # more of the distances that zero-shot has between classes
    "mu": True,
    "lr": False,
}
OF_A_METHOD = [key for key in OPEN if key not in ("mu", "lr")]
# keys that no run's configuration lacks
RECORDED = {"method", "lr", "lam", "ema", "options", "selection"}


def candidates(runs: Path | str) -> pd.DataFrame:
    """What a sweep tried: a row per method and value of an open key, with held-out accuracy.

    What is called accuracy is what the data set is scored by; attrs["metric"] says it in words.
    Columns: method, key, value, seeds, accuracy (mean over seeds of the kept weights), error
    (standard error of that proportion over the held-out images), chosen. The rule, made before the
    sweep was run: of the values whose accuracy is within one standard error of the best, the one
    that holds the model nearest to zero-shot (the one-standard-error rule, Breiman et al. 1984).
    Shift images have no say.
    Raises RunError where there is no run, ConfigError where runs are of several data sets.
    """
    runs_table = _tried_runs(runs)
    by_value = runs_table.groupby(["method", "key", "value"]).accuracy
    tried = by_value.agg(["size", "mean"]).reset_index()
    tried = tried.rename(columns={"size": "seeds", "mean": "accuracy"})

    if len(runs_table[["manifest", "reference"]].drop_duplicates()) > 1:
        raise ConfigError(
            f"{runs} holds runs of several data sets or references; a choice needs one"
        )
    first = runs_table.iloc[0]
    manifest = manifest_of(first.folder, first.manifest)
    count = _held_out_images(manifest, first.reference)
    tried["error"] = (tried.accuracy * (1 - tried.accuracy) / count) ** 0.5
    tried["chosen"] = False
    for (_, key), values in tried.groupby(["method", "key"]):
        tried.loc[_one_standard_error(values, larger=OPEN[key]), "chosen"] = True

    order = {name: place for place, name in enumerate(METHODS)}
    tried["place"] = tried.method.map(order).fillna(UNKNOWN)
    tried = tried.sort_values(["place", "key", "value"]).drop(columns="place")
    tried.attrs["metric"] = manifest.scored_by.words["reference"]
    return tried


def _one_standard_error(values: pd.DataFrame, *, larger: bool) -> Any:
    """The row of the largest, or smallest, value whose accuracy is within one error of the best."""
    best = values.loc[values.accuracy.idxmax()]
    near = values[values.accuracy >= best.accuracy - best.error]
    return near.value.idxmax() if larger else near.value.idxmin()


def _tried_runs(runs: Path | str) -> pd.DataFrame:
    """A row per run that was chosen on held-out images: method, open key, value, accuracy, data."""
    import pandas as pd

    rows = []
    for folder, recorded in _recorded_runs(runs):
        history = folder.history()
        accuracies = [row["val_accuracy"] for row in history if "val_accuracy" in row]
        if not accuracies or recorded["selection"] != "holdout":
            continue
        # The best weights are the ones that were kept.
        data = (recorded["manifest"], recorded["reference"], folder)
        rows.append((*_open_key(recorded), max(accuracies), *data))
    if not rows:
        raise RunError(
            f"no run chosen on held-out images under {runs}; run the sweep first: clipft batch"
        )
    columns = ["method", "key", "value", "accuracy", "manifest", "reference", "folder"]
    return pd.DataFrame(rows, columns=columns)


def _recorded_runs(runs: Path | str) -> Iterator[tuple[RunFolder, dict[str, Any]]]:
    """(folder, configuration) of every run; raises RunError where a file is no configuration."""
    for folder in folders_of(runs):
        recorded = folder.config()
        if not recorded.keys() >= RECORDED:
            raise RunError(
                f"{folder}/config.json is no run's configuration;"
                " delete the folder and run it again"
            )
        yield folder, recorded


def _open_key(recorded: dict[str, Any]) -> tuple[str, str, float]:
    """(method, key, value) of the one open setting that a run of the sweep tries."""
    name = MethodName(recorded["method"])
    after = recorded.get("after")
    if after is not None:
        return str(name.then(after["name"])), "mu", after["options"].get("mu", float("nan"))
    settings = recorded | {f"options.{key}": value for key, value in recorded["options"].items()}
    for key in OF_A_METHOD:
        if settings.get(key) is not None:
            return str(name), key, settings[key]
    return str(name), "lr", recorded["lr"]


def _held_out_images(manifest: Manifest, reference: str) -> int:
    """How many images the choice is made on; reference: "" for the manifest's own."""
    if not reference:
        reference = manifest.reference
    return len(manifest.trained_on([reference]).split(str(SplitName(reference, "val"))))


# --- what is written of it


HEAD = (
    "# Written by `make tune-emoji` from the runs of papermill_runs/tune_emoji.yaml. "
    "A key under `tuned` was\n"
    "# chosen on held-out images of the reference by the one-standard-error rule, "
    "see clipft/runs/recipes.py.\n"
)
SOURCE = "papermill_runs/tune_emoji.yaml; the methods' sources in `clipft methods`"
Chosen = dict[tuple[str, str], float]  # (method, key) -> value


def write_presets(runs: Path | str, file: Path | str) -> None:
    """Write every method's recipe: the sweep's common settings, and the open keys as it chose them.

    Contrastive methods share FLYP's learning rate, all others FT's. Raises as `candidates` does,
    and RunError where one of these two was not tried.
    """
    chosen = _chosen_values(runs)
    recipes = {}
    for name, method in METHODS.items():
        recipes[name] = _method_recipe(method, chosen)
    for (name, key), value in chosen.items():
        if key == "mu":
            after = MethodName.parse(name).after[-1]
            recipes[after] = _posthoc_recipe(after, key, value)
    content = {"source": SOURCE, "common": _common_settings(runs), "presets": recipes}
    text = yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=120)
    write_text(file, HEAD + text)


def _chosen_values(runs: Path | str) -> Chosen:
    tried = candidates(runs)
    chosen: Chosen = {}
    for row in tried[tried.chosen].itertuples():
        chosen[str(row.method), str(row.key)] = float(f"{row.value:g}")
    for leader in ("ft", "flyp"):
        if (leader, "lr") not in chosen:
            raise RunError(
                f"{runs} holds no run of {leader} that chooses a learning rate; "
                "run the whole sweep first"
            )
    return chosen


def _common_settings(runs: Path | str) -> dict[str, Any]:
    """What all runs have in common and is not a default, in the order of the first run's file."""
    plain = RunConfig().model_dump(mode="json")
    first, *others = [recorded for _, recorded in _recorded_runs(runs)]
    common = {}
    for key, value in first.items():
        if key not in plain or (value == plain[key] and key not in NAMES):
            continue
        if all(other[key] == value for other in others):
            common[key] = value
    return common


def _method_recipe(method: Method, chosen: Chosen) -> dict[str, Any]:
    leader = "flyp" if method.two_towers else "ft"
    settings: dict[str, Any] = {"method": method.name, "lr": chosen[leader, "lr"]}
    tuned = ["lr"]
    if method.trains == "head":
        tuned = []  # a logistic regression has no learning rate
    for key in OF_A_METHOD:
        if (method.name, key) in chosen:
            outer, _, option = key.partition(".")
            value = chosen[method.name, key]
            settings[outer] = {option: value} if option else value
            tuned.append(key)
    made = {"title": f"{method.title} on EmojiShift", "settings": settings, "tuned": tuned}
    if method.lam is not None and "lam" not in tuned:
        made["unknown"] = ["lam"]
    return made


def _posthoc_recipe(name: str, key: str, value: float) -> dict[str, Any]:
    title = f"{POSTHOC[name].title} on EmojiShift"
    return {"title": title, "after": name, "settings": {key: value}, "tuned": [key]}
