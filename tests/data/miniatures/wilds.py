"""iWildCam, FMoW and Waterbirds of WILDS in small, with the columns that their files have."""

import csv
from pathlib import Path

from miniatures.drawing import draw

from clipft.data.manifests import load_manifest

REGIONS = {  # country -> region; no region for Antarctica, and Kosovo is not in the mapping
    "CHN": "Asia",
    "FRA": "Europe",
    "NGA": "Africa",
    "USA": "Americas",
    "AUS": "Oceania",
    "ATA": "",
}
COUNTRIES = [*REGIONS, "XKX"]


def write_csv(file: Path, header: list[str], rows: list[list]) -> None:
    """A table of commas."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="") as out:
        csv.writer(out).writerows([header, *rows])


def write_iwildcam(root: Path, images: int = 1) -> Path:
    """train/PLACE_SPLIT_Y_N.jpg: of every class for train, of the first for other splits."""
    classes = load_manifest("iwildcam").class_names
    rows = []
    for place, split in enumerate(("train", "val", "test", "id_val", "id_test")):
        of_split = classes if split == "train" else classes[: 10 + place]
        for y, row in enumerate(of_split):
            for number in range(images):
                name = f"{place}_{split}_{y}_{number}.jpg"
                draw(root / "train" / name, y, number + 100 * place)
                seen = ["2013-07-01 08:00:00.000", name]
                rows.append([len(rows), split, place, 500 + place, y, y, row.folder, *seen])
    header = ["", "split", "location_remapped", "location", "sequence_remapped"]
    write_csv(root / "metadata.csv", [*header, "y", "category_id", "datetime", "filename"], rows)
    listed = [[y, row.folder, row.name] for y, row in enumerate(classes)]
    listed.append([99999, 9999, "a species without images"])
    write_csv(root / "categories.csv", ["y", "category_id", "name"], listed)
    return root


def write_fmow(root: Path, images: int = 2) -> Path:
    """images/rgb_img_N.png; between others a row of split seq, which has no image."""
    classes = [row.name for row in load_manifest("fmow").class_names]
    # split, year, how many classes have images
    cells = [
        ("train", 2012, 62),
        ("train", 2014, 3),
        ("seq", 2011, 1),
        ("val", 2012, 14),
        ("val", 2013, 7),
        ("val", 2016, 2),
        ("test", 2002, 21),
        ("test", 2014, 2),
        ("test", 2016, 14),
        ("test", 2017, 7),
    ]
    rows = []
    for split, year, count in cells:
        for label, name in enumerate(classes[:count]):
            for number in range(images):
                if split != "seq":
                    draw(root / "images" / f"rgb_img_{len(rows)}.png", label, len(rows))
                country = COUNTRIES[len(rows) % len(COUNTRIES)]
                month = 1 if number else 12
                seen = [f"{year}-{month:02d}-01T00:30:00Z", country]
                rows.append([split, f"{name}_{number}.jpg", name, *seen])
    header = ["split", "img_filename", "category", "timestamp", "country_code"]
    write_csv(root / "rgb_metadata.csv", header, rows)
    listed = [[country, country[:2], region] for country, region in REGIONS.items()]
    mapping = ["alpha-3", "alpha-2", "region"]
    write_csv(root / "country_code_mapping.csv", mapping, listed)
    return root


def write_waterbirds(root: Path, images: int = 3) -> Path:
    """Some images of each bird on each place in each split, in folders that are called as CUB's."""
    rows = []
    for split in range(3):
        for y, folder in enumerate(("009.Brewer_Blackbird", "001.Black_footed_Albatross")):
            for place in range(2):
                for number in range(images):
                    name = f"{folder}/{folder[4:]}_{split}{place}{number}_100.jpg"
                    draw(root / name, y, 100 * split + 10 * place + number)
                    scene = f"/l/lake/{number}.jpg"
                    rows.append([len(rows) + 1, name, y, split, place, scene])
    header = ["img_id", "img_filename", "y", "split", "place", "place_filename"]
    write_csv(root / "metadata.csv", header, rows)
    return root


WRITERS = {"iwildcam": write_iwildcam, "fmow": write_fmow, "waterbirds": write_waterbirds}
