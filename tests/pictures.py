"""The pictures of the documents, made by a command and not by hand: `make pictures`.

    python tests/pictures.py [RUNS] [--only 00_start_here ...]

Opens each notebook in a headless JupyterLab, runs it, and keeps what its main cell shows in
`.github/pictures/NAME.png`, and from the first of them `wise_explorer.png`. `energy_gap.png` is the
figure of RUNS, the demo's finished runs. What is trained for it, small, lies in
papermill_runs/out/pictures and is kept, so a second call takes a minute or two.
"""

import argparse
import io
import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from browser import lab
from PIL import Image

from clipft import Workspace, energy_gap_figure, load_manifest, results
from clipft.figures import pages

PICTURES = lab.ROOT / ".github/pictures"
OUT = lab.ROOT / "papermill_runs/out"
SCRATCH = OUT / "pictures"
MOST = 150_000  # bytes of a picture
STATUS_BAR = 26  # pixels
WIDE = {"width": 1600, "height": 1040}
WINDOW = {"width": 1180, "height": 860}
SETTLE = 1500  # milliseconds in which charts are drawn

SMALL = {"manifest": "emoji_start", "lr": 5.0e-4, "steps": 30, "batch_size": 48, "eval_every": 10}
MEMBER = SMALL | {"method": "ft", "crop": [0.6, 1.0]}
# notebook -> the cell whose output is kept, and the parameters that make it small
SHOWN = {
    "00_start_here": ("c05", {}),
    "01_fine_tune": ("cell-05", SMALL | {"method": "ft", "alphas": [0.0, 0.5, 1.0]}),
    "02_energy_gap": ("cell-06", {}),
    "03_feature_distortion": ("c04", {}),
    "04_energy_tsne": ("c04", {"methods": ["lipsum"], "per_split": 60}),
    "05_wise_alpha": ("c04", {}),
    "06_trade_off": ("c04", {}),
    "07_soups": ("cell-05", {"members": [MEMBER, MEMBER | {"lr": 1.0e-3}], "alphas": [0.0, 1.0]}),
    "08_tables": ("c04", {"items": ["table_1", "figure_4"]}),
    "09_when_do_the_papers_hold": ("c06", {}),
    "10_your_own_folder": ("c09", {"out": str(SCRATCH / "tuned")}),
    "11_without_labels": ("c06", {}),
}
TRAINS = {"00_start_here", "01_fine_tune", "07_soups"}  # the others look at finished runs
HAS_ITS_OWN = {"10_your_own_folder"}  # folder of runs
READS_RECORDS = {"09_when_do_the_papers_hold"}  # and at no runs


def save(picture: bytes, name: str) -> None:
    """Keep a PNG in few colours, and smaller where it would be too large a file."""
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    for share in (1, 0.85, 0.7, 0.55, 0.4):
        size = (round(image.width * share), round(image.height * share))
        small = image.resize(size, Image.Resampling.LANCZOS).quantize(128)
        buffer = io.BytesIO()
        small.save(buffer, "png", optimize=True)
        if buffer.tell() < MOST:
            break
    PICTURES.mkdir(parents=True, exist_ok=True)
    (PICTURES / f"{name}.png").write_bytes(buffer.getvalue())
    print(f"{name}.png: {small.width} x {small.height}, {buffer.tell() // 1000} kB", flush=True)


def picture_of(name: str, runs: Path, server, browser) -> None:
    """Run one notebook and keep what its main cell shows."""
    cell_id, parameters = SHOWN[name]
    source = lab.ROOT / f"notebooks/{name}.ipynb"
    where = SCRATCH / "runs" if name in TRAINS else runs
    if name in READS_RECORDS:
        parameters = {"records": str(lab.ROOT / "papermill_runs/records/when_papers_hold.csv.gz")}
    elif name not in HAS_ITS_OWN:
        parameters = parameters | {"runs": str(where)}
    path = lab.copy(source, server.root, **parameters)
    ids = [cell.id for cell in nbformat.read(path, 4).cells]

    with lab.page(browser, (server.address,), **WINDOW) as page:
        lab.open_notebook(page, server, path)
        lab.theme(page, lab.LIGHT)
        lab.run_all(page)
        cell = page.locator(".jp-Notebook .jp-Cell").nth(ids.index(cell_id))
        output = cell.locator(".jp-OutputArea").first
        for _ in range(2):  # what is drawn meanwhile moves the cell
            page.wait_for_timeout(SETTLE)
            output.evaluate("element => element.scrollIntoView({block: 'start'})")
        page.wait_for_timeout(SETTLE)
        if name == "00_start_here":
            save(page.screenshot(), "wise_explorer")
        save(page.screenshot(clip=in_window(output.bounding_box())), name)
    server.stop_kernels()


def in_window(box: dict) -> dict:
    """The part of an element's box that the window shows above JupyterLab's status bar."""
    height = min(box["height"], WINDOW["height"] - STATUS_BAR - box["y"])
    return box | {"height": height}


def energy_gap(runs: Path) -> None:
    """The energy-gap figure of finished runs, as a batch draws it."""
    with TemporaryDirectory() as folder:
        pages.save_figure(energy_gap_figure(results(runs)), folder, "energy_gap")
        print(pages.write_images(folder))
        save((Path(folder) / "energy_gap.png").read_bytes(), "energy_gap")


def workspace(runs: Path, browser) -> None:
    """All views of finished runs, as a saved page shows them where images are selected."""
    explorer = Workspace(runs)
    explorer.places = "both"
    with TemporaryDirectory() as folder, lab.page(browser, ("file:",), **WIDE) as page:
        page.goto(explorer.export(Path(folder) / "workspace.html").as_uri())
        canvas = page.locator("canvas[data-points]")
        lab.expect(canvas).to_be_visible()
        box = canvas.bounding_box()
        corners = ((0.62, 0.5), (0.95, 0.5), (0.95, 0.95), (0.62, 0.95), (0.62, 0.5))
        for number, (x, y) in enumerate(corners):
            page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=4)
            if number == 0:
                page.mouse.down()
        page.mouse.up()
        page.wait_for_timeout(SETTLE)
        save(page.screenshot(), "workspace")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="?", default=OUT / "demo/runs")
    parser.add_argument("--only", nargs="*", default=list(SHOWN), choices=list(SHOWN))
    given = parser.parse_args()
    if why := lab.missing():
        parser.error(why)
    if not given.runs.is_dir():
        parser.error(f"no folder {given.runs}; make the demo's runs first: make demo")

    lab.HANG = 3600  # training is part of it, on a machine that may be busy
    for manifest in ("emoji_start", "emoji_shift"):
        load_manifest(manifest).root_folder()  # explorers show images that are there
    energy_gap(given.runs)
    with TemporaryDirectory(prefix="pictures-") as folder:
        # a notebook may add an ensemble to the runs: it looks at a copy
        runs = Path(shutil.copytree(given.runs, Path(folder) / "runs"))
        environment = {
            "PYTHONPATH": os.pathsep.join([str(lab.ROOT), os.environ.get("PYTHONPATH", "")])
        }
        with lab.server(Path(folder), environment) as server, lab.browser() as browser:
            workspace(given.runs, browser)
            for name in given.only:
                picture_of(name, runs, server, browser)


if __name__ == "__main__":
    main()
