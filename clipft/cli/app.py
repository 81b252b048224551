"""The app, and the arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option, Typer

app = Typer(
    help="Fine-tune CLIP and see what happens to its robustness.",
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)

RunPath = Annotated[Path, Argument(help="a run's folder")]
Runs = Annotated[str, Option(help="folder of all runs")]
Device = Annotated[str, Option(help="auto, cpu, cuda or mps")]
Workers = Annotated[int, Option(min=0, help="processes that decode images")]
SkipBad = Annotated[
    bool, Option("--skip-bad-images", help="leave unreadable images out, and say how many")
]
Markdown = Annotated[bool, Option("--markdown", help="as Markdown tables")]
Plugin = Annotated[
    list[str] | None,
    Option("--plugin", help="Python file that adds methods, for every kernel too; repeatable"),
]
Alpha = Annotated[float, Option(help="WiSE mixture: 0 zero-shot ... 1 tuned")]
