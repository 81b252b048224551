"""A folder of photographs becomes a tuned model and one page: tune."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from .app import Device, SkipBad, StopAfter, Workers


def tune(
    folder: Annotated[Path, Argument(help="your images: class folders, or train, val, test")],
    shift: Annotated[
        list[Path] | None,
        Option(help="class folders of images that look otherwise: reported; repeatable"),
    ] = None,
    unlabelled: Annotated[
        list[Path] | None,
        Option(help="images as the model will meet them, without labels: chosen by; repeatable"),
    ] = None,
    model: Annotated[
        str, Option(metavar="NAME[:WEIGHTS]", help="for photographs ViT-B-16:openai")
    ] = "emoji-tiny",
    minutes: Annotated[float, Option(help="what all of it may take on this machine")] = 10.0,
    out: Annotated[str, Option(help="folder for all of it; default: NAME_tuned")] = "",
    reference: Annotated[str, Option(help="the domain to tune on, of a folder of domains")] = "",
    seed: Annotated[int, Option(help="of the runs")] = 0,
    device: Device = "auto",
    workers: Workers = "auto",
    skip_bad: SkipBad = False,
    stop_after: StopAfter = "",  # noqa: ARG001  # its time began when it was read
) -> None:
    """Tune a model on your folder, choose what to deploy without looking at a test image, export
    it, and write one page that says why, and how far to trust it.
    """
    from ..config import Reading
    from ..tuning.tune import tune as tune_folder

    tuned = tune_folder(
        folder,
        shifts=shift or (),
        unlabelled=unlabelled or (),
        model=model,
        minutes=minutes,
        out=out,
        reference=reference,
        seed=seed,
        reading=Reading(device=device, workers=workers, skip_bad=skip_bad),
    )
    print(tuned)
