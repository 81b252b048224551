"""Packed training images: a run with them is the run without; kills, changes and bad files."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import held_elsewhere
from PIL import Image
from test_cli import run_cli

import clipft
from clipft import progress
from clipft.data.images import decode, shrunk_size
from clipft.data.packs import Packs, key_of, pack, place_of
from clipft.disk import packed as on_disk
from clipft.disk.cache import default_cache
from clipft.disk.packed import Packed
from clipft.errors import ConfigError, ImageError, RunError, StorageError
from clipft.inputs import batches

SIZE = 18


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch):
    monkeypatch.setattr(progress, "_SAID", set())


@pytest.fixture
def own(world, tree, tmp_path, monkeypatch):
    """The miniature world with images of its own, which may be changed."""
    shutil.copytree(tree / "mini", tmp_path / "data/mini")
    monkeypatch.setenv("CLIPFT_DATA", str(tmp_path / "data"))
    return world


def train_split(world, **changes):
    return world.bench(**changes).train_split()


def weights(run):
    return run.folder.weights_file.read_bytes()


@pytest.mark.parametrize(
    "size", [(500, 375), (375, 500), (256, 256), (100, 90), (300, 1000), (1, 9)]
)
def test_the_shorter_side_is_as_asked_and_the_shape_kept(size):
    width, height = shrunk_size(size, 256)
    assert min(width, height) == min(*size, 256)
    assert width / height == pytest.approx(size[0] / size[1], rel=0.01)
    assert shrunk_size(size, 0) == size


def test_shrinking_is_pillows(own):
    split = train_split(own, shrink=SIZE)
    file = split.root / split.ids[0]
    want = decode(file)
    width, height = want.size
    want = want.resize((round(width * SIZE / height), SIZE), Image.Resampling.BICUBIC)
    assert decode(file, split.decoding).tobytes() == want.tobytes()
    assert own.bench(shrink=SIZE).selection_split().decoding.shrink == 0


@pytest.mark.parametrize("settings", [{}, {"shrink": SIZE}, {"shrink": SIZE, "decoder": "fast"}])
def test_a_run_with_the_copy_is_the_run_without(own, decoded, settings, tmp_path):
    settings = {"steps": 4, "eval_every": 4, "selection": "last"} | settings
    plain = own.train(**settings)
    trained_on = {
        plain.bench.manifest.split("real/train").root / name for name in train_split(own).ids
    }
    assert trained_on & set(decoded) or settings.get("decoder") == "fast"
    (made,) = pack(own.manifest, settings.get("shrink", 0))
    decoded.clear()
    with_copy = own.train(tmp_path / "others", **settings)
    assert not trained_on & set(decoded)
    assert (with_copy.id, weights(with_copy)) == (plain.id, weights(plain))
    assert made.images == len(train_split(own)) and made.unreadable == 0
    assert made.size == sum(
        decode(file, replace(train_split(own).decoding, shrink=settings.get("shrink", 0))).size[0]
        * 3
        * (settings.get("shrink") or 20)
        for file in trained_on
    )


def test_the_pixels_are_those_of_the_files(own):
    pack(own.manifest)
    split = train_split(own)
    packs = Packs(split)
    for row in range(len(split)):
        want = np.asarray(decode(split.root / split.ids[row]))
        np.testing.assert_array_equal(packs.find(row), want)
    assert Packs(train_split(own, shrink=SIZE)).find(0) is None  # it is of another size
    assert Packs(own.bench().manifest.split("real/test")).find(0) is None


def test_a_changed_image_is_decoded_and_packed_anew(own, decoded, capsys):
    pack(own.manifest)
    split = train_split(own)
    file = split.root / split.ids[3]
    Image.fromarray(np.full((20, 24, 3), 7, np.uint8)).save(file)
    images = batches.Images(split, lambda image: image)
    assert (images._read(3).pixels == 7).all()
    images._read(2)
    assert decoded == [file]
    assert "lacks images that are new or were changed; they are decoded" in capsys.readouterr().err
    (made,) = pack(own.manifest)
    assert "1 images, about" in capsys.readouterr().out
    assert made.images == len(split)
    assert (batches.Images(split, lambda image: image)._read(3).pixels == 7).all()
    assert decoded == [file]
    pack(own.manifest)
    assert "packing" not in capsys.readouterr().out


def test_what_was_packed_before_a_kill_stays(own, monkeypatch):
    script = (
        "import os, sys\n"
        "from clipft.data import packs\n"
        "plain, seen = packs._read, []\n"
        "def dying(split, row, **how):\n"
        "    seen.append(row)\n"
        "    if len(seen) == 13: os.kill(os.getpid(), 9)\n"
        "    return plain(split, row, **how)\n"
        "packs._read, packs.BLOCK, packs.KEPT_EVERY = dying, 4, 4 * 20 * 24 * 3\n"
        "packs.pack(sys.argv[1])\n"
    )
    done = subprocess.run([sys.executable, "-c", script, own.manifest], capture_output=True)
    assert done.returncode == -9
    split = train_split(own)
    place = place_of(split, "real")
    assert len(Packed.open(place).rows) == 12
    with (place / on_disk.PIXELS).open("ab") as file:
        file.write(b"half an image")
    read = []
    monkeypatch.setattr("clipft.data.packs.decode", lambda *given: read.append(1) or decode(*given))
    pack(own.manifest)
    assert len(read) == len(split) - 12
    assert (place / on_disk.PIXELS).stat().st_size == len(split) * 20 * 24 * 3
    for row in (0, 11, 12, len(split) - 1):
        want = np.asarray(decode(split.root / split.ids[row]))
        np.testing.assert_array_equal(Packs(split).find(row), want)


def test_a_copy_that_was_cut_is_not_read(own):
    (made,) = pack(own.manifest)
    os.truncate(made.folder / on_disk.PIXELS, made.size - 1)
    assert Packed.open(made.folder) is None
    (again,) = pack(own.manifest)
    assert again.images == made.images and again.size == made.size


def test_a_bad_image_stops_or_is_left_out(own):
    split = train_split(own)
    bad = split.root / split.ids[5]
    bad.write_bytes(bad.read_bytes()[:-60])
    (split.root / split.ids[6]).unlink()
    with pytest.raises(ImageError, match=rf"^image unreadable: {bad} \(.*\); repair it, or leave"):
        pack(own.manifest)
    assert len(Packed.open(place_of(split, "real")).rows) == 5  # stays
    (made,) = pack(own.manifest, skip_bad=True)
    assert (made.images, made.unreadable) == (len(split) - 2, 2)
    for name in split.ids:
        (split.root / name).write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"no image of .* can be read"):
        pack(own.manifest, SIZE, skip_bad=True)


def test_what_is_refused(own, monkeypatch):
    with pytest.raises(ConfigError, match="size is -1"):
        pack(own.manifest, -1)
    with pytest.raises(ConfigError, match="unknown domain of mini 'reel'; did you mean 'real'"):
        pack(own.manifest, domains=["reel"])
    with (
        held_elsewhere(place_of(train_split(own), "real")),
        pytest.raises(RunError, match="another"),
    ):
        pack(own.manifest)
    full = shutil.disk_usage(Path())._replace(free=10_000)
    monkeypatch.setattr("clipft.disk.files.shutil.disk_usage", lambda _: full)
    with pytest.raises(StorageError, match=r"are needed in .*packed"):
        pack(own.manifest)


def test_several_domains_are_found_together(own):
    domains = ("real", "sketch")
    assert len(pack(own.manifest, SIZE, domains)) == 2
    split = own.bench(train_domains=domains, shrink=SIZE).train_split()
    packs = Packs(split)
    assert all(packs.find(row) is not None for row in range(len(split)))


def test_the_cache_lists_it_and_never_prunes_it(own):
    (made,) = pack(own.manifest, SIZE)
    (entry,) = default_cache().entries()
    assert (entry.kind, entry.path) == ("packed images", made.folder)
    assert entry.title == f"real/train of mini, {SIZE} pixels"
    assert default_cache().prune() == [] and made.folder.is_dir()


def test_the_command(own, monkeypatch, capsys):
    code, said, _ = run_cli(monkeypatch, capsys, "datasets", "pack", own.manifest, "--size", SIZE)
    assert code == 0 and f"read by every training with shrink={SIZE}" in said
    for words, wanted in {
        ("pack",): "NAME is missing",
        ("pack", "nowhere"): "unknown data set 'nowhere'",
        ("pack", own.manifest, "--root", "x"): "datasets pack takes no --root",
        (own.manifest, "--size", 3): "pack a data set; wanted",
    }.items():
        code, _, error = run_cli(monkeypatch, capsys, "datasets", *words)
        assert code == 2 and wanted in error, error


def test_a_key_is_of_name_size_and_time(own):
    split = train_split(own)
    file = split.root / split.ids[0]
    before = key_of(split, 0)
    assert before == key_of(split, 0) != key_of(split, 1)
    os.utime(file, (1, 1))
    assert key_of(split, 0) != before


def test_it_is_a_public_name():
    assert clipft.pack is pack
