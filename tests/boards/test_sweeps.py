"""What a board asks of single runs, against the arrays of their sweeps."""

import io
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from explorers import energy_map
from looking import drawn, moves
from PIL import Image
from test_sweep import toy_sweep

from clipft.boards import sweeps as module
from clipft.boards.desk import Board, Desk, SavedImages, key_of
from clipft.boards.page import record_of
from clipft.boards.sweeps import Sweeps, id_of, map_answers
from clipft.errors import ClipftError, RunError
from clipft.figures.calibration import reliability_slider_figure
from clipft.figures.moves import moves_of
from clipft.figures.wise import sweep_figure
from clipft.runs.run import read_sweep
from clipft.runs.table import results
from clipft.runs.thumbnails import Thumbnails


def ids_of(answer):
    """As sweep.js reads them."""
    return answer.buffers()["ids"].decode().split("\0")


def flat(answer, name, count):
    """An array as a page gets it, a row per alpha."""
    dtype = answer.arrays[name].dtype.newbyteorder("<")
    return np.frombuffer(answer.buffers()[name], dtype).reshape(-1, count)


def test_scores_are_of_test_images_alone_in_the_order_of_the_sweep():
    sweep = toy_sweep(n=20)
    answer = Sweeps.of([sweep]).scores({"run": "sweep-0"})
    tests = [row for row, split in enumerate(sweep.split) if not split.endswith("/val")]
    assert 0 < len(tests) < len(sweep.split)
    about = answer.json
    assert ids_of(answer) == sweep.ids[tests].tolist()
    assert about["splits"] == ["real/test", "clipart/test", "sketch/test"]
    assert about["domains"] == ["real", "clipart", "sketch"]
    assert (about["run"], about["title"], about["classes"]) == (
        "sweep-0",
        "toy",
        list(sweep.classes),
    )
    np.testing.assert_array_equal(about["accuracies"], sweep.accuracy)
    json.dumps(about, allow_nan=False)

    assert answer.kinds == {
        "alphas": "f8", "ids": "u1", "split": "u2", "label": "i4", "prediction": "u2",
        "confidence": "u2", "gap": "f4",
    }  # fmt: skip
    count = len(tests)
    assert flat(answer, "alphas", len(sweep.alphas))[0].tolist() == sweep.alphas.tolist()
    names = [about["splits"][number] for number in flat(answer, "split", count)[0]]
    assert names == sweep.split[tests].tolist()
    np.testing.assert_array_equal(flat(answer, "label", count)[0], sweep.label[tests])
    np.testing.assert_array_equal(flat(answer, "prediction", count), sweep.prediction[:, tests])
    confidence = flat(answer, "confidence", count) / 65535
    np.testing.assert_allclose(confidence, sweep.confidence[:, tests], atol=0.51 / 65535)
    np.testing.assert_allclose(flat(answer, "gap", count)[0], sweep.energy_gap[-1, tests])


def test_ids_of_other_letters_arrive():
    sweep = toy_sweep()
    ids = np.char.add("é 漢字 🦊, \u2028/", sweep.ids)
    answer = Sweeps.of([replace(sweep, ids=ids)]).scores({"run": "sweep-0"})
    assert ids_of(answer) == ids[sweep.split_number >= 0].tolist()


def test_runs_of_a_data_set_have_the_same_bytes_of_it():
    """A saved page then holds them once."""
    one, other = toy_sweep(), toy_sweep(1)
    known = Sweeps.of([one, replace(other, label=one.label)])
    first, second = (known.scores({"run": f"sweep-{number}"}).buffers() for number in range(2))
    same = {name for name in first if first[name] == second[name]}
    assert same == {"alphas", "ids", "split", "label"}


def test_a_run_without_a_gap_has_none():
    answer = Sweeps.of([toy_sweep(gap=False)]).scores({"run": "sweep-0"})
    assert "gap" not in answer.arrays


def test_more_classes_than_two_bytes_hold_take_four():
    sweep = toy_sweep()
    sweep = replace(sweep, prediction=sweep.prediction + 70_000, label=sweep.label + 70_000)
    answer = Sweeps.of([sweep]).scores({"run": "sweep-0"})
    assert answer.kinds["prediction"] == "i4"
    assert answer.arrays["prediction"].min() >= 70_000


def test_an_unknown_run_is_one_line():
    known = Sweeps.of([toy_sweep(), toy_sweep(1)])
    desk = Desk()
    known.teach(desk, {}, "wise", "reliability", "training")
    assert {question["what"] for question in desk.saved()} == {"sweep", "figure"}
    kinds = ("sweep", "thumbnails", "image", "figure wise", "figure reliability", "figure training")
    more = {"run": "sweep-7", "split": "s", "id": "i", "ids": ["i"]}
    for what in kinds:
        kind, _, name = what.partition(" ")
        with pytest.raises(ClipftError, match="unknown run") as caught:
            desk.answer({"what": kind, "name": name} | more)
        assert "\n" not in str(caught.value)


def test_views_without_images_are_given_none():
    desk = Desk()
    Sweeps.of([toy_sweep()]).teach(desk, {}, tiles=False)
    desk.answer({"what": "sweep", "run": "sweep-0"})
    for what in ("thumbnails", "image"):
        with pytest.raises(RunError, match="nobody here knows"):
            desk.answer({"what": what, "run": "sweep-0", "ids": [], "id": ""})


def test_a_saved_page_has_the_run_that_is_shown_and_a_few_others():
    known = Sweeps.of([toy_sweep(number) for number in range(module.BESIDE + 3)])
    desk = Desk()
    state = {"run": "sweep-13"}
    known.teach(desk, state, "wise", "reliability")
    few = [f"sweep-{number}" for number in range(module.BESIDE)]

    def saved(**kind):
        asked = [one for one in desk.saved() if {**one, **kind} == one]
        return list(dict.fromkeys(one["run"] for one in asked))

    for run, wanted in {
        "sweep-13": ["sweep-13", *few],
        "sweep-2": ["sweep-2", *(other for other in few if other != "sweep-2")],
        "": few,
        "nobody": few,
    }.items():
        state["run"] = run  # as it is when the page is saved
        assert known.saved_runs == saved(what="sweep") == wanted
        assert saved(what="figure", name="wise") == saved(name="reliability") == wanted


def test_few_runs_are_in_memory_and_read_again_when_they_are_forgotten():
    sweeps = {f"run-{number}": toy_sweep(number) for number in range(module.KEPT + 1)}
    reads = []

    def read(run):
        reads.append(run)
        return sweeps[run]

    known = Sweeps(dict.fromkeys(sweeps, "title"), read)
    first, *_, last = sweeps
    for run in sweeps:
        known.scores({"run": run})
    known.scores({"run": last})
    assert reads == list(sweeps)
    known.scores({"run": first})
    assert reads == [*sweeps, first]

    sweeps[last] = replace(sweeps[last], title="scored again")
    assert known.scores({"run": last}).json["title"] == "toy"
    known.forget()
    assert known.scores({"run": last}).json["title"] == "scored again"


def test_a_run_is_called_by_its_folder(scored):
    sweep = read_sweep(scored.scored[0].path)
    known = Sweeps.of([toy_sweep(), sweep])
    assert known.runs == [("toy", "sweep-0"), (", ".join(sweep.called), scored.scored[0].id)]
    assert id_of(sweep, 5) == scored.scored[0].id


def test_a_run_that_comes_later_is_known(at_home, tmp_path):
    first, second = (run.path for run in at_home.scored)
    shutil.copytree(first, tmp_path / first.name)
    known = Sweeps.in_folder(tmp_path, results(tmp_path))
    assert [run for _, run in known.runs] == [first.name]
    question = {"run": second.name}
    with pytest.raises(ClipftError, match="unknown run"):
        known.scores(question)
    shutil.copytree(second, tmp_path / second.name)
    assert known.scores(question).json["run"] == second.name


# pictures


def test_pictures_are_those_of_the_figure_functions():
    one, other = toy_sweep(n=20), toy_sweep(3, n=20)
    known = Sweeps.of([one, other], bins=8)
    for answer, figure in (
        (known.wise({"run": "sweep-0"}), sweep_figure(one, one.middle, beside=[other])),
        (
            known.reliability({"run": "sweep-1", "split": "clipart/test"}),
            reliability_slider_figure(other, "clipart/test", other.middle, 8),
        ),
    ):
        still, moved = moves_of(figure)
        assert drawn(answer) == json.loads(still.to_json())
        assert json.loads(json.dumps(moves(answer))) == json.loads(json.dumps(moved))


def test_beside_many_runs_one_stands_alone():
    known = Sweeps.of([toy_sweep(number) for number in range(module.BESIDE + 1)])
    alone = moves_of(sweep_figure(toy_sweep(), toy_sweep().middle))[0]
    assert drawn(known.wise({"run": "sweep-0"})) == json.loads(alone.to_json())


def test_a_sweep_without_a_run_was_not_trained_here():
    answer = Sweeps.of([toy_sweep()]).training({"run": "sweep-0"})
    assert answer.json["figure"] == "" and "came without" in answer.json["said"]["paragraphs"][0]


# all runs


def test_gap_and_correctness_of_each_run():
    sweeps = [toy_sweep(number, n=30) for number in range(3)]
    answer = Sweeps.of(sweeps).every_run({"run": "sweep-1"})
    tests = np.flatnonzero(~np.char.endswith(sweeps[0].split, "/val"))
    about = answer.json
    assert about["runs"] == ["sweep-0", "sweep-1", "sweep-2"] and about["count"] == len(tests)
    gap = flat(answer, "gap", about["count"]) * np.array(about["scales"])[:, None]
    right = flat(answer, "right", about["count"])
    for number, sweep in enumerate(sweeps):
        np.testing.assert_allclose(gap[number], sweep.energy_gap[-1, tests], atol=1e-4)
        wanted = sweep.prediction[-1, tests] == sweep.label[tests]
        np.testing.assert_array_equal(right[number], wanted)


def test_runs_of_other_images_or_without_a_gap_are_left_out():
    one = toy_sweep(n=30)
    renamed = replace(one, ids=np.char.add("other/", one.ids))
    others = [toy_sweep(1, n=30, gap=False), toy_sweep(2, n=29), renamed]
    known = Sweeps.of([one, *others, toy_sweep(4, n=30)])
    assert known.every_run({"run": "sweep-0"}).json["runs"] == ["sweep-0", "sweep-4"]
    with pytest.raises(RunError, match="an ensemble has none"):
        Sweeps.of([toy_sweep(gap=False)]).every_run({"run": "sweep-0"})


def test_a_run_that_is_not_scored_is_left_out(scored):
    run = scored.scored[0].id
    titles = {run: "scored", scored.unscored.name: "not scored"}
    known = Sweeps(titles, lambda run: read_sweep(scored.runs / run))
    assert known.every_run({"run": run}).json["runs"] == [run]


def test_of_a_folders_runs_the_tuned_scores_alone_are_read(scored, monkeypatch):
    runs = [run.id for run in scored.scored]
    known = Sweeps.in_folder(scored.runs, results(scored.runs))
    known.titles[scored.unscored.name] = "not scored"
    reads = []
    monkeypatch.setattr(module, "read_sweep", lambda run: reads.append(run.name) or read_sweep(run))
    answer = known.every_run({"run": runs[1]})
    assert reads == runs[1:]
    about = answer.json
    assert sorted(about["runs"]) == sorted(runs)
    for number, run in enumerate(about["runs"]):
        sweep = read_sweep(scored.runs / run)
        tests = sweep.split_number >= 0
        gap = flat(answer, "gap", about["count"])[number] * about["scales"][number]
        np.testing.assert_allclose(gap, sweep.energy_gap[-1, tests], atol=about["scales"][number])
        wanted = sweep.prediction[-1, tests] == sweep.label[tests]
        assert flat(answer, "right", about["count"])[number].tolist() == wanted.tolist()


def test_a_run_without_scores_of_images_does_not_end_a_saved_page(at_home, tmp_path):
    folder = shutil.copytree(at_home.runs, tmp_path / "runs")
    first, gone = (run.id for run in at_home.scored)
    (folder / gone / "images.parquet").unlink()
    known = Sweeps.in_folder(folder, results(folder))
    assert {run for _, run in known.runs} == {first, gone}
    state = {"run": first}
    board = Board([["wise"]], Desk(), state, known.runs, images=known.saved_images)
    known.teach(board.desk, state, "wise", "reliability")
    record = record_of(board)
    faults = {key for key, answer in record["answers"].items() if "error" in answer}
    asked = [{"what": "sweep"}, {"what": "figure", "name": "wise"}]
    assert faults == {key_of(one | {"run": gone}) for one in asked}
    assert all("no scores of single images" in record["answers"][key]["error"] for key in faults)
    assert record["left_out"] == 0 and all(record["images"].values())
    alone = sweep_figure(read_sweep(folder / first), read_sweep(folder / first).middle)
    assert drawn(known.wise({"run": first})) == json.loads(moves_of(alone)[0].to_json())


def test_no_gap_at_all_is_no_division_by_zero():
    sweep = toy_sweep()
    still = replace(sweep, energy_gap=np.zeros_like(sweep.energy_gap))
    answer = Sweeps.of([still]).every_run({"run": "sweep-0"})
    assert not answer.arrays["gap"].any()


# images


def cut(answer):
    """The images of an answer; None where there is none."""
    lengths, content = answer.json["lengths"], answer.buffers()["bytes"]
    ends = np.cumsum(lengths)
    assert len(content) == sum(lengths)
    return [content[end - size : end] or None for size, end in zip(lengths, ends, strict=True)]


def picture(content):
    return Image.open(io.BytesIO(content))


def test_thumbnails_are_those_of_the_data_set(at_home):
    sweep = at_home.scored[0].sweep()
    known = Sweeps.of([sweep])
    own = Thumbnails(sweep)
    ids = [*sweep.ids[[5, 0, 11]].tolist(), "nowhere.png", "../mini.yaml"]
    images = cut(known.thumbnails({"run": at_home.scored[0].id, "ids": ids}))
    assert images[3:] == [None, None]
    for name, image in zip(ids[:3], images, strict=False):
        assert image == own.bytes_of(name)
        assert picture(image).format == "WEBP"


def test_a_saved_page_has_the_images_of_all_runs_once(at_home, monkeypatch):
    sweeps = [run.sweep() for run in at_home.scored]
    known = Sweeps.of(sweeps)
    saved = known.saved_images()
    assert saved.of == sweeps[0].about["manifest_digest"] != ""
    tests = sweeps[0].split_number >= 0
    assert sorted(saved.by_id) == sorted(sweeps[0].ids[tests].tolist())
    own = Thumbnails(sweeps[0])
    for name, image in saved.by_id.items():
        assert image == own.bytes_of(name) is not None

    whole = sum(map(len, saved.by_id.values()))
    sizes = []
    for part in (0.9, 0.2):
        monkeypatch.setattr(module, "ROOM_OF_IMAGES", int(part * whole))
        few = known.saved_images().by_id
        assert list(few) == list(saved.by_id)[: len(few)]
        for name, small in few.items():
            large = saved.by_id[name]
            assert picture(small).size == picture(large).size and len(small) <= len(large)
        sizes.append(sum(map(len, few.values())))
        assert 0 < sizes[-1] <= part * whole
    assert sizes[0] > sizes[1]


def test_a_saved_page_of_some_images_has_no_others(at_home):
    sweep = at_home.scored[0].sweep()
    some = sweep.ids[sweep.rows["sketch/test"]].tolist()
    hidden = str(sweep.ids[np.char.endswith(sweep.split, "/val")][0])
    known = Sweeps.of([sweep])
    assert sorted(known.saved_images([*some, hidden, "nowhere.png"]).by_id) == sorted(some)
    assert known.saved_images([]).by_id == {}


def test_without_images_at_hand_a_saved_page_has_none():
    assert Sweeps.of([toy_sweep()]).saved_images() == SavedImages("", {})


def test_images_that_flip_and_move_most_go_first(monkeypatch):
    sweep = toy_sweep(n=30)
    monkeypatch.setattr(module.Thumbnails, "bytes_of", lambda own, name: name.encode())
    ids = list(Sweeps.of([sweep]).saved_images().by_id)
    assert sorted(ids) == sorted(sweep.ids[sweep.split_number >= 0])
    row = {name: number for number, name in enumerate(sweep.ids)}
    flips = [len(set(sweep.prediction[:, row[name]])) > 1 for name in ids]
    assert flips == sorted(flips, reverse=True) and 0 < sum(flips) < len(flips)
    gaps = [sweep.energy_gap[-1, row[name]] for name in ids]
    count = sum(flips)
    for part in (gaps[:count], gaps[count:]):
        assert part == sorted(part, reverse=True)


def test_what_lies_in_the_data_set_and_is_not_of_the_run_is_not_shown(at_home):
    run = at_home.scored[0]
    sweep = run.sweep()
    other = str(run.manifest.split("real/train").ids[0])
    assert other not in set(sweep.ids) and Thumbnails(sweep).bytes_of(other) is not None
    known = Sweeps.of([sweep])
    ids = [other, str(sweep.ids[0])]
    found = cut(known.thumbnails({"run": run.id, "ids": ids}))
    assert [image is None for image in found] == [True, False]
    with pytest.raises(RunError, match="no image at hand"):
        known.image({"run": run.id, "id": other})


def test_one_image_is_larger_than_its_thumbnail(at_home):
    sweep = at_home.scored[0].sweep()
    known = Sweeps.of([sweep])
    run = at_home.scored[0].id
    name = str(sweep.ids[0])
    image = picture(known.image({"run": run, "id": name}).buffers()["bytes"])
    assert image.size == (24, 20) and image.format == "WEBP"  # as the tree is drawn
    for outside in ("../../mini.yaml", "/etc/hostname", "nowhere.png"):
        with pytest.raises(RunError, match="no image at hand"):
            known.image({"run": run, "id": outside})


# the map


def test_a_map_names_the_rows_of_the_scores():
    sweep = toy_sweep(n=20)
    places = energy_map(sweep, 7)
    known = Sweeps.of([sweep])
    answer = map_answers(lambda run: places, known)({"run": "sweep-0"})
    about = known.scores({"run": "sweep-0"})
    split = [about.json["splits"][number] for number in about.arrays["split"]]
    keys = list(zip(split, ids_of(about), strict=True))
    wanted = list(zip(places.split, places.ids, strict=True))
    assert [keys[row] for row in answer.arrays["row"]] == wanted
    for name in ("before", "after"):
        np.testing.assert_array_equal(flat(answer, name, 2), getattr(places, name))


def test_a_map_is_asked_of_the_run_that_is_shown():
    sweeps = [toy_sweep(n=20), toy_sweep(1, n=20)]
    asked = []

    def maps(run):
        asked.append(run)
        return energy_map(sweeps[0])

    answer = map_answers(maps, Sweeps.of(sweeps))
    answer({"run": "sweep-1"})
    with pytest.raises(ClipftError):
        answer({"run": "sweep-2"})
    assert asked == ["sweep-1"]
