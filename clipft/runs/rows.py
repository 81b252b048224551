"""Which splits a run trains on, chooses its weights on and reports, and a name for their rows."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from ..data.splits import SplitName

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..config import RunConfig
    from ..data.manifests import Manifest
    from ..data.splits import Split


def reference_of(config: RunConfig, manifest: Manifest) -> str:
    """The in-distribution domain."""
    return config.reference or manifest.reference


def trained_on(config: RunConfig, manifest: Manifest) -> list[str]:
    """Train of the reference, or of all train_domains."""
    return _of_trained_domains("train", config, manifest)


def chosen_on(config: RunConfig, manifest: Manifest) -> list[str]:
    """Held-out val of the same domains, or their reported test with selection "paper"."""
    part = "test" if config.selection == "paper" else "val"
    return _of_trained_domains(part, config, manifest)


def reported_on(config: RunConfig, manifest: Manifest) -> list[str]:
    """Reference val, reference test, and every shift's test."""
    reference = reference_of(config, manifest)
    names = [SplitName(reference, part) for part in ("val", "test")]
    names += [SplitName(shift, "test") for shift in manifest.shifts(reference)]
    return [str(name) for name in names]


def _of_trained_domains(part: str, config: RunConfig, manifest: Manifest) -> list[str]:
    domains = config.train_domains or (reference_of(config, manifest),)
    return [str(SplitName(domain, part)) for domain in domains]


def rows_digest(splits: Sequence[Split]) -> str:
    """12 letters that name the rows of splits: paths inside the data set, and labels."""
    content = hashlib.sha256()
    for split in splits:
        content.update(f"{split.name}\n".encode())
        for name, label in zip(split.ids, split.labels, strict=True):
            content.update(f"{label} {name}\n".encode())
    return content.hexdigest()[:12]
