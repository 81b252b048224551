"""What `when_papers_hold.yaml` needs before its runs, and what is kept of them afterwards.

    python papermill_runs/when_papers_hold.py models FOLDER
    python papermill_runs/when_papers_hold.py records RUNS FILE.csv.gz

models: two variants of the built-in model. scale_100: its logit scale is 100, as that of the
released CLIPs, in place of 21.8. any_tokens: it does not say which tokens its captions held, so
random texts are drawn from all 49 406. records: the results of the runs with the settings that
differ; weights are not kept.
"""

import json
import math
import shutil
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

import clipft

ORIGINAL = Path(str(files("clipft") / "assets" / "emoji-tiny"))
METRICS = ("accuracy", "relative_accuracy", "energy_gap", "feature_distortion")
VARIED = ("lam", "text_rate")


def write_models(folder: Path) -> None:
    """Write both model folders; what is there is written anew, to the same bytes."""
    for name in ("scale_100", "any_tokens"):
        shutil.copytree(ORIGINAL, folder / name, dirs_exist_ok=True)

    weights = folder / "scale_100" / "open_clip_model.safetensors"
    tensors = load_file(weights)
    tensors["logit_scale"] = np.full_like(tensors["logit_scale"], math.log(100))
    save_file(tensors, weights)

    notes = folder / "any_tokens" / "clipft.json"
    content = json.loads(notes.read_text())
    del content["random_text_tokens"]
    notes.write_text(json.dumps(content))


def write_records(runs: Path, target: Path) -> None:
    """Write the accuracies, gaps and distortions of all scored runs, to six digits."""
    table = clipft.results(runs)
    table = table[table.metric.isin(METRICS)].sort_values(["recipe", "seed", "alpha", "split"])
    configs = {run: clipft.Run.open(runs / run).config for run in table.run.unique()}
    for key in VARIED:
        table[key] = table.run.map({run: getattr(config, key) for run, config in configs.items()})
    target.parent.mkdir(parents=True, exist_ok=True)
    packed = {"method": "gzip", "mtime": 0}  # the same bytes of the same runs
    table.to_csv(target, index=False, float_format="%.6g", compression=packed)


if __name__ == "__main__":
    what, *paths = sys.argv[1:]
    {"models": write_models, "records": write_records}[what](*map(Path, paths))
