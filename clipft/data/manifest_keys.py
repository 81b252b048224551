"""The keys of a manifest: what is wanted of each, what they decide, whether they fit together."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import said_of
from ..disk.files import quoting_hint
from ..disk.inside import FORMULA, is_file_name, leads_out
from ..errors import ConfigError, unknown
from .layouts.readers import READERS
from .made_shifts import is_made

if TYPE_CHECKING:
    from .manifests import Manifest

# key -> (what is wanted, an example): what the line of a wrong or missing key says
WANTED: dict[str, tuple[str, str]] = {
    "name": ("a short name, without a slash", "name: photos"),
    "title": ("a title in words", "title: Mugs and plates"),
    "card": ("a text: where the images are from and what they can show", "card: Taken in May."),
    "licence": ("the licence in words", "licence: CC-BY 4.0"),
    "homepage": ("an address", "homepage: https://example.org"),
    "domains": ("a list of domains", "domains: [studio, phone, sketch]"),
    "reference": ("the domain that is trained on", "reference: studio"),
    "classes": (
        "a list of class names, the YAML file of one, or imagenet",
        "classes: [mug, plate]",
    ),
    "root": ("the folder of the images", "root: photos"),
    "folders": ("how the folders lie", 'folders: "{domain}/{class}"'),
    "table": ("a table of images, a folder of Hugging Face's datasets, or tars", "table: rows.csv"),
    "kept": ("the layout and folder of each domain", "kept: {photo: {layout: domainbed}}"),
    "lists": ("how the list files are called", 'lists: "{domain}_{split}.txt"'),
    "labels": ("list or folder", "labels: folder"),
    "outside": ("true where lists may name images out of the root", "outside: true"),
    "look": ("file, or viewer: upright, on white and in sRGB", "look: viewer"),
    "megapixels": ("a number, of the largest image that is read", "megapixels: 250"),
    "holdout": ("a fraction of train, 0 <= holdout < 1", "holdout: 0.2"),
    "underscores": ("spaces, or kept: as class names are written", "underscores: kept"),
    "metric": (
        "accuracy, class_accuracy, macro_f1 or worst_group, or one for each kind of images",
        "metric: macro_f1",
    ),
    "mask": (
        "for a domain, the classes that may be predicted, or found: those its images have",
        "mask: {sketch: found}",
    ),
    "groups": ("class: each class is a group", "groups: class"),
    "made_shifts": (
        "common, all, or kinds and severities",
        "made_shifts: {kinds: [fog, jpeg], severities: [1, 3, 5]}",
    ),
    "templates": ("openai, or a list of texts", 'templates: ["a photo of a {}."]'),
    "captions": ("a list of texts for each domain", 'captions: {any: ["a photo of a {}."]}'),
    "spurious": ("a list of texts that a caption is put into", 'spurious: ["{} in a forest"]'),
}
OPENAI = "openai"  # of templates: the 80 of CLIP's release
ANY = "any"  # of captions: joins each domain
AN = "{an}"  # of a template: the name after a or an, with spaces for _, as FMoW's releases have it
PROSE = ("title", "card", "licence", "homepage")  # keys that decide nothing
# younger than some runs: a key at its default is left out of the digest
YOUNGER = {
    "folders": "", "table": "", "kept": {}, "underscores": "spaces", "look": "file",
    "metric": "accuracy", "mask": {}, "groups": "", "made_shifts": "",
}  # fmt: skip
ACCESS = ("root", "outside", "megapixels")  # where images lie, and what of them may be read


def check_keys(manifest: Manifest, source: str) -> None:
    """Raise ConfigError where keys do not fit each other."""
    check_names(manifest, source)
    _texts(manifest, source)
    _lists(manifest, source)
    if manifest.reference not in manifest.domains:
        wanted = f"wanted: one of domains, e.g. reference: {next(iter(manifest.domains), 'studio')}"
        problem = unknown(f"domain of {manifest.name}", manifest.reference, manifest.domains)
        raise ConfigError(f"{source}: reference: {problem}; {wanted}")
    said = [key for key in ("folders", "table", "kept") if getattr(manifest, key)]
    if len(said) > 1:
        both = f"{said[0]} and {said[1]} both say what belongs where"
        raise ConfigError(f"{source}: {both}; wanted: one of them")
    if manifest.folders and "{domain}" not in manifest.folders and len(manifest.domains) > 1:
        several = f"{len(manifest.domains)} domains, and folders {manifest.folders!r} has one"
        raise ConfigError(f'{source}: {several}; wanted: e.g. folders: "{{domain}}/{{class}}"')
    with said_of(f"{source}: made_shifts"):
        _ = manifest.made  # raises
    _kept(manifest, source)
    _protocol(manifest, source)


def _kept(manifest: Manifest, source: str) -> None:
    """Raise ConfigError where `kept` names no layout, or leaves a domain out."""
    for domain, kept in manifest.kept.items():
        if kept.layout not in READERS:
            problem = unknown("layout", kept.layout, READERS)
            raise ConfigError(f"{source}: kept: {domain}: {problem}")
        if kept.folder.startswith("/") or ".." in Path(kept.folder).parts:
            fault = f"the folder {kept.folder} lies outside of the root"
            raise ConfigError(f"{source}: kept: {domain}: {fault}; wanted: one below it")
    if manifest.kept and set(manifest.kept) != set(manifest.domains):
        other = sorted(set(manifest.kept) ^ set(manifest.domains))[0]
        wanted = "wanted: a layout for each of domains"
        raise ConfigError(f"{source}: kept and domains differ in {other!r}; {wanted}")


def _protocol(manifest: Manifest, source: str) -> None:
    """Raise ConfigError for a mask of no domain or class, a worst group without groups."""
    if "worst_group" in manifest.scored_by and not (
        manifest.groups or manifest.kept or manifest.table
    ):
        wanted, example = WANTED["groups"]
        raise ConfigError(f"{source}: worst_group needs groups; wanted: {wanted}, e.g. {example}")
    for domain, classes in manifest.mask.items():
        if domain not in manifest.domains:
            problem = unknown(f"domain of {manifest.name}", domain, manifest.domains)
            raise ConfigError(f"{source}: mask: {problem}")
        if not classes:
            wanted, example = WANTED["mask"]
            problem = f"mask of {domain} has no class; wanted: {wanted}, e.g. {example}"
            raise ConfigError(f"{source}: {problem}")


def check_names(manifest: Manifest, source: str) -> None:
    """Raise ConfigError for a name that a path cannot hold, and for a domain given twice."""
    for key, names in (("name", [manifest.name]), ("domains", manifest.domains)):
        for name in names:
            if not is_file_name(name) or name.startswith(tuple(FORMULA)):
                why = "it is part of the names of files, and of splits: domain/test"
                wanted = f"wanted: a name without a slash, e.g. {WANTED[key][1]}"
                raise ConfigError(f"{source}: {key}: {name!r:.80}; {why}; {wanted}")
    for name in filter(is_made, manifest.domains):
        taken = f"{name!r} is the name of a shift that is made of the reference"
        raise ConfigError(f"{source}: domains: {taken}; wanted: another name")
    twice = [name for name, count in Counter(manifest.domains).items() if count > 1]
    if twice:
        raise ConfigError(f"{source}: domains: {twice[0]!r} is given twice; wanted: once")


def _texts(manifest: Manifest, source: str) -> None:
    """Raise ConfigError for no template, for one without a name's place, and for other keys."""
    wanted, example = WANTED["templates"]
    advice = f"wanted: {wanted}, e.g. {example}"
    if not manifest.templates:
        raise ConfigError(f"{source}: templates: none; {advice}")
    if isinstance(manifest.templates, str) and manifest.templates != OPENAI:
        raise ConfigError(f"{source}: templates: got {manifest.templates!r}; {advice}")

    for domain in manifest.captions:
        if domain not in (ANY, *manifest.domains):
            problem = unknown(f"domain of {manifest.name}", domain, [ANY, *manifest.domains])
            raise ConfigError(f"{source}: captions: {problem}")
    of_all = {"templates": () if manifest.templates == OPENAI else manifest.templates}
    of_all["spurious"] = manifest.spurious
    of_all |= {f"captions: {domain}": texts for domain, texts in manifest.captions.items()}
    for key, texts in of_all.items():
        for text in texts:
            if "{}" not in text and AN not in text:
                what = "caption" if key == "spurious" else "class name"
                fault = f"{text!r} has no {{}} for the {what}"
                raise ConfigError(f"{source}: {key}: {fault}")


def _lists(manifest: Manifest, source: str) -> None:
    """Raise ConfigError where several domains, or train and test, would share a list, and where
    lists would lie out of the root.
    """
    if leads_out(manifest.lists) and not manifest.outside:
        fault = f"lists: {manifest.lists!r:.80} leads out of the root"
        raise ConfigError(f"{source}: {fault}; if that is meant: outside: true")
    needed = ["{split}"]
    if len(manifest.domains) > 1:
        needed.insert(0, "{domain}")
    for word in needed:
        if word not in manifest.lists and not manifest.folders:
            wanted, example = WANTED["lists"]
            fault = f"lists: {manifest.lists!r} has no {word}"
            raise ConfigError(f"{source}: {fault}; wanted: {wanted}, e.g. {example}")


def hint_on_texts(values: dict[str, Any], path: Path) -> str:
    """Of the first text that YAML took for something else: its line, and how to quote it."""
    for key in ("name", "reference", "domains", "templates"):
        given = values.get(key, "")
        if isinstance(given, list):
            for row, text in enumerate(given):
                if not isinstance(text, str):
                    return quoting_hint(path, (key, row))
        elif key in ("name", "reference") and not isinstance(given, str | dict):
            return quoting_hint(path, (key,))
    return ""
