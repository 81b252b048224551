"""A few of what `make test-faults` does at length: one kill at a write of each kind."""

import random

import pytest
from faults import Faults


@pytest.fixture(scope="module")
def faults(forks, tmp_path_factory):
    return Faults(tmp_path_factory.mktemp("faults"), forks)


KILLED = ["checkpoint lipsum", "scores wise", "cache probe", "export open_clip", "combine wise"]


@pytest.mark.parametrize("title", KILLED)
def test_a_killed_command_goes_on_to_the_same_bits(faults, title):
    outcome = faults.kill(faults.works[title], random.Random(title), surely=True)
    assert outcome.kills == 1, outcome.moments


def test_a_write_that_fails_is_one_line_and_damages_nothing(faults):
    title = "checkpoint flyp"
    outcome = faults.refuse(faults.works[title], random.Random(title), ways=["too_long"])
    assert outcome.kills == 1, outcome.moments
