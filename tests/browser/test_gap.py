"""The explorers of the energy gap and of feature distortion in JupyterLab, by mouse and keyboard."""

import re

from . import lab
from .desk import DISTORTION, GAPS
from .lab import PLOT, ask, becomes, cell, press, until

# where in the window the point of this number is
PLACE = """(plot, number) => {
    plot.scrollIntoView({block: 'center'});
    const trace = plot._fullData.find(({meta}) => meta?.id?.includes?.(number));
    const i = trace.meta.id.indexOf(number);
    const {_fullLayout: {xaxis, yaxis}} = plot;
    const box = plot.getBoundingClientRect();
    return [box.left + xaxis._offset + xaxis.l2p(trace.x[i]), box.top + yaxis._offset + yaxis.l2p(trace.y[i])];
}"""
# the number of the point that has a ring; -1: none
RINGED = """plot => {
    const rings = plot.data.filter(({marker}) => marker?.symbol === 'circle-open' && marker.size === 20);
    const [x, y] = rings.map((ring) => [ring.x[0], ring.y[0]]).find(([x]) => x !== undefined) ?? [];
    const points = plot._fullData.filter(({meta}) => Array.isArray(meta?.id))
        .flatMap(({meta, x, y}) => meta.id.map((id, i) => [id, x[i], y[i]]));
    return points.find(([, v, w]) => v === x && w === y)?.[0] ?? -1;
}"""
RANGE = "plot => plot._fullLayout.xaxis.range.join()"
FIRST = "gaps.shown.run[gaps.shown[gaps.x].idxmax()]"  # what is chosen at first


def plot_of(page, number: int):
    return cell(page, number).locator(PLOT).first


RUNS = {GAPS: "gaps.gaps.runs", DISTORTION: "distortion.distortions.runs"}


def number_of(page, number: int, run: str) -> int:
    """The number of a run's point."""
    return ask(page, f"{RUNS[number]}.index({run!r})")


def point(page, number: int, run: str) -> tuple[float, float]:
    """Where in the window a run's point is."""
    x, y = plot_of(page, number).evaluate(PLACE, number_of(page, number, run))
    return x, y


def has_ring(page, number: int, run: str) -> None:
    """Wait until this run's point has the ring; "": none."""
    wanted = number_of(page, number, run) if run else -1
    until(lambda: same(plot_of(page, number).evaluate(RINGED), wanted), page)


def lonely(page, shown: str) -> str:
    """The run whose point lies furthest from all others, of a table's two columns: the mouse can mean no other."""
    return ask(page, f"lonely({shown})")


# --- energy gap -----------------------------------------------------------------------------------------------------


def test_energy_gap_opens_on_a_run(desk):
    """Nobody has clicked: the run of the largest gap is named, ringed, and has its curve, settings and images."""
    explorer = cell(desk, GAPS)
    run = ask(desk, FIRST)
    assert ask(desk, "gaps.run") == run
    seed = ask(desk, f"int(about({run!r}).seed)")
    lab.expect(explorer.locator(".clipft-about h4")).to_contain_text(f"seed {seed}, run {run}")
    has_ring(desk, GAPS, run)
    curve = explorer.locator(PLOT).nth(1)
    lab.expect(curve).to_be_visible()
    assert run in curve.locator(".g-gtitle").text_content()
    pictures = explorer.locator(".clipft-tiles img")
    lab.expect(pictures).to_have_count(24)
    assert min(pictures.evaluate_all("all => all.map(image => image.naturalWidth)")) > 0
    assert lab.titles(explorer) == ask(desk, "most_moved(gaps)")[:24]


def test_energy_gap_hover_and_click(desk):
    explorer = cell(desk, GAPS)
    run = lonely(desk, "gaps.shown.set_index('run')[[gaps.x, gaps.y]]")
    ask(desk, "gaps.set_trait('run', '')")
    lab.expect(explorer.locator(".clipft-about")).to_contain_text("Click a point")
    lab.expect(explorer.locator(".clipft-tiles")).to_be_hidden()
    desk.mouse.move(*point(desk, GAPS, run))
    label = plot_of(desk, GAPS).locator(".hoverlayer .hovertext")
    lab.expect(label).to_contain_text(f"run {run}")
    for metric in ("energy_gap", "relative_accuracy"):
        lab.expect(label).to_contain_text(ask(desk, f"line({run!r}, {metric!r})"))
    lab.expect(label).to_contain_text(f"seed {ask(desk, f'int(about({run!r}).seed)')}")

    desk.mouse.down()
    desk.mouse.up()
    becomes(desk, "gaps.run", run)
    about = explorer.locator(".clipft-about")
    lab.expect(about.locator("h4")).to_contain_text(run)
    lab.expect(about).to_contain_text("data set")
    lab.expect(about).to_contain_text("learning rate")
    assert "digest" not in about.inner_text()
    recorded = ask(desk, f"__import__('json').loads((runs / {run!r} / 'config.json').read_text())")
    for name, value in recorded.items():
        if name.endswith("_digest"):
            assert value not in about.inner_text()
    has_ring(desk, GAPS, run)
    lab.expect(explorer.locator(PLOT).nth(1).locator(".g-gtitle")).to_contain_text(run)


def test_energy_gap_has_r_with_and_without_two(desk):
    shown = plot_of(desk, GAPS).locator(".annotation-text").first.text_content()
    note = cell(desk, GAPS).locator(".clipft-r").inner_text()
    whole = ask(desk, "str(gaps.correlation)")
    assert ask(desk, "gaps.correlation.short") in shown and whole in note
    if ask(desk, "len(gaps.shown)") < 5:
        assert "without two" not in shown
        return
    found = re.search(r"without two: (r = .*?\])", shown)[1]
    assert found in note
    two = [run for run in ask(desk, "gaps.gaps.runs") if run in note]
    assert len(two) == 2
    rest = f"gaps.shown[~gaps.shown.run.isin({two})]"
    x, y, recipe = f"{rest}[gaps.x]", f"{rest}[gaps.y]", f"list({rest}.recipe)"
    assert ask(desk, f"__import__('clipft').correlation({x}, {y}, {recipe}).bare") == found


def test_energy_gap_menus(desk):
    explorer = cell(desk, GAPS)
    note = explorer.locator(".clipft-r")
    assert ask(desk, "gaps.shift == gaps.gaps.shifts[0]")
    explorer.locator(".clipft-shift select").select_option(index=1)
    becomes(desk, "gaps.shift == gaps.gaps.shifts[1]")
    lab.expect(note).to_contain_text(ask(desk, "str(gaps.correlation)"))
    shown = ask(desk, "len(gaps.shown)")
    explorer.locator(".clipft-methods select").select_option(index=0)
    becomes(desk, "gaps.methods", ask(desk, "list(gaps.gaps.looks(gaps.x))[:1]"))
    count = ask(desk, "len(gaps.shown)")
    assert count < shown
    drawn = "plot => plot._fullData.flatMap(({meta}) => meta?.id ?? []).length"
    until(lambda: same(plot_of(desk, GAPS).evaluate(drawn), count), desk)
    lab.expect(note).to_contain_text(ask(desk, "str(gaps.correlation)"))
    explorer.locator(".clipft-x select").select_option(index=1)
    becomes(desk, "gaps.x == gaps.gaps.metrics[1]")
    wanted = ask(desk, "gaps.figure().layout.xaxis.title.text")
    lab.expect(plot_of(desk, GAPS).locator(".xtitle")).to_have_text(wanted)
    ask(
        desk,
        "[gaps.set_trait(k, v) for k, v in (('x', 'energy_gap'), ('methods', list(gaps.gaps.looks(gaps.x))))]",
    )
    until(lambda: same(plot_of(desk, GAPS).evaluate(drawn), shown), desk)


def same(found: object, wanted: object) -> None:
    assert found == wanted


def test_a_click_keeps_the_zoom(desk):
    plot = plot_of(desk, GAPS)
    run = lonely(desk, "gaps.shown.set_index('run')[[gaps.x, gaps.y]]")
    ask(desk, "gaps.set_trait('run', '')")
    has_ring(desk, GAPS, "")
    whole = plot.evaluate(RANGE)
    x, y = point(desk, GAPS, run)
    desk.mouse.move(x - 60, y + 25)
    desk.mouse.down()
    desk.mouse.move(x + 60, y - 25, steps=6)
    desk.mouse.up()
    until(lambda: differs(plot.evaluate(RANGE), whole), desk)
    zoomed = plot.evaluate(RANGE)
    desk.wait_for_timeout(400)  # a click sooner than 300 ms after would be plotly's double click
    desk.mouse.move(*point(desk, GAPS, run))
    lab.expect(plot.locator(".hoverlayer .hovertext")).to_contain_text(f"run {run}")
    desk.mouse.down()
    desk.mouse.up()
    has_ring(desk, GAPS, run)
    assert plot.evaluate(RANGE) == zoomed


def differs(found: object, other: object) -> None:
    assert found != other


def notebook_state(page) -> dict:
    """Active cell, number of cells, mode and scroll of the notebook."""
    return page.evaluate(
        """() => {
            const panel = window.jupyterapp.shell.currentWidget, book = panel.content;
            return {active: book.activeCellIndex, cells: book.widgets.length, mode: book.mode,
                scroll: book.node.querySelector('.jp-WindowedPanel-outer').scrollTop};
        }"""
    )


def test_energy_gap_keyboard(desk):
    """The keys are the picture's: Lab does not scroll, change cells or their number, or go into a cell."""
    explorer = cell(desk, GAPS)
    plot = plot_of(desk, GAPS)
    label = plot.locator(".hoverlayer .hovertext")
    plot.scroll_into_view_if_needed()
    plot.focus()
    desk.mouse.move(5, 5)
    press(desk, "Escape")
    becomes(desk, "gaps.run", "")
    has_ring(desk, GAPS, "")
    before = notebook_state(desk)
    seen = []
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp"):
        press(desk, key)
        until(lambda: differs(label.text_content(), seen[-1] if seen else ""), desk)
        seen.append(label.text_content())
    assert len(set(seen)) > 1
    assert seen[0] == seen[4]  # two steps there, two back, from the second on
    press(desk, "Enter")
    run = becomes(desk, "gaps.run")
    assert run in seen[4]
    lab.expect(explorer.locator(".clipft-about h4")).to_contain_text(run)
    after = notebook_state(desk)
    assert after | {"scroll": 0} == before | {"scroll": 0}
    press(desk, "Escape")
    lab.expect(explorer.locator(".clipft-about")).to_contain_text("Click a point")
    for key in ("b", "d", "d", "x"):  # Lab's own: a cell below, delete, cut
        press(desk, key)
    assert notebook_state(desk)["cells"] == before["cells"]


# --- distortion -----------------------------------------------------------------------------------------------------


def test_distortion_menus(desk):
    explorer = cell(desk, DISTORTION)
    plot = plot_of(desk, DISTORTION)
    second = explorer.locator(".clipft-shift select option").nth(1).inner_text()
    for menu, option in (("shift", second), ("kind", "normalised")):
        explorer.locator(f".clipft-{menu} select").select_option(option)
        number = explorer.locator(f".clipft-{menu} select").evaluate("menu => menu.selectedIndex")
        becomes(desk, f"distortion.{menu} == distortion.distortions.{menu}s[{number}]")
        wanted = ask(
            desk,
            "sorted([float(x), float(y)] for x, y in distortion.shown[['reference', 'shifted']].values)",
        )
        until(lambda wanted=wanted: same(drawn_points(plot), wanted), desk)
    lab.expect(plot.locator(".annotation-text").first).to_contain_text(second)
    rows = ask(desk, "len(distortion.shown)")
    lab.expect(explorer.locator(".clipft-verdicts")).to_contain_text(f"{rows} runs")


def drawn_points(plot) -> list:
    return plot.evaluate(
        """plot => plot._fullData.filter(({meta}) => meta?.id)
            .flatMap(({x, y}) => [...x].map((value, i) => [value, y[i]])).sort((a, b) => a[0] - b[0])"""
    )


def test_distortion_hover_and_click(desk):
    explorer = cell(desk, DISTORTION)
    plot = plot_of(desk, DISTORTION)
    run = lonely(desk, "distortion.shown.set_index('run')[['reference', 'shifted']]")
    desk.mouse.move(*point(desk, DISTORTION, run))
    label = plot.locator(".hoverlayer .hovertext")
    lab.expect(label).to_contain_text(f"run {run}")
    lab.expect(label).to_contain_text("difference")
    desk.mouse.down()
    desk.mouse.up()
    becomes(desk, "distortion.run", run)
    note = explorer.locator(".clipft-verdicts")
    lab.expect(note).to_contain_text(f"run {run}")
    row = f"distortion.shown[distortion.shown.run == {run!r}].iloc[0]"
    low, high = ask(desk, f"[format({row}[end], '+.3f') for end in ('low', 'high')]")
    lab.expect(note).to_contain_text(f"[{low}, {high}]")
    has_ring(desk, DISTORTION, run)
    plot.focus()
    press(desk, "Escape")
    becomes(desk, "distortion.run", "")
    lab.expect(note).to_contain_text("Click a point")
