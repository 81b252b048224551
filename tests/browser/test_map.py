"""The energy map as a person uses it: lasso, click, legend and keyboard, and Python says the same."""

import numpy as np
import pytest

from . import lab
from .desk import LARGE, MAP
from .lab import ask, becomes, cell, press, until

VIEW = ".clipft-view-map"
# where the canvas has an image, in pixels of the window
PLACES = """(view, panel) => {
    const map = view.clipftMap;
    const box = map.canvas.getBoundingClientRect();
    return [...map.rows].map(row => map.placeOf(row, panel)).map(([x, y]) => [box.left + x, box.top + y]);
}"""
OUTLINED = "view => view.clipftMap.outlined"
# the numbers of the images on the map, in the sweep
ROWS = (
    "np.flatnonzero(np.isin({0}.sweep.ids[{0}.sweep.split_number >= 0], {0}.energies.ids)).tolist()"
)


@pytest.fixture
def explorer(desk):
    """The map, with nothing selected and as it is at first."""
    found = cell(desk, MAP)
    begin(desk, found)
    return found


def begin(page, explorer) -> None:
    explorer.locator(
        f"{VIEW} [title='Select nothing'], {VIEW} .clipft-map-tools button"
    ).last.click()
    for name, value in (("places", "both"), ("colour", "split")):
        explorer.locator(f"{VIEW} .clipft-{name} select").select_option(value)
    ask(page, "[setattr(map, 'alpha', 1.0), setattr(map, 'selection', [])][:0]")
    becomes(page, "[map.places, map.colour, map.selection]", ["both", "split", []])
    lab.expect(explorer.locator("canvas")).to_have_attribute("data-alpha", "1")


def view(explorer):
    return explorer.locator(VIEW)


def places(explorer, panel: int = 0) -> np.ndarray:
    """(M, 2) where each image of the map is drawn."""
    return np.array(view(explorer).evaluate(PLACES, panel))


def lasso(page, explorer, left: float, right: float, top: float = 0.004) -> np.ndarray:
    """Drag around a part of the canvas, given in fractions of its width; its corners in pixels."""
    canvas = explorer.locator("canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()

    def go(x: float, y: float, **how) -> None:
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], **how)

    go(left, top)
    page.mouse.down()
    for x, y in ((right, top), (right, 0.996), (left, 0.996), (left, top)):
        go(x, y, steps=6)
    page.mouse.up()
    corner = [box["x"], box["y"]]
    return np.array([[left, top], [right, 0.996]]) * [box["width"], box["height"]] + corner


def ids(page, name: str = "map") -> list[str]:
    return ask(page, f"list({name}.energies.ids)")


def inside(found: np.ndarray, corners: np.ndarray) -> np.ndarray:
    return np.flatnonzero(((found > corners[0]) & (found < corners[1])).all(1))


# --- places ---------------------------------------------------------------------------------------------------------


def test_points_lie_where_the_map_says(desk, explorer):
    """On a scale that is one for both axes; in between on the line from zero-shot to tuned."""
    after, before = ask(desk, "[map.energies.after.tolist(), map.energies.before.tolist()]")
    found = places(explorer)
    centred = found - found.mean(0)
    wanted = np.array(after) - np.mean(after, 0)
    scale = (centred[:, 0] @ wanted[:, 0]) / (wanted[:, 0] @ wanted[:, 0])
    assert scale > 0
    assert np.abs(centred - wanted * [scale, -scale]).max() < 0.1

    explorer.locator(f"{VIEW} .clipft-places select").select_option("at alpha")
    canvas = explorer.locator("canvas")
    ask(desk, "setattr(map, 'alpha', 0.25)")
    lab.expect(canvas).to_have_attribute("data-alpha", "0.25")
    shift = found.mean(0) - np.mean(after, 0) * [scale, -scale]
    mixed = 0.75 * np.array(before) + 0.25 * np.array(after)
    assert np.abs(places(explorer) - mixed * [scale, -scale] - shift).max() < 0.1


def test_the_slider_moves_the_points(desk, explorer):
    explorer.locator(f"{VIEW} .clipft-places select").select_option("at alpha")
    becomes(desk, "map.places", "at alpha")
    at_one = places(explorer)
    explorer.locator(".clipft-alpha input[type=range]").focus()
    press(desk, "Home")
    lab.expect(explorer.locator("canvas")).to_have_attribute("data-alpha", "0")
    becomes(desk, "map.alpha", 0.0)
    assert np.abs(places(explorer) - at_one).max() > 1
    press(desk, "End")
    lab.expect(explorer.locator("canvas")).to_have_attribute("data-alpha", "1")
    assert np.abs(places(explorer) - at_one).max() < 0.01


# --- lasso and click ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shown", ["both", "before"])
def test_lasso(desk, explorer, shown):
    explorer.locator(f"{VIEW} .clipft-places select").select_option(shown)
    becomes(desk, "map.places", shown)
    edges = lasso(desk, explorer, 0.002, 0.5)
    wanted = [ids(desk)[place] for place in inside(places(explorer), edges)]
    assert 0 < len(wanted) < len(ids(desk))
    chosen = becomes(desk, "map.selection")
    assert sorted(chosen) == sorted(wanted)
    title = explorer.locator(".clipft-view-selected h4")
    lab.expect(title).to_contain_text(f"{len(wanted)} image")
    assert view(explorer).evaluate(OUTLINED)
    pictures = explorer.locator(".clipft-view-selected img")
    lab.expect(pictures).to_have_count(min(24, len(wanted)))
    assert min(pictures.evaluate_all("all => all.map(image => image.naturalWidth)")) > 0

    explorer.locator(".clipft-view-selected .clipft-clear").click()
    becomes(desk, "map.selection", [])
    lab.expect(pictures).to_have_count(0)


def test_side_by_side_a_lasso_in_the_second_panel_takes_tuned_places(desk, explorer):
    explorer.locator(f"{VIEW} .clipft-places select").select_option("side by side")
    becomes(desk, "map.places", "side by side")
    edges = lasso(desk, explorer, 0.54, 0.78, top=0.08)  # below the panel's title
    wanted = [ids(desk)[place] for place in inside(places(explorer, 1), edges)]
    assert wanted
    assert sorted(becomes(desk, "map.selection")) == sorted(wanted)


def test_a_lasso_with_ctrl_adds(desk, explorer):
    edges = lasso(desk, explorer, 0.002, 0.4)
    first = becomes(desk, "map.selection")
    desk.keyboard.down("Control")
    more = lasso(desk, explorer, 0.6, 0.998)
    desk.keyboard.up("Control")
    found = places(explorer)
    both = {ids(desk)[place] for place in [*inside(found, edges), *inside(found, more)]}
    assert len(both) > len(first)
    becomes(desk, "sorted(map.selection)", sorted(both))


def test_the_outline_stays_with_another_theme_and_other_colours(desk, explorer):
    lasso(desk, explorer, 0.002, 0.5)
    chosen = becomes(desk, "map.selection")
    for theme in (lab.DARK, lab.LIGHT):
        lab.theme(desk, theme)
        until(lambda: _holds(view(explorer), True), desk)
    explorer.locator(f"{VIEW} .clipft-colour select").select_option("gap")
    becomes(desk, "map.colour", "gap")
    assert view(explorer).evaluate(OUTLINED)
    assert ask(desk, "map.selection") == chosen


def _holds(found, wanted) -> None:
    assert found.evaluate(OUTLINED) is wanted


def test_the_outline_goes_where_it_is_no_longer_true(desk, explorer):
    """After a selection from Python it would hold other images."""
    lasso(desk, explorer, 0.002, 0.5)
    becomes(desk, "map.selection")
    until(lambda: _holds(view(explorer), True), desk)
    one, three = ids(desk)[1], ids(desk)[3]
    ask(desk, f"setattr(map, 'selection', [{one!r}, {three!r}])")
    until(lambda: _holds(view(explorer), False), desk)
    title = explorer.locator(".clipft-view-selected h4")
    lab.expect(title).to_contain_text("2 images")


def test_a_click_takes_the_image_that_hover_names(desk, explorer):
    explorer.locator(f"{VIEW} .clipft-places select").select_option("after")
    becomes(desk, "map.places", "after")
    found = places(explorer)
    apart = np.abs(found[:, None] - found[None]).sum(2) + 1e9 * np.eye(len(found))
    lonely = int(apart.min(1).argmax())
    explorer.locator("canvas").scroll_into_view_if_needed()
    x, y = places(explorer)[lonely]
    desk.mouse.move(x - 3, y)
    desk.mouse.move(x, y)
    tip = explorer.locator(".clipft-map-tip")
    lab.expect(tip).to_contain_text(ids(desk)[lonely])
    row = f"map.rows[{lonely}]"
    named = ask(desk, f"map.sweep.name_of(map.sweep.prediction[-1, {row}])")
    lab.expect(tip).to_contain_text(named)
    gap = ask(desk, f"float(map.sweep.energy_gap[-1, {row}])")
    lab.expect(tip).to_contain_text(f"{gap:.2f}")
    until(lambda: _is_drawn(tip.locator("img")), desk)
    lab.shot(desk, "map_hover")
    desk.mouse.click(x, y)
    becomes(desk, "map.selection", [ids(desk)[lonely]])
    box = explorer.locator("canvas").bounding_box()
    desk.mouse.click(box["x"] + 2, box["y"] + 2)
    becomes(desk, "map.selection", [])


def _is_drawn(image) -> None:
    assert image.evaluate("image => image.naturalWidth") > 0


# --- keyboard, zoom -------------------------------------------------------------------------------------------------


def test_the_keyboard_walks_chooses_and_clears(desk, explorer):
    canvas = explorer.locator("canvas")
    canvas.focus()
    press(desk, "ArrowRight", 3)
    said = explorer.locator(".clipft-said").first
    lab.expect(said).not_to_be_empty()
    press(desk, "Enter")
    (chosen,) = becomes(desk, "map.selection")
    assert chosen in said.text_content()
    press(desk, "ArrowLeft")
    press(desk, "Control+Enter")
    becomes(desk, "len(map.selection)", 2)
    press(desk, "s")
    becomes(desk, "len(map.selection)", len(ids(desk)))
    press(desk, "Escape")
    becomes(desk, "map.selection", [])


def test_zoom_pan_and_back(desk, explorer):
    """By buttons and keys; near enough the points are images."""
    canvas = explorer.locator("canvas")
    whole = places(explorer)
    canvas.focus()
    press(desk, "+", 2)
    until(lambda: _spread(places(explorer), whole, more=True), desk)
    near = places(explorer)
    press(desk, "Shift+ArrowRight")
    until(lambda: _moved(places(explorer), near), desk)
    press(desk, "0")
    until(lambda: _same(places(explorer), whole), desk)

    explorer.get_by_role("button", name="pan").click()
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    before = places(explorer)
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    desk.mouse.move(*middle)
    desk.mouse.down()
    desk.mouse.move(middle[0] - 40, middle[1], steps=5)
    desk.mouse.up()
    until(lambda: _is_near(places(explorer), before - [40, 0]), desk)
    assert ask(desk, "map.selection") == []
    explorer.get_by_role("button", name="lasso").click()
    canvas.focus()
    press(desk, "0")


def _spread(now, before, *, more: bool) -> None:
    assert (np.ptp(now, 0) > 1.5 * np.ptp(before, 0)).all() is np.True_ or not more


def _moved(now, before) -> None:
    assert np.abs(now - before).max() > 5


def _same(now, before) -> None:
    assert np.abs(now - before).max() < 0.5


def _is_near(now, wanted) -> None:
    assert np.abs(now - wanted).max() < 1.5


# --- legends --------------------------------------------------------------------------------------------------------


def test_groups_count_what_python_counts(desk, explorer):
    def groups() -> dict[str, int]:
        texts = explorer.locator(".clipft-map-groups button").evaluate_all(
            "all => all.map(one => [one.querySelector('span').textContent, one.querySelector('small').textContent])"
        )
        return {name: int(count.replace(",", "")) for name, count in texts}

    def are(wanted) -> None:
        assert groups() == wanted

    by_split = "{name.split('/')[0]: list(map.energies.split).count(name) for name in set(map.energies.split)}"
    are(ask(desk, by_split))
    explorer.locator(f"{VIEW} .clipft-colour select").select_option("flip")
    was = "(map.sweep.prediction[0] == map.sweep.label)[map.rows]"
    now = "(map.sweep.prediction[-1] == map.sweep.label)[map.rows]"
    flips = {
        "right in both": f"int(({was} & {now}).sum())",
        "wrong in both": f"int((~{was} & ~{now}).sum())",
        "gained": f"int((~{was} & {now}).sum())",
        "lost": f"int(({was} & ~{now}).sum())",
    }
    wanted = {name: ask(desk, expression) for name, expression in flips.items()}
    until(lambda: are({name: n for name, n in wanted.items() if n or name in groups()}), desk)
    assert sum(groups().values()) == len(ids(desk))
    lab.shot(desk, "map_flips")


def test_typing_a_class_selects_its_images(desk):
    explorer = cell(desk, LARGE)
    field = explorer.locator(".clipft-find")
    options = explorer.locator(".clipft-classes [role=option]")
    lab.expect(options).to_have_count(ask(desk, "len(np.unique(big.energies.label))"))
    assert explorer.locator(".clipft-classes").evaluate("box => box.clientHeight") <= 600
    field.click()
    field.press_sequentially("THING 24")
    names = ["thing 24", *(f"thing 24{i}" for i in range(10))]
    of_these = f"[big.sweep.classes[label] in {names} for label in big.energies.label]"
    wanted = ask(desk, f"np.array(big.energies.ids)[{of_these}].tolist()")
    becomes(desk, "sorted(big.selection)", sorted(wanted))
    shown = explorer.locator(".clipft-classes [role=option]:not([hidden]) span")
    assert set(shown.all_inner_texts()) <= set(names)

    press(desk, "Control+a")
    press(desk, "Backspace")
    becomes(desk, "big.selection", [])
    lab.expect(shown).to_have_count(options.count())


def test_classes_are_chosen_by_mouse_and_by_keyboard(desk):
    explorer = cell(desk, LARGE)
    options = explorer.locator(".clipft-classes [role=option]")

    def images_of(*numbers):
        names = [explorer.locator(".clipft-classes span").nth(i).inner_text() for i in numbers]
        of_these = f"[big.sweep.classes[label] in {names} for label in big.energies.label]"
        return sorted(ask(desk, f"np.array(big.energies.ids)[{of_these}].tolist()"))

    options.nth(1).click()
    becomes(desk, "sorted(big.selection)", images_of(1))
    lab.expect(options.nth(1)).to_have_attribute("aria-selected", "true")
    options.nth(3).click(modifiers=["Control"])
    becomes(desk, "sorted(big.selection)", images_of(1, 3))
    options.nth(0).focus()
    press(desk, "ArrowDown", 2)
    press(desk, "Enter")
    becomes(desk, "sorted(big.selection)", images_of(2))

    lasso(desk, explorer, 0.002, 0.5)
    lab.expect(explorer.locator(".clipft-classes [aria-selected=true]")).to_have_count(0)
    becomes(desk, "len(big.selection) > 100", True)
