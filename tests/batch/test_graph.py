"""Which jobs need which, against every pair looked at alone; and turns, against networkx."""

import itertools
import math
import random
from concurrent.futures import Future
from pathlib import Path

import networkx as nx
import pytest
from test_batch import notebook, spec_file

from clipft.batch.graph import NOTHING, Gate, Order, wall_clock
from clipft.batch.record import read_record
from clipft.batch.runner import Wish, needs_of, work_off
from clipft.batch.spec import Spec, open_batch, plan, read_spec
from clipft.config import digest
from clipft.disk.files import write_json
from clipft.errors import ConfigError, JobsFailed, TimeUp

ROOT = Path(__file__).parents[2]
SPECS = ROOT / "papermill_runs"
TRAIN = str(ROOT / "notebooks/01_fine_tune.ipynb")
COMBINE = str(ROOT / "notebooks/07_soups.ipynb")
DRAW = str(ROOT / "notebooks/08_tables.ipynb")


def train(runs="runs", **values):
    return {
        "notebook": TRAIN,
        "parameters": {"runs": f"{{out}}/{runs}", "preset": "emoji/ft"},
        "grid": [{"seed": [0, 1], **values}],
    }


def combine(*lrs, seed=0, runs="runs"):
    members = [{"preset": "emoji/ft", "lr": lr} for lr in lrs]
    own = {"runs": f"{{out}}/{runs}", "name": "uniform_soup", "members": members, "seed": seed}
    return {"notebook": COMBINE, "parameters": own}


def draw(runs="runs", **where):
    own = {"runs": f"{{out}}/{runs}", "figures_folder": "{out}/figures", "where": where}
    return {"notebook": DRAW, "parameters": own}


def laid_out(stages, folder):
    return plan(Spec.read({"name": "t", "stages": stages}), folder, folder / "out")


def all_needs(laid, number):
    """The jobs behind a job's gate, whatever is between."""
    return set(needs_of(laid, number))


# --- what a job needs


def by_pairs(laid):
    """What each job needs, by a look at each earlier one alone."""
    found = {}
    earlier = []
    for stage in laid:
        unknown = {job.number for job in earlier if not job.work.makes and job.notebook.stem == "x"}
        for job in stage:
            needs = set(unknown)
            if job.notebook.stem == "x":
                needs = {other.number for other in earlier}
            elif job.work.makes:
                for run in job.work.makes:
                    makers = [other for other in earlier if (job.runs, run) in other.tokens]
                    needs |= {other.number for other in makers[:1]}
            else:
                where = job.parameters["where"]
                writers = [o for o in earlier if o.work.makes and o.runs == job.runs]
                for other in writers:
                    configs = [config.model_dump() for config in other.work.trainings]
                    if any(all(c[key] == v for key, v in where.items()) for c in configs):
                        needs.add(other.number)
                if not writers:
                    needs = {other.number for other in earlier}
            found[job.number] = needs
        earlier += stage
    return found


@pytest.mark.parametrize("seed", range(4))
def test_needs_are_those_of_a_look_at_every_pair(tmp_path, seed):
    notebook(tmp_path / "x.ipynb", "a: int = 0")
    rng = random.Random(seed)
    stages = []
    for number in range(8):
        runs = rng.choice(["runs", "runs", "more"])
        lr = rng.choice([1e-3, 1e-4])
        kinds = [
            train(runs, settings=[{"lr": lr}, {"lr": lr, "steps": number + 1}]),
            combine(1e-3, lr, seed=rng.choice([0, 1]), runs=runs),
            draw(runs),
            draw(runs, lr=lr),
            draw(runs, lr=lr, seed=rng.choice([0, 1])),
            {"notebook": "x.ipynb", "parameters": {"a": number}},
        ]
        stages.append(rng.choices(kinds, weights=[4, 3, 1, 1, 2, 1])[0])
    laid = laid_out(stages, tmp_path)
    wanted = by_pairs(laid)
    assert {number: all_needs(laid, number) for number in wanted} == wanted
    assert any(wanted.values()) and len({job.folder for job in laid.jobs}) == len(wanted)


def test_a_papers_figures_wait_for_their_own_runs(tmp_path):
    """Table 4 of ViT-B/32 needs no run of another model; the soups need their members alone."""
    laid = plan(read_spec(SPECS / "lipsum_ft_imagenet.yaml"), SPECS, tmp_path, absent={})
    jobs = {job.number: job for job in laid.jobs}
    (table,) = [job for job in laid[2] if job.parameters.get("part") == "vit_b_32"]
    needs = all_needs(laid, table.number)
    models = {jobs[need].work.trainings[0].model for need in needs}
    assert models == {"ViT-B-32"} and len(needs) == 45
    for soup in laid[1]:
        members = {config.id for config in soup.work.trainings}
        trained = {jobs[need].work.trainings[0].id for need in all_needs(laid, soup.number)}
        assert trained == members


def test_what_lies_in_a_folder_that_others_write_is_waited_for(tmp_path):
    """Weights that an earlier run leaves; weights beside them are nobody's here."""
    after = train(settings=[{"pretrained": "{out}/runs/x/best.safetensors", "steps": 7}])
    beside = train(settings=[{"pretrained": "{out}/models/x", "steps": 7}])
    laid = laid_out([train(), after, beside], tmp_path)
    assert [all_needs(laid, number) for number in (3, 4)] == [{1, 2}, {1, 2}]
    assert [all_needs(laid, number) for number in (5, 6)] == [set(), set()]


def test_after_goes_before_what_is_found_out(tmp_path):
    """By a stage's own name, or its notebook's; also of a stage that stands below."""
    stages = [
        draw() | {"after": ["late"]},
        train() | {"after": []},
        train("more") | {"name": "late"},
        combine(1e-3) | {"after": ["01_fine_tune"]},
    ]
    laid = laid_out(stages, tmp_path)
    titles = [(stage[0].notebook.stem, [job.number for job in stage]) for stage in laid]
    assert titles == [
        ("01_fine_tune", [1, 2]), ("01_fine_tune", [3, 4]), ("08_tables", [5]), ("07_soups", [6])
    ]  # fmt: skip
    assert all_needs(laid, 5) == {3, 4} and all_needs(laid, 6) == {1, 2, 3, 4}


@pytest.mark.parametrize(
    ("stages", "wanted"),
    [
        (
            [draw() | {"after": ["07_soups"]}, combine(1.0) | {"after": ["08_tables"]}],
            "t: stages wait for each other: .*07_soups before 08_tables",
        ),
        ([train() | {"after": ["01_fine_tune"]}], "stages wait for each other: 01_fine_tune"),
        ([train() | {"after": ["07_soup"]}], "unknown stage in after '07_soup'"),
        ([], "t has no stages"),
        ([train(seed=[])], "stage 01_fine_tune has no jobs"),
        ([train() | {"grid": []}], "stage 01_fine_tune has no jobs"),
    ],
)
def test_stages_that_cannot_be_run_are_refused(tmp_path, stages, wanted):
    with pytest.raises(ConfigError, match=wanted) as caught:
        laid_out(stages, tmp_path)
    assert "\n" not in str(caught.value)


# --- what a job is called


def test_a_new_run_moves_no_job_that_does_not_need_it(tmp_path):
    more = train(settings=[{}, {"lr": 1.0}])
    soup = combine(1e-3)
    few = laid_out([train(settings=[{}]), soup, draw(), draw(lr=1e-3)], tmp_path)
    many = laid_out([more, soup, draw(), draw(lr=1e-3)], tmp_path)
    assert few[1][0].folder == many[1][0].folder  # its member is there
    assert few[2][0].folder != many[2][0].folder  # draws the new run, too
    assert few[3][0].folder == many[3][0].folder


def test_work_under_the_name_of_an_older_batch_is_found(tmp_path, monkeypatch):
    """A soup was named by the whole stage before it, too."""
    asked = []

    def noting(content, length=12):
        asked.append((content, length))
        return digest(content, length)

    monkeypatch.setattr("clipft.batch.spec.digest", noting)
    stages = [train(), combine(1e-3)]
    laid = laid_out(stages, tmp_path)
    first = [job.folder.name for job in laid[0]]
    (soup,) = laid[1]
    contents = [content for content, length in asked if length == 10]
    source, parameters, _, named = contents[-1]
    older = f"07_soups-{digest([source, parameters, digest(first), named], 10)}"
    assert older != soup.folder.name
    write_json(tmp_path / "out/notebooks" / older / "status.json", {"state": "ok"})
    (found,) = laid_out(stages, tmp_path)[1]
    assert (found.folder.name, found.done) == (older, True)
    soup.folder.mkdir()  # once it was run under its name of today, that one counts
    assert laid_out(stages, tmp_path)[1][0].folder == soup.folder


# --- turns


def random_order(rng, count=60):
    """Gates of jobs, some shared and some behind others, with a networkx graph of the same."""
    graph = nx.DiGraph()
    graph.add_nodes_from(range(1, count + 1))
    shared = [(NOTHING, set())]
    gates = {}
    for number in range(1, count + 1):
        if number > 1 and rng.random() < 0.3:
            jobs = rng.sample(range(1, number), min(number - 1, rng.randint(1, 4)))
            inner, behind = rng.choice(shared)
            gates_inside = () if inner is NOTHING else (inner,)
            shared.append((Gate(tuple(jobs), gates_inside, str(number)), {*jobs, *behind}))
        gate, behind = rng.choice(shared[-5:])
        if number in behind:
            gate, behind = NOTHING, set()
        gates[number] = gate
        graph.add_edges_from((need, number) for need in behind)
    makes = {number: rng.sample("abcdefgh", rng.choice([0, 0, 1, 2])) for number in gates}
    return gates, makes, graph


@pytest.mark.parametrize("seed", range(20))
def test_jobs_have_their_turn_when_networkx_says_so(seed):
    rng = random.Random(seed)
    gates, makes, graph = random_order(rng)
    fails = set(rng.sample(range(1, 61), 5)) if seed % 2 else set()
    order = Order(gates, makes)
    running, done, failed, made = set(), set(), set(), set()
    while True:
        while len(running) < 4 and (number := order.pop()) is not None:
            assert set(graph.predecessors(number)) <= done
            others = set(itertools.chain.from_iterable(makes[other] for other in running))
            assert not (set(makes[number]) - made) & (others - made)
            running.add(number)
        if not running:
            break
        number = rng.choice(sorted(running))
        running.remove(number)
        is_ok = number not in fails
        order.finished(number, ok=is_ok)
        (done if is_ok else failed).add(number)
        made |= set(makes[number]) if is_ok else set()
    behind = set().union(*(nx.descendants(graph, number) for number in failed), set())
    assert set(order.not_run) == behind and behind.isdisjoint(done | failed)
    assert done | failed | behind == set(graph)
    for number, cause in order.not_run.items():
        assert number in nx.descendants(graph, cause)


def test_the_wall_clock_is_between_the_longest_chain_and_the_sum():
    rng = random.Random(1)
    gates, _, graph = random_order(rng)
    seconds = {number: float(rng.randint(1, 9)) for number in gates}
    total = sum(seconds.values())
    for tail, head in graph.edges:
        graph.edges[tail, head]["weight"] = seconds[tail]
    ends = {number: graph.add_edge(number, "end", weight=seconds[number]) for number in gates}
    chain = nx.dag_longest_path_length(graph)
    assert wall_clock(gates, {}, seconds, 1) == total
    assert wall_clock(gates, {}, seconds, len(ends)) == chain
    for width in (2, 8):
        assert max(chain, total / width) <= wall_clock(gates, {}, seconds, width) <= total


# --- driven, by an engine of the test


class ByHand:
    """An engine whose jobs end at once, but for slow ones.

    slow: seed -> after how many other jobs it ends; math.inf: never.
    """

    width = 2

    def __init__(self, outcome=lambda job: "ok", slow=()):
        self.outcome = outcome
        self.slow = dict(slow)
        self.begun = []
        self.open = {}
        self.left = False

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        self.left = True

    def submit(self, job):
        self.begun.append(job)
        for number in list(self.open):
            seed = self.open[number][0].parameters["seed"]
            self.slow[seed] -= 1
            if not self.slow[seed]:
                self.end(number)
        future = Future()
        self.open[job.number] = (job, future)
        if job.work.trainings and self.slow.get(job.parameters["seed"]):
            return future
        self.end(job.number)
        return future

    def end(self, number):
        job, future = self.open.pop(number)
        outcome = self.outcome(job)
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
            return
        status = {"state": outcome, "seconds": 1.0}
        write_json(job.folder / "status.json", status)
        (job.folder / "log.txt").write_text("the last line\n")
        future.set_result(status)


def run_by_hand(folder, stages, engine, **wish):
    batch = open_batch(spec_file(folder, stages=stages, images=[]), folder / "out")
    try:
        work_off(batch, engine, Wish(**wish))
        error = None
    except (JobsFailed, TimeUp) as caught:
        error = caught
    told = [(job.notebook.stem[:2], job.parameters.get("seed")) for job in engine.begun]
    return batch, told, error


def test_a_figure_begins_when_its_own_runs_are_done(tmp_path):
    """Seed 1 ends last; the figures of the others do not wait for it, nor for later trainings."""
    stages = [train(seed=[0, 1, 2, 3]), draw(seed=0), draw(seed=1), draw(seed=2)]
    engine = ByHand(slow={1: 4})
    _, told, _ = run_by_hand(tmp_path, stages, engine)
    of = [job.parameters.get("where", {}).get("seed") for job in engine.begun]
    assert told == [
        ("01", 0),
        ("01", 1),
        ("08", None),
        ("01", 2),
        ("08", None),
        ("01", 3),
        ("08", None),
    ]
    assert [seed for seed in of if seed is not None] == [0, 2, 1]
    assert engine.left


def test_a_failure_stops_only_what_needs_it(tmp_path):
    stages = [train(seed=[0, 1, 2]), draw(seed=0), draw(seed=1), draw()]

    def outcome(job):
        return "failed" if job.parameters.get("seed") == 1 else "ok"

    batch, told, error = run_by_hand(tmp_path, stages, ByHand(outcome))
    assert error.code == 1
    assert "1 of 6 runs failed and 2 that need them were not run, first 01_fine_tune" in str(error)
    assert "the last line" in str(error) and "\n" not in str(error)
    assert len(told) == 4 and (tmp_path / "out/index.html").exists()
    states = [entry.state for entry in read_record(batch.plan).values()]
    assert states == ["done", "failed", "done", "done", "not run", "not run"]
    # What failed, and what needs it; then nothing is left.
    _, told, error = run_by_hand(tmp_path, stages, ByHand(), retry_failed=True)
    assert (told, error) == ([("01", 1), ("08", None), ("08", None)], None)
    assert run_by_hand(tmp_path, stages, ByHand())[1] == []


def test_what_needs_more_than_what_failed_is_not_retried(tmp_path):
    """The figure of all seeds needs one that was never begun, too; it would be drawn without."""
    stages = [train(seed=[0, 1]), draw(seed=0), draw()]
    outcome = {0: "failed", 1: "stopped"}
    engine = ByHand(lambda job: outcome[job.parameters["seed"]])
    batch, _, _ = run_by_hand(tmp_path, stages, engine)
    states = [entry.state for entry in read_record(batch.plan).values()]
    assert states == ["failed", "waiting", "not run", "not run"]
    _, told, error = run_by_hand(tmp_path, stages, ByHand(), retry_failed=True)
    assert (told, error) == ([("01", 0), ("08", None)], None)
    _, told, error = run_by_hand(tmp_path, stages, ByHand())
    assert (told, error) == ([("01", 1), ("08", None)], None)


@pytest.mark.parametrize("value", [None, "text", [1, 2], 3])
def test_a_notebook_of_ones_own_may_call_anything_settings(tmp_path, value):
    made_up = tmp_path / "own.ipynb"
    notebook(made_up, "settings = None\nwhere = None", "pass")
    stage = {"notebook": "own.ipynb", "parameters": {"settings": value, "where": value}}
    (job,) = open_batch(spec_file(tmp_path, stages=[stage]), tmp_path / "out").plan.jobs
    assert job.title and job.words


def test_a_figure_of_several_seeds_waits_for_all_that_may_make_them(tmp_path):
    stages = [train(seed=[0, 1, 2]), draw(seed=[0, 1])]
    plan = open_batch(spec_file(tmp_path, stages=stages), tmp_path / "out").plan
    assert needs_of(plan, 4) == [1, 2, 3]


def test_an_engine_that_cannot_run_a_job_fails_it_alone(tmp_path):
    def outcome(job):
        lost = ConfigError("its node is gone") if job.parameters["seed"] else ValueError("a\nb")
        return "ok" if job.parameters["seed"] == 2 else lost

    batch, told, error = run_by_hand(tmp_path, [train(seed=[0, 1, 2])], ByHand(outcome))
    assert "2 of 3 runs failed, first 01_fine_tune" in str(error) and "ValueError: a b" in str(
        error
    )
    whys = [entry.status.get("why") for entry in read_record(batch.plan).values()]
    assert whys == ["ValueError: a b", "its node is gone", None] and len(told) == 3


def test_when_its_time_is_up_a_batch_stops(tmp_path):
    """A job that does not end by itself: the engine is left, which ends it."""
    engine = ByHand(slow={0: math.inf})
    _, told, error = run_by_hand(tmp_path, [train(seed=[0])], engine, stop_after=0.01)
    assert (error.code, told, engine.left) == (75, [("01", 0)], True)
    assert str(error).startswith("time is up, 0 of 1 jobs are done; the same command goes on")
    assert not (tmp_path / "out/driver.json").exists()
