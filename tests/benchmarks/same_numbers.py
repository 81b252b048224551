"""Are today's numbers those of an earlier day, bit for bit? Run it before a change of structure and
after.

    python tests/benchmarks/same_numbers.py OUT            # train, combine, score, export; compare
    python tests/benchmarks/same_numbers.py OUT --demo     # so for `make demo` and its diagnostics
    python tests/benchmarks/same_numbers.py OUT [--demo] --write    # keep today's as the truth

It speaks to clipft by its command line alone and reads what lies on disk, so it survives any change
of the library inside. Digests lie in same_numbers.json beside it: of configurations, of each
tensor, of each column of each table, of the numbers in each figure and of what the commands print.
They belong to one machine, one torch and one thread a process; on another machine write them anew,
before the change.
"""

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.numpy import load_file

HERE = Path(__file__).parent
HOUSE = HERE.parent.parent
TRUTH = HERE / "same_numbers.json"
MADE = ("file", "versions", "device", "threads", "seconds_per_step")  # no numbers of a result
METHODS = (
    "ft",
    "scratch_ft",
    "lp",
    "lp_ft",
    "ema",
    "l2sp",
    "kd",
    "feat_kd",
    "car",
    "lipsum",
    "mse_class",
    "mse_context",
    "kld_random",
    "flyp",
    "flyp_image",
    "flyp_ce",
    "flyp_with_ce",
)
SHORT = ("steps=6", "batch_size=16", "eval_every=3", "lr=1e-3", "shots=4")
# Not the recipe that fits: the truth is of RunConfig's own defaults.
PLAIN = ("--preset", "none", "--no-score")
AFTER = {
    "wise": 1,
    "wise_head": 1,
    "wise_fisher": 1,
    "tpgm": 1,
    "tpgm_c": 1,
    "output_ensemble": 1,
    "uniform_soup": 3,
    "greedy_soup": 3,
    "greedy_ensemble": 3,
}
OPTIONS = {"wise_fisher": ["images=8"], "tpgm": ["steps=3"], "tpgm_c": ["steps=3"]}
ADDED = {"title", "format", "domain", "part"}  # columns and keys that later days may add


def short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


def of_column(values: pd.Series) -> str:
    if values.dtype.kind in "fiub":
        array = np.ascontiguousarray(values.to_numpy())
        return short(str(array.dtype).encode() + array.tobytes())
    return short("\n".join(map(str, values)).encode())


def of_table(table: pd.DataFrame) -> dict[str, str]:
    return {str(name): of_column(table[name]) for name in table if name not in ADDED}


def numbers(content: object) -> object:
    """Of a figure what is drawn: traces without the arrays' packing, and without where a click
    leads (`meta`).
    """
    if isinstance(content, dict):
        left_out = ("template", "meta")
        return {
            key: numbers(value) for key, value in sorted(content.items()) if key not in left_out
        }
    return [numbers(value) for value in content] if isinstance(content, list) else content


def of_run(folder: Path) -> dict[str, object]:
    config = json.loads((folder / "config.json").read_text())
    kept = {key: value for key, value in config.items() if key not in ADDED}
    found: dict[str, object] = {"config": short(json.dumps(kept, sort_keys=True).encode())}
    if (folder / "weights.safetensors").exists():
        tensors = load_file(folder / "weights.safetensors")
        found["weights"] = {
            name: short(tensor.tobytes()) for name, tensor in sorted(tensors.items())
        }
    if (folder / "metrics.jsonl").exists():
        found["metrics"] = short((folder / "metrics.jsonl").read_bytes())
    for name in ("images", "scores"):
        if (folder / f"{name}.parquet").exists():
            found[name] = of_table(pd.read_parquet(folder / f"{name}.parquet"))
    return found


def run_all(out: Path) -> dict[str, str]:
    """Every method for some steps, every post-hoc method on them, two sweeps, an export; what the
    commands say.
    """
    runs, environment = (
        out / "runs",
        os.environ | {"OMP_NUM_THREADS": "1", "CLIPFT_CACHE": str(out / "cache")},
    )
    said: dict[str, str] = {}

    def clipft(*words: object, keep: str = "") -> str:
        command = [sys.executable, "-c", "from clipft.cli import main; main()", *map(str, words)]
        done = subprocess.run(command, env=environment, cwd=HOUSE, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{' '.join(map(str, words))}\n{done.stdout}{done.stderr}")
        if keep:
            said[keep] = short(re.sub(r"\s+", " ", done.stdout.replace(str(out), "OUT")).encode())
        return done.stdout

    made = {}
    for method in METHODS:
        text = clipft("train", f"method={method}", *SHORT, *PLAIN, "--runs", runs)
        made[method] = text.strip().splitlines()[-1].split()[-1]
    for seed in (1, 2):
        given = ("method=ft", *SHORT, f"seed={seed}")
        text = clipft("train", *given, *PLAIN, "--runs", runs)
        made[f"ft{seed}"] = text.strip().splitlines()[-1].split()[-1]
    for name, count in AFTER.items():
        members = [made["ft"], made["ft1"], made["ft2"]][:count]
        text = clipft("combine", name, *members, *OPTIONS.get(name, ()), "--no-score")
        made[name] = text.split()[1]
    for name in ("ft", "lipsum", "flyp", "greedy_ensemble"):
        clipft("wise", made[name], "--alpha", 0, "--alpha", 0.5, "--alpha", 1, keep=f"wise {name}")
    clipft("wise", made["kd"], "--adaptive", 0.02, keep="wise adaptive")
    clipft("diagnose", made["lipsum"], keep="diagnose")
    clipft("compare", made["ft"], made["lipsum"], keep="compare")
    clipft("export", made["lipsum"], out / "export", "--alpha", 0.4)
    image = next((out / "cache").glob("emoji_shift-*/line/*/test_0000.png"))
    clipft("predict", out / "export", image.parent, "--top", 2, "--csv", out / "predictions.csv")
    clipft(
        "results",
        "--runs",
        runs,
        "--csv",
        out / "results.csv",
        "--calibration",
        "--markdown",
        keep="results",
    )
    clipft("pick", "--runs", runs, keep="pick")
    clipft("methods", "--markdown", keep="methods")
    return said


def run_demo(out: Path) -> dict[str, str]:
    """The demo's batch, and the diagnostics of its runs."""
    clipft = [sys.executable, "-c", "from clipft.cli import main; main()", "batch"]
    where = os.environ | {"CLIPFT_CACHE": str(out / "cache")}
    subprocess.run(
        [*clipft, "papermill_runs/demo.yaml", "--out", out], env=where, cwd=HOUSE, check=True
    )
    spec = (HOUSE / "papermill_runs/diagnostics.yaml").read_text()
    spec = spec.replace("../papermill_runs/out/demo/runs", f"{out}/runs").replace(
        "../notebooks", f"{HOUSE}/notebooks"
    )
    (out / "diagnostics.yaml").write_text(spec)
    subprocess.run(
        [*clipft, out / "diagnostics.yaml", "--out", out / "diagnosed"],
        env=where,
        cwd=HOUSE,
        check=True,
    )
    return {}


def digests(out: Path, said: dict[str, str]) -> dict[str, object]:
    found: dict[str, object] = {"said": said}
    for folder in sorted(file.parent for file in out.glob("runs/*/config.json")):
        found[folder.name] = of_run(folder)
    for file in sorted(out.glob("*.csv")):
        found[file.name] = of_table(pd.read_csv(file).drop(columns=list(MADE), errors="ignore"))
    for file in sorted(out.glob("export/*.safetensors")):
        found[file.name] = {
            name: short(tensor.tobytes()) for name, tensor in sorted(load_file(file).items())
        }
    for file in sorted([*out.glob("figures/*.json"), *out.glob("diagnosed/figures/*.json")]):
        figure = json.loads(file.read_text())["figure"]
        found[f"figure {file.stem}"] = short(json.dumps(numbers(figure["data"])).encode())
    return found


def differences(old: object, new: object, where: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        lines = [
            f"{where}/{key}: only {'before' if key in old else 'now'}"
            for key in sorted(old.keys() ^ new.keys())
        ]
        for key in sorted(old.keys() & new.keys()):
            lines += differences(old[key], new[key], f"{where}/{key}")
        return lines
    return [] if old == new else [f"{where}: {old} before, {new} now"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="an empty folder")
    parser.add_argument("--demo", action="store_true")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    out, kind = given.out.resolve(), "demo" if given.demo else "all"
    out.mkdir(parents=True, exist_ok=True)
    found = digests(out, run_demo(out) if given.demo else run_all(out))
    truth = json.loads(TRUTH.read_text()) if TRUTH.exists() else {}
    if given.write:
        TRUTH.write_text(json.dumps(truth | {kind: found}, indent=1, sort_keys=True) + "\n")
        return
    lines = differences(truth[kind], found)
    print("\n".join(lines) or f"{kind}: every digest as before")
    sys.exit(bool(lines))


if __name__ == "__main__":
    main()
