"""Checkpoints that were tuned elsewhere become runs: the same numbers as the run that they are of,
every door open to them, and one line for what cannot be.
"""

import shutil
from types import SimpleNamespace

import open_clip
import pytest
import torch
from conftest import QUIET, SCORED, Trained, carried
from safetensors.torch import load_file, save_file

import clipft
from clipft import adopt, combine, export, score
from clipft.disk.files import read_json
from clipft.errors import ClipftError
from clipft.runs.adopted import AdoptedConfig
from clipft.runs.run import Run

FEW = {"steps": 2, "batch": 8}


def written_out(run, folder):
    """A run's tuned model as open_clip loads it, saved by torch as a plain state dict; its head."""
    export(run, folder, reading=QUIET)
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    torch.save(model.state_dict(), folder / "tuned.pt")
    return folder / "tuned.pt", folder / "head.safetensors"


@pytest.fixture
def desk(at_home, tmp_path):
    """Copies of the scored runs, FT's weights as other tools keep them, what is said of them."""
    runs = tmp_path / "runs"
    shutil.copytree(at_home.runs, runs)
    run = Trained.of(Run.open(runs / at_home.scored[0].id))
    checkpoint, head = written_out(run, tmp_path / "out")
    about = {"manifest": at_home.manifest, "model": at_home.model}
    about |= {"pretrained": at_home.pretrained, "runs": runs, "reading": QUIET}
    made = SimpleNamespace(runs=runs, run=run, checkpoint=checkpoint, head=head, about=about)
    made.folder = tmp_path
    made.adopt = lambda file=checkpoint, **changes: Trained.of(adopt(file, **about | changes))
    return made


def numbers(run):
    """Every metric at the ends and in the middle."""
    table = run.score(SCORED)
    table = table[table.alpha.isin(SCORED)]
    return table.set_index(["alpha", "split", "metric"])[["mean", "low", "high"]].sort_index()


def assert_same_numbers(one, other):
    mine, theirs = numbers(one), numbers(other)
    assert mine.index.equals(theirs.index)
    assert (mine - theirs).abs().max().max() < 2e-4


def test_an_adopted_copy_of_a_run_has_its_numbers_at_every_alpha(desk):
    adopted = desk.adopt(head=desk.head, name="theirs")
    assert_same_numbers(adopted, desk.run)
    assert (adopted.name.title, adopted.config.head) == ("theirs", "fixed")
    assert adopted.title == "theirs, not trained here"
    assert adopted.tuned.keys() == desk.run.tuned.keys()


def test_a_model_with_both_towers_tuned_makes_its_own_head(desk, at_home, tmp_path):
    flyp = at_home.train(tmp_path / "flyp", method="flyp", lr=3e-3, steps=4, eval_every=4)
    checkpoint, _ = written_out(flyp, tmp_path / "both")
    adopted = desk.adopt(checkpoint, name="FLYP elsewhere")
    assert adopted.config.adopted.trains == "both"
    assert_same_numbers(adopted, flyp)


def test_a_vision_tower_alone_keeps_the_zero_shot_head(desk, capsys):
    """As task vectors are tuned (mlfoundations/task_vectors#10)."""
    adopted = desk.adopt(name="tower")
    assert f"--head {desk.head}" in capsys.readouterr().out
    assert adopted.config.adopted.trains == "vision"
    assert torch.equal(adopted.tuned["weight"], adopted.anchor["weight"])
    moved = desk.run.tuned["visual.conv1.weight"]
    assert torch.equal(adopted.tuned["visual.conv1.weight"], moved)


def test_a_tuned_scale_is_in_the_head(desk):
    """It leaves its place in long tuning (mlfoundations/open_clip#948: 100 becomes 95)."""

    def lower(state):
        state["logit_scale"] -= 0.5

    run = desk.adopt(spoilt(desk, lower), name="scaled")
    zero_shot = run.anchor["weight"]
    torch.testing.assert_close(run.tuned["weight"], zero_shot * torch.tensor(-0.5).exp())


def test_every_door_is_open_to_it(desk, capsys):
    run = desk.adopt(head=desk.head, name="theirs")
    mixed = combine("uniform_soup", [run, desk.run], reading=QUIET)
    soup = combine("uniform_soup", [desk.run, run], reading=QUIET)
    tpgm = combine("tpgm", [run], FEW, QUIET)
    assert [str(one.name) for one in (mixed, soup, tpgm)] == [
        *("theirs+uniform_soup", "ft+uniform_soup", "theirs+tpgm")
    ]
    score(run, SCORED, reading=QUIET, gap_texts=50)
    score(tpgm, [0, 1], reading=QUIET, gap_texts=50)
    table = clipft.results([desk.run, run, tpgm])
    assert {"ft", "theirs", "theirs+tpgm"} == set(table.method)
    printed = clipft.results_table(table).set_index("method")
    assert printed.loc["theirs", ["lr", "steps"]].eq("").all(axis=None)

    for figure in (
        clipft.wise_slider_figure(table),
        clipft.wise_curve_figure(table),
        clipft.energy_gap_figure(table),
        clipft.trade_off_figure(table),
        clipft.sweep_figure(run.sweep()),
    ):
        drawn = figure.to_json()
        assert "theirs" in drawn and "lr 0," not in drawn and "0 steps" not in drawn
    assert any("theirs (not trained here)" in sentence for sentence in clipft.findings(table).ran)

    explorer = clipft.RunExplorer(run)
    explorer.alpha = 0.5
    assert clipft.RunBrowser(desk.runs).figure() is not None
    assert set(clipft.distortion_table([run], 1.0).method) == {"theirs"}
    assert len(clipft.compare_runs(run, desk.run)) == 4
    assert len(clipft.gap_table(run, 1.0, QUIET)) and len(clipft.layer_table(run, QUIET))
    assert clipft.energy_map(run, reading=QUIET) is not None
    verification = clipft.verify(run, reading=QUIET)
    assert verification.is_equal, str(verification)
    again, head = written_out(run, desk.folder / "again")
    for name, tensor in torch.load(desk.checkpoint, weights_only=True).items():
        assert torch.equal(torch.load(again, weights_only=True)[name], tensor)
    torch.testing.assert_close(load_file(head)["weight"], load_file(desk.head)["weight"])


def test_it_is_read_and_shown_where_nothing_else_is(desk, at_home, tmp_path, monkeypatch):
    run = desk.adopt(head=desk.head, name="theirs")
    run.score(SCORED)
    world = SimpleNamespace(runs=desk.runs)
    runs = carried(world, tmp_path / "elsewhere", monkeypatch)
    opened = Run.open(runs / run.id)
    assert isinstance(opened.config, AdoptedConfig) and opened.sweep().title == run.title
    clipft.explore(opened)


def test_the_id_is_of_the_weights_and_not_of_the_file(desk, monkeypatch):
    run = desk.adopt(head=desk.head, name="theirs")
    files = {file: file.stat().st_mtime_ns for file in run.path.iterdir()}
    state = torch.load(desk.checkpoint, weights_only=True)
    other = desk.folder / "epoch_3.pt"
    torch.save(
        {"epoch": 3, "state_dict": {f"module.{name}": t for name, t in state.items()}}, other
    )
    monkeypatch.chdir(desk.folder)
    monkeypatch.setenv("HOME", str(desk.folder))
    for file in ("out/tuned.pt", "./out/../out/tuned.pt", "~/out/tuned.pt", other):
        again = desk.adopt(file, head="~/out", name="theirs")
        assert again.path == run.path
    assert {file: file.stat().st_mtime_ns for file in run.path.iterdir()} == files
    assert desk.adopt(head=desk.head, name="another").id != run.id


def test_a_checkpoint_that_changes_or_vanishes_breaks_nothing(desk):
    run = desk.adopt(head=desk.head, name="theirs")
    desk.checkpoint.write_bytes(b"something else")
    desk.head.unlink()
    assert_same_numbers(Trained.of(Run.open(run.path)), desk.run)
    assert read_json(run.path / "made.json")["parts"][0]["checkpoint"] == "tuned.pt"


def test_what_was_cut_short_looks_like_nothing(desk, monkeypatch):
    """At every file that it writes; the same command then goes through."""
    known = sorted(run.id for run in clipft.open_runs(desk.runs))
    writers = ["adopt.write_weights", "adopt.record_weights"]
    for writer in [*writers, "RunFolder.write_manifest", "RunFolder.write_config"]:
        home, _, name = writer.partition(".")
        places = {"adopt": "clipft.training.adopt", "RunFolder": "clipft.runs.folder.RunFolder"}
        with monkeypatch.context() as patch:
            patch.setattr(f"{places[home]}.{name}", interrupt)
            with pytest.raises(KeyboardInterrupt):
                desk.adopt(head=desk.head, name="theirs")
        assert sorted(run.id for run in clipft.open_runs(desk.runs)) == known
    run = desk.adopt(head=desk.head, name="theirs")
    assert sorted(one.id for one in clipft.open_runs(desk.runs)) == sorted([*known, run.id])


def interrupt(*_args, **_kwargs):
    raise KeyboardInterrupt


# --- heads


def as_heads(desk):
    """The same head as other code keeps it: file -> what is said of it."""
    head = load_file(desk.head)
    weight, bias = head["weight"], head["bias"]
    folder = desk.folder
    scale = float(desk.run.bench.clip.scale)
    torch.save(
        {"state_dict": {"classification_head.weight": weight.T, "classification_head.bias": bias}},
        folder / "wise.pt",
    )
    torch.save({"fc.weight": weight.T, "fc.bias": bias}, folder / "fc.pth")
    save_file({"weight": weight / scale}, folder / "cosines.safetensors")
    torch.save(weight.T.half(), folder / "tensor.pt")
    return {
        "wise.pt": "classes x embedding (4 x 16)",
        "fc.pth": "it holds the logit scale",
        "cosines.safetensors": "multiplied by the logit scale",
        "tensor.pt": "no bias",
    }


def test_a_head_is_turned_and_scaled_as_it_lies(desk, capsys):
    ours = desk.adopt(head=desk.head, name="theirs")
    for file, said in as_heads(desk).items():
        run = desk.adopt(head=desk.folder / file, name=file)
        torch.testing.assert_close(run.tuned["weight"], ours.tuned["weight"], rtol=2e-3, atol=1e-3)
        out, _ = capsys.readouterr()
        assert said in out and "4 of 4 columns" in out


def test_wise_fts_own_file_brings_its_head(desk, capsys):
    """`image_encoder.model.` and `classification_head`, as ImageClassifier saves itself; open_clip
    cannot load it (mlfoundations/open_clip#602).
    """
    state = torch.load(desk.checkpoint, weights_only=True)
    head = load_file(desk.head)
    file = {f"image_encoder.model.{name}": tensor for name, tensor in state.items()}
    file |= {
        "classification_head.weight": head["weight"].T,
        "classification_head.bias": head["bias"],
    }
    torch.save(file, desk.folder / "checkpoint_10.pt")
    run = desk.adopt(desk.folder / "checkpoint_10.pt", name="WiSE-FT file")
    assert_same_numbers(run, desk.run)
    assert "with a head of 4 classes" in capsys.readouterr().out


def test_a_file_of_the_vision_tower_alone_is_enough(desk):
    state = torch.load(desk.checkpoint, weights_only=True)
    vision = {name: tensor for name, tensor in state.items() if name.startswith("visual.")}
    save_file(vision, desk.folder / "vision.safetensors")
    run = desk.adopt(desk.folder / "vision.safetensors", head=desk.head, name="theirs")
    assert run.id == desk.adopt(head=desk.head, name="theirs").id


def test_a_square_head_and_one_of_another_order_are_looked_at(desk):
    from clipft.models.foreign_head import Linear, fit_head

    torch.manual_seed(0)
    texts = torch.nn.functional.normalize(torch.randn(16, 16), dim=0)
    head = 14 * texts + 0.1 * torch.randn(16, 16)
    for weight in (head, head.T):
        found, said = fit_head(Linear(weight.contiguous()), texts, 14.0, "x")
        assert torch.equal(found.weight, head) and "16 of 16" in said
    shuffled = head[:, torch.arange(16).roll(1)]
    assert "in the order of the data set?" in fit_head(Linear(shuffled), texts, 14.0, "x")[1]
    assert "mostly the longer one" in fit_head(Linear(head / 100), texts, 14.0, "x")[1]


def test_a_head_with_a_bias_is_kept_with_it(desk):
    head = load_file(desk.head)
    head["bias"] = torch.tensor([5.0, 0, 0, 0])
    save_file(head, desk.folder / "biased.safetensors")
    run = desk.adopt(head=desk.folder / "biased.safetensors", name="biased")
    assert run.config.head == "absorbed" and torch.equal(run.tuned["bias"], head["bias"])
    run.score(SCORED)
    with pytest.raises(ClipftError, match="has head"):
        combine("uniform_soup", [run, desk.run], reading=QUIET)


# --- refused


def spoilt(desk, what):
    state = torch.load(desk.checkpoint, weights_only=True)
    what(state)
    torch.save(state, desk.folder / "spoilt.pt")
    return desk.folder / "spoilt.pt"


def head_of(classes, **changes):
    def write(desk):
        tensors = {"weight": torch.randn(16, classes), "bias": torch.zeros(classes)} | changes
        save_file(tensors, desk.folder / "head.st.safetensors")
        return {"head": desk.folder / "head.st.safetensors"}

    return write


def own_head_of_other_classes(desk):
    import json

    tensors = load_file(desk.head)
    names = json.dumps(["apple", "bee", "ice cream", "zebu"])
    save_file(tensors, desk.folder / "named.safetensors", {"classes": names})
    return {"head": desk.folder / "named.safetensors"}


def no_tensors(desk):
    (desk.folder / "head.txt").write_text("nothing")
    return {"head": desk.folder / "head.txt"}


REFUSED = {
    "no such file": lambda desk: {"file": "nowhere.pt"},
    "is of a run of clipft": lambda desk: {"file": desk.run.path / "weights.safetensors"},
    "unknown data set": lambda desk: {"manifest": "emoji_shfit"},
    "unknown domain": lambda desk: {"reference": "reel"},
    "unknown model": lambda desk: {"model": "ViT-B-61", "pretrained": "openai"},
    "does not fit|no CLIP|visual": lambda desk: {
        "file": spoilt(desk, lambda state: state.pop("visual.proj"))
    },
    "so it has no accuracy": lambda desk: {
        "file": spoilt(desk, lambda state: state["visual.proj"].fill_(torch.nan))
    },
    "is the zero-shot model itself": lambda desk: {"file": desk.about["pretrained"]},
    "random ones": lambda desk: {"pretrained": "none"},
    "selection:": lambda desk: {"selection": "bset"},
    "which manifest": lambda desk: {"manifest": ""},
    "unknown setting of an adopted run 'lr'": lambda desk: {"lr": 1e-3},
    "is a method of clipft": lambda desk: {"name": "FLYP"},
    "cannot be called 'a\\+b'": lambda desk: {"name": "a+b"},
    "cannot be called 'zero-shot'": lambda desk: {"name": "zero-shot"},
    "has 7 classes, the data set has 4": head_of(7),
    "is 12 x 4; wanted: one side of 16": head_of(4, weight=torch.randn(12, 4)),
    "the bias is": head_of(4, bias=torch.zeros(5)),
    "not finite": head_of(4, weight=torch.full((16, 4), torch.inf)),
    "'zebu'": own_head_of_other_classes,
    "is a text, no file of weights": no_tensors,
    "a folder is there|is a file|cannot write": lambda desk: {"runs": desk.checkpoint},
}


def test_what_cannot_be_adopted_is_said_in_one_line(desk):
    before = sorted(desk.runs.iterdir())
    for said, changes in REFUSED.items():
        given = changes(desk)
        with pytest.raises(ClipftError, match=said) as refusal:
            desk.adopt(given.pop("file", desk.checkpoint), **given)
        assert len(str(refusal.value).splitlines()) == 1
        assert sorted(desk.runs.iterdir()) == before, said


def test_another_pre_training_is_said(desk, capsys):
    torch.manual_seed(1)
    model = open_clip.CLIP(
        **clipft.load_clip(desk.about["model"], desk.about["pretrained"]).config["model_cfg"]
    )
    torch.save(model.state_dict(), desk.folder / "foreign.pt")
    desk.adopt(desk.folder / "foreign.pt", name="foreign")
    assert "was it tuned from these weights?" in capsys.readouterr().out


def test_rounding_to_half_is_no_tuning(desk):
    def halve(state):
        for name, tensor in state.items():
            state[name] = tensor.half()

    run = desk.adopt(spoilt(desk, halve), name="half")
    assert run.config.adopted.trains == "vision"
    state = torch.load(desk.about["pretrained"], weights_only=True)
    torch.save({name: tensor.half() for name, tensor in state.items()}, desk.folder / "same.pt")
    with pytest.raises(ClipftError, match="zero-shot model itself"):
        desk.adopt(desk.folder / "same.pt")


def test_a_resnet_and_a_model_of_another_image_size(desk, at_home, resnet_folder, tmp_path):
    """BatchNorm's statistics are kept; positions are interpolated as open_clip does it."""
    resnet = {"model": f"local-dir:{resnet_folder}", "pretrained": str(resnet_folder / "random.pt")}
    run = at_home.train(tmp_path / "resnet", steps=2, lr=1e-3, **resnet)
    checkpoint, head = written_out(run, tmp_path / "rn")
    adopted = desk.adopt(checkpoint, head=head, name="theirs", **resnet)
    assert adopted.tuned.keys() == run.tuned.keys()
    assert torch.equal(adopted.tuned["visual.bn1.running_var"], run.tuned["visual.bn1.running_var"])
    combine("tpgm", [adopted], FEW, QUIET)

    state = torch.load(desk.checkpoint, weights_only=True)
    state["visual.positional_embedding"] = torch.randn(1 + 4 * 4, 32)
    torch.save(state, tmp_path / "larger.pt")
    assert desk.adopt(tmp_path / "larger.pt", name="larger").config.adopted.trains == "vision"
