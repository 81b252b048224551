"""Which splits a run trains on, chooses its weights on and reports, and a name for their rows."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from ..data.splits import SplitName
from ..errors import ConfigError, unknown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..config import RunConfig
    from ..data.manifests import Manifest
    from ..data.splits import Split

CHOSEN_ON_VAL = ("holdout", "loss")  # of `selection`


def reference_of(config: RunConfig, manifest: Manifest) -> str:
    """The in-distribution domain."""
    return config.reference or manifest.reference


def seen_by(config: RunConfig, manifest: Manifest) -> Manifest:
    """The data set as a run sees it: held out of is what it trains on, which may be any domain, and
    its decoder reads the images.
    """
    reference = reference_of(config, manifest)
    trained = {reference, *config.train_domains}
    return manifest.trained_on(trained, reference).decoded_by(config.decoder)


def shifts_of(config: RunConfig, manifest: Manifest) -> list[str]:
    """The domains that robustness is measured on; raises ConfigError for one that is no shift."""
    known = manifest.shifts(reference_of(config, manifest))
    for domain in config.shifts:
        if domain not in known:
            raise unknown(f"shift of {manifest.name}", domain, known)
    return [domain for domain in known if domain in (config.shifts or known)]


def trained_on(config: RunConfig, manifest: Manifest) -> list[str]:
    """Train of the reference, or of all train_domains."""
    return _of_trained_domains("train", config, manifest)


def chosen_on(config: RunConfig, manifest: Manifest) -> list[str]:
    """Held-out val of the same domains, or their reported test with selection "paper".

    With selection "last" nothing is chosen: val is validated on as far as there is one.
    """
    part = "test" if config.selection == "paper" else "val"
    names = _of_trained_domains(part, config, manifest)
    if config.selection == "last":
        return [name for name in names if manifest.has(name)]
    return names


def choosing_on(config: RunConfig, manifest: Manifest) -> list[str]:
    """The same for what cannot do without; raises ConfigError where there is none."""
    names = chosen_on(config, manifest)
    if not names:
        fault = f"{manifest.name} has no val images to choose on"
        raise ConfigError(f"{fault}; hold some of train out: holdout: 0.2 in its manifest")
    return names


def reported_on(config: RunConfig, manifest: Manifest) -> list[str]:
    """Reference val, reference test, and the test of every shift that is measured on.

    A val that is not there is left out where no weights were chosen on it.
    """
    reference = reference_of(config, manifest)
    domains = (reference, *shifts_of(config, manifest))
    names = [str(SplitName(domain, "test")) for domain in domains]
    val = str(SplitName(reference, "val"))
    if _is_chosen_on_val(config) or manifest.has(val):
        return [val, *names]
    return names


def _is_chosen_on_val(config: RunConfig) -> bool:
    """Whether a training here chose its weights on val; an adopted run has no steps."""
    return config.steps > 0 and config.selection in CHOSEN_ON_VAL


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
