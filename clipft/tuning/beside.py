"""Images under shift on which is chosen: unlabelled folders, or made shifts of val images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..data.manifests import Manifest
    from ..data.splits import Split

# Of noise, blur and weather one kind each, of digital ones two, at the middle severity: each kind
# is as many images again to score at every alpha.
KINDS = ("gaussian_noise", "defocus_blur", "fog", "contrast", "jpeg_compression")
MADE = {"kinds": list(KINDS), "severities": [3]}
MANY = 2000  # images of an unlabelled folder
MOST = 400  # images of a split: 2000 of five know agreement to a point or two


def splits_beside(manifest: Manifest, folders: Sequence[str]) -> list[Split]:
    """The splits on which is chosen: of unlabelled folders where there are any, else made ones.

    Of made shifts those of the validation images: the test images are only reported. Of many
    images some, evenly spread: an unlabelled folder may hold all that a camera ever saw.
    """
    from ..evaluation.beside import unlabelled_split

    if folders:
        splits = [unlabelled_split(folder, manifest) for folder in folders]
        return [_some(split, MANY) for split in splits]
    return [_some(manifest.split(f"{domain}/val"), MOST) for domain in manifest.made]


def _some(split: Split, most: int) -> Split:
    """So many rows of a split at most, evenly spread over it."""
    count = len(split)
    if count <= most:
        return split
    return split.take([row * count // most for row in range(most)])
