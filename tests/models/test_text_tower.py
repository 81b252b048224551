"""Texts at their own length: the padded tower's embeddings and gradients, from fewer tokens."""

import copy
import json
from types import SimpleNamespace

import open_clip
import pytest
import torch
from torch import nn

from clipft.models.clip import Clip
from clipft.models.students import TwoTowers
from clipft.models.text_tower import encode_texts, is_cut

VISION = {"image_size": 16, "patch_size": 8, "width": 16, "layers": 1, "head_width": 16}
TINY = {"vocab_size": 60, "width": 32, "heads": 2, "layers": 2}
BEGIN, END = 58, 59  # the end token has the highest number, as open_clip's has
# What sets the text towers of open_clip's list apart -> the first model that has it
KINDS: dict[str, str] = {}
for name in open_clip.list_models():
    config = open_clip.get_model_config(name)
    if "hf_model_name" not in config["text_cfg"]:
        custom = config.get("custom_text", False) or "multimodal_cfg" in config
        odd = {key: value for key, value in config["text_cfg"].items() if key not in TINY}
        odd |= {"CoCa": "multimodal_cfg" in config, "custom": custom}
        KINDS.setdefault(json.dumps(odd, sort_keys=True), name)


def tiny(name: str):
    """The model of this name with its own kind of text tower, made small."""
    config = open_clip.get_model_config(name)
    config["text_cfg"] |= TINY
    config |= {"vision_cfg": VISION, "embed_dim": 16}
    custom = config.pop("custom_text", False)
    if "multimodal_cfg" in config:
        config["vision_cfg"] = VISION | {"attentional_pool": True, "attn_pooler_heads": 2}
        config["vision_cfg"] |= {"output_tokens": True}
        config["multimodal_cfg"] |= TINY | {"dim_head": 16}
        return open_clip.CoCa(**config)
    return (open_clip.CustomTextCLIP if custom else open_clip.CLIP)(**config)


def texts(context: int, lengths: list[int], end: int = END) -> torch.Tensor:
    """Random texts of so many tokens, begin and end included; then zeros."""
    draw = torch.Generator().manual_seed(1)
    tokens = torch.zeros(len(lengths), context, dtype=torch.long)
    for row, length in enumerate(lengths):
        tokens[row, :length] = torch.randint(3, BEGIN, (length,), generator=draw)
        tokens[row, 0] = BEGIN
        tokens[row, length - 1] = end
    return tokens


def lengths_seen(model, run) -> list[int]:
    """The lengths of the texts that the text transformer is given within `run`."""
    tower = getattr(model, "text", model)
    seen = []
    hook = tower.transformer.register_forward_pre_hook(lambda _, x: seen.append(x[0].shape[1]))
    run()
    hook.remove()
    return seen


@pytest.mark.parametrize("name", KINDS.values())
def test_every_text_tower_of_open_clips_list_says_what_it_says_of_padded_texts(name):
    torch.manual_seed(0)
    model = tiny(name).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)  # so that what a token sees counts
    text_cfg = open_clip.get_model_config(name)["text_cfg"]
    end = text_cfg.get("eos_id", 2) if text_cfg.get("pool_type") == "eos" else END
    tokens = texts(model.context_length, [9, 4, model.context_length, 2, 9, 3], end)

    padded = model.encode_text(tokens)
    torch.testing.assert_close(encode_texts(model, tokens), padded, rtol=1e-5, atol=1e-5)
    seen = lengths_seen(model, lambda: encode_texts(model, tokens[[0, 1, 3]]))
    looks_ahead = text_cfg.get("no_causal_mask") or text_cfg.get("pool_type") == "last"
    if looks_ahead or text_cfg.get("embed_cls"):
        assert not is_cut(model)
        assert seen[0] >= model.context_length
    else:
        assert is_cut(model)
        assert seen == [9]


def test_a_hugging_face_tower_is_given_padded_texts():
    from open_clip.hf_model import HFTextEncoder
    from transformers import RobertaConfig

    about = RobertaConfig(
        vocab_size=60, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=20, pad_token_id=1,
    )  # fmt: skip
    model = tiny("ViT-B-16-SigLIP")
    model.text = HFTextEncoder("roberta", output_dim=16, config=about, pretrained=False)
    model.eval()
    tokens = texts(12, [4, 12, 5])
    assert not is_cut(model)
    torch.testing.assert_close(encode_texts(model, tokens), model.encode_text(tokens))


@pytest.mark.parametrize("name", ["ViT-B-16", "EVA02-B-16"])
def test_gradients_are_those_of_padded_texts(name):
    torch.manual_seed(0)
    model = tiny(name)
    tokens = texts(77, [9, 4, 30, 2, 9, 3, 9])
    towards = torch.randn(len(tokens), 16)
    gradients = []
    for encode in (model.encode_text, lambda tokens: encode_texts(model, tokens)):
        model.zero_grad()
        (encode(tokens) * towards).sum().backward()
        own = {name: weight.grad for name, weight in model.named_parameters()}
        gradients.append({name: grad.clone() for name, grad in own.items() if grad is not None})
    padded, cut = gradients
    assert padded.keys() == cut.keys()
    assert any("positional_embedding" in name for name in cut)
    torch.testing.assert_close(cut, padded, rtol=1e-4, atol=1e-5)


def test_texts_of_like_length_go_together_and_come_back_in_their_order():
    torch.manual_seed(0)
    model = tiny("ViT-B-16").eval()
    lengths = torch.randint(2, 20, (300,), generator=torch.Generator().manual_seed(0)).tolist()
    tokens = texts(77, lengths)
    told = []
    seen = lengths_seen(model, lambda: encode_texts(model, tokens, told.append))
    assert sum(told) == 300
    assert max(told) <= 128
    assert seen == sorted(seen)
    assert len(seen) > 2
    spent = sum(length * count for length, count in zip(seen, told, strict=True))
    assert spent < 1.25 * sum(lengths)
    torch.testing.assert_close(
        encode_texts(model, tokens), model.encode_text(tokens), rtol=1e-5, atol=1e-5
    )


def test_every_way_to_embed_texts_is_the_short_one():
    """Heads, contexts, random texts and the captions that a method trains on."""
    torch.manual_seed(0)
    model = tiny("ViT-B-16").eval()
    preprocess = {"mean": [0.5] * 3, "std": [0.5] * 3, "size": 16}
    config = {"model_cfg": {}, "preprocess_cfg": preprocess}
    clip = Clip("tiny", model, SimpleNamespace(), transform=copy.copy, config=config)
    prompts = texts(77, [5, 7, 6, 8]).unflatten(0, (2, 2))
    assert lengths_seen(model, lambda: clip.zero_shot_head(prompts)) == [8]
    assert lengths_seen(model, lambda: clip.context_head(prompts)) == [8]

    student = TwoTowers(clip, prompts)
    images = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    both = lengths_seen(student.clip, lambda: student(images, prompts[0], prompts[:, 0]))
    assert both == [7, 6]
    assert lengths_seen(student.clip, student.linear) == [8]
