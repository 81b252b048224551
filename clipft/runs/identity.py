"""What a run is called: a hash of what it is made of, never of how a path to it is spelled."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import RunConfig, digest, plain_settings
from ..data.manifests import Manifest, is_shipped, load_manifest
from ..errors import ClipftError
from .folder import RunFolder, run_folders
from .model_names import GELU, LOCAL, model_folder, weights_path

if TYPE_CHECKING:
    from collections.abc import Mapping

PLACED = ("manifest", "model", "pretrained", "head_from")  # settings that may be paths


def as_kept(config: RunConfig, manifest: Manifest) -> RunConfig:
    """The configuration as its run keeps it: the data set's name, absolute paths of other files."""
    changes = {"manifest": manifest.name}
    for key in ("model", "pretrained", "head_from"):
        changes[key] = absolute(key, getattr(config, key), Path())
    return config.model_copy(update=changes)


def absolute(key: str, value: str, base: Path) -> str:
    """The value of a setting that may be a path, seen from `base`; names and tags stay."""
    if key == "model":
        folder = None if value == "emoji-tiny" else model_folder(value, base)
        return value if folder is None else f"{LOCAL}{folder.resolve()}"
    is_name = {
        "manifest": not value.endswith((".yaml", ".yml")),
        "pretrained": weights_path(value, base) is None,
    }
    if not value or is_name.get(key, False):
        return value
    return str((base / Path(value).expanduser()).resolve())


def run_id(kept: RunConfig, manifest: Manifest, made_of: Mapping[str, str]) -> str:
    """12 letters, the hash of the settings, with digests in place of files.

    made_of: `model_digest`, `head_digest` and `spurious_digest`, see `Bench.made_of`. A data set
    that comes with clipft, an open_clip model and a published tag go by their names.
    """
    content: dict[str, Any] = {}
    if not is_shipped(manifest):
        content["manifest"] = f"{manifest.name}@{manifest.digest()}"
    if kept.model.startswith(LOCAL) or is_file(kept.pretrained):
        # Weights do not say their activation. `-gelu` is said on purpose, next to QuickGELU.
        activation = GELU if kept.model.endswith(GELU) else ""
        content["model"] = f"@{made_of['model_digest']}{activation}"
        content["pretrained"] = "none" if kept.pretrained == "none" else ""
    if kept.head_from:
        content["head_from"] = f"@{made_of['head_digest']}"
    if "spurious_digest" in made_of:
        name = content.get("manifest", kept.manifest)
        content["manifest"] = f"{name}~{made_of['spurious_digest']}"
    return kept.model_copy(update=content).id


def manifest_of(folder: RunFolder, name: str) -> Manifest:
    """A run's copy of its manifest, or today's of that name where an older clipft left none."""
    copy = folder.manifest()
    return load_manifest(name) if copy is None else Manifest.from_copy(copy)


def find_begun(runs: Path | str, config: RunConfig) -> RunFolder | None:
    """The folder in which a run of this configuration was begun, without a look at its model.

    None where there is none, or where its data set cannot be opened.
    """
    try:
        manifest = load_manifest(config.manifest)
    except ClipftError:
        return None
    return begun_runs(runs).get(begun_key(config, manifest))


def begun_runs(runs: Path | str) -> dict[str, RunFolder]:
    """`begun_key` -> the first of the folders under `runs` in which such a run was begun."""
    plain = plain_settings()
    found: dict[str, RunFolder] = {}
    for folder in run_folders(runs):
        recorded = folder.config()
        if not recorded.get("after"):
            settings = {key: recorded.get(key, default) for key, default in plain.items()}
            found.setdefault(_key(settings, recorded.get("manifest_digest")), folder)
    return found


def begun_key(config: RunConfig, manifest: Manifest) -> str:
    """What names a run before its model is looked at: its settings, and its data set's content."""
    return _key(as_kept(config, manifest).model_dump(mode="json"), manifest.digest())


def _key(settings: Mapping[str, Any], manifest_digest: object) -> str:
    return digest([settings, manifest_digest])


def model_name(kept: str) -> str:
    """A kept model as tables show it: of a folder its last part alone."""
    if not kept.startswith(LOCAL):
        return kept
    return f"{LOCAL}{Path(kept.removeprefix(LOCAL)).name}"


def is_file(kept: str) -> bool:
    """Whether a kept setting is the path of a file: names and tags are never absolute."""
    return Path(kept).is_absolute()


def without_places(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """A recorded configuration without the settings that say where a file lies.

    The digests beside them say what it is.
    """
    kept = dict(recorded)
    for name in PLACED:
        value = str(recorded.get(name, ""))
        if value.startswith(LOCAL) or is_file(value):
            del kept[name]
    return kept
