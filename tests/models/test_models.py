"""open_clip models in and out, against open_clip itself."""

import math
from pathlib import Path

import open_clip
import pytest
import torch
from PIL import Image

from clipft.data.manifests import load_manifest
from clipft.data.splits import Split
from clipft.errors import ConfigError, WeightsError
from clipft.inputs.batches import Images
from clipft.inputs.prompts import templates, zero_shot_prompts
from clipft.models.load import has_room, load_clip
from clipft.models.students import Classifier, TwoTowers


@pytest.fixture
def clip(model_folder, checkpoint):
    return load_clip(f"local-dir:{model_folder}", checkpoint)


def reference_model(model_folder, checkpoint):
    """The same model by open_clip's own hand."""
    net, _, preprocess = open_clip.create_model_and_transforms(
        f"local-dir:{model_folder}", load_weights=False
    )
    open_clip.load_checkpoint(net, checkpoint)
    return net.eval(), preprocess


@pytest.mark.filterwarnings("ignore")
def test_zero_shot_head_is_open_clips(clip, manifest_file, model_folder, checkpoint):
    manifest = load_manifest(str(manifest_file))
    net, _ = reference_model(model_folder, checkpoint)
    fills = [template.format for template in templates(manifest)]
    wanted = open_clip.build_zero_shot_classifier(
        net, clip.tokenizer, manifest.names, fills, device="cpu"
    )
    head = clip.zero_shot_head(zero_shot_prompts(manifest, clip.tokenizer))
    torch.testing.assert_close(head, wanted, atol=1e-6, rtol=1e-5)
    assert "ice cream" in manifest.names


def test_pixels_are_open_clips(clip, model_folder, checkpoint, tree):
    file = next((tree / "mini/real/apple").glob("*.png"))
    net, preprocess = reference_model(model_folder, checkpoint)
    split = Split("real", "test", tree / "mini", (str(file.relative_to(tree / "mini")),), (0,))
    module = Classifier(clip, torch.zeros(16, 4))
    ours = Images(split, clip.transform).__getitems__([0])[0].pixels
    theirs = preprocess(Image.open(file).convert("RGB"))[None]
    torch.testing.assert_close(module.pixels(ours), theirs, atol=2e-6, rtol=1e-5)
    torch.testing.assert_close(module(ours)[0], net.encode_image(theirs), atol=1e-5, rtol=1e-5)


PROMPTS = torch.randint(1, 100, (4, 2, 16), generator=torch.Generator().manual_seed(0))
PIXELS = torch.randint(
    0, 256, (5, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
)


def logits_of(module):
    return module.eval().logits(module(PIXELS)[0])


@pytest.fixture
def head(clip):
    return clip.zero_shot_head(PROMPTS)


def students(clip, head):
    yield TwoTowers(clip, PROMPTS)
    yield TwoTowers(clip, PROMPTS, frozen_text=True, logit_scale="frozen")
    yield Classifier(clip, head, "absorbed")
    yield Classifier(clip, head, "fixed", "trained")


def test_students_start_at_zero_shot(clip, head):
    with torch.no_grad():
        images = clip.model.encode_image(Classifier(clip, head).pixels(PIXELS), normalize=True)
    want = clip.scale * images @ head
    for module in (Classifier(clip, head), *students(clip, head)):
        torch.testing.assert_close(logits_of(module).detach(), want)
    assert not any(p.requires_grad for p in clip.model.parameters())


def test_linear_is_the_head_on_unit_embeddings(clip, head):
    for module in (Classifier(clip, head), *students(clip, head)):
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(0.05 * torch.ones_like(parameter))
        weight, bias = module.linear()
        want = torch.nn.functional.normalize(module(PIXELS)[0], dim=-1) @ weight + bias
        torch.testing.assert_close(logits_of(module), want)


def test_what_each_student_trains(clip, head):
    def trained(module):
        names = {name for name, tensor in module.named_parameters() if tensor.requires_grad}
        return {name for name in names if not name.startswith(("visual.", "clip.visual."))}

    names = [name for name, _ in clip.model.named_parameters()]
    text = {f"clip.{name}" for name in names if not name.startswith("visual.")}
    assert trained(Classifier(clip, head)) == {"weight"}
    assert trained(Classifier(clip, head, "absorbed")) == {"weight", "bias"}
    assert trained(Classifier(clip, head, logit_scale="clamped")) == {"weight", "logit_scale"}
    assert trained(TwoTowers(clip, PROMPTS)) == text
    assert trained(TwoTowers(clip, PROMPTS, logit_scale="frozen")) == text - {"clip.logit_scale"}
    assert trained(TwoTowers(clip, PROMPTS, frozen_text=True)) == {"clip.logit_scale"}


@pytest.mark.parametrize(("start", "end"), [(9.0, math.log(100)), (-1.0, 0.0), (3.0, 3.0)])
def test_a_clamped_scale_lies_between_1_and_100(clip, head, start, end):
    for kind, after in (("clamped", end), ("trained", start)):
        for module in (
            Classifier(clip, head, logit_scale=kind),
            TwoTowers(clip, PROMPTS, logit_scale=kind),
        ):
            module.logit_scale.data.fill_(start)
            module.clamp()
            assert module.logit_scale.item() == pytest.approx(after)


@pytest.mark.parametrize("convention", ["fixed", "absorbed"])
def test_start_from_takes_what_linear_gives(clip, head, convention):
    module = Classifier(clip, head, convention)
    weight = torch.randn(16, 4)
    module.start_from(weight, torch.zeros(4))
    torch.testing.assert_close(module.linear(), (weight, torch.zeros(4)))


def test_a_bias_has_no_place_in_a_fixed_head(clip, head):
    with pytest.raises(ConfigError, match="has a bias, which head=fixed has not"):
        Classifier(clip, head).start_from(head, torch.tensor([0, 0.1, 0, 0]))
    module = Classifier(clip, head, "absorbed")
    module.start_from(head, torch.tensor([0, 0.1, 0, 0]))
    assert module.linear()[1].tolist() == pytest.approx([0, 0.1, 0, 0])


def test_random_weights_are_reproducible(model_folder):
    digests = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        digests.append(load_clip(f"local-dir:{model_folder}", "none").digest())
    assert digests[0] == digests[1] != digests[2]


def test_quick_gelu_follows_the_tag(monkeypatch):
    """OpenAI's weights under the plain name need QuickGELU; open_clip alone only warns."""
    asked = {}

    def create(name, **options):
        asked.update(options)
        raise RuntimeError("no network in a test")

    monkeypatch.setattr(open_clip, "create_model_and_transforms", create)
    with pytest.raises(WeightsError, match="no network"):
        load_clip("ViT-B-16", "openai")
    assert asked["force_quick_gelu"] is True and asked["pretrained"] == "openai"


def broken(kind, checkpoint, folder):
    file = folder / f"{kind}.pt"
    if kind == "truncated":
        file.write_bytes(Path(checkpoint).read_bytes()[:5000])
    elif kind == "foreign":
        torch.save({"layer.weight": torch.zeros(2)}, file)
    else:
        file.write_text("hello")
    return file


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # torch leaves the file open
@pytest.mark.parametrize("kind", ["truncated", "foreign", "text"])
def test_bad_checkpoint_is_one_line(kind, checkpoint, model_folder, tmp_path):
    file = broken(kind, checkpoint, tmp_path)
    with pytest.raises(WeightsError, match=kind) as caught:
        load_clip(f"local-dir:{model_folder}", str(file))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "pretrained", "wanted"),
    [
        ("ViT-B-166", "openai", "did you mean 'ViT-B-16"),
        ("ViT-B-16", "", "needs `pretrained`"),
        ("ViT-B-16", "opnai", "did you mean 'openai'"),
        ("local-dir:/nowhere", "", "open_clip_config.json"),
    ],
)
def test_bad_names_are_one_line(model, pretrained, wanted):
    with pytest.raises(ConfigError, match=wanted) as caught:
        load_clip(model, pretrained)
    assert "\n" not in str(caught.value)


def test_a_tokenizer_without_byte_pairs_is_refused(clip):
    from clipft.inputs.prompts import special_tokens

    with pytest.raises(ConfigError, match="SimpleTokenizer"):
        special_tokens(object())


def test_a_card_has_room_for_weights_beside_what_is_computed(monkeypatch):
    free, reserved, allocated = 5 << 30, 3 << 30, 1 << 30  # 7 GiB can be had, 4 are left
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 80 << 30))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: reserved)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: allocated)
    assert has_room("cuda", 3 << 30)
    assert not has_room("cuda:1", (3 << 30) + 1)
    assert has_room("cpu", 1 << 60)
