"""Tables on the terminal are read back: every cell, in a pipe and as Markdown."""

import pandas as pd
import pytest

from clipft.cli.terminal_tables import print_scores, show
from clipft.config import RunConfig

ROWS = [
    {"name": "[bold]FT[/bold]", "value": "64.1 ± 0.2", "empty": ""},
    {"name": "a word " * 12, "value": 3, "empty": None},
]


def test_a_pipe_gets_every_cell_on_one_line(capsys):
    show(ROWS, "a title")
    title, head, _, *lines = [line for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert (title.strip(), head.split()) == ("a title", ["name", "value", "empty"])
    assert [line.split() for line in lines] == [
        ["[bold]FT[/bold]", "64.1", "±", "0.2"],
        [*("a word " * 12).split(), "3", "None"],
    ]


def test_markdown_is_a_table_of_pipes(capsys):
    show(ROWS, "a title", as_markdown=True)
    title, head, rule, *lines = [
        line for line in capsys.readouterr().out.splitlines() if line.strip()
    ]
    assert title.strip() == "a title"
    wanted = [ROWS[0].keys(), ROWS[0].values(), ROWS[1].values()]
    for line, values in zip([head, *lines], wanted, strict=True):
        cells = [cell.strip() for cell in line.strip().split("|")]
        assert cells == ["", *(str(value).strip() for value in values), ""]
    assert set(rule.strip()) == {"|", "-"} and rule.count("|") == 4


@pytest.mark.parametrize(
    ("selection", "words"),
    [
        ("holdout", "on held-out reference images"),
        ("paper", "on the REPORTED test split"),
        ("last", "the last ones"),
    ],
)
def test_scores_are_shown_with_how_the_weights_were_chosen(capsys, selection, words):
    rows = []
    for alpha in (0.0, 0.5, 1.0):
        for split, role in (("real/test", "reference"), ("sketch/test", "shift")):
            rows.append((alpha, split, role, "accuracy", 0.5 + alpha / 4))
            rows.append((alpha, split, role, "nll", alpha))
        rows.append((alpha, "sketch/test", "shift", "relative_accuracy", 0.7))
    print_scores(
        pd.DataFrame(rows, columns=["alpha", "split", "role", "metric", "mean"]),
        (0.0, 1.0),
        RunConfig(selection=selection),
    )
    out = capsys.readouterr().out
    assert f"weights chosen: {words}" in out
    cells = [line.split() for line in out.splitlines() if "/test" in line]
    assert cells == [
        ["0.0", "real/test", "reference", "50.0", "%", "0.000"],
        ["0.0", "sketch/test", "shift", "50.0", "%", "0.700", "0.000"],
        ["1.0", "real/test", "reference", "75.0", "%", "1.000"],
        ["1.0", "sketch/test", "shift", "75.0", "%", "0.700", "1.000"],
    ]
