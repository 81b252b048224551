"""The settings of a run as labelled fields, which a recipe fills."""

from __future__ import annotations

from typing import Any, get_args

from ..config import RunConfig, plain_settings
from ..data.manifests import available
from ..methods import METHODS
from ..runs.model_names import RANDOM, open_clip_models, published_tags
from ..runs.names import title_of
from ..runs.recipes import OWN, presets, recipe
from .base import W
from .parts import box, dropdown

NUMBERS = {
    "steps": "steps",
    "batch_size": "batch size",
    "shots": "shots a class (0: all)",
    "eval_every": "validate every",
    "seed": "seed",
}
ROWS = (
    ("manifest", "model", "pretrained"),
    ("method", "lam", "head", "shots", "precision"),
    ("lr", "steps", "batch_size", "eval_every", "seed"),
)


class SettingsFields:
    """A field for each setting that a practitioner changes; others are kept as they came.

    A recipe, chosen in `preset`, fills every field but the seed, and brings the settings that have
    no field; what is changed afterwards stays.
    """

    def __init__(self, config: RunConfig):
        self.start_from = config
        names = [name for name, preset in presets().items() if not preset.after]
        self.preset = dropdown(["", *names], "recipe", "")
        self.fields = _fields(config)
        self.preset.observe(self._take_preset, "value")
        self.fields["method"].observe(self._take_method, "value")
        self.fields["model"].observe(self._list_weights, "value")
        self._list_weights()

        rows = [box(self.preset)]
        for names_of_row in ROWS:
            rows.append(box(*[self.fields[name] for name in names_of_row]))
        self.widget = W.VBox(rows)

    @property
    def config(self) -> RunConfig:
        """The configuration. Raises ConfigError for a value that is none."""
        values = self.start_from.model_dump()
        for name, field in self.fields.items():
            values[name] = field.value
        values["lr"] = _number(values["lr"])
        values["lam"] = _number(values["lam"]) if values["lam"].strip() else None
        if values["method"] != self.start_from.method:
            for name in OWN:
                if name not in self.fields:  # else it is seen, and can be changed
                    del values[name]
        return RunConfig.read(values, "the form")

    def lock(self, *, locked: bool) -> None:
        """Let nothing be changed, or let it again."""
        for field in (self.preset, *self.fields.values()):
            field.disabled = locked

    def _take_preset(self, change: dict) -> None:
        if not change["new"]:
            return
        seed = self.fields["seed"].value
        self.start_from = recipe({"preset": change["new"]}, seed=seed)
        for name, value in _values(self.start_from).items():
            field = self.fields[name]
            if name == "manifest" and value not in field.options:
                field.options = [*field.options, value]
            field.value = value

    def _take_method(self, change: dict) -> None:
        """Show the head of a method that has its own; back from there the usual one."""
        if METHODS[change["new"]].frozen_head:
            self.fields["head"].value = "frozen"
        elif METHODS[change["old"]].frozen_head:
            self.fields["head"].value = plain_settings()["head"]

    def _list_weights(self, _change: object = None) -> None:
        """Offer the published weights of the model that is chosen."""
        tags = published_tags(self.fields["model"].value) or []
        self.fields["pretrained"].options = [*tags, RANDOM]


def _values(config: RunConfig) -> dict[str, Any]:
    """What the fields hold for a configuration."""
    values = {name: getattr(config, name) for row in ROWS for name in row}
    values["lr"] = repr(config.lr)
    values["lam"] = "" if config.lam is None else repr(config.lam)
    return values


def _fields(config: RunConfig) -> dict[str, W.Widget]:
    values = _values(config)
    manifests = list(dict.fromkeys([*available(), config.manifest]))
    models = ["emoji-tiny", *open_clip_models()]
    of_model = {"placeholder": "what the model's folder holds", "options": []}
    fields = {
        "manifest": dropdown(manifests, "data", config.manifest),
        "model": W.Combobox(value=config.model, description="model", options=models),
        "pretrained": W.Combobox(value=config.pretrained, description="weights", **of_model),
        "method": dropdown(list(METHODS), "method", config.method, called=title_of),
        "lam": W.Text(value=values["lam"], description="lambda", placeholder="the method's own"),
        "head": dropdown(_choices("head"), "head", config.head),
        "precision": dropdown(_choices("precision"), "precision", config.precision),
        "lr": W.Text(value=values["lr"], description="learning rate"),
    }
    for name, title in NUMBERS.items():
        fields[name] = W.IntText(value=values[name], description=title)
    for name, field in fields.items():
        field.add_class(f"clipft-form-{name}")
        if not isinstance(field, W.Dropdown):
            field.style.description_width = "initial"
            field.layout.width = "270px" if isinstance(field, W.Combobox) else "210px"
    return fields


def _choices(setting: str) -> list[str]:
    return list(get_args(RunConfig.model_fields[setting].annotation))


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text.strip()  # the configuration says what is wrong with it
