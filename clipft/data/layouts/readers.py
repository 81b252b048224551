"""The readers of layouts by the names that manifests use."""

from .asked import Reader
from .celeba import celeba
from .cifar import cifar10, cifar10_1, cifar10_2, cifar100, cifar_c
from .cub import cub, cub_gzsl
from .domainbed import domain_folders, some_folders
from .imagenet import imagenet, imagenet_a, imagenet_r, imagenet_sketch, imagenet_v2, objectnet
from .pcam import pcam
from .transfer import caltech101, flowers102, rendered_sst2, stanford_cars
from .wilds import fmow, iwildcam, waterbirds

READERS: dict[str, Reader] = {
    "caltech101": caltech101,
    "celeba": celeba,
    "cifar10": cifar10,
    "cifar100": cifar100,
    "cifar10_1": cifar10_1,
    "cifar10_2": cifar10_2,
    "cifar_c": cifar_c,
    "cub": cub,
    "cub_gzsl": cub_gzsl,
    "domainbed": domain_folders,
    "domainbed_some": some_folders,  # domains may lack classes
    "flowers102": flowers102,
    "fmow": fmow,
    "imagenet": imagenet,
    "imagenet_a": imagenet_a,
    "imagenet_r": imagenet_r,
    "imagenet_sketch": imagenet_sketch,
    "imagenet_v2": imagenet_v2,
    "iwildcam": iwildcam,
    "objectnet": objectnet,
    "pcam": pcam,
    "rendered_sst2": rendered_sst2,
    "stanford_cars": stanford_cars,
    "waterbirds": waterbirds,
}
# layout -> what its rows were held against in tests, on miniatures of the exact layout
CHECKED: dict[str, str] = {
    "caltech101": "torchvision.Caltech101",
    "celeba": "torchvision.CelebA",
    "cifar10": "torchvision.CIFAR10",
    "cifar100": "torchvision.CIFAR100",
    "cifar10_1": "its arrays by NumPy",
    "cifar10_2": "its arrays by NumPy",
    "cifar_c": "its arrays by NumPy",
    "cub": "its lists by pandas",
    "cub_gzsl": "its .mat files by scipy",
    "domainbed": "torchvision.ImageFolder, by which DomainBed reads",
    "domainbed_some": "torchvision.ImageFolder, by which DomainBed reads",
    "flowers102": "torchvision.Flowers102",
    "fmow": "its tables by pandas, as wilds reads them",
    "imagenet": "torchvision.ImageFolder, and its parser of the devkit",
    "imagenet_a": "labels by hand",
    "imagenet_r": "labels by hand",
    "imagenet_sketch": "labels by hand",
    "imagenet_v2": "labels by hand",
    "iwildcam": "its table by pandas, as wilds reads it",
    "objectnet": "WiSE-FT's projection of logits, in NumPy",
    "pcam": "torchvision.PCAM",
    "rendered_sst2": "torchvision.RenderedSST2",
    "stanford_cars": "torchvision.StanfordCars",
    "waterbirds": "its table by pandas, as wilds reads it",
}
# whose images lie in arrays; they are taken out into files in the cache
IN_ARRAYS = {"cifar10", "cifar100", "cifar10_1", "cifar10_2", "cifar_c", "pcam"}
