"""The recipe that fits: what `clipft train` takes where no preset is named."""

import pytest

from clipft.config import RunConfig
from clipft.errors import ConfigError
from clipft.methods import METHODS
from clipft.runs.recipes import fitting_recipe, presets, recipe

DOMAINNET = {"manifest": "domainnet", "model": "ViT-B-16"}


@pytest.mark.parametrize("method", sorted(METHODS))
def test_on_emoji_shift_it_is_the_methods_own(method):
    config, line = fitting_recipe({"method": method})
    assert config == recipe({"preset": f"emoji/{method}"})
    assert f"as in the recipe emoji/{method};" in line and "\n" not in line


def test_without_a_method_it_is_that_of_ft():
    assert fitting_recipe({})[0] == recipe({"preset": "emoji/ft"})
    config, _ = fitting_recipe({"seed": 3, "reference": "glyph"})
    assert config == recipe({"preset": "emoji/ft"}, seed=3, reference="glyph")


@pytest.mark.parametrize(
    "given", [{"lr": 0.5}, {"steps": 7}, {"lam": None}, {"lam": 9.0, "crop": [0.2, 0.3]}]
)
def test_what_is_given_wins(given):
    config, _ = fitting_recipe({"method": "kd"} | given)
    assert config == recipe({"preset": "emoji/kd"} | given)
    told = config.model_dump(mode="json")
    assert {key: told[key] for key in given} == given


def test_another_data_set_or_model_has_another_recipe():
    config, line = fitting_recipe(DOMAINNET | {"method": "lipsum"})
    assert config == recipe({"preset": "lipsum_ft/domainnet_b16"})
    assert "lipsum_ft/domainnet_b16" in line
    config, _ = fitting_recipe(DOMAINNET | {"method": "lipsum", "model": "ViT-B-32"})
    assert config == recipe({"preset": "lipsum_ft/domainnet_b32"})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        # weights that the recipe was not made for
        ({"pretrained": "none"}, ["lr=1e-05, steps=5000, batch_size=256", "emoji-tiny none;"]),
        (
            DOMAINNET | {"method": "feat_kd"},
            ["feat_kd on domainnet with ViT-B-16;", "lipsum_baselines/domainnet_ema"],
        ),
        ({"model": "local-dir:x"}, ["ft on emoji_shift with local-dir:x;", "--preset: emoji/ft"]),
        ({"manifest": "mine.yaml"}, ["ft on mine.yaml with emoji-tiny;", "--preset: emoji/ft"]),
        ({"manifest": "mine.yaml", "model": "RN50"}, ["no recipe is for mine.yaml, so choose"]),
        ({"manifest": "mine.yaml", "lr": 1e-3}, ["steps=5000, batch_size=256 as in Lipsum-FT"]),
    ],
)
def test_where_none_fits_the_defaults_stand_and_a_line_says_so(given, words):
    config, line = fitting_recipe(given)
    assert config == RunConfig(**given)
    assert [word for word in words if word not in line] == [], line
    assert "\n" not in line


def test_where_two_fit_neither_is_taken():
    """WiSE-FT and the soups fine-tune the same model on ImageNet in two ways."""
    given = {"manifest": "imagenet", "model": "ViT-B-16", "method": "ft"}
    config, line = fitting_recipe(given)
    assert config == RunConfig(**given)
    for name in ("soups/imagenet_b16", "wise_ft/imagenet_b16"):
        assert name in presets() and name in line


def test_there_is_nothing_to_say_where_all_that_counts_is_given():
    given = {"manifest": "mine.yaml", "lr": 1e-3, "steps": 3, "batch_size": 4}
    assert fitting_recipe(given) == (RunConfig(**given), "")


def test_a_preset_that_is_named_is_taken_without_a_word():
    assert fitting_recipe({"preset": "emoji/kd", "seed": 1}) == (
        recipe({"preset": "emoji/kd", "seed": 1}),
        "",
    )
    assert fitting_recipe({"preset": "none", "seed": 1}) == (RunConfig(seed=1), "")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"method": "kdd"}, "did you mean 'kd'"),
        ({"learning_rate": 1}, "did you mean 'lr'"),
        ({"preset": "emoji/kdd"}, "did you mean 'emoji/kd'"),
    ],
)
def test_a_mistake_is_that_of_the_settings(given, words):
    with pytest.raises(ConfigError, match=words):
        fitting_recipe(given)
