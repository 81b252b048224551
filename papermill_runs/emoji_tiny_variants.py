"""Writes two variants of the built-in model beside the runs of `when_papers_hold.yaml`.

    python papermill_runs/emoji_tiny_variants.py FOLDER

scale_100: its logit scale is 100, as that of the released CLIPs, in place of 21.8. any_tokens: it
does not say which tokens its captions held, so random texts are drawn from all 49 406.
"""

import json
import math
import shutil
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

ORIGINAL = Path(str(files("clipft") / "assets" / "emoji-tiny"))


def main(folder: Path) -> None:
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


if __name__ == "__main__":
    main(Path(sys.argv[1]))
