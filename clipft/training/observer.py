"""From a batch of pixels to what an objective sees of it: only what the method needs is
computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
from lightning_fabric import Fabric
from torch import Generator, Tensor, nn

from ..config import RunConfig
from ..data.splits import Split
from ..diagnostics.energies import energy_vectors, unit
from ..evaluation.bench import Bench
from ..inputs.batches import Batch, to_device
from ..inputs.prompts import random_texts
from ..inputs.ranks import Ranks
from ..inputs.release import both_sides
from ..inputs.seeds import drawing, rng
from ..methods import METHODS
from ..models.hidden import hidden_states
from ..models.projections import projections
from ..objectives.step import ABSENT, Step
from ..runs.protocol import protocol_of
from ..runs.rows import reference_of
from .compiled import try_compiled
from .state import State, trained_tensors


@dataclass(frozen=True)
class Shown:
    """A batch on the device, with what was drawn for it.

    Where ranks share a batch this is one's part, and `all_labels` and `sizes` are of all parts. A
    rank without an image has a blank one that counts for nothing, so that all ranks do the same.
    """

    pixels: Tensor  # (B, 3, H, W)
    labels: Tensor  # (B,)
    captions: Any = None  # (B, context) tokens of a caption for each image
    class_captions: Any = None  # (C, context) of one for each class
    random_texts: Tensor = ABSENT  # (M, D) unit rows
    is_taught: bool = False  # a teacher sees it, too
    spurious: Any = None  # (B, context) of a spurious caption for each image
    spurious_anchor: Tensor = ABSENT  # (B, D) unit rows of these through theta0
    all_spurious_anchor: Tensor = ABSENT
    progress: float = 1.0  # how much of the training is done after this step
    all_labels: Tensor = ABSENT
    sizes: Sequence[int] = ()
    class_sizes: Sequence[int] = ()  # as many classes each rank embeds; (): each all

    @property
    def images(self) -> int:
        """How many the batch of all ranks has."""
        return sum(self.sizes) if self.sizes else len(self.labels)

    def of_all(self) -> Shown:
        """What belongs to the embeddings of all ranks."""
        if not self.sizes:
            return self
        anchor = self.all_spurious_anchor
        return replace(self, labels=self.all_labels, spurious_anchor=anchor)

    def counted(self) -> Shown:
        """With a label for the blank image of a rank without one: its loss has no weight."""
        return self if len(self.labels) else replace(self, labels=self.labels.new_zeros(1))

    def parts(self, count: int) -> list[Shown]:
        """So many of about equal size, none without an image; the first has the class captions."""
        count = min(count, len(self.labels))
        if count <= 1:
            return [self]
        captions = _split(self.captions, count)
        spurious = _split(self.spurious, count)
        anchors = _split(self.spurious_anchor, count)
        parts: list[Shown] = []
        for number, pixels in enumerate(self.pixels.tensor_split(count)):
            labels = self.labels.tensor_split(count)[number]
            part = replace(
                self,
                pixels=pixels,
                labels=labels,
                captions=captions[number],
                spurious=spurious[number],
                spurious_anchor=anchors[number],
            )
            parts.append(replace(part, class_captions=None) if number else part)
        return parts


def _split(texts: Tensor | None, count: int) -> Any:
    return [None] * count if texts is None else texts.tensor_split(count)


class Embedded(NamedTuple):
    """What the student or its teacher makes of a batch, or the gradient to that.

    Images (B, D) before normalising; captions and spurious ones (B, D) and classes (C, D) as unit
    rows.
    """

    images: Tensor
    captions: Any = None
    classes: Any = None
    spurious: Any = None

    @classmethod
    def join(cls, parts: Sequence[Embedded]) -> Embedded:
        """One of several, in their order; the first has the classes."""
        images = torch.cat([part.images for part in parts])
        captions = [part.captions for part in parts if part.captions is not None]
        spurious = [part.spurious for part in parts if part.spurious is not None]
        return cls(
            images,
            torch.cat(captions) if captions else None,
            parts[0].classes,
            torch.cat(spurious) if spurious else None,
        )

    def tensors(self) -> list[Tensor]:
        """Those that are there."""
        return [tensor for tensor in self if tensor is not None]

    def coupled(self, shown: Shown, ranks: Ranks) -> Embedded:
        """Those of all ranks, with the gradient to one's own, see `Ranks.coupled`."""
        whole = []
        for tensor, sizes in self._with_sizes(shown):
            whole.append(ranks.coupled(tensor, sizes) if sizes else tensor)
        return Embedded(*whole)

    def own(self, shown: Shown, ranks: Ranks) -> Embedded:
        """Of the gradients to those of all ranks, which each has 1 / count of, one's own."""
        own = []
        for tensor, sizes in self._with_sizes(shown):
            own.append(ranks.count * tensor.split(sizes)[ranks.rank] if sizes else tensor)
        return Embedded(*own)

    def _with_sizes(self, shown: Shown) -> list[tuple[Any, list[int]]]:
        """Each with how many rows of it are each rank's; none where it is not there, or not
        shared.
        """
        sizes = (shown.sizes, shown.sizes, shown.class_sizes, shown.sizes)
        pairs = []
        for tensor, of_ranks in zip(self, sizes, strict=True):
            pairs.append((tensor, [] if tensor is None else list(of_ranks)))
        return pairs

    def gradients(self) -> Embedded:
        """The gradients that came to these leaves; 0 where none did."""
        return Embedded(*map(_gradient, self))

    def parts(self, sizes: list[int]) -> list[Embedded]:
        """The same, in parts of so many images; the first has the classes."""
        images = self.images.split(sizes)
        none = [None] * len(sizes)
        captions = none if self.captions is None else self.captions.split(sizes)
        spurious = none if self.spurious is None else self.spurious.split(sizes)
        parts = []
        for number in range(len(sizes)):
            classes = None if number else self.classes
            parts.append(Embedded(images[number], captions[number], classes, spurious[number]))
        return parts

    def product(self, gradient: Embedded) -> Tensor:
        """A number whose gradient to these is the one given."""
        products = []
        for tensor, direction in zip(self, gradient, strict=True):
            if tensor is not None:
                products.append((tensor * direction).sum())
        return torch.stack(products).sum()


class Held(NamedTuple):
    """What models make of a batch that do not learn from it; absent where nobody asks.

    anchor (B, D): the images through theta0; teacher: all through the teacher; hidden: states of
    theta0's layers, of a batch that goes through the model once and by one rank alone.
    """

    anchor: Tensor = ABSENT
    teacher: Embedded | None = None
    hidden: Mapping[str, Tensor] = ABSENT

    @classmethod
    def join(cls, parts: Sequence[Held]) -> Held:
        """One of several, in their order."""
        first = parts[0]
        anchor = first.anchor
        if anchor is not ABSENT:
            anchor = torch.cat([part.anchor for part in parts])
        if first.teacher is None:
            return cls(anchor)
        return cls(anchor, Embedded.join([part.teacher for part in parts if part.teacher]))

    def of_all(self, shown: Shown, ranks: Ranks) -> Held:
        """Those of all ranks."""
        anchor = self.anchor
        if anchor is not ABSENT:
            anchor = ranks.joined(anchor, shown.sizes)
        if self.teacher is None:
            return Held(anchor)
        return Held(anchor, self.teacher.coupled(shown, ranks))


def _gradient(leaf: Tensor | None) -> Any:
    if leaf is None:
        return None
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad


def _embedded(model: Any, shown: Shown) -> Embedded:
    """What a student makes of it, without the blank image of a rank that has none."""
    texts = (shown.captions, shown.class_captions, shown.spurious)
    embedded = Embedded(*model(shown.pixels, *texts))
    if len(shown.labels):
        return embedded
    captions = None if embedded.captions is None else embedded.captions[:0]
    spurious = None if embedded.spurious is None else embedded.spurious[:0]
    return embedded._replace(images=embedded.images[:0], captions=captions, spurious=spurious)


class Observer:
    """Makes a batch's Step; all draws follow from the step's number, a resumed run repeats them.

    Each of several ranks draws for the whole batch, and takes what belongs to its part.
    """

    def __init__(self, bench: Bench, config: RunConfig, state: State, fabric: Fabric, split: Split):
        self.ranks = bench.ranks_of(config)
        self._bench = bench
        self._config = config
        self._student = state.student
        self._module = state.module
        self._teacher = None if state.teacher is None else state.teacher.module
        self._fabric = fabric
        self._split = split
        self._encode = bench.clip.model.encode_image
        self._compiles = config.compile
        self._method = METHODS[config.method]
        needs = self._method.needs
        self._captions = None
        if needs & {"captions", "class_captions", "spurious_captions"}:
            self._captions = bench.captions()
        self._start_scale: Any = bench.clip.scale if "spurious_captions" in needs else ABSENT
        self._zero_shot = ABSENT
        self._context = ABSENT
        self._weights = ABSENT
        self._start = ABSENT
        if needs & {"anchor", "zero_shot"}:
            self._zero_shot = bench.zero_shot
        self._projections = ABSENT, ABSENT
        if "context" in needs:
            self._context = bench.clip.context_head(bench.prompts)
        if "projections" in needs:
            self._projections = projections(self._student)
        if "weights" in needs:
            self._weights = trained_tensors(state.student)
            theta0 = bench.student(config).state_dict()
            self._start = {name: theta0[name].clone() for name in self._weights}

    def __call__(self, batch: Batch, step: int) -> Step:
        """What the method sees of the batch of this step."""
        return self.seen(self.shown(batch, step))

    def shown(self, batch: Batch, step: int) -> Shown:
        """The batch of this step on the device, and what is drawn for it."""
        needs = self._method.needs
        pixels = to_device(batch.pixels if len(batch.rows) else self._blank, self._fabric.device)
        if self._compiles:
            self._try_compiled(pixels.tensor_split(self._config.accumulate)[0])
            self._compiles = False
        # Each draw has its own seed, so the order of what follows draws nothing else.
        shown = Shown(
            pixels=pixels,
            labels=to_device(batch.labels, self._fabric.device),
            captions=self._image_captions(batch, step) if "captions" in needs else None,
            class_captions=self._class_captions(step) if "class_captions" in needs else None,
            random_texts=self._random_texts(step) if "random_texts" in needs else ABSENT,
            is_taught=self._teacher is not None and step > 0,
            progress=(step + 1) / self._config.steps,
        )
        if "spurious_captions" in needs:
            shown = self._with_spurious(shown, batch, step)
        return shown if self.ranks.is_alone else self._part(shown, batch)

    def _part(self, shown: Shown, batch: Batch) -> Shown:
        """This rank's part of texts that were drawn for all, and what it has to know of all."""
        sizes = batch.sizes(self.ranks)
        labels = torch.tensor(self._split.labels)[batch.all_rows]
        shown = replace(shown, sizes=sizes, all_labels=to_device(labels, self._fabric.device))
        if shown.captions is not None:
            own = shown.captions.split(sizes)[self.ranks.rank]
            shown = replace(shown, captions=own if len(own) else shown.captions[:1])
        if shown.spurious is not None:
            texts, anchor = shown.spurious, shown.spurious_anchor
            own, held = (rows.split(sizes)[self.ranks.rank] for rows in (texts, anchor))
            shown = replace(shown, spurious=own if len(own) else texts[:1])
            shown = replace(shown, spurious_anchor=held, all_spurious_anchor=anchor)
        texts = shown.class_captions
        if texts is None or len(texts) < self.ranks.count:
            return shown
        class_sizes = [
            len(self.ranks.part(len(texts), rank=rank)) for rank in range(self.ranks.count)
        ]
        own = texts.split(class_sizes)[self.ranks.rank]
        return replace(shown, class_captions=own, class_sizes=class_sizes)

    @property
    def _blank(self) -> Tensor:
        """A black image: all that a rank without one has."""
        return torch.zeros(1, 3, *both_sides(self._bench.clip.size), dtype=torch.uint8)

    def weights(self) -> list[Tensor]:
        """The tensors that are trained."""
        return list(trained_tensors(self._student).values())

    def embed(self, shown: Shown) -> Embedded:
        """What the student makes of it."""
        return _embedded(self._module, shown)

    def held(self, shown: Shown) -> Held:
        """What theta0 and the teacher make of it, as the method needs them."""
        anchor, hidden = self._theta0(shown)
        return Held(anchor, self._taught(shown) if shown.is_taught else None, hidden)

    def _taught(self, shown: Shown) -> Embedded:
        """What the teacher makes of it, without a gradient."""
        with torch.no_grad(), self._fabric.autocast():
            embedded = _embedded(self._teacher, shown)
        whole: list[Any] = [None if tensor is None else tensor.float() for tensor in embedded]
        return Embedded(*whole)

    def seen(
        self, shown: Shown, embedded: Embedded | None = None, held: Held | None = None
    ) -> Step:
        """What the method sees of it; embedded, held: as they were made already."""
        if held is None:
            held = self.held(shown)
        hidden: Any = ABSENT
        if embedded is None:
            with self._catching(self._student.trained_towers()["image"]) as hidden:
                embedded = self.embed(shown)
        scale: Any = self._student.scale
        step = Step(
            images=embedded.images,  # (B, D)
            labels=shown.labels,
            scale=scale,
            progress=shown.progress,
            logits=self._logits(self._student, embedded),
            anchor=held.anchor,
            zero_shot=self._zero_shot,
            hidden=hidden,
            hidden_anchor=held.hidden,
            context=self._context,
            random_texts=shown.random_texts,
            captions=embedded.captions,  # (B, D)
            # A student without a text tower has theta0's.
            spurious=shown.spurious_anchor if embedded.spurious is None else embedded.spurious,
            spurious_anchor=shown.spurious_anchor,
            start_scale=self._start_scale,
            weights=self._weights,
            start=self._start,
            image_projection=self._projections[0],
            text_projection=self._projections[1],
        )
        return step if held.teacher is None else self._with_teacher(step, held.teacher)

    @torch.no_grad()
    def _with_teacher(self, step: Step, embedded: Embedded) -> Step:
        """The same step, with what the teacher says of it."""
        teacher: Any = self._teacher
        return replace(
            step,
            teacher_images=embedded.images,  # (B, D)
            teacher_captions=embedded.captions,  # (B, D)
            teacher_scale=teacher.scale,
            teacher_logits=self._logits(teacher, embedded),
        )

    def _logits(self, model: Any, embedded: Embedded) -> Tensor:
        """(B, C) of this step's captions, or of the model's head where cross-entropy is a term."""
        if embedded.classes is not None:
            return energy_vectors(unit(embedded.images), embedded.classes, model.scale)
        return model.logits(embedded.images) if self._method.uses_cross_entropy else ABSENT

    def _theta0(self, shown: Shown) -> tuple[Tensor, Mapping[str, Tensor]]:
        """What theta0 makes of the images: embeddings and hidden states, as they are needed."""
        needs = self._method.needs
        if not needs & {"anchor", "hidden"}:
            return ABSENT, ABSENT
        # What is made in inference mode may not be kept for a gradient, and states are not copied.
        frozen = torch.no_grad() if "hidden" in needs else torch.inference_mode()
        catching = self._catching(self._bench.clip.model.visual)
        with frozen, self._fabric.autocast(), catching as states:
            normalised = self._student.pixels(shown.pixels)
            embeddings = self._encode(normalised).float()[: len(shown.labels)]
        return embeddings.clone() if "anchor" in needs else ABSENT, states

    def _catching(self, visual: nn.Module) -> AbstractContextManager[Any]:
        """What catches the hidden states of a tower; absent where the method does not need them."""
        return hidden_states(visual) if "hidden" in self._method.needs else nullcontext(ABSENT)

    def _try_compiled(self, pixels: Tensor) -> None:
        """Compile what images go through, where that works on these."""
        visual = self._student.trained_towers()["image"]
        clip = self._bench.clip.model
        normalised = self._student.pixels(pixels)
        drawn = drawing(self._config.seed, "compile", self._fabric.device)
        with drawn, self._fabric.autocast():
            self._student.compiled = try_compiled(visual.forward, visual, normalised)
            if self._student.compiled is not None and "anchor" in self._method.needs:
                with torch.inference_mode():
                    self._encode = try_compiled(clip.encode_image, clip, normalised) or self._encode

    def _random_texts(self, step: int) -> Tensor:
        """(M, D) unit rows of fresh random texts."""
        clip = self._bench.clip
        config = self._config
        draw = rng(config.seed, f"random_texts:{step}")
        tokens = random_texts(
            clip.tokenizer, config.text_count, config.text_length, draw, clip.vocabulary
        )
        return clip.embed_texts(tokens)

    def _with_spurious(self, shown: Shown, batch: Batch, step: int) -> Shown:
        """With a spurious caption for each image of all ranks, and what theta0 makes of it.

        Around the caption that is drawn for the image.
        """
        assert self._captions is not None
        captions = self._captions_of(batch, step)
        tokens = self._captions.spurious(captions, rng(self._config.seed, f"spurious:{step}"))
        tokens = tokens.to(self._fabric.device)
        with self._fabric.autocast():
            anchor = self._bench.clip.embed_texts(tokens)
        return replace(shown, spurious=tokens, spurious_anchor=anchor.float())

    def _image_captions(self, batch: Batch, step: int) -> Tensor:
        """Tokens (B, context) of a caption for each image of all ranks."""
        return self._tokens(self._captions_of(batch, step))

    def _captions_of(self, batch: Batch, step: int) -> list[str]:
        """A caption for each image of all ranks, drawn by its domain."""
        rows = batch.all_rows.tolist()
        if protocol_of(self._config).drawn_once:
            return [self._captions_of_all[row] for row in rows]
        labels = [self._split.labels[row] for row in rows]
        domains = [self._split.domain_of(row) for row in rows]
        return self._drawn(labels, domains, f"captions:{step}")

    @cached_property
    def _captions_of_all(self) -> list[str]:
        """A caption for each row of the training split, drawn once."""
        domains = [self._split.domain_of(row) for row in range(len(self._split))]
        return self._drawn(self._split.labels, domains, "captions of all")

    def _class_captions(self, step: int) -> Tensor:
        """Tokens (C, context) of a caption for each class."""
        count = len(self._bench.manifest.names)
        domains = [reference_of(self._config, self._bench.manifest)] * count
        return self._tokens(self._drawn(range(count), domains, f"class_captions:{step}"))

    def _drawn(self, labels: Sequence[int], domains: Sequence[str], purpose: str) -> list[str]:
        """A caption for each label, by the run's setting `captions`."""
        assert self._captions is not None
        return self._captions.drawn(labels, domains, self._draw(purpose))

    def _tokens(self, captions: Sequence[str]) -> Tensor:
        assert self._captions is not None
        return self._captions.tokens(captions).to(self._fabric.device)

    def _draw(self, purpose: str) -> Generator | None:
        """What draws captions for this purpose; None where all are the first."""
        return rng(self._config.seed, purpose) if self._config.captions == "sampled" else None
