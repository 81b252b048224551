"""Names of models and weights, read without open_clip: they are open_clip's own."""

import json
import subprocess
import sys

import open_clip
import pytest

from clipft.errors import ConfigError
from clipft.runs import model_names


@pytest.fixture(scope="module")
def read_without_it():
    """(models, tags by model) in a process that never loads open_clip."""
    code = (
        "import json, sys; from clipft.runs.model_names import open_clip_models, published_tags\n"
        "models = open_clip_models()\n"
        "tags = {model: published_tags(model) for model in models}\n"
        "print(json.dumps([models, tags, 'open_clip' in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    models, tags, loaded = json.loads(done.stdout)
    assert not loaded
    return models, tags


def test_models_are_open_clips(read_without_it):
    assert sorted(read_without_it[0]) == sorted(open_clip.list_models())


def test_tags_are_open_clips(read_without_it):
    theirs = {model: open_clip.list_pretrained_tags_by_model(model) for model in read_without_it[0]}
    assert read_without_it[1] == theirs
    assert sum(map(len, theirs.values())) > 100


def test_tables_of_another_open_clip_refuse_nothing(tmp_path, monkeypatch):
    """What cannot be read early is looked up later, when open_clip is there."""
    (tmp_path / "model_configs").mkdir()
    (tmp_path / "model_configs/ViT-X.json").write_text("{}")
    (tmp_path / "pretrained.py").write_text("TABLES = {}")
    monkeypatch.delitem(sys.modules, "open_clip")
    monkeypatch.setattr(model_names, "_open_clip_folder", lambda: tmp_path)
    cached = (model_names._shipped_models, model_names._tables, model_names._tags_by_model)
    for read in cached:
        read.cache_clear()
    try:
        model_names.check_model("ViT-X", "any_tag")
        with pytest.raises(ConfigError, match="unknown model 'ViT-Y'; did you mean 'ViT-X'"):
            model_names.check_model("ViT-Y", "any_tag")
    finally:
        for read in cached:
            read.cache_clear()
