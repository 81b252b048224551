"""What pages compute in JavaScript, against Python: the same numbers from the same arrays.

The answers of `boards` go into one blank page as a kernel gives them, and are read there by
sweep.js, runs.js and the others.
"""

import base64
import csv
import hashlib
import io
import itertools
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from test_sweep import toy_sweep
from test_table import fake

from clipft.boards import scripts
from clipft.boards.desk import key_of
from clipft.boards.run_table import runs_answer
from clipft.boards.sweeps import Sweeps
from clipft.figures.energy_map import CLASS_LOOKS, SCALE
from clipft.figures.style import OTHER_COLOURS, SYMBOLS
from clipft.metrics.calibration import ece, reliability
from clipft.runs.confusion import confusion_table
from clipft.runs.names import title_of

from . import lab

NAMES = (
    "Sweep, arrayOf, keyOf, largestFirst, csv, csvCell, Findable, queryWords, general,"
    "MAP_COLOURS, MAP_SCALE, MAP_SYMBOLS, MAP_GROUPS"
)
TAKE = """([json, kinds, arrays]) => {
    const typed = {};
    for (const [name, text] of Object.entries(arrays)) {
        typed[name] = arrayOf(kinds[name], Uint8Array.from(atob(text), (c) => c.charCodeAt(0)));
    }
    globalThis.sweep = new Sweep({...json, arrays: typed});
    return sweep.count;
}"""
ALPHA = (0.0, 0.2, 0.25, 0.425, 0.6, 0.87, 1.0)  # some scored, one half way between two


@pytest.fixture(scope="module")
def page(browser):
    with lab.page(browser, ("about:",)) as view:
        view.goto("about:blank")
        # A script's own classes are not those of the page.
        view.add_script_tag(content=f"{scripts.script()}\nObject.assign(globalThis, {{{NAMES}}});")
        yield view
    assert view.outside == []
    assert view.errors == []


class Toy:
    """A sweep in the page, and the same rows here, as the page got them."""

    def __init__(self, page, sweep):
        answer = Sweeps.of([sweep]).scores({"run": "sweep-0"})
        packed = {name: base64.b64encode(raw).decode() for name, raw in answer.buffers().items()}
        self.page = page
        self.sweep = sweep
        self.tests = np.flatnonzero(sweep.split_number >= 0)
        self.count = page.evaluate(TAKE, [answer.json, answer.kinds, packed])
        assert self.count == len(self.tests)
        steps = answer.arrays["confidence"].astype(float) / 65535
        self.confidence = steps.astype(np.float32).astype(float)

    def __call__(self, script, rows=None, **more):
        """What a script makes of `sweep` and rows."""
        told = {"rows": None if rows is None else [int(row) for row in rows], **more}
        return self.page.evaluate(
            f"(told) => {{ const {{{', '.join(told)}}} = told; return {script}; }}", told
        )

    def here(self, name, rows):
        """An array of the sweep at these rows of the page."""
        return getattr(self.sweep, name)[..., self.tests[rows]]


def toys(page):
    """Sweeps of several shapes, each with all rows and random parts of them."""
    shapes = (
        {"n": 40},
        {"n": 25, "classes": 2, "gap": False},
        {"n": 1, "classes": 1},
        {
            "n": 60,
            "alphas": (0.0, 0.1, 0.35, 0.8, 1.0),
            "splits": ("real/test", "art/val", "art/test"),
        },
    )
    for seed, shape in enumerate(shapes):
        sweep = toy_sweep(seed, **shape)
        if seed == 0:  # both ends, and edges of bins
            confidence = sweep.confidence.copy()
            confidence[:, :30] = np.arange(30) / 29
            sweep = replace(sweep, confidence=confidence)
        toy = Toy(page, sweep)
        rng = np.random.default_rng(seed)
        parts = [np.arange(toy.count)]
        for size in (1, toy.count // 2, toy.count):
            parts.append(np.sort(rng.choice(toy.count, max(1, size), replace=False)))
        for rows in parts:
            yield toy, rows


def test_nearest_is_that_of_python(page):
    for toy, _ in toys(page):
        every = [*np.linspace(0, 1, 41).tolist(), *ALPHA]
        found = toy("alphas.map((alpha) => sweep.nearest(alpha))", alphas=every)
        assert found == [toy.sweep.nearest(alpha) for alpha in every]


def test_accuracy_is_a_mean(page):
    for toy, rows in toys(page):
        found = toy("[...sweep.alphas.keys()].map((place) => sweep.accuracy(place, rows))", rows)
        right = toy.here("prediction", rows) == toy.here("label", rows)
        np.testing.assert_allclose(found, right.mean(1))
    assert toy("Number.isNaN(sweep.accuracy(0, []))")


def test_rows_go_to_their_splits_and_ids(page):
    for toy, rows in toys(page):
        found = toy("sweep.bySplit(rows)", rows)
        for split, own in zip(toy.sweep.splits, found, strict=True):
            wanted = [row for row in rows if toy.sweep.split[toy.tests[row]] == split]
            assert own == wanted
        ids = toy.here("ids", rows).tolist()
        assert toy("ids.map((id) => sweep.rowOf.get(id))", ids=ids) == rows.tolist()


def test_an_image_of_two_splits_is_found_in_the_first(page):
    sweep = toy_sweep(n=3)
    toy = Toy(page, replace(sweep, ids=np.array(["a", "b", "c"] * 4)))
    assert toy("['a', 'b', 'c'].map((id) => sweep.rowOf.get(id))") == [0, 1, 2]


def test_between_is_on_the_line(page):
    for toy, _ in toys(page):
        for column, values in enumerate(toy.sweep.accuracy.T.tolist()):
            found = toy(
                "alphas.map((alpha) => sweep.between(values, alpha))", alphas=ALPHA, values=values
            )
            wanted = [toy.sweep.accuracy_at(alpha)[column] for alpha in ALPHA]
            np.testing.assert_allclose(found, wanted, atol=1e-12)
            np.testing.assert_allclose(found, np.interp(ALPHA, toy.sweep.alphas, values))


def test_flips_are_those_of_the_sweep(page):
    for toy, rows in toys(page):
        for alpha, against in itertools.product(ALPHA, (0, 1)):
            found = toy("sweep.flips(alpha, against, rows)", rows, alpha=alpha, against=against)
            for kind, wanted in toy.sweep.flips(alpha, against).items():
                assert toy.tests[found[kind]].tolist() == sorted(set(wanted) & {*toy.tests[rows]})


def test_classes_are_means_of_pandas(page):
    for toy, rows in toys(page):
        sweep = toy.sweep
        for alpha in ALPHA:
            found = pd.DataFrame(toy("sweep.byClass(alpha, rows)", rows, alpha=alpha))
            found = found.set_index("label").sort_index()
            label = toy.here("label", rows)
            start, now = (
                toy.here("prediction", rows)[i] == label for i in (0, sweep.nearest(alpha))
            )
            told = {"label": label, "before": start, "now": now}
            gap = None if sweep.energy_gap is None else toy.here("energy_gap", rows)[-1]
            grouped = pd.DataFrame(told | {"gap": np.nan if gap is None else gap}).groupby("label")
            wanted = grouped.mean()
            assert found.images.tolist() == grouped.size().tolist()
            for column in ("before", "now", "gap"):
                np.testing.assert_allclose(found[column].astype(float), wanted[column], rtol=1e-6)
            np.testing.assert_allclose(found.change, wanted.now - wanted.before, atol=1e-12)
            assert found.name.tolist() == [sweep.name_of(label) for label in wanted.index]


def test_confusions_are_those_of_the_table(page):
    for toy, rows in toys(page):
        kept = toy.tests[rows]
        arrays = {name: getattr(toy.sweep, name)[kept] for name in ("split", "ids", "label")}
        both = {name: getattr(toy.sweep, name)[:, kept] for name in ("prediction", "confidence")}
        part = replace(toy.sweep, **arrays, **both, energy_gap=None)
        for alpha in ALPHA:
            found = toy("sweep.confusions(alpha, rows)", rows, alpha=alpha)
            table = confusion_table(part, alpha=alpha)
            wanted = set(
                table[["class", "taken for", "zero_shot", "here", "change"]].itertuples(
                    index=False, name=None
                )
            )
            pairs = [
                (one["name"], one["takenFor"], one["before"], one["now"], one["change"])
                for one in found
            ]
            assert set(pairs) == wanted and len(pairs) == len(wanted)


def test_reliability_and_ece_are_those_of_metrics(page):
    for toy, rows in toys(page):
        for place, bins in itertools.product(range(len(toy.sweep.alphas)), (4, 15)):
            confidence = toy.confidence[place, rows]
            right = toy.here("prediction", rows)[place] == toy.here("label", rows)
            wanted = reliability(confidence, right, bins)
            found = pd.DataFrame(
                toy("sweep.reliability(place, rows, bins)", rows, place=place, bins=bins)
            )
            assert found.images.tolist() == wanted.count.tolist()
            for column in ("confidence", "accuracy"):
                np.testing.assert_allclose(found[column].astype(float), getattr(wanted, column))
            error = toy("sweep.ece(place, rows, bins)", rows, place=place, bins=bins)
            assert error == pytest.approx(ece(confidence, right, bins))
            # As near to that of the run's own confidences as a page shows it.
            own = toy.here("confidence", rows)[place]
            if bins == 15 and len(rows) > 100:
                assert error == pytest.approx(ece(own, right), abs=5e-4)


# names of questions

HOSTILE = [
    "",
    "plain",
    "é ü ß 漢字 🦊",
    "\u2028\u2029\x7f\x80\xa0\ufeff",
    "\x00\x01\x08\t\n\x0b\x0c\r\x1f",
    "\"'\\/</script><!--",
    "${a} {{b}} %s",
    "__proto__",
    "constructor",
]


def test_a_question_has_one_name_in_both_languages(page):
    questions = [{"what": "sweep", "run": text} for text in HOSTILE]
    questions += [
        {"what": "figure", "name": "gap", "methods": HOSTILE, "b": True, "a": None, "n": 3}
    ]
    questions += [
        {"z": {text: [text], "a": {"c": 1, "b": []}}} for text in HOSTILE if text != "__proto__"
    ]
    for question in questions:
        text = json.dumps(question)
        assert page.evaluate("(text) => keyOf(JSON.parse(text))", text) == key_of(question)
    assert len({key_of(question) for question in questions}) == len(questions)


NUMBERS = [
    1.0,
    0.5,
    1e-5,
    1e-6,
    1e-7,
    1.5e-7,
    3e-4,
    1e21,
    1.25e22,
    1e20,
    0.1 + 0.2,
    1 / 3,
    -0.0,
    -2.5,
]
NUMBERS += [
    -1e-5,
    5e-324,
    1.7976931348623157e308,
    0,
    1,
    -3,
    100,
    2**53,
    2**70,
    1.2345678901234567e20,
]


def test_a_number_in_a_question_has_one_name_in_both_languages(page):
    """Python writes 1.0 and 1e-05 where a page writes 1 and 0.00001."""
    rng = np.random.default_rng(0)
    drawn = rng.normal(size=300) * 10.0 ** rng.integers(-30, 30, 300)
    key_in_page = "(text) => keyOf(JSON.parse(text))"
    for number in [*NUMBERS, *drawn.tolist(), *np.linspace(0, 1, 101).tolist()]:
        question = {"what": "exact", "alpha": number, "of": [number, {"lr": number}]}
        assert page.evaluate(key_in_page, json.dumps(question)) == key_of(question), number
    for one, other in ((1, 1.0), (0, -0.0), (1e21, 10**21)):
        assert key_of({"alpha": one}) == key_of({"alpha": other})
    truths = {"what": "runs", "again": True, "of": [False, None]}
    found = page.evaluate(key_in_page, json.dumps(truths))
    assert found == key_of(truths) and json.loads(found) == truths


# orders


@pytest.mark.parametrize("kind", ["Float32Array", "Float64Array", "Array"])
def test_the_largest_go_first_as_numpy_sorts_them(page, kind):
    """Of equals the lowest row; what is not a number counts as nothing."""
    rng = np.random.default_rng(1)
    for count, digits in ((1, 3), (50, 1), (3000, 2), (3000, 6)):
        values = rng.gamma(1.0, 3.0, count).round(digits).astype(np.float32)
        values[rng.random(count) < 0.1] = np.nan
        values[rng.random(count) < 0.1] = 0
        for rows in (np.arange(count), rng.permutation(count)[: max(1, count // 3)]):
            told = [rows.tolist(), values.astype(float).tolist()]
            script = (
                f"([rows, values]) => largestFirst(Uint32Array.from(rows), {kind}.from(values))"
            )
            worth = np.nan_to_num(values[rows])
            assert page.evaluate(script, told) == rows[np.lexsort((rows, -worth))].tolist()


def test_without_values_there_is_no_order_to_change(page):
    assert page.evaluate("largestFirst([3, 1, 2], null)") == [3, 1, 2]
    assert page.evaluate("largestFirst([3, 1, 2], [NaN, NaN, NaN, NaN])") == [1, 2, 3]
    assert page.evaluate("largestFirst([], [1])") == []


# files


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("plain", "plain"), ("", ""), ("é 漢字", "é 漢字"), ("a b", "a b"), ("a'b", "a'b"),
        ("a,b", '"a,b"'), ('a"b', '"a""b"'), ("a\nb", '"a\nb"'), ("a\rb", '"a\rb"'),
        ('"', '""""'),
        # What a table's program would compute is told as a text,
        ("=1+1", "'=1+1"), ("@SUM(A1)", "'@SUM(A1)"), ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-cmd", "'-cmd"), ("\t=1", "'\t=1"), ("\r=1", '"\'\r=1"'),
        ('=HYPERLINK("x","y")', '"\'=HYPERLINK(""x"",""y"")"'),
        # a number is a number, however it is written.
        (-1.5, "-1.5"), (0.25, "0.25"), (3, "3"), ("-1.5", "-1.5"), ("+2.0 %", "+2.0 %"),
        ("-1e-05", "-1e-05"), ("+1.0 [-0.5, +2.5]", '"+1.0 [-0.5, +2.5]"'), ("a=b", "a=b"),
        ("-0.3 ± 0.1", "-0.3 ± 0.1"), ("a-b", "a-b"),
    ],
)  # fmt: skip
def test_a_cell_of_a_file_is_a_text_or_a_number(page, value, cell):
    assert page.evaluate("(value) => csvCell(value)", value) == cell


def test_a_file_of_cells_is_read_again_as_it_was(page):
    rows = [["id", "class", "gap"], ['a,"b"\n.png', "é", 1.5], ["", "x\r\ny", -2]]
    text = page.evaluate("(rows) => csv(rows)", rows)
    found = list(csv.reader(io.StringIO(text, newline="")))
    assert found == [[str(cell) for cell in row] for row in rows]


# looks


def test_colours_and_symbols_are_those_of_the_figures(page):
    assert page.evaluate("() => MAP_COLOURS") == list(OTHER_COLOURS)
    assert page.evaluate("() => MAP_SCALE") == list(SCALE)
    assert page.evaluate("() => MAP_SYMBOLS") == list(SYMBOLS)


def test_a_class_has_one_look_in_both(page):
    toy = Toy(page, toy_sweep(n=30))
    rows = np.arange(toy.count)
    found = toy("MAP_GROUPS.class(sweep, rows)", rows)
    of = list(found["of"].values()) if isinstance(found["of"], dict) else found["of"]
    for row, number in zip(rows, of, strict=True):
        label = toy.sweep.label[toy.tests[row]]
        group = found["groups"][number]
        look = CLASS_LOOKS[label]
        assert (group["title"], group["colour"], group["symbol"]) == (
            toy.sweep.name_of(label), look.colour, look.symbol
        )  # fmt: skip


def test_gaps_are_coloured_by_their_quantiles(page):
    toy = Toy(page, toy_sweep(n=40))
    rows = np.arange(toy.count)
    of = np.array(toy("[...MAP_GROUPS.gap(sweep, rows).of]", rows))
    gap = toy.here("energy_gap", rows)[-1]
    assert np.bincount(of).tolist() == [20] * 6
    assert all(gap[of == k].max() < gap[of == k + 1].min() for k in range(5))


def test_flips_are_told_by_right_and_wrong(page):
    toy = Toy(page, toy_sweep(n=40))
    rows = np.arange(toy.count)
    for place, against in itertools.product(range(4), (0, 3)):
        script = "(({groups, of}) => [...of].map((number) => groups[number].title))(MAP_GROUPS.flip(sweep, rows, place, against))"
        found = toy(script, rows, place=place, against=against)
        right = toy.here("prediction", rows) == toy.here("label", rows)
        words = {(1, 1): "right in both", (0, 0): "wrong in both", (1, 0): "gained", (0, 1): "lost"}
        assert found == [
            words[int(a), int(b)] for a, b in zip(right[place], right[against], strict=True)
        ]


def test_confidences_are_told_in_sixths(page):
    toy = Toy(page, toy_sweep(n=40))
    rows = np.arange(toy.count)
    of = toy("[...MAP_GROUPS.confidence(sweep, rows, 2).of]", rows)
    assert of == np.minimum(5, np.floor(6 * toy.confidence[2])).astype(int).tolist()


# the filter of runs

RECIPES = [("ft", 1e-3), ("ft", 3e-4), ("lipsum", 1e-3), ("flyp", 1e-5), ("ft+tpgm", 1e-3)]
FITTING = """([answer, query]) => answer.findable.filter(({run, names, settings}) =>
    new Findable(run, names, {...answer.common, ...settings}).fits(queryWords(query))).map(({run}) => run)"""


def fitting(page, answer, query):
    return set(page.evaluate(FITTING, [json.loads(json.dumps(answer)), query]))


@pytest.mark.parametrize(
    ("query", "method", "lr", "seed"),
    [
        ("Lipsum-FT", "lipsum", None, None),
        ("lipsum lr=0.001", "lipsum", 1e-3, None),
        ("LIPSUM 0.001", "lipsum", 1e-3, None),
        ("lr 0.001", None, 1e-3, None),
        ("lr = 1e-3", None, 1e-3, None),
        ("1E-03", None, 1e-3, None),
        ("lr .0003", None, 3e-4, None),
        ("0.00001", "flyp", 1e-5, None),
        ("seed 1", None, None, 1),
        ("seed=0 method=FLYP", "flyp", None, 0),
        ("TPGM, seed 1", "ft+tpgm", None, 1),
        ("FT + TPGM", "ft+tpgm", None, None),
        ("100 steps, seed 1", None, None, 1),
        ("steps 100.0", None, None, None),
        ("lr 0.01", "none", None, None),
        ("seed 10", "none", None, None),
        ("dropout=0.1", "none", None, None),
        ("nothing of that name", "none", None, None),
        ("", None, None, None),
    ],
)  # fmt: skip
def test_words_and_numbers_find_what_they_say(page, query, method, lr, seed):
    table = fake(recipes=RECIPES)
    wanted = set()
    for run in table.drop_duplicates("run").itertuples():
        if method in (None, run.method) and lr in (None, run.lr) and seed in (None, run.seed):
            wanted.add(run.run)
    assert fitting(page, runs_answer(table), query) == wanted
    assert (method == "none") == (not wanted)


def test_ft_is_the_method_of_that_name_alone(page):
    table = fake(recipes=RECIPES)
    found = fitting(page, runs_answer(table), "ft")
    assert set(table[table.run.isin(found)].method) == {"ft", "ft+tpgm"}


def test_a_run_is_found_by_what_pictures_call_it(page):
    """Whole, in capitals, or any part of it."""
    table = fake(recipes=RECIPES)
    table["run"] = [hashlib.sha256(run.encode()).hexdigest()[:12] for run in table.run]
    answer = runs_answer(table)
    for run in table.drop_duplicates("run").itertuples():
        parts = [title_of(run.method), f"lr {run.lr:g}", f"{run.steps} steps", f"seed {run.seed}"]
        whole = ", ".join([*parts, f"run {run.run}"])
        for query in (
            whole,
            whole.upper(),
            f"{', '.join(parts)} ({run.run})",
            run.run,
            run.run[:5],
        ):
            assert fitting(page, answer, query) == {run.run}, query
        for count in range(1, len(parts) + 1):
            for some in itertools.combinations(parts, count):
                assert run.run in fitting(page, answer, " ".join(some)), some


def test_any_setting_names_and_tags_are_found(page):
    table = fake(recipes=[("ft", 1e-3)], seeds=(0, 1)).assign(name="", tags="")
    one, other = table.run.unique()
    table.loc[table.run == one, ["name", "tags"]] = ["my-run", "good new"]
    settings = {
        one: {"batch_size": 8, "flip": True, "lam": None, "crop": [0.5, 1]},
        other: {"batch_size": 16, "flip": False, "lam": 2.0, "crop": [0.5, 1]},
    }
    answer = runs_answer(table, settings)
    for query in ("my-run", "tags=good", "TAGS=new ft", "good", "name=my", "batch_size=8", "batch_size = 8.0",
                  "flip=true", "lam=none", "Flip = True seed=0"):  # fmt: skip
        assert fitting(page, answer, query) == {one}, query
    for query in ("lam=2", "batch_size=16 flip=false"):
        assert fitting(page, answer, query) == {other}, query
    for query in ("tags=goo", "batch_size=80", "flip=maybe", "constructor=1", "tostring="):
        assert fitting(page, answer, query) == set(), query


@pytest.mark.parametrize("id_", ["5f95aa", "123456", "1e-3ab"])
def test_an_id_is_found_by_its_first_letters(page, id_):
    found = "([id, query]) => new Findable(id, ['ft'], {lr: 0.1, steps: 9, seed: 0}).fits(queryWords(query))"
    assert page.evaluate(found, [id_, id_]) and page.evaluate(found, [id_, f"run {id_[:4]}"])
    assert not page.evaluate(found, [id_, id_[1:]])
    assert not page.evaluate(found, ["123456", "123"]), "a short number is a setting's"


def test_numbers_look_as_on_pictures(page):
    for value in (
        0,
        1,
        0.5,
        1e-5,
        3e-4,
        1e-4,
        123456,
        1e6,
        1234567,
        0.1 + 0.2,
        1e-10,
        2.5e8,
        -0.003,
        100,
    ):
        assert page.evaluate("(value) => general(value)", value) == f"{value:g}"
