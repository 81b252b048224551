"""Exports that hold a state dict under names which others load: open_clip's, or OpenAI's."""

from pathlib import Path

import torch

from ..disk.files import atomic, write_json
from ..posthoc.weights import Weights
from ..runs.formats import FORMATS, OPEN_CLIP_FILES
from .checkpoints import write_weights
from .outgoing import Outgoing
from .plain_towers import check_plain, refuse

CONFIG, WEIGHTS = OPEN_CLIP_FILES
(STATE_DICT,) = FORMATS["state_dict"].files
(OPENAI,) = FORMATS["openai"].files

HEAD_WIDTH = 64  # of attention, everywhere in OpenAI's code
# OpenAI's name of a size -> where open_clip's configuration has it
SIZES = {
    "input_resolution": ("vision_cfg", "image_size"),
    "context_length": ("text_cfg", "context_length"),
    "vocab_size": ("text_cfg", "vocab_size"),
}


def write_open_clip(folder: Path, outgoing: Outgoing) -> None:
    """The configuration and the weights of an open_clip `local-dir:` folder.

    Where texts are transformers', its tokenizer and its tower's configuration lie beside them: no
    network is asked for what is here.
    """
    clip = outgoing.clip
    write_weights(folder / WEIGHTS, outgoing.weights())
    write_json(folder / CONFIG, clip.config)
    text = clip.config["model_cfg"].get("text_cfg", {})
    if text.get("hf_tokenizer_name"):
        clip.tokenizer.save_pretrained(str(folder))
    if text.get("hf_model_name"):
        clip.model.text.config.save_pretrained(str(folder))


def write_state_dict(folder: Path, outgoing: Outgoing) -> None:
    """The weights alone, which open_clip loads into the architecture by its name."""
    _write(folder / STATE_DICT, outgoing.weights())


def write_openai(folder: Path, outgoing: Outgoing) -> None:
    """The weights and sizes, from which OpenAI's code builds the model.

    Raises ConfigError where that code would build another one.
    """
    check_openai(outgoing)
    model = outgoing.clip.config["model_cfg"]
    weights = outgoing.weights()
    for name, (tower, key) in SIZES.items():
        weights[name] = torch.tensor(model[tower][key])
    _write(folder / OPENAI, weights)


def check_openai(outgoing: Outgoing) -> None:
    """Raise ConfigError that says what of this model OpenAI's code would build otherwise."""
    check_plain(outgoing, "OpenAI's code")
    model = outgoing.clip.config["model_cfg"]
    vision = model["vision_cfg"]
    text = model["text_cfg"]
    ratios = {vision.get("mlp_ratio", 4), text.get("mlp_ratio", 4)}
    if not model.get("quick_gelu"):
        refuse(outgoing, "GELU for an activation, where OpenAI's code always has QuickGELU")
    if vision.get("head_width", HEAD_WIDTH) != HEAD_WIDTH:
        refuse(outgoing, f"a vision tower whose heads are not {HEAD_WIDTH} wide, as OpenAI's are")
    if text["heads"] * HEAD_WIDTH != text["width"]:
        refuse(outgoing, f"a text tower whose heads are not {HEAD_WIDTH} wide, as OpenAI's are")
    if ratios != {4}:
        refuse(outgoing, "layers that are not 4 times as wide inside, as OpenAI's are")


def _write(file: Path, weights: Weights) -> None:
    """A .pt file of tensors alone, as `torch.load(weights_only=True)` reads it."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    # To an opened file: by its name torch would write the temporary one into it.
    with atomic(file) as temporary, temporary.open("wb") as opened:
        try:
            torch.save(tensors, opened)
        except RuntimeError as error:
            # The end of the archive fails, too, and hides what the disk said.
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise
