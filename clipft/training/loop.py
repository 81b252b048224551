"""One training loop for every method: AdamW, warm-up then cosine, choice on held-out data, exact
resume.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from lightning_fabric import Fabric

from ..config import Reading, RunConfig
from ..errors import ImageError, RunError, WeightsError
from ..evaluation.predictions import Validation, validate_on
from ..evaluation.recorder import TrainingRecord, record_weights
from ..inputs.batches import Batch, skipped
from ..inputs.ranks import Ranks
from ..methods import Method
from ..models.checkpoints import write_weights
from ..models.precision import products_in
from ..models.students import Student
from ..progress import progress_bar, write
from ..runs.folder import RunFolder
from ..runs.protocol import protocol_of
from ..stops import Interrupted, held
from .after_step import AfterStep
from .examples import Examples
from .gradients import Gradients
from .memory import fitting
from .observer import Observer
from .saving import Clock
from .state import State

LOGGED = 200  # rows of the history, at most, beside the validations


def learning_rate(step: int, config: RunConfig) -> float:
    """Linear warm-up over the first `warmup` (a fraction), then cosine to 0; step counts from 0.

    The first step has one part of the warm-up, as in WiSE-FT's release. On purpose unlike
    Lipsum-FT's, where it has 0: there a step would train nothing, so ours is one step earlier.
    `protocol: release` is as there.
    """
    if protocol_of(config).late_warmup:
        return _late_rate(step, config)
    warm = round(config.warmup * config.steps)
    if step < warm:
        return config.lr * (step + 1) / warm
    angle = math.pi * (step - warm) / max(1, config.steps - warm)
    return config.lr * 0.5 * (1 + math.cos(angle))


def _late_rate(step: int, config: RunConfig) -> float:
    """The learning rate as in Lipsum-FT's release: from 0, its two stages rounded down."""
    warm = math.floor(config.warmup * config.steps)
    if step < warm:
        return config.lr * step / warm
    decay = max(1, math.floor((1 - config.warmup) * config.steps))
    angle = math.pi * min(1, (step - warm) / decay)
    return config.lr * 0.5 * (1 + math.cos(angle))


@dataclass(frozen=True)
class Training:
    """What a run is trained with; nothing of it changes.

    watch: called with each row of the history; what it raises ends the training. steps: the
    configuration's, or 0 where the start is the solution.
    """

    config: RunConfig
    method: Method
    folder: RunFolder
    fabric: Fabric
    reading: Reading
    examples: Examples
    observe: Observer
    record: TrainingRecord
    watch: Callable[[dict[str, Any]], object]
    steps: int
    clock: Clock = field(default_factory=Clock)
    after_step: AfterStep | None = None  # what the method makes of each step

    @property
    def ranks(self) -> Ranks:
        """Those that share the batches; the first writes and tells."""
        return self.observe.ranks

    @property
    def log_every(self) -> int:
        """Steps between two rows of the history."""
        return max(1, self.steps // LOGGED)

    def is_validated_at(self, step: int) -> bool:
        """Whether the weights after so many steps are validated and saved."""
        if step == 0:  # as a candidate
            return self.steps == 0 or self.config.selection == "loss"
        return step % self.config.eval_every == 0 or step == self.steps

    @property
    def gradients(self) -> Gradients:
        """What adds the gradient of a batch's loss to the weights."""
        return Gradients(self.config, self.method, self.fabric, self.observe)

    def fitting(self, student: Student) -> AbstractContextManager[None]:
        """What runs out of memory inside is one line with what to try."""
        kept = str(self.folder) if self.folder.is_resumable else ""
        return fitting(student, self.config, self.reading, kept)


def fit(training: Training, state: State) -> None:
    """Train from the state's step to the last, keep the chosen weights, drop the checkpoint.

    A signal to a command that listens for it (`stops`) leaves a checkpoint of the step it is in.
    """
    try:
        _take_steps(training, state)
    except Interrupted as stop:
        with held():
            save_between(training, state)
        stop.saved = f"step {state.step} of {training.steps} is saved in {training.folder}"
        raise

    if state.unread:
        write(skipped(training.examples.train, sorted(state.unread)))
    with held():
        training.ranks.by_first(partial(finish, training.folder))


def _take_steps(training: Training, state: State) -> None:
    """Take the steps that are left; whatever ends them, the state is one after a whole step."""
    steps = range(state.step, training.steps)
    title = f"{training.method.title} {training.folder.name}"
    # Before the first step, or where it was stopped between a step and what is said of it.
    if training.is_validated_at(state.step) and state.validated != state.step:
        validate(training, state)

    state.student.train(not training.method.eval_mode)
    show = training.reading.progress
    with progress_bar(training.steps, title, "step", show=show, initial=state.step) as bar:
        for batch in training.examples.batches(steps):
            with held():
                require_images(batch, state)
                with training.fitting(state.student):
                    take_step(training, state, batch)
                loss = _said_of_step(training, state)
            bar.update()

            if training.is_validated_at(state.step):
                validate(training, state)
            elif training.clock.is_due:
                with held():
                    save_between(training, state)
            about = {"loss": f"{loss:.3f}"}
            if training.examples.selection is not None:
                about["best_val"] = f"{abs(state.best or 0):.3f}"
            bar.set_postfix(about, refresh=False)


def _said_of_step(training: Training, state: State) -> float:
    """Add the step to the history where it is due; returns the loss that was read last."""
    is_logged = state.step % training.log_every == 0
    if is_logged or training.is_validated_at(state.step):
        check_losses(training, state)
    loss = sum(state.losses.last.values())
    if is_logged:
        log(training, state, loss)
    return loss


def finish(folder: RunFolder) -> None:
    """The weights chosen so far are the tuned ones."""
    record_weights(folder, folder.best_file)
    folder.finish()


def save_between(training: Training, state: State) -> None:
    """Keep the state where no validation is; of several ranks the first does, and asks nobody.

    Raises RunError where the run diverged.
    """
    if training.ranks.is_alone:
        check_losses(training, state)
    elif not state.losses.are_finite:  # what all know of it is read, and told, later
        return
    save(training, state)


def save(training: Training, state: State) -> None:
    """Keep the state, and how long it took to come there."""
    if not training.ranks.is_first:
        return
    training.record.save(state.step)  # a kill in between leaves a state, and how it was made
    with training.record.aside():
        state.save(training.folder.checkpoint_file)
    training.record.save(state.step)
    training.clock.restart()


def require_images(batch: Batch, state: State) -> None:
    """Note the images of a batch that could not be read; raise ImageError where none is left."""
    state.unread |= set(batch.bad)
    if not len(batch.all_rows):
        raise ImageError(
            f"no image of step {state.step + 1}'s batch can be read; repair the data set"
        )


def take_step(training: Training, state: State, batch: Batch) -> None:
    """One step of the optimiser along the gradient of the batch's loss.

    Raises RunError where a loss is not finite: before the step, or where they are read only now and
    then, at the next reading.
    """
    for group in state.optimizer.param_groups:
        group["lr"] = group["rate"] * learning_rate(state.step, training.config)
    state.optimizer.zero_grad()
    with products_in(training.config.precision):
        terms = training.gradients.of(batch, state.step)
    state.losses.add(state.step + 1, terms)
    if state.losses.is_due:
        check_losses(training, state)

    _move(training, state)
    state.student.clamp()
    state.step += 1
    for follower in state.followers.values():
        follower.follow(state.student, state.step)


def _move(training: Training, state: State) -> None:
    """The weights go along their gradients."""
    if state.adapter is not None:
        state.adapter.take_gradients()
    if training.config.clip_norm is not None:
        training.fabric.clip_gradients(
            state.module, state.optimizer, max_norm=training.config.clip_norm
        )
    if training.after_step is None:
        state.optimizer.step()
    else:
        training.after_step.step(state)
    if state.adapter is not None:
        state.adapter.merge()


def check_losses(training: Training, state: State) -> None:
    """Read the losses since the last reading; raises RunError at the first that is not finite."""
    for step, terms in state.losses.read():
        for name, value in terms.items():
            if not math.isfinite(value):
                raise RunError(
                    f"{name} is {value} at step {step}: the run diverged; lower lr or lam"
                    f" (the last checkpoint is kept in {training.folder})"
                )


def log(training: Training, state: State, loss: float) -> None:
    """Add the loss, its terms where there are several, and the learning rate to the history."""
    lr = learning_rate(state.step - 1, training.config)
    row: dict[str, Any] = {"step": state.step, "loss": loss, "lr": lr}
    if len(state.losses.last) > 1:
        row |= state.losses.last
    if training.ranks.is_first:
        training.folder.log(row)
        training.watch(row)


def merit(found: Validation, selection: str) -> float:
    """What is larger for better weights: the accuracy, see `ChosenBy`, or minus the loss."""
    return -found.loss if selection == "loss" else found.accuracy


def is_chosen(found: Validation, best: float | None, selection: str) -> bool:
    """Whether weights take the place of the best so far, whose merit is given.

    Of equal accuracies the first is kept, of equal losses the last, as in FLYP's few-shot release.
    """
    if best is None or selection == "last":
        return True
    if selection == "loss":
        return merit(found, selection) >= best
    return merit(found, selection) > best


def validate(training: Training, state: State) -> None:
    """Accuracy and loss on the selection split; keep the best weights, then save the state.

    Without a selection split the last weights are kept, and the row says the step alone.
    """
    row: dict[str, Any] = {"step": state.step}
    found = None
    if training.examples.selection is not None:
        with training.record.aside():
            found = _found(training, state, training.examples.selection)
    with held():
        with training.record.aside():
            if found is None:
                _keep(training, state)
            else:
                row |= _chosen(training, state, found)
        state.validated = state.step
        save(training, state)
    if training.ranks.is_first:
        training.watch(row)


def _found(training: Training, state: State, selection: Iterable[Batch]) -> Validation:
    """What the selection split says of the weights."""
    try:
        return validate_on(state.kept, selection, training.examples.chosen_by, training.ranks)
    except WeightsError as error:
        advice = "the run diverged; lower lr or lam"
        raise RunError(f"validation after step {state.step}: {error}: {advice}") from None


def _chosen(training: Training, state: State, found: Validation) -> dict[str, float]:
    """Add a validation to the history; the weights are kept where they are the best."""
    values = {"val_accuracy": found.accuracy}
    if training.config.selection == "loss":
        values["val_loss"] = found.loss
    if training.ranks.is_first:
        training.folder.log({"step": state.step, **values})
    if is_chosen(found, state.best, training.config.selection):
        state.best = merit(found, training.config.selection)
        _keep(training, state)
    return values


def _keep(training: Training, state: State) -> None:
    step = {"step": str(state.step)}
    if training.ranks.is_first:
        write_weights(training.folder.best_file, state.kept.state_dict(), step)
