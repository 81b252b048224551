"""What all explorers share: answers that are JSON, a static twin, a place in the page, an end."""

import gc
import json
import shutil
import weakref
from pathlib import Path
from types import SimpleNamespace

import pytest
import traitlets
from conftest import CLASSES
from explorers import NAMES, distortions, energy_map, explorers
from looking import asked, drawn, moves, refuse, unpacked, values
from test_sweep import toy_sweep

pytest.importorskip("anywidget")

import IPython
from ipywidgets.widgets import widget as living

from clipft.boards.desk import key_of
from clipft.boards.page import BOARD
from clipft.errors import ClipftError, ConfigError, RunError, StorageError
from clipft.figures.pages import FIGURE
from clipft.runs.folder import THUMBNAILS
from clipft.runs.run import read_sweep
from clipft.runs.table import results as results_
from clipft.widgets import base
from clipft.widgets.calibration import ReliabilityExplorer
from clipft.widgets.classes import ClassExplorer
from clipft.widgets.distortion import DistortionExplorer
from clipft.widgets.energy_gap import EnergyGapExplorer
from clipft.widgets.energy_map import EnergyMapExplorer
from clipft.widgets.form import FineTuneForm
from clipft.widgets.run_browser import RunBrowser
from clipft.widgets.view import FigureView
from clipft.widgets.wise import WiseExplorer


@pytest.fixture(autouse=True)
def live(monkeypatch):
    monkeypatch.delenv("CLIPFT_HEADLESS", raising=False)


@pytest.fixture
def results(scored):
    return results_(scored.runs)


@pytest.fixture(params=NAMES)
def explorer(request, at_home, results):
    return explorers(at_home, results)[request.param]()


@pytest.fixture(params=[name for name in NAMES if name != "form"])
def board(request, at_home, results):
    """An explorer that draws itself in the page."""
    return explorers(at_home, results)[request.param]()


@pytest.fixture
def displayed(monkeypatch):
    """What is displayed, in order."""
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    return shown


def test_answers_are_plain_json_and_move_at_every_alpha(board):
    pictures = 0
    for question in board.board.desk.saved():
        answer = board.board.desk.answer(question)
        json.dumps(answer.json, allow_nan=False)
        assert answer.buffers().keys() == answer.kinds.keys()
        if question["what"] != "figure":
            continue
        pictures += 1
        assert drawn(answer)["data"]
        for move in moves(answer).get("traces", ()):
            lengths = {len(table) for table in move["keys"].values()}
            assert lengths == {len(moves(answer)["t"])}
        for trace in drawn(answer)["data"]:
            numbers = (trace.get("meta") or {}).get("id")
            if isinstance(numbers, list):
                assert len(numbers) == len(values(trace["x"]))
    assert pictures or isinstance(board, ClassExplorer | EnergyMapExplorer)


def test_what_a_page_asks_first_came_along(board):
    for question in board.board.first:
        answer = board.board.desk.answer(question)
        told = {"json": answer.json, "kinds": answer.kinds, "arrays": answer.buffers()}
        assert board.given[key_of(question)] == told
    assert len(board.given) == len(board.board.first) > 0


def test_all_of_a_boards_traits_are_its_state(board):
    known = board.board.known_runs
    for name, value in board.board.state.items():
        if board.has_trait(name):
            assert getattr(board, name) == value
            assert board.trait_metadata(name, "sync")
    assert not known or board.board.state.get("run", "") in known


def test_a_page_that_asks_is_answered(board, monkeypatch):
    sent = []
    monkeypatch.setattr(board, "send", lambda *message: sent.append(message))
    for number, question in enumerate([*board.board.first, {"what": "no such thing"}]):
        board._handle_custom_msg({"ask": number, "question": dict(question)}, [])
    *answers, (failed,) = sent
    for number, (question, (said, buffers)) in enumerate(
        zip(board.board.first, answers, strict=True)
    ):
        want = board.board.desk.answer(question)
        assert said == {"answer": number, "json": want.json, "kinds": want.kinds}
        assert buffers == list(want.buffers().values())
    assert failed == {"answer": len(answers), "error": "nobody here knows 'no such thing'"}


def test_a_page_hears_of_an_error_that_nobody_thought_of(monkeypatch):
    """It would wait for ever; the kernel's log has the traceback."""
    explorer = WiseExplorer(toy_sweep())
    sent = []
    monkeypatch.setattr(explorer, "send", sent.append)
    explorer.board.desk.teach("broken", lambda question: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        explorer._asked(explorer, {"ask": 4, "question": {"what": "broken"}}, [])
    assert sent == [{"answer": 4, "error": "ZeroDivisionError: division by zero"}]


def test_an_output_is_a_figure_and_a_text_below_a_place_for_the_widget(
    explorer, displayed, monkeypatch
):
    """Not the widget itself: a saved notebook would show an error in its stead."""
    found = explorer._repr_mimebundle_(include=None, exclude=None)
    assert found.keys() == {FIGURE, "text/plain"}
    assert found["text/plain"].startswith(f"{type(explorer).__name__}(")
    assert found[FIGURE]["config"]["showSendToCloud"] is False
    assert found[FIGURE]["config"]["displaylogo"] is False
    (place,) = displayed
    assert place.data == f"<div class='{explorer.stage.place}'></div>"
    assert explorer.stage.child is (explorer.widget or explorer)

    monkeypatch.setenv("CLIPFT_HEADLESS", "1")
    found = explorer._repr_mimebundle_()
    needs_a_kernel = isinstance(explorer, FineTuneForm | FigureView)
    assert found.keys() == {FIGURE, "text/plain"} | (set() if needs_a_kernel else {BOARD})
    if not needs_a_kernel:
        assert found[BOARD] == json.loads(json.dumps(explorer.record()))
    assert len(displayed) == 1


def test_twins_hold_no_nan(explorer):
    json.loads(explorer.figure().to_json(), parse_constant=refuse)


def test_a_saved_page_can_begin(board):
    """All that a page asks at once lies in it."""
    record = board.record()
    if record is None:
        assert isinstance(board, FigureView)
        return
    assert record["left_out"] == 0
    for question in board.board.first:
        if question["what"] != "library":
            want = board.board.desk.answer(question)
            found, arrays = unpacked(record, key_of(question))
            assert found == json.loads(json.dumps(want.json))
            assert arrays == want.buffers()


def test_a_closed_explorer_leaves_no_widget_behind(at_home, results, displayed):
    base.Library.shared()
    before = set(living._instances)
    for name, make in explorers(at_home, results).items():
        explorer = make()
        explorer._repr_mimebundle_()
        assert set(living._instances) > before, name
        explorer.close()
        assert set(living._instances) == before, name
        assert repr(explorer).startswith(f"{type(explorer).__name__}(")
    assert displayed


def test_a_closed_explorer_holds_no_scores_in_memory():
    """IPython's `Out` keeps the explorer itself."""
    explorer = WiseExplorer(toy_sweep())
    held = weakref.ref(explorer.sweep), weakref.ref(explorer.board)
    gc.collect()
    assert all(one() is not None for one in held)
    explorer.close()
    gc.collect()
    assert [one() for one in held] == [None, None]
    assert explorer.given == {}


@pytest.fixture
def cell(monkeypatch):
    """A cell that runs, as JupyterLab tells it: `cell("a")` is another execution of cell a."""
    count = iter(range(99))
    shell = SimpleNamespace(user_ns={})
    kernel = SimpleNamespace(shell=shell, get_parent=None)
    monkeypatch.setattr(IPython, "get_ipython", lambda: SimpleNamespace(kernel=kernel))
    monkeypatch.setattr(base, "shown", base.Shown())

    def run(name):
        request = {"metadata": {"cellId": name}, "header": {"msg_id": str(next(count))}}
        kernel.get_parent = lambda: request
        return shell.user_ns

    return run


def is_open(explorer):
    return "board" in vars(explorer)


def shown_in(explorer):
    explorer._repr_mimebundle_()
    return explorer


def test_what_a_cell_showed_is_closed_when_it_runs_again(cell, displayed):
    cell("a")
    first, second = shown_in(WiseExplorer(toy_sweep())), shown_in(WiseExplorer(toy_sweep()))
    cell("b")
    other = shown_in(WiseExplorer(toy_sweep()))
    assert all(map(is_open, (first, second, other)))
    cell("a")
    third = shown_in(WiseExplorer(toy_sweep()))
    assert [is_open(one) for one in (first, second, other, third)] == [False, False, True, True]
    assert len(displayed) == 4


def test_what_is_shown_elsewhere_or_has_a_name_stays_open(cell, displayed):
    twice, named, again = (WiseExplorer(toy_sweep()) for _ in range(3))
    cell("a")
    for explorer in (twice, named, again):
        shown_in(explorer)
    cell("b")
    shown_in(twice)
    cell("a")["wise"] = named
    shown_in(again)
    assert is_open(twice) and is_open(named) and is_open(again) and displayed


def test_an_explorer_is_saved_where_a_folder_is_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    explorer = WiseExplorer(toy_sweep())
    explorer.save("", "wise")
    assert list(tmp_path.iterdir()) == []
    explorer.save("out", "wise", "a caption")
    assert sorted(file.name for file in Path("out").iterdir()) == ["wise.html", "wise.json"]
    kept = json.loads(Path("out/wise.json").read_text())
    assert kept["figure"] == json.loads(explorer.figure().to_json())
    assert kept["caption"] == "a caption"
    assert kept["board"] == json.loads(json.dumps(explorer.record()))


def test_a_saved_page_begins_as_the_explorer_is_now():
    explorer = WiseExplorer([toy_sweep(), toy_sweep(1)], 0.25)
    explorer.alpha = 0.5
    explorer.run = "sweep-1"
    explorer.kind = "gained"
    state = explorer.record()["state"]
    assert (state["alpha"], state["run"], state["kind"]) == (0.5, "sweep-1", "gained")


def test_export_writes_one_page_called_as_its_picture(tmp_path):
    explorer = WiseExplorer(toy_sweep(), 0.25)
    file = explorer.export(tmp_path / "page.html")
    assert file == tmp_path / "page.html" and list(tmp_path.iterdir()) == [file]
    first = explorer.figure().layout.title.text.partition("<br>")[0]
    assert f"<h1>{first}</h1>" in file.read_text()
    with pytest.raises(StorageError):
        explorer.export(tmp_path / "page.html" / "below a file.html")


def test_a_figure_with_a_slider_is_shown_with_the_pages_own(displayed):
    figure = WiseExplorer(toy_sweep(), 0.25).figure()
    view = FigureView(figure)
    picture = asked(view, "figure figure")
    assert view.alpha == 0.25 and view.board.bar
    assert not drawn(picture)["layout"].get("sliders") and moves(picture)["t"] == [0, 0.25, 0.6, 1]
    assert view.figure() is figure and figure.layout.sliders
    assert repr(view) == "FigureView(alpha=0.25)" and not displayed


def test_a_figure_without_a_slider_has_no_alpha():
    view = FigureView(DistortionExplorer(distortions()).figure())
    assert repr(view) == "FigureView()" and not view.board.bar


@pytest.mark.parametrize("alpha", [-0.1, 1.5])
def test_an_alpha_outside_0_and_1_is_refused(alpha):
    for make in (WiseExplorer, ReliabilityExplorer, ClassExplorer):
        with pytest.raises((traitlets.TraitError, ConfigError)):
            make(toy_sweep(), alpha)
        explorer = make(toy_sweep(), 0.4)
        with pytest.raises((traitlets.TraitError, ConfigError)):
            explorer.alpha = alpha
        assert explorer.alpha == 0.4


@pytest.mark.parametrize("given", [[], "runs/ID", [toy_sweep(), "runs/ID"], None, 3, [3], {}])
@pytest.mark.parametrize(
    "make", [WiseExplorer, EnergyGapExplorer, RunBrowser, ReliabilityExplorer, DistortionExplorer]
)
def test_an_explorer_of_what_is_no_run_is_one_line(make, given):
    with pytest.raises(RunError, match=r"no run|no finished run|no scored run") as caught:
        make(given)
    assert "\n" not in str(caught.value)


# a folder of runs alone


@pytest.mark.parametrize("packed", [False, True])
def test_explorers_open_on_a_folder_of_runs_alone(elsewhere, scored, packed):
    if packed:
        shutil.copy(scored.pack, elsewhere / THUMBNAILS)
    table = results_(elsewhere)
    run = scored.scored[1].id
    sweep = read_sweep(elsewhere / run)
    made = [
        WiseExplorer(sweep),
        ReliabilityExplorer(sweep),
        ClassExplorer(sweep),
        EnergyMapExplorer(energy_map(sweep), sweep),
        EnergyGapExplorer(table, elsewhere, run=run),
    ]
    ids = sweep.ids[sweep.rows["sketch/test"]].tolist()
    for explorer in made:
        answer = asked(explorer, "sweep", run=run)
        assert answer.json["classes"] == [name.replace("_", " ") for name in CLASSES]
        if isinstance(explorer, ReliabilityExplorer):  # it shows no images
            continue
        lengths = asked(explorer, "thumbnails", run=run, ids=ids).json["lengths"]
        assert all(lengths) if packed else not any(lengths)
        with pytest.raises(ClipftError, match="no image at hand"):
            asked(explorer, "image", run=run, id=ids[0])
    assert drawn(asked(made[-1], "figure curve", run=run))["data"]
    browser = RunBrowser(table, elsewhere)
    compared = asked(browser, "compare", runs=[one.id for one in scored.scored])
    assert "McNemar" in compared.json["tables"][1]["title"]
    assert scored.begun.name in str(asked(browser, "runs").json["unfinished"])
