"""Bars, and lines that pass them."""

import sys

from clipft.progress import end_bars, progress_bar, say


def test_what_is_said_of_an_error_has_a_line_of_its_own(capsys):
    """A line that passes a bar draws it, also one that is too young to be shown."""
    bar = progress_bar(10, "reading", "image")
    say(["a line that passed"])
    end_bars()
    print("clipft: what was wrong", file=sys.stderr)
    end_bars()  # once is enough
    assert capsys.readouterr().err.splitlines()[-1] == "clipft: what was wrong"
    assert bar.disable
