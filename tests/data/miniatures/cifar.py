"""CIFAR-10 and CIFAR-100 and their shifts in small: the layout and formats of the real archives."""

import pickle
from pathlib import Path

import numpy as np

from clipft.data.manifests import Manifest, load_manifest

SEVERITIES = 5


def write_cifar10(root: Path, version: str = "python", per_class: int = 3) -> Path:
    """All domains of cifar10 below a root; version: python or binary."""
    names = _names("cifar10")
    for number in range(1, 6):
        batch = made(number, np.arange(10 * per_class) % 10)
        if version == "python":
            keys = {"data": batch[0], "labels": batch[1].tolist()}
            _pickle(root / "cifar-10-batches-py" / f"data_batch_{number}", keys)
        else:
            _binary(root / "cifar-10-batches-bin" / f"data_batch_{number}.bin", *batch)
    batch = made(6, np.arange(20) % 10)
    if version == "python":
        folder = root / "cifar-10-batches-py"
        _pickle(folder / "test_batch", {"data": batch[0], "labels": batch[1].tolist()})
        _pickle(folder / "batches.meta", {"label_names": names, "num_vis": 3072})
    else:
        folder = root / "cifar-10-batches-bin"
        _binary(folder / "test_batch.bin", *batch)
        (folder / "batches.meta.txt").write_text("\n".join([*names, "", ""]))

    (root / "CIFAR-10.1").mkdir()
    images, labels = as_images(*made(7, np.arange(20)[::-1] % 10))
    np.save(root / "CIFAR-10.1" / "cifar10.1_v6_data.npy", images)
    np.save(root / "CIFAR-10.1" / "cifar10.1_v6_labels.npy", labels.astype(np.int32))
    (root / "CIFAR-10.2").mkdir()
    images, labels = as_images(*made(8, np.arange(20) % 10))
    np.savez(root / "CIFAR-10.2" / "cifar102_test.npz", images=images, labels=labels)
    write_corruptions(root / "CIFAR-10-C", "cifar10", np.arange(10))
    return root


def write_cifar100(root: Path, version: str = "python", per_class: int = 3) -> Path:
    """All domains of cifar100 below a root; version: python or binary."""
    names = _names("cifar100")
    folder = root / ("cifar-100-python" if version == "python" else "cifar-100-binary")
    for seed, (part, count) in enumerate((("train", per_class), ("test", 1))):
        data, labels = made(seed, np.arange(100 * count) % 100)
        coarse = labels // 5
        if version == "python":
            keys = {"data": data, "fine_labels": labels.tolist(), "coarse_labels": coarse.tolist()}
            _pickle(folder / part, keys)
        else:
            _binary(folder / f"{part}.bin", data, coarse, labels)
    if version == "python":
        _pickle(folder / "meta", {"fine_label_names": names, "coarse_label_names": ["x"] * 20})
    else:
        (folder / "fine_label_names.txt").write_text("\n".join([*names, ""]))
    write_corruptions(root / "CIFAR-100-C", "cifar100", np.arange(0, 100, 10))
    return root


def write_corruptions(folder: Path, name: str, labels: np.ndarray) -> None:
    """Each corruption: the same images at five severities, one after the other."""
    folder.mkdir(parents=True)
    for seed, domain in enumerate(load_manifest(name).domains):
        if domain.startswith("cifar"):
            continue
        of_each = []
        for severity in range(SEVERITIES):
            of_each.append(as_images(*made(100 * seed + severity, labels))[0])
        np.save(folder / f"{domain}.npy", np.concatenate(of_each))
    np.save(folder / "labels.npy", np.tile(labels, SEVERITIES).astype(np.uint8))


def made(seed: int, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Noise images as CIFAR has them, red, green and blue one after the other: (N, 3072), (N,)."""
    draw = np.random.default_rng(seed)
    return draw.integers(0, 256, (len(labels), 3072), dtype=np.uint8), labels


def as_images(data: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same as (N, 32, 32, 3)."""
    return data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1).copy(), labels


def _names(name: str) -> list[str]:
    return [row.name for row in load_manifest(name).class_names]


def _pickle(file: Path, content: dict) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(pickle.dumps(content, protocol=2))


def _binary(file: Path, data: np.ndarray, *labels: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    columns = [own.astype(np.uint8)[:, None] for own in labels]
    file.write_bytes(np.hstack([*columns, data]).tobytes())


def cifar_manifest(name: str, root: Path) -> Manifest:
    """The manifest that ships, with its data below a root."""
    return load_manifest(name).model_copy(update={"root": str(root)})


WRITERS = {"cifar10": write_cifar10, "cifar100": write_cifar100}
