"""Every text a model is given: class templates, captions, and random token texts."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from ..data.manifest_keys import AN, ANY
from ..data.manifests import Manifest
from ..errors import ConfigError
from ..progress import say

SHOWN = 5  # pairs of classes in a line
Tokenizer = Any  # open_clip's, or another's with the same calls
# of a caption: places and circumstances that say nothing of the class; for manifests without others
SPURIOUS = (
    "{} in a forest", "{} on a beach", "{} in the desert", "{} in the snow", "{} under a clear sky",
    "{} in a city street", "{} beside a river", "{} in a meadow", "{} on a mountain", "{} indoors",
    "{} on a wooden floor", "{} at night", "{} at sunset", "{} in thick fog", "{} in heavy rain",
    "{} in a garden", "{} among rocks", "{} in front of a brick wall", "{} next to a car",
    "{} with people behind it",
)  # fmt: skip
WORDS = ("a", "the", "cat", "1")  # of which a vocabulary has one as a token of its own


def templates(manifest: Manifest) -> tuple[str, ...]:
    """The manifest's zero-shot templates, each with a `{}` for the class name."""
    if isinstance(manifest.templates, str):  # openai; no other word is let into a manifest
        return clip_templates()
    return manifest.templates


def clip_templates() -> tuple[str, ...]:
    """The 80 templates of CLIP's release."""
    from open_clip import OPENAI_IMAGENET_TEMPLATES

    return tuple(fill("{}") for fill in OPENAI_IMAGENET_TEMPLATES)


def spurious_templates(manifest: Manifest) -> tuple[str, ...]:
    """What StarFT puts a caption into, each with a `{}`: the manifest's own, or `SPURIOUS`."""
    return manifest.spurious or SPURIOUS


def unknown_spurious(
    manifest: Manifest, tokenizer: Tokenizer, vocabulary: Sequence[int] | None
) -> list[str]:
    """A line where spurious templates have tokens that no caption of the model held; else none."""
    if vocabulary is None:
        return []
    unseen = []
    for pattern in spurious_templates(manifest):
        if not set(inner_tokens(tokenizer, pattern.replace("{}", " "))) <= set(vocabulary):
            unseen.append(repr(pattern))
    if not unseen:
        return []
    listed = ", ".join(unseen[:SHOWN])
    mend = "all such words are one to it; wanted: others under spurious in the manifest"
    return [
        f"{len(unseen)} spurious templates have words that this model never saw, {listed}: {mend}"
    ]


def fill_in(patterns: Sequence[str], names: Sequence[str]) -> list[str]:
    """Every name in every pattern, the names in the outer order."""
    return [filled(pattern, name) for name in names for pattern in patterns]


def filled(pattern: str, name: str) -> str:
    """A pattern with a name for {}, and for {an} with its article before it and spaces for _."""
    if AN in pattern:
        words = name.replace("_", " ")
        article = "an" if words[:1] in tuple("aeiou") else "a"
        pattern = pattern.replace(AN, f"{article} {words}")
    return pattern.replace("{}", name)


def zero_shot_prompts(manifest: Manifest, tokenizer: Tokenizer) -> Tensor:
    """Tokens of every class in every template: (C, T, context).

    Classes that are one text to this tokenizer are said, see `same_texts`.
    """
    texts = fill_in(templates(manifest), manifest.names)
    prompts = tokenizer(texts).unflatten(0, (len(manifest.names), -1))
    say(same_texts(prompts, [name.name for name in manifest.class_names], manifest.name))
    return prompts


def same_texts(prompts: Tensor, names: Sequence[str], source: str) -> list[str]:
    """A line where classes have the same tokens (C, T, context) in all templates; else none.

    Whatever made them so: case, _ and -, HTML, Unicode forms, unknown letters, a text that is cut.
    It is no error: ImageNet's usual names have two such pairs, and a trained head tells them apart.
    """
    pairs = equal_pairs(prompts, names)
    if not pairs:
        return []
    listed = ", ".join(pairs[:SHOWN])
    if len(pairs) > SHOWN:
        listed += f" and {len(pairs) - SHOWN} more pairs"
    shared = "are the same text to this model: one column of the zero-shot head for both"
    mend = "other words for one of them: {name: WORDS, folder: FOLDER}"
    return [f"{source}: the classes {listed} {shared}, and the second is never predicted; {mend}"]


def equal_pairs(prompts: Tensor, names: Sequence[str]) -> list[str]:
    """'A' and 'B', for each class B whose tokens (C, T, context) are all those of an earlier A."""
    first: dict[bytes, int] = {}
    pairs = []
    for label, tokens in enumerate(prompts.cpu().numpy()):
        other = first.setdefault(tokens.tobytes(), label)
        if other != label:
            pairs.append(f"{names[other]!r} and {names[label]!r}")
    return pairs


class Captions:
    """Draws a caption for an image: a random template of its domain with a random class name.

    The templates are the manifest's `captions` ("any" joins every domain's), or else its zero-shot
    templates.
    """

    def __init__(self, manifest: Manifest, tokenizer: Tokenizer):
        rows = zip(manifest.names, manifest.class_names, strict=True)
        self.names = [(text, *name.also) for text, name in rows]
        self.tokenizer = tokenizer
        self.patterns = spurious_templates(manifest)
        own = manifest.captions
        shared = own[ANY] if own.get(ANY) else templates(manifest)
        self.templates = {domain: (*shared, *own.get(domain, ())) for domain in manifest.domains}
        self._tokens: dict[str, Tensor] = {}

    def texts(self) -> list[str]:
        """Every caption that can be drawn, in a fixed order."""
        captions = set()
        for names in self.names:
            for patterns in self.templates.values():
                captions.update(fill_in(patterns, names))
        return sorted(captions)

    def vocabulary(self) -> list[int]:
        """The ids of all tokens that the captions hold, begin and end left out."""
        ids = set()
        for text in self.texts():
            ids.update(inner_tokens(self.tokenizer, text))
        return sorted(ids - special_tokens(self.tokenizer))

    def draw(
        self, labels: Sequence[int], domains: Sequence[str], generator: Generator | None
    ) -> Tensor:
        """Tokens (B, context) of the captions that are `drawn`."""
        return self.tokens(self.drawn(labels, domains, generator))

    def tokens(self, captions: Sequence[str]) -> Tensor:
        """Tokens (B, context) of captions; the byte-pair encoder is slow, so a text is encoded
        once.
        """
        for text in captions:
            if text not in self._tokens:
                self._tokens[text] = self.tokenizer([text])[0]
        return torch.stack([self._tokens[text] for text in captions])

    def spurious(self, captions: Sequence[str], generator: Generator) -> Tensor:
        """Tokens (B, context) of each caption, without its full stop, in a random template."""
        picks = torch.randint(len(self.patterns), (len(captions),), generator=generator)
        texts = []
        for caption, pick in zip(captions, picks.tolist(), strict=True):
            texts.append(filled(self.patterns[pick], caption.removesuffix(".")))
        return self.tokenizer(texts)

    def drawn(
        self, labels: Sequence[int], domains: Sequence[str], generator: Generator | None
    ) -> list[str]:
        """A caption for each image; without a generator the first template and name."""
        picks = torch.zeros(len(labels), 2, dtype=torch.long)
        if generator is not None:
            picks = torch.randint(2**31, (len(labels), 2), generator=generator)
        images = zip(labels, domains, picks.tolist(), strict=True)
        return [self._caption(*image) for image in images]

    def _caption(self, label: int, domain: str, pick: Sequence[int]) -> str:
        names = self.names[label]
        patterns = self.templates[domain]
        pattern = patterns[pick[0] % len(patterns)]
        return filled(pattern, names[pick[1] % len(names)])


def inner_tokens(tokenizer: Tokenizer, text: str) -> list[int]:
    """The ids of a text itself, without begin, end and padding."""
    if hasattr(tokenizer, "encode"):  # open_clip's byte pairs
        return tokenizer.encode(text)
    return list(tokenizer.tokenizer(text, add_special_tokens=False).input_ids)


def special_tokens(tokenizer: Tokenizer) -> set[int]:
    """The ids that stand for no part of a text: begin, end, padding, mask.

    Raises ConfigError for a tokenizer that is neither open_clip's nor transformers'.
    """
    if hasattr(tokenizer, "sot_token_id"):
        return {tokenizer.sot_token_id, tokenizer.eot_token_id}
    if not hasattr(tokenizer, "tokenizer"):
        fault = f"this model has {type(tokenizer).__name__}"
        wanted = "random texts need open_clip's SimpleTokenizer or transformers'"
        raise ConfigError(f"{wanted}, {fault}")
    added = getattr(tokenizer.tokenizer, "added_tokens_decoder", {})
    marked = {number for number, token in added.items() if token.special}
    return marked | set(tokenizer.tokenizer.all_special_ids)


def text_frame(tokenizer: Tokenizer, length: int) -> tuple[Tensor, slice]:
    """A row (context,) of a text of `length` tokens as the tokenizer writes it, and where they are.

    What stands around them is the model's own: begin, end, padding, a class token. Raises
    ConfigError where such a text does not fit the context.
    """
    framed = _framed(tokenizer, length)
    if framed is None:
        context = tokenizer.context_length
        fault = f"random texts of {length} tokens do not fit a context of {context}"
        fitting = [some for some in range(1, min(length, context)) if _framed(tokenizer, some)]
        raise ConfigError(f"{fault}; at most {max(fitting, default=0)}")
    return framed


def _framed(tokenizer: Tokenizer, length: int) -> tuple[Tensor, slice] | None:
    """The row of a word repeated, where the word is one token; None where it is cut off."""
    for word in WORDS:
        text = " ".join([word] * length)
        ids = inner_tokens(tokenizer, text)
        row = tokenizer([text])[0]
        if len(ids) != length:
            continue
        for start in range(len(row) - length + 1):
            if row[start : start + length].tolist() == ids:
                return row, slice(start, start + length)
    return None


def random_texts(
    tokenizer: Tokenizer,
    count: int,
    length: int,
    generator: Generator,
    vocabulary: Sequence[int] | None = None,
) -> Tensor:
    """Random texts: BOS, `length` ids uniform in the vocabulary (no specials), EOT, then zeros.

    Other tokenizers than CLIP's put around them what they put around a text. -> (count, context)
    token ids. vocabulary: the ids to draw from; None: all of the tokenizer's. Raises ConfigError
    where the text does not fit the context. Source: Lipsum-FT, arXiv:2404.00860, and its release.
    """
    special = special_tokens(tokenizer)
    row, place = text_frame(tokenizer, length)
    ids = torch.arange(tokenizer.vocab_size)
    if vocabulary is not None:
        ids = torch.as_tensor(vocabulary)
    ids = ids[~torch.isin(ids, torch.tensor(sorted(special)))]
    drawn = torch.randint(len(ids), (count, length), generator=generator)

    tokens = row.repeat(count, 1)
    tokens[:, place] = ids[drawn]
    return tokens
