"""The browser of runs, calibration, linked sliders and the view of one run, as a person uses them."""

import itertools

import pytest

from . import lab
from .desk import BROWSER, RELIABILITY, RUN, TILES, WISE, is_right
from .lab import (
    NUMBER,
    PLOT,
    SLIDER,
    ask,
    asleep,
    becomes,
    cell,
    drawn,
    expect,
    press,
    type_alpha,
    until,
)

# --- the browser of runs --------------------------------------------------------------------------------------------


INFO = ".clipft-info"


def shown(explorer) -> list[dict[str, str]]:
    """The rows of the browser's table, by the titles of its columns."""
    return explorer.locator(".clipft-runs-table table").evaluate(
        """table => {
            const titles = [...table.tHead.rows[0].cells].map((cell) => cell.textContent.trim());
            return [...table.tBodies[0].rows].filter((row) => row.dataset.run).map((row) =>
                Object.fromEntries([...row.cells].map((cell, i) => [titles[i], cell.textContent.trim()])));
        }"""
    )


def runs_of(explorer) -> list[str]:
    """The ids of the rows that are shown, in order."""
    return explorer.locator(".clipft-runs-table tbody tr[data-run]").evaluate_all(
        "all => all.map((row) => row.dataset.run)"
    )


def shows(page, explorer, wanted, why: str = "") -> None:
    """Wait until these are the ids of the rows; a set: in any order."""

    def check() -> None:
        found = runs_of(explorer)
        assert (set(found) if isinstance(wanted, set) else found) == wanted, why

    until(check, page)


@pytest.fixture
def runs(desk):
    """The browser of runs and its table, with nothing filtered, grouped or compared."""
    explorer = cell(desk, BROWSER)
    rows = ask(desk, "json.loads(browser.table.to_json(orient='records'))")
    yield explorer, rows
    explorer.locator(".clipft-find").fill("")
    for limit in ("at least", "at most"):
        explorer.get_by_label(limit).fill("")
    explorer.get_by_label("group by recipe").set_checked(False)
    becomes(desk, "[browser.query, browser.grouped]", ["", False])
    ask(desk, "browser.set_trait('compared', [])")
    expect(explorer.locator(INFO)).to_contain_text(f"{len(rows)} of {len(rows)} runs")
    expect(explorer.locator(".clipft-comparison")).to_have_text("")


def test_the_filter_finds_runs_by_their_names(desk, runs):
    explorer, rows = runs
    field = explorer.locator(".clipft-find")
    one = rows[-1]["run"]

    def having(**wanted):
        return {row["run"] for row in rows if all(row[key] == wanted[key] for key in wanted)}

    fitting = {
        "Lipsum-FT": having(method="Lipsum-FT"),
        "lipsum lr=0.001": having(method="Lipsum-FT", lr=0.001),
        "LIPSUM 0.001": having(method="Lipsum-FT", lr=0.001),
        "lr 0.001": having(lr=0.001),
        "lr 1e-3": having(lr=0.001),
        "seed 1": having(seed=1),
        "FT, seed 0": having(method="FT", seed=0),
        one: {one},
        one[:5]: {one},
        "nothing like that": set(),
    }
    for query, wanted in fitting.items():
        field.fill(query)
        expect(explorer.locator(INFO)).to_contain_text(f"{len(wanted)} of {len(rows)} runs")
        shows(desk, explorer, wanted, query)
    becomes(desk, "browser.query", "nothing like that")
    field.blur()
    ask(desk, f"browser.set_trait('query', {one!r})")  # by a program
    expect(field).to_have_value(one)
    shows(desk, explorer, [one])


def test_runs_by_a_range_in_order_and_by_columns(desk, runs):
    explorer, rows = runs
    heads = explorer.locator(".clipft-runs-table thead th")
    gaps = sorted(row["energy_gap"] for row in rows)
    explorer.get_by_label("column that is limited").select_option("energy gap")
    explorer.get_by_label("at least").fill(f"{(gaps[0] + gaps[1]) / 2}")
    middle = {row["run"] for row in rows if row["energy_gap"] > gaps[0]}
    shows(desk, explorer, middle)
    explorer.get_by_label("at most").fill(f"{(gaps[-1] + gaps[-2]) / 2}")
    shows(desk, explorer, {run["run"] for run in rows if gaps[0] < run["energy_gap"] < gaps[-1]})
    for limit in ("at least", "at most"):
        explorer.get_by_label(limit).fill("")

    explorer.locator(".clipft-runs-table thead th", has_text="mean shift %").click()
    shift = {row["run"]: f"{row['shift']:.1f}" for row in rows}

    def sorted_by_shift(*, down: bool) -> None:
        found = shown(explorer)
        assert {row["run"]: row["mean shift %"] for row in found} == shift
        numbers = [float(row["mean shift %"]) for row in found]
        assert numbers == sorted(numbers, reverse=down)

    until(lambda: sorted_by_shift(down=True), desk)
    heads.filter(has_text="mean shift %").locator("[tabindex='0']").focus()
    press(desk, "Enter")
    until(lambda: sorted_by_shift(down=False), desk)
    press(desk, "Enter")  # a third time: as they came
    shows(desk, explorer, [row["run"] for row in rows])

    explorer.get_by_text("columns", exact=True).click()
    before = heads.all_inner_texts()
    assert "ECE %" not in " ".join(before)
    explorer.get_by_label("ECE %", exact=True).check()
    expect(heads.filter(has_text="ECE %")).to_have_count(1)
    found = {row["run"]: float(row["ECE %"]) for row in shown(explorer)}
    assert found == {row["run"]: pytest.approx(row["ece"], abs=0.0501) for row in rows}
    explorer.get_by_label("lr", exact=True).uncheck()
    expect(heads.filter(has_text="lr")).to_have_count(0)
    explorer.get_by_role("button", name="as at first").click()
    expect(heads).to_have_text(before)
    explorer.get_by_text("columns", exact=True).click()


def test_recipes_have_the_mean_and_deviation_of_their_runs(desk, runs):
    explorer, rows = runs
    explorer.get_by_label("group by recipe").check()
    wanted = ask(
        desk,
        """(lambda by: json.loads(by.mean().join(by.std(ddof=1), rsuffix=' sd').join(by.size().rename('n'))
            .to_json(orient='index')))(browser.table.groupby('recipe')[['shift', 'energy_gap', 'reference']])""",
    )
    shows(desk, explorer, set(wanted))
    expect(explorer.locator(INFO)).to_contain_text(f"{len(wanted)} of {len(wanted)} recipes")
    for row in shown(explorer):
        own = wanted[row["recipe"]]
        assert int(row["seeds"]) == own["n"]
        for title, name in (
            ("mean shift %", "shift"),
            ("energy gap", "energy_gap"),
            ("reference %", "reference"),
        ):
            mean, _, deviation = row[title].partition(" ± ")
            assert float(mean) == pytest.approx(own[name], abs=0.0501)
            assert float(deviation) == pytest.approx(own[f"{name} sd"], abs=0.0501)
    recipe = runs_of(explorer)[0]
    explorer.locator(f"tr[data-run='{recipe}']").click()  # its runs
    becomes(desk, "[browser.grouped, browser.query]", [False, f"recipe={recipe}"])
    shows(desk, explorer, {row["run"] for row in rows if row["recipe"] == recipe})


def test_a_row_opens_its_run(desk, runs):
    explorer, _ = runs
    first, second = runs_of(explorer)[:2]
    line = explorer.locator(f"tr[data-run='{second}']")
    line.click()
    becomes(desk, "browser.run", second)
    expect(line).to_have_attribute("aria-current", "true")
    line.focus()
    press(desk, "ArrowUp")
    press(desk, "Enter")
    becomes(desk, "browser.run", first)
    expect(explorer.locator("tr[aria-current]")).to_have_attribute("data-run", first)


def test_the_filtered_rows_as_a_file(desk, runs):
    explorer, rows = runs
    explorer.locator(".clipft-find").fill("seed 1")
    wanted = [row for row in rows if row["seed"] == 1]
    shows(desk, explorer, {row["run"] for row in wanted})
    save = explorer.get_by_role("button", name="CSV")
    head, *lines = lab.downloaded(desk, save.click)
    assert head == ask(desk, "browser.table.columns.tolist()")
    found = {line[0]: dict(zip(head, line, strict=True)) for line in lines}
    assert set(found) == {row["run"] for row in wanted}
    for row in wanted:
        for name, value in row.items():
            if isinstance(value, str):
                assert found[row["run"]][name] == value
            else:
                assert float(found[row["run"]][name]) == pytest.approx(value, abs=1e-6)


def tick(explorer, run: str) -> None:
    explorer.get_by_label(f"compare run {run}").check()


def test_ticked_runs_are_compared_under_their_names(desk, runs):
    explorer, rows = runs
    first, other = rows[0]["run"], rows[-1]["run"]
    compared = explorer.locator(".clipft-comparison")
    tick(explorer, first)
    expect(compared).to_contain_text("Tick another run")
    tick(explorer, other)
    becomes(desk, "browser.compared", [first, other])
    title = compared.locator(f"{PLOT} .gtitle")
    expect(title).to_contain_text(f"run {other}")
    expect(title).to_contain_text(f"run {first}")
    expect(compared.locator(f"{PLOT} .legendtext").last).to_have_text(
        ask(desk, f"clipft.read_sweep(runs / {other!r}).title")
    )
    settings, numbers = compared.locator("table").all()
    wanted = ask(desk, "browser.comparison().astype(str).values.tolist()")
    assert lab.rows(numbers) == wanted

    files = (
        f"[json.loads((runs / run / 'config.json').read_text()) for run in ({first!r}, {other!r})]"
    )
    one, two = ask(desk, files)
    told = lab.rows(settings)
    assert {"seed", "method"} & {key for key in one if one[key] != two[key]} <= {
        row[0] for row in told
    }
    assert not {one[key] for key in one if "digest" in key} & set(itertools.chain(*told))

    third = rows[1]["run"]
    tick(explorer, third)
    expect(title).to_contain_text(f"run {third}")
    assert len(lab.rows(compared.locator("table").last)) == 2 * len(wanted)
    lab.shot(desk, "run_browser")
    explorer.get_by_role("button", name="untick all 3").click()
    becomes(desk, "[browser.compared]", [[]])
    expect(compared).to_have_text("")


# What the browser of runs looks at from now on: a copy, which may change.
ELSEWHERE = """(
    __import__('shutil').copytree(runs, {copy!r}), setattr(browser.desk, 'source', {copy!r}), setattr(browser.desk, 'stamps', {{}}),
)[:0]"""
HOME = "(setattr(browser.desk, 'source', runs), setattr(browser.desk, 'stamps', {}), browser.refresh())[:0]"
MOVED = "(__import__('os').rename({0!r}, {1!r}),)[:0]"


def test_the_list_is_refreshed_by_hand_and_by_itself(desk, runs, tmp_path):
    """A run is moved away and comes back; the filter and the ticks stay."""
    explorer, rows = runs
    count = explorer.locator(INFO)
    every = [row["run"] for row in rows]
    first, second, gone = every[0], every[1], every[-1]
    tick(explorer, first)
    tick(explorer, second)
    explorer.locator(".clipft-find").fill("seed")
    becomes(desk, "[browser.query, browser.compared]", ["seed", [first, second]])
    copy = tmp_path / "runs"
    ask(desk, ELSEWHERE.format(copy=str(copy)))
    away = (str(copy / gone), str(tmp_path / gone))

    ask(desk, MOVED.format(*away))
    explorer.get_by_role("button", name="refresh").click()
    expect(count).to_contain_text(f"{len(every) - 1} of {len(every) - 1} runs")
    shows(desk, explorer, set(every[:-1]))
    seconds = explorer.locator(".clipft-seconds")
    seconds.fill("0.5")
    becomes(desk, "browser.every", 0.5)
    ask(desk, MOVED.format(*reversed(away)))
    expect(count).to_contain_text(f"{len(every)} of {len(every)} runs")
    expect(explorer.locator(".clipft-find")).to_have_value("seed")
    assert ask(desk, "[browser.query, browser.compared]") == ["seed", [first, second]]
    for run in every:
        expect(explorer.get_by_label(f"compare run {run}")).to_be_checked(
            checked=run in (first, second)
        )
    seconds.fill("0")
    becomes(desk, "[browser.every]", [0])
    ask(desk, HOME)
    explorer.get_by_role("button", name="refresh").click()


# --- calibration, and one alpha -------------------------------------------------------------------------------------


def test_reliability_moves_without_the_kernel(desk, tmp_path):
    explorer = cell(desk, RELIABILITY)
    split = ask(desk, "reliability.shown_split")
    alphas = [0.0, 0.3, 0.55, 0.99]
    wanted = ask(desk, f"{{str(alpha): bins({split!r}, alpha) for alpha in {alphas}}}")
    scored = ask(desk, "sweep.alphas.tolist()")

    with asleep(desk, tmp_path):
        for alpha in alphas:
            type_alpha(desk, explorer, alpha)
            nearest = min(scored, key=lambda one: abs(one - alpha))
            name = f"at alpha {nearest:.2f}"
            expect(explorer.locator(f"{PLOT} .legendtext", has_text=name)).to_be_visible()
            found = drawn(explorer, name)
            points = zip(found["x"], found["y"], strict=True)
            x, y, images = zip(*wanted[str(alpha)], strict=True)
            for point, place in zip(points, zip(x, y, strict=True), strict=True):
                assert point == ((None, None) if None in place else pytest.approx(place, abs=1e-6))
            assert drawn(explorer, name, "bar")["y"] == [one or None for one in images]
    becomes(desk, "reliability.alpha", 0.99)
    expect(explorer.locator(".clipft-ece tr").nth(2)).to_contain_text("at alpha 1.00")
    errors = "[f'{100 * sweep.ece(reliability.shown_split, a):.1f}' for a in (0.0, reliability.alpha, 1.0)]"
    rows = lab.rows(explorer.locator(".clipft-ece"))
    assert [row[1] for row in rows] == ask(desk, errors)

    explorer.locator(".clipft-shown_split select").select_option(index=0)
    first = ask(desk, "sweep.splits[0]")
    expect(explorer.locator(f"{PLOT} .gtitle")).to_contain_text(f"Reliability on {first}")
    becomes(desk, "reliability.shown_split", first)
    lab.shot(desk, "reliability")


def test_a_selection_of_linked_explorers(desk):
    """Set from Python, both pictures are of these images alone; and then of all again."""
    wise, explorer = cell(desk, WISE), cell(desk, RELIABILITY)
    split = ask(desk, "sweep.splits[-1]")
    explorer.locator(".clipft-shown_split select").select_option(split)
    becomes(desk, "reliability.shown_split", split)
    ids = ask(desk, "sweep.ids[sweep.split_number >= 0][::3].tolist()")

    def check(ids: list[str] | None) -> None:
        wanted = ask(desk, f"bins({split!r}, reliability.alpha, {ids})")
        nearest = ask(desk, "float(sweep.alphas[sweep.nearest(reliability.alpha)])")
        found = drawn(explorer, f"at alpha {nearest:.2f}")
        for x, y, (sure, right, images) in zip(found["x"], found["y"], wanted, strict=True):
            place = (sure, right) if images else (None, None)
            assert (x, y) == ((None, None) if not images else pytest.approx(place, abs=1e-5))
        bars = drawn(explorer, f"at alpha {nearest:.2f}", "bar")["y"]
        assert bars == [images or None for *_, images in wanted]
        error = ask(
            desk,
            f"(lambda b: sum(n * abs(s - r) for s, r, n in b if n) / sum(n for *_, n in b))({wanted})",
        )
        row = lab.rows(explorer.locator(".clipft-ece"))[1]
        assert float(row[1]) == pytest.approx(100 * error, abs=0.0501)
        assert int(row[2]) == sum(images for *_, images in wanted)

    ask(desk, f"setattr(wise, 'selection', {ids})")
    assert is_right(desk, wise, "wise")["selected"] == len(ids)
    becomes(desk, "len(reliability.selection)", len(ids))
    expect(explorer.locator(f"{PLOT} .gtitle")).to_contain_text("selected image")
    for alpha in (0.25, 0.9):
        type_alpha(desk, wise, alpha)
        assert is_right(desk, wise, "wise")["alpha"] == alpha
        until(lambda: check(ids), desk)
    lab.shot(desk, "linked_selection")
    ask(desk, "setattr(reliability, 'selection', [])")
    assert is_right(desk, wise, "wise")["selected"] == 0
    expect(explorer.locator(f"{PLOT} .gtitle")).not_to_contain_text("selected image")
    until(lambda: check(None), desk)


def readouts(page) -> list[str]:
    """What both linked sliders and both pictures say of alpha."""
    found = []
    for number in (WISE, RELIABILITY):
        found.append(cell(page, number).locator(NUMBER).input_value())
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
            type_alpha(desk, cell(desk, number), alpha)
            stand_at(desk, alpha)
    becomes(desk, "[wise.alpha, reliability.alpha]", [0.85, 0.85])


def test_linked_sliders_do_not_pull_each_other_back(desk):
    """Many quick steps while the kernel answers: where the last one went, both stay."""
    type_alpha(desk, cell(desk, WISE), 0.2)
    press(desk, "ArrowRight", 40)
    stand_at(desk, 0.6)
    becomes(desk, "[round(wise.alpha, 2), round(reliability.alpha, 2)]", [0.6, 0.6])
    for _ in range(5):
        desk.wait_for_timeout(100)
        stand_at(desk, 0.6)


def test_linked_explorers_follow_a_program(desk):
    assert ask(desk, "setattr(reliability, 'alpha', 0.3) is None")
    stand_at(desk, 0.3)
    assert ask(desk, "[wise.alpha, reliability.alpha]") == [0.3, 0.3]
    assert ask(desk, "setattr(wise, 'alpha', 0.7) is None")
    stand_at(desk, 0.7)


# --- one run --------------------------------------------------------------------------------------------------------


def test_a_run_in_tabs(desk):
    explorer = cell(desk, RUN)
    tab = explorer.get_by_role("tab")
    expect(tab).to_have_text(["WiSE", "classes", "confusions", "calibration", "training"])
    is_right(desk, explorer, "one")
    slider = explorer.locator(SLIDER)

    tab.nth(4).click()
    expect(explorer.locator(f".clipft-view-training {PLOT}")).to_be_visible()
    expect(explorer.locator(".clipft-view-wise")).to_be_hidden()
    tab.nth(3).click()
    expect(explorer.locator(f".clipft-view-reliability {PLOT}")).to_be_visible()
    press(desk, "ArrowLeft")
    expect(tab.nth(2)).to_be_focused()
    confusions = explorer.locator(".clipft-view-confusions")
    expect(confusions).to_be_visible()
    slider.focus()
    press(desk, "Home")
    expect(confusions.locator(".clipft-where")).to_contain_text("at alpha 0.00")
    every = confusions.get_by_role("button", name="show all")
    if every.is_visible():
        every.click()
    becomes(desk, "[one.alpha]", [0])
    wanted = ask(desk, "[[*row[:2], str(row[2])] for row in pairs_of(one.sweep)]")
    found = lab.rows(confusions)
    assert sorted([row[0], row[1], row[2]] for row in found) == sorted(wanted)
    assert all(row[2] == row[3] and row[4] == "0" for row in found)  # zero-shot is here

    tab.nth(1).click()
    classes = explorer.locator(".clipft-view-classes")
    slider.focus()
    press(desk, "End")
    becomes(desk, "one.alpha", 1)
    line = classes.locator("tbody tr").first
    name, images, _, now, *_ = line.locator("td").all_inner_texts()
    line.focus()
    press(desk, "Enter")
    own = f"[i for i, c, n in zip(sweep.ids.tolist(), sweep.label, sweep.split_number) if n >= 0 and sweep.name_of(c) == {name!r}]"
    wanted = ask(desk, f"sorted({own})")
    becomes(desk, "sorted(one.selection)", wanted)
    assert len(wanted) == int(images)
    expect(classes.locator("tr[aria-selected=true]")).to_have_count(1)
    selected = explorer.locator(".clipft-view-selected")
    expect(selected.locator("h4")).to_contain_text(f"{images} images of")
    most_moved = [row[1] for row in ask(desk, "selected_rows(one)")]
    assert lab.titles(explorer, ".clipft-view-selected") == most_moved[:TILES]

    tab.nth(0).click()
    facts = is_right(desk, explorer, "one")
    assert facts["selected"] == int(images)
    right = sum(row[1] * row[2] for row in facts["table"]) / int(images)
    assert right == pytest.approx(float(now), abs=0.0501)
    selected.get_by_role("button", name="clear").click()
    becomes(desk, "[one.selection]", [[]])
    assert is_right(desk, explorer, "one")["selected"] == 0
