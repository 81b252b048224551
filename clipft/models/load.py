"""An open_clip model from its name and weights.

What both may be called is said in `runs.model_names`. `find_source` looks at what was asked for and
says which it is, `load_clip` builds it, and `checkpoints` knows the shapes of files.
"""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from torchvision.transforms import Compose, Normalize, ToTensor

from ..data.images import Transform
from ..disk.files import read_json
from ..errors import ConfigError, WeightsError
from ..runs.machine import cpu_name
from ..runs.model_names import RANDOM, check_model, model_folder
from .checkpoints import load_checkpoint
from .clip import Clip


@dataclass(frozen=True)
class Source:
    """An architecture and its weights: a tag's, the folder's own, or a file's; else random ones."""

    architecture: str  # a name of open_clip, or local-dir:FOLDER
    folder: Path | None = None
    own_weights: bool = False
    tag: str | None = None
    quick_gelu: bool = False  # as the tag's weights were trained, where the plain name has GELU
    file: str = ""  # read into the model once it is built

    def vocabulary(self) -> tuple[int, ...] | None:
        """The only tokens that the captions of the pre-training held; None: all."""
        if self.folder is None or not (self.folder / "clipft.json").exists():
            return None
        notes = read_json(self.folder / "clipft.json")
        return tuple(notes["random_text_tokens"]) if "random_text_tokens" in notes else None


def load_clip(
    model: str = "emoji-tiny", pretrained: str = "", device: str | torch.device = "cpu"
) -> Clip:
    """Load any open_clip model, frozen.

    Arguments:
        model: a name of open_clip, `local-dir:FOLDER`, or the shipped `emoji-tiny`.
        pretrained: a published tag or a checkpoint file; "" takes what the folder holds, "none"
            random weights (drawn from torch's global generator).
        device: where its weights lie.

    Returns:
        The model with its tokenizer and its preprocessing.

    Raises:
        ConfigError: for an unknown name or tag.
        WeightsError: where a file is truncated or of another model.

    Example:
        >>> clip = clipft.load_clip()
        >>> clip.embed_texts(clip.tokenizer(["a fox", "a cup of tea"])).shape
        torch.Size([2, 128])
    """
    source = find_source(model, pretrained)
    try:
        with _quiet():
            net, _, preprocess = open_clip.create_model_and_transforms(
                source.architecture,
                pretrained=source.tag,
                load_weights=source.own_weights or source.tag is not None,
                force_quick_gelu=source.quick_gelu,
                device=device,
            )
            if source.file:
                load_checkpoint(net, source.file)
            tokenizer = open_clip.get_tokenizer(source.architecture)
    except Exception as error:  # open_clip, torch and safetensors each have their own
        lines = str(error).strip().splitlines()
        reason = lines[0] if lines else type(error).__name__
        failure = f"cannot load {model} {pretrained}: {reason[:200]}"
        raise WeightsError(f"{failure}; is the file whole, and of this model?") from None

    net.requires_grad_(False).eval()
    model_config = open_clip.get_model_config(source.architecture)
    if source.quick_gelu and model_config is not None:
        model_config["quick_gelu"] = True
    visual: Any = net.visual  # open_clip's kinds of CLIP have no typed base
    config = {"model_cfg": model_config, "preprocess_cfg": dict(visual.preprocess_cfg)}
    name = f"{model} {pretrained}".strip()
    transform = _until_tensor(preprocess)
    vocabulary = source.vocabulary()
    return Clip(name, net, tokenizer, transform=transform, config=config, vocabulary=vocabulary)


def find_source(model: str, pretrained: str) -> Source:
    """Where a model and its weights come from; raises ConfigError where there is no such thing."""
    check_model(model, pretrained)
    folder = model_folder(model)
    if folder is None:
        return _from_name(model, pretrained)
    architecture = f"local-dir:{folder}"
    if not pretrained:
        return Source(architecture, folder, own_weights=True)
    if pretrained == RANDOM:
        return Source(architecture, folder)
    return Source(architecture, folder, file=pretrained)


def _from_name(model: str, pretrained: str) -> Source:
    """A model that open_clip knows by name: random weights, those of a tag or of a file."""
    tags = open_clip.list_pretrained_tags_by_model(model)
    if pretrained == RANDOM:
        return Source(model)
    if pretrained.lower() in [tag.lower() for tag in tags]:
        published = open_clip.get_pretrained_cfg(model, pretrained)
        return Source(model, tag=pretrained, quick_gelu=bool(published.get("quick_gelu")))
    return Source(model, file=pretrained)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence open_clip on what is asked for on purpose: random weights, a folder's tokenizer."""
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.root.setLevel(level)


def _until_tensor(preprocess: Any) -> Transform:
    """open_clip's evaluation transform up to the tensor; `Student.pixels` does the rest."""
    last = preprocess.transforms[-2:]
    if not (isinstance(last[0], ToTensor) and isinstance(last[1], Normalize)):
        wanted = "ToTensor and Normalize"
        raise ConfigError(f"this model's preprocessing ends with {last}, expected {wanted}")
    return Compose(preprocess.transforms[:-2])


def pick_device(name: str = "auto") -> str:
    """`auto` is the GPU where there is one; raises ConfigError for a device that is not there."""
    known = ("cuda", "mps", "cpu")
    kinds = [kind for kind in known if torch.get_device_module(kind).is_available()]
    if name == "auto":
        return kinds[0]

    numbered = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    if name not in kinds + numbered:
        raise ConfigError(f"no device {name!r} here; found: {', '.join(kinds)}")
    return name


def device_name(device: str | torch.device) -> str:
    """What a device is called: the GPU's or the processor's name."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return cpu_name() if device.type == "cpu" else f"{device.type}, {cpu_name()}"
