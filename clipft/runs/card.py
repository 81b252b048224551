"""The model card of an export: what a run's records say of it at one alpha, and no number more."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ..config import ZERO_SHOT
from ..errors import RunError
from ..methods import METHODS
from .identity import model_name
from .machine import versions
from .table import reference_first

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd

    from .formats import Format
    from .run import Run

# settings that stand elsewhere in the card, or are places of files
PLACED = ("manifest", "reference", "model", "pretrained", "method", "head_from")
HEAD_CODE = """\
import json

from safetensors import safe_open

with safe_open("head.safetensors", "pt") as file:
    weight, bias = file.get_tensor("weight"), file.get_tensor("bias")
    classes = json.loads(file.metadata()["classes"])
logits = embeddings @ weight + bias  # of unit embeddings
label = classes[logits[0].argmax()]
"""


def model_card(run: Run, alpha: float, target: Format, *, half: bool = False) -> str:
    """README.md of an export of a run at this alpha.

    Accuracies and energy gaps are those of the run's scores; where this alpha has none, the card
    says so, with the command that scores it.
    """
    scored = scored_rows(run, alpha)
    parts = [
        _front_matter(run, alpha, target, scored),
        f"# {_plain(run.title)}, alpha {alpha:g}",
        _what_it_is(run, alpha, target, half=half),
        _accuracies(run, alpha, scored),
        _data(run),
        _training(run),
        _loading(run, target),
        _licences(run),
    ]
    return "\n\n".join(parts) + "\n"


def scored_rows(run: Run, alpha: float) -> pd.DataFrame | None:
    """The rows of the run's table at this alpha, reference first; None where it is not scored."""
    try:
        table = run.table()
    except RunError:  # not scored at all, or by an older clipft
        return None
    rows = table[table.alpha == alpha]
    return None if rows.empty else rows


def score_command(run: Run, alpha: float) -> str:
    """What scores a run at this alpha, as seen from where the folder of runs lies."""
    path = run.path.resolve()
    return f"clipft wise {path.parent.name}/{path.name} --alpha {alpha:g}"


def _front_matter(run: Run, alpha: float, target: Format, scored: pd.DataFrame | None) -> str:
    """What the hub of Hugging Face reads: library, task, tags and results."""
    name = f"{run.id}-alpha-{alpha:g}"
    task = "zero-shot-image-classification" if target.has_texts else "image-classification"
    about: dict[str, Any] = {
        "library_name": target.library,
        "pipeline_tag": task,
        "tags": ["clip", "clipft", "robustness", run.name.method, *run.name.after],
    }
    if scored is not None:
        is_told = scored.metric == scored.scored_by
        results = [_result(run, row) for row in scored[is_told].to_dict("records")]
        about["model-index"] = [{"name": name, "results": results}]
    text = yaml.safe_dump(about, sort_keys=False, allow_unicode=True, width=100)
    return f"---\n{text}---"


def _result(run: Run, row: dict[Any, Any]) -> dict[str, Any]:
    dataset = {"name": run.manifest.heading, "type": run.manifest.name, "split": row["split"]}
    return {
        "task": {"type": "image-classification"},
        "dataset": dataset,
        "metrics": [{"type": row["metric"], "value": float(row["mean"])}],
    }


def _rows(scored: pd.DataFrame, metric: str) -> list[dict[Any, Any]]:
    return scored[scored.metric == metric].to_dict("records")


def _what_it_is(run: Run, alpha: float, target: Format, *, half: bool) -> str:
    manifest = run.manifest
    lines = {
        "Base model": _base(run),
        "Method": f"{run.name.title} (`{run.name}`)",
        "Alpha": f"{alpha:g}: weights mixed of the zero-shot model (0) and the tuned one (1)",
        "Tuned on": f"{manifest.heading}, reference `{run.reference}`",
        "Classes": f"{len(manifest.names)}, listed in `head.safetensors`",
        "Format": f"{target.title}, {'fp16' if half else 'as tuned'}",
        "Run": f"`{run.id}`",
        "Written by": f"clipft {versions(())['clipft']}",
    }
    return _table(("", ""), [(key, value) for key, value in lines.items()])


def _base(run: Run) -> str:
    """The model and its weights; of files the last part of their path alone."""
    model = model_name(run.config.model)
    pretrained = Path(run.config.pretrained).name
    return f"{model}, weights `{pretrained}`" if pretrained else model


def _accuracies(run: Run, alpha: float, scored: pd.DataFrame | None) -> str:
    heading = "## What was measured"
    if scored is None:
        command = score_command(run, alpha)
        return (
            f"{heading}\n\nThis run is not scored at alpha {alpha:g}, so no accuracy stands here."
            f" This scores it; export it again afterwards:\n\n```bash\n{command}\n```"
        )
    rows = []
    for split in reference_first(scored["split"].unique(), run.reference):
        rows.append(_measured(scored[scored["split"] == split]))
    columns = ["split", "role", "images", f"{run.manifest.scored_by.title}, %", "energy gap"]
    of_what = "zero-shot model" if alpha == ZERO_SHOT else "model at this alpha"
    note = (
        f"Of the {of_what}, as the run recorded it: [low, high] are 95 % intervals over images."
        " The energy gap says how far tuning moved the scores of an image on random texts."
    )
    return f"{heading}\n\n{_table(columns, rows)}\n\n{note}"


def _measured(rows: pd.DataFrame) -> list[str]:
    """The cells of one split."""
    first = rows.iloc[0]
    cells = [str(first["split"]), str(first["role"]), str(first["n"])]
    for metric, factor in ((first["scored_by"], 100), ("energy_gap", 1)):
        found = _rows(rows, metric)
        if not found:
            cells.append("")
            continue
        mean, low, high = (factor * found[0][name] for name in ("mean", "low", "high"))
        digits = ".1f" if factor > 1 else ".4g"
        cells.append(f"{mean:{digits}} [{low:{digits}}, {high:{digits}}]")
    return cells


def _data(run: Run) -> str:
    manifest = run.manifest
    lines = [f"## Data\n\n{_plain(manifest.heading)} (`{_plain(manifest.name)}`)"]
    if manifest.homepage:
        lines.append(f"Homepage: {_plain(manifest.homepage)}")
    if manifest.card:
        lines.append("> " + _plain(manifest.card))
    return "\n\n".join(lines)


def _training(run: Run) -> str:
    """The hyper-parameters, what was done afterwards, and on what machine."""
    recorded = run.config.model_dump(mode="json")
    rows = []
    for name, value in recorded.items():
        if name not in PLACED:
            rows.append((name, _own(run, name) if value is None else value))
    parts = ["## How it was made", _table(("setting", "value"), rows)]
    if run.after is not None:
        options = ", ".join(f"{name}={value}" for name, value in run.after.options.items())
        made = f"`{run.after.name}` of the runs {', '.join(run.after.members)}"
        parts.append(f"Afterwards: {made}{'; ' + _plain(options) if options else ''}.")
    parts.append(f"{_plain(str(run.made))}.")
    return "\n\n".join(parts)


def _own(run: Run, name: str) -> str:
    """What a setting without a value stands for: the method's own, where it has one."""
    value = getattr(METHODS.get(run.config.method), name, None)
    return "none" if value is None else f"{value:g}, the method's own"


def _loading(run: Run, target: Format) -> str:
    code = target.code.replace("ARCHITECTURE", repr(model_name(run.config.model)))
    parts = ["## How to load it", "In this folder:", f"```python\n{code}```"]
    if target.has_texts:
        tuned = "The tuned head, which gives a score for each class, lies beside the model:"
        parts += [tuned, f"```python\n{HEAD_CODE}```"]
    return "\n\n".join(parts)


def _licences(run: Run) -> str:
    licence = _plain(run.manifest.licence) or "not said in its manifest"
    return (
        f"## Licences\n\nData set: {licence}. The base model's weights have the licence of those"
        " who published them; a tuned model is bound by both. clipft itself is MIT."
    )


def _table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(value: Any) -> str:
    return _plain(str(value)).replace("|", "\\|")


def _plain(text: str) -> str:
    """A text of data or configuration on one line, no HTML and no link."""
    return escape(" ".join(text.split()), quote=False).replace("](", "]&#40;")
