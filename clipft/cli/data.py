"""Commands on what can be trained on and how: datasets, methods, presets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Exit, Option

from ..errors import ConfigError
from .app import Markdown
from .completion import dataset_names, preset_names
from .terminal_tables import show

if TYPE_CHECKING:
    from ..data.manifests import Manifest
    from ..data.own import OwnData

CLASSES = 20  # rows of a table of counts


def datasets(
    name: Annotated[
        str | None,
        Argument(
            help="show this one's card; or the word new or check", autocompletion=dataset_names
        ),
    ] = None,
    own: Annotated[
        str | None, Argument(metavar="[NAME]", help="after new or check: the name")
    ] = None,
    root: Annotated[
        str, Option(help="new: folder of the class folders; or a CSV, parquet or datasets folder")
    ] = "",
    table: Annotated[str, Option(help="new: the table, where its images lie below --root")] = "",
    reference: Annotated[str, Option(help="new: the domain that is trained on")] = "",
    out: Annotated[
        str, Option(help="new: where to write, else NAME.yaml here; check: a contact sheet")
    ] = "",
    as_markdown: Markdown = False,
) -> None:
    """List the data sets, show the card of one, or make one: new NAME --root PATH --reference D."""
    from ..data.manifests import available, load_manifest

    if name == "new":
        _new(own, root, table, reference=reference, out=out)
        return
    if name == "check":
        _check(own, out)
        return
    if own or root or table or reference or out:
        wanted = "wanted: clipft datasets new photos --root photos --reference studio"
        raise ConfigError(f"--root, --reference and --out make a new data set; {wanted}")
    if name is None:
        _list(available(), as_markdown)
    else:
        _show_card(load_manifest(name))


def _list(names: list[str], as_markdown: bool) -> None:
    """Print a row for each of these data sets."""
    from ..data.manifests import load_manifest

    rows = []
    for known in names:
        manifest = load_manifest(known)
        row = {"name": manifest.name, "title": manifest.heading}
        row |= {"classes": len(manifest.class_names), "reference": manifest.reference}
        rows.append(row | {"shifts": ", ".join(manifest.shifts())})
    show(rows, as_markdown=as_markdown)


def _show_card(manifest: Manifest) -> None:
    """Print what a manifest says of itself; of class folders, how many images they hold."""
    from ..data.own import count_images

    domains = f"domains {', '.join(manifest.domains)}; reference {manifest.reference}"
    print(f"{manifest.heading}: {len(manifest.class_names)} classes; {domains}")
    for label, text in (("licence", manifest.licence), ("homepage", manifest.homepage)):
        if text:
            print(f"{label}: {text}")
    if manifest.card:
        print(f"\n{manifest.card}")
    if manifest.kept:
        # Its images are many, or not there: the card says how to get them.
        print(f"to count and open its images: clipft datasets check {manifest.name}")
    elif manifest.has_tree:
        _print_counts(count_images(manifest))


def _check(name: str | None, out: str) -> None:
    """Open every image of a data set, say what is wrong, draw a contact sheet; exits 1 if wrong."""
    from ..data.check import check_images
    from ..data.manifests import load_manifest

    if name is None:
        raise ConfigError("datasets check: NAME is missing; wanted: clipft datasets check photos")
    manifest = load_manifest(name)
    report = check_images(manifest)
    _print_counts(report.counts)
    for line in report.odd:
        print(f"odd: {line}")
    for line in report.wrong:
        print(f"wrong: {line}")
    if out and not report.wrong:
        from ..data.images import sample_tiles
        from ..figures.images import contact_sheet_figure
        from ..figures.pages import save_figure

        classes, tiles = sample_tiles(manifest)
        sheet = contact_sheet_figure(tiles, classes, title=manifest.heading)
        print(save_figure(sheet, out, manifest.name))
    if report.wrong:
        raise Exit(1)
    print("all images are there, can be read, and lie in one split each")


def _new(name: str | None, root: str, table: str, *, reference: str, out: str) -> None:
    """Write the manifest of a data set of one's own, and say what was found."""
    from ..data.own import new_manifest

    if name is None or not (root or table):
        missing = "NAME" if name is None else "--root"
        wanted = "wanted: clipft datasets new photos --root photos --reference studio"
        raise ConfigError(f"datasets new: {missing} is missing; {wanted}")
    own = new_manifest(name, root, reference, out, table=table)
    print_own(own)
    print(f"train: clipft train manifest={own.file}")


def print_own(own: OwnData) -> None:
    """Print what was found in the folders, and how many images of every class."""
    print(own)
    _print_counts(own.counts())


def _print_counts(counts: list[dict[str, Any]]) -> None:
    *classes, total = counts
    left_out = len(classes) - CLASSES
    if left_out > 0:
        # The smallest classes are those to look at.
        fewest = sorted(classes, key=lambda row: list(row.values())[1])[:CLASSES]
        classes = [row for row in classes if row in fewest]
        total = total | {"class": f"all, with {left_out} larger classes"}
    show([*classes, total], "images")


def methods(as_markdown: Markdown = False) -> None:
    """List the methods: what is trained, and what can be done afterwards."""
    from ..methods import method_tables

    training, after = method_tables()
    show(training, "while training: clipft train method=NAME", as_markdown)
    show(after, "afterwards: clipft combine NAME RUN...", as_markdown)


def presets(
    name: Annotated[
        str | None, Argument(help="show this one's settings", autocompletion=preset_names)
    ] = None,
) -> None:
    """List the recipes of the papers and the tuned ones, or show one."""
    import yaml

    from ..runs.recipes import load_preset, presets as all_presets

    if name is not None:
        preset = load_preset(name)
        values = preset.model_dump(mode="json", exclude_defaults=True)
        if preset.lacks_manifest:
            wanted = "give your own as manifest=FILE"
            print(f"# no manifest of {preset.manifest} comes with clipft: {wanted}")
        print(yaml.safe_dump(values, sort_keys=False, default_flow_style=False), end="")
        return

    rows = []
    for key, preset in all_presets().items():
        data = preset.manifest
        if preset.lacks_manifest:
            data += " (no manifest ships)"
        row = {"name": key, "title": preset.title, "data set": data}
        row |= {"tuned": " ".join(preset.tuned), "unknown": " ".join(preset.unknown)}
        rows.append(row | {"source": preset.source})
    show(rows)
