"""open_clip models in, ordinary open_clip models out; between them the modules that are trained."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import open_clip
import torch
from torch import Tensor, nn
from torchvision.transforms import Compose, Normalize, ToTensor

from .energies import unit
from .errors import ConfigError, WeightsError, unknown
from .store import read_json, write_json, write_weights

if TYPE_CHECKING:
    from .data import Transform
    from .records import Weights

EMOJI_TINY = Path(__file__).parent / "assets/emoji-tiny"
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
        """(N, context) token ids -> (N, D) unit rows."""
        device = self.model.logit_scale.device
        return torch.cat([unit(self.model.encode_text(part.to(device))) for part in tokens.split(TEXT_BATCH)])

    def zero_shot_head(self, prompts: Tensor) -> Tensor:
        """w_c = mean over templates of the unit text embeddings, normalised again: (C, T, context) -> (D, C)."""
        rows = self.embed_texts(prompts.flatten(0, 1)).unflatten(0, prompts.shape[:2])  # (C, T, D)
        return unit(rows.mean(1)).T.contiguous()

    def digest(self) -> str:
        """12 letters that name the weights."""
        whole = hashlib.sha256()
        for name, tensor in sorted(self.model.state_dict().items()):
            whole.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
        return whole.hexdigest()[:12]


def load_clip(model: str = "emoji-tiny", pretrained: str = "", device: str | torch.device = "cpu") -> Clip:
    """Load any open_clip model: a name and a tag or checkpoint file, `local-dir:FOLDER`, or the shipped `emoji-tiny`.

    pretrained: "" takes what the folder holds, "none" random weights (drawn from torch's global generator). Raises
    ConfigError on an unknown name or tag, WeightsError on a truncated or foreign file.
    """
    folder = EMOJI_TINY if model == "emoji-tiny" else Path(model[10:]) if model.startswith("local-dir:") else None
    source, options = model, {}
    if folder is not None:
        if not (folder / "open_clip_config.json").is_file():
            raise ConfigError(f"{folder} holds no open_clip_config.json; wanted: a local-dir: folder of open_clip")
        source = f"local-dir:{folder}"
    elif model not in open_clip.list_models():
        raise unknown("model", model, [*open_clip.list_models(), "emoji-tiny"])
    elif not pretrained:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(model)) or "none published"
        raise ConfigError(f"{model} needs `pretrained`: a checkpoint file, or a tag of: {tags}")
    if folder is not None and pretrained not in ("", "none") and not Path(pretrained).is_file():
        raise ConfigError(f"no checkpoint file {pretrained!r}; {model} takes a file, none, or what its folder holds")
    file = pretrained if pretrained not in ("", "none") and not _is_tag(model, pretrained) else ""
    if file and not Path(file).is_file():
        raise unknown("checkpoint file or tag", pretrained, [*open_clip.list_pretrained_tags_by_model(model), "none"])
    if folder is None and not file and pretrained != "none":
        options["pretrained"] = pretrained
        tag = open_clip.get_pretrained_cfg(model, pretrained)
        options["force_quick_gelu"] = bool(tag.get("quick_gelu"))  # the tag knows how its weights were trained
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
    extra = read_json(folder / "clipft.json") if folder and (folder / "clipft.json").exists() else {}
    config = {"model_cfg": _model_config(source, folder, options), "preprocess_cfg": dict(net.visual.preprocess_cfg)}
    vocabulary = tuple(extra["random_text_tokens"]) if "random_text_tokens" in extra else None
    net.requires_grad_(False).eval()
    return Clip(f"{model} {pretrained}".strip(), net, tokenizer, _pil_part(preprocess), config, vocabulary)


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
    return pretrained.lower() in [tag.lower() for tag in open_clip.list_pretrained_tags_by_model(model)]


def _model_config(source: str, folder: Path | None, options: dict[str, Any]) -> dict[str, Any]:
    if folder is not None:
        return json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]
    config = open_clip.get_model_config(source)
    return config | ({"quick_gelu": True} if options.get("force_quick_gelu") else {})


def _pil_part(preprocess: Compose) -> Transform:
    """open_clip's evaluation transform up to the tensor; the rest is done on the device, by `Student.pixels`."""
    last = preprocess.transforms[-2:]
    if not (isinstance(last[0], ToTensor) and isinstance(last[1], Normalize)):
        raise ConfigError(f"this model's preprocessing ends with {last}, expected ToTensor and Normalize")
    return Compose(preprocess.transforms[:-2])


class Student(nn.Module):
    """What is trained and what is measured: `embed` images, then score them by `head()` and `scale`."""

    def __init__(self, clip: Clip):
        super().__init__()
        preprocess = clip.config["preprocess_cfg"]
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(preprocess[name]).view(3, 1, 1) * 255, persistent=False)

    def pixels(self, images: Tensor) -> Tensor:
        """uint8 (B, 3, H, W) -> normalised floats: (x / 255 - mean) / std."""
        return (images.float() - self.mean) / self.std

    def tower(self, visual: nn.Module, images: Tensor) -> Tensor:
        """uint8 images -> embeddings before normalising (B, D); CoCa's tower gives its tokens too."""
        embedded = visual(self.pixels(images))
        return embedded[0] if isinstance(embedded, tuple) else embedded

    def logits(self, images: Tensor) -> Tensor:
        """Embeddings (B, D), not normalised -> s f W (B, C)."""
        return self.scale * unit(images) @ self.head()


class Classifier(Student):
    """Vision tower and head; the logit scale stays where pre-training left it (head convention `fixed`)."""

    def __init__(self, clip: Clip, prompts: Tensor):
        super().__init__(clip)
        self.visual = copy.deepcopy(clip.model.visual).requires_grad_(True)
        self.weight = nn.Parameter(clip.zero_shot_head(prompts))  # (D, C)
        self.scale = clip.scale

    def head(self) -> Tensor:
        """The trained head W (D, C)."""
        return self.weight

    def forward(self, images: Tensor, captions: Tensor | None = None) -> tuple[Tensor, None]:
        """uint8 images -> embeddings before normalising (B, D)."""
        return self.tower(self.visual, images), None


class TwoTowers(Student):
    """Both towers and the scale; the head is rebuilt from the text tower whenever it is asked for."""

    def __init__(self, clip: Clip, prompts: Tensor):
        super().__init__(clip)
        self.clip = copy.deepcopy(clip.model).requires_grad_(True)
        self._view = Clip(clip.name, self.clip, clip.tokenizer, clip.transform, clip.config)
        self.register_buffer("prompts", prompts, persistent=False)

    @property
    def scale(self) -> Tensor:
        """exp(logit_scale), trained."""
        return self.clip.logit_scale.exp()

    def head(self) -> Tensor:
        """The zero-shot head of the present text tower (D, C); no gradient."""
        return self._view.zero_shot_head(self.prompts)

    def forward(self, images: Tensor, captions: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """uint8 images (and caption tokens) -> embeddings (B, D) (and unit caption embeddings (B, D))."""
        texts = None if captions is None else unit(self.clip.encode_text(captions))
        return self.tower(self.clip.visual, images), texts


def student(clip: Clip, trains: str, prompts: Tensor) -> Student:
    """The module that a method trains ("vision" or "both"), at the zero-shot weights."""
    return (Classifier if trains == "vision" else TwoTowers)(clip, prompts)


def export_clip(
    folder: Path | str,
    clip: Clip,
    weights: Weights,
    extra: dict[str, Any] | None = None,
    dtype: torch.dtype | None = None,
) -> Path:
    """Write an open_clip `local-dir:` folder: config JSON and safetensors, which any open_clip user loads without us.

    weights: those of a student (Classifier: its vision tower replaces the CLIP's; TwoTowers: everything). dtype: of the
    written tensors, e.g. torch.float16; None keeps each as it is. extra goes to clipft.json. A classifier's tuned head
    has no place in a CLIP: it is written beside it, as head.safetensors: `weight` (D, C), logits are s f W.
    """
    folder = Path(folder)
    tensors = clip.model.state_dict()
    tensors |= {name.removeprefix("clip."): tensor for name, tensor in weights.items() if name.startswith("clip.")}
    tensors |= {name: tensor for name, tensor in weights.items() if name.startswith("visual.")}
    if dtype is not None:
        tensors = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    write_weights(folder / "open_clip_model.safetensors", tensors)
    if clip.vocabulary is not None:
        extra = {"random_text_tokens": list(clip.vocabulary)} | (extra or {})
    for name in ("clipft.json", "head.safetensors"):  # of an earlier export
        (folder / name).unlink(missing_ok=True)
    if extra:
        write_json(folder / "clipft.json", extra)
    if "weight" in weights:
        write_weights(folder / "head.safetensors", {"weight": weights["weight"]})
    write_json(folder / "open_clip_config.json", clip.config)
    return folder
