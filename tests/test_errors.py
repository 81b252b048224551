"""Errors: every kind is for the user; a misspelt name is answered with the nearest known one."""

import pytest

from clipft import errors


@pytest.mark.parametrize(
    "name", ["ConfigError", "ImageError", "WeightsError", "RunError", "StorageError"]
)
def test_every_kind_is_a_clipft_error(name):
    assert issubclass(getattr(errors, name), errors.ClipftError)


@pytest.mark.parametrize(
    ("name", "known", "want"),
    [
        (
            "lipsun",
            ["ft", "lipsum"],
            "unknown thing 'lipsun'; did you mean 'lipsum'? known: ft, lipsum",
        ),
        ("zzz", ["b", "a"], "unknown thing 'zzz'; known: a, b"),
        ("zzz", [], "unknown thing 'zzz'"),
        (
            "zzz",
            list("abcdefghijklm"),
            "unknown thing 'zzz'; known: a, b, c, d, e, f, g, h, i, j, k, l, ...",
        ),
    ],
)
def test_unknown(name, known, want):
    error = errors.unknown("thing", name, known)
    assert isinstance(error, errors.ConfigError)
    assert str(error) == want


def test_a_missing_extra_names_its_pip_line():
    assert "pip install 'clipft[emoji]'" in str(errors.MissingExtra("resvg-py", "emoji"))
    assert issubclass(errors.MissingExtra, errors.ClipftError)


KINDS = [
    errors.ConfigError("a < b"),
    errors.RunError("x"),
    errors.MissingExtra("voila", "voila"),
    errors.Stopped("at step 3"),
]


@pytest.mark.parametrize("error", KINDS, ids=lambda error: type(error).__name__)
def test_a_notebook_shows_one_line(error):
    """What IPython prints of it, also where it came from another error; others keep their trace."""
    shell, shown = shell_that_notes()
    shell.user_ns["error"] = error
    shell.run_cell(
        "try:\n    1 / 0\nexcept ZeroDivisionError as other:\n    raise error from other"
    )
    assert shown == [[f"{type(error).__name__}: {error}"]]
    shell.run_cell("1 / 0")
    assert len(shown[1]) > 1 and "ZeroDivisionError" in shown[1][-1]


def shell_that_notes():
    """An IPython of its own, and the tracebacks that it shows."""
    pytest.importorskip("IPython")
    from IPython.core.interactiveshell import InteractiveShell

    shell, shown = InteractiveShell(history_manager=None), []
    shell._showtraceback = lambda kind, value, lines: shown.append(list(lines))
    return shell, shown


@pytest.mark.parametrize(
    ("text", "line"), [("one\ntwo", "one"), ("alone", "alone"), ("", "ValueError")]
)
def test_the_first_line_of_anothers_error(text, line):
    assert errors.first_line(ValueError(text)) == line
