"""An exported folder at work: files of images in, classes and probabilities out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..config import Reading
from ..data.images import image_files
from ..data.splits import MEGAPIXELS, Decoding, Split
from ..errors import ConfigError
from ..inputs.batches import pixel_chunks
from ..inputs.prompts import clip_templates, equal_pairs, fill_in
from ..posthoc.weights import check_finite
from ..progress import progress_bar, write
from ..runs.checks import check_format
from ..runs.formats import HEAD, record_of, version_of
from .embeddings import embed
from .head import Head, check_scores, read_head
from .load import load_clip
from .students import Classifier

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from ..inputs.batches import Batch
    from .clip import Clip

EVERY_BATCH = 0  # bytes of pixels after which a chunk ends: the bar moves with each
SHOWN = 5  # names in a line


class Predictor:
    """An exported folder as a classifier of image files.

    Arguments:
        folder: what `clipft.export` wrote, for open_clip.
        device: where the model runs.
        classes: names of other classes: the text tower makes a zero-shot head of them, in the
            templates that the run had, and the export's own head is left aside.
        abstain: an image has no label where no class is as probable as this.

    Raises:
        ConfigError: where the folder holds no model, its head is of another, it has no text tower
            to make a head of `classes`, or two of these are one to it.
        WeightsError: where a weight is not finite.

    Example:
        >>> run = clipft.open_runs("runs")[0]
        >>> predictor = clipft.Predictor(clipft.export(run, "tuned"))
        >>> predictor.predict("photos/phone/cup").columns.tolist()
        ['file', 'rank', 'label', 'probability']
        >>> other = clipft.Predictor("tuned", classes=["a cup", "a key"])
        2 classes by their names, zero-shot, ...
        >>> other.head.classes
        ('a cup', 'a key')
    """

    def __init__(
        self,
        folder: Path | str,
        device: str = "cpu",
        *,
        classes: Sequence[str] | None = None,
        abstain: float = 0.0,
    ):
        if not 0 <= abstain <= 1:
            raise ConfigError(f"abstain is {abstain}, expected a probability, 0 ... 1")
        folder = Path(folder)
        version = version_of(folder)
        check_format(folder)
        self.abstain = abstain
        self.clip = load_clip(f"local-dir:{folder}", device=device)
        if classes is None:
            self.head = read_head(folder / HEAD)
        else:
            self.head = named_head(self.clip, classes, record_of(folder))
        if version_of(folder) != version:  # else old weights may have met a new head
            raise ConfigError(f"{folder} was exported anew while it was read; try again")
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
            reading: how images are read, and in which precision the model computes (32-true where
                it says none); the device is the predictor's.
            look: viewer, images as a viewer shows them: upright, as phones note it, and on white
                where they are transparent; file, as they are stored: what open_clip reads.
            megapixels: of the largest image that is read.

        Returns:
            A row per file and rank: file, rank from 1, label, probability. An image on which the
            predictor abstains has one row, without a label: the probability is its best class's.

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

        self.student.precision = reading.precision or "32-true"
        rows = []
        with progress_bar(len(files), "predicting", "image", show=reading.progress) as bar:
            for chunk in pixel_chunks(split, self.clip.transform, reading, chunk_bytes=EVERY_BATCH):
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
            if probabilities[image][0] < self.abstain:
                ranked.append((files[row], 1, None, probabilities[image][0]))
                continue
            for rank, label in enumerate(labels[image]):
                name = self.head.classes[label]
                ranked.append((files[row], rank + 1, name, probabilities[image][rank]))
        return ranked


def named_head(clip: Clip, names: Sequence[str], record: dict[str, Any]) -> Head:
    """The zero-shot head of other classes, as the text tower of an export makes it.

    record: the export's clipft.json; its templates are those of the run. An export of an older
    clipft has none: CLIP's 80 stand in. What is left aside, and words that the model cannot know,
    are said. Raises ConfigError where there is no text tower, or two names are one to it.
    """
    if not hasattr(clip.model, "encode_text"):
        fault = f"{clip.name} has no text tower, so --classes cannot be made into a head"
        raise ConfigError(f"{fault}; its own head knows the classes that it was tuned on")
    patterns = record.get("templates") or clip_templates()
    prompts = clip.tokenizer(fill_in(patterns, names)).unflatten(0, (len(names), -1))
    pairs = equal_pairs(prompts, names)
    if pairs:  # they would share every score
        raise ConfigError(f"{pairs[0]} are one text to this model; rename one")

    lines = [f"{len(names)} classes by their names, zero-shot, in {len(patterns)} templates"]
    if record.get("head") == "tuned":
        lines.append("the tuned head is for other classes and left aside")
    unknown_names = _with_unknown_words(clip, names)
    if unknown_names:
        listed = ", ".join(unknown_names[:SHOWN])
        count = f"{len(unknown_names)} of them have words that it never saw"
        lines.append(f"{count}: {listed}")
    write("; ".join(lines))

    weight = clip.scale * clip.zero_shot_head(prompts)
    return Head(weight, torch.zeros_like(weight[0]), tuple(names))


def _with_unknown_words(clip: Clip, names: Sequence[str]) -> list[str]:
    """Names with tokens that no caption of the pre-training held, where these are known."""
    if clip.vocabulary is None:
        return []
    known = set(clip.vocabulary)
    return [name for name in names if not set(clip.tokenizer.encode(name)) <= known]
