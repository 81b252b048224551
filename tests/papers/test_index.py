"""The index of papers against the registries, the files of presets and the code it tells of."""

import inspect
import math
import re
from importlib import import_module
from operator import attrgetter

import pytest
import yaml

from clipft import METHODS, POSTHOC, RunConfig
from clipft.data.manifests import manifests_folder
from clipft.papers.index import paper_index
from clipft.runs.recipes import collections, load_preset

INDEX = paper_index()
PRESETS = manifests_folder() / "presets"
PAPERS = ["flyp", "lipsum_baselines", "lipsum_ft", "soups", "wise_ft"]


def rows(heading):
    """The cells of the table under a heading, without its head."""
    section = INDEX.partition(f"{heading}\n")[2]
    table = re.search(r"(?:^\|.*\n)+", section, re.MULTILINE)[0]
    return [re.split(r" *\| *", line)[1:-1] for line in table.splitlines()[2:]]


@pytest.mark.parametrize(
    ("heading", "registry"), [("## While training", METHODS), ("## After training", POSTHOC)]
)
def test_every_method_has_its_paper_and_a_file_that_is_there(heading, registry):
    found = {name.strip("`"): (title, paper, file) for title, name, paper, file, _ in rows(heading)}
    assert list(found) == list(registry)
    here = manifests_folder().parent / "clipft/objectives"
    for name, (title, paper, file) in found.items():
        assert title == registry[name].title
        assert registry[name].paper.split()[-1] in paper
        path = here / re.search(r"\((.*)\)", file)[1]
        plain = "clipft.objectives.cross_entropy:cross_entropy"
        home = next(iter(registry[name].functions), plain)
        assert f"def {home.partition(':')[2]}" in path.read_text()


def test_formulas_are_those_of_the_files():
    assert "```text\nL = CE + lam * mean_x sum_k (u_k - v_k)^2 / (2 M)," in INDEX
    assert "```text\ntheta_a = (1 - a) theta0 + a theta1\n```" in INDEX
    assert INDEX.count("```text\n") == len(re.findall(r"^```$", INDEX, re.MULTILINE))


@pytest.mark.parametrize("name", PAPERS)
def test_every_value_of_a_papers_preset_says_where_it_is_from(name):
    """By the file itself, read without clipft."""
    written = yaml.safe_load((PRESETS / f"{name}.yaml").read_text())
    for preset in written["presets"].values():
        settings = written["common"] | preset["settings"]
        said = {*written["sources"], *preset.get("sources", {}), *preset.get("unknown", [])}
        assert settings.keys() - said - {"manifest", "method"} == set()
        assert preset.get("sources", {}).keys() <= settings.keys()
    used = {key for preset in written["presets"].values() for key in preset["settings"]}
    assert written["sources"].keys() <= used | written["common"].keys()


@pytest.mark.parametrize("name", PAPERS)
def test_every_value_stands_in_the_index(name):
    table = rows(f"### `{name}`")
    for short in collections()[name].presets:
        preset = load_preset(f"{name}/{short}")
        for key, value in preset.settings.items():
            if key in ("manifest", "method"):
                continue
            (row,) = [row for row in table if row[0] == key and short_in(short, row[2])]
            if isinstance(value, float):
                assert math.isclose(float(row[1]), value, rel_tol=1e-4)
            if key in preset.unknown:
                assert row[3].startswith("unknown")
            else:
                assert row[3] == preset.sources[key]


def short_in(short, cell):
    return cell == "all" or short in cell.split(", ")


def test_a_presets_own_source_wins_and_others_are_inherited():
    preset = load_preset("flyp/few_shot")
    assert preset.sources["warmup"].startswith("release, README")
    assert preset.sources["lr"] == collections()["flyp"].sources["lr"]
    assert load_preset("flyp/few_shot_patchcamelyon").sources["lr"].endswith("--lr=1e-6")
    assert "steps" not in load_preset("flyp/rendered_sst2").sources


def test_the_first_steps_of_a_warm_up_are_one_earlier_than_the_releases():
    """Which the index says: optax's linear schedule from 0, as scripts/Lipsum-FT.py has it."""
    from clipft.training.loop import learning_rate

    config = RunConfig(lr=1e-5, steps=5000, warmup=0.1)
    release = [1e-5 * min(step / 500, 1) for step in range(501)]
    ours = [learning_rate(step, config) for step in range(500)]
    assert ours == pytest.approx(release[1:], rel=1e-12)
    assert "warm-up is one step earlier: our first step has lr / 500" in INDEX


def test_the_first_moment_is_kept_in_single_precision_under_bf16(world, monkeypatch):
    """Which the index says, too."""
    import torch

    from clipft.training.state import State

    kinds = set()
    save = State.save

    def noting(state, file):
        for moments in state.optimizer.state_dict()["state"].values():
            kinds.add(moments["exp_avg"].dtype)
        save(state, file)

    monkeypatch.setattr(State, "save", noting)
    world.train(precision="bf16-mixed", steps=2, eval_every=2)
    assert kinds == {torch.float32}
    assert "AdamW's first moment is kept in fp32" in INDEX


def test_class_names_have_spaces_and_crops_are_those_of_the_model():
    """The two of data: names without underscores, and open_clip's resize for every evaluation."""
    from clipft.data.manifests import load_manifest
    from clipft.models.load import load_clip

    assert "aircraft carrier" in load_manifest("domainnet").names
    resize, crop = load_clip().transform.transforms[:2]
    assert type(resize).__name__ == "Resize" and type(crop).__name__ == "CenterCrop"
    assert resize.size == crop.size[0] == 32 and resize.antialias


EQUATIONS = {  # of Lipsum-FT, as its text numbers them
    "clipft/diagnostics/energies.py": "equations 4 and 5 (energy), 6 (gap) and 7 (its stochastic",
    "clipft/diagnostics/energy_gap.py": "equation 6.",
    "clipft/objectives/lipsum.py": "equations 7 and 8,",
}


def test_lipsum_fts_equations_have_the_papers_numbers():
    """And no other file cites one, so that a number is found where it is checked."""
    root = manifests_folder().parent
    cited = {}
    for file in sorted((root / "clipft").rglob("*.py")):
        words = " ".join(file.read_text().split())
        found = re.findall(r"2404\.00860, (equations? .*?)(?:$|\n)", file.read_text(), re.M)
        if re.search(r"equations? \d", words):
            cited[str(file.relative_to(root))] = found
    assert cited.keys() == EQUATIONS.keys()
    for file, text in EQUATIONS.items():
        assert any(text in line for line in cited[file])


DELIBERATE = {  # what is not as a release has it -> a word of the line that says so
    "clipft.training.loop:learning_rate": "one step earlier",
    "clipft.training.state:State.begin": "fp32",
    "clipft.evaluation.bench:Bench.selection_transform": "224 / 256",
    "clipft.inputs.batches:train_transform": "antialiasing",
    "clipft.posthoc.greedy:greedy_walk": "keep their order",
}


@pytest.mark.parametrize("place", DELIBERATE)
def test_what_differs_on_purpose_is_said_where_it_is_done(place):
    module, _, name = place.partition(":")
    said = " ".join(inspect.getdoc(attrgetter(name)(import_module(module))).split())
    assert DELIBERATE[place] in said.partition("On purpose unlike ")[2]
    assert "`protocol: release`" in said
