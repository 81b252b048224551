"""Files as nobody would write them: each is read, or refused in one line; none leads out.

A few examples in the suite; `make fuzz N=1000` tries as many of each.
"""

import contextlib
import io
import json
import shutil
import struct
import tarfile

import numpy as np
import pyarrow as pa
import pytest
import yaml
from conftest import CLASSES, DOMAINS
from hostile import TOKENS, changed, fuzz, refused_in_a_line, spliced, values, watched, words
from hypothesis import given, strategies as st
from pyarrow import parquet

from clipft.batch.spec import in_small, plan, read_spec
from clipft.config import RunConfig, parse_settings
from clipft.data.class_lists import class_lines
from clipft.data.images import decode
from clipft.data.layouts.arrays import read_npy, read_pickle
from clipft.data.manifests import Manifest
from clipft.data.tables import Table
from clipft.data.tars import samples_of_tar
from clipft.disk.inside import leads_out
from clipft.errors import ImageError
from clipft.models.checkpoints import read_checkpoint, read_metadata
from clipft.models.head import read_head
from clipft.models.huggingface import model_config
from clipft.runs.recipes import recipe
from clipft.runs.run import Run
from clipft.runs.table import results

MANIFEST = {
    "name": "mini",
    "title": "Mini",
    "domains": DOMAINS,
    "reference": "real",
    "classes": CLASSES,
    "root": "data",
    "holdout": 0.25,
    "templates": ["a {}."],
    "captions": {"any": ["a {}."], "sketch": ["a sketch of a {}."]},
}
KEYS = Manifest.model_fields


@pytest.fixture(scope="module")
def place(tmp_path_factory, tree):
    """A folder to write into, with the miniature data set in it, and a secret beside it."""
    base = tmp_path_factory.mktemp("fuzz")
    secret = base / "secret"
    secret.mkdir()
    shutil.copy(next((tree / "mini").rglob("*.png")), secret / "x.png")
    inside = base / "inside"
    shutil.copytree(tree / "mini", inside / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPFT_CACHE", str(inside / "cache"))
        patch.delenv("CLIPFT_DATA", raising=False)
        patch.chdir(inside)
        yield inside


def read_all_of(manifest: Manifest) -> None:
    """What a run asks of a manifest: classes, digest, copy, splits, and the first images."""
    copy = json.loads(json.dumps(manifest.copy_for_run()))
    assert Manifest.from_copy(copy).digest() == manifest.digest()
    for domain in manifest.domains:
        for part in ("train", "val", "test"):
            with refused_in_a_line():
                split = manifest.split(f"{domain}/{part}")
                assert manifest.outside or not any(map(leads_out, split.ids))
                for name in split.ids[:2]:
                    with contextlib.suppress(ImageError):
                        decode(split.root / name, split.decoding)


def dumped(content) -> bytes:
    return yaml.safe_dump(content, allow_unicode=True).encode("utf-8", "surrogatepass")


manifests = st.one_of(
    changed(MANIFEST, KEYS).map(dumped), spliced(dumped(MANIFEST)), st.binary(max_size=40)
)


@fuzz(25)
@given(text=manifests)
def test_manifests(place, text):
    file = place / "mini.yaml"
    file.write_bytes(text)
    with watched(place), refused_in_a_line():
        manifest = Manifest.open(file)
        # What a manifest says of where its images lie is its own word, but not everything here.
        if manifest.outside or manifest.emoji or manifest.kept or manifest.table:
            manifest.copy_for_run()
        elif (file.parent / manifest.root).resolve() == place / "data":
            read_all_of(manifest)


ROW = "real/apple/real_000_train0.png 0\nsketch/bee/x y.png 1\n"
rows = st.lists(st.tuples(words, st.one_of(st.just("0"), words)).map(" ".join)).map("\n".join)
lists = st.one_of(
    spliced(ROW.encode()),
    rows.map(lambda text: text.encode("utf-8", "surrogatepass")),
    rows.map(lambda text: text.encode("utf-16", "surrogatepass")),
    st.binary(max_size=60),
)


@fuzz(25)
@given(text=lists, labels=st.sampled_from(["list", "folder"]))
def test_list_files(place, text, labels):
    (place / "data/fuzzed_train.txt").write_bytes(text)
    values = MANIFEST | {"lists": "fuzzed_{split}.txt", "domains": ["real"], "labels": labels}
    values["captions"] = {}
    with watched(place), refused_in_a_line():
        manifest = Manifest.of(values, place / "mini.yaml")
        split = manifest.split("real/train")
        assert not any(map(leads_out, split.ids))
        for name in split.ids[:2]:
            with contextlib.suppress(ImageError):
                decode(split.root / name, split.decoding)


class_rows = st.lists(st.one_of(words, changed({"name": "bee", "folder": "b", "also": ["x"]})))
class_files = st.one_of(class_rows.map(dumped), spliced(dumped(CLASSES)), st.binary(max_size=40))


@fuzz(25)
@given(text=class_files)
def test_class_files(place, text):
    file = place / "fuzzed.yaml"
    file.write_bytes(text)
    with watched(place), refused_in_a_line():
        manifest = Manifest.of(MANIFEST | {"classes": "fuzzed.yaml"}, place / "mini.yaml")
        read_all_of(manifest)
    lines = place / "fuzzed.txt"
    lines.write_bytes(text)
    with watched(place), refused_in_a_line():
        class_lines(lines)


SPEC = {
    "name": "fuzzed",
    "stages": [{"notebook": "n.ipynb", "parameters": {"lr": 1.0}, "grid": [{"seed": [0, 1]}]}],
}
PARAMETERS = {"lr": 1.0, "seed": 0, "name": "x", "runs": "{out}/runs", "settings": {"lr": 1e-3}}
stages = changed(
    {"notebook": "n.ipynb", "parameters": PARAMETERS, "grid": [{"seed": [0, 1], "lr": [1.0]}]}
) | st.builds(
    lambda parameters, grid: {"notebook": "n.ipynb", "parameters": parameters, "grid": grid},
    changed(PARAMETERS, ["preset", "manifest", "method"]),
    st.lists(st.dictionaries(st.sampled_from(sorted(PARAMETERS)), st.lists(values, max_size=3))),
)
specs = st.one_of(
    changed(SPEC, ["small", "jobs", "timeout", "title", "images"]).map(dumped),
    st.lists(stages, max_size=2).map(lambda them: dumped(SPEC | {"stages": them})),
    spliced(dumped(SPEC)),
)
CELL = "lr: float = 1.0\nseed: int = 0\nname = 'x'\nruns: str = 'runs'\nsettings: dict = {}\n"
TRAINING = CELL + "preset = ''\nmethod: str = 'ft'\nmanifest: str = 'emoji_shift'\n"


@pytest.fixture(scope="module")
def notebook(place):
    cell = {"cell_type": "code", "source": TRAINING, "metadata": {"tags": ["parameters"]}}
    cell |= {"outputs": [], "execution_count": None}
    book = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (place / "n.ipynb").write_text(json.dumps(book))


@fuzz(25)
@given(text=specs)
def test_batch_specs(place, notebook, text):
    file = place / "fuzzed.yaml"
    file.write_bytes(text)
    with watched(place), refused_in_a_line():
        spec = read_spec(file)
        assert (place / "out" / spec.name).resolve().parent == place / "out"
        plan(spec, place, place / "out")
        in_small(spec, place)


SETTINGS = ["lr=1e-3", "crop=[0.5,1]", "method=ft", "options.tau=2", "steps=3", "shifts=[a]"]
settings_given = st.lists(
    st.one_of(
        st.sampled_from(SETTINGS),
        st.tuples(st.sampled_from([*RunConfig.model_fields, "options.tau"]), words).map("=".join),
        st.tuples(words, words).map("=".join),
        words,
    ),
    max_size=4,
)


@fuzz(40)
@given(given=settings_given)
def test_settings(place, given):
    with watched(place), refused_in_a_line():
        config = recipe(parse_settings(given))
        assert RunConfig.read(json.loads(config.model_dump_json())).id == config.id


@pytest.fixture(scope="module")
def run_folder(scored, place):
    """A scored run whose files are changed, and what they were."""
    folder = place / "runs" / scored.scored[0].id
    shutil.copytree(scored.scored[0].folder.path, folder)
    (folder / "weights.safetensors").unlink()
    names = ("config.json", "manifest.json", "made.json", "metrics.jsonl")
    return folder, {name: (folder / name).read_bytes() for name in names}


@pytest.mark.parametrize("name", ["config.json", "manifest.json", "made.json", "metrics.jsonl"])
@fuzz(12)
@given(data=st.data())
def test_records_of_runs(run_folder, place, name, data):
    folder, plain = run_folder
    for other, text in plain.items():
        (folder / other).write_bytes(text)
    texts = spliced(plain[name])
    if name.endswith(".json"):
        texts |= changed(json.loads(plain[name])).map(
            lambda content: json.dumps(content, default=str).encode()
        )
    (folder / name).write_bytes(data.draw(texts))
    with watched(place), refused_in_a_line():
        results(folder.parent)
    with watched(place), refused_in_a_line():
        run = Run.open(folder)
        run._repr_html_()
        run.history()
        run.table()
        run.sweep()
    with watched(place), refused_in_a_line():
        Run.open(folder).manifest.copy_for_run()


# --- metadata


def safetensors(header: bytes, content: bytes = bytes(32)) -> bytes:
    return struct.pack("<Q", len(header)) + header + content


HEADER = {
    "__metadata__": {"classes": '["a", "b"]', "progress": '{"step": 1}'},
    "weight": {"dtype": "F32", "shape": [3, 2], "data_offsets": [0, 24]},
    "bias": {"dtype": "F32", "shape": [2], "data_offsets": [24, 32]},
}
headers = st.one_of(
    changed(HEADER).map(lambda content: json.dumps(content, default=str).encode()),
    words.map(lambda text: json.dumps(HEADER | {"__metadata__": {"classes": text}}).encode()),
    spliced(json.dumps(HEADER).encode()),
)


@fuzz(25)
@given(header=headers, length=st.one_of(st.none(), st.integers(0, 2**64 - 1)))
def test_weights(place, header, length):
    file = place / "fuzzed.safetensors"
    content = safetensors(header)
    file.write_bytes(content if length is None else struct.pack("<Q", length) + content[8:])
    for read in (read_head, read_metadata, read_checkpoint):
        with watched(place), refused_in_a_line():
            read(file)


INDEX = {"metadata": {}, "weight_map": {"weight": "fuzzed.safetensors"}}
TOWER = {"hidden_size": 16, "num_attention_heads": 2, "hidden_act": "gelu", "image_size": 16}
CONFIG = {"model_type": "clip", "vision_config": TOWER, "text_config": TOWER}


@fuzz(25)
@given(
    index=st.one_of(
        changed(INDEX),
        st.dictionaries(words, values).map(lambda parts: INDEX | {"weight_map": parts}),
    ),
    config=st.one_of(
        changed(CONFIG, ["projection_dim"]),
        st.tuples(changed(TOWER), changed(TOWER)).map(
            lambda two: CONFIG | {"vision_config": two[0], "text_config": two[1]}
        ),
    ),
)
def test_jsons_beside_weights(place, index, config):
    (place / "fuzzed.safetensors").write_bytes(safetensors(json.dumps(HEADER).encode()))
    file = place / "model.safetensors.index.json"
    file.write_text(json.dumps(index, default=str))
    (place / "config.json").write_text(json.dumps(config, default=str))
    with watched(place), refused_in_a_line():
        read_checkpoint(file)
    with watched(place), refused_in_a_line():
        model_config(place)


CSV = b"path,label,split\nreal/apple/real_000_train0.png,apple,train\nx.png,bee,test\n"
columns = st.lists(words, min_size=2, max_size=2)
FEATURES = {"info": {"features": {"label": {"_type": "ClassLabel", "names": ["a", "b"]}}}}


def written(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    parquet.write_table(table, buffer)
    return buffer.getvalue()


def table_of(paths, splits, features) -> pa.Table:
    about = {"huggingface": json.dumps(features, default=str)}
    columns = {"path": paths, "label": [0, 1], "split": splits}
    return pa.table(columns).replace_schema_metadata(about)


PLAIN = written(pa.table({"path": ["x.png"], "label": ["bee"]}))
tables = st.one_of(
    st.tuples(st.just(".csv"), spliced(CSV)),
    st.tuples(st.just(".parquet"), spliced(PLAIN)),
    st.tuples(
        st.just(".parquet"),
        st.builds(table_of, columns, columns, st.one_of(changed(FEATURES), words)).map(written),
    ),
)


@fuzz(25)
@given(table=tables)
def test_tables(place, table):
    ending, content = table
    file = place / f"fuzzed{ending}"
    file.write_bytes(content)
    with watched(place), refused_in_a_line():
        tree = Table(file, place / "data").tree()
        for parts in tree.domains.values():
            for classes in parts.values():
                assert not any(leads_out(name) for images in classes.values() for name in images)


def packed(members: list[tuple[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name.replace("\0", ""))
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


MEMBERS = ["1.jpg", "1.json", "1.cls", "1.txt", "../2.jpg", "/3.jpg"]
fields = changed({"label": 3}).map(lambda content: json.dumps(content, default=str).encode())
named = st.tuples(
    st.one_of(st.sampled_from(MEMBERS), words), st.one_of(st.binary(max_size=8), fields)
)


@fuzz(25)
@given(members=st.lists(named, max_size=4).map(packed), data=st.data())
def test_tars(place, members, data):
    file = place / "fuzzed.tar"
    file.write_bytes(data.draw(st.one_of(st.just(members), spliced(members))))
    with watched(place), refused_in_a_line():
        list(samples_of_tar(file, ["a", "b"]))


def arrays() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((2, 3), np.uint8))
    return buffer.getvalue()


@fuzz(25)
@given(content=spliced(arrays(), [*TOKENS, "'descr': '|O'", "(99999999999, 3)", "((((("]))
def test_arrays(place, content):
    for name, read in (("fuzzed.npy", read_npy), ("fuzzed.pkl", read_pickle)):
        file = place / name
        file.write_bytes(content)
        with watched(place), refused_in_a_line():
            read(file)


@fuzz(25)
@given(data=st.data(), kind=st.sampled_from(["png", "jpeg", "gif", "tiff", "webp", "bmp"]))
def test_images(place, data, kind):
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (9, 7), "red").save(buffer, kind)
    file = place / "fuzzed.png"
    file.write_bytes(data.draw(spliced(buffer.getvalue())))
    with watched(place), refused_in_a_line():
        decode(file)
