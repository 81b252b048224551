"""The command on what was computed once: cache."""

from __future__ import annotations

import time
from typing import Annotated

from typer import Option

from .terminal_tables import show


def cache(
    prune: Annotated[
        float | None, Option(min=0, help="remove what is unused for so many days; 0: all")
    ] = None,
) -> None:
    """List what is cached, embeddings above all, or prune it; it is made again when needed."""
    from ..disk.cache import DAY, default_cache

    kept = default_cache()
    listed = kept.entries() if prune is None else kept.prune(prune)
    verb = "in" if prune is None else "removed from"

    now = time.time()
    rows = []
    for entry in listed:
        row = {"kind": entry.kind, "what": entry.title, "MB": f"{entry.size / 1e6:.1f}"}
        rows.append(row | {"days": f"{(now - entry.used) / DAY:.1f}"})
    if rows:
        show(rows)

    megabytes = sum(entry.size for entry in listed) / 1e6
    print(f"{len(listed)} entries, {megabytes:.1f} MB {verb} {kept.folder}")
