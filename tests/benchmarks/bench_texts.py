"""Texts at their own length against texts padded to 77 tokens, ViT-B/16's text tower. `make bench`.

Random weights, one thread, CPU seconds of texts in turn; the median of five with its spread.
`bench_model.py` asks the same on a card.
"""

import statistics
import time
from collections.abc import Iterator

import open_clip
import torch

from clipft.inputs.prompts import random_texts
from clipft.models.text_tower import encode_texts

ROUNDS, TEXTS = 5, 64
ON_CARD = 2048  # texts
LEAST = {"8 random tokens": 6, "class prompts": 3}  # times faster
CLASSES = ["dog", "hot dog", "grandfather clock", "ice cream"]


def text_tower():
    """ViT-B/16 with next to no vision tower, and its tokenizer."""
    config = open_clip.get_model_config("ViT-B-16")
    tiny = {"image_size": 16, "patch_size": 8, "width": 32, "layers": 1, "head_width": 16}
    config["vision_cfg"] = tiny
    torch.manual_seed(0)
    return open_clip.CLIP(**config).eval(), open_clip.get_tokenizer("ViT-B-16")


def seconds(encode, tokens: torch.Tensor) -> float:
    """Of the processor where it does the work; else of the clock, until the device is done."""
    on_card = tokens.is_cuda
    clock = time.perf_counter if on_card else time.process_time
    start = clock()
    encode(tokens)
    if on_card:
        torch.cuda.synchronize()
    return clock() - start


def ratios(model, tokens: torch.Tensor) -> list[float]:
    """Padded seconds by short seconds, in turn."""
    found = []
    for _ in range(ROUNDS):
        short = seconds(lambda given: encode_texts(model, given), tokens)
        padded = seconds(model.encode_text, tokens)
        found.append(padded / short)
    return found


def texts_in_turn(device: str = "cpu") -> Iterator[tuple[str, list[float], float]]:
    """Of each kind of text: its name, the ratios, the largest difference of an embedding."""
    count = TEXTS if torch.device(device).type == "cpu" else ON_CARD
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model, tokenizer = text_tower()
        model = model.to(device)
        templates = open_clip.OPENAI_IMAGENET_TEMPLATES
        prompts = tokenizer([fill(name) for name in CLASSES for fill in templates])
        evenly = torch.linspace(0, len(prompts) - 1, count).long()
        draw = torch.Generator().manual_seed(0)
        given = {
            "8 random tokens": random_texts(tokenizer, count, 8, draw).to(device),
            "class prompts": prompts[evenly].to(device),
        }
        with torch.inference_mode():
            for name, tokens in given.items():
                gap = (encode_texts(model, tokens) - model.encode_text(tokens)).abs().max()
                yield name, ratios(model, tokens), float(gap)
    finally:
        torch.set_num_threads(threads)


def test_texts_at_their_own_length():
    print(f"\n{TEXTS} texts, ViT-B/16's text tower, 1 thread, {ROUNDS} rounds in turn")
    for name, found, gap in texts_in_turn():
        middle = statistics.median(found)
        spread = f"{min(found):.1f} ... {max(found):.1f}"
        print(f"{name:16} {middle:5.1f} x ({spread}), embeddings within {gap:.1e}")
        assert middle >= LEAST[name]
        assert gap < 1e-5
