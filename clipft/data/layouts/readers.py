"""The readers of layouts by the names that manifests use."""

from .asked import Reader
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
}
