"""Texts at their own length against texts padded to 77 tokens, ViT-B/16's text tower. `make bench`.

Random weights, one thread, CPU seconds of texts in turn; the median of five with its spread.
"""

import statistics
import time

import open_clip
import torch

from clipft.inputs.prompts import random_texts
from clipft.models.text_tower import encode_texts

ROUNDS, TEXTS = 5, 64
CLASSES = ["dog", "hot dog", "grandfather clock", "ice cream"]


def text_tower():
    """ViT-B/16 with next to no vision tower, and its tokenizer."""
    config = open_clip.get_model_config("ViT-B-16")
    tiny = {"image_size": 16, "patch_size": 8, "width": 32, "layers": 1, "head_width": 16}
    config["vision_cfg"] = tiny
    torch.manual_seed(0)
    return open_clip.CLIP(**config).eval(), open_clip.get_tokenizer("ViT-B-16")


def seconds(encode, tokens: torch.Tensor) -> float:
    start = time.process_time()
    encode(tokens)
    return time.process_time() - start


def ratios(model, tokens: torch.Tensor) -> list[float]:
    """Padded seconds by short seconds, in turn."""
    found = []
    for _ in range(ROUNDS):
        short = seconds(lambda given: encode_texts(model, given), tokens)
        padded = seconds(model.encode_text, tokens)
        found.append(padded / short)
    return found


def test_texts_at_their_own_length():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model, tokenizer = text_tower()
        templates = open_clip.OPENAI_IMAGENET_TEMPLATES
        prompts = tokenizer([fill(name) for name in CLASSES for fill in templates])
        every = len(prompts) // TEXTS
        draw = torch.Generator().manual_seed(0)
        given = {
            "8 random tokens": (random_texts(tokenizer, TEXTS, 8, draw), 6),
            "class prompts": (prompts[::every][:TEXTS], 3),
        }
        print(f"\n{TEXTS} texts, ViT-B/16's text tower, 1 thread, {ROUNDS} rounds in turn")
        with torch.inference_mode():
            model.encode_text(prompts[:8])
            for name, (tokens, least) in given.items():
                found = ratios(model, tokens)
                gap = (encode_texts(model, tokens) - model.encode_text(tokens)).abs().max()
                middle = statistics.median(found)
                spread = f"{min(found):.1f} ... {max(found):.1f}"
                print(f"{name:16} {middle:5.1f} x ({spread}), embeddings within {gap:.1e}")
                assert middle >= least
                assert gap < 1e-5
    finally:
        torch.set_num_threads(threads)
