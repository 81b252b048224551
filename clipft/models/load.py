"""An open_clip model from its name and weights.

What both may be called is said in `runs.model_names`. `find_source` looks at what was asked for and
says which it is, `load_clip` builds it; `checkpoints` reads files of any shape, `fit` puts them in.
"""

import contextlib
import functools
import json
import logging
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import util
from pathlib import Path, PurePosixPath
from typing import Any

import open_clip
import torch
from huggingface_hub import constants as hub_constants
from torch.nn import Conv2d
from torchvision.transforms import Normalize, ToTensor

from ..data.images import Transform
from ..disk.files import read_foreign_json, read_json, write_json
from ..errors import ClipftError, ConfigError, MissingExtra, WeightsError, first_line
from ..inputs.decoding import Resizing
from ..progress import write
from ..runs.hub import hub_files, is_cached
from ..runs.machine import cpu_name
from ..runs.model_names import (
    GELU,
    HUB,
    LOCAL,
    OPEN_CLIP_CONFIG,
    QUICK_GELU,
    RANDOM,
    TRANSFORMERS_CONFIG,
    check_model,
    is_transformers_clip,
    model_folder,
    plain_name,
    weights_path,
)
from .checkpoints import Checkpoint, read_checkpoint
from .clip import Clip
from .fit import load_checkpoint
from .huggingface import model_config
from .shapes import weights_file

Config = dict[str, Any]
WEIGHTS = "open_clip_model.safetensors"
COMPUTED_BYTES = 4 << 30  # of a card are left for what models compute
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "spiece.model", "tokenizer.model")


@dataclass(frozen=True)
class Source:
    """An architecture and its weights: a tag's, the repository's own, or files'; else random."""

    asked: str  # the model, as it was asked for
    architecture: str  # a name of open_clip, local-dir:FOLDER or hf-hub:REPOSITORY
    config: Config  # model_cfg of that architecture
    preprocessing: Config | None = None  # where the architecture's own would be another
    folder: Path | None = None
    tag: str | None = None
    own_file: Path | None = None  # of the folder; a checkpoint without a text tower goes on it
    file: Path | None = None  # a checkpoint, read into the model once it is built

    def vocabulary(self) -> tuple[int, ...] | None:
        """The only tokens that the captions of the pre-training held; None: all."""
        if self.folder is None or not (self.folder / "clipft.json").exists():
            return None
        notes = read_json(self.folder / "clipft.json")
        return tuple(notes["random_text_tokens"]) if "random_text_tokens" in notes else None

    @property
    def is_named(self) -> bool:
        """Whether the architecture is one of open_clip's own list."""
        return self.folder is None and not self.architecture.startswith(HUB)


def load_clip(
    model: str = "emoji-tiny",
    pretrained: str = "",
    device: str | torch.device = "cpu",
    *,
    recorded: bool = False,
) -> Clip:
    """Load any open_clip model, frozen; torch's global generator stays as it was.

    Arguments:
        model: a name of open_clip, a folder (also as `local-dir:FOLDER`) of open_clip or of
            transformers' CLIPModel, `hf-hub:OWNER/NAME`, or the shipped `emoji-tiny`.
        pretrained: a published tag, or a checkpoint of any shape: a file, or the folder of one; ""
            takes what comes with the folder or repository, "none" random weights, as torch's
            global generator would draw them.
        device: where its weights lie.
        recorded: whether a finished run asks, for which a plain name has always meant GELU.

    Returns:
        The model with its tokenizer and its preprocessing.

    Raises:
        ConfigError: for an unknown name or tag, or a checkpoint that does not say its activation.
        WeightsError: where a file is damaged, not finite or of another model.
        MissingExtra: where a model needs transformers, which is not installed.

    Example:
        >>> clip = clipft.load_clip()
        >>> clip.embed_texts(clip.tokenizer(["a fox", "a cup of tea"])).shape
        torch.Size([2, 128])
    """
    if hub_files(model, pretrained) and is_cached(model, pretrained):
        # Else it is asked for again, a minute long where nobody answers.
        with contextlib.suppress(WeightsError), _without_network():
            return _loaded(model, pretrained, device, recorded=recorded)
    return _loaded(model, pretrained, device, recorded=recorded)


def _loaded(model: str, pretrained: str, device: str | torch.device, *, recorded: bool) -> Clip:
    """The same, with the network or without."""
    with _quiet(), torch.random.fork_rng(devices=[]):
        source = find_source(model, pretrained)
        _check_transformers(source)
        checkpoints = _checkpoints(source)
        if checkpoints:
            source = _with_activation(source, checkpoints[-1], recorded=recorded)
        net, preprocess = _built(source, device)
        notes: list[str] = []
        for checkpoint in checkpoints:
            notes = load_checkpoint(net, checkpoint, model)
        tokenizer = _tokenizer(source, net)

    if source.file:
        _say("; ".join([checkpoints[-1].found, *notes]))
    net.requires_grad_(False).eval()
    if _wants_channels_last(net, device):
        net.to(memory_format=torch.channels_last)
    visual: Any = net.visual  # open_clip's kinds of CLIP have no typed base
    config = {"model_cfg": source.config, "preprocess_cfg": dict(visual.preprocess_cfg)}
    name = f"{model} {pretrained}".strip()
    transform = _until_tensor(preprocess)
    vocabulary = source.vocabulary()
    return Clip(name, net, tokenizer, transform=transform, config=config, vocabulary=vocabulary)


def find_source(model: str, pretrained: str) -> Source:
    """Where a model and its weights come from; raises ConfigError where there is no such thing."""
    check_model(model, pretrained)
    folder = model_folder(model)
    if folder is not None:
        return _from_folder(model, folder, pretrained)
    if model.startswith(HUB):
        source = Source(model, model, {})
        with _said_of(source):
            source = replace(source, config=dict(open_clip.get_model_config(model) or {}))
        file = weights_path(pretrained)
        return replace(source, file=file, tag=None if file or pretrained == RANDOM else HUB)
    return _from_name(model, pretrained)


def _from_folder(model: str, folder: Path, pretrained: str) -> Source:
    """A model in a folder, of open_clip or of transformers."""
    preprocessing = None
    if (folder / OPEN_CLIP_CONFIG).is_file():
        config = read_foreign_json(folder / OPEN_CLIP_CONFIG).get("model_cfg")
        if not isinstance(config, dict):
            raise ConfigError(f"{folder / OPEN_CLIP_CONFIG} has no model_cfg; copy it again")
    else:
        config, preprocessing = model_config(folder)
    source = Source(model, f"{LOCAL}{folder}", config, preprocessing, folder)
    if pretrained == RANDOM:
        return source
    file = weights_path(pretrained)
    own_file = None
    with contextlib.suppress(WeightsError) if file else contextlib.nullcontext():
        own_file = weights_file(folder)
    return replace(source, own_file=own_file, file=file)


def _from_name(model: str, pretrained: str) -> Source:
    """A model that open_clip knows by name: random weights, those of a tag or of a file."""
    name = plain_name(model)
    source = Source(model, name, open_clip.get_model_config(name) or {})
    tags = open_clip.list_pretrained_tags_by_model(name)
    if pretrained == RANDOM:
        return source
    if pretrained.lower() not in [tag.lower() for tag in tags]:
        return replace(source, file=weights_path(pretrained), preprocessing=_common(name, tags))
    published = _published(name, pretrained)
    if published.get("quick_gelu"):
        # The plain name has GELU; what the tag's weights were trained with counts.
        source.config["quick_gelu"] = True
    return replace(source, tag=pretrained)


def _common(name: str, tags: list[str]) -> Config | None:
    """The preprocessing of all published weights of an architecture, where it is one."""
    keys = ("mean", "std", "interpolation", "resize_mode")
    kinds = []
    for tag in tags:
        published = _published(name, tag)
        kinds.append({key: published[key] for key in keys})
    return kinds[0] if kinds and all(kind == kinds[0] for kind in kinds) else None


def _checkpoints(source: Source) -> list[Checkpoint]:
    """What is to be put into the model, in this order: a vision tower alone goes on a whole CLIP.

    Raises WeightsError where the text tower would stay random.
    """
    file = source.file or source.own_file
    if file is None:
        return []
    checkpoint = read_checkpoint(file)
    if checkpoint.has_text:
        return [checkpoint]
    if source.file and source.own_file:
        whole = read_checkpoint(source.own_file)
        if whole.has_text:
            return [whole, checkpoint]
    alone = f"{checkpoint.file} holds a vision tower alone, and nothing says whose texts go with it"
    wanted = "say model=FOLDER with a whole CLIP in it, or clipft adopt, which takes a tag, too"
    raise WeightsError(f"{alone}; {wanted}")


# --- the activation, of which weights do not say what it was


def _with_activation(source: Source, checkpoint: Checkpoint, *, recorded: bool) -> Source:
    """The source with the activation that a checkpoint was trained with.

    Raises ConfigError where name and file contradict each other, or nobody says it.
    """
    said = checkpoint.quick_gelu
    if said is None:
        said = _of_published(source, checkpoint.file.name)
    named = _named_activation(source)
    if named is not None and said is not None and named != said:
        kinds = {True: "QuickGELU", False: "GELU"}
        fault = f"{checkpoint.file} is of {kinds[said]}, {source.asked} has {kinds[named]}"
        raise ConfigError(f"{fault}; {_ways(source, said)}")
    if named is None and said is None and recorded:
        return source
    if named is None and said is None:
        fault = f"{checkpoint.file} does not say its activation, and scores of the other are wrong"
        openai = f"QuickGELU (OpenAI's weights, or tuned from them): {_ways(source, True)}"
        raise ConfigError(f"{fault}; {openai}; GELU: {_ways(source, False)}")
    quick_gelu = named if said is None else said
    if bool(source.config.get("quick_gelu", False)) == quick_gelu:
        return source
    return replace(source, config=source.config | {"quick_gelu": quick_gelu})


def _named_activation(source: Source) -> bool | None:
    """Whether what was asked for has QuickGELU; None where a name stands for either."""
    quick_gelu = bool(source.config.get("quick_gelu", False))
    if not source.is_named or quick_gelu:
        return quick_gelu
    if source.asked != source.architecture:  # -gelu
        return False
    twins = f"{source.architecture}{QUICK_GELU}" in open_clip.list_models()
    return None if twins else quick_gelu


def _of_published(source: Source, file: str) -> bool | None:
    """The activation of weights that were published under a file's own name."""
    for tag in open_clip.list_pretrained_tags_by_model(source.architecture):
        published = _published(source.architecture, tag)
        if PurePosixPath(published["url"]).name == file:
            return bool(published.get("quick_gelu"))
    return None


def _published(architecture: str, tag: str) -> Config:
    """What open_clip's tables say of a tag."""
    return dict(open_clip.get_pretrained_cfg(architecture, tag))


def _ways(source: Source, quick_gelu: bool) -> str:  # noqa: FBT001  # the thing itself
    """What to say for an activation."""
    if not source.is_named:
        return f'say "quick_gelu": {str(quick_gelu).lower()} in its {OPEN_CLIP_CONFIG}'
    plain = source.architecture.removesuffix(QUICK_GELU)
    return f"say model={plain}{QUICK_GELU if quick_gelu else GELU}"


# --- built, filled, and its texts


def _built(source: Source, device: str | torch.device) -> tuple[Any, Any]:
    """The model, with random weights or a tag's, and its preprocessing."""
    with _as_local(source) as architecture, _said_of(source):
        net, _, preprocess = open_clip.create_model_and_transforms(
            architecture,
            pretrained=source.tag if source.is_named else None,
            load_weights=source.tag is not None,
            force_quick_gelu=bool(source.config.get("quick_gelu", False)),
            device=device,
            # Else the tower starts at the weights of a language model, from the network.
            pretrained_text=False,
            **_preprocessing(source),
        )
    return net, preprocess


def _wants_channels_last(net: Any, device: str | torch.device) -> bool:
    """Whether a GPU will convolve beyond the patches that a transformer begins with: its kernels
    for low precision read channels-last. What is copied of the model, or into it, keeps the order.
    """
    convolutions = [module for module in net.visual.modules() if isinstance(module, Conv2d)]
    return torch.device(device).type == "cuda" and len(convolutions) > 1


def _preprocessing(source: Source) -> Config:
    """The keyword arguments of open_clip that set a preprocessing."""
    given = source.preprocessing or {}
    return {f"image_{key}": value for key, value in given.items()}


def _check_transformers(source: Source) -> None:
    """Raise MissingExtra where texts of a model are transformers' and it is not installed."""
    text = source.config.get("text_cfg", {})
    if text.get("hf_model_name") or text.get("hf_tokenizer_name"):
        if util.find_spec("transformers") is None:
            raise MissingExtra(f"{source.asked} reads texts by transformers, which", "hf")


@contextlib.contextmanager
def _as_local(source: Source) -> Iterator[str]:
    """What open_clip calls the architecture: of transformers' folder, one in open_clip's words.

    Also of open_clip's folder where a text tower's configuration lies in it, as an export writes.
    """
    content = _in_other_words(source)
    if content is None:
        yield source.architecture
        return
    with tempfile.TemporaryDirectory() as folder:
        write_json(Path(folder) / OPEN_CLIP_CONFIG, content)
        yield f"{LOCAL}{folder}"


def _in_other_words(source: Source) -> Config | None:
    """The open_clip_config.json of a folder where its own, if any, will not do."""
    if source.folder is None:
        return None
    own = source.folder / OPEN_CLIP_CONFIG
    if not own.is_file():
        return {"model_cfg": source.config, "preprocess_cfg": {}}
    text = source.config.get("text_cfg", {})
    tower = source.folder / TRANSFORMERS_CONFIG
    if not text.get("hf_model_name") or not tower.is_file() or is_transformers_clip(source.folder):
        return None
    text = text | {"hf_model_name": str(source.folder.absolute())}
    return read_json(own) | {"model_cfg": source.config | {"text_cfg": text}}


def _tokenizer(source: Source, net: Any) -> Any:
    """The model's tokenizer; that of transformers from the files beside its weights, if any.

    Its `vocab_size` counts the tokens that the model knows.
    """
    text = source.config.get("text_cfg", {})
    of_transformers = bool(text.get("hf_tokenizer_name"))
    folder = _folder_with(TOKENIZER_FILES, source) if of_transformers else None
    tokenizer: Any
    with _as_local(source) as architecture, _said_of(source, tokenizer=of_transformers):
        if folder is not None:
            tokenizer = _from_files(folder, text)
        elif of_transformers:
            tokenizer = open_clip.get_tokenizer(architecture)
        else:
            tokenizer = _own_tokenizer(architecture, json.dumps(text, sort_keys=True))
    if not hasattr(tokenizer, "vocab_size"):
        known = getattr(net, "vocab_size", 0) or len(tokenizer.tokenizer)
        tokenizer.vocab_size = min(known, len(tokenizer.tokenizer))
    return tokenizer


@functools.cache
def _own_tokenizer(architecture: str, _text: str) -> Any:
    """open_clip's own tokenizer of an architecture with this text_cfg, read once."""
    return open_clip.get_tokenizer(architecture)


def _folder_with(names: tuple[str, ...], source: Source) -> Path | None:
    """Where one of these files lies: beside the checkpoint, or in the model's folder."""
    folders = [source.folder] if source.folder else []
    if source.file:
        folders.insert(0, source.file if source.file.is_dir() else source.file.parent)
    for folder in folders:
        if any((folder / name).is_file() for name in names):
            return folder
    return None


def _from_files(folder: Path, text: Config) -> Any:
    """transformers' tokenizer of a folder, used as a text_cfg says."""
    return open_clip.tokenizer.HFTokenizer(
        str(folder),
        context_length=text.get("context_length", 77),
        tokenizer_mode=text.get("tokenizer_mode"),
        **text.get("tokenizer_kwargs") or {},
    )


@functools.cache
def _say(line: str) -> None:
    """Say what a file held, once."""
    write(line)


# --- what went wrong, and which file would mend it


@contextlib.contextmanager
def _said_of(source: Source, *, tokenizer: bool = False) -> Iterator[None]:
    """Turn what open_clip, transformers and the network say into one line with a remedy."""
    try:
        yield
    except ClipftError:
        raise
    except Exception as error:  # each of them has its own
        reason = (first_line(error).strip() or type(error).__name__)[:160].rstrip(". ")
        what = f"{source.asked} {source.tag}" if source.is_named and source.tag else source.asked
        remedy = _tokenizer_remedy(source) if tokenizer else _remedy(source)
        raise WeightsError(f"cannot load {what}: {reason}; {remedy}") from None


def _remedy(source: Source) -> str:
    """Which file to put where when the network does not give it."""
    language_model = source.config.get("text_cfg", {}).get("hf_model_name")
    if source.architecture.startswith(HUB):
        files = f"{OPEN_CLIP_CONFIG} and {WEIGHTS} of {source.architecture.removeprefix(HUB)}"
        return f"without a network, put {files} into a folder and say model=FOLDER"
    if source.is_named and source.tag:
        published = _published(source.architecture, source.tag)
        file = PurePosixPath(published["url"]).name
        place = PurePosixPath(published["hf_hub"]).parts  # owner, repository, perhaps a file
        if place:
            repository = PurePosixPath(*place[:2])
            file = f"{place[2] if len(place) > 2 else WEIGHTS} of {repository} (Hugging Face)"
        name = _ways(source, bool(published.get("quick_gelu"))).removeprefix("say ")
        return f"without a network, bring {file} here and say {name} pretrained=FILE"
    if language_model:
        where = f"into a folder, which hf_model_name of an {OPEN_CLIP_CONFIG} can name"
        return f"without a network, put {TRANSFORMERS_CONFIG} of {language_model} {where}"
    return f"is its {OPEN_CLIP_CONFIG} whole?" if source.folder else "is open_clip whole?"


def _tokenizer_remedy(source: Source) -> str:
    name = source.config["text_cfg"]["hf_tokenizer_name"]
    where = "beside the checkpoint, or into the folder that model= names"
    return f"without a network, put tokenizer.json and tokenizer_config.json of {name} {where}"


@contextlib.contextmanager
def _without_network() -> Iterator[None]:
    """The hub's cache answers alone."""
    before = hub_constants.HF_HUB_OFFLINE
    hub_constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        hub_constants.HF_HUB_OFFLINE = before


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence open_clip on what is asked for on purpose, and a network that tries ten times."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(before)


def _until_tensor(preprocess: Any) -> Transform:
    """open_clip's evaluation transform up to the tensor; `Student.pixels` does the rest."""
    last = preprocess.transforms[-2:]
    if not (isinstance(last[0], ToTensor) and isinstance(last[1], Normalize)):
        wanted = "ToTensor and Normalize"
        raise ConfigError(f"this model's preprocessing ends with {last}, expected {wanted}")
    return Resizing(preprocess.transforms[:-2])


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


def has_room(device: str | torch.device, size: int) -> bool:
    """Whether a card has room for so many bytes and what a model computes; the host's is its own.

    Memory that torch holds and does not use is free, too.
    """
    device = torch.device(device)
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return size <= free + unused - COMPUTED_BYTES


def device_name(device: str | torch.device) -> str:
    """What a device is called: the GPU's or the processor's name."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return cpu_name() if device.type == "cpu" else f"{device.type}, {cpu_name()}"


def memory_of(device: torch.device) -> str:
    """How much memory a device has."""
    if device.type != "cuda":
        return f"the memory of {device_name(device)}"
    free, total = torch.cuda.mem_get_info(device)
    size = f"{total / 2**30:.1f} GiB"
    return f"the {size} of {device_name(device)} (free now: {free / 2**30:.1f} GiB)"
