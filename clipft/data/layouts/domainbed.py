"""DomainBed's layout, of Office-Home, PACS, VLCS and TerraIncognita: a folder a domain, in it one a
class. Gulrajani and Lopez-Paz, In Search of Lost Domain Generalization, ICLR 2021.
"""

from ...errors import ConfigError
from ..folders import listed
from .asked import Asked, Rows, class_folders


def domain_folders(asked: Asked) -> dict[str, Rows]:
    """All images of a domain; what is trained on, chosen by and scored is drawn from them.

    Raises ConfigError where a class has no image: DomainBed numbers the folders that are there.
    """
    rows = class_folders(asked)
    missing = _missing(asked, rows)
    if missing:
        wanted = f"wanted: {asked.heading} as its card says, see clipft datasets"
        raise ConfigError(f"{asked.place} has no image of {listed(missing)}; {wanted}")
    return {"": rows}


def some_folders(asked: Asked) -> dict[str, Rows]:
    """The same of a data set whose domains may lack classes: a line says which."""
    rows = class_folders(asked)
    missing = _missing(asked, rows)
    if missing:
        rows.notes.append(f"{asked.place} has no image of {listed(missing)}")
    return {"": rows}


def _missing(asked: Asked, rows: Rows) -> list[str]:
    """The class folders without an image, in the order of labels."""
    there = set(rows.labels)
    return [folder for folder, label in asked.folders.items() if label not in there]
