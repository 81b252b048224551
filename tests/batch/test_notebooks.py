"""Every notebook: clean, linted, its parameters known, executed by papermill on the small world."""

import ast
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
import pytest
from conftest import World, made_once
from jupyter_client import AsyncKernelManager
from jupyter_core.utils import run_sync

pm = pytest.importorskip("papermill")
NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
FIGURE = "application/vnd.plotly.v1+json"
FIGURES = {
    "00_start_here": 1,
    "01_fine_tune": 3,
    "02_energy_gap": 8,
    "03_feature_distortion": 8,
    "04_energy_tsne": 8,
    "05_wise_alpha": 8,
    "06_trade_off": 4,
    "07_soups": 1,
    "08_tables": 28,
    "09_when_do_the_papers_hold": 5,
    "10_your_own_folder": 4,
    "11_without_labels": 4,
}
SHOWN_ONLY = {  # explorers that are not saved as figures
    "03_feature_distortion": 1,
    "05_wise_alpha": 1,
    "08_tables": 1,
}
LOADS_RUNS = (
    "02_energy_gap",
    "03_feature_distortion",
    "04_energy_tsne",
    "05_wise_alpha",
    "06_trade_off",
    "08_tables",
    "11_without_labels",
)


def tiny(name, world):
    """Parameters that make a notebook small."""
    settings = world.settings(steps=6, eval_every=3)
    settings_of = dict(settings)
    base = {
        key: settings.pop(key)
        for key in ("manifest", "model", "pretrained", "method", "lr", "steps", "batch_size")
    }
    base |= {
        "crop": settings.pop("crop"),
        "eval_every": settings.pop("eval_every"),
        "settings": settings,
    }
    saved = {"runs": str(world.runs), "figures_folder": str(world.runs.parent / "figures")}
    return {
        "07_soups": {
            "name": "uniform_soup",
            "members": [settings_of | {"lr": lr} for lr in (1e-3, 2e-3)],
            "alphas": [0.0, 1.0],
            "runs": str(world.runs),
            "device": "cpu",
        },
        "00_start_here": {
            "manifest": world.manifest,
            "lr": 1e-3,
            "steps": 6,
            "alphas": [0.0, 1.0],
            "runs": str(world.runs),
            "device": "cpu",
            "settings": {
                k: v for k, v in settings_of.items() if k not in ("manifest", "lr", "steps")
            },
        },
        "01_fine_tune": base | {"runs": str(world.runs), "device": "cpu", "keep_weights": False},
        "02_energy_gap": saved,
        "03_feature_distortion": saved | {"kind": "normalised"},
        "04_energy_tsne": saved | {"per_split": 6, "perplexity": 5.0, "layout": "joint"},
        "05_wise_alpha": saved,
        "06_trade_off": saved,
        "08_tables": saved,
        "11_without_labels": saved,
        "09_when_do_the_papers_hold": {"figures_folder": saved["figures_folder"]},
        "10_your_own_folder": {
            "folder": str(Path(os.environ["CLIPFT_DATA"]) / "mini/real"),
            "unlabelled": [str(Path(os.environ["CLIPFT_DATA"]) / "mini/sketch")],
            "model": f"{world.model}:{world.pretrained}",
            "out": str(world.runs.parent / "tuned"),
            "device": "cpu",
            "figures_folder": saved["figures_folder"],
        },
    }[name]


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return request.param


def test_all_are_clean():
    command = [sys.executable, "-m", "nbstripout", "--verify", "--keep-id", *NOTEBOOKS]
    done = subprocess.run(command, capture_output=True)
    assert done.returncode == 0, done.stdout


def test_only_calls_the_library(notebook):
    cells = [cell for cell in nbformat.read(notebook, 4).cells if cell.cell_type == "code"]
    for cell in cells:
        for node in ast.walk(ast.parse(cell.source)):
            assert not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Lambda)
    assert cells[0].metadata.tags == ["parameters"]


class Kernel(AsyncKernelManager):
    """One kernel for all notebooks here: what they import takes longer than what they do.

    Each begins with no names, its own folder and today's environment; what was imported stays.
    """

    def client(self, **kwargs):
        self.clients = [*getattr(self, "clients", []), super().client(**kwargs)]
        return self.clients[-1]

    def stop_clients(self) -> None:
        """Papermill leaves a client open where the kernel is not its own."""
        for client in self.clients:
            client.stop_channels()
        self.clients = []

    def begin(self, folder: Path) -> None:
        """Forget the last notebook."""
        code = "get_ipython().run_line_magic('reset', '-f')\nimport os\nos.environ.clear()\n"
        code += f"os.environ.update({dict(os.environ)!r})\nos.chdir({str(folder)!r})\ndel os"
        client = self.client()
        client.start_channels()
        run_sync(client.wait_for_ready)(timeout=300)
        reply = run_sync(client.execute_interactive)(code, timeout=300)
        assert reply["content"]["status"] == "ok", reply
        self.stop_clients()


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    with tempfile.TemporaryDirectory(prefix="nbk-") as sockets:  # a socket's path must be short
        manager = Kernel(kernel_name="python3", transport="ipc", ip=f"{sockets}/k")
        own = {"IPYTHONDIR": str(tmp_path_factory.mktemp("ipython"))}
        own |= {"JUPYTER_PREFER_ENV_PATH": "1", "JUPYTER_PLATFORM_DIRS": "1"}
        run_sync(manager.start_kernel)(env=os.environ | own)
        yield manager
        run_sync(manager.shutdown_kernel)(now=True)


def execute(notebook, parameters, tmp_path, kernel, monkeypatch):
    """Run a notebook by papermill; returns the file of what came out."""
    monkeypatch.setenv("CLIPFT_HEADLESS", "1")
    assert set(parameters) <= set(pm.inspect_notebook(str(notebook)))
    out = tmp_path / "run.ipynb"
    kernel.begin(notebook.parent)
    try:
        pm.execute_notebook(
            str(notebook),
            str(out),
            parameters,
            kernel_name="python3",
            progress_bar=False,
            execution_timeout=300,
            store_widget_state=False,
            coalesce_streams=True,
            km=kernel,
        )
    finally:
        kernel.stop_clients()
    return out


def train_some(world, alphas, seeds=(0, 1), methods=("ft", "lipsum")):
    """What the notebooks that train nothing are to load."""
    for seed in seeds:
        for method in methods:
            world.train(seed=seed, method=method).score(alphas)


@pytest.fixture
def some_runs(shared, world) -> Path:
    """Two methods, two seeds, three alphas: made once for all workers; do not change them."""

    def make(folder):
        train_some(World(world.manifest_file, world.model_folder, folder), [0.0, 0.5, 1.0])

    return made_once(shared / "runs of notebooks", make)


def test_runs_headless(notebook, world, some_runs, tmp_path, kernel, monkeypatch):
    if notebook.stem in LOADS_RUNS:
        shutil.copytree(some_runs, world.runs)
    out = execute(notebook, tiny(notebook.stem, world), tmp_path, kernel, monkeypatch)
    figures = []
    for cell in nbformat.read(out, 4).cells:
        data = [output.get("data", {}) for output in cell.get("outputs", [])]
        figures += [bundle[FIGURE] for bundle in data if FIGURE in bundle]
    assert len(figures) == FIGURES[notebook.stem]
    assert all(figure["config"]["showSendToCloud"] is False for figure in figures)
    assert out.stat().st_size < 2_000_000
    if notebook.stem == "01_fine_tune":
        (folder,) = world.runs.iterdir()
        assert (folder / "scores.parquet").exists()
        assert not (folder / "weights.safetensors").exists()
    if notebook.stem in LOADS_RUNS:
        saved = sorted((world.runs.parent / "figures").glob("*.json"))
        assert len(saved) == FIGURES[notebook.stem] - SHOWN_ONLY.get(notebook.stem, 0)
        assert all(file.with_suffix(".html").exists() for file in saved)
        assert max(file.stat().st_size for file in saved) < 2_000_000
        assert not [file for file in saved if "NaN" in file.read_text()]
    if notebook.stem == "02_energy_gap":
        sliders = json.loads(saved[0].read_text())["figure"]["layout"]["sliders"]
        assert [step["label"] for step in sliders[0]["steps"]] == ["0", "0.5", "1"]


@pytest.mark.parametrize(
    "alphas", [(0.0, 1.0), (0.0, 0.25, 0.5, 1.0)], ids=["evaluate", "adaptive"]
)
def test_the_trade_off_of_any_scored_alphas(alphas, world, tmp_path, kernel, monkeypatch):
    """`clipft evaluate` scores two alphas and `clipft wise --adaptive` any number of them."""
    (notebook,) = [path for path in NOTEBOOKS if path.stem == "06_trade_off"]
    train_some(world, alphas, seeds=(0,))
    out = execute(notebook, tiny(notebook.stem, world), tmp_path, kernel, monkeypatch)
    assert out.read_text().count(FIGURE) == FIGURES[notebook.stem]


@pytest.mark.parametrize(("paper", "items"), [("flyp", 8), ("wise_ft", 5)])
def test_the_tables_of_another_paper(paper, items, world, some_runs, tmp_path, kernel, monkeypatch):
    shutil.copytree(some_runs, world.runs)
    (notebook,) = [path for path in NOTEBOOKS if path.stem == "08_tables"]
    parameters = tiny(notebook.stem, world) | {"paper": paper}
    out = execute(notebook, parameters, tmp_path, kernel, monkeypatch)
    assert out.read_text().count(FIGURE) == items + SHOWN_ONLY["08_tables"]
    figures = world.runs.parent / "figures"
    assert len(list(figures.glob("*.json"))) == len(list(figures.glob("*.csv"))) == items
