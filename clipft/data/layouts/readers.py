"""The readers of layouts by the names that manifests use."""

from .asked import Reader
from .cifar import cifar10, cifar10_1, cifar10_2, cifar100, cifar_c
from .domainbed import domain_folders
from .imagenet import imagenet, imagenet_a, imagenet_r, imagenet_sketch, imagenet_v2, objectnet

READERS: dict[str, Reader] = {
    "domainbed": domain_folders,
    "imagenet": imagenet,
    "imagenet_v2": imagenet_v2,
    "imagenet_r": imagenet_r,
    "imagenet_a": imagenet_a,
    "imagenet_sketch": imagenet_sketch,
    "objectnet": objectnet,
    "cifar10": cifar10,
    "cifar100": cifar100,
    "cifar10_1": cifar10_1,
    "cifar10_2": cifar10_2,
    "cifar_c": cifar_c,
}
# whose images lie in arrays; they are taken out into files in the cache
IN_ARRAYS = {"cifar10", "cifar100", "cifar10_1", "cifar10_2", "cifar_c"}
