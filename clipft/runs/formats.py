"""Libraries that a run is exported for: what such a folder holds, and how it is loaded again."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from importlib import import_module, util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..disk.files import read_json
from ..errors import ClipftError, ConfigError, MissingExtra, StorageError, unknown

if TYPE_CHECKING:
    from collections.abc import Callable

HEAD = "head.safetensors"  # the tuned head and the names of its classes
CARD = "README.md"
RECORD = "clipft.json"  # what the files do not say themselves, and which files were written
DEFAULT_FORMAT = "open_clip"


@dataclass(frozen=True)
class Format:
    """One library's way to keep a CLIP.

    writer: module:function within clipft, called with the folder and what goes into it.
    files: all that it may write; without the first nobody can read the rest.
    code: how its own library makes embeddings, for the model card; ARCHITECTURE is the model.
    """

    name: str
    title: str
    writer: str
    files: tuple[str, ...]
    code: str
    library: str
    packages: tuple[str, ...] = ()  # of the extra that is called as the format is
    has_texts: bool = True

    @property
    def all_files(self) -> tuple[str, ...]:
        """With what every export holds; in the order in which an older export goes."""
        return (*self.files, HEAD, CARD, RECORD)

    def write(self) -> Callable[..., None]:
        """The function that writes it."""
        module, function = self.writer.split(":")
        return getattr(import_module(module, __package__), function)

    def check(self, *, half: bool) -> None:
        """Raise MissingExtra where a package is missing, ConfigError for half a precision."""
        for package in self.packages:
            if util.find_spec(package) is None:
                raise MissingExtra(package, self.name)
        if half and not self.has_texts:
            raise ConfigError(f"{self.name} is written in fp32; leave --half out")


OPEN_CLIP_CODE = """\
import open_clip
from PIL import Image

model, _, preprocess = open_clip.create_model_and_transforms("local-dir:.")
model.eval()
pixels = preprocess(Image.open("photo.jpg").convert("RGB"))[None]
embeddings = model.encode_image(pixels, normalize=True)
"""
HUGGING_FACE_CODE = """\
from PIL import Image
from transformers import CLIPModel, CLIPProcessor

model = CLIPModel.from_pretrained(".")
processor = CLIPProcessor.from_pretrained(".")
pixels = processor(images=Image.open("photo.jpg").convert("RGB"), return_tensors="pt")
embeddings = model.get_image_features(**pixels).pooler_output  # transformers 4: no .pooler_output
embeddings = embeddings / embeddings.norm(dim=-1, keepdim=True)
"""
STATE_DICT_CODE = """\
import open_clip
from PIL import Image

model, _, preprocess = open_clip.create_model_and_transforms(
    ARCHITECTURE, pretrained="state_dict.pt"
)
model.eval()
pixels = preprocess(Image.open("photo.jpg").convert("RGB"))[None]
embeddings = model.encode_image(pixels, normalize=True)
"""
OPENAI_CODE = """\
import clip  # OpenAI's own package
from PIL import Image

model, preprocess = clip.load("openai.pt", device="cpu")
pixels = preprocess(Image.open("photo.jpg").convert("RGB"))[None]
embeddings = model.encode_image(pixels)
embeddings = embeddings / embeddings.norm(dim=-1, keepdim=True)
"""
ONNX_CODE = """\
import json

import numpy as np
import onnxruntime
from PIL import Image

session = onnxruntime.InferenceSession("model.onnx")
about = session.get_modelmeta().custom_metadata_map
preprocessing = json.loads(about["preprocess_cfg"])
height, width = session.get_inputs()[0].shape[2:]
image = Image.open("photo.jpg").convert("RGB").resize((width, height), Image.BICUBIC)
pixels = (np.asarray(image) / 255 - preprocessing["mean"]) / preprocessing["std"]
pixels = pixels.transpose(2, 0, 1)[None].astype("float32")  # (B, 3, H, W), any B
embeddings, logits = session.run(None, {"pixels": pixels})
label = json.loads(about["classes"])[logits[0].argmax()]
"""

OPEN_CLIP_FILES = ("open_clip_config.json", "open_clip_model.safetensors")
# What transformers' tokenizers keep, and the configuration of its text towers.
TEXT_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("spiece.model", "tokenizer.model", "sentencepiece.bpe.model"),
    *("vocab.txt", "vocab.json", "merges.txt", "config.json"),
)

FORMATS = {
    known.name: known
    for known in (
        Format(
            DEFAULT_FORMAT,
            "an open_clip local-dir: folder",
            "..models.state_dicts:write_open_clip",
            files=(*OPEN_CLIP_FILES, *TEXT_FILES),
            code=OPEN_CLIP_CODE,
            library="open_clip",
        ),
        Format(
            "huggingface",
            "a CLIPModel of transformers",
            "..models.hugging_face:write",
            files=(
                *("config.json", "model.safetensors", "preprocessor_config.json"),
                *("tokenizer_config.json", "vocab.json", "merges.txt"),
            ),
            code=HUGGING_FACE_CODE,
            library="transformers",
        ),
        Format(
            "state_dict",
            "a state dict under open_clip's names",
            "..models.state_dicts:write_state_dict",
            files=("state_dict.pt",),
            code=STATE_DICT_CODE,
            library="open_clip",
        ),
        Format(
            "openai",
            "a state dict under the names of OpenAI's package",
            "..models.state_dicts:write_openai",
            files=("openai.pt",),
            code=OPENAI_CODE,
            library="clip",
        ),
        Format(
            "onnx",
            "the vision tower and the head as ONNX",
            "..models.onnx_tower:write",
            files=("model.onnx",),
            code=ONNX_CODE,
            library="onnx",
            packages=("onnx", "onnxscript"),
            has_texts=False,
        ),
    )
}


def format_of(name: str) -> Format:
    """The format of this name; raises ConfigError with the nearest one where there is none."""
    if name not in FORMATS:
        raise unknown("format", name, FORMATS)
    return FORMATS[name]


def record_of(folder: Path) -> dict[str, Any]:
    """What an export says of itself; empty where nothing does."""
    with contextlib.suppress(ClipftError, UnicodeDecodeError):
        recorded = read_json(folder / RECORD)
        if isinstance(recorded, dict):
            return recorded
    return {}


def version_of(folder: Path) -> tuple[int, int]:
    """Another one whenever an export is written there: its record comes before what it tells of."""
    try:
        status = (folder / RECORD).stat()
    except OSError:
        return 0, 0
    return status.st_ino, status.st_mtime_ns


def written_files(folder: Path) -> list[str]:
    """The files of the export that lies in a folder, in the order in which they go.

    An older clipft did not record them, and wrote neither a card nor another library's files.
    """
    recorded = record_of(folder).get("files")
    if not isinstance(recorded, list):
        return [*OPEN_CLIP_FILES, HEAD, RECORD]
    known = {name for known in FORMATS.values() for name in known.all_files}
    return [name for name in recorded if name in known]


def check_replaceable(folder: Path, target: Format) -> None:
    """Raise StorageError where an export would overwrite a file that no export wrote."""
    mine = written_files(folder)
    for name in target.all_files:
        file = folder / name
        if file.exists() and name not in mine:
            raise StorageError(f"{file} was not written by an export; choose another folder")
