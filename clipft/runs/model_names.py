"""What a model and its weights may be called, without the second that importing open_clip takes.

A model is a name of open_clip or a folder (`local-dir:FOLDER`, or the shipped `emoji-tiny`); its
weights are a published tag's, the folder's own, a checkpoint file's, or random.
"""

from __future__ import annotations

import ast
import functools
import sys
from importlib import util
from pathlib import Path

from ..errors import ConfigError, unknown
from .identity import LOCAL

EMOJI_TINY = Path(__file__).parent.parent / "assets/emoji-tiny"
PREFIXES = (LOCAL, "hf-hub:")
RANDOM = "none"  # `pretrained` of a model that starts from random weights


def model_folder(model: str) -> Path | None:
    """The folder that a model is read from; None where it is a name of open_clip."""
    if model == "emoji-tiny":
        return EMOJI_TINY
    return Path(model.removeprefix(LOCAL)) if model.startswith(LOCAL) else None


def named(text: str) -> tuple[str, str]:
    """Model and weights in NAME or NAME:WEIGHTS; the colon of `local-dir:` and its kin stays."""
    kind = next((prefix for prefix in PREFIXES if text.startswith(prefix)), "")
    name, _, pretrained = text.removeprefix(kind).partition(":")
    return kind + name, pretrained


def check_model(model: str, pretrained: str) -> None:
    """Raise ConfigError where there is no such model, or no such weights; nothing is loaded."""
    folder = model_folder(model)
    if folder is None:
        _check_name(model, pretrained)
        return
    if not (folder / "open_clip_config.json").is_file():
        wanted = "a local-dir: folder of open_clip"
        raise ConfigError(f"{folder} holds no open_clip_config.json; wanted: {wanted}")
    if pretrained not in ("", RANDOM) and not Path(pretrained).is_file():
        takes = "a file, none, or what its folder holds"
        raise ConfigError(f"no checkpoint file {pretrained!r}; {model} takes {takes}")


def _check_name(model: str, pretrained: str) -> None:
    """Raise ConfigError where open_clip has no model of this name, or no such weights of it."""
    names = open_clip_models()
    if model not in names:
        raise unknown("model", model, [*names, "emoji-tiny"])
    tags = published_tags(model)
    if tags is None:
        return  # they are looked up once open_clip is loaded
    if not pretrained:
        listed = ", ".join(tags) if tags else "none published"
        raise ConfigError(f"{model} needs `pretrained`: a checkpoint file, or a tag of: {listed}")
    known = [RANDOM, *(tag.lower() for tag in tags)]
    if pretrained.lower() not in known and not Path(pretrained).is_file():
        raise unknown("checkpoint file or tag", pretrained, [*tags, RANDOM])


def open_clip_models() -> list[str]:
    """The names of open_clip's models: its own list where it is loaded, else its files."""
    if "open_clip" in sys.modules:  # a plugin may have added some
        return sys.modules["open_clip"].list_models()
    return sorted(file.stem for file in _open_clip_folder().glob("model_configs/*.json"))


def published_tags(model: str) -> list[str] | None:
    """The tags of a model's published weights, in open_clip's order; None where nobody can say."""
    if "open_clip" in sys.modules:
        return sys.modules["open_clip"].list_pretrained_tags_by_model(model)
    tags = _tags_by_model()
    return tags.get(model, []) if tags else None


def _open_clip_folder() -> Path:
    spec = util.find_spec("open_clip")
    if spec is None or spec.origin is None:
        raise ConfigError("open_clip is not installed; it comes with: pip install clipft")
    return Path(spec.origin).parent


@functools.cache
def _tags_by_model() -> dict[str, list[str]]:
    """Model -> tags, from the tables in open_clip's source: `_RN50 = dict(openai=_pcfg(...))`.

    Empty where they are written otherwise, by another open_clip.
    """
    source = (_open_clip_folder() / "pretrained.py").read_text(encoding="utf-8")
    tables: dict[str, ast.expr] = {}
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            tables[statement.targets[0].id] = statement.value

    tags: dict[str, list[str]] = {}
    models = tables.get("_PRETRAINED")
    if not isinstance(models, ast.Dict):
        return tags
    for model, given in zip(models.keys, models.values, strict=True):
        table = tables[given.id] if isinstance(given, ast.Name) else given
        if isinstance(model, ast.Constant) and isinstance(table, ast.Call):
            tags[str(model.value)] = [str(entry.arg) for entry in table.keywords]
            quick_gelu = [
                str(entry.arg) for entry in table.keywords if _has_quick_gelu(entry.value)
            ]
            if quick_gelu:  # has a second name, with these weights alone
                tags[f"{model.value}-quickgelu"] = quick_gelu
    return tags


def _has_quick_gelu(entry: ast.expr) -> bool:
    """Whether a tag's entry says quick_gelu=True."""
    return isinstance(entry, ast.Call) and "quick_gelu=True" in ast.unparse(entry)
