"""Texts: zero-shot prompts, captions, and random token texts, by open_clip's own tokenizer."""

import open_clip
import pytest
import torch
from hypothesis import given, settings, strategies as st

from clipft.data.manifests import Manifest, load_manifest
from clipft.disk.files import read_json
from clipft.errors import ConfigError
from clipft.inputs.prompts import (
    Captions,
    random_texts,
    templates,
    unknown_spurious,
    zero_shot_prompts,
)
from clipft.inputs.seeds import rng
from clipft.runs.model_names import EMOJI_TINY

TOKENIZER = open_clip.get_tokenizer("ViT-B-32")
EMOJI = load_manifest("emoji_shift")


def texts_of(tokens):
    """Token rows back as plain words, the special tokens left out."""
    texts = []
    for row in tokens.tolist():
        ids = [i for i in row if 0 < i < 49406]
        texts.append(TOKENIZER.decode(ids).strip())
    return texts


def words(text):
    """A text as the byte-pair encoder spells it."""
    return texts_of(TOKENIZER([text]))[0]


def test_zero_shot_prompts():
    prompts = zero_shot_prompts(EMOJI, TOKENIZER)
    assert prompts.shape == (200, 4, 77)
    row = EMOJI.names.index("alarm clock")
    want = [
        "alarm clock",
        "an emoji of alarm clock.",
        "a picture of alarm clock.",
        "a drawing of alarm clock.",
    ]
    assert torch.equal(prompts[row], TOKENIZER(want))


def test_emojishifts_spurious_templates_are_of_words_that_its_model_knows():
    tiny = read_json(EMOJI_TINY / "clipft.json")["random_text_tokens"]
    assert EMOJI.spurious and unknown_spurious(EMOJI, TOKENIZER, tiny) == []
    places = EMOJI.model_copy(update={"spurious": ()})
    (line,) = unknown_spurious(places, TOKENIZER, tiny)
    assert line.startswith("20 spurious templates have words that this model never saw, '{} in a")
    assert unknown_spurious(places, TOKENIZER, None) == []


def test_spurious_captions():
    captions = Captions(EMOJI, TOKENIZER)
    drawn = captions.spurious(["a cat.", "cat"] * 100, rng(0, "spurious"))
    own = {words(pattern.format(text)) for pattern in EMOJI.spurious for text in ("a cat", "cat")}
    assert set(texts_of(drawn)) == own


def test_underscores_that_are_kept_stand_in_prompts_and_captions():
    fills = open_clip.OPENAI_IMAGENET_TEMPLATES
    written = {}
    for name, word in (
        ("release/domainnet", "aircraft_carrier"),
        ("domainnet", "aircraft carrier"),
    ):
        manifest = load_manifest(name)
        row = manifest.names.index(word)
        few = Manifest.from_copy(
            manifest.copy_for_run() | {"class_names": [{"name": "aircraft_carrier"}]}
        )
        (found,) = zero_shot_prompts(few, TOKENIZER)
        assert torch.equal(found, TOKENIZER([fill(word) for fill in fills]))
        captions = Captions(manifest, TOKENIZER)
        assert captions.names[row] == (word,)
        assert torch.equal(captions.draw([row], ["real"], None)[0], found[0])
        written[name] = found
    assert not torch.equal(*written.values())


def test_openai_templates_are_open_clips():
    found = templates(load_manifest("domainnet"))
    want = [fill("cat") for fill in open_clip.OPENAI_IMAGENET_TEMPLATES]
    assert [text.format("cat") for text in found] == want


def test_captions_are_drawn_from_their_own_class_and_domain():
    captions = Captions(EMOJI, TOKENIZER)
    labels = [row % 200 for row in range(400)]
    domains = [EMOJI.domains[row % 4] for row in range(400)]
    tokens = captions.draw(labels, domains, rng(0, "captions:3"))
    assert tokens.shape == (400, 77)
    assert torch.equal(
        tokens, Captions(EMOJI, TOKENIZER).draw(labels, domains, rng(0, "captions:3"))
    )
    assert not torch.equal(tokens, captions.draw(labels, domains, rng(0, "captions:4")))
    known = {words(text) for text in captions.texts()}
    for text, label, domain in zip(texts_of(tokens), labels, domains, strict=True):
        class_name = EMOJI.class_names[label]
        own = set()
        for pattern in (*EMOJI.captions["any"], *EMOJI.captions[domain]):
            own |= {words(pattern.format(name)) for name in (class_name.text, *class_name.also)}
        assert text in own & known


def test_every_caption_can_be_drawn_and_is_listed_once():
    few = EMOJI.model_copy(update={"captions": {"any": ("{}", "a {}"), "line": ("sketch of {}",)}})
    captions = Captions(few, TOKENIZER)
    assert captions.texts() == sorted(set(captions.texts()))
    label = few.names.index("camera")
    drawn = captions.draw([label] * 100, ["line"] * 100, rng(0, "many"))
    assert set(texts_of(drawn)) == {"camera", "a camera", "sketch of camera"}
    drawn = captions.draw([label] * 100, ["glyph"] * 100, rng(0, "many"))
    assert set(texts_of(drawn)) == {"camera", "a camera"}


def test_captions_fall_back_on_the_zero_shot_templates():
    plain = EMOJI.model_copy(update={"captions": {}, "templates": ("the {}",)})
    assert all(text.startswith("the ") for text in Captions(plain, TOKENIZER).texts())


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 30), st.integers(1, 75), st.integers(0, 2**40))
def test_random_texts(count, length, seed):
    tokens = random_texts(TOKENIZER, count, length, rng(seed, "texts"))
    assert tokens.shape == (count, 77)
    assert tokens.dtype == torch.long
    assert (tokens[:, 0] == TOKENIZER.sot_token_id).all()
    assert (tokens[:, length + 1] == TOKENIZER.eot_token_id).all()
    assert (tokens[:, length + 2 :] == 0).all()
    body = tokens[:, 1 : length + 1]
    assert ((body >= 0) & (body < 49406)).all()  # 49406 and 49407 are the special tokens
    assert torch.equal(tokens, random_texts(TOKENIZER, count, length, rng(seed, "texts")))
    assert torch.equal(
        tokens.argmax(1), torch.full((count,), length + 1)
    )  # where open_clip's text tower looks


def test_random_texts_of_a_small_vocabulary_use_all_of_it_and_no_special_token():
    tokens = random_texts(
        TOKENIZER, 100, 8, rng(0, "texts"), vocabulary=[320, 49406, 2368, 49407, 539]
    )
    assert set(tokens[:, 1:9].flatten().tolist()) == {320, 2368, 539}


def test_random_texts_reach_both_ends_of_the_vocabulary():
    body = random_texts(TOKENIZER, 4000, 75, rng(0, "texts"))[:, 1:76]
    assert (body.min().item(), body.max().item()) == (0, 49405)
    assert body.float().mean().item() == pytest.approx(49405 / 2, rel=0.01)


def test_random_texts_that_cannot_be():
    assert random_texts(TOKENIZER, 1, 75, rng(0, "texts"))[0, 76] == TOKENIZER.eot_token_id
    with pytest.raises(ConfigError, match="76 tokens do not fit a context of 77; at most 75"):
        random_texts(TOKENIZER, 1, 76, rng(0, "texts"))
    words = "need open_clip's SimpleTokenizer or transformers', this model has object"
    with pytest.raises(ConfigError, match=words):
        random_texts(object(), 1, 8, rng(0, "texts"))


LONG = " ".join(["very"] * 80)


class Unknowing:
    """A tokenizer that knows ten letters; all others are one sign, as in many vocabularies."""

    context_length = 77

    def __call__(self, texts):
        known = " .{}photanei"
        ids = [[known.find(sign) + 2 for sign in text.lower()] for text in texts]
        rows = [(row + [0] * 77)[:77] for row in ids]
        return torch.tensor(rows)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("T-shirt", "T_shirt"),
        ("Crane", "crane"),
        ("black  bear", "black bear"),
        ("Tom &amp; Jerry", "Tom & Jerry"),
        ("caf\u00e9", "cafe\u0301"),
        ("\ufb01sh", "fish"),  # a ligature
        ("Schr\u00c3\u00b6dinger", "Schr\u00f6dinger"),  # UTF-8 read as Latin-1, as ftfy knows
        ("ant\u00a0hill", "ant hill"),
        (f"{LONG} ant", f"{LONG} bee"),
    ],
)
def test_classes_that_are_one_text_are_said_with_both_names(first, second, capsys, monkeypatch):
    """mlfoundations/open_clip#917, openai/CLIP#235, LAION-AI/CLIP_benchmark#124."""
    monkeypatch.setattr("clipft.progress._SAID", set())
    prompts = zero_shot_prompts(of_names("bee", first, "wasp", second), TOKENIZER)
    same = torch.equal(prompts[1], prompts[3])
    said = capsys.readouterr().err
    assert same == (f"the classes {first!r} and {second!r} are the same text to this model" in said)
    assert same and said.count("\n") == 1


def of_names(*names):
    rows = [{"name": name, "folder": str(row)} for row, name in enumerate(names)]
    return Manifest.from_copy(EMOJI.copy_for_run() | {"class_names": rows})


def test_classes_are_compared_as_the_models_own_tokenizer_reads_them(capsys, monkeypatch):
    monkeypatch.setattr("clipft.progress._SAID", set())
    zero_shot_prompts(of_names("crab", "drum", "crane"), TOKENIZER)
    assert capsys.readouterr().err == ""
    zero_shot_prompts(of_names("\u87f9", "\u9f13", "crane"), Unknowing())
    assert "'\u87f9' and '\u9f13' are the same text" in capsys.readouterr().err
    for _ in range(2):
        zero_shot_prompts(of_names(*["ant"] * 9), TOKENIZER)
    assert capsys.readouterr().err.count("'ant' and 'ant'") == 5  # and 3 more, once


def test_no_class_of_the_shipped_data_sets_shares_its_text(capsys):
    for name in ("emoji_shift", "domainnet"):
        manifest = load_manifest(name)
        few = manifest.model_copy(update={"templates": ("{}",)})
        zero_shot_prompts(few, TOKENIZER)
    assert capsys.readouterr().err == ""
