"""The readers of layouts by the names that manifests use."""

from .asked import Reader
from .domainbed import domain_folders, some_folders
from .pcam import pcam
from .transfer import caltech101, flowers102, rendered_sst2, stanford_cars

READERS: dict[str, Reader] = {
    "domainbed": domain_folders,
    "domainbed_some": some_folders,  # domains may lack classes
    "caltech101": caltech101,
    "flowers102": flowers102,
    "pcam": pcam,
    "rendered_sst2": rendered_sst2,
    "stanford_cars": stanford_cars,
}
