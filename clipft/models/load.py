"""open_clip models in, ordinary open_clip models out; between them the modules that are trained."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import open_clip
import torch
from torch import Tensor, nn
from torchvision.transforms import Compose, Normalize, ToTensor

from ..diagnostics.energies import unit
from ..disk.files import read_json
from ..errors import ConfigError, WeightsError, unknown
from ..progress import progress_bar

if TYPE_CHECKING:
    from ..inputs.batches import Transform

EMOJI_TINY = Path(__file__).parent.parent / "assets/emoji-tiny"
TEXT_BATCH = 512


@dataclass
class Clip:
    """A frozen open_clip model with its tokenizer and evaluation transform (PIL -> PIL, size x size)."""

    name: str
    model: nn.Module
    tokenizer: Any
    transform: Transform
    config: dict[str, Any]  # as in open_clip_config.json: model_cfg and preprocess_cfg
    vocabulary: tuple[int, ...] | None = None  # the only tokens its captions held; None: all
    _digest: str = field(default="", init=False, repr=False, compare=False)

    @property
    def scale(self) -> float:
        """s = exp(logit_scale): 100 for OpenAI's models."""
        return float(self.model.logit_scale.exp())

    @property
    def size(self) -> Any:
        """Height and width of an input image in pixels."""
        return self.config["preprocess_cfg"]["size"]

    @torch.no_grad()
    def embed_texts(self, tokens: Tensor) -> Tensor:
        """(N, context) token ids -> (N, D) unit rows; raises ConfigError where the model has no text tower."""
        if not hasattr(self.model, "encode_text"):
            raise ConfigError(
                f"{self.name} has no text tower; zero-shot heads and texts need a CLIP with both towers"
            )
        device, rows = self.model.logit_scale.device, []
        with progress_bar(
            len(tokens), "embedding texts", "text", len(tokens) > 4 * TEXT_BATCH
        ) as bar:
            for part in tokens.split(TEXT_BATCH):
                rows.append(unit(self.model.encode_text(part.to(device))))
                bar.update(len(part))
        return torch.cat(rows)

    def zero_shot_head(self, prompts: Tensor) -> Tensor:
        """w_c = mean over templates of the unit text embeddings, normalised again: (C, T, context) -> (D, C)."""
        return self._mean_texts(prompts, 1)

    def context_head(self, prompts: Tensor) -> Tensor:
        """v_t = mean over classes of the unit text embeddings, normalised again: (C, T, context) -> (D, T).

        Source: CAR-FT, arXiv:2211.16175.
        """
        return self._mean_texts(prompts, 0)

    def _mean_texts(self, prompts: Tensor, over: int) -> Tensor:
        rows = self.embed_texts(prompts.flatten(0, 1)).unflatten(0, prompts.shape[:2])  # (C, T, D)
        return unit(rows.mean(over)).T.contiguous()

    def digest(self) -> str:
        """12 letters that name the weights."""
        if not self._digest:
            whole = hashlib.sha256()
            for name, tensor in sorted(self.model.state_dict().items()):
                whole.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
            self._digest = whole.hexdigest()[:12]
        return self._digest


def load_clip(
    model: str = "emoji-tiny", pretrained: str = "", device: str | torch.device = "cpu"
) -> Clip:
    """Load any open_clip model: a name and a tag or checkpoint file, `local-dir:FOLDER`, or the shipped `emoji-tiny`.

    pretrained: "" takes what the folder holds, "none" random weights (drawn from torch's global generator). Raises
    ConfigError on an unknown name or tag, WeightsError on a truncated or foreign file.
    """
    folder = (
        EMOJI_TINY
        if model == "emoji-tiny"
        else Path(model[10:])
        if model.startswith("local-dir:")
        else None
    )
    source, options = model, {}
    if folder is not None:
        if not (folder / "open_clip_config.json").is_file():
            raise ConfigError(
                f"{folder} holds no open_clip_config.json; wanted: a local-dir: folder of open_clip"
            )
        source = f"local-dir:{folder}"
    elif model not in open_clip.list_models():
        raise unknown("model", model, [*open_clip.list_models(), "emoji-tiny"])
    elif not pretrained:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(model)) or "none published"
        raise ConfigError(f"{model} needs `pretrained`: a checkpoint file, or a tag of: {tags}")
    if folder is not None and pretrained not in ("", "none") and not Path(pretrained).is_file():
        raise ConfigError(
            f"no checkpoint file {pretrained!r}; {model} takes a file, none, or what its folder holds"
        )
    file = pretrained if pretrained not in ("", "none") and not _is_tag(model, pretrained) else ""
    if file and not Path(file).is_file():
        raise unknown(
            "checkpoint file or tag",
            pretrained,
            [*open_clip.list_pretrained_tags_by_model(model), "none"],
        )
    if folder is None and not file and pretrained != "none":
        options["pretrained"] = pretrained
        tag = open_clip.get_pretrained_cfg(model, pretrained)
        options["force_quick_gelu"] = bool(
            tag.get("quick_gelu")
        )  # the tag knows how its weights were trained
    try:
        with _quiet():
            net, _, preprocess = open_clip.create_model_and_transforms(
                source, device=device, load_weights=not file and pretrained != "none", **options
            )
            if file:
                open_clip.load_checkpoint(net, file)
            tokenizer = open_clip.get_tokenizer(source)
    except Exception as error:  # open_clip, torch and safetensors each have their own
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise WeightsError(
            f"cannot load {model} {file or pretrained}: {reason[:200]}; is the file whole, and of this model?"
        ) from None
    extra = (
        read_json(folder / "clipft.json") if folder and (folder / "clipft.json").exists() else {}
    )
    config = {
        "model_cfg": _model_config(source, folder, options),
        "preprocess_cfg": dict(net.visual.preprocess_cfg),
    }
    vocabulary = tuple(extra["random_text_tokens"]) if "random_text_tokens" in extra else None
    net.requires_grad_(False).eval()
    return Clip(
        f"{model} {pretrained}".strip(), net, tokenizer, _pil_part(preprocess), config, vocabulary
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """open_clip logs and warns of what we ask for on purpose (random weights, a model folder's own tokenizer)."""
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.root.setLevel(level)


def _is_tag(model: str, pretrained: str) -> bool:
    return pretrained.lower() in [
        tag.lower() for tag in open_clip.list_pretrained_tags_by_model(model)
    ]


def _model_config(source: str, folder: Path | None, options: dict[str, Any]) -> dict[str, Any]:
    if folder is not None:
        return json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]
    config = open_clip.get_model_config(source)
    return config | ({"quick_gelu": True} if options.get("force_quick_gelu") else {})


def _pil_part(preprocess: Compose) -> Transform:
    """open_clip's evaluation transform up to the tensor; the rest is done on the device, by `Student.pixels`."""
    last = preprocess.transforms[-2:]
    if not (isinstance(last[0], ToTensor) and isinstance(last[1], Normalize)):
        raise ConfigError(
            f"this model's preprocessing ends with {last}, expected ToTensor and Normalize"
        )
    return Compose(preprocess.transforms[:-2])


def pick_device(name: str = "auto") -> str:
    """`auto` is the GPU where there is one; raises ConfigError for a device that this machine lacks."""
    found = [
        *(["cuda"] if torch.cuda.is_available() else []),
        *(["mps"] if torch.backends.mps.is_available() else []),
    ]
    if name == "auto":
        return [*found, "cpu"][0]
    kind, _, index = name.partition(":")
    count = torch.cuda.device_count() if kind == "cuda" else 0
    if kind not in (*found, "cpu") or (index and not (index.isdecimal() and int(index) < count)):
        raise ConfigError(f"no device {name!r} here; found: {', '.join([*found, 'cpu'])}")
    return name
