"""LoRA against a forward pass that keeps its factors apart, and against autograd."""

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from torch.func import functional_call

from clipft.diagnostics.energies import unit
from clipft.errors import ConfigError
from clipft.models.checkpoints import read_weights
from clipft.training import loop
from clipft.training.lora import Lora
from clipft.training.state import State

LAST = {"selection": "last", "steps": 4, "eval_every": 4, "lr": 1e-2}
RANK = 3
ADAPTED = LAST | {"adapter": "lora", "adapter_rank": RANK}
MATRICES = ("attn.in_proj_weight", "attn.out_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")


def pixels():
    draw = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (6, 3, 16, 16), dtype=torch.uint8, generator=draw)


@pytest.fixture
def ended(monkeypatch):
    """The state of a training after its last step."""
    found = []
    take_step = loop.take_step

    def recording(training, state, batch):
        take_step(training, state, batch)
        found[:] = [state]

    monkeypatch.setattr(loop, "take_step", recording)
    return found


def towers(run):
    return [name for name in run.anchor if "visual." in name or name.startswith("clip.")]


# --- where it begins


def test_it_begins_at_theta0_bit_for_bit_and_is_drawn_by_the_seed(world):
    config = world.config(**ADAPTED)
    student = world.bench(**ADAPTED).student
    before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    state = State.begin(student, config, Fabric(accelerator="cpu", devices=1))
    state.adapter.merge()
    assert all(torch.equal(before[name], tensor) for name, tensor in student.state_dict().items())
    assert student.state_dict().keys() == before.keys()

    for name, (a, b) in state.adapter.factors.items():
        rows, columns = before[name].shape
        assert a.shape == (RANK, columns) and b.shape == (rows, RANK) and not b.any()
        bound = columns**-0.5
        assert 0.8 * bound < a.abs().max() <= bound
    again = Lora(world.bench(**ADAPTED).student, config).tensors()
    other = Lora(world.bench(**ADAPTED).student, world.config(**ADAPTED, seed=1)).tensors()
    for name, tensor in state.adapter.tensors().items():
        assert torch.equal(tensor, again[name])
        assert torch.equal(tensor, other[name]) == name.endswith(".B")
    names = [name for name in before if name.endswith(MATRICES)]
    assert [*state.adapter.factors] == names and len(names) == 8


def test_gradients_of_the_factors_are_autograds(world):
    student = world.bench(**ADAPTED).student
    lora = Lora(student, world.config(**ADAPTED))
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for _, b in lora.factors.values():
            b.copy_(0.1 * torch.randn(b.shape, generator=draw))
    lora.merge()

    leaves = {name: tensor.detach().requires_grad_() for name, tensor in lora.tensors().items()}
    whole = {}
    for name in lora.factors:
        product = leaves[f"{name}.B"] @ leaves[f"{name}.A"]
        whole[name] = lora.start[name] + 16 / RANK * product
    wanted = functional_call(student, whole, (pixels(),))[0].square().mean()
    wanted.backward()
    loss = student(pixels())[0].square().mean()
    torch.testing.assert_close(loss, wanted)
    loss.backward()
    lora.take_gradients()
    for name, factor in lora.tensors().items():
        torch.testing.assert_close(factor.grad, leaves[name].grad, rtol=1e-4, atol=1e-6)
    assert all(weight.grad is None for weight in lora.weights.values())


# --- what a run leaves


@pytest.mark.parametrize("method", ["ft", "l2sp", "lipsum", "flyp", "flyp_image"])
def test_matrices_move_by_a_low_rank_and_nothing_else_of_the_towers(world, method):
    run = world.train(**ADAPTED, method=method)
    anchor, tuned = run.anchor, run.tuned
    moved = {name for name in anchor if not torch.equal(anchor[name], tuned[name])}
    trained = {name for name in towers(run) if name.endswith(MATRICES)}
    if method == "flyp_image":
        trained = {name for name in trained if ".visual." in name}
    assert {name for name in moved if name.endswith(MATRICES)} == trained
    assert moved - trained <= {"weight", "clip.logit_scale"} and moved - trained
    for name in trained:
        change = (tuned[name] - anchor[name]).double().numpy()
        values = np.linalg.svd(change, compute_uv=False)
        assert (values[RANK:] < 1e-6 * values[0] + 1e-7).all() and values[RANK - 1] > 1e-6


def test_merged_is_unmerged(world, ended):
    """A branch of its own beside each linear layer gives the embeddings of the merged model."""
    run = world.train(**ADAPTED)
    (state,) = ended
    factors, scale = state.adapter.factors, 16 / RANK
    student = world.bench(**ADAPTED).student
    start = dict(run.tuned)  # head and all
    start |= {name: run.anchor[name] for name in factors}
    student.load_state_dict(start)

    modules = dict(student.named_modules())
    for name, (a, b) in factors.items():
        owner, _, kind = name.rpartition(".")
        if kind == "weight" and not owner.endswith("out_proj"):  # attention reads that one itself
            modules[owner].register_forward_hook(
                lambda _, given, out, a=a, b=b: out + scale * (given[0] @ a.T) @ b.T
            )
        else:
            with torch.no_grad():
                dict(student.named_parameters())[name].add_(scale * b @ a)
    with torch.no_grad():
        apart = unit(student.eval()(pixels())[0])
        run.student.load_state_dict(run.tuned)
        merged = unit(run.student.eval()(pixels())[0])
    torch.testing.assert_close(apart, merged, rtol=0, atol=1e-6)


def test_wise_scales_the_product_and_the_export_is_an_ordinary_model(world, ended, tmp_path):
    run = world.train(**ADAPTED)
    (state,) = ended
    middle = run.mixtures.at(0.25)
    for name, (a, b) in state.adapter.factors.items():
        wanted = run.anchor[name] + 0.25 * 16 / RANK * b.detach() @ a.detach()
        torch.testing.assert_close(middle[name], wanted, rtol=1e-5, atol=1e-6)
    plain = world.train(**LAST)
    assert run.tuned.keys() == plain.tuned.keys()
    file = next(run.export(tmp_path / "out").glob("*model*.safetensors"))
    exported = read_weights(file)
    assert exported.keys() == set(run.clip.model.state_dict())
    for name in state.adapter.factors:
        assert torch.equal(exported[name], run.tuned[name])


def test_some_blocks_alone_are_adapted(world):
    run = world.train(**ADAPTED, train_only=["last 1 block"])
    moved = {name for name in run.anchor if not torch.equal(run.anchor[name], run.tuned[name])}
    block = "visual.transformer.resblocks.1."
    assert moved == {f"{block}{matrix}" for matrix in MATRICES}


def test_a_model_without_matrices_in_blocks_is_one_line(world, resnet_folder):
    model = {"model": f"local-dir:{resnet_folder}", "pretrained": str(resnet_folder / "random.pt")}
    for changes in (model, {"train_only": ["head"]}):
        with pytest.raises(ConfigError, match="so adapter=lora would do nothing") as caught:
            world.train(**ADAPTED, **changes)
        assert "\n" not in str(caught.value)
