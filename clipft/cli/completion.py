"""What the Tab key offers: names of methods, presets, data sets, models and settings.

Asked at every Tab, so nothing here may need torch. What a plugin adds is not offered.
"""

from __future__ import annotations

from typer import Context


def preset_names() -> list[str]:
    """All recipes, of training and of what comes after."""
    from ..runs.recipes import presets

    return list(presets())


def recipe_names() -> list[str]:
    """The recipes to train with."""
    from ..runs.recipes import PLAIN, presets

    return [PLAIN, *(name for name, preset in presets().items() if not preset.after)]


def dataset_names() -> list[str]:
    """The data sets that come with clipft."""
    from ..data.manifests import available

    return available()


def posthoc_names() -> list[str]:
    """The post-hoc methods, and their presets."""
    from ..methods import POSTHOC
    from ..runs.recipes import presets

    return [*POSTHOC, *(name for name, preset in presets().items() if preset.after)]


def settings(ctx: Context, incomplete: str) -> list[str]:
    """KEY= for every setting, then KEY=VALUE, or the VALUE alone where the shell cuts at the =."""
    from ..config import RunConfig

    *_, before, mark = ["", "", *(ctx.params.get("settings") or [])]
    if mark == "=":  # bash sees three words
        return _values(before)
    key, mark, _ = incomplete.partition("=")
    if mark:
        return [f"{key}={value}" for value in _values(key)]
    return [f"{name}=" for name in RunConfig.model_fields]


def _values(key: str) -> list[str]:
    """What may stand behind KEY=, where it is a name."""
    if key == "method":
        from ..methods import METHODS

        return list(METHODS)
    if key == "manifest":
        return dataset_names()
    if key == "model":
        from ..runs.model_names import open_clip_models

        return ["emoji-tiny", *open_clip_models()]
    return []
