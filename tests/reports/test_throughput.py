"""What is measured of a machine: which rows, in which units, of whom; never how fast."""

import pytest
from conftest import QUIET

from clipft.errors import ConfigError
from clipft.reports import throughput as measured


@pytest.fixture
def quick(monkeypatch):
    """Each part is done as often as it must be, no longer, and on few photographs."""
    monkeypatch.setattr(measured, "SECONDS", 0)
    monkeypatch.setattr(measured, "ROUNDS", 1)
    monkeypatch.setattr(measured, "PHOTOGRAPHS", 16)


def test_rows_units_and_who_does_it(quick):
    table = measured.throughput("emoji-tiny", methods=["lipsum"], batch_size=4, reading=QUIET)
    parts = ["decode", "resize", "load", "forward", "ft", "lipsum", "texts"]
    assert table.part.tolist() == parts
    assert table.unit.tolist() == ["images"] * 6 + ["texts"]
    assert table.by.tolist()[:3] == ["1 process", "1 process", "this process"]
    assert (table.rate > 0).all()
    rates = table.set_index("part").rate
    of_ft = table.set_index("part").of_ft
    assert of_ft["lipsum"] == pytest.approx(rates["ft"] / rates["lipsum"])
    assert of_ft.drop(["ft", "lipsum"]).isna().all()
    assert table.attrs["batch_size"] == 4 and table.attrs["precision"] == "32-true"


def test_what_cannot_be_measured_is_refused_first():
    for arguments in ({"model": "ViT-B-33"}, {"batch_size": -1}, {"methods": ["nothing"]}):
        with pytest.raises(ConfigError):
            measured.throughput(**{"model": "emoji-tiny"} | arguments)
