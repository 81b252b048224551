"""What a table of throughput says, by tables whose every number is known."""

import math

import pandas as pd
import pytest

from clipft.figures.throughput import throughput_figure
from clipft.runs.throughput import bottleneck, shown, verdict


def table_of(load: float, step: float, copy: float = 0.0, by: str = "2 processes") -> pd.DataFrame:
    rows = [("load", load, "images", by, math.nan)]
    if copy:
        rows.append(("copy", copy, "images", "a card", math.nan))
    rows += [("ft", step, "images", "a card", 1.0), ("kd", step / 2, "images", "a card", 2.0)]
    return pd.DataFrame(rows, columns=["part", "rate", "unit", "by", "of_ft"])


@pytest.mark.parametrize(
    ("table", "method", "part"),
    [
        (table_of(310, 890, 21_000), "ft", "load"),
        (table_of(310, 890), "ft", "load"),
        (table_of(500, 890, 21_000), "kd", "kd"),  # whose step gives 445
        (table_of(5000, 890, 600), "ft", "copy"),
        (table_of(5000, 890, 21_000), "ft", "ft"),
    ],
)
def test_a_training_waits_for_the_slowest_part(table, method, part):
    assert bottleneck(table, method) == part


def test_the_verdict_names_both_rates_and_what_to_try():
    slow = verdict(table_of(310.2, 890.4))
    assert slow.startswith("training FT will wait for decoding: 310 images/s of 2 processes")
    assert "against 890 images/s" in slow and "clipft datasets pack" in slow
    fast = verdict(table_of(5000, 890))
    assert "will not wait" in fast and "890 images/s" in fast and "5,000" in fast
    assert "datasets pack" not in fast
    assert "but barely" in verdict(table_of(900, 890))
    assert "between the steps" in verdict(table_of(90, 9, by="this process"))
    assert "wait for copying: 600 images/s" in verdict(table_of(5000, 890, 600))


def test_rows_as_people_read_them_and_the_bar_that_is_waited_for():
    table = table_of(310, 890)
    assert [row["part"] for row in shown(table)][1:] == ["train FT", "train KD"]
    assert [row["seconds, of FT's"] for row in shown(table)] == ["", "1.00", "2.00"]
    (bars,) = throughput_figure(table).data
    assert list(bars.x) == pytest.approx([1000 / 310, 1000 / 890, 1000 / 445])
    first, *others = bars.marker.color
    assert first not in others
