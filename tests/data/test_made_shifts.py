"""Made shifts of a manifest: views of the reference, in every kind of data set."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from clipft.config import RunConfig
from clipft.data.images import class_tiles, decode, decoded_size
from clipft.data.made_shifts import Made, apart, is_made, key_of, listed, that_count, titled
from clipft.data.manifests import Manifest, load_manifest
from clipft.data.own import new_manifest
from clipft.data.splits import Decoding
from clipft.disk.files import read_yaml
from clipft.errors import ConfigError
from clipft.inputs.batches import Images
from clipft.inputs.decoding import pixels_of
from clipft.runs.rows import reported_on, seen_by, shifts_of
from clipft.runs.thumbnails import read_as


@pytest.fixture
def mini(world):
    """A function: the miniature data set with these made shifts."""

    def with_made(made_shifts, **keys):
        values = read_yaml(world.manifest_file) | {"made_shifts": made_shifts} | keys
        return Manifest.of(values, world.manifest_file)

    return with_made


FOG = {"kinds": ["fog", "gaussian_noise"], "severities": [1, 3]}


def test_a_made_shift_has_the_rows_of_the_reference_and_other_pixels(mini):
    manifest = mini(FOG)
    assert manifest.shifts() == [
        "sketch", "clipart", "made_fog_1", "made_fog_3", "made_gaussian_noise_1",
        "made_gaussian_noise_3",
    ]  # fmt: skip
    assert manifest.shifts(made=False) == ["sketch", "clipart"]
    for part in ("val", "test"):
        own, made = (manifest.split(f"{domain}/{part}") for domain in ("real", "made_fog_3"))
        assert (made.ids, made.labels, made.root) == (own.ids, own.labels, own.root)
        assert made.name == f"made_fog_3/{part}"
        assert manifest.has(made.name)
    assert not manifest.has("made_fog_3/train")
    with pytest.raises(ConfigError, match=r"made_fog_3/train.*known: made_fog_3/test"):
        manifest.split("made_fog_3/train")
    with pytest.raises(ConfigError, match="made_fog_2"):
        manifest.split("made_fog_2/test")


def test_pixels_are_those_of_the_corruption_whoever_reads_them(mini):
    manifest = mini(FOG)
    split = manifest.split("made_gaussian_noise_3/test")
    clean = manifest.split("real/test")
    wanted = []
    for name in clean.ids:
        made = Made("gaussian_noise", 3).of(name)
        wanted.append(np.asarray(made.apply(decode(clean.root / name))))
    images = Images(split, lambda image: image)
    backwards = [pixels_of(images._image(row)).permute(1, 2, 0).numpy() for row in (4, 2, 0)]
    assert all((own == wanted[row]).all() for own, row in zip(backwards, (4, 2, 0), strict=True))
    # A part of a split, its rows in another order, reads the same.
    few = Images(split.take([2, 0]), lambda image: image)
    assert (pixels_of(few._image(0)).permute(1, 2, 0).numpy() == wanted[2]).all()
    assert (wanted[0] != np.asarray(decode(clean.root / clean.ids[0]))).any()
    # the tiles of a class, and what explorers show
    shown = read_as(manifest.decoding, manifest.made, "made_gaussian_noise_3", clean.ids[0])
    assert (np.asarray(decode(clean.root / clean.ids[0], shown)) == wanted[0]).all()
    assert set(class_tiles(manifest, "apple", 1)) == {"real", "sketch", "clipart"}


def test_both_decoders_read_the_same(mini):
    pytest.importorskip("torchcodec")
    manifest = mini(FOG)
    images = []
    for decoder in ("pillow", "fast"):
        split = manifest.decoded_by(decoder).split("made_fog_1/test")
        images.append(pixels_of(Images(split, lambda image: image)._image(0)))
    assert (images[0] == images[1]).all()


def test_a_large_image_is_as_large_as_it_is_said_to_be(tmp_path):
    Image.new("RGB", (500, 300), "red").save(tmp_path / "a.png")
    how = Decoding(made=Made("fog", 1)).of("a.png")
    assert decode(tmp_path / "a.png", how).size == decoded_size(tmp_path / "a.png", how)
    assert decoded_size(tmp_path / "a.png", how) == (373, 224)


def test_made_shifts_are_of_the_runs_own_reference(mini):
    manifest = mini(FOG)
    config = RunConfig(manifest="mini", reference="sketch", train_domains=("sketch", "clipart"))
    seen = seen_by(config, manifest)
    assert seen.split("made_fog_1/test").ids == seen.split("sketch/test").ids
    assert manifest.split("made_fog_1/test").ids == manifest.split("real/test").ids
    assert reported_on(config, seen)[-1] == "made_gaussian_noise_3/test"
    few = RunConfig(manifest="mini", shifts=("made_fog_3",))
    assert shifts_of(few, manifest) == ["made_fog_3"]
    for wrong in ({"reference": "made_fog_3"}, {"train_domains": ("real", "made_fog_3")}):
        with pytest.raises(ConfigError, match="unknown domain of mini 'made_fog_3'"):
            seen_by(RunConfig(manifest="mini", **wrong), manifest)


def test_keys_of_what_is_kept_name_the_corruption(mini, world):
    plain = load_manifest(str(world.manifest_file))
    manifest = mini(FOG)
    assert mini("").digest() == plain.digest()
    assert len({plain.digest(), manifest.digest(), mini("common").digest()}) == 3
    changes = [manifest.split(f"{domain}/test").decoding.changes() for domain in manifest.shifts()]
    assert changes[:2] == [{}, {}]
    assert len({str(change) for change in changes[2:]}) == 4
    other_seed = mini(FOG | {"seed": 1}).split("made_fog_1/test").decoding.changes()
    assert other_seed not in changes
    copy = Manifest.from_copy(manifest.copy_for_run())
    assert (copy.digest(), copy.shifts()) == (manifest.digest(), manifest.shifts())


def test_words_for_many_kinds(mini):
    common = mini("common").made
    assert len(common) == 15
    assert {made.severity for made in common.values()} == {3}
    assert len(mini("all").made) == 20
    assert len(mini({"severities": [1, 2, 3, 4, 5]}).made) == 75


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("some", "made_shifts: got 'some'; wanted: common, all, or kinds and severities"),
        (["fog"], "made_shifts: got"),
        ({"kinds": ["fogg"]}, "made_shifts: unknown kind of made shift 'fogg'; did you mean 'fog'"),
        ({"severities": [0]}, "severity of gaussian_noise: 0; wanted: a whole number from 1 to 5"),
        ({"severities": []}, "made_shifts: no kind, or no severity; wanted: some of both"),
        ({"kind": ["fog"]}, "did you mean 'kinds'"),
    ],
)
def test_a_wrong_key_is_said(mini, wrong, said):
    with pytest.raises(ConfigError) as error:
        mini(wrong)
    assert said in str(error.value)


def test_a_domain_cannot_be_called_as_a_made_one(mini):
    with pytest.raises(ConfigError, match="'made_fog_3' is the name of a shift that is made"):
        mini("", domains=["real", "made_fog_3"])
    assert mini("", domains=["real", "made_up"]).shifts() == ["made_up"]


def test_names_and_means():
    assert Made("jpeg_compression", 4).domain == "made_jpeg_compression_4"
    assert list(map(is_made, ("made_fog_3", "made_up_3", "fog_3"))) == [True, False, False]
    assert titled("made_jpeg_compression_4") == "jpeg compression 4 (made)"
    assert titled("sketch") == "sketch"
    assert listed(["sketch", "made_fog_1", "made_fog_3"]) == "sketch, 2 made"
    assert that_count(["sketch", "made_fog_1"]) == ["sketch"]
    assert that_count(["made_fog_1", "made_fog_3"]) == ["made_fog_1", "made_fog_3"]
    for domain, image in (("made_fog_3", "a:b/c.png"), ("", "made_up:c.png")):
        assert apart(key_of(domain, image)) == (domain, image)
    assert key_of("sketch", "a.png") == "a.png"


def test_a_folder_of_ones_own(mini, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("cup", "key"):
        for number in range(8):
            file = tmp_path / "photos" / name / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (12, 9), (20 * number, 90, 0)).save(file)
    own = new_manifest("mine", "photos", made_shifts=FOG)
    assert "shifts: 4 made" in str(own)
    assert list(own.counts()[0]) == ["class", "photos/train", "photos/val", "photos/test"]
    read = load_manifest("mine.yaml")
    assert read.digest() == own.manifest.digest()
    assert read.split("made_fog_3/test").ids == read.split("photos/test").ids
    with pytest.raises(ConfigError, match="differs in made_shifts"):
        new_manifest("mine", "photos")


def test_emoji_made_renders_nothing_anew():
    plain, made = load_manifest("emoji_shift"), load_manifest("emoji_made")
    assert plain.place == made.place
    assert made.shifts(made=False) == plain.shifts()
    assert len(made.made) == 75
    copies = [manifest.copy_for_run() for manifest in (plain, made)]
    for copy in copies:
        for key in ("name", "title", "card", "made_shifts"):
            copy.pop(key, None)
    assert copies[0] == copies[1]


def test_of_a_table(tmp_path):
    rows = []
    for number in range(12):
        Image.new("RGB", (9, 9), (20 * number, 90, 0)).save(tmp_path / f"{number}.png")
        part = ("train", "val", "test")[number % 3]
        rows.append((f"{number}.png", ("cup", "key")[number % 2], part))
    table = pd.DataFrame(rows, columns=["path", "label", "split"])
    table.to_csv(tmp_path / "rows.csv", index=False)
    values = {"name": "t", "domains": ["t"], "reference": "t", "table": "rows.csv", "root": "."}
    values |= {"classes": ["cup", "key"], "made_shifts": "all"}
    manifest = Manifest.of(values, tmp_path / "t.yaml")
    for domain in manifest.shifts():
        split = manifest.split(f"{domain}/val")
        assert split.ids == manifest.split("t/val").ids
        assert decode(split.root / split.ids[0], split.decoding.of(split.ids[0])).size == (9, 9)
