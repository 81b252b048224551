"""Errors: every kind is for the user, and a misspelt name is answered with the nearest known one."""

import pytest

from clipft import errors


@pytest.mark.parametrize("name", ["ConfigError", "ImageError", "WeightsError", "RunError", "StorageError"])
def test_every_kind_is_a_clipft_error(name):
    assert issubclass(getattr(errors, name), errors.ClipftError)


@pytest.mark.parametrize(
    ("name", "known", "want"),
    [
        ("lipsun", ["ft", "lipsum"], "unknown thing 'lipsun'; did you mean 'lipsum'? known: ft, lipsum"),
        ("zzz", ["b", "a"], "unknown thing 'zzz'; known: a, b"),
        ("zzz", [], "unknown thing 'zzz'"),
        ("zzz", list("abcdefghijklm"), "unknown thing 'zzz'; known: a, b, c, d, e, f, g, h, i, j, k, l, ..."),
    ],
)
def test_unknown(name, known, want):
    error = errors.unknown("thing", name, known)
    assert isinstance(error, errors.ConfigError)
    assert str(error) == want


def test_a_missing_extra_names_its_pip_line():
    assert "pip install 'clipft[emoji]'" in str(errors.MissingExtra("resvg-py", "emoji"))
    assert issubclass(errors.MissingExtra, errors.ClipftError)
