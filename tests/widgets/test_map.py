"""The explorer of energy maps without a page: its traits, what a page gets, its static twin."""

import json

import numpy as np
import pytest
import traitlets
from conftest import CLASSES
from explorers import energy_map
from looking import asked
from test_sweep import toy, toy_sweep

pytest.importorskip("anywidget")

from clipft.diagnostics.energy_map import EnergyMap
from clipft.errors import ConfigError
from clipft.figures.energy_map import energy_map_figure
from clipft.runs.scores import to_frame
from clipft.widgets.energy_map import EnergyMapExplorer


@pytest.fixture
def sweep():
    return toy_sweep(n=30)


@pytest.fixture
def places(sweep):
    return energy_map(sweep, 20)


@pytest.fixture
def explorer(places, sweep):
    return EnergyMapExplorer(places, sweep)


def test_a_page_gets_the_places_of_its_images(explorer, places, sweep):
    answer = asked(explorer, "map", run=explorer.run)
    ids = asked(explorer, "sweep", run=explorer.run).buffers()["ids"].decode().split("\0")
    assert [ids[row] for row in answer.arrays["row"]] == list(places.ids)
    np.testing.assert_array_equal(answer.arrays["before"], places.before)
    np.testing.assert_array_equal(answer.arrays["after"], places.after)


def test_selected_images_are_a_table(explorer, places):
    assert explorer.selection == [] and explorer.selected.empty
    rows = to_frame(toy(n=30)).set_index(["alpha", "split", "id"])
    for chosen in ([3, 0, 25], list(range(40))):
        explorer.selection = [places.ids[i] for i in chosen]
        table = explorer.selected
        wanted = sorted(chosen)
        assert table.id.tolist() == [places.ids[i] for i in wanted]
        assert table.split.tolist() == [places.split[i] for i in wanted]
        assert table["class"].tolist() == [CLASSES[places.label[i]] for i in wanted]
        keys = [(places.split[i], places.ids[i]) for i in wanted]
        for name, alpha in (("zero-shot", 0.0), ("tuned", 1.0)):
            said = [CLASSES[rows.prediction[(alpha, *key)]] for key in keys]
            assert table[name].tolist() == said
        gaps = [round(rows.energy_gap[(1.0, *key)], 2) for key in keys]
        assert table["energy gap"].tolist() == pytest.approx(gaps)


def test_a_run_without_a_gap_has_no_column_of_it():
    sweep = toy_sweep(gap=False)
    explorer = EnergyMapExplorer(energy_map(sweep), sweep, selection=[str(sweep.ids[-1])])
    assert "energy gap" not in explorer.selected


def test_images_that_are_not_on_the_map_are_not_selected(explorer, places):
    explorer.selection = ["nowhere.png", places.ids[4], "real/val/0.png"]
    assert explorer.selected.id.tolist() == [places.ids[4]]


def test_the_static_twin_is_the_picture_that_is_shown(explorer, places, sweep):
    for explorer.places in ("both", "side by side", "before", "after"):
        for explorer.colour in ("split", "class", "gap"):
            figure = energy_map_figure(
                places, sweep, places=explorer.places, colour=explorer.colour
            )
            assert explorer.figure().to_json() == figure.to_json()


def test_what_a_still_picture_cannot_show_it_shows_as_it_can(explorer, places, sweep):
    explorer.places = "at alpha"
    explorer.colour = "flip"
    still = energy_map_figure(places, sweep, places="both", colour="split")
    assert explorer.figure().to_json() == still.to_json()


def test_an_empty_map_is_one_line():
    nothing = np.zeros((0, 2))
    with pytest.raises(ConfigError, match="an energy map without images"):
        EnergyMapExplorer(EnergyMap((), (), np.zeros(0, int), nothing, nothing), toy_sweep())


def test_a_map_of_other_images_is_one_line(places):
    other = toy_sweep(n=3)
    with pytest.raises(ConfigError) as caught:
        EnergyMapExplorer(places, other)
    assert "\n" not in str(caught.value)


def test_unknown_places_and_colours_are_refused(explorer):
    for name in ("places", "colour"):
        with pytest.raises(traitlets.TraitError):
            setattr(explorer, name, "nowhere")


def test_what_is_shown_at_first_is_told(places, sweep):
    some = list(places.ids[:2])
    shown = {"colour": "gap", "places": "at alpha", "alpha": 0.25, "selection": some}
    explorer = EnergyMapExplorer(places, sweep, **shown)
    state = explorer.record()["state"]
    assert {name: state[name] for name in shown} == json.loads(json.dumps(shown))


def test_other_colours_and_places_keep_the_selection(explorer, places):
    explorer.selection = some = [places.ids[1], places.ids[4]]
    explorer.colour = "gap"
    explorer.places = "before"
    assert explorer.selection == some
