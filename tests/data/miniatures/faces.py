"""CelebA in small, with its lists as text or as tables."""

from pathlib import Path

from miniatures.drawing import draw
from miniatures.wilds import write_csv

ATTRIBUTES = ["Bald", "Blond_Hair", "Male", "Young"]


def write_celeba(root: Path, images: int = 3, *, as_tables: bool = False) -> Path:
    """Some faces of each hair and gender in each part, img_align_celeba/000001.jpg."""
    attributes = []
    parts = []
    for part in range(3):
        for hair in (-1, 1):
            for male in (-1, 1):
                for _ in range(images):
                    name = f"{len(parts) + 1:06d}.jpg"
                    draw(root / "img_align_celeba" / name, (hair + 1) // 2, len(parts))
                    attributes.append([name, -1, hair, male, 1])
                    parts.append([name, part])
    if as_tables:
        write_csv(root / "list_attr_celeba.csv", ["image_id", *ATTRIBUTES], attributes)
        write_csv(root / "list_eval_partition.csv", ["image_id", "partition"], parts)
        return root

    lines = [str(len(attributes)), " ".join(ATTRIBUTES) + " "]
    lines += [" ".join(f"{value:>2}" for value in row) for row in attributes]
    (root / "list_attr_celeba.txt").write_text("\n".join(lines) + "\n")
    listed = "".join(f"{name} {part}\n" for name, part in parts)
    (root / "list_eval_partition.txt").write_text(listed)
    return root


WRITERS = {"celeba": write_celeba}
