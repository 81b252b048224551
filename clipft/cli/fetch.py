"""The command that brings together what a batch needs before it runs: fetch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from ..errors import ClipftError, ConfigError
from .app import Plugin
from .terminal_tables import show

if TYPE_CHECKING:
    from ..batch.forecast import Forecast

HERE = "here"


def fetch(
    spec: Annotated[str, Argument(help="a batch spec, as of clipft batch: a file, or a name")],
    only: Annotated[
        list[str] | None, Option(help="as of clipft batch: only for these runs; repeatable")
    ] = None,
    small: Annotated[bool, Option("--small", help="for clipft batch --small")] = False,
    plugin: Plugin = None,
) -> None:
    """Bring what a batch needs into the caches, on a machine with a network: weights, tokenizers,
    rendered data. Data sets that nobody may download for you are named.
    """
    from ..batch.forecast import forecast
    from ..methods import use_plugins

    use_plugins(plugin or ())
    ahead = forecast(spec, None, only or (), small=small)
    rows = [*_models(ahead), *_data(ahead)]
    for missing in ahead.missing:
        if missing.kind == "extra":
            rows.append(_row("extra", missing.name, missing.line))
    if not rows:
        print(f"{ahead.name} needs nothing")
        return
    show(rows, f"{ahead.name}: what it needs")
    absent = [row for row in rows if not row["state"].startswith(HERE)]
    if absent:
        names = ", ".join(f"{row['name']}" for row in absent)
        raise ConfigError(f"{len(absent)} of {len(rows)} are not here: {names}; the table says how")
    print("nothing is missing; where there is no network, set HF_HUB_OFFLINE=1 for the batch")


def _models(ahead: Forecast) -> list[dict[str, Any]]:
    """A row for each file of each model, downloaded where it was not there."""
    from ..models.fetch import fetch_model

    rows = []
    for model, pretrained in ahead.models:
        name = f"{model} {pretrained}".strip()
        try:
            files = fetch_model(model, pretrained)
        except ClipftError as error:
            rows.append(_row("weights", name, str(error)))
            continue
        for file, size, digest in files:
            about = f"{HERE}: {size / 1e6:.1f} MB, sha256 {digest[:12]}"
            rows.append(_row("weights", f"{name} {file}", about))
        if not files:
            rows.append(_row("weights", name, HERE))
    return rows


def _data(ahead: Forecast) -> list[dict[str, Any]]:
    """A row for each data set; what is rendered on first use is rendered now."""
    from ..data.manifests import load_manifest

    lines = {missing.name: missing.line for missing in ahead.missing if missing.kind == "data"}
    rows = []
    for name in ahead.manifests:
        if name not in lines:
            manifest = load_manifest(name)
            if manifest.is_rendered:
                manifest.split(f"{manifest.reference}/train")
        rows.append(_row("data", name, lines.get(name, HERE)))
    return rows


def _row(kind: str, name: str, state: str) -> dict[str, Any]:
    return {"what": kind, "name": name, "state": state}
