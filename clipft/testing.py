"""The contract of a method, somebody else's too: `check_method("mine")` says what it breaks.

A made-up step takes the place of a run: it costs milliseconds, needs no data and is the same every
time.
"""

import inspect
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, get_args

import torch
from torch import Tensor
from torch.nn.functional import normalize

from .config import RunConfig
from .errors import ConfigError
from .methods import METHODS, Method, Need
from .objectives.cross_entropy import cross_entropy
from .objectives.loss import loss_terms
from .objectives.move import Move
from .objectives.step import ABSENT, Step, readable
from .options import check_options, defaults

SCALE = 10.0
# fields with a row for each image
BY_IMAGE = ("images", "labels", "logits", "anchor", "hidden", "hidden_anchor", "captions")
BY_IMAGE += ("spurious", "spurious_anchor", "teacher_images", "teacher_captions", "teacher_logits")
LAYERS = ("conv1", "positions", "dropout", "ln_pre", "block 1", "block 2", "ln_post")


def check_method(method: Method | str) -> None:
    """Refuse, in one line, the first thing in which a method breaks the contract.

    Its options are numbers, words, true or false with a default. From a step that holds no more
    than what it `needs`, it makes one finite number, the same every time, and leaves the step as it
    was. A finite gradient reaches the images, captions or weights, at the start of training too,
    where the model is still theta0. What says `per_image` is a mean over images, or reads none.
    With lam 0 the loss is cross-entropy, bit for bit. What it does after a step makes one finite
    tensor of the same shape, the same every time, where nothing moved, too; it keeps tensors alone.

    Arguments:
        method: an entry, or its name.

    Raises:
        ConfigError: with what is broken.

    Example:
        >>> from clipft.methods import Method
        >>> clipft.check_method("lipsum")
        >>> wrong = Method("mine", "Mine", "yours", lambda step: step.images.mean(0), lam=1.0)
        >>> clipft.check_method(wrong)
        Traceback (most recent call last):
        clipft.errors.ConfigError: method 'mine' breaks the contract: it returns a Tensor ...
    """
    entry = METHODS[method] if isinstance(method, str) else method
    if "+" in entry.name:
        raise _breach(entry, "a + in its name; it joins a method with what is done after it")
    if entry.functions:
        _check_options(entry)
    if entry.after_step is not None:
        _check_after_step(entry)
    if entry.function is not None:
        _check_needs(entry)
        for at_theta0 in (False, True):
            _check_value(entry, at_theta0=at_theta0)
            _check_gradient(entry, at_theta0=at_theta0)
        _check_parts(entry)
    for at_theta0 in (False, True):
        _check_loss(entry, at_theta0=at_theta0)


class Toy:
    """A made-up step with the fields that a method may read; at theta0 nothing has moved yet.

    6 images, 8 dimensions, 5 classes, 4 templates, 7 random texts, 2 tokens in a hidden state.
    leaves: the tensors in it that a run would train, by what they are.
    """

    def __init__(self, method: Method, *, at_theta0: bool = False):
        self.where = "at the start of training" if at_theta0 else "on a step"
        draw = torch.Generator().manual_seed(0)
        anchor = 3 * _numbers(draw, 6, 8)
        zero_shot = _unit_rows(draw, 5, 8).T
        start = {"visual.w": _numbers(draw, 5), "weight": zero_shot}
        self.leaves = {"images": anchor, "head": zero_shot, "tower": start["visual.w"]}
        spurious = _unit_rows(draw, 6, 8)
        self.leaves["spurious"] = spurious
        if not at_theta0:
            for name, tensor in self.leaves.items():
                self.leaves[name] = tensor + _numbers(draw, *tensor.shape)
        self.leaves["captions"] = _unit_rows(draw, 6, 8)
        # Columns of length 1 at right angles: what keeps them so has a root at 0.
        projection = torch.eye(9, 8)
        self.leaves["projection"] = projection if at_theta0 else projection + 0.1
        for name, tensor in self.leaves.items():
            self.leaves[name] = tensor.clone().requires_grad_()

        # No leaves, as outputs of a network: writing into them is seen, where torch would refuse.
        images = self.leaves["images"].clone()
        whole = Step(
            images=images,
            labels=torch.arange(6) % 5,
            scale=SCALE,
            progress=0.5,
            logits=SCALE * normalize(images, dim=-1) @ self.leaves["head"],
            anchor=anchor,
            zero_shot=zero_shot,
            hidden=_states(images),
            hidden_anchor=_states(anchor),
            context=_unit_rows(draw, 4, 8).T,
            random_texts=_unit_rows(draw, 7, 8),
            captions=self.leaves["captions"].clone(),
            spurious=self.leaves["spurious"].clone(),
            spurious_anchor=spurious,
            start_scale=SCALE,
            weights={"visual.w": self.leaves["tower"], "weight": self.leaves["head"]},
            start=start,
            image_projection=self.leaves["projection"].clone(),
            text_projection=self.leaves["projection"][:7].clone(),
        )
        whole = replace(whole, **self._taught(draw, anchor, zero_shot, at_theta0=at_theta0))
        absent = vars(whole).keys() - readable(method)
        self.step = replace(whole, **dict.fromkeys(absent, ABSENT))

    def _taught(
        self, draw: torch.Generator, anchor: Tensor, zero_shot: Tensor, *, at_theta0: bool
    ) -> dict[str, Any]:
        """What a teacher says: at theta0 what the student does."""
        images = anchor.clone()
        captions = self.leaves["captions"].detach().clone()
        if not at_theta0:
            images += _numbers(draw, *images.shape)
            captions = normalize(captions + 0.1 * _numbers(draw, *captions.shape), dim=-1)
        return {
            "teacher_images": images,
            "teacher_captions": captions,
            "teacher_scale": SCALE,
            "teacher_logits": SCALE * normalize(images, dim=-1) @ zero_shot,
        }

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """(name, tensor) of all that the step holds."""
        for field, value in vars(self.step).items():
            if isinstance(value, Tensor):
                yield field, value
            elif isinstance(value, Mapping):
                for name, tensor in value.items():
                    yield f"{field}[{name!r}]", tensor

    def gradients(self, loss: Tensor) -> dict[str, Tensor]:
        """The gradients of a loss with respect to the leaves that it reaches."""
        if loss.requires_grad:
            loss.backward()
        leaves = self.leaves.items()
        return {name: leaf.grad for name, leaf in leaves if leaf.grad is not None}


def _numbers(draw: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=draw)


def _unit_rows(draw: torch.Generator, *shape: int) -> Tensor:
    return normalize(_numbers(draw, *shape), dim=-1)


def _states(images: Tensor) -> dict[str, Tensor]:
    """A made-up hidden state (B, 2, D) for each layer."""
    states = {}
    for number, name in enumerate(LAYERS):
        states[name] = torch.stack([images + number, images.roll(1, -1)], dim=1)
    return states


def _rows(value: Any, rows: slice) -> Any:
    """These images of a field, or of each of its layers."""
    if isinstance(value, Mapping):
        return {name: tensor[rows] for name, tensor in value.items()}
    return value if value is ABSENT else value[rows]


def _breach(method: Method, what: str) -> ConfigError:
    return ConfigError(f"method {method.name!r} breaks the contract: {' '.join(what.split())}")


def _penalty(method: Method, step: Step) -> Tensor:
    """The penalty under a seed of its own, as in training."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return method.load()(step)


def _check_options(method: Method) -> None:
    options: dict[str, Any] = {}
    for function in method.loaded():
        for parameter in [*inspect.signature(function).parameters.values()][1:]:
            if parameter.default is parameter.empty:
                raise _breach(method, f"its argument {parameter} has no default; give it one")
        options |= defaults(function)
    if options != method.options:
        entry = f"its entry says options {dict(method.options)}"
        raise _breach(method, f"{entry}, its function {options}")
    for name, value in options.items():
        if not isinstance(value, bool | int | float | str):
            records = "a run records numbers, words, true and false alone"
            raise _breach(method, f"option {name} is {value!r}; {records}")
    try:
        check_options(method.name, options, options)
        head = "frozen" if method.frozen_head else "fixed"
        settings = {"method": method.name, "options": options, "head": head}
        # Not RunConfig(...): the method need not be registered yet.
        method.check(RunConfig.recorded(settings, "its options"))
    except ConfigError as error:
        raise _breach(method, f"its own defaults are refused: {error}") from None


def _check_needs(method: Method) -> None:
    """Whether the function runs on what it asks for, and what more it would take."""
    failure = _failure(method)
    if failure is None:
        return
    for need in get_args(Need):
        more = replace(method, needs=method.needs | {need})
        if need not in method.needs and _failure(more) is None:
            raise _breach(method, f"it reads what it does not ask for; add {need!r} to its needs")
    reason = f"{type(failure).__name__}: {failure}"
    raise _breach(method, f"it fails on a step: {reason}") from failure


def _failure(method: Method) -> Exception | None:
    """What the function raises on a step that holds what it needs."""
    try:
        _penalty(method, Toy(method).step)
    except Exception as error:
        return error
    return None


def _check_value(method: Method, *, at_theta0: bool) -> None:
    """One finite number, the same twice, and the step as it was."""
    toy = Toy(method, at_theta0=at_theta0)
    before = {name: tensor.detach().clone() for name, tensor in toy.tensors()}
    value = _penalty(method, toy.step)
    after = dict(toy.tensors())
    for name in sorted(before.keys() | after.keys()):
        if name not in before or name not in after or not torch.equal(before[name], after[name]):
            raise _breach(method, f"it changes step.{name} in place; work on a copy")
    if not isinstance(value, Tensor) or value.shape != ():
        kind = f"{type(value).__name__} of shape {tuple(getattr(value, 'shape', ()))}"
        raise _breach(method, f"it returns a {kind}; wanted: one number, a Tensor of shape ()")
    if not value.isfinite():
        raise _breach(method, f"it is {value.item()} {toy.where}; wanted: a finite number")
    again = _penalty(method, Toy(method, at_theta0=at_theta0).step)
    if not torch.equal(value, again):
        advice = "draw from torch's own generator, which a run seeds for every step"
        fault = f"it has another value on the same step; {advice}"
        raise _breach(method, f"{fault}, and keep nothing from step to step")


def _check_gradient(method: Method, *, at_theta0: bool) -> None:
    """A finite gradient reaches what is trained."""
    toy = Toy(method, at_theta0=at_theta0)
    gradients = toy.gradients(_penalty(method, toy.step))
    if not gradients:
        raise _breach(method, "no gradient reaches the images, captions or weights")
    for name, gradient in gradients.items():
        if not gradient.isfinite().all():
            fault = f"the gradient to the {name} is not finite {toy.where}"
            raise _breach(method, f"{fault}; e.g. a root at 0")


def _check_parts(method: Method) -> None:
    """Whether what says `per_image` is on a batch what it is on its parts, by their size."""
    if not method.per_image:
        return
    step = Toy(method).step
    count = len(step.labels)
    parts = 0.0
    for rows in (slice(0, 2), slice(2, count)):
        fields: dict[str, Any] = {}
        for field in BY_IMAGE:
            value = getattr(step, field)
            fields[field] = _rows(value, rows)
        part = replace(step, **fields)
        parts += len(part.labels) / count * _penalty(method, part).item()
    if not math.isclose(parts, _penalty(method, step).item(), rel_tol=1e-4, abs_tol=1e-6):
        raise _breach(method, "it says per_image and is no mean over images; leave per_image out")


def _check_after_step(method: Method) -> None:
    """Three steps of tensors of each number of dimensions; the first moves nothing."""
    for shape in ((3, 2, 2), (3, 4), (4,), ()):
        kept: dict[str, Tensor] = {}
        kept_again: dict[str, Tensor] = {}
        draw = torch.Generator().manual_seed(0)
        start = _numbers(draw, *shape)
        before = start
        for step in (1, 2, 3):
            after, grad = before, torch.zeros(shape)
            if step > 1:
                after, grad = before + _numbers(draw, *shape), _numbers(draw, *shape)
            tensors = {"before": before, "after": after, "grad": grad, "start": start}
            about: dict[str, Any] = {"name": "visual.w", "step": step, "is_head": False}
            found = _kept_of(method, tensors, about | {"kept": kept})
            again = _kept_of(method, tensors, about | {"kept": kept_again})
            if not torch.equal(found, again):
                fault = "after a step it makes another tensor of the same move"
                raise _breach(method, f"{fault}; what it remembers belongs into move.kept")
            before = found


def _kept_of(method: Method, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> Tensor:
    """What a method makes of a move: finite, of the same shape, and the move is as it was."""
    copies: dict[str, Any] = {name: tensor.clone() for name, tensor in tensors.items()}
    try:
        found = method.load_after_step()(Move(**copies, **about))
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise _breach(method, f"it fails after a step: {reason}") from error
    for name, tensor in tensors.items():
        if not torch.equal(tensor, copies[name]):
            raise _breach(method, f"it changes move.{name} in place; work on a copy")
    wanted = copies["after"].shape
    if not isinstance(found, Tensor) or found.shape != wanted or not found.isfinite().all():
        fault = f"after step {about['step']} it makes {type(found).__name__} {found!r:.80}"
        raise _breach(method, f"{fault}; wanted: finite numbers of shape {tuple(wanted)}")
    for key, value in about["kept"].items():
        if "." in key or not isinstance(value, Tensor):
            raise _breach(method, f"move.kept[{key!r}] is no tensor by a name without a dot")
    return found


def _check_loss(method: Method, *, at_theta0: bool) -> None:
    """With lam 0 the loss and its gradient are cross-entropy's, bit for bit."""
    if not method.uses_cross_entropy:
        return
    toy = Toy(method, at_theta0=at_theta0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        loss = torch.stack([*loss_terms(method, toy.step, 0.0).values()]).sum()
    gradients = toy.gradients(loss)

    # On a step of its own, which the method has not seen.
    untouched = Toy(method, at_theta0=at_theta0)
    plain = cross_entropy(untouched.step)
    same = torch.equal(loss, plain)
    for name, gradient in untouched.gradients(plain).items():
        same = same and torch.equal(gradients[name], gradient)
    if not same:
        raise _breach(method, f"with lam=0 the loss is not cross-entropy {toy.where}, bit for bit")
