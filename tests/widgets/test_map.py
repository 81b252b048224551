"""The explorer of energy maps without a page: lasso, clicks and legend are set, figures read."""

import json

import numpy as np
import pytest
import traitlets
from conftest import CLASSES
from explorers import energy_map
from looking import drawn, traces, values, widgets
from test_sweep import toy, toy_sweep

pytest.importorskip("anywidget")

from clipft.diagnostics.energy_map import EnergyMap
from clipft.errors import ConfigError
from clipft.figures.energy_map import SCALE
from clipft.runs.scores import to_frame
from clipft.widgets.energy_map import EnergyMapExplorer


def clear(explorer):
    """Press the button."""
    (button,) = [
        part for part in widgets(explorer) if getattr(part, "description", "") == "clear lasso"
    ]
    button.click()


def places(explorer, *, key="id"):
    """Number of an image -> its x and y, of the traces whose points have numbers of this kind."""
    found = {}
    for trace in traces(explorer.plot):
        numbers = (trace.get("meta") or {}).get(key)
        if numbers and trace["mode"] == "markers":
            points = zip(values(trace["x"]), values(trace["y"]), strict=True)
            found |= dict(zip(numbers, points, strict=True))
    return np.array([found[number] for number in range(len(found))])


def colours(explorer):
    """The colour of each image."""
    found = {}
    for trace in traces(explorer.plot):
        for number in (trace.get("meta") or {}).get("id", ()):
            found[number] = trace["marker"]["color"]
    return [found[number] for number in range(len(found))]


def entries(explorer):
    """Names of the legend, in order."""
    return [entry["name"] for entry in explorer.classes.entries]


def test_lasso_lists_its_images():
    sweep = toy_sweep(n=30)
    found = energy_map(sweep, 20)
    explorer = EnergyMapExplorer(found, sweep)
    assert explorer.tiles.value == explorer.table_panel.value == ""
    for chosen in ([3, 0, 25], list(range(40))):
        explorer.plot.selection = chosen
        assert explorer.selection == tuple(chosen)
        table = explorer.selected
        assert table.id.tolist() == [found.ids[i] for i in chosen]
        assert table["class"].tolist() == [CLASSES[found.label[i]] for i in chosen]
        rows = to_frame(toy(n=30)).set_index(["alpha", "split", "id"])
        for name, alpha in (("zero-shot", 0.0), ("tuned", 1.0)):
            keys = [(alpha, found.split[i], found.ids[i]) for i in chosen]
            assert table[name].tolist() == [CLASSES[rows.prediction[key]] for key in keys]
        assert f"<p>{len(chosen)} images</p>" in explorer.table_panel.value
        assert explorer.tiles.value.count("<figure>") == min(24, len(chosen))
    assert "and 16 more" in explorer.table_panel.value
    explorer.selection = ()
    assert explorer.plot.selection == [] and explorer.tiles.value == ""


def test_pictures_stand_before_the_table():
    sweep = toy_sweep()
    explorer = EnergyMapExplorer(energy_map(sweep), sweep)
    _, *below = explorer.widget.children
    assert below == [explorer.tiles, explorer.table_panel]


def test_a_click_on_the_map_takes_one_image():
    sweep = toy_sweep()
    explorer = EnergyMapExplorer(energy_map(sweep), sweep)
    explorer.plot.chosen = 2
    assert explorer.selection == (2,) and explorer.plot.selection == [2]
    explorer.plot.chosen = -1
    assert explorer.selection == (2,)


def test_a_cleared_image_can_be_clicked_again():
    """A click on the image that is chosen already sends nothing, so clearing must forget it."""
    sweep = toy_sweep()
    explorer = EnergyMapExplorer(energy_map(sweep), sweep)
    explorer.plot.chosen = 2
    clear(explorer)
    assert explorer.selection == ()
    assert explorer.plot.chosen == -1


def test_map_colours_are_quantiles_of_the_gap():
    sweep = toy_sweep(n=30)
    found = energy_map(sweep, 20)
    explorer = EnergyMapExplorer(found, sweep, colour="gap", places="after")
    place = {key: row for row, key in enumerate(zip(sweep.split, sweep.ids, strict=True))}
    gap = np.array(
        [sweep.energy_gap[-1, place[key]] for key in zip(found.split, found.ids, strict=True)]
    )
    number = np.array([SCALE.index(colour) for colour in colours(explorer)])
    assert np.bincount(number).tolist() == [10] * 6
    assert all(gap[number == k].max() < gap[number == k + 1].min() for k in range(5))


def test_map_shows_the_places_that_are_asked_for():
    sweep = toy_sweep(n=30)
    found = energy_map(sweep, 20)
    explorer = EnergyMapExplorer(found, sweep)
    ranges = set()
    for shown, wanted in (("after", found.after), ("before", found.before), ("both", found.after)):
        explorer.places = shown
        np.testing.assert_array_equal(places(explorer), wanted)
        layout = drawn(explorer.plot)["layout"]
        assert layout["dragmode"] == "lasso"
        ranges.add((*layout["xaxis"]["range"], *layout["yaxis"]["range"]))
    assert len(ranges) == 1, "an image that did not move would"
    np.testing.assert_array_equal(places(explorer, key="with"), found.before)


def test_the_picture_is_the_static_twin():
    sweep = toy_sweep(n=30)
    explorer = EnergyMapExplorer(energy_map(sweep), sweep)
    for explorer.places in ("both", "side by side", "before", "after"):
        for explorer.colour in ("split", "class", "gap"):
            assert drawn(explorer.plot) == json.loads(explorer.figure().to_json())


def test_an_empty_map_is_one_line():
    nothing = np.zeros((0, 2))
    with pytest.raises(ConfigError, match="an energy map without images"):
        EnergyMapExplorer(EnergyMap((), (), np.zeros(0, int), nothing, nothing), toy_sweep())


def test_unknown_places_and_colours_are_refused():
    sweep = toy_sweep()
    explorer = EnergyMapExplorer(energy_map(sweep), sweep)
    for name in ("places", "colour"):
        with pytest.raises(traitlets.TraitError):
            setattr(explorer, name, "nowhere")


# the legend of classes


@pytest.fixture
def coloured():
    sweep = toy_sweep(n=30)
    return EnergyMapExplorer(energy_map(sweep, 20), sweep, colour="class")


def of_classes(explorer, names):
    """Numbers of the images of these classes: a plain loop."""
    labels = [CLASSES.index(name) for name in names]
    return tuple(i for i, label in enumerate(explorer.energies.label) if label in labels)


def test_the_legend_names_each_class_by_its_look_in_the_map(coloured):
    present = {CLASSES[label] for label in coloured.energies.label}
    assert entries(coloured) == sorted(present)
    labels = coloured.energies.label.tolist()
    seen = {}
    for trace in traces(coloured.plot):
        if "id" not in trace["meta"]:
            continue
        marker = trace["marker"]
        for i, symbol in zip(trace["meta"]["id"], marker["symbol"], strict=True):
            seen.setdefault(CLASSES[labels[i]], set()).add((marker["color"], symbol))
    for entry in coloured.classes.entries:
        assert seen[entry["name"]] == {(entry["colour"], entry["symbol"])}
        assert entry["count"] == labels.count(CLASSES.index(entry["name"]))


def test_the_legend_is_there_where_colours_are_classes(coloured):
    shown = []
    for coloured.colour in ("split", "class", "gap"):
        shown.append(coloured.classes.layout.display != "none")
    assert shown == [False, True, False]


def test_what_is_typed_selects_the_classes_that_it_finds(coloured):
    word = CLASSES[0][:2]
    coloured.classes.find = f" {word.upper()}"
    found = [name for name in entries(coloured) if word in name]
    assert [entries(coloured)[i] for i in coloured.classes.shown] == found != entries(coloured)
    assert coloured.selection == of_classes(coloured, found) != ()
    assert coloured.plot.selection == list(coloured.selection)

    coloured.classes.find = "no class of that name"
    assert coloured.selection == () and coloured.classes.shown == []
    coloured.classes.find = ""
    assert len(coloured.classes.shown) == len(entries(coloured)) and coloured.selection == ()


def test_classes_are_chosen_by_hand(coloured):
    coloured.classes.chosen = [0, 2]
    names = [entries(coloured)[0], entries(coloured)[2]]
    assert set(coloured.selected["class"]) == set(names)
    assert coloured.selection == of_classes(coloured, names)
    coloured.classes.chosen = []
    assert coloured.selection == ()


def test_a_lasso_takes_the_place_of_chosen_classes(coloured):
    coloured.classes.chosen = [1]
    coloured.plot.selection = [0, 1, 2, 3]
    assert coloured.classes.chosen == [] and coloured.selection == (0, 1, 2, 3)


def test_clearing_empties_the_search_too(coloured):
    coloured.classes.find = CLASSES[0]
    clear(coloured)
    assert (coloured.classes.find, coloured.classes.chosen) == ("", [])
    assert coloured.selection == ()


def test_other_colours_and_places_keep_the_selection(coloured):
    coloured.selection = (1, 4)
    coloured.colour = "gap"
    coloured.places = "before"
    assert coloured.selection == (1, 4) and coloured.plot.selection == [1, 4]
