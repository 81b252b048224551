"""The app, and the options that several commands share."""

from __future__ import annotations

import typer

app = typer.Typer(
    help="Fine-tune CLIP and see what happens to its robustness.",
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
RUNS = typer.Option("runs", "--runs", help="folder of all runs")
DEVICE = typer.Option("auto", help="auto, cpu, cuda or mps")
WORKERS = typer.Option(0, min=0, help="processes that decode images")
MARKDOWN = typer.Option(False, "--markdown", help="as Markdown tables")
SKIP = typer.Option(
    False, "--skip-bad-images", help="leave unreadable images out, and say how many"
)
