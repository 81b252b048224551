"""The readers of layouts by the names that manifests use."""

from .asked import Reader
from .celeba import celeba
from .cub import cub, cub_gzsl
from .domainbed import domain_folders, some_folders
from .pcam import pcam
from .transfer import caltech101, flowers102, rendered_sst2, stanford_cars
from .wilds import fmow, iwildcam, waterbirds

READERS: dict[str, Reader] = {
    "caltech101": caltech101,
    "celeba": celeba,
    "cub": cub,
    "cub_gzsl": cub_gzsl,
    "domainbed": domain_folders,
    "domainbed_some": some_folders,  # domains may lack classes
    "flowers102": flowers102,
    "fmow": fmow,
    "iwildcam": iwildcam,
    "pcam": pcam,
    "rendered_sst2": rendered_sst2,
    "stanford_cars": stanford_cars,
    "waterbirds": waterbirds,
}
# layout -> what its rows were held against in tests, on miniatures of the exact layout
CHECKED: dict[str, str] = {
    "caltech101": "torchvision.Caltech101",
    "celeba": "torchvision.CelebA",
    "cub": "its lists by pandas",
    "cub_gzsl": "its .mat files by scipy",
    "domainbed": "torchvision.ImageFolder, by which DomainBed reads",
    "domainbed_some": "torchvision.ImageFolder, by which DomainBed reads",
    "flowers102": "torchvision.Flowers102",
    "fmow": "its tables by pandas, as wilds reads them",
    "iwildcam": "its table by pandas, as wilds reads it",
    "pcam": "torchvision.PCAM",
    "rendered_sst2": "torchvision.RenderedSST2",
    "stanford_cars": "torchvision.StanfordCars",
    "waterbirds": "its table by pandas, as wilds reads it",
}
