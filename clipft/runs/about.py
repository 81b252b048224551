"""What is the same in all rows of a run in the table of results: settings, recipe, how it was made,
what people call it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..config import digest, plain_settings
from ..errors import RunError
from .folder import ABOUT, RunFolder
from .identity import model_name, without_places
from .labels import LABEL_COLUMNS, Label
from .made import Made
from .names import MethodName

if TYPE_CHECKING:
    from ..data.splits import ScoredBy

# of a run's configuration
CONFIG_COLUMNS = (
    *("manifest", "manifest_digest", "model", "model_digest"),
    *("method", "lr", "steps", "seed", "selection"),
)
# and of how it was made, see `Made`; the settings among them are those that no kind tells apart
MADE_COLUMNS = (
    *("protocol", "precision", "scored_in"),
    *("versions", "device", "threads", "seconds_per_step"),
)
LETTERS = 6  # of a digest that names a recipe, or a family: a recipe with any lr
BEFORE = ("run", "recipe", "family", *CONFIG_COLUMNS)  # the scores
BEHIND = ("together", *MADE_COLUMNS, *LABEL_COLUMNS)
NO_RECIPE = (
    "seed",
    "after",
    "rows_digest",
    *ABOUT,
)  # of a recorded configuration, what names no recipe


def about(folder: RunFolder, told: ScoredBy) -> dict[str, Any]:
    """The values of BEFORE and BEHIND of a run; told: what its data set is scored by.

    Raises RunError where its records are damaged.
    """
    config = folder.config()
    if not set(CONFIG_COLUMNS) <= config.keys():
        raise RunError(
            f"{folder}/config.json is no run's configuration; delete the folder and run it again"
        )
    plain = plain_settings()
    recipe = _recipe(config, plain)
    values = {"run": folder.name, "recipe": digest(recipe, LETTERS)}
    recipe.pop("lr", None)
    values["family"] = digest(recipe, LETTERS)
    values |= {key: config[key] for key in CONFIG_COLUMNS}
    values |= {"method": str(method_of(config)), "model": model_name(config["model"])}
    values["together"] = told.together
    return values | _how_made(folder, plain | config) | Label.of(folder).columns()


def method_of(config: dict[str, Any]) -> MethodName:
    """The method of a recorded configuration, and what was done after; neither need be known."""
    after = config.get("after")
    if after is None:
        return MethodName(config["method"])
    return MethodName(config["method"], (*after["of"], after["name"]))


def _how_made(folder: RunFolder, settings: dict[str, Any]) -> dict[str, Any]:
    """The values of MADE_COLUMNS of a run; settings: with those that an older record lacks."""
    made = Made.of(folder)
    values = (
        *(settings["protocol"], settings["precision"], made.scored_in),
        *(made.versions, made.devices, made.threads, made.seconds_per_step),
    )
    return dict(zip(MADE_COLUMNS, values, strict=True))


def _recipe(config: dict[str, Any], plain: dict[str, Any]) -> dict[str, Any]:
    """What differs from run to run not by the seed alone.

    A setting that is new renames no old recipe: it is at its default.
    """
    recipe = {}
    for key, value in without_places(config).items():
        is_default = key in plain and plain[key] == value
        if key not in NO_RECIPE and not is_default:
            recipe[key] = value
    after = config.get("after")
    if after is not None:
        # Of which runs is left out: they carry the seed.
        recipe["after"] = [str(method_of(config)), after["options"], after["among"]]
    return recipe
