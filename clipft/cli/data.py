"""Commands on what can be trained on and how: datasets, methods, presets."""

from __future__ import annotations

from typing import Annotated

from typer import Argument

from .app import Markdown
from .terminal_tables import show


def datasets(name: Annotated[str | None, Argument(help="show this one's card")] = None) -> None:
    """List the data sets, or show the card of one."""
    from ..data.manifests import available, load_manifest

    if name is None:
        rows = []
        for known in available():
            manifest = load_manifest(known)
            row = {"name": manifest.name, "title": manifest.title}
            row |= {"classes": len(manifest.class_names), "reference": manifest.reference}
            rows.append(row | {"shifts": ", ".join(manifest.shifts())})
        show(rows)
        return

    manifest = load_manifest(name)
    domains = f"domains {', '.join(manifest.domains)}; reference {manifest.reference}"
    print(f"{manifest.title}: {len(manifest.class_names)} classes; {domains}")
    print(f"licence: {manifest.licence}\nhomepage: {manifest.homepage}\n\n{manifest.card}")


def methods(as_markdown: Markdown = False) -> None:
    """List the methods: what is trained, and what can be done afterwards."""
    from ..methods import method_tables

    training, after = method_tables()
    show(training, "while training: clipft train method=NAME", as_markdown)
    show(after, "afterwards: clipft combine NAME RUN...", as_markdown)


def presets(name: Annotated[str | None, Argument(help="show this one's settings")] = None) -> None:
    """List the recipes of the papers and the tuned ones, or show one."""
    import yaml

    from ..runs.recipes import load_preset, presets as all_presets

    if name is not None:
        values = load_preset(name).model_dump(mode="json", exclude_defaults=True)
        print(yaml.safe_dump(values, sort_keys=False, default_flow_style=False), end="")
        return

    rows = []
    for key, preset in all_presets().items():
        row = {"name": key, "title": preset.title}
        row |= {"tuned": " ".join(preset.tuned), "unknown": " ".join(preset.unknown)}
        rows.append(row | {"source": preset.source})
    show(rows)
