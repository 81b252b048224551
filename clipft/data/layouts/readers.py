"""The readers of layouts by the names that manifests use."""

from .asked import Reader
from .celeba import celeba
from .cub import cub, cub_gzsl
from .domainbed import domain_folders
from .wilds import fmow, iwildcam, waterbirds

READERS: dict[str, Reader] = {
    "celeba": celeba,
    "cub": cub,
    "cub_gzsl": cub_gzsl,
    "domainbed": domain_folders,
    "fmow": fmow,
    "iwildcam": iwildcam,
    "waterbirds": waterbirds,
}
