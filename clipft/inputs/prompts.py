"""Every text a model is given: class templates, captions, and random token texts."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from ..data.manifests import Manifest
from ..errors import ConfigError

Tokenizer = Any  # open_clip's, or another's with the same calls


def templates(manifest: Manifest) -> tuple[str, ...]:
    """The manifest's zero-shot templates, each with a `{}` for the class name.

    "openai": the 80 of CLIP's release. Raises ConfigError for another word, or without a `{}`.
    """
    if manifest.templates == "openai":
        return clip_templates()
    if isinstance(manifest.templates, str):
        fault = f"unknown templates {manifest.templates!r}; wanted: openai, or a list"
        raise ConfigError(f"{manifest.name}: {fault}")
    for template in manifest.templates:
        if "{}" not in template:
            fault = f"template {template!r} has no {{}} for the class name"
            raise ConfigError(f"{manifest.name}: {fault}")
    return manifest.templates


def clip_templates() -> tuple[str, ...]:
    """The 80 templates of CLIP's release."""
    from open_clip import OPENAI_IMAGENET_TEMPLATES

    return tuple(fill("{}") for fill in OPENAI_IMAGENET_TEMPLATES)


def fill_in(patterns: Sequence[str], names: Sequence[str]) -> list[str]:
    """Every name in every pattern, the names in the outer order."""
    return [pattern.replace("{}", name) for name in names for pattern in patterns]


def zero_shot_prompts(manifest: Manifest, tokenizer: Tokenizer) -> Tensor:
    """Tokens of every class in every template: (C, T, context)."""
    texts = fill_in(templates(manifest), manifest.names)
    return tokenizer(texts).unflatten(0, (len(manifest.names), -1))


class Captions:
    """Draws a caption for an image: a random template of its domain with a random class name.

    The templates are the manifest's `captions` ("any" joins every domain's), or else its zero-shot
    templates.
    """

    def __init__(self, manifest: Manifest, tokenizer: Tokenizer):
        rows = zip(manifest.names, manifest.class_names, strict=True)
        self.names = [(text, *name.also) for text, name in rows]
        self.tokenizer = tokenizer
        own = manifest.captions
        shared = own["any"] if own.get("any") else templates(manifest)
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
        begin, end, _ = special_tokens(self.tokenizer)
        ids = set()
        for text in self.texts():
            ids.update(self.tokenizer.encode(text))
        return sorted(ids - {begin, end})

    def draw(
        self, labels: Sequence[int], domains: Sequence[str], generator: Generator | None
    ) -> Tensor:
        """Tokens of one caption for each image: (B, context).

        Without a generator it is the first template and name.
        """
        picks = torch.zeros(len(labels), 2, dtype=torch.long)
        if generator is not None:
            picks = torch.randint(2**31, (len(labels), 2), generator=generator)
        images = zip(labels, domains, picks.tolist(), strict=True)
        return torch.stack([self._caption(*image) for image in images])

    def _caption(self, label: int, domain: str, pick: Sequence[int]) -> Tensor:
        names = self.names[label]
        patterns = self.templates[domain]
        pattern = patterns[pick[0] % len(patterns)]
        text = pattern.replace("{}", names[pick[1] % len(names)])
        if text not in self._tokens:  # the byte-pair encoder is slow; a text is encoded once
            self._tokens[text] = self.tokenizer([text])[0]
        return self._tokens[text]


def special_tokens(tokenizer: Tokenizer) -> tuple[int, int, int]:
    """Begin, end and vocabulary size of open_clip's tokenizer; ConfigError for any other."""
    try:
        return tokenizer.sot_token_id, tokenizer.eot_token_id, tokenizer.vocab_size
    except AttributeError:
        advice = "choose a CLIP with a byte-pair text tower, e.g. ViT-B-16"
        fault = f"this model has {type(tokenizer).__name__}; {advice}"
        raise ConfigError(f"random texts need open_clip's SimpleTokenizer, {fault}") from None


def random_texts(
    tokenizer: Tokenizer,
    count: int,
    length: int,
    generator: Generator,
    vocabulary: Sequence[int] | None = None,
) -> Tensor:
    """Random texts: BOS, `length` ids uniform in the vocabulary (no specials), EOT, then zeros.

    -> (count, context) token ids. vocabulary: the ids to draw from; None: all of the tokenizer's.
    Raises ConfigError where the text does not fit the context. Source: Lipsum-FT, arXiv:2404.00860,
    and its release.
    """
    begin, end, size = special_tokens(tokenizer)
    context = tokenizer.context_length
    if length + 2 > context:
        fault = f"random texts of {length} tokens do not fit a context of {context}"
        raise ConfigError(f"{fault}; at most {context - 2}")

    ids = torch.arange(size)
    if vocabulary is not None:
        ids = torch.as_tensor(vocabulary)
    ids = ids[(ids != begin) & (ids != end)]
    drawn = torch.randint(len(ids), (count, length), generator=generator)

    tokens = torch.zeros(count, context, dtype=torch.long)
    tokens[:, 0] = begin
    tokens[:, 1 : length + 1] = ids[drawn]
    tokens[:, length + 1] = end
    return tokens
