"""Recipes by name, `paper/name`: what the papers trained, and what a sweep chose where they do not say."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ..config import Record, RunConfig
from ..data.manifests import load_manifest, manifests_folder
from ..disk.files import read_json, read_jsonl, read_yaml, write_text
from ..errors import ConfigError, RunError, unknown
from ..objectives.registry import METHODS
from ..posthoc.registry import POSTHOC

if TYPE_CHECKING:
    import pandas as pd


class Preset(Record):
    """One recipe: settings of RunConfig, where they are from, and which of them a sweep chose."""

    title: str
    settings: dict[str, Any]
    source: str = ""
    tuned: tuple[
        str, ...
    ] = ()  # keys chosen on held-out reference images, because no paper gives them
    unknown: tuple[str, ...] = ()  # keys that neither a paper nor a sweep gives: ours, untried
    after: str = ""  # a post-hoc method, whose options the settings are
    note: str = ""


class Collection(Record):
    """One file of data_manifests/presets: recipes that share a source and some settings."""

    source: str
    common: dict[str, Any] = {}
    presets: dict[str, Preset]


def presets() -> dict[str, Preset]:
    """All recipes by `file/name`; raises ConfigError for a malformed file."""
    found = {}
    for file in sorted((manifests_folder() / "presets").glob("*.yaml")):
        collection = Collection.read(read_yaml(file), str(file))
        for name, preset in collection.presets.items():
            settings = preset.settings if preset.after else collection.common | preset.settings
            changes = {"settings": settings, "source": preset.source or collection.source}
            found[f"{file.stem}/{name}"] = preset.model_copy(update=changes)
    return found


def load_preset(name: str) -> Preset:
    """One recipe; raises ConfigError with the nearest name."""
    known = presets()
    if name not in known:
        raise unknown("preset", name, known)
    return known[name]


def recipe(settings: dict[str, Any], **changes: Any) -> RunConfig:
    """Settings, of which `preset` stands for those of that name, as a configuration; later ones win.

    With another method than the preset's, what belongs to that method (lam, ema, options) is left behind. Raises
    ConfigError for an unknown preset and a bad setting.
    """
    settings = settings | changes
    name = settings.pop("preset", "")
    if not name:
        return RunConfig.read(settings, "settings")
    base = load_preset(str(name))
    if base.after:
        raise ConfigError(f"{name} is a post-hoc recipe; use it so: clipft combine {name} RUN")
    kept = base.settings
    if settings.get("method", kept["method"]) != kept["method"]:
        kept = {key: value for key, value in kept.items() if key not in ("lam", "ema", "options")}
    return RunConfig.read(kept | settings, str(name))


NAMES = ("manifest", "model")  # stand in every written recipe, defaults or not
# key -> whether a larger value holds the model nearer to zero-shot
OPEN = {"lam": True, "ema": True, "mu": True, "lr": False}


def candidates(runs: Path | str) -> pd.DataFrame:
    """What a sweep tried: one row per method and value of an open key, with held-out reference accuracy.

    Columns: method, key, value, seeds, accuracy (mean over seeds of the kept weights), error (standard error of that
    proportion over the held-out images), chosen. The rule, made before the sweep was run: of the values whose accuracy
    is within one standard error of the best, the one that holds the model nearest to zero-shot (the one-standard-error
    rule, Breiman et al. 1984). Shift images have no say. Raises RunError where there is no run.
    """
    import pandas as pd

    rows = []
    for file in sorted(Path(runs).glob("*/config.json")):
        recorded, kept = read_json(file), read_jsonl(file.parent / "metrics.jsonl")
        if (
            not isinstance(recorded, dict)
            or not {"method", "lr", "lam", "ema", "selection"} <= recorded.keys()
        ):
            raise RunError(f"{file} is no run's configuration; delete the folder and run it again")
        found = [row["val_accuracy"] for row in kept if "val_accuracy" in row]
        key, value, name = _open_key(recorded)
        if found and recorded["selection"] == "holdout":
            rows.append(
                (
                    name,
                    key,
                    value,
                    recorded["seed"],
                    max(found),
                    recorded["manifest"],
                    recorded["reference"],
                )
            )
    if not rows:
        raise RunError(
            f"no run chosen on held-out images under {runs}; run the sweep first: clipft batch"
        )
    columns = ["method", "key", "value", "seed", "accuracy", "manifest", "reference"]
    table = pd.DataFrame(rows, columns=columns)
    if table[["manifest", "reference"]].drop_duplicates().shape[0] > 1:
        raise ConfigError(
            f"{runs} holds runs of several data sets or references; a choice needs one"
        )
    manifest = load_manifest(table.manifest[0])
    count = len(manifest.split(f"{table.reference[0] or manifest.reference}/val"))
    grouped = table.groupby(["method", "key", "value"]).accuracy
    tried = (
        grouped.agg(["size", "mean"])
        .reset_index()
        .rename(columns={"size": "seeds", "mean": "accuracy"})
    )
    tried["error"] = (tried.accuracy * (1 - tried.accuracy) / count) ** 0.5
    tried["chosen"] = False
    for (_, key), part in tried.groupby(["method", "key"]):
        best = part.loc[part.accuracy.idxmax()]
        near = part[part.accuracy >= best.accuracy - best.error]
        tried.loc[near.value.idxmax() if OPEN[key] else near.value.idxmin(), "chosen"] = True
    order = {name: place for place, name in enumerate(METHODS)}
    return tried.sort_values(
        ["method", "key", "value"],
        key=lambda c: c.map(order).fillna(99) if c.name == "method" else c,
    )


def _open_key(recorded: dict[str, Any]) -> tuple[str, float, str]:
    """(key, value, method) of the one open setting that a run of the sweep tries."""
    after, name = recorded.get("after"), recorded["method"]
    if after is not None:
        return "mu", after["options"].get("mu", float("nan")), f"{name}+{after['name']}"
    for key in ("lam", "ema"):
        if recorded[key] is not None:
            return key, recorded[key], name
    return "lr", recorded["lr"], name


def write_presets(runs: Path | str, file: Path | str) -> None:
    """Write every method's recipe with what `candidates` chose: the sweep's common settings, and the open keys.

    Contrastive methods share FLYP's learning rate, all others FT's.
    """
    tried = candidates(runs)
    chosen = {
        (row.method, row.key): float(f"{row.value:g}") for row in tried[tried.chosen].itertuples()
    }
    for leader in ("ft", "flyp"):
        if (leader, "lr") not in chosen:
            raise RunError(
                f"{runs} holds no run of {leader} that chooses a learning rate; run the whole sweep first"
            )
    configs = [read_json(one) for one in Path(runs).glob("*/config.json")]
    plain = RunConfig().model_dump(mode="json")
    common = {
        key: value
        for key, value in configs[0].items()
        if key in plain
        and all(one[key] == value for one in configs)
        and (value != plain[key] or key in NAMES)
    }
    made: dict[str, Any] = {}
    for name, entry in METHODS.items():
        leader = "flyp" if entry.trains in ("image", "both") else "ft"
        settings: dict[str, Any] = {"method": name, "lr": chosen[leader, "lr"]}
        tuned = ["lr"] if entry.trains != "head" else []
        for key in ("lam", "ema"):
            if (name, key) in chosen:
                settings[key] = chosen[name, key]
                tuned.append(key)
        made[name] = {"title": f"{entry.title} on EmojiShift", "settings": settings, "tuned": tuned}
        if entry.lam is not None and "lam" not in tuned:
            made[name]["unknown"] = ["lam"]
    for (name, key), value in chosen.items():
        if key == "mu":
            after = name.partition("+")[2]
            made[after] = {
                "title": f"{POSTHOC[after].title} on EmojiShift",
                "after": after,
                "settings": {key: value},
                "tuned": [key],
            }
    head = (
        "# Written by `make tune-emoji` from the runs of papermill_runs/tune_emoji.yaml. A key under `tuned` was\n"
        "# chosen on held-out images of the reference by the one-standard-error rule, see clipft/presets.py.\n"
    )
    source = "papermill_runs/tune_emoji.yaml; the methods' sources in `clipft methods`"
    content = {"source": source, "common": common, "presets": made}
    write_text(
        file, head + yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=120)
    )
