"""What the words of a filter find: runs by their names on pictures, their settings, their ids."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

NUMBER = r"\d*\.?\d+(?:e[-+]?\d+)?"
NAMED = ("lr", "steps", "seed")  # the settings that a run's name on pictures has
# As it has them: `lr 0.001`, `seed 1`, `40 steps`.
SETTING = re.compile(rf"\b({'|'.join(NAMED)}) ({NUMBER})(?!\S)")
STEPS = re.compile(rf"(?<!\S)({NUMBER}) steps\b")
ID_LETTERS = 4  # a shorter number is a setting's, never the beginning of an id


@dataclass(frozen=True)
class Findable:
    """A run, as a filter looks at it.

    Arguments:
        id: its folder's name.
        names: what it is called: of its method, the name and the title.
        settings: of its configuration.
    """

    id: str
    names: Sequence[str]
    settings: Mapping[str, object]

    def fits(self, query: str) -> bool:
        """Whether it has every word of a query: capitals do not count, 1e-3 is 0.001."""
        return all(self._has(word) for word in words_of(query))

    def _has(self, word: str) -> bool:
        key, is_setting, value = word.partition("=")
        if is_setting:
            return self._is_set(key, value)
        number = _number(word)
        if number is not None:
            is_id = len(word) >= ID_LETTERS and self.id.startswith(word)
            return is_id or any(number == _number(self.settings.get(key)) for key in NAMED)
        called = [*words_of(" ".join(self.names)), "run", *NAMED, self.id]
        return any(name.startswith(word) for name in called)

    def _is_set(self, key: str, value: str) -> bool:
        """Whether a setting has the value that a word says: a number, or how a text begins."""
        if key == "method":
            return any(name.lower().startswith(value) for name in self.names)
        if key not in self.settings:
            return False
        if key == "tags":
            return value in str(self.settings[key]).lower().split()
        number = _number(value)
        if number is not None:
            return number == _number(self.settings[key])
        return str(self.settings[key]).lower().startswith(value)


def words_of(text: str) -> list[str]:
    """The words of a query or a name, in small letters; `lr 0.001` is one word, `lr=0.001`."""
    text = re.sub(r"[,;:()+\s]+", " ", text.lower())
    text = re.sub(r" ?= ?", "=", text)
    text = SETTING.sub(r"\1=\2", text)
    text = STEPS.sub(r"steps=\1", text)
    return text.split()


def _number(value: object) -> float | None:
    """The number that this is, or that this text says."""
    text = str(value)
    return float(text) if re.fullmatch(NUMBER, text) else None
