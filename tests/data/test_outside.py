"""What lists, tables and data sets' own files name stays below the root, unless a manifest says so.

A root may be a link, and hold links to other disks: whoever owns it put them there.
"""

import io
import shutil
import tarfile

import pandas as pd
import pytest
import yaml
from miniatures import wilds
from PIL import Image, PngImagePlugin

from clipft.data.images import decode
from clipft.data.manifests import Manifest, load_manifest
from clipft.data.own import new_manifest
from clipft.data.shards import unpack
from clipft.data.tars import samples_of_tar
from clipft.errors import ClipftError, ConfigError, ImageError
from clipft.runs.sweep import Sweep
from clipft.runs.thumbnails import Thumbnails

LEAVING = ["/etc/passwd", "../../x.png", "a/../../x.png", "C:\\x.png", "..\\..\\x.png"]


@pytest.fixture
def place(tmp_path):
    """A root with an image, a secret beside it, and a link in the root to another disk."""
    for folder in ("root/real/bee", "disk", "beside"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("root/real/bee/1.png", "disk/2.png", "beside/secret.png"):
        Image.new("RGB", (4, 4)).save(tmp_path / file)
    (tmp_path / "root/linked").symlink_to(tmp_path / "disk")
    return tmp_path


def manifest_of(place, lines, **more):
    (place / "root/real_train.txt").write_text("".join(f"{line} 0\n" for line in lines))
    values = {"name": "m", "domains": ["real"], "reference": "real", "classes": ["bee"]}
    return Manifest.of(values | {"root": "root"} | more, place / "m.yaml")


@pytest.mark.parametrize("path", LEAVING)
def test_lists(place, path):
    with pytest.raises(ConfigError, match=r"real_train.txt:2: .* lies outside of .*outside: true"):
        manifest_of(place, ["real/bee/1.png", path]).split("real/train")


def test_a_manifest_may_let_lists_lead_out(place):
    split = manifest_of(place, ["../beside/secret.png"], outside=True).split("real/train")
    assert (split.root / split.ids[0]).resolve() == place / "beside/secret.png"


def test_links_are_followed(place):
    (place / "as link").symlink_to(place / "root")
    split = manifest_of(place, ["linked/2.png"], root="as link").split("real/train")
    assert (split.root / split.ids[0]).resolve() == place / "disk/2.png"


def test_up_behind_a_link_stays_in_the_root(place):
    """The system takes it for the folder around what the link leads to."""
    (place / "root/far").symlink_to(place / "beside")
    Image.new("RGB", (4, 4)).save(place / "root/real/secret.png")
    split = manifest_of(place, ["far/../real/secret.png"]).split("real/train")
    assert (split.root / split.ids[0]).resolve() == place / "root/real/secret.png"


@pytest.mark.parametrize("lists", ["../{split}.txt", "/etc/{split}", "..\\{split}"])
def test_list_files_lie_below_the_root(place, lists):
    with pytest.raises(ConfigError, match="leads out of the root; if that is meant: outside: true"):
        manifest_of(place, [], lists=lists)
    assert manifest_of(place, [], lists=lists, outside=True).lists == lists


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
@pytest.mark.parametrize("path", LEAVING)
def test_tables(place, path, ending):
    frame = pd.DataFrame({"path": ["real/bee/1.png", path], "label": ["bee", "ant"]})
    file = place / f"rows{ending}"
    frame.to_csv(file, index=False) if ending == ".csv" else frame.to_parquet(file)
    with pytest.raises(ClipftError, match="lies outside of"):
        new_manifest("own", place / "root", table=file, out=place)
    assert not (place / "own.yaml").exists()


def test_a_zero_byte_in_a_table_is_no_file(place):
    paths = ["real/bee/1.png", "a\0b.png", f"{5000 * 'x'}.png"]
    file = place / "rows.parquet"
    pd.DataFrame({"path": paths, "label": ["bee", "bee", "ant"]}).to_parquet(file)
    values = {"name": "m", "domains": ["d"], "reference": "d", "classes": ["bee", "ant"]}
    manifest = Manifest.of(values | {"table": "rows.parquet", "root": "root"}, place / "m.yaml")
    assert "a name with a zero byte, which no file has: 1" in "; ".join(manifest.tree.notes())
    assert manifest.split("d/train").ids == (paths[0], paths[2])


def test_members_of_tars_are_read_where_they_are(place):
    """None is unpacked by its name, no link is followed, and none is larger than its tar."""
    with tarfile.open(place / "rows.tar", "w") as tar:
        link = tarfile.TarInfo("0.png")
        link.type = tarfile.SYMTYPE
        link.linkname = str(place / "beside/secret.png")
        tar.addfile(link)
        for name in ("../../1", "/etc/2", "3"):
            for ending, content in ((".png", b"\x89PNG"), (".cls", name[-1].encode())):
                member = tarfile.TarInfo(name + ending)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    samples = list(samples_of_tar(place / "rows.tar", []))
    assert [sample.texts["label"] for sample in samples] == ["1", "2", "3"]
    before = sorted(place.rglob("*"))
    unpack(place / "rows.tar", place / "unpacked")
    inside = {file for file in place.rglob("*") if file.is_relative_to(place / "unpacked")}
    assert sorted(set(place.rglob("*")) - inside) == before

    huge = tarfile.TarInfo("4.png")
    huge.size = 1 << 40
    (place / "huge.tar").write_bytes(huge.tobuf() + bytes(1024))
    with pytest.raises(ConfigError, match=r"cannot be read|has 1100 GB"):
        list(samples_of_tar(place / "huge.tar", []))


def test_images_that_unpack_to_more_than_they_are(tmp_path):
    """Told by its header, before a pixel is made."""
    file = tmp_path / "bomb.png"
    Image.new("1", (30_000, 6_000)).save(file)
    with pytest.raises(ImageError, match=r"image too large: .* has 180 megapixels"):
        decode(file)
    texts = PngImagePlugin.PngInfo()
    texts.add_text("t", 9_000_000 * "x", zip=True)  # in a file of 9 kB
    Image.new("RGB", (4, 4)).save(file, pnginfo=texts)
    with pytest.raises(ImageError, match="image unreadable") as caught:
        decode(file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", ["../../beside/secret.png", "a\0b.jpg"])
def test_tables_of_known_data_sets(tmp_path, monkeypatch, path):
    wilds.WRITERS["iwildcam"](tmp_path / "iwildcam")
    file = tmp_path / "iwildcam/metadata.csv"
    rows = pd.read_csv(file, dtype=str, keep_default_na=False)
    rows.loc[rows.index[rows["split"] == "train"][0], "filename"] = path
    rows.to_csv(file, index=False)
    monkeypatch.setenv("CLIPFT_DATA", str(tmp_path))
    with pytest.raises(ConfigError, match=r"names .*, out of"):
        load_manifest("iwildcam").split("id/train")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "../../x"}, "name: '../../x'"),
        ({"name": "/abs"}, "name: '/abs'"),
        ({"name": 300 * "x"}, "name: 'xxx"),
        ({"name": "=1+1"}, "name: '=1[+]1'"),
        ({"domains": ["..", "b"]}, "domains: '..'"),
        ({"domains": ["a\0", "b"]}, "domains: 'a.x00'"),
    ],
)
def test_names_of_manifests_stay_in_their_folders(at_home, changes, words):
    """In a file, and in the copy that a run from anywhere brings along."""
    copy = at_home.scored[0].folder.manifest()
    with pytest.raises(ConfigError, match=words):
        Manifest.from_copy(copy | changes)
    file = at_home.manifest_file
    with pytest.raises(ConfigError, match=words):
        Manifest.of(yaml.safe_load(file.read_text()) | changes, file)


def test_classes_of_rendered_data_stay_in_it(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPFT_CACHE", str(tmp_path / "cache"))
    values = load_manifest("emoji_shift").copy_for_run()
    for name in ({"name": "../../x", "code": "1F600"}, {"name": "x", "code": "../../x"}):
        copy = values | {"class_names": [name]}
        with pytest.raises(ConfigError, match="cannot be the name of a file"):
            Manifest.from_copy(copy).root_folder()
    assert list(tmp_path.iterdir()) == []


def test_images_of_a_run_are_shown_from_its_root_alone(at_home, tmp_path):
    """A run's record of images comes from anywhere: an id in it may be any path."""
    sweep = at_home.scored[0].sweep()
    shutil.copytree(at_home.scored[0].path, tmp_path / "runs/a")
    secret = at_home.tree / "secret.png"
    Image.new("RGB", (4, 4)).save(secret)
    thumbnails = Thumbnails(Sweep(**{**vars(sweep), "folder": tmp_path / "runs/a"}))
    assert thumbnails[sweep.ids[0]].startswith("data:image/webp")
    assert thumbnails["../secret.png"] is None and thumbnails[str(secret)] is None
    secret.unlink()
