"""Commands on models: export one, and predict with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from ..runs.formats import CARD, DEFAULT_FORMAT, FORMATS
from .app import Alpha, Device, Precision, RunPath, SkipBad, Workers
from .terminal_tables import show


def export(
    run: RunPath,
    folder: Annotated[Path, Argument(help="the folder to write, with a model card")],
    alpha: Alpha = 1.0,
    format: Annotated[
        str, Option(help=f"for which library: {', '.join(FORMATS)}")
    ] = DEFAULT_FORMAT,
    half: Annotated[bool, Option(help="write fp16")] = False,
) -> None:
    """Write a finished run as an ordinary open_clip model, or for another library."""
    from ..runs.checks import check_export
    from ..runs.run import Run

    opened = Run.open(run)
    target = check_export(opened, folder, alpha, format, half=half)

    from ..evaluation.score import export as export_run

    written = export_run(opened, folder, alpha, format=format, half=half)
    if target.name == DEFAULT_FORMAT:
        print(f"open_clip.create_model_and_transforms('local-dir:{written}')")
    else:
        print(f"wrote {target.title}; how it is loaded: {written / CARD}")


def predict(
    folder: Annotated[Path, Argument(help="what `clipft export` wrote")],
    images: Annotated[list[Path], Argument(help="image files, or folders of them")],
    top: Annotated[int, Option(min=1, help="classes to show for each image")] = 1,
    classes: Annotated[
        Path | None, Option(help="other classes, by their names: a text file, one a line")
    ] = None,
    abstain: Annotated[
        float, Option(min=0, max=1, help="no label where no class is as probable as this")
    ] = 0.0,
    csv: Annotated[Path | None, Option(help="write the predictions here instead")] = None,
    json: Annotated[Path | None, Option(help="the same as JSON, a list of rows")] = None,
    look: Annotated[
        str, Option(help="images as a viewer shows them: upright, on white; or file: as stored")
    ] = "viewer",
    megapixels: Annotated[int, Option(min=1, help="of the largest image that is read")] = 178,
    device: Device = "auto",
    workers: Workers = "auto",
    precision: Precision = "32-true",
    skip_bad: SkipBad = False,
) -> None:
    """Classify image files with an exported model; its own classes, or others by their names."""
    from ..config import Reading
    from ..data.class_lists import class_lines
    from ..data.splits import Decoding
    from ..disk.files import check_target, write_csv, write_text
    from ..runs.checks import check_exported, check_images

    Decoding(look, megapixels)  # an unknown look is refused before anything is loaded
    names = class_lines(classes) if classes else None
    check_exported(folder, needs_head=names is None)
    check_images(images, skip_bad=skip_bad)
    for file in (csv, json):
        if file:
            check_target(file)

    from ..models.load import pick_device
    from ..models.predict import Predictor

    predictor = Predictor(folder, pick_device(device), classes=names, abstain=abstain)
    reading = Reading(workers=workers, skip_bad=skip_bad, precision=precision)
    predictions = predictor.predict(images, top, reading, look=look, megapixels=megapixels)
    if csv:
        write_csv(csv, predictions)
    if json:
        rows = predictions.to_json(orient="records", indent=1, force_ascii=False)
        write_text(json, f"{rows}\n")
    if len(predictions) and not (csv or json):
        shown = predictions.assign(probability=predictions.probability.map("{:.3f}".format))
        show(shown.fillna("").to_dict("records"))
    if abstain:
        unlabelled = int(predictions.label.isna().sum())
        count = f"{unlabelled} of {predictions.file.nunique()} images"
        print(f"abstained on {count}: no class is as probable as {abstain:g}")
