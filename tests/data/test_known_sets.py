"""Every data set that ships, whole: a miniature of its layout is checked, scored without training,
trained on for five steps, and scored along alpha with its energy gap, by its own metric.
"""

import pytest
import yaml
from conftest import QUIET, World
from miniatures import birds, cifar, domainbed, domainnet, faces, imagenet, transfer, wilds

import clipft
from clipft.data.check import check_images
from clipft.data.manifests import Manifest, available, manifests_folder

WRITERS = {
    **birds.WRITERS,
    **cifar.WRITERS,
    **domainbed.WRITERS,
    **faces.WRITERS,
    **transfer.WRITERS,
    **wilds.WRITERS,
    "domainnet": domainnet.write_domainnet,
    "imagenet": imagenet.write_imagenet,
}
SHIFTS = 5  # CIFAR has 17
# EmojiShift is rendered, and what is trained on it is seen in nearly every other test.
RENDERED = {"emoji_shift", "emoji_start", "emoji_pretrain", "emoji_made"}


def test_every_data_set_that_ships_has_a_miniature():
    assert set(WRITERS) | RENDERED == set(available())


def short_manifest(name, folder, root):
    """The manifest that ships, with one template: of 1000 classes 80 would take a minute."""
    values = yaml.safe_load((manifests_folder() / f"{name}.yaml").read_text(encoding="utf-8"))
    values |= {"root": str(root), "templates": ["a photo of a {}."]}
    if name == "imagenet":
        values["classes"] = imagenet.CLASSES
    elif isinstance(values["classes"], str):
        values["classes"] = str(manifests_folder() / values["classes"])
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(values))
    return file


@pytest.mark.parametrize("name", WRITERS)
def test_from_files_to_scores(name, model_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPFT_CACHE", str(tmp_path / "cache"))
    WRITERS[name](tmp_path / "data")
    file = short_manifest(name, tmp_path, tmp_path / "data")
    manifest = Manifest.open(file)
    assert check_images(manifest).wrong == []

    world = World(file, model_folder, tmp_path / "runs")
    shifts = manifest.shifts()[:SHIFTS]
    run = world.train(steps=5, eval_every=5, batch_size=8, shifts=shifts)
    run.score([0.0, 0.5, 1.0])
    table = clipft.results(run)

    tests = table[table.role.isin(["reference", "shift"])]
    domains = [manifest.reference, *shifts]
    assert set(tests.domain) == set(domains)
    for role in ("reference", "shift"):
        assert set(table[table.role == role].scored_by) <= {getattr(manifest.scored_by, role)}
    scores = tests[tests.metric == tests.scored_by]
    assert len(scores) == 3 * len(domains)
    assert scores["mean"].between(0, 1).all()
    gaps = tests[tests.metric == "energy_gap"].groupby("alpha")["mean"].max()
    assert gaps[0.0] == 0 and gaps[1.0] > 0

    model = f"{world.model}:{world.pretrained}"
    zero_shot = clipft.evaluate(model, str(file), reading=QUIET)
    zero_shot = zero_shot[zero_shot["split"].isin(tests["split"])]
    at_start = zero_shot[zero_shot.metric == zero_shot.scored_by].set_index("split")["mean"]
    first = scores[scores.alpha == 0].set_index("split")["mean"]
    assert at_start[first.index].to_dict() == pytest.approx(first.to_dict())
    if run.manifest.mask:
        images = run.folder.images()
        for domain in run.manifest.mask:
            rows = images[images.domain == domain]
            assert set(rows.prediction) <= set(manifest.split(f"{domain}/test").allowed)
