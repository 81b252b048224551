"""`clipft fetch` against a hub on this machine: what it brings is loaded without a network."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
import yaml
from huggingface_hub import constants
from test_cli import run_cli

from clipft import load_clip
from clipft.errors import WeightsError
from clipft.runs.hub import cached_files, is_cached, verified
from clipft.runs.model_names import EMOJI_TINY

COMMIT = 40 * "c"
MODEL = "hf-hub:owner/tiny"
FILES = {
    name: (EMOJI_TINY / name).read_bytes()
    for name in ("open_clip_config.json", "open_clip_model.safetensors")
}


class Hub(BaseHTTPRequestHandler):
    """Answers for two files of one repository, as the hub does; all else is not there."""

    asked: list[str] = []

    def do_HEAD(self):
        self.answer(with_body=False)

    def do_GET(self):
        self.answer(with_body=True)

    def answer(self, *, with_body):
        self.asked.append(f"{self.command} {self.path}")
        content = FILES.get(self.path.rpartition("/")[2])
        if content is None or not self.path.startswith("/owner/tiny/resolve/main/"):
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if with_body:
            self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub, and an empty cache of it. Gives the list of what it was asked for."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    cache = tmp_path / "hub"
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(Hub, "asked", [])
    yield Hub.asked
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def spec(tmp_path):
    """A batch of one run of the hub's model, on EmojiShift in small; nothing of it runs."""
    notebook = tmp_path / "train.ipynb"
    source = (
        "preset: str = ''\nmethod: str = 'ft'\nsettings: dict = {}\nseed: int = 0\nmodel: str = ''"
    )
    source += "\nmanifest: str = ''"
    cell = {"cell_type": "code", "source": source, "metadata": {"tags": ["parameters"]}}
    notebook.write_text(json.dumps({"cells": [cell]}))
    file = tmp_path / "spec.yaml"
    parameters = {"model": MODEL, "manifest": "emoji_start"}
    stage = {"notebook": "train.ipynb", "parameters": parameters}
    file.write_text(yaml.safe_dump({"name": "tiny", "stages": [stage]}))
    return file


def test_fetch_brings_all_that_a_batch_needs_and_then_no_network_is_asked(
    hub, spec, monkeypatch, capsys
):
    assert not is_cached(MODEL, "")
    code, out, _ = run_cli(monkeypatch, capsys, "batch", spec, "--dry-run")
    assert code == 0 and "owner/tiny is not in the cache" in out.replace("\n", " ")
    monkeypatch.setattr("clipft.cli.fetch._data", lambda ahead: [])  # rendering is tested in data
    code, out, err = run_cli(monkeypatch, capsys, "fetch", spec)
    assert (code, err) == (0, "") and "nothing is missing" in out
    for name, content in FILES.items():
        assert name in out
        assert hashlib.sha256(content).hexdigest()[:12] in out
    assert any(line.startswith("GET") for line in hub)

    hub.clear()
    clip = load_clip(MODEL)
    assert hub == [] and is_cached(MODEL, "")
    plain = load_clip(f"local-dir:{EMOJI_TINY}").model.state_dict()
    assert all(torch.equal(value, plain[name]) for name, value in clip.model.state_dict().items())
    code, out, _ = run_cli(monkeypatch, capsys, "fetch", spec)
    assert code == 0 and hub == []
    code, out, _ = run_cli(monkeypatch, capsys, "batch", spec, "--dry-run")
    assert code == 0 and "nothing is missing" in out


def test_a_file_that_is_not_what_the_hub_says_is_one_line(hub, spec, monkeypatch, capsys):
    load_clip(MODEL)
    _, weights = cached_files(MODEL, "")
    assert verified(weights) == hashlib.sha256(FILES[weights.name]).hexdigest()
    content = bytearray(FILES[weights.name])
    content[-1] ^= 1
    weights.resolve().write_bytes(content)
    with pytest.raises(WeightsError, match=r"has the sha256 .*, on the hub it is .*delete it"):
        verified(weights)
    monkeypatch.setattr("clipft.cli.fetch._data", lambda ahead: [])
    code, _, err = run_cli(monkeypatch, capsys, "fetch", spec)
    assert code == 2 and err == f"clipft: 1 of 1 are not here: {MODEL}; the table says how\n"


def test_what_cannot_be_brought_is_named(hub, spec, monkeypatch, capsys):
    """A repository that is not there, and a data set that everybody gets by himself."""
    monkeypatch.delenv("CLIPFT_DATA", raising=False)
    text = spec.read_text().replace("owner/tiny", "owner/none").replace("emoji_start", "domainnet")
    spec.write_text(text)
    code, out, err = run_cli(monkeypatch, capsys, "fetch", spec)
    assert code == 2 and err.startswith(
        "clipft: 2 of 2 are not here: hf-hub:owner/none, domainnet;"
    )
    assert "CLIPFT_DATA" in out and "cannot load" in out
