"""The readers of layouts by the names that manifests use."""

from .asked import Reader
from .domainbed import domain_folders, some_folders

READERS: dict[str, Reader] = {
    "domainbed": domain_folders,
    "domainbed_some": some_folders,  # domains may lack classes
}
