"""Geometry and CKA of finished runs, by hooks, against what the models say without them."""

import numpy as np
import pytest
import torch

from clipft.diagnostics.cka import linear_cka
from clipft.errors import ConfigError
from clipft.figures.geometry import cka_figure, geometry_figure
from clipft.models.hidden import BlockMeans, check_hidden
from clipft.reports.cka import cka_table
from clipft.reports.geometry import geometry_table
from clipft.runs.measures import explanations, with_measures
from clipft.runs.table import results

SPLITS = ["real/val", "real/test", "clipart/test", "sketch/test"]


def test_geometry_is_that_of_the_runs_embeddings(at_home):
    run = at_home.scored[0]
    table = geometry_table(run, alphas=[0.5])
    assert table.alpha.unique().tolist() == [0, 0.5]
    assert sorted(table.split.unique()) == sorted(SPLITS)
    for row in table.itertuples():
        features = run.features(row.split, row.alpha)
        f = features.embeddings / np.linalg.norm(features.embeddings, axis=1, keepdims=True)
        head = run.mixtures.at(row.alpha)["weight"].numpy()
        g = (head / np.linalg.norm(head, axis=0)).T
        assert row.modality_gap == pytest.approx(np.linalg.norm(f.mean(0) - g.mean(0)), rel=1e-4)
        own = ((f - g[features.label]) ** 2).sum(1).mean()
        assert row.alignment == pytest.approx(own, rel=1e-4)
        assert row.n == len(f)
    assert (table[table.alpha == 0].modality_gap_change == 0).all()
    lines = [trace for trace in geometry_figure(table).data if trace.mode == "lines+markers"]
    assert len(lines) == 3 * len(SPLITS)


def test_cka_is_1_at_zero_shot_and_of_images_without_hooks_elsewhere(at_home):
    run = at_home.scored[0]
    assert cka_table(run, alpha=0).cka.to_numpy() == pytest.approx(1)
    table = cka_table(run, alpha=1)
    assert table.block.tolist() == ["block 1", "block 2", "embedding"] * len(SPLITS)
    for row in table[table.block == "embedding"].itertuples():
        ends = [torch.tensor(run.features(row.split, alpha).embeddings) for alpha in (0.0, 1.0)]
        assert row.cka == pytest.approx(linear_cka(*ends), rel=1e-4)
    lines = [trace for trace in cka_figure(table).data if trace.mode == "lines+markers"]
    drawn = np.concatenate([trace.y for trace in lines])
    assert sorted(drawn) == pytest.approx(sorted(table.cka))


def test_hidden_states_are_what_blocks_give_one_after_the_other(at_home):
    """By hand: each block applied to what the last one gave, then the mean over tokens."""
    student = at_home.scored[0].student.eval()
    pixels = torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8)
    with BlockMeans(student) as hidden:
        states = hidden.of(pixels)
    visual = student.visual
    with torch.inference_mode():
        x = visual._embeds(student.pixels(pixels))
        for number, block in enumerate(visual.transformer.resblocks, 1):
            x = block(x)
            torch.testing.assert_close(states[f"block {number}"], x.mean(1))
    assert not any(module._forward_hooks for module in visual.modules())


def test_few_images_and_other_towers_are_refused(at_home):
    table = cka_table(at_home.scored[0], images=6)
    assert (table.n <= 6).all()
    with pytest.raises(ConfigError, match="CKA of 1"):
        cka_table(at_home.scored[0], images=1)
    with pytest.raises(ConfigError, match="Linear"):
        check_hidden(torch.nn.Linear(2, 2), "mine")


def test_a_resnets_blocks_are_its_stages(resnet_folder):
    from clipft.models.load import load_clip
    from clipft.models.students import Classifier

    clip = load_clip(f"local-dir:{resnet_folder}", str(resnet_folder / "random.pt"))
    student = Classifier(clip, torch.ones(16, 4)).eval()
    with BlockMeans(student) as hidden:
        states = hidden.of(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))
    assert list(states) == ["stage 1", "stage 2", "stage 3", "stage 4", "embedding"]
    assert all(len(state) == 2 and state.ndim == 2 for state in states.values())


def test_rivals_stand_beside_each_other(at_home):
    runs = at_home.scored
    cka = cka_table(runs)
    last = cka[cka.block == "embedding"]
    more = with_measures(results(at_home.runs), geometry_table(runs, alphas=[1]), last)
    table = explanations(more)
    assert {"energy_gap", "modality_gap_change", "alignment", "cka"} <= set(table.measure)
