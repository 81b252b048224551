"""Batches on Ray: a real cluster of two nodes; nodes and drivers are killed from outside."""

import contextlib
import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from test_batch import notebook, spec_file, states_in
from test_cli import run_cli

from clipft.batch import ray_engine
from clipft.batch.attempt import Attempts
from clipft.batch.on_ray import OnRay, as_options
from clipft.batch.ray_engine import Order, Portion, View, carry_out, passed, portion
from clipft.batch.runner import AGAIN, run_batch
from clipft.errors import ConfigError, MissingExtra, RunError

# 0 and 1 wait for a file, 2 fails always, 3 fails the first time
WORK = """import json, os, time
open(f'{out}/{a}.pids', 'a').write(f'{os.getpid()}\\n')
names = ('CUDA_VISIBLE_DEVICES', 'OMP_NUM_THREADS', 'CLIPFT_DATA')
json.dump({name: os.environ.get(name) for name in names}, open(f'{out}/{a}.json', 'w'))
while a < 2 and not os.path.exists(f'{out}/go'):
    time.sleep(0.05)
first = len(open(f'{out}/{a}.pids').readlines()) == 1
open(f'{out}/{a}.txt', 'w').write(f'{10 / (2 - a - (a == 3 and first) * (2 - a))}')"""


@contextlib.contextmanager
def environment(**values):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def home():
    """A home of Ray's own, with a name that leaves room for its sockets.

    It notes the cluster it began last in `ray/` of its TMPDIR, and does not make that folder.
    """
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:
        Path(folder, "ray").mkdir()
        settings = {"HOME": folder, "RAY_TMPDIR": folder}
        with environment(**settings, RAY_USAGE_STATS_ENABLED="0", RAY_AUTH_MODE="disabled"):
            yield Path(folder)


def of_ray(process, session=ray_engine.SESSION):
    """Whether a process of Ray belongs to a session, by default to one that a batch began."""
    with contextlib.suppress(psutil.Error):
        return session in " ".join(process.cmdline())
    return False


# Two nodes, a CPU and a GPU each: nobody asks whether the GPUs are real. It ends with whoever
# began it, as that one's end of the pipe is closed.
CLUSTER = """import json, sys
from ray.cluster_utils import Cluster
place = {"num_cpus": 1, "num_gpus": 1, "object_store_memory": 80_000_000}
head = {"include_dashboard": False, "temp_dir": sys.argv[1]}
head["ray_client_server_port"] = int(sys.argv[2])
def begin():
    cluster = Cluster(initialize_head=True, head_node_args=place | head)
    return cluster, cluster.add_node(**place)
try:
    cluster, node = begin()
except Exception:  # Ray gives a busy machine 30 s
    cluster, node = begin()
try:
    (raylet,) = node.all_processes["raylet"]
    print(json.dumps([cluster.address, raylet.process.pid]), flush=True)
    sys.stdin.read()
finally:
    cluster.shutdown()
"""


@pytest.fixture(scope="module")
def cluster(home):
    """A running cluster: its address, that for Ray's client, and the second node's raylet."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", CLUSTER, str(home / "r"), str(port)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with environment(CLIPFT_DATA="/of/the/cluster"), subprocess.Popen(command, **pipes) as process:
        address, raylet = json.loads(process.stdout.readline())
        client = f"ray://127.0.0.1:{port}"
        yield SimpleNamespace(address=address, client=client, raylet=psutil.Process(raylet))
        process.stdin.close()
        process.wait()
    assert not [each for each in psutil.process_iter() if of_ray(each, str(home))]


def begun(path, address):
    command = [sys.executable, "-m", "clipft.cli", "batch", str(path), "--engine", "ray"]
    command += ["--address", address, "--gpus-per-job", "0.5", "--cpus-per-job", "1"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def pids_of(out, a):
    with contextlib.suppress(OSError):
        return [int(line) for line in (out / f"{a}.pids").read_text().splitlines()]
    return []


def wait_until(condition, driver=None, seconds=90):
    deadline = time.time() + seconds
    while not condition():
        assert driver is None or driver.poll() is None, driver.communicate()
        assert time.time() < deadline
        time.sleep(0.05)


def is_gone(pid):
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True


def work(folder, values, **spec):
    notebook(folder / "work.ipynb", "a: int = 0\nout: str = ''", WORK)
    stage = {"notebook": "work.ipynb", "parameters": {"out": "{out}"}, "grid": [{"a": values}]}
    return spec_file(folder, stages=[stage], **spec), folder / "out/tiny"


def test_a_killed_nodes_job_runs_again_on_the_other(cluster, tmp_path):
    """So does a notebook that failed, where that is asked for; one that fails always ends."""
    again = {"retries": 1, "retry_notebooks": True}
    path, out = work(tmp_path, [0, 1, 2, 3], ray=again)
    with environment(CLIPFT_DATA="/of/the/driver"):
        driver = begun(path, cluster.address)
    wait_until(lambda: pids_of(out, 0) and pids_of(out, 1), driver)

    raylet = cluster.raylet
    workers = raylet.children(recursive=True)
    kernels = {a: pids_of(out, a)[0] for a in (0, 1)}
    ((killed, kernel),) = [
        (a, pid) for a, pid in kernels.items() if pid in [each.pid for each in workers]
    ]
    for process in [raylet, *raylet.children()]:  # the kernel and its job's process are let live
        process.kill()
    wait_until(lambda: is_gone(kernel), driver)
    (out / "go").touch()
    stdout, stderr = driver.communicate(timeout=120)

    assert driver.returncode != 0 and "ZeroDivisionError" in stderr and AGAIN in stderr
    assert states_in(out) == ["failed", "ok", "ok", "ok"]
    assert {a: len(pids_of(out, a)) for a in range(4)} == {killed: 2, 1 - killed: 1, 2: 2, 3: 2}
    assert [(out / f"{a}.txt").read_text() for a in (0, 1, 3)] == ["5.0", "10.0", "-10.0"]
    seen = {"CUDA_VISIBLE_DEVICES": "0", "OMP_NUM_THREADS": "1", "CLIPFT_DATA": "/of/the/driver"}
    assert json.loads((out / "0.json").read_text()) == seen
    assert "Traceback" not in stdout and len(stderr.splitlines()) == 1


def test_a_killed_driver_is_started_again(cluster, tmp_path):
    """Ended in order, then by force: no kernel is left, and the third one comes to the end."""
    path, out = work(tmp_path, [1])
    for number, how in enumerate((signal.SIGTERM, signal.SIGKILL), start=1):
        driver = begun(path, cluster.address)
        wait_until(lambda count=number: len(pids_of(out, 1)) == count, driver)
        driver.send_signal(how)
        _, stderr = driver.communicate(timeout=60)
        if how is signal.SIGTERM:
            assert (driver.returncode, stderr) == (143, f"clipft: stopped; {AGAIN}\n")
            assert is_gone(pids_of(out, 1)[-1])
        wait_until(lambda: is_gone(pids_of(out, 1)[-1]))
    (out / "go").touch()
    driver = begun(path, cluster.address)
    _, stderr = driver.communicate(timeout=120)
    assert (driver.returncode, stderr) == (0, "")
    assert states_in(out) == ["ok"] and (out / "1.txt").read_text() == "10.0"
    assert len(pids_of(out, 1)) == 3


def test_more_than_a_node_has_is_refused(cluster, tmp_path):
    """By Ray's client, which asks from outside the cluster. Ray itself would wait for ever."""
    path, out = work(tmp_path, [2])
    wanted = "a job asks for 1 CPU and 4 GPUs, and no node of the Ray cluster has that many"
    with pytest.raises(ConfigError, match=wanted):
        run_batch(path, engine=OnRay(address=cluster.client, gpus=4, cpus=1))
    assert not pids_of(out, 2) and not (out / ".seen_by_ray").exists()


def test_a_cluster_that_wants_a_token_is_named_in_a_line(cluster, tmp_path):
    path, _ = work(tmp_path, [2])
    with environment(RAY_AUTH_MODE="token"), pytest.raises(ConfigError) as caught:
        run_batch(path, engine=OnRay(address=cluster.address))
    assert str(caught.value).startswith(f"cannot reach the Ray cluster '{cluster.address}': Token")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "reason"),
    [("127.0.0.1:9", "no answer in 1 s; wanted: auto, HOST:PORT"), ("nowhere", "Invalid address")],
)
def test_a_cluster_that_is_not_there(home, tmp_path, monkeypatch, address, reason):
    if reason.startswith("no answer"):
        monkeypatch.setattr(ray_engine, "CONNECT", 1.0)
    path, _ = work(tmp_path, [2])
    with pytest.raises(ConfigError, match=f"cannot reach the Ray cluster '{address}': {reason}"):
        run_batch(path, engine=OnRay(address=address))


def test_a_cluster_of_this_machine_ends_with_the_batch(home, tmp_path):
    """And a notebook that takes too long with its time, which is not tried again."""
    notebook(tmp_path / "sleep.ipynb", "out = ''", "import time\ntime.sleep(600)")
    stage = {"notebook": "sleep.ipynb", "parameters": {"out": "{out}"}}
    again = {"retries": 1, "retry_notebooks": True}
    path = spec_file(tmp_path, timeout=4.0, ray=again, stages=[stage])
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(
        RunError, match=r"1 of 1 runs failed.*stopped after 4 s, the spec's timeout"
    ):
        run_batch(path, engine="ray")
    assert states_in(tmp_path / "out/tiny") == ["timeout"]
    assert signal.getsignal(signal.SIGTERM) is before
    wait_until(lambda: not [each for each in psutil.process_iter() if of_ray(each)])
    assert not list(Path(tempfile.gettempdir()).glob(f"{ray_engine.SESSION}*"))


def node(cpus, gpus=0.0):
    return {"Resources": {"CPU": cpus, "GPU": gpus} if gpus else {"CPU": cpus}}


@pytest.mark.parametrize(
    ("how", "nodes", "jobs", "wanted", "room"),
    [
        ({}, [node(8)], 0, Portion(4, 0), 2),  # two a node, as here
        ({}, [node(8), node(4)], 0, Portion(2, 0), 6),
        ({}, [node(8), node(8)], 8, Portion(2, 0), 8),
        ({}, [node(1)], 0, Portion(1, 0), 1),
        ({}, [node(64, 8.0)], 0, Portion(8, 1), 8),  # the cores beside a GPU
        ({}, [node(64, 8.0), node(16)], 0, Portion(8, 1), 8),
        ({"gpus": 0.5}, [node(64, 8.0)], 0, Portion(4, 0.5), 16),
        ({"gpus": 0.1, "cpus": 1}, [node(64, 1.0)], 0, Portion(1, 0.1), 10),
        ({"gpus": 2}, [node(64, 8.0)], 0, Portion(16, 2), 4),
        ({"gpus": 0, "cpus": 3}, [node(64, 8.0)], 0, Portion(3, 0), 21),
    ],
)
def test_what_a_job_gets(how, nodes, jobs, wanted, room):
    got = portion(OnRay(**how), nodes, jobs)
    assert (got, sum(map(got.fits, nodes))) == (wanted, room)


@pytest.mark.parametrize(
    ("how", "wanted"),
    [
        ({"gpus": 0.5}, "a job asks for 0.5 GPU, and the Ray cluster has none .1 nodes, 8 CPUs"),
        ({"cpus": 9}, "a job asks for 9 CPUs, and no node .* .they have 8 CPUs and 0 GPUs"),
    ],
)
def test_what_no_node_has(how, wanted):
    with pytest.raises(ConfigError, match=wanted):
        portion(OnRay(**how), [node(8)])


def test_half_a_second_gpu_is_none():
    with pytest.raises(
        ConfigError, match=r"gpus is 1\.5, expected a part of one GPU, or whole ones"
    ):
        OnRay(gpus=1.5)


def test_what_a_node_does_not_see_is_named(tmp_path):
    """The answers of other machines, made up by changing one thing after another."""
    mark = tmp_path / "out/.seen_by_ray"
    mark.parent.mkdir()
    mark.write_text("of today")
    book = notebook(tmp_path / "a.ipynb", "1")
    driver = View.here(mark, [book])
    assert View.here(mark, [book]).lacks(driver) == ""
    other = replace(driver, clipft=("0.0.9 in /opt", "x"))
    assert other.lacks(driver).startswith("has another clipft: 0.0.9 in /opt; here is ")
    notebook(book, "2")
    assert f"notebooks in {tmp_path}, or others" in View.here(mark, [book]).lacks(driver)
    mark.unlink()
    assert f"the batch's folder {mark.parent}: it must" in View.here(mark, [book]).lacks(driver)
    order = Order(str(book), {}, str(tmp_path / "job"), Portion(1, 0), 9.0, 1, driver)
    with pytest.raises(RunError, match=r"node .* does not see the batch's folder"):
        carry_out(order)
    assert not (tmp_path / "job").exists()


@pytest.mark.parametrize(
    ("tries", "states", "run"),
    [(1, ["failed"], 1), (3, ["failed"] * 3, 3), (3, ["failed", "ok"], 2), (3, ["timeout"], 1)],
)
def test_what_is_tried_again(tmp_path, monkeypatch, tries, states, run):
    left = list(states)
    monkeypatch.setattr(Attempts, "run", lambda self, job, share: {"state": left.pop(0)})
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    mark = tmp_path / "mark"
    mark.write_text("here")
    order = Order("a.ipynb", {}, "job", Portion(1, 1), 9.0, tries, View.here(mark, []))
    assert carry_out(order) == {"state": states[-1]}
    assert len(states) - len(left) == run


def test_secrets_stay_and_so_does_what_is_of_one_machine():
    wanted = {"CLIPFT_CACHE": "a", "HF_HOME": "b", "PYTHONPATH": "c", "WANDB_MODE": "offline"}
    kept = {"HF_TOKEN": "x", "WANDB_API_KEY": "x", "TMPDIR": "x", "CUDA_VISIBLE_DEVICES": "0"}
    assert passed(wanted | kept) == wanted


def test_missing_ray_names_the_pip_line(tmp_path, monkeypatch):
    path, _ = work(tmp_path, [2])
    monkeypatch.setattr(ray_engine, "util", SimpleNamespace(find_spec=lambda name: None))
    with pytest.raises(MissingExtra, match=r"pip install 'clipft\[ray\]'"):
        run_batch(path, engine="ray")


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (["--address", "auto", "--retries", "3"], "--address, --retries is of --engine ray"),
        (["--engine", "ray", "--gpus", "0,1"], "--gpus 0,1 is of the local engine; Ray deals out"),
    ],
)
def test_options_of_the_other_engine(tmp_path, monkeypatch, capsys, options, wanted):
    path, _ = work(tmp_path, [2])
    code, _, err = run_cli(monkeypatch, capsys, "batch", path, *options)
    assert code == 2 and err.startswith(f"clipft: {wanted}")


def test_the_command_that_is_shown_is_the_one_that_was_given():
    assert as_options("local") == ""
    assert as_options("ray") == " --engine ray"
    wanted = " --engine ray --address auto --gpus-per-job 0.5"
    assert as_options(OnRay(address="auto", gpus=0.5)) == wanted


def test_an_unknown_engine_is_named(tmp_path):
    path, _ = work(tmp_path, [2])
    with pytest.raises(ConfigError, match="unknown engine 'rya'; did you mean 'ray'"):
        run_batch(path, engine="rya")
