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
# layout -> what its rows were held against in tests, on miniatures of the exact layout
CHECKED: dict[str, str] = {
    "domainbed": "torchvision.ImageFolder, by which DomainBed reads",
    "domainbed_some": "torchvision.ImageFolder, by which DomainBed reads",
    "caltech101": "torchvision.Caltech101",
    "flowers102": "torchvision.Flowers102",
    "pcam": "torchvision.PCAM",
    "rendered_sst2": "torchvision.RenderedSST2",
    "stanford_cars": "torchvision.StanfordCars",
}
