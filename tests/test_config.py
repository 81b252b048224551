"""Configurations: a run's id is its content, wrong keys and values are one line, draws have their
own names.
"""

import pytest
import torch
from hypothesis import given, settings, strategies as st

from clipft.config import OTHER_NAMES, Record, RunConfig, digest, parse_settings, seed_of
from clipft.disk.files import read_yaml
from clipft.errors import ConfigError
from clipft.inputs.seeds import rng
from clipft.options import check_options, defaults

OTHER = {
    "manifest": "domainnet",
    "reference": "glyph",
    "train_domains": ("line",),
    "shifts": ("line",),
    "model": "ViT-B-16",
    "pretrained": "openai",
    "method": "lipsum",
    "lam": 0.0,
    "text_rate": 0.1,
    "layer_decay": 0.75,
    "train_only": ("head",),
    "adapter": "lora",
    "adapter_rank": 4,
    "adapter_alpha": 8.0,
    "lr": 2e-5,
    "steps": 4999,
    "batch_size": 255,
    "warmup": 0.2,
    "weight_decay": 0.1,
    "betas": (0.9, 0.98),
    "clip_norm": 1.0,
    "crop": (0.5, 1.0),
    "flip": False,
    "text_count": 81,
    "text_length": 9,
    "precision": "bf16-mixed",
    "accumulate": 2,
    "compile": True,
    "decoder": "fast",
    "shrink": 256,
    "eval_every": 999,
    "selection": "last",
    "protocol": "release",
    "seed": 1,
    "shots": 16,
    "head": "absorbed",
    "head_from": "head.safetensors",
    "solver": "adamw",
    "logit_scale": "clamped",
    "ema": 0.9,
    "average": "beta",
    "beta_b": 1.0,
    "options": {"tau": 2.0},
    "captions": "fixed",
}


def recorded(values):
    """A configuration whose settings need not fit together."""
    return RunConfig.recorded(values, "a record")


def test_the_id_depends_on_every_field():
    assert OTHER.keys() == RunConfig.model_fields.keys(), "a new field needs a row in OTHER"
    ids = {recorded({name: value}).id for name, value in OTHER.items()}
    assert len(ids | {RunConfig().id}) == len(OTHER) + 1


class Before(Record):
    """A configuration, and the same one after a key was added."""

    lr: float = 1.0


class Later(Before):
    tau: float = 2.0
    id = RunConfig.id


def test_a_new_key_renames_no_old_run():
    old, given = (
        digest(Before(lr=3).model_dump(mode="json", exclude_defaults=True)),
        Later(lr=3, tau=2.0),
    )
    assert given.id == Later(lr=3).id == old != Later(lr=3, tau=2.5).id


def test_the_id_is_the_content_and_nothing_else():
    config = recorded(OTHER)
    assert recorded(dict(reversed(OTHER.items()))).id == config.id
    assert recorded(config.model_dump(mode="json")).id == config.id
    kd = {"method": "kd", "lam": 0.5, "options": {"tau": 2.0}}
    assert RunConfig(**kd).id == RunConfig.read(kd).id == recorded(kd).id == digest(kd)
    assert config.id == digest(config.model_dump(mode="json"))  # no field of OTHER is a default
    assert RunConfig(lr=1e-5, seed=0).id == RunConfig().id == digest({})
    assert (
        digest({"b": [1, 2], "a": None}) == "c5f84d13a25f"
    )  # sha256sum of {"a": null, "b": [1, 2]}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"stesp": 3}, ["'stesp'", "did you mean 'steps'?"]),
        ({"steps": "many"}, ["steps", "integer", "'many'"]),
        ({"steps": 0}, ["steps", "greater than or equal to 1", "0"]),
        ({"lr": float("nan")}, ["lr", "nan"]),
        ({"lam": -1}, ["lam", "-1"]),
        ({"lam": -1e-9}, ["lam", "greater than or equal to 0"]),
        ({"shots": -1}, ["shots", "-1"]),
        ({"head": "free"}, ["head", "'fixed' or 'absorbed'", "'free'"]),
        ({"solver": "sgd"}, ["solver", "'logistic' or 'adamw'"]),
        ({"logit_scale": "free"}, ["logit_scale", "'frozen'", "'free'"]),
        ({"captions": "none"}, ["captions", "'sampled' or 'fixed'"]),
        ({"ema": -0.1}, ["ema", "-0.1"]),
        ({"ema": 1.1}, ["ema", "1.1"]),
        ({"layer_decay": 0}, ["layer_decay", "greater than 0"]),
        ({"layer_decay": 1.1}, ["layer_decay", "less than or equal to 1"]),
        ({"adapter": "peft"}, ["adapter", "'lora'", "'peft'"]),
        ({"adapter_rank": 4}, ["adapter_rank would do nothing without adapter=lora"]),
        ({"adapter": "lora", "adapter_rank": 0}, ["adapter_rank", "1"]),
        ({"adapter": "lora", "method": "spd"}, ["spd follows each step", "not adapter"]),
        ({"train_only": "head"}, ["train_only", "'head'"]),
        ({"options": 3}, ["options", "dictionary", "3"]),
        ({"options": {"tau": ["hot"]}}, ["options.tau", "'hot'"]),
        ({"clip_norm": 0}, ["clip_norm", "0"]),
        ({"selection": "best"}, ["selection", "holdout", "'best'"]),
        ({"crop": (0.5,)}, ["crop"]),
        ({"crop": (0.0, 1.0)}, ["0 < low <= high <= 1"]),
        ({"crop": (0.9, 0.5)}, ["0 < low <= high <= 1"]),
        ({"crop": (0.5, 1.1)}, ["0 < low <= high <= 1"]),
        ([1], ["expected a mapping", "[1]"]),
        (None, ["expected a mapping", "None"]),
        ({1: 2}, ["expected a mapping of names", "{1: 2}"]),
    ],
)
def test_a_wrong_value_is_one_line(values, words):
    with pytest.raises(ConfigError) as caught:
        RunConfig.read(values, "spec.yaml")
    text = str(caught.value)
    assert text.startswith("spec.yaml: ")
    assert "\n" not in text
    assert [word for word in words if word not in text] == []


@pytest.mark.parametrize("crop", [(0.08, 1.0), (1.0, 1.0), (1e-9, 1e-9)])
def test_a_crop_at_its_limits_is_taken(crop):
    assert RunConfig(crop=crop).crop == crop


def test_the_least_values_are_taken():
    least = {"steps": 1, "batch_size": 1, "eval_every": 1, "text_count": 1, "text_length": 1}
    least |= {"lr": 0.0, "lam": 0.0, "seed": 0, "ema": 0.0, "shots": 0}
    config = RunConfig(method="lipsum", **least)
    assert {name: getattr(config, name) for name in least} == least


def test_a_configuration_is_frozen():
    with pytest.raises(ValueError, match="frozen"):
        RunConfig().steps = 3


@settings(deadline=None)
@given(st.integers(0, 2**40), st.text(max_size=20), st.integers(0, 2**40), st.text(max_size=20))
def test_seeds_have_names(seed, purpose, other_seed, other_purpose):
    draw = torch.rand(4, generator=rng(seed, purpose))
    assert torch.equal(draw, torch.rand(4, generator=rng(seed, purpose)))
    assert 0 <= seed_of(seed, purpose) < 2**56
    if (seed, purpose) != (other_seed, other_purpose):
        assert not torch.equal(draw, torch.rand(4, generator=rng(other_seed, other_purpose)))


def test_seeds_are_the_same_on_every_machine():
    assert (
        seed_of(0, "shuffle:3") == 0x5D4EBB1454C332
    )  # the first 14 hex digits of: printf 0:shuffle:3 | sha256sum


REFUSED = [
    ({"mehtod": "ft"}, ["'mehtod'", "did you mean 'method'?"]),
    ({"method": "lipsumm"}, ["unknown method 'lipsumm'", "did you mean 'lipsum'?"]),
    ({"method": "tpgm"}, ["tpgm comes after training", "clipft combine tpgm RUN"]),
    ({"learning_rate": 1}, ["did you mean 'lr'?"]),
    ({"Learning-Rate": 1}, ["did you mean 'lr'?"]),
    ({"lambda_": 1}, ["did you mean 'lam'?"]),
    ({"epochs": 3}, ["did you mean 'steps'?"]),
    ({"dataset": "domainnet"}, ["did you mean 'manifest'?"]),
    ({"backbone": "ViT-B-16"}, ["did you mean 'model'?"]),
    ({"bs": 3}, ["did you mean 'batch_size'?"]),
    ({"wd": 0.1}, ["did you mean 'weight_decay'?"]),
    ({"weight": 0.1}, ["did you mean 'weight_decay'?"]),
    ({"method": "kd", "tau": 2.0}, ["did you mean 'options.tau'?"]),
    ({"preset": "emoji/kd"}, ["clipft.recipe({'preset': 'emoji/kd', ...})"]),
    ({"method": "kd", "options": {"tua": 2.0}}, ["option of kd", "did you mean 'tau'?"]),
    ({"method": "kd", "options": {"tau": -1}}, ["option tau of kd is -1"]),
    ({"method": "lipsum", "options": {"tau": 1}}, ["option of lipsum 'tau'; it takes none"]),
    ({"method": "ft", "lam": 1}, ["ft has no regulariser", "leave it out"]),
]


@pytest.mark.parametrize(("values", "words"), REFUSED, ids=lambda value: str(value)[:40])
def test_what_cannot_be_is_refused_where_it_is_written(values, words):
    with pytest.raises(ConfigError) as caught:
        RunConfig(**values)
    text = str(caught.value)
    assert [word for word in words if word not in text] == [], text
    assert "\n" not in text


def test_every_other_name_leads_to_a_setting():
    """And hides none: a name that is a setting needs no translation."""
    for other, setting in OTHER_NAMES.items():
        assert setting.partition(".")[0] in RunConfig.model_fields
        assert other not in RunConfig.model_fields and other == other.lower()


def test_what_a_folder_recorded_is_read_without_its_method():
    """Of a plugin that is not installed here, or whose options are others today."""
    values = {"method": "somebody_elses", "lam": 2.0, "options": {"gone": 1.0}}
    config = recorded(values)
    assert (config.method, config.lam, config.options) == tuple(values.values())
    with pytest.raises(ConfigError, match="unknown method 'somebody_elses'"):
        RunConfig(**values)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"stesp": 3}, "a record: unknown key 'stesp'; did you mean 'steps'"),
        ({"steps": 0}, "a record: steps: "),
        ([], r"a record: expected a mapping of names to values, got \[\]"),
    ],
)
def test_what_a_folder_recorded_is_a_configuration_all_the_same(values, words):
    with pytest.raises(ConfigError, match=words):
        recorded(values)


def test_a_misspelt_key_goes_before_the_missing_one_it_explains():
    from clipft.batch.spec import Spec

    with pytest.raises(ConfigError, match="notbook"):
        Spec.read({"name": "x", "stages": [{"notbook": "a.ipynb"}]})


# --- KEY=VALUE


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ([], {}),
        (["lr=1e-5", "steps=3"], {"lr": 1e-5, "steps": 3}),
        (
            ["method=kd", "options.tau=2", "options.mask=true"],
            {"method": "kd", "options": {"tau": 2, "mask": True}},
        ),
        (["options={tau: 2}", "options.mask=false"], {"options": {"tau": 2, "mask": False}}),
        (["crop=[0.5, 1.0]", "head_from=a=b.c"], {"crop": [0.5, 1.0], "head_from": "a=b.c"}),
        (["reference="], {"reference": ""}),
        (["lr=1", "lr=2", "options.tau=1", "options.tau=2"], {"lr": 2, "options": {"tau": 2}}),
    ],
)
def test_settings_as_people_write_them(given, wanted):
    assert parse_settings(given) == wanted


def test_a_file_of_settings_may_write_numbers_as_people_do(tmp_path):
    """1e-3 is a text in YAML 1.1."""
    file = tmp_path / "own.yaml"
    file.write_text("method: kd\nlr: 1e-3\noptions: {tau: 2e0}\nsteps: 1e2\n")
    config = RunConfig.read(read_yaml(file, written=True))
    assert config.id == RunConfig(method="kd", lr=0.001, options={"tau": 2.0}, steps=100).id


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["steps"], "'steps' is no setting; wanted: KEY=VALUE"),
        ([""], "'' is no setting"),
        (["crop=[0.5"], "cannot read the value of 'crop=[0.5'; lists are written"),
        (["options=3", "options.tau=1"], "options is 3 already"),
        (["options.tau={"], "cannot read the value of 'options.tau={'"),
    ],
)
def test_a_bad_setting_is_one_line(given, words):
    with pytest.raises(ConfigError) as caught:
        parse_settings(given)
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["lr.x", "options.tau.x", ".lr", "optoins.tau"])
def test_a_dotted_key_that_leads_nowhere_is_one_line(key):
    def kd():
        check_options("kd", RunConfig.read(parse_settings([f"{key}=1"])).options, {"tau": 1.0})

    with pytest.raises(ConfigError) as caught:
        kd()
    assert "\n" not in str(caught.value)


def test_null_is_a_value_and_nothing_is_empty():
    assert parse_settings(["lam=null", "reference="]) == {"lam": None, "reference": ""}


# --- options of methods

KNOWN = {"tau": 1.0, "steps": 200, "mask": False, "norm": "frobenius"}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tau": 0},
        {"tau": 0.0},
        {"tau": 3},
        {"steps": 1},
        {"mask": True},
        {"norm": "mars"},
        dict(KNOWN),
    ],
    ids=str,
)
def test_options_that_fit(options):
    check_options("kd", options, KNOWN)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("tua", 1.0, "unknown option of kd 'tua'; did you mean 'tau'"),
        ("tau", -1, "option tau of kd is -1, expected a number >= 0"),
        ("tau", True, "option tau of kd is True, expected a number"),
        ("tau", "hot", "option tau of kd is 'hot', expected a number"),
        ("tau", float("inf"), "is inf, expected a number"),
        ("tau", float("nan"), "is nan, expected a number"),
        ("tau", None, "is None, expected a number"),
        ("steps", 0, "option steps of kd is 0, expected a whole number >= 1"),
        ("steps", 2.0, "is 2.0, expected a whole number"),
        ("steps", True, "is True, expected a whole number"),
        ("mask", 1, "option mask of kd is 1, expected true or false"),
        ("norm", 1, "option norm of kd is 1, expected a word"),
    ],
)
def test_options_that_do_not_fit(name, value, words):
    with pytest.raises(ConfigError, match=words) as caught:
        check_options("kd", {name: value}, KNOWN)
    assert "\n" not in str(caught.value)


def test_options_are_the_keyword_arguments():
    assert defaults(lambda step, tau=1.0, *rest, mask=False, **more: None) == {
        "tau": 1.0,
        "mask": False,
    }
    assert defaults(lambda step: None) == {}
