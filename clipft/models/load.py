"""open_clip models in, ordinary open_clip models out; between them the modules that are trained."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import logging
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
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
            raise ConfigError(f"{self.name} has no text tower; zero-shot heads and texts need a CLIP with both towers")
        device, rows = self.model.logit_scale.device, []
        with progress_bar(len(tokens), "embedding texts", "text", len(tokens) > 4 * TEXT_BATCH) as bar:
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


def pick_device(name: str = "auto") -> str:
    """`auto` is the GPU where there is one; raises ConfigError for a device that this machine lacks."""
    found = [*(["cuda"] if torch.cuda.is_available() else []), *(["mps"] if torch.backends.mps.is_available() else [])]
    if name == "auto":
        return [*found, "cpu"][0]
    kind, _, index = name.partition(":")
    count = torch.cuda.device_count() if kind == "cuda" else 0
    if kind not in (*found, "cpu") or (index and not (index.isdecimal() and int(index) < count)):
        raise ConfigError(f"no device {name!r} here; found: {', '.join([*found, 'cpu'])}")
    return name


class Student(nn.Module):
    """What is trained and what is measured: images to embeddings (`forward`), embeddings to `logits`.

    `transform` makes its input of a decoded image; `preprocessing` names it.
    """

    clamped = False

    def __init__(self, clip: Clip):
        super().__init__()
        self.transform, self.preprocessing = clip.transform, clip.config["preprocess_cfg"]
        preprocess = self.preprocessing
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(preprocess[name]).view(3, 1, 1) * 255, persistent=False)

    def pixels(self, images: Tensor) -> Tensor:
        """uint8 (B, 3, H, W) -> normalised floats: (x / 255 - mean) / std."""
        return (images.float() - self.mean) / self.std

    def tower(self, visual: nn.Module, images: Tensor) -> Tensor:
        """uint8 images -> embeddings before normalising (B, D); CoCa's tower gives its tokens too."""
        embedded = visual(self.pixels(images))
        return embedded[0] if isinstance(embedded, tuple) else embedded

    @torch.no_grad()
    def clamp(self) -> None:
        """Keep a clamped scale between 1 and 100, as CLIP's pre-training does; called after every step."""
        if self.clamped:
            self.logit_scale.clamp_(0, math.log(100))


class Classifier(Student):
    """Vision tower and a trained head (D, C) in one of two conventions, which Adam makes different methods.

    fixed: logits s f W, W starts at unit columns, s of the pre-training unless `logit_scale` is trained.
    absorbed: logits f W + b, W starts at s W0 and b at 0.
    """

    def __init__(self, clip: Clip, head: Tensor, convention: str = "fixed", logit_scale: str = "frozen"):
        super().__init__(clip)
        self.visual = copy.deepcopy(clip.model.visual).requires_grad_(True)
        absorbed, trained = convention == "absorbed", convention == "fixed" and logit_scale != "frozen"
        self.weight = nn.Parameter(clip.scale * head if absorbed else head.clone())
        self.bias = nn.Parameter(torch.zeros_like(head[0])) if absorbed else None
        self.logit_scale = nn.Parameter(clip.model.logit_scale.detach().clone()) if trained else None
        self.scale, self.clamped = clip.scale, logit_scale == "clamped"  # scale: the pre-trained s

    def linear(self) -> tuple[Tensor, Tensor]:
        """The head as it acts on unit embeddings, scale included: weight (D, C), bias (C,)."""
        if self.bias is not None:
            return self.weight, self.bias
        scale = self.scale if self.logit_scale is None else self.logit_scale.exp()
        return scale * self.weight, torch.zeros_like(self.weight[0])

    @torch.no_grad()
    def start_from(self, weight: Tensor, bias: Tensor) -> None:
        """Set the head to one that is given as by `linear`; raises ConfigError for a bias in convention fixed."""
        if self.bias is None and bias.any():
            raise ConfigError("this head has a bias, which head=fixed has not; train with head=absorbed")
        self.weight.copy_(weight if self.bias is not None else weight / self.scale)
        if self.bias is not None:
            self.bias.copy_(bias)

    def logits(self, images: Tensor) -> Tensor:
        """Embeddings (B, D), not normalised -> logits (B, C)."""
        if self.bias is not None:
            return unit(images) @ self.weight + self.bias
        return (self.scale if self.logit_scale is None else self.logit_scale.exp()) * unit(images) @ self.weight

    def forward(self, images: Tensor, *texts: Tensor | None) -> tuple[Tensor, None, None]:
        """uint8 images -> embeddings before normalising (B, D), which pass as they are; this model reads no texts."""
        embedded = images if images.is_floating_point() else self.tower(self.visual, images)
        return embedded, None, None


class TwoTowers(Student):
    """Both towers and the scale; the head is rebuilt from the text tower whenever it is asked for."""

    def __init__(self, clip: Clip, prompts: Tensor, frozen_text: bool = False, logit_scale: str = "trained"):
        super().__init__(clip)
        self.clip = copy.deepcopy(clip.model).requires_grad_(not frozen_text)
        self.clip.visual.requires_grad_(True)
        self.clip.logit_scale.requires_grad_(logit_scale != "frozen")
        self.clamped = logit_scale == "clamped"
        self._view = replace(clip, model=self.clip)
        self.register_buffer("prompts", prompts, persistent=False)

    @property
    def scale(self) -> Tensor:
        """exp(logit_scale), trained."""
        return self.clip.logit_scale.exp()

    @property
    def logit_scale(self) -> nn.Parameter:
        """ln s."""
        return self.clip.logit_scale

    def linear(self) -> tuple[Tensor, Tensor]:
        """The head of the present text tower as it acts on unit embeddings, scale included: (D, C), zeros (C,)."""
        weight = self.scale.detach() * self._view.zero_shot_head(self.prompts)
        return weight, torch.zeros_like(weight[0])

    def logits(self, images: Tensor) -> Tensor:
        """Embeddings (B, D), not normalised -> s f W (B, C); no gradient to the texts."""
        return unit(images) @ self.linear()[0]

    def forward(
        self, images: Tensor, captions: Tensor | None = None, classes: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """uint8 images, tokens of captions and classes -> embeddings (B, D); unit rows (B, D) and (C, D)."""
        texts = (None if tokens is None else unit(self.clip.encode_text(tokens)) for tokens in (captions, classes))
        return self.tower(self.clip.visual, images), *texts
