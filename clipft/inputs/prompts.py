"""Every text a model is given: class templates, captions, and random token texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Generator, Tensor

    from ..data.manifests import Manifest

    Tokenizer = Callable[[list[str]], Tensor]


def templates(manifest: Manifest) -> tuple[str, ...]:
    """The manifest's zero-shot templates, each with a `{}` for the class name; "openai": the 80 of CLIP's release."""
    if manifest.templates == "openai":
        from open_clip import OPENAI_IMAGENET_TEMPLATES

        return tuple(template("{}") for template in OPENAI_IMAGENET_TEMPLATES)
    odd = [template for template in manifest.templates if "{}" not in template]
    if odd and not isinstance(manifest.templates, str):
        raise ConfigError(f"{manifest.name}: template {odd[0]!r} has no {{}} for the class name")
    if isinstance(manifest.templates, str):
        raise ConfigError(
            f"{manifest.name}: unknown templates {manifest.templates!r}; wanted: openai, or a list"
        )
    return manifest.templates


def zero_shot_prompts(manifest: Manifest, tokenizer: Tokenizer) -> Tensor:
    """Tokens of every class in every template: (C, T, context)."""
    texts = [
        template.replace("{}", name) for name in manifest.names for template in templates(manifest)
    ]
    return tokenizer(texts).unflatten(0, (len(manifest.names), -1))


class Captions:
    """Draws a caption for an image: a random template of its domain, filled with a random name of its class.

    The templates are the manifest's `captions` ("any" joins every domain's), or else its zero-shot templates.
    """

    def __init__(self, manifest: Manifest, tokenizer: Tokenizer):
        self.names = [(c.text, *c.also) for c in manifest.class_names]
        shared = manifest.captions.get("any", ()) or templates(manifest)
        self.templates = {
            domain: (*shared, *manifest.captions.get(domain, ())) for domain in manifest.domains
        }
        self.tokenizer = tokenizer
        self._tokens: dict[str, Tensor] = {}

    def texts(self) -> list[str]:
        """Every caption that can be drawn, in a fixed order."""
        filled = {
            template.replace("{}", name)
            for names in self.names
            for name in names
            for rows in self.templates.values()
            for template in rows
        }
        return sorted(filled)

    def vocabulary(self) -> list[int]:
        """The ids of all tokens that the captions hold, begin and end left out."""
        begin, end, _ = special_tokens(self.tokenizer)
        return sorted(
            {i for text in self.texts() for i in self.tokenizer.encode(text)} - {begin, end}
        )

    def draw(
        self, labels: Sequence[int], domains: Sequence[str], generator: Generator | None
    ) -> Tensor:
        """Tokens of one caption for each image: (B, context); without a generator the first template and name."""
        if generator is None:
            return torch.stack(
                [self._caption(*image, [0, 0]) for image in zip(labels, domains, strict=True)]
            )
        picks = torch.randint(2**31, (len(labels), 2), generator=generator).tolist()
        return torch.stack(
            [self._caption(*image) for image in zip(labels, domains, picks, strict=True)]
        )

    def _caption(self, label: int, domain: str, pick: list[int]) -> Tensor:
        names, rows = self.names[label], self.templates[domain]
        text = rows[pick[0] % len(rows)].replace("{}", names[pick[1] % len(names)])
        if text not in self._tokens:  # the byte-pair encoder is slow; a text is encoded once
            self._tokens[text] = self.tokenizer([text])[0]
        return self._tokens[text]


def special_tokens(tokenizer: Tokenizer) -> tuple[int, int, int]:
    """Begin, end and vocabulary size of open_clip's own tokenizer; raises ConfigError for any other."""
    try:
        return tokenizer.sot_token_id, tokenizer.eot_token_id, tokenizer.vocab_size
    except AttributeError:
        raise ConfigError(
            f"random texts need open_clip's SimpleTokenizer, this model has {type(tokenizer).__name__}; "
            "choose a CLIP with a byte-pair text tower, e.g. ViT-B-16"
        ) from None


def random_texts(
    tokenizer: Tokenizer,
    count: int,
    length: int,
    generator: Generator,
    vocabulary: Sequence[int] | None = None,
) -> Tensor:
    """Random texts: BOS, `length` ids uniform in the vocabulary (specials left out), EOT, then zeros.

    -> (count, context) token ids. vocabulary: the ids to draw from; None: all of the tokenizer's. Raises ConfigError
    where the text does not fit the context. Source: Lipsum-FT, arXiv:2404.00860, and its release.
    """
    begin, end, size = special_tokens(tokenizer)
    context = tokenizer.context_length
    if length + 2 > context:
        raise ConfigError(
            f"random texts of {length} tokens do not fit a context of {context}; at most {context - 2}"
        )
    ids = torch.arange(size) if vocabulary is None else torch.as_tensor(vocabulary)
    ids = ids[(ids != begin) & (ids != end)]
    tokens = torch.zeros(count, context, dtype=torch.long)
    tokens[:, 0], tokens[:, length + 1] = begin, end
    tokens[:, 1 : length + 1] = ids[torch.randint(len(ids), (count, length), generator=generator)]
    return tokens
