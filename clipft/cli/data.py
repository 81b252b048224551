"""Commands on what can be trained on and how: datasets, methods, presets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Exit, Option

from ..errors import ConfigError, plain
from ..parsing import parse_yaml
from .app import Markdown, SkipBad
from .completion import dataset_names, preset_names
from .terminal_tables import show

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..data.manifests import Manifest
    from ..data.own import OwnData

CLASSES = 20  # rows of a table of counts


def datasets(
    name: Annotated[
        str | None,
        Argument(
            help="show this one's card; or the word new, check or pack",
            autocompletion=dataset_names,
        ),
    ] = None,
    own: Annotated[
        str | None, Argument(metavar="[NAME]", help="after new, check or pack: the name")
    ] = None,
    root: Annotated[
        str, Option(help="new: folder of class folders, of tars or datasets; or a CSV or parquet")
    ] = "",
    table: Annotated[str, Option(help="new: the table, where its images lie below --root")] = "",
    reference: Annotated[str, Option(help="new: the domain that is trained on")] = "",
    out: Annotated[
        str, Option(help="new: where to write, else NAME.yaml here; check: a contact sheet")
    ] = "",
    outside: Annotated[
        bool, Option("--outside", help="new: rows may name images out of the root")
    ] = False,
    made_shifts: Annotated[
        str, Option(help="new: common, all, or {kinds: [fog], severities: [1, 3, 5]}")
    ] = "",
    size: Annotated[int, Option(min=0, help="pack: the shorter side in pixels, as shrink=")] = 0,
    domain: Annotated[
        list[str] | None, Option(help="pack: one to train on; repeatable; else the reference")
    ] = None,
    skip_bad: SkipBad = False,
    as_markdown: Markdown = False,
) -> None:
    """List the data sets, show the card of one, make one (new NAME --root PATH --reference D),
    check its images (check NAME), or keep them decoded (pack NAME).
    """
    from ..data.manifests import available, load_manifest

    given = {"--root": root, "--table": table, "--reference": reference, "--outside": outside}
    given["--made-shifts"] = made_shifts
    if name == "pack":
        _refuse("pack", own, given | {"--out": out})
        _pack(own, size, domain or (), skip_bad=skip_bad)
        return
    if size or domain or skip_bad:
        wanted = "wanted: clipft datasets pack photos --size 256"
        raise ConfigError(f"--size, --domain and --skip-bad-images pack a data set; {wanted}")
    if name == "new":
        about = {"reference": reference, "out": out, "outside": outside}
        _new(own, root, table, made_shifts=made_shifts, **about)
        return
    if name == "check":
        _refuse("check", own, given)
        _check(own, out, as_markdown)
        return
    if any([own, out, *given.values()]):
        wanted = "wanted: clipft datasets new photos --root photos --reference studio"
        raise ConfigError(f"--root, --reference and --out make a new data set; {wanted}")
    if name is None:
        _list(available(), as_markdown)
    else:
        _show_card(load_manifest(name))


def _refuse(verb: str, name: str | None, given: dict[str, Any]) -> None:
    """Raise ConfigError for an option that goes with `new` alone, and where the name is missing."""
    for option, value in given.items():
        if value:
            wanted = f"wanted: clipft datasets {verb} photos, after clipft datasets new photos ..."
            raise ConfigError(f"datasets {verb} takes no {option}, the manifest says it; {wanted}")
    if name is None:
        raise ConfigError(
            f"datasets {verb}: NAME is missing; wanted: clipft datasets {verb} photos"
        )


def _pack(name: str | None, size: int, domains: Sequence[str], *, skip_bad: bool) -> None:
    """Pack training images; print where they lie and how a run reads them."""
    from ..data.packs import pack

    assert name is not None
    for made in pack(name, size, domains, skip_bad=skip_bad):
        left_out = f", {made.unreadable} unreadable ones left out" if made.unreadable else ""
        print(f"{made.images} images{left_out}, {made.size / 1e6:.1f} MB in {made.folder}")
    setting = f"shrink={size}" if size else "shrink=0, the default"
    print(f"read by every training with {setting}, which is the same run without the copy")


def _list(names: list[str], as_markdown: bool) -> None:
    """Print a row for each of these data sets."""
    from ..data.made_shifts import listed
    from ..data.manifests import load_manifest

    rows = []
    for known in names:
        manifest = load_manifest(known)
        row = {"name": manifest.name, "title": manifest.heading}
        row |= {"classes": len(manifest.class_names), "reference": manifest.reference}
        rows.append(row | {"shifts": listed(manifest.shifts())})
    show(rows, as_markdown=as_markdown)
    if as_markdown:
        print()
        show([_protocol(load_manifest(known)) for known in names], as_markdown=True)


def _protocol(manifest: Manifest) -> dict[str, Any]:
    """How a data set is scored and read, as documents have it."""
    from ..data.layouts.readers import CHECKED

    row: dict[str, Any] = {"name": manifest.name, "metric": manifest.scored_by.title}
    row["mask"] = ", ".join(manifest.mask)
    layouts = list(dict.fromkeys(kept.layout for kept in manifest.kept.values()))
    row["groups"] = manifest.groups
    row["layout"] = ", ".join(layouts) or ("made here" if manifest.is_rendered else "list files")
    checked = dict.fromkeys(CHECKED.get(layout, "") for layout in layouts)
    row["checked against"] = ", ".join(checked) or "its lists, read line by line"
    return row


def _show_card(manifest: Manifest) -> None:
    """Print what a manifest says of itself; where its images are here, how many there are."""
    from ..data.own import count_images

    domains = f"domains {', '.join(manifest.domains)}; reference {manifest.reference}"
    print(plain(f"{manifest.heading}: {len(manifest.class_names)} classes; {domains}"))
    for label, text in (("licence", manifest.licence), ("homepage", manifest.homepage)):
        if text:
            print(plain(f"{label}: {text}"))
    if manifest.card:
        print(plain(f"\n{manifest.card}"))
    if manifest.has_tree:
        try:
            manifest.root_folder()
        except ConfigError as error:
            if not manifest.kept:  # known data sets have a card without their images
                raise
            print(f"not here: {error}")
            return
        _print_counts(count_images(manifest))


def _check(name: str | None, out: str, as_markdown: bool) -> None:
    """Open every image of a data set, say what is wrong, draw a contact sheet; exits 1 if wrong."""
    from ..data.check import check_images
    from ..data.manifests import load_manifest

    assert name is not None
    manifest = load_manifest(name)
    report = check_images(manifest)
    _print_counts(report.counts, as_markdown=as_markdown)
    for line in report.odd:
        print(plain(f"odd: {line}"))
    for line in report.wrong:
        print(plain(f"wrong: {line}"))
    if out:
        from ..figures.images import contact_sheet_figure
        from ..figures.pages import save_figure

        sheet = contact_sheet_figure(report.tiles, report.classes, title=manifest.heading)
        print(save_figure(sheet, out, manifest.name))
    if report.wrong:
        raise Exit(1)
    print("all images are there, can be read, and lie in one split each")


def _new(name: str | None, root: str, table: str, *, made_shifts: str, **about: Any) -> None:
    """Write the manifest of a data set of one's own, and say what was found."""
    from ..data.own import new_manifest

    if name is None or not (root or table):
        missing = "NAME" if name is None else "--root"
        wanted = "wanted: clipft datasets new photos --root photos --reference studio"
        raise ConfigError(f"datasets new: {missing} is missing; {wanted}")
    made = parse_yaml(made_shifts) if made_shifts else ""
    own = new_manifest(name, root, table=table, made_shifts=made, **about)
    print_own(own)
    print(f"train: clipft train manifest={own.file}")


def print_own(own: OwnData) -> None:
    """Print what was found in the folders, and how many images of every class."""
    print(plain(str(own)))
    _print_counts(own.counts())


def _print_counts(counts: list[dict[str, Any]], *, as_markdown: bool = False) -> None:
    *classes, total = counts
    left_out = len(classes) - CLASSES
    if left_out > 0:
        # The smallest classes are those to look at.
        fewest = sorted(classes, key=lambda row: list(row.values())[1])[:CLASSES]
        classes = [row for row in classes if row in fewest]
        total = total | {"class": f"all, with {left_out} larger classes"}
    show([*classes, total], "images", as_markdown)


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
