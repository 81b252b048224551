"""DomainBed's layout, of Office-Home, PACS, VLCS and TerraIncognita: a folder a domain, in it one a
class. Gulrajani and Lopez-Paz, In Search of Lost Domain Generalization, ICLR 2021.
"""

from .asked import Asked, Rows, class_folders


def domain_folders(asked: Asked) -> dict[str, Rows]:
    """All images of a domain; what is trained on, chosen by and scored is drawn from them."""
    return {"": class_folders(asked)}
