"""DomainNet in small: the cleaned version and its two list files a domain."""

from pathlib import Path

from miniatures.drawing import draw

from clipft.data.manifests import load_manifest

CLASSES = ("aircraft_carrier", "airplane", "The_Great_Wall_of_China", "t-shirt", "zebra")


def write_domainnet(root: Path, train: int = 10, test: int = 2) -> Path:
    """real/aircraft_carrier/real_001_000001.jpg and so on, of five of the 345 classes.

    real_train.txt and real_test.txt number the classes as DomainNet does, from 0.
    """
    for place, domain in enumerate(load_manifest("domainnet").domains):
        lines: dict[str, list[str]] = {"train": [], "test": []}
        for label, name in enumerate(CLASSES):
            for number in range(train + test):
                path = f"{domain}/{name}/{domain}_{label:03d}_{number:06d}.jpg"
                draw(root / path, label, number + 100 * place)
                lines["train" if number < train else "test"].append(f"{path} {label}\n")
        for part, rows in lines.items():
            (root / f"{domain}_{part}.txt").write_text("".join(rows))
    return root
