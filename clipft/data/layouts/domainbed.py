"""DomainBed's layout, of Office-Home, PACS, VLCS and TerraIncognita: a folder a domain, in it one a
class. Gulrajani and Lopez-Paz, In Search of Lost Domain Generalization, ICLR 2021.
"""

from ..folders import listed
from .asked import Asked, Rows, class_folders


def domain_folders(asked: Asked) -> dict[str, Rows]:
    """All images of a domain; what is trained on, chosen by and scored is drawn from them.

    Raises ConfigError where a class has no image: DomainBed numbers the folders that are there.
    """
    rows = class_folders(asked)
    asked.check_every_class(rows, asked.place)
    return {"": rows}


def some_folders(asked: Asked) -> dict[str, Rows]:
    """The same of a data set whose domains may lack classes: a line says which."""
    rows = class_folders(asked)
    missing = asked.without_image(rows)
    if missing:
        rows.notes.append(f"{asked.place} has no image of {listed(missing)}")
    return {"": rows}
