"""The hidden states of a vision tower, caught by forward hooks while images go through it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ConfigError
from .embeddings import embed
from .students import Student

EMBEDDING = "embedding"
Places = dict[str, nn.Module]  # name of a state -> the module that gives it


@contextlib.contextmanager
def hidden_states(visual: nn.Module) -> Iterator[dict[str, Tensor]]:
    """A dict that fills, in order of depth, with the states of the images that pass in this block.

    Of a ViT: conv1, positions (with the class token), dropout, ln_pre, block 1 ... and ln_post,
    (B, T, C); of a ResNet or ConvNeXt stage 1 ... 4, (B, H * W, C); in 32 bits.
    """
    states: dict[str, Tensor] = {}
    with contextlib.ExitStack() as hooks:
        for name, module in _places(visual).items():
            hooks.enter_context(_caught(module, name, states))
        dropout = getattr(visual, "patch_dropout", None)
        if isinstance(dropout, nn.Module):
            before = dropout.register_forward_pre_hook(
                lambda _module, given: states.update(positions=given[0].float())
            )
            hooks.callback(before.remove)
        yield states


class BlockMeans:
    """The blocks of a student's vision tower, or its stages: states without tokens, as a context.

    A state is the mean over its tokens, the class token among them, or over places.
    """

    def __init__(self, student: Student):
        self.student = student
        self._states: dict[str, Tensor] = {}
        self._passes: list[dict[str, Tensor]] = []
        self._hooks = contextlib.ExitStack()

    def __enter__(self) -> BlockMeans:
        visual = self.student.trained_towers()["image"]
        for name, module in _places(visual).items():
            if name.startswith(("block", "stage")):
                self._hooks.enter_context(_caught(module, name, self._states))
        # A pass that its device had no room for begins anew: only whole ones are kept.
        whole = visual.register_forward_hook(
            lambda *_: self._passes.append(
                {name: state.mean(1) for name, state in self._states.items()}
            )
        )
        self._hooks.callback(whole.remove)
        return self

    def __exit__(self, *_: object) -> None:
        self._hooks.close()

    def of(self, pixels: Tensor) -> dict[str, Tensor]:
        """Block -> its states (n, D) of uint8 images (n, 3, H, W), and the embedding at the end."""
        self._passes.clear()
        embeddings = embed(self.student, pixels)
        states = {name: torch.cat([one[name] for one in self._passes]) for name in self._states}
        return states | {EMBEDDING: embeddings}


def check_hidden(visual: nn.Module, model: str) -> None:
    """Raise ConfigError where nobody knows the hidden states of a model's vision tower."""
    if not _places(visual):
        kind = type(getattr(visual, "trunk", visual)).__name__
        fault = f"{model} has a vision tower whose hidden states are not known here, {kind}"
        raise ConfigError(f"{fault}; wanted: a ViT, ResNet or ConvNeXt")


@contextlib.contextmanager
def _caught(module: nn.Module, name: str, states: dict[str, Tensor]) -> Iterator[None]:
    """Note what comes out of a module."""
    hook = module.register_forward_hook(
        lambda _module, _given, made: states.update({name: _rows(made)})
    )
    try:
        yield
    finally:
        hook.remove()


def _rows(state: Tensor) -> Tensor:
    """(B, C, H, W), (B, C) or (B, T, C) -> (B, T, C)."""
    if state.ndim == 4:
        state = state.flatten(2).transpose(1, 2)
    return (state if state.ndim == 3 else state[:, None]).float()


def _places(visual: Any) -> Places:
    """Where the states come out; {} for a tower that is not known."""
    if hasattr(visual, "transformer"):  # open_clip's ViT
        places = {name: getattr(visual, name) for name in ("conv1", "ln_pre", "ln_post")}
        places["dropout"] = visual.patch_dropout
        return places | _numbered("block", visual.transformer.resblocks)
    if hasattr(visual, "layer4"):  # its ResNet
        return _numbered("stage", [getattr(visual, f"layer{stage}") for stage in range(1, 5)])
    trunk: Any = getattr(visual, "trunk", None)  # timm's
    if hasattr(trunk, "blocks") and hasattr(trunk, "norm"):  # an EfficientNet has no norm
        return _numbered("block", trunk.blocks) | {"ln_post": trunk.norm}
    if type(trunk).__name__ == "ConvNeXt":
        return _numbered("stage", trunk.stages)
    return {}


def _numbered(kind: str, modules: Any) -> Places:
    return {f"{kind} {number}": module for number, module in enumerate(modules, 1)}
