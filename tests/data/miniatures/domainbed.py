"""Data sets of DomainBed in small, as its download script leaves them."""

from pathlib import Path

from miniatures.drawing import draw

from clipft.data.manifests import load_manifest


def write_domains(name: str, root: Path, images: int = 5) -> Path:
    """Some images of every class folder of every domain, which is drawn a little otherwise."""
    manifest = load_manifest(name)
    for place, kept in enumerate(manifest.kept.values()):
        for label, row in enumerate(manifest.class_names):
            for number in range(images):
                file = root / kept.folder / row.slug / f"pic_{number:03d}.jpg"
                draw(file, label, number + 100 * place)
    return root


def write_office_home(root: Path, images: int = 5) -> Path:
    """Real World/Alarm_Clock/pic_000.jpg, and two files that are no images."""
    write_domains("office_home", root, images)
    (root / "ImageInfo.csv").write_text("Index,Name\n")
    (root / "imagelist.txt").write_text("Art/Alarm_Clock/pic_000.jpg\n")
    return root


def write_pacs(root: Path, images: int = 5) -> Path:
    """art_painting/dog/pic_000.jpg"""
    return write_domains("pacs", root, images)


def write_vlcs(root: Path, images: int = 5) -> Path:
    """VOC2007/bird/pic_000.jpg"""
    return write_domains("vlcs", root, images)


def write_terra_incognita(root: Path, images: int = 5) -> Path:
    """location_100/bird/pic_000.jpg"""
    return write_domains("terra_incognita", root, images)


WRITERS = {
    "office_home": write_office_home,
    "pacs": write_pacs,
    "vlcs": write_vlcs,
    "terra_incognita": write_terra_incognita,
}
