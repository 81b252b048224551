"""Which CLIPs are of OpenAI's plain kind, as other libraries rebuild it from a few sizes."""

from collections.abc import Iterator
from typing import Any, NoReturn

from ..errors import ConfigError
from .outgoing import Outgoing

# settings that are sizes, count in training alone or say which tokenizer is meant
TOWERS = {
    "vision_cfg": {
        *("layers", "width", "head_width", "mlp_ratio", "patch_size", "image_size"),
        "patch_dropout",
    },
    "text_cfg": {
        *("layers", "width", "heads", "mlp_ratio", "context_length", "vocab_size"),
        *("pad_id", "eos_id"),
    },
}
WHOLE = {"embed_dim", "quick_gelu", "init_logit_scale", *TOWERS}
# what a plain tower has where the setting is spelt out; of all others nothing, or False
PLAIN = {"pool_type": ("tok", "argmax"), "pos_embed_type": ("learnable",), "proj_type": ("linear",)}


def odd_settings(model: dict[str, Any]) -> Iterator[str]:
    """The settings of a model_cfg that a plain CLIP does not have: `vision_cfg.ls_init_value=0.1`.

    Of a ViT alone: a ResNet's `layers` is a list.
    """
    for key, value in model.items():
        if key in TOWERS:
            yield from _odd(value, TOWERS[key], f"{key}.")
    yield from _odd(model, WHOLE, "")


def _odd(settings: dict[str, Any], known: set[str], where: str) -> Iterator[str]:
    for key, value in settings.items():
        is_plain = not value or key in known or value in PLAIN.get(key, ())
        if not is_plain:
            yield f"{where}{key}={value!r}"


def is_vit(model: dict[str, Any]) -> bool:
    """Whether a vision tower cuts its image into patches."""
    return isinstance(model["vision_cfg"].get("layers", 12), int)


def check_plain(outgoing: Outgoing, target: str) -> None:
    """Raise ConfigError that names the first thing that a plain CLIP does not have."""
    odd = next(odd_settings(outgoing.clip.config["model_cfg"]), "")
    if odd:
        refuse(outgoing, f"{odd}, which {target} does not know")


def refuse(outgoing: Outgoing, fault: str) -> NoReturn:
    """Raise ConfigError for what a model has, and say which format takes any."""
    advice = "--format open_clip and state_dict take every model"
    raise ConfigError(f"{outgoing.clip.name} has {fault}; {advice}")
