"""The energy map as a person uses it: lasso, click, legend and keyboard, and Python says the same."""

import re

import pytest

from . import lab
from .desk import LARGE, MAP
from .lab import PLOT, ask, becomes, cell, press, until

# What is drawn: of each image that can be chosen its opacity, of each grey point, of each line ...
DRAWN = """plot => {
    const drawn = {id: {}, with: {}, lines: [], strong: 0, outline: [], rings: []};
    plot.data.forEach((trace, number) => {
        const {meta, mode} = trace;
        if (mode === 'lines' && meta?.with) return void drawn.lines.push(trace.opacity);
        const kind = ['id', 'with'].find((kind) => meta?.[kind]);
        const group = plot.querySelector(`.trace${plot._fullData[number].uid}`);
        if (kind) group?.querySelectorAll('.points path').forEach((point, i) => {
            drawn[kind][meta[kind][i]] = Number(getComputedStyle(point).opacity);
        });
        else if (trace.fill === 'toself') drawn.outline.push(trace.x.length);
        else if (mode === 'markers') drawn.rings.push(trace.x.length);
        else drawn.strong += [...trace.x].filter((x) => Number.isFinite(x)).length / 2;
    });
    return drawn;
}"""


@pytest.fixture
def explorer(desk):
    """The map, with nothing selected and as it is at first."""
    found = cell(desk, MAP)
    clear(found)
    for menu, value in (("show", "both"), ("colour", "split")):
        found.locator(f".clipft-{menu} select").select_option(value)
    becomes(desk, "[map.places, map.colour, list(map.selection)]", ["both", "split", []])
    count = ask(desk, "len(set(map.energies.split))")
    becomes_drawn(desk, found, lambda at: len(at["lines"]) == count and not faded(at["id"]))
    return found


def lasso(page, explorer, left: float, right: float, *, panel: int = 0) -> None:
    """Drag around a part of a panel, given in fractions of its width."""
    area = explorer.locator(f"{PLOT} .nsewdrag").nth(panel)
    area.scroll_into_view_if_needed()
    box = area.bounding_box()

    def go(x: float, y: float, **how) -> None:
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], **how)

    go(left, 0.003)
    page.mouse.down()
    for x, y in ((right, 0.003), (right, 0.997), (left, 0.997), (left, 0.003)):
        go(x, y, steps=6)
    page.mouse.up()


def drawn(explorer) -> dict:
    return explorer.locator(PLOT).evaluate(DRAWN)


def becomes_drawn(page, explorer, check) -> dict:
    """Wait until what is drawn is so."""

    def look():
        found = drawn(explorer)
        assert check(found), found
        return found

    return until(look, page)


def faded(opacity: dict) -> set[int]:
    """The numbers of the points that are faded."""
    return {int(number) for number, value in opacity.items() if value < 0.3}


def clear(explorer) -> None:
    explorer.locator(".clipft-clear").click()


def left_half(page, side: str) -> list[int]:
    """The images whose places lie in the left half of the panel."""
    middle = "np.mean(map.figure().layout.xaxis.range)"
    return ask(page, f"np.flatnonzero(map.energies.{side}[:, 0] < {middle}).tolist()")


@pytest.mark.parametrize("places", ["both", "before"])
def test_lasso(desk, explorer, places):
    explorer.locator(".clipft-show select").select_option(places)
    becomes(desk, "map.places", places)
    # Without the grey points of both places, so that it is the new picture.
    becomes_drawn(desk, explorer, lambda drawn: bool(drawn["with"]) == (places == "both"))
    lasso(desk, explorer, 0.002, 0.5)
    chosen = becomes(desk, "list(map.selection)")
    wanted = left_half(desk, "before" if places == "before" else "after")
    count = ask(desk, "len(map.energies.ids)")
    assert 0 < len(wanted) < count
    assert chosen == wanted
    lab.expect(explorer.locator(".clipft-lasso p").first).to_have_text(f"{len(wanted)} images")
    assert explorer.locator(".clipft-lasso tr").count() == 1 + min(24, len(wanted))
    others = set(range(count)) - set(wanted)
    found = becomes_drawn(
        desk, explorer, lambda drawn: faded(drawn["id"]) == others and max(drawn["outline"]) > 3
    )
    if places == "both":
        becomes_drawn(desk, explorer, lambda drawn: drawn["strong"] == len(wanted))
        assert faded(found["with"]) == others
        assert max(found["lines"]) < 0.2
    pictures = explorer.locator(".clipft-lasso-tiles img")
    assert pictures.count() == min(24, len(wanted))
    assert min(pictures.evaluate_all("all => all.map(image => image.naturalWidth)")) > 0
    above = explorer.locator(".clipft-lasso-tiles").bounding_box()["y"]
    assert above < explorer.locator(".clipft-lasso").bounding_box()["y"]

    clear(explorer)
    lab.expect(explorer.locator(".clipft-lasso tr")).to_have_count(0)
    found = becomes_drawn(desk, explorer, lambda drawn: not faded(drawn["id"]))
    assert max(found["outline"]) == 0 and not faded(found["with"])
    assert found["strong"] == 0 and min(found["lines"], default=1) > 0.3
    becomes(desk, "list(map.selection)", [])


def test_side_by_side_a_lasso_in_one_panel_selects_in_both(desk, explorer):
    explorer.locator(".clipft-show select").select_option("side by side")
    becomes(desk, "map.places", "side by side")
    lab.expect(explorer.locator(f"{PLOT} .nsewdrag")).to_have_count(2)
    lasso(desk, explorer, 0.002, 0.5, panel=1)
    assert becomes(desk, "list(map.selection)") == left_half(desk, "after")
    found = becomes_drawn(desk, explorer, lambda drawn: max(drawn["outline"]) > 3)
    assert [length > 0 for length in found["outline"]] == [False, True]
    faded_points = explorer.locator(f"{PLOT} .points path").evaluate_all(
        "all => all.filter(point => getComputedStyle(point).opacity < 0.3).length"
    )
    assert faded_points == 2 * (ask(desk, "len(map.energies.ids) - len(map.selection)"))


def test_the_outline_stays_with_another_theme_and_other_colours(desk, explorer):
    lasso(desk, explorer, 0.002, 0.5)
    before = becomes_drawn(desk, explorer, lambda drawn: max(drawn["outline"]) > 3)
    for theme in (lab.DARK, lab.LIGHT):
        lab.theme(desk, theme)
        found = becomes_drawn(desk, explorer, lambda drawn: faded(drawn["id"]))
        assert found["outline"] == before["outline"]
        assert faded(found["id"]) == faded(before["id"])
    explorer.locator(".clipft-colour select").select_option("gap")
    becomes(desk, "map.colour", "gap")
    found = becomes_drawn(desk, explorer, lambda drawn: len(drawn["lines"]) == 6)
    assert (found["outline"], faded(found["id"])) == (before["outline"], faded(before["id"]))


def test_the_outline_goes_where_it_is_no_longer_true(desk, explorer):
    """With the zero-shot places, and after a selection from Python, it would hold other images."""
    lasso(desk, explorer, 0.002, 0.5)
    chosen = becomes(desk, "list(map.selection)")
    becomes_drawn(desk, explorer, lambda drawn: max(drawn["outline"]) > 3)
    explorer.locator(".clipft-show select").select_option("before")
    found = becomes_drawn(desk, explorer, lambda drawn: not drawn["with"])
    if left_half(desk, "before") != chosen:
        assert max(found["outline"]) == 0
    assert ask(desk, "list(map.selection)") == chosen
    explorer.locator(".clipft-show select").select_option("both")
    becomes_drawn(desk, explorer, lambda drawn: max(drawn["outline"]) > 3)
    ask(desk, "setattr(map, 'selection', (1, 3))")
    others = set(range(ask(desk, "len(map.energies.ids)"))) - {1, 3}
    found = becomes_drawn(
        desk, explorer, lambda drawn: faded(drawn["id"]) == others and drawn["strong"] == 2
    )
    assert max(found["outline"]) == 0
    lab.expect(explorer.locator(".clipft-lasso tr")).to_have_count(3)


def test_zoom_and_pan_and_back_to_the_lasso(desk, explorer):
    def button(title):
        explorer.locator(PLOT).hover()
        explorer.locator(f"{PLOT} .modebar-btn[data-title='{title}']").click()

    limits = "plot => plot._fullLayout.xaxis.range"
    button("Zoom in")
    near = explorer.locator(PLOT).evaluate(limits)
    button("Pan")
    box = explorer.locator(f"{PLOT} .nsewdrag").bounding_box()
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    desk.mouse.move(*middle)
    desk.mouse.down()
    desk.mouse.move(middle[0] - 40, middle[1], steps=5)
    desk.mouse.up()
    until(lambda: moved_right(explorer.locator(PLOT).evaluate(limits), near), desk)
    assert ask(desk, "list(map.selection)") == []

    button("Lasso Select")
    lasso(desk, explorer, 0.002, 0.5)
    low, high = explorer.locator(PLOT).evaluate(limits)
    inside = "np.flatnonzero((map.energies.after[:, 0] > {}) & (map.energies.after[:, 0] < {}))"
    chosen = becomes(desk, "list(map.selection)")
    assert set(chosen) <= set(ask(desk, f"{inside.format(low, (low + high) / 2)}.tolist()"))
    button("Reset axes")
    becomes_drawn(desk, explorer, lambda drawn: max(drawn["outline"]) > 3)
    whole = ask(desk, "list(map.figure().layout.xaxis.range)")
    until(lambda: is_range(explorer.locator(PLOT).evaluate(limits), whole), desk)


def moved_right(now, before):
    assert now[0] > before[0] and now[1] > before[1]


def is_range(now, wanted):
    assert now == pytest.approx(wanted)


def test_the_keyboard_walks_chooses_and_clears(desk, explorer):
    desk.mouse.move(0, 0)
    explorer.locator(PLOT).focus()
    press(desk, "Escape")  # forget where the mouse was
    press(desk, "ArrowRight", 3)
    said = explorer.locator(".clipft-said")
    third = ask(desk, "int(np.lexsort(map.energies.after.T[::-1])[2])")
    lab.expect(said).to_contain_text(ask(desk, f"map.energies.ids[{third}]"))
    press(desk, "Enter")
    becomes(desk, "list(map.selection)", [third])
    found = becomes_drawn(desk, explorer, lambda drawn: drawn["rings"] == [1])
    assert len(faded(found["id"])) == ask(desk, "len(map.energies.ids)") - 1
    press(desk, "Escape")
    becomes(desk, "list(map.selection)", [])
    becomes_drawn(desk, explorer, lambda drawn: drawn["rings"] == [0] and not faded(drawn["id"]))


def test_a_click_is_chosen_again_after_clearing(desk, explorer):
    """A click takes one image; its gap has two decimals, as float32 numbers would not."""
    explorer.locator(".clipft-show select").select_option("after")
    becomes_drawn(desk, explorer, lambda drawn: drawn["id"] and not drawn["with"])
    point = explorer.locator(f"{PLOT} .points path").last
    point.scroll_into_view_if_needed()
    box = point.bounding_box()

    def click():
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        # Plotly takes a click for the point that it names at the mouse: let it name this one first.
        named = explorer.locator(".hoverlayer .hovertext")
        desk.mouse.move(0, 0)
        lab.expect(named).to_have_count(0)
        desk.mouse.move(x, y)
        lab.expect(named.first).to_be_visible()
        desk.mouse.click(x, y)

    click()
    taken = becomes(desk, "list(map.selection)")
    lab.expect(explorer.locator(".clipft-lasso tr")).to_have_count(2)
    gap = explorer.locator(".clipft-lasso td").last.inner_text()
    assert re.fullmatch(r"-?\d+\.\d{1,2}", gap)
    becomes_drawn(desk, explorer, lambda drawn: len(faded(drawn["id"])) > 1)
    clear(explorer)
    becomes(desk, "list(map.selection)", [])
    becomes_drawn(desk, explorer, lambda drawn: not faded(drawn["id"]))
    point.scroll_into_view_if_needed()
    box = point.bounding_box()
    click()
    becomes(desk, "list(map.selection)", taken)


def test_colours(desk, explorer):
    colours = {}
    for name in ("gap", "class", "split"):
        explorer.locator(".clipft-colour select").select_option(name)
        becomes(desk, "map.colour", name)
        wanted = ask(
            desk, "len({t.marker.color for t in map.figure().data if t.meta and 'id' in t.meta})"
        )

        def fills(wanted=wanted):
            found = explorer.locator(PLOT).evaluate(
                """plot => plot._fullData.filter(({meta}) => meta?.id)
                    .map((trace) => plot.querySelector(`.trace${trace.uid} .points path`).style.fill)"""
            )
            assert len(set(found)) == wanted
            return tuple(found)

        colours[name] = until(fills, desk)
    assert len(set(colours.values())) == 3


# --- the legend of classes ------------------------------------------------------------------------------------------


def test_typing_a_class_selects_its_images(desk):
    explorer = cell(desk, LARGE)
    field = explorer.locator(".clipft-find")
    options = explorer.locator(".clipft-classes [role=option]")
    lab.expect(options).to_have_count(ask(desk, "len(np.unique(big.energies.label))"))
    assert explorer.locator(".clipft-classes").evaluate("box => box.clientHeight") <= 300
    field.click()
    field.press_sequentially("THING 24")
    names = ["thing 24", *(f"thing 24{i}" for i in range(10))]
    wanted = ask(
        desk,
        f"[i for i, label in enumerate(big.energies.label) if big.sweep.classes[label] in {names}]",
    )
    becomes(desk, "list(big.selection)", wanted)
    shown = explorer.locator(".clipft-classes [role=option]:not([hidden]) span")
    assert set(shown.all_inner_texts()) <= set(names)
    others = set(range(500)) - set(wanted)
    becomes_drawn(
        desk,
        explorer,
        lambda drawn: faded(drawn["id"]) == others and drawn["strong"] == len(wanted),
    )

    press(desk, "Control+a")
    press(desk, "Backspace")
    becomes(desk, "list(big.selection)", [])
    lab.expect(shown).to_have_count(options.count())


def test_classes_are_chosen_by_mouse_and_by_keyboard(desk):
    explorer = cell(desk, LARGE)
    options = explorer.locator(".clipft-classes [role=option]")

    def images_of(*numbers):
        names = [explorer.locator(".clipft-classes span").nth(i).inner_text() for i in numbers]
        labels = f"[big.sweep.classes.index(name) for name in {names}]"
        return ask(desk, f"np.flatnonzero(np.isin(big.energies.label, {labels})).tolist()")

    options.nth(1).click()
    becomes(desk, "list(big.selection)", images_of(1))
    lab.expect(options.nth(1)).to_have_attribute("aria-selected", "true")
    options.nth(3).click(modifiers=["Control"])
    becomes(desk, "list(big.selection)", images_of(1, 3))
    options.nth(0).focus()
    press(desk, "ArrowDown", 2)
    press(desk, "Enter")
    becomes(desk, "list(big.selection)", images_of(2))

    lasso(desk, explorer, 0.002, 0.5)
    lab.expect(explorer.locator("[aria-selected=true]")).to_have_count(0)
    becomes(desk, "len(big.selection) > 100", True)
    clear(explorer)
    becomes(desk, "list(big.selection)", [])


def test_the_swatches_are_the_looks_in_the_map(desk):
    explorer = cell(desk, LARGE)
    swatches = explorer.locator(".clipft-classes path").evaluate_all(
        "all => all.map(path => [path.getAttribute('fill'), path.getAttribute('d')])"
    )
    looks = ask(desk, "[[e['colour'], e['symbol']] for e in big.classes.entries]")
    assert [colour for colour, _ in swatches] == [colour for colour, _ in looks]
    shapes = {symbol: shape for (_, shape), (_, symbol) in zip(swatches, looks, strict=True)}
    assert len(set(shapes.values())) == len(shapes) == 8
