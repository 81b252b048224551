"""The browser of runs, calibration, linked sliders and the view of one run, as a person uses them."""

import contextlib
import itertools

import pytest

from . import lab
from .desk import BROWSER, RELIABILITY, RUN, WISE
from .lab import PLOT, ask, becomes, cell, drawn, press, until

SEND = """code => {
    const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
    kernel.requestExecute({code, silent: true, store_history: false});
}"""


@contextlib.contextmanager
def asleep(page, tmp_path):
    """While this lasts the page is alone: its kernel answers nothing before the end."""
    end = tmp_path / "end"
    wait = f"from pathlib import Path\nimport time\nwhile not Path({str(end)!r}).exists(): time.sleep(0.05)"
    page.evaluate(SEND, wait)
    try:
        yield
    finally:
        end.touch()


# --- the browser of runs --------------------------------------------------------------------------------------------


def shown_runs(explorer) -> set[str]:
    """The ids in the browser's list."""
    return {row[4] for row in lab.rows(explorer.locator(".clipft-runs"))}


def shows(explorer, wanted: set[str], query: str) -> None:
    """The count may be that of the query before."""
    assert shown_runs(explorer) == wanted, query


def test_the_filter_finds_runs_by_their_names(desk):
    explorer = cell(desk, BROWSER)
    field = explorer.locator(".clipft-filter input")
    rows = ask(desk, "json.loads(browser.table.to_json(orient='records'))")
    one = rows[-1]["run"]

    def having(**wanted):
        return {row["run"] for row in rows if all(row[key] == wanted[key] for key in wanted)}

    fitting = {
        "Lipsum-FT": having(method="lipsum"),
        "lipsum lr=0.001": having(method="lipsum", lr=0.001),
        "LIPSUM 0.001": having(method="lipsum", lr=0.001),
        "lr 0.001": having(lr=0.001),
        "lr 1e-3": having(lr=0.001),
        "seed 1": having(seed=1),
        "FT, seed 0": having(method="ft", seed=0),
        one: {one},
        one[:5]: {one},
        "nothing like that": set(),
    }
    for query, wanted in fitting.items():
        field.fill(query)
        lab.expect(explorer.locator(".clipft-runs p")).to_contain_text(
            f"{len(wanted)} of {len(rows)} runs"
        )
        until(lambda wanted=wanted, query=query: shows(explorer, wanted, query), desk)
    lab.expect(explorer.locator(".clipft-compared")).to_have_text("")
    field.fill("")
    lab.expect(explorer.locator(".clipft-compared")).to_contain_text("McNemar")

    for trait in ("first", "second"):
        names = explorer.locator(f".clipft-{trait} option").all_inner_texts()
        sweeps = "[', '.join(clipft.read_sweep(runs / run).called) for run in browser.table.run]"
        assert [name.replace("\xa0", " ") for name in names] == ask(desk, sweeps)


def test_two_runs_are_compared_under_their_names(desk):
    explorer = cell(desk, BROWSER)
    wanted = ask(desk, "browser.table.run.tolist()")
    explorer.locator(".clipft-first select").select_option(index=0)
    explorer.locator(".clipft-second select").select_option(index=len(wanted) - 1)
    becomes(desk, "[browser.first, browser.second]", [wanted[0], wanted[-1]])
    compared = explorer.locator(".clipft-compared")
    first = ask(desk, "browser.comparison().to_dict('records')[0]")
    lab.expect(compared).to_contain_text(first["difference"])
    title = explorer.locator(f"{PLOT} .gtitle")
    lab.expect(title).to_contain_text(f"run {wanted[0]}")
    lab.expect(title).to_contain_text(f"run {wanted[-1]}")
    lab.expect(explorer.locator(f"{PLOT} .legendtext").last).to_have_text(
        ask(desk, "clipft.read_sweep(runs / browser.second).title")
    )

    files = "[json.loads((runs / run / 'config.json').read_text()) for run in (browser.first, browser.second)]"
    one, other = ask(desk, files)
    differ = {key for key in one if one[key] != other.get(key)} - {"title"}
    settings = lab.rows(compared.locator("table").first)
    assert {row[0] for row in settings} == differ
    assert not {one[key] for key in one if "digest" in key} & set(itertools.chain(*settings))

    desk.mouse.move(5, 5)
    x, y = explorer.locator(PLOT).evaluate(lab.THIN, 1)
    desk.mouse.move(x, y)
    hover = explorer.locator(f"{PLOT} .hoverlayer .hovertext").first
    lab.expect(hover).to_contain_text(f"run {wanted[-1]}")
    desk.mouse.click(x, y)
    becomes(desk, "[browser.first, browser.second]", [wanted[-1], wanted[0]])
    lab.expect(title).to_contain_text(
        f"dotted: {ask(desk, 'clipft.read_sweep(runs / browser.second).title')}"
    )
    chosen = explorer.locator(".clipft-first select").evaluate("menu => menu.selectedIndex")
    assert chosen == len(wanted) - 1
    lab.shot(desk, "run_browser")


# What the browser of runs looks at from now on: a copy, which may change.
ELSEWHERE = """(
    __import__('shutil').copytree(runs, {copy!r}), setattr(browser, 'source', {copy!r}), setattr(browser, 'stamps', {{}}),
)[:0]"""
HOME = "(setattr(browser, 'source', runs), setattr(browser, 'stamps', {}), browser.refresh())[:0]"
MOVED = "(__import__('os').rename({0!r}, {1!r}),)[:0]"


def test_the_list_is_refreshed_by_hand_and_by_itself(desk, tmp_path):
    """A run is moved away and comes back; the filter and both runs stay."""
    explorer = cell(desk, BROWSER)
    count = explorer.locator(".clipft-runs p")
    field = explorer.locator(".clipft-filter input")
    field.fill("")
    every = ask(desk, "browser.table.run.tolist()")
    lab.expect(count).to_contain_text(f"{len(every)} of {len(every)} runs")
    first, second, gone = every[0], every[1], every[-1]
    both = f"[setattr(browser, 'first', {first!r}), setattr(browser, 'second', {second!r})]"
    ask(desk, f"{both}[:0]")
    field.fill("seed")
    copy = tmp_path / "runs"
    ask(desk, ELSEWHERE.format(copy=str(copy)))
    away = (str(copy / gone), str(tmp_path / gone))

    ask(desk, MOVED.format(*away))
    explorer.get_by_role("button", name="refresh").click()
    lab.expect(count).to_contain_text(f"{len(every) - 1} of {len(every) - 1} runs")
    seconds = explorer.get_by_role("spinbutton", name="every")
    seconds.fill("0.5")
    becomes(desk, "browser.every", 0.5)
    ask(desk, MOVED.format(*reversed(away)))
    lab.expect(count).to_contain_text(f"{len(every)} of {len(every)} runs")
    assert ask(desk, "[browser.query, browser.first, browser.second]") == ["seed", first, second]
    chosen = explorer.locator(".clipft-second select").evaluate("menu => menu.selectedIndex")
    assert chosen == 1
    seconds.fill("0")
    becomes(desk, "[browser.every]", [0])
    ask(desk, HOME)
    field.fill("")


# --- calibration, and one alpha -------------------------------------------------------------------------------------


def test_reliability_moves_without_the_kernel(desk, tmp_path):
    explorer = cell(desk, RELIABILITY)
    split = ask(desk, "reliability.split")
    alphas = [0.0, 0.3, 0.55, 0.99]
    wanted = ask(desk, f"{{str(alpha): bins({split!r}, alpha) for alpha in {alphas}}}")
    scored = ask(desk, "sweep.alphas.tolist()")

    with asleep(desk, tmp_path):
        for alpha in alphas:
            slide(desk, explorer, alpha)
            nearest = min(scored, key=lambda one: abs(one - alpha))
            name = f"at alpha {nearest:.2f}"
            lab.expect(explorer.locator(f"{PLOT} .legendtext", has_text=name)).to_be_visible()
            found = drawn(explorer, name)
            points = zip(found["x"], found["y"], strict=True)
            x, y, images = zip(*wanted[str(alpha)], strict=True)
            for point, place in zip(points, zip(x, y, strict=True), strict=True):
                assert point == ((None, None) if None in place else pytest.approx(place, abs=1e-6))
            assert drawn(explorer, name, "bar")["y"] == [one or None for one in images]
    becomes(desk, "reliability.alpha", 0.99)
    lab.expect(explorer.locator(".clipft-ece tr").nth(2)).to_contain_text("at alpha 1.00")
    errors = (
        "[f'{100 * sweep.ece(reliability.split, a):.1f}' for a in (0.0, reliability.alpha, 1.0)]"
    )
    rows = lab.rows(explorer.locator(".clipft-ece"))
    assert [row[1] for row in rows] == ask(desk, errors)

    explorer.locator(".clipft-split select").select_option(index=0)
    first = ask(desk, "sweep.splits[0]")
    lab.expect(explorer.locator(f"{PLOT} .gtitle")).to_contain_text(f"Reliability on {first}")
    becomes(desk, "reliability.split", first)
    lab.shot(desk, "reliability")


def slide(page, explorer, alpha: float) -> None:
    """Type an alpha into an explorer's slider."""
    readout = explorer.locator(".clipft-alpha .widget-readout").first
    readout.click()
    page.keyboard.press("Control+a")
    page.keyboard.type(f"{alpha:.2f}")
    page.keyboard.press("Enter")
    lab.expect(readout).to_have_text(f"{alpha:.2f}")


def readouts(page) -> list[str]:
    """What both linked sliders and both pictures say of alpha."""
    found = []
    for number in (WISE, RELIABILITY):
        found.append(cell(page, number).locator(".clipft-alpha .widget-readout").inner_text())
        found.append(
            f"{float(cell(page, number).locator(PLOT).first.get_attribute('data-alpha')):.2f}"
        )
    return found


def stand_at(page, alpha: float) -> None:
    def check():
        assert readouts(page) == 4 * [f"{alpha:.2f}"]

    until(check, page)


def test_linked_sliders_move_together_in_the_page(desk, tmp_path):
    assert ask(desk, "reliability.alpha == wise.alpha")

    with asleep(desk, tmp_path):
        for number, alpha in itertools.product((WISE, RELIABILITY), (0.2, 0.85)):
            slide(desk, cell(desk, number), alpha)
            stand_at(desk, alpha)
    becomes(desk, "[wise.alpha, reliability.alpha]", [0.85, 0.85])


def test_linked_sliders_do_not_pull_each_other_back(desk):
    """Many quick steps while the kernel answers: where the last one went, both stay."""
    slide(desk, cell(desk, WISE), 0.2)
    cell(desk, WISE).locator(".clipft-alpha .noUi-handle").focus()
    press(desk, "ArrowRight", 40)
    stand_at(desk, 0.6)
    becomes(desk, "[round(wise.alpha, 2), round(reliability.alpha, 2)]", [0.6, 0.6])
    desk.wait_for_timeout(1000)
    stand_at(desk, 0.6)


def test_linked_explorers_follow_a_program(desk):
    assert ask(desk, "setattr(reliability, 'alpha', 0.3) is None")
    stand_at(desk, 0.3)
    assert ask(desk, "[wise.alpha, reliability.alpha]") == [0.3, 0.3]
    assert ask(desk, "setattr(wise, 'alpha', 0.7) is None")
    stand_at(desk, 0.7)


# --- one run --------------------------------------------------------------------------------------------------------


def test_a_run_in_three_tabs(desk):
    explorer = cell(desk, RUN)
    tab = explorer.locator(".lm-TabBar-tab")
    lab.expect(tab).to_have_text(["alpha", "training", "confusions"])
    tab.nth(1).click()
    lab.expect(explorer.locator(PLOT).nth(1)).to_be_visible()
    tab.nth(2).click()
    confusions = explorer.locator(".clipft-confusions")
    lab.expect(confusions).to_be_visible()
    slider = explorer.locator(".clipft-alpha .noUi-handle:visible")
    slider.focus()
    press(desk, "Home")
    lab.expect(confusions).to_contain_text("at alpha 0.00")
    assert ask(desk, "one.alpha") == 0
    assert lab.rows(confusions) == ask(desk, "one.confusions().astype(str).values.tolist()")
    tab.nth(0).click()
    lab.expect(explorer.locator(PLOT).first).to_have_attribute("data-alpha", "0")
