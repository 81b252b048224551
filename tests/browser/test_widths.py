"""The explorers in windows of several widths: no text is cut or lies over another."""

import pytest

from .desk import CELLS
from .lab import PLOT, ask, cell, until

# Of a picture: titles, titles of panels, of axes and of the legend that are cut or overlap,
# and whether it reaches beyond its place.
WRONG = """plots => plots.filter(plot => plot.getClientRects().length).flatMap(plot => {
    const names = '.g-gtitle tspan.line, .annotation-text, .xtitle, .ytitle, .legendtext';
    const boxes = [...plot.querySelectorAll(names)].map(text => [text.textContent, text.getBoundingClientRect()]);
    const page = plot.getBoundingClientRect();
    const found = [];
    boxes.forEach(([name, a], i) => {
        if (a.left < page.left - 1 || a.right > page.right + 1 || a.bottom > page.bottom + 1 || a.top < page.top - 1)
            found.push(`cut: ${name}`);
        for (const [other, b] of boxes.slice(i + 1)) {
            const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
            const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
            if (wide > 2 && high > 3) found.push(`${name} over ${other}`);
        }
    });
    if (!plot.querySelector('.gtitle, .nsewdrag')) return found; // a table
    const box = (name) => plot.querySelector(name).getBoundingClientRect();
    const place = plot.parentElement.getBoundingClientRect();
    if (plot.querySelector('.gtitle') && box('.gtitle').bottom - box('.nsewdrag').top > 6)
        found.push('the title over the axes');
    for (const name of ['.main-svg', '.gtitle'].filter(name => plot.querySelector(name)))
        if (box(name).right - place.right > 1) found.push(`beyond its place: ${name}`);
    return found;
})"""


# As they open, whatever other tests left.
AT_FIRST = """[
    gaps.set_trait('run', gaps.shown.run[gaps.shown[gaps.x].idxmax()]),
    map.set_trait('places', 'both'), map.set_trait('colour', 'split'),
]"""


@pytest.mark.parametrize("width", [390, 900, 1600])
def test_no_text_is_cut_or_lies_over_another(desk, width):
    ask(desk, AT_FIRST)
    size = desk.viewport_size
    desk.set_viewport_size({"width": width, "height": 1200})
    try:
        until(lambda: fits(desk), desk, seconds=20)
    finally:
        desk.set_viewport_size(size)


def fits(page) -> None:
    found = {}
    for number in range(1, len(CELLS) + 1):
        found[number] = cell(page, number).locator(PLOT).evaluate_all(WRONG)
    assert not any(found.values()), found
