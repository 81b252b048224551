"""TODO: docstring."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..data.images import IMAGES
from ..data.splits import Split
from ..errors import ConfigError, ImageError
from ..inputs.batches import pixel_chunks
from ..progress import progress_bar
from .embeddings import embed
from .head import read_head
from .load import load_clip
from .students import Classifier

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd


class Predictor:
    """An exported folder as a classifier of image files."""

    def __init__(self, folder: Path | str, device: str = "cpu"):
        self.clip = load_clip(f"local-dir:{folder}", device=device)
        self.head = read_head(Path(folder) / "head.safetensors")
        self.head.check_dimensions(self.clip.config["model_cfg"]["embed_dim"], self.clip.name)
        self.student = Classifier(self.clip, self.head.weight, "absorbed").to(device).eval()
        self.student.start_from(self.head.weight, self.head.bias)

    def predict(
        self,
        paths: Sequence[Path | str],
        top: int = 1,
        workers: int = 0,
        skip_bad=False,
        progress: bool = True,
    ) -> pd.DataFrame:
        """Classify files, and all images in folders: one row per file and rank (file, rank, label, probability).

        Raises ConfigError for top < 1, ImageError for a file that is missing or unreadable (skip_bad leaves it out and
        says so), and where there is no image at all.
        """
        import pandas as pd

        if top < 1:
            raise ConfigError(f"top is {top}, expected 1 or more")
        files, rows = _files([paths] if isinstance(paths, str | Path) else paths), []
        split = Split("images", "given", Path(), files, (0,) * len(files))
        with progress_bar(len(files), "predicting", "image", progress) as bar:
            for chunk in pixel_chunks(split, self.clip.transform, workers, skip_bad):
                bar.update(len(chunk.bad) + len(chunk.rows))
                if not len(chunk.rows):
                    continue
                with torch.inference_mode():
                    chances = self.student.logits(embed(self.student, chunk.pixels)).softmax(-1)
                best = chances.sort(descending=True, stable=True)
                for row, labels, values in zip(chunk.rows, best.indices, best.values, strict=True):
                    for rank, (label, value) in enumerate(
                        zip(labels[:top].tolist(), values.tolist(), strict=False), 1
                    ):
                        rows.append((files[row], rank, self.head.classes[label], value))
        return pd.DataFrame(rows, columns=["file", "rank", "label", "probability"])


def _files(paths: Sequence[Path | str]) -> tuple[str, ...]:
    found: list[str] = []
    for path in map(Path, paths):
        inside = (
            sorted(file for file in path.rglob("*") if file.suffix.lower() in IMAGES)
            if path.is_dir()
            else [path]
        )
        if not inside:
            raise ImageError(
                f"no image in the folder {path}; looked for {', '.join(sorted(IMAGES))}"
            )
        found += map(str, inside)
    if not found:
        raise ImageError("no image given; name files or folders")
    return tuple(found)
