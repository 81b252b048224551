"""What a model and its weights may be called, without the second that importing open_clip takes.

A model is a name of open_clip, a folder (`local-dir:FOLDER`, its plain path, or the shipped
`emoji-tiny`) or a repository of the Hugging Face hub (`hf-hub:OWNER/NAME`). Its weights are a
published tag's, those that come with the folder or repository, a checkpoint's, or random.

Some names have a twin in `-quickgelu`, the activation of OpenAI's models. A checkpoint under the
plain name must say which it is: `-gelu` is the plain name, said on purpose.
"""

from __future__ import annotations

import ast
import functools
import re
import sys
from collections.abc import Mapping
from importlib import util
from pathlib import Path
from typing import Any

from ..disk.files import read_foreign_json
from ..errors import ConfigError, unknown

EMOJI_TINY = Path(__file__).parent.parent / "assets/emoji-tiny"
LOCAL = "local-dir:"  # what open_clip writes before the folder of a model
HUB = "hf-hub:"  # and before a repository of the Hugging Face hub
RANDOM = "none"  # `pretrained` of a model that starts from random weights
OPEN_CLIP_CONFIG = "open_clip_config.json"
TRANSFORMERS_CONFIG = "config.json"
QUICK_GELU = "-quickgelu"
GELU = "-gelu"
# How transformers and people spell what open_clip's names have a letter for.
SPELLINGS = {"base": "b", "large": "l", "huge": "h", "giant": "g", "patch": "", "clip": ""}


def model_folder(model: str, base: Path = Path()) -> Path | None:
    """The folder that a model is read from, seen from `base`; None where it is a name."""
    if model == "emoji-tiny":
        return EMOJI_TINY
    if model.startswith(LOCAL):
        return base / Path(model.removeprefix(LOCAL)).expanduser()
    if model.startswith(HUB) or model in open_clip_models():
        return None
    folder = base / Path(model).expanduser()
    is_path = model.startswith(("~", ".", "/"))
    return folder if is_path or folder.is_dir() else None


def weights_path(pretrained: str, base: Path = Path()) -> Path | None:
    """The checkpoint file or its folder, seen from `base`; None for a tag, or what is not there.

    A folder is spelt as a path, with a slash, a dot or ~ in front: a tag may have its name.
    """
    if not pretrained:
        return None
    path = base / Path(pretrained).expanduser()
    spelt = "/" in pretrained or pretrained.startswith(("~", "."))
    return path if path.is_file() or (spelt and path.is_dir()) else None


def plain_name(model: str) -> str:
    """open_clip's name of an architecture: without the `-gelu` that says it on purpose."""
    plain = model.removesuffix(GELU)
    return plain if plain in open_clip_models() else model


def named(text: str) -> tuple[str, str]:
    """Model and weights in NAME or NAME:WEIGHTS; the colon of `local-dir:` and its kin stays."""
    kind = next((prefix for prefix in (LOCAL, HUB) if text.startswith(prefix)), "")
    name, _, pretrained = text.removeprefix(kind).partition(":")
    return kind + name, pretrained


def check_model(model: str, pretrained: str) -> None:
    """Raise ConfigError where there is no such model, or no such weights; nothing is loaded."""
    folder = model_folder(model)
    if folder is not None:
        check_folder(folder)
    elif not model.startswith(HUB):
        _check_name(model, pretrained)
        return
    elif "/" not in model:
        raise ConfigError(f"{model!r} names no repository; wanted: {HUB}OWNER/NAME")
    if pretrained not in ("", RANDOM) and weights_path(pretrained) is None:
        takes = "a file, none, or what comes with it"
        raise ConfigError(f"no checkpoint file {pretrained!r}; {model} takes {takes}")


def check_folder(folder: Path) -> None:
    """Raise ConfigError where a folder is of neither kind that holds a CLIP."""
    if (folder / OPEN_CLIP_CONFIG).is_file() or is_transformers_clip(folder):
        return
    fault = f"{folder} holds no {OPEN_CLIP_CONFIG}"
    config = folder / TRANSFORMERS_CONFIG
    if config.is_file():
        fault += f", and its {config.name} is of {kind_of(read_foreign_json(config))!r}"
    wanted = "a local-dir: folder of open_clip, or of a CLIPModel of transformers"
    raise ConfigError(f"{fault}; wanted: {wanted}")


def is_transformers_clip(folder: Path) -> bool:
    """Whether a folder's config.json is that of transformers' CLIPModel."""
    config = folder / TRANSFORMERS_CONFIG
    return config.is_file() and kind_of(read_foreign_json(config)) == "clip"


def kind_of(config: Mapping[str, Any]) -> str:
    """What transformers calls the kind of model that a config.json describes."""
    return str(config.get("model_type", "nothing"))


def _check_name(model: str, pretrained: str) -> None:
    """Raise ConfigError where open_clip has no model of this name, or no such weights of it."""
    names = open_clip_models()
    name = plain_name(model)
    if name not in names:
        meant = {spelling(known): known for known in reversed([*names, "emoji-tiny"])}
        nearest = meant.get(spelling(model))
        also = {model.lower().replace("-", "_").strip("_"): nearest} if nearest else None
        raise unknown("model", model, [*names, "emoji-tiny"], also)
    tags = published_tags(name)
    if tags is None:
        return  # they are looked up once open_clip is loaded
    if not pretrained:
        listed = ", ".join(tags) if tags else "none published"
        raise ConfigError(f"{model} needs `pretrained`: a checkpoint file, or a tag of: {listed}")
    known = [RANDOM, *(tag.lower() for tag in tags)]
    if pretrained.lower() not in known and weights_path(pretrained) is None:
        raise unknown("checkpoint file or tag", pretrained, [*tags, RANDOM])


def spelling(model: str) -> str:
    """A name by its meaning: `vit_b_16` and `openai/clip-vit-base-patch16` are ViT-B-16."""
    words = re.findall(r"[a-z]+|[0-9]+", model.lower().rpartition("openai/")[2])
    return "".join(SPELLINGS.get(word, word) for word in words)


def open_clip_models() -> list[str]:
    """The names of open_clip's models: its own list where it is loaded, else its files."""
    if "open_clip" in sys.modules:  # a plugin may have added some
        return sys.modules["open_clip"].list_models()
    return list(_shipped_models())


@functools.cache
def _shipped_models() -> tuple[str, ...]:
    """The names of open_clip's files; a batch asks for them once a job."""
    return tuple(sorted(file.stem for file in _open_clip_folder().glob("model_configs/*.json")))


def config_file(model: str) -> Path:
    """open_clip's own description of a model of its list, there or not."""
    return _open_clip_folder() / f"model_configs/{model}.json"


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


def published_address(model: str, tag: str) -> str:
    """Where a published tag's weights are kept, OWNER/NAME/FILE on the Hugging Face hub.

    "" for no such tag, one that is only kept elsewhere, and where nobody can say.
    """
    entry = _tables().get(plain_name(model).removesuffix(QUICK_GELU), {}).get(tag)
    for keyword in entry.keywords if isinstance(entry, ast.Call) else ():
        if keyword.arg == "hf_hub" and isinstance(keyword.value, ast.Constant):
            return str(keyword.value.value)
    return ""


@functools.cache
def _tables() -> dict[str, dict[str, ast.expr]]:
    """Model -> tag -> its entry, from open_clip's source: `_RN50 = dict(openai=_pcfg(...))`.

    Empty where they are written otherwise, by another open_clip.
    """
    source = (_open_clip_folder() / "pretrained.py").read_text(encoding="utf-8")
    tables: dict[str, ast.expr] = {}
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            tables[statement.targets[0].id] = statement.value

    entries: dict[str, dict[str, ast.expr]] = {}
    models = tables.get("_PRETRAINED")
    if not isinstance(models, ast.Dict):
        return entries
    for model, given in zip(models.keys, models.values, strict=True):
        table = tables[given.id] if isinstance(given, ast.Name) else given
        if isinstance(model, ast.Constant) and isinstance(table, ast.Call):
            entries[str(model.value)] = {str(entry.arg): entry.value for entry in table.keywords}
    return entries


@functools.cache
def _tags_by_model() -> dict[str, list[str]]:
    """Model -> tags; a second name in `-quickgelu` has those weights alone that want it."""
    tags: dict[str, list[str]] = {}
    for model, entries in _tables().items():
        tags[model] = list(entries)
        quick_gelu = [tag for tag, entry in entries.items() if _has_quick_gelu(entry)]
        if quick_gelu:
            tags[f"{model}-quickgelu"] = quick_gelu
    return tags


def _has_quick_gelu(entry: ast.expr) -> bool:
    """Whether a tag's entry says quick_gelu=True."""
    return isinstance(entry, ast.Call) and "quick_gelu=True" in ast.unparse(entry)
