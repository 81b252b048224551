"""Commands on models: export one, and predict with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from .app import Alpha, Device, RunPath, SkipBad, Workers
from .terminal_tables import show


def export(
    run: RunPath,
    folder: Annotated[Path, Argument(help="the open_clip local-dir: folder to write")],
    alpha: Alpha = 1.0,
    half: Annotated[bool, Option(help="write fp16")] = False,
) -> None:
    """Write a finished run as an ordinary open_clip model."""
    from ..runs.checks import check_export
    from ..runs.run import Run

    opened = Run.open(run)
    check_export(opened, folder, alpha)

    from ..evaluation.score import export as export_run

    written = export_run(opened, folder, alpha, half=half)
    print(f"open_clip.create_model_and_transforms('local-dir:{written}')")


def predict(
    folder: Annotated[Path, Argument(help="what `clipft export` wrote")],
    images: Annotated[list[Path], Argument(help="image files, or folders of them")],
    top: Annotated[int, Option(min=1, help="classes to show for each image")] = 1,
    csv: Annotated[Path | None, Option(help="write the predictions here instead")] = None,
    look: Annotated[
        str, Option(help="images as a viewer shows them: upright, on white; or file: as stored")
    ] = "viewer",
    megapixels: Annotated[int, Option(min=1, help="of the largest image that is read")] = 178,
    device: Device = "auto",
    workers: Workers = "auto",
    skip_bad: SkipBad = False,
) -> None:
    """Classify image files with an exported model."""
    from ..config import Reading
    from ..data.splits import Decoding
    from ..disk.files import check_target, write_text
    from ..runs.checks import check_exported, check_images

    Decoding(look, megapixels)  # an unknown look is refused before anything is loaded
    check_exported(folder)
    check_images(images, skip_bad=skip_bad)
    if csv:
        check_target(csv)

    from ..models.load import pick_device
    from ..models.predict import Predictor

    predictor = Predictor(folder, pick_device(device))
    reading = Reading(workers=workers, skip_bad=skip_bad)
    predictions = predictor.predict(images, top, reading, look=look, megapixels=megapixels)
    if csv:
        write_text(csv, predictions.to_csv(index=False))
    elif len(predictions):
        shown = predictions.assign(probability=predictions.probability.map("{:.3f}".format))
        show(shown.to_dict("records"))
