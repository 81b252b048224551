"""The readers of layouts by the names that manifests use."""

from .asked import Reader
from .domainbed import domain_folders

READERS: dict[str, Reader] = {"domainbed": domain_folders}
