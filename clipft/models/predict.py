"""An exported folder at work: files of images in, classes and probabilities out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..config import Reading
from ..data.images import image_files
from ..data.splits import MEGAPIXELS, Decoding, Split
from ..errors import ConfigError
from ..inputs.batches import pixel_chunks
from ..posthoc.weights import check_finite
from ..progress import progress_bar
from .embeddings import embed
from .head import check_scores, read_head
from .load import load_clip
from .students import Classifier

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from ..inputs.batches import Batch


class Predictor:
    """An exported folder as a classifier of image files.

    Arguments:
        folder: what `clipft.export` wrote.
        device: where the model runs.

    Raises:
        ConfigError: where the folder holds no model, or its head is of another.
        WeightsError: where a weight is not finite.

    Example:
        >>> run = clipft.open_runs("runs")[0]
        >>> predictor = clipft.Predictor(clipft.export(run, "tuned"))
        >>> predictor.predict("photos/phone/cup").columns.tolist()
        ['file', 'rank', 'label', 'probability']
    """

    def __init__(self, folder: Path | str, device: str = "cpu"):
        self.clip = load_clip(f"local-dir:{folder}", device=device)
        self.head = read_head(Path(folder) / "head.safetensors")
        self.head.check_dimensions(self.clip.config["model_cfg"]["embed_dim"], self.clip.name)
        self.student = Classifier(self.clip, self.head.weight, "absorbed").to(device).eval()
        self.student.start_from(self.head.weight, self.head.bias)
        check_finite(self.student.state_dict(), str(folder))

    def predict(
        self,
        paths: Sequence[Path | str] | Path | str,
        top: int = 1,
        reading: Reading = Reading(),
        *,
        look: str = "viewer",
        megapixels: int = MEGAPIXELS,
    ) -> pd.DataFrame:
        """Classify files, and all images in folders.

        Arguments:
            paths: image files and folders, or one.
            top: so many classes for each image, the most probable first.
            reading: how images are read; the device is the predictor's.
            look: viewer, images as a viewer shows them: upright, as phones note it, and on white
                where they are transparent; file, as they are stored: what open_clip reads.
            megapixels: of the largest image that is read.

        Returns:
            A row per file and rank: file, rank from 1, label, probability.

        Raises:
            ConfigError: for top < 1, and for another look.
            ImageError: where a file is missing or unreadable (reading.skip_bad leaves it out and
                says so), and where there is no image at all.
        """
        import pandas as pd

        if top < 1:
            raise ConfigError(f"top is {top}, expected 1 or more")
        decoding = Decoding(look, megapixels)
        given = [paths] if isinstance(paths, str | Path) else paths
        files = tuple(str(file) for file in image_files(given))
        split = Split("images", "given", Path(), files, (0,) * len(files), decoding=decoding)

        rows = []
        with progress_bar(len(files), "predicting", "image", show=reading.progress) as bar:
            for chunk in pixel_chunks(split, self.clip.transform, reading):
                bar.update(len(chunk.bad) + len(chunk.rows))
                if len(chunk.rows):
                    rows += self._ranked(chunk, files, top)
        return pd.DataFrame(rows, columns=["file", "rank", "label", "probability"])

    @torch.inference_mode()
    def _ranked(self, chunk: Batch, files: Sequence[str], top: int) -> list[tuple]:
        """The most probable classes of each image: (file, rank from 1, class, probability)."""
        logits = self.student.logits(embed(self.student, chunk.pixels))
        check_scores(logits)
        best = logits.softmax(-1).sort(descending=True, stable=True)
        labels = best.indices[:, :top].tolist()
        probabilities = best.values[:, :top].tolist()

        ranked = []
        for image, row in enumerate(chunk.rows.tolist()):
            for rank, label in enumerate(labels[image]):
                name = self.head.classes[label]
                ranked.append((files[row], rank + 1, name, probabilities[image][rank]))
        return ranked
