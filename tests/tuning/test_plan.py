"""What is tried in so many minutes, what is given up first, and whose folder it is."""

import itertools
import json

import pytest

from clipft.config import ALPHAS
from clipft.errors import ConfigError
from clipft.runs.throughput import StepTimes
from clipft.tuning.plan import (
    BEGINNING,
    FEWEST,
    METHODS,
    SHARE,
    VALIDATIONS,
    Given,
    Plan,
    Work,
    begun_plan,
    make_plan,
    settings_of,
    write_begun,
    write_plan,
)

WORK = Work(train=400, val=100, scored=600)
TIMES = StepTimes(read=0.001, forward=0.01, step={"lipsum": 1.0, "feat_kd": 1.0, "ft": 2.0})
GIVEN = Given(folder="/photos", minutes=60)


def recipes(model="ViT-B-16", train=400):
    return settings_of(model, "openai", train=train, device="cpu")


def planned(minutes, times=TIMES, model="ViT-B-16"):
    given = GIVEN.model_copy(update={"minutes": minutes})
    return make_plan(given, recipes(model), times, WORK)


def by_hand(plan, times=TIMES):
    """Seconds of a plan, one thing after the other."""
    image = times.read + times.forward
    seconds = BEGINNING + WORK.scored * image
    for run in plan.runs:
        seconds += run["steps"] * (times.step[run["method"]] + run["batch_size"] * times.read)
        seconds += (VALIDATIONS + 1) * WORK.val * image
        seconds += WORK.scored * (times.read + len(plan.alphas) * times.forward)
    return seconds


def test_with_time_all_is_tried():
    plan = planned(60)
    assert [run["method"] for run in plan.runs] == list(METHODS)
    assert plan.alphas == ALPHAS
    assert {run["steps"] for run in plan.runs} == {125}  # ten times 400 images in batches of 32
    assert not any("time" in line for line in plan.not_tried)


@pytest.mark.parametrize("minutes", [2, 3, 4, 5, 7, 10, 15, 30])
def test_a_plan_fits_into_its_minutes(minutes):
    plan = planned(minutes)
    assert by_hand(plan) == pytest.approx(sum(plan.seconds.values()), abs=0.5)
    assert by_hand(plan) <= 60 * SHARE * minutes
    assert plan.alphas[0] == 0 and plan.alphas[-1] == 1
    if len(plan.alphas) == 6:
        assert plan.alphas == (0, 0.2, 0.4, 0.6, 0.8, 1)


def test_more_minutes_never_mean_less():
    plans = [planned(minutes) for minutes in range(2, 40)]
    tried = [(len(plan.runs), len(plan.alphas)) for plan in plans]
    assert tried == sorted(tried)
    for one, more in itertools.pairwise(plans):
        if len(one.runs) == len(more.runs) and one.alphas == more.alphas:
            assert one.runs[0]["steps"] <= more.runs[0]["steps"]


def test_too_few_minutes_say_how_many_are_needed():
    wanted = r"--minutes 0.2: one method with 10 steps takes 1.1 here; wanted: --minutes 2 "
    with pytest.raises(ConfigError, match=wanted):
        planned(0.2)
    enough = planned(2)
    assert len(enough.runs) == 1 and enough.runs[0]["steps"] >= FEWEST
    assert any(line.startswith("no time for the methods feat_kd, ft") for line in enough.not_tried)


def test_a_method_that_the_model_refuses_is_no_part_of_it():
    why = "lipsum is left out: it needs a text tower"
    plan = planned(60, StepTimes(0.001, 0.01, {"lipsum": 1.0, "feat_kd": 1.0}, refused=(why,)))
    assert [run["method"] for run in plan.runs] == ["lipsum", "feat_kd"]
    # It was refused; that there was no time for it would be another reason.
    assert plan.not_tried[0] == why
    assert not any("no time" in line for line in plan.not_tried)


def test_recipes_are_those_of_the_preset_or_of_the_papers():
    tiny = {each["method"]: each for each in recipes("emoji-tiny", train=4000)}
    assert [each["lr"] for each in tiny.values()] == [0.001] * 3
    assert (tiny["feat_kd"]["lam"], tiny["lipsum"]["lam"]) == (0.01, 0.1)
    assert {each["steps"] for each in tiny.values()} == {120}
    real = recipes()
    assert {each["lr"] for each in real} == {1e-5}
    assert not any("lam" in each for each in real)  # the methods' own
    assert recipes("emoji-tiny", train=40)[0]["batch_size"] == 16  # never most of the images
    (first, *_) = settings_of("emoji-tiny", "mine.pt", train=400, device="cpu")
    assert first["pretrained"] == "mine.pt"


def test_a_plan_is_taken_up_by_the_same_command_alone(tmp_path):
    out = tmp_path / "out"
    assert begun_plan(out, GIVEN) is None
    out.mkdir()
    write_begun(out, GIVEN)
    assert begun_plan(out, GIVEN) is None
    plan = planned(60)
    write_plan(out, plan)
    again = begun_plan(out, plan.given)
    assert isinstance(again, Plan) and again == plan
    assert again.configs(tmp_path / "x.yaml") == plan.configs(tmp_path / "x.yaml")
    with pytest.raises(ConfigError, match="minutes was 60"):
        begun_plan(out, GIVEN.model_copy(update={"minutes": 5.0}))


def test_before_there_is_a_plan_all_but_the_data_may_change(tmp_path):
    """Once a manifest is there: it holds the shifts, and whether others are made."""
    write_begun(tmp_path, GIVEN)
    others = GIVEN.model_copy(update={"shifts": ("/sketch",)})
    assert begun_plan(tmp_path, others) is None
    (tmp_path / "photos.yaml").write_text("name: photos")
    assert begun_plan(tmp_path, GIVEN.model_copy(update={"minutes": 5.0})) is None
    with pytest.raises(ConfigError, match="begun otherwise: shifts was"):
        begun_plan(tmp_path, others)


def test_a_folder_of_something_else_stays(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds something else"):
        begun_plan(tmp_path, GIVEN)
    (tmp_path / "plan.json").write_text(json.dumps(["mine"]))
    with pytest.raises(Exception, match="no plan"):
        begun_plan(tmp_path, GIVEN)
