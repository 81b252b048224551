"""The cache gives back what was put in, or nothing: damage, races, kills and full disks."""

import contextlib
import errno
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from clipft.disk import cache as module
from clipft.disk.cache import Cache, default_cache
from clipft.disk.leftovers import who
from clipft.errors import StorageError

KEY = {"tower": "t", "files": "f", "preprocessing": "p", "precision": "fp32"}
ARRAYS = {"a": np.arange(12, dtype=np.float32).reshape(3, 4), "b": np.array([5, -1])}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """An empty folder for the cache, which no object has verified or complained of yet."""
    monkeypatch.setenv("CLIPFT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def cache(home):
    """The object that `remember` asks."""
    return default_cache()


def remember(key=KEY, arrays=ARRAYS, kind="embeddings", cache=None):
    """The arrays under a key, and whether they had to be made."""
    made = []

    def make():
        made.append(1)
        return arrays

    found = (cache or default_cache()).remember(kind, f"a {kind}", key, make)
    return found, bool(made)


def remember_elsewhere(**changes):
    """As another process, which has verified nothing yet, would."""
    return remember(**changes, cache=Cache(default_cache().folder))


def same(found, arrays=ARRAYS):
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        if found[name].dtype != array.dtype or not np.array_equal(found[name], array):
            return False
    return True


def place():
    """The folder of the only entry."""
    (folder,) = default_cache().arrays.iterdir()
    return folder


def test_an_entry_is_found_again_mapped_and_read_only():
    first, made = remember()
    again, made_again = remember()
    assert (made, made_again) == (True, False)
    for found in (first, again):
        assert same(found)
        for array in found.values():
            assert isinstance(array, np.memmap)
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 1


@pytest.mark.parametrize(
    "dtype", [np.float16, np.float32, np.float64, np.int64, np.uint8, bool, ">f4", "U5"]
)
@pytest.mark.parametrize("shape", [(1,), (3, 4), (2, 3, 4), (0, 4)])
def test_arrays_of_any_kind_come_back(dtype, shape):
    arrays = {"x": np.arange(np.prod(shape)).reshape(shape).astype(dtype)}
    remember(arrays=arrays)
    found, made = remember(arrays={})
    assert same(found, arrays) and found["x"].shape == shape and not made


def test_strided_arrays_come_back():
    arrays = {"rows": np.arange(12.0)[::3], "turned": np.arange(6.0).reshape(2, 3).T}
    remember(arrays=arrays)
    found, made = remember_elsewhere(arrays={})
    assert same(found, arrays) and not made


@pytest.mark.parametrize("part", [*KEY, "more", "kind"])
def test_another_key_is_another_entry(cache, part):
    remember()
    other = {"x": np.ones(2)}
    kind, key = ("texts", KEY) if part == "kind" else ("embeddings", KEY | {part: "else"})
    found, made = remember(key, other, kind)
    assert made and same(found, other)
    assert same(remember()[0])
    assert len(cache.entries()) == 2


def truncate(folder):
    file = folder / "a.npy"
    file.write_bytes(file.read_bytes()[:-7])


def cut_in_the_header(folder):
    (folder / "a.npy").write_bytes((folder / "a.npy").read_bytes()[:20])


def flip(folder):
    content = bytearray((folder / "b.npy").read_bytes())
    content[-3] ^= 1
    (folder / "b.npy").write_bytes(content)


def pickled(folder):
    np.save(folder / "a.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)


DAMAGE = {
    "truncated": truncate,
    "cut in the header": cut_in_the_header,
    "empty": lambda folder: (folder / "a.npy").write_bytes(b""),
    "flipped": flip,
    "pickled": pickled,
    "array gone": lambda folder: (folder / "b.npy").unlink(),
    "broken meta": lambda folder: (folder / "meta.json").write_text("{"),
    "meta without sums": lambda folder: (folder / "meta.json").write_text("{}"),
    "meta of another kind": lambda folder: (folder / "meta.json").write_text("[1]"),
    "meta is no text": lambda folder: (folder / "meta.json").write_bytes(b"\xff\xfe\x00"),
}


@pytest.mark.parametrize("spoil", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_entry_is_made_again(spoil, capsys):
    remember()
    spoil(place())
    found, made = remember_elsewhere()
    said = capsys.readouterr().out
    assert made and same(found)
    assert said.startswith("the cached embeddings in ") and said.count("\n") == 1
    assert "they are made again" in said
    found, made = remember_elsewhere()
    assert not made and same(found)
    assert capsys.readouterr().out == ""


def test_an_entry_that_lost_its_meta_is_made_again():
    """As a kill in the middle of `prune` leaves it."""
    remember()
    (place() / "meta.json").unlink()
    found, made = remember()
    assert made and same(found)
    found, made = remember()
    assert not made and same(found)


def test_damage_that_cannot_be_removed_does_no_harm(monkeypatch, capsys):
    remember()
    flip(place())
    monkeypatch.setattr("shutil.rmtree", lambda *_, **__: None)
    for _ in range(2):
        found, made = remember_elsewhere()
        assert made and same(found)
        assert "are damaged" in capsys.readouterr().out


def test_checksums_are_compared_once_in_a_process(monkeypatch):
    remember()
    fresh = Cache(default_cache().folder)
    seen, crc32 = [], module._crc32_of_file
    monkeypatch.setattr(module, "_crc32_of_file", lambda *given: seen.append(1) or crc32(*given))
    for _ in range(3):
        remember(cache=fresh)
    assert len(seen) == len(ARRAYS)


# --- several processes

WRITER = """
import sys, time
import numpy as np
from clipft.disk.cache import default_cache
def make():
    print("makes", flush=True)
    sys.stdin.readline()  # go on when told to: all write at once
    return {"a": np.arange(300_000.0), "b": np.array([7])}
found = default_cache().remember("embeddings", "many", {"x": 1}, make)
print(type(found["a"]).__name__, found["a"].sum(), found["b"][0], flush=True)
"""


def start(code):
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_processes_write_one_entry(cache):
    writers = [start(WRITER) for _ in range(2)]
    assert [writer.stdout.readline() for writer in writers] == ["makes\n"] * 2
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        out, err = writer.communicate(timeout=60)
        assert (out, err, writer.returncode) == (f"memmap {np.arange(300_000.0).sum()} 7\n", "", 0)
    assert len(list(cache.arrays.iterdir())) == 1
    assert place().name[0] != "."
    reader = start(WRITER)
    assert reader.communicate(timeout=60)[0].startswith("memmap ")  # nothing was made


KILLED = """
import os, signal
import numpy as np
from clipft.disk import cache
cache.{at} = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
arrays = {{"a": np.arange(9.0)}}
cache.default_cache().keep("embeddings", "cut short", {{"x": 1}}, arrays)
"""


@pytest.mark.parametrize("at", ["_write", "os.chmod", "os.rename"])
def test_a_killed_writer_leaves_nothing_that_is_read(cache, at):
    writer = start(KILLED.format(at=at))
    writer.communicate(timeout=60)
    assert writer.returncode == -signal.SIGKILL
    left = place()  # its unfinished folder
    assert cache.find("embeddings", {"x": 1}) is None
    assert cache.entries() == []
    found, made = remember({"x": 1})
    assert made and same(found)
    assert not left.exists()  # it was of the same entry
    cache.prune()
    assert list(cache.arrays.iterdir()) == []


def test_prune_leaves_what_is_being_written(cache):
    """By a process that is there, however long ago it began; by another machine, for a day."""
    writer = start("import time; print(flush=True); time.sleep(60)")
    writer.stdout.readline()
    cache.arrays.mkdir(parents=True)
    days_ago = time.time() - 2 * 86_400
    entries = {}
    for name, machine in {"here": who(), "there, old": "0" * 6, "there": "0" * 6}.items():
        entries[name] = cache.arrays / f".{name}.{machine}-{writer.pid}-abc.tmp"
        entries[name].mkdir()
        if name != "there":
            os.utime(entries[name], (days_ago, days_ago))
    cache.prune()
    assert [name for name, entry in entries.items() if entry.exists()] == ["here", "there"]

    writer.kill()
    writer.communicate()
    cache.prune()
    assert [name for name, entry in entries.items() if entry.exists()] == ["there"]


# --- an array that is written by rows


def drafted(parts, rows=4, key=None):
    with default_cache().draft("embeddings", "by rows", key or {"x": 1}, (rows, 3)) as draft:
        for part in parts:
            draft.add(part)


def test_rows_that_are_written_as_they_come_are_an_entry_like_any_other(cache):
    whole = np.arange(12.0, dtype=np.float32).reshape(4, 3)
    drafted([whole[:3], whole[3:]])
    assert np.array_equal(cache.find("embeddings", {"x": 1})["embeddings"], whole)
    again = Cache(cache.folder)  # which compares checksums
    assert np.array_equal(again.find("embeddings", {"x": 1})["embeddings"], whole)
    cache.keep("embeddings", "at once", {"x": 2}, {"embeddings": whole})
    files = [
        (path / "embeddings.npy").read_bytes() for path in (entry.path for entry in cache.entries())
    ]
    assert files[0] == files[1]


def test_rows_that_are_missing_leave_nothing(cache):
    rows = np.ones((2, 3), np.float32)
    drafted([rows])
    with pytest.raises(KeyError):
        drafted(broken(rows))
    assert cache.entries() == [] and list(cache.arrays.iterdir()) == []


def broken(rows):
    yield rows
    yield rows
    raise KeyError


@pytest.mark.parametrize("step", ["tempfile.mkdtemp", "os.rename"])
def test_rows_for_which_the_disk_has_no_room_are_said_once(cache, step, monkeypatch, capsys):
    rows = np.ones((2, 3), np.float32)
    with monkeypatch.context() as patch:
        patch.setattr(step, full)
        for number in range(3):
            drafted([rows, rows], key={"x": number})
    assert capsys.readouterr().out.count("the cache is off") == 1
    assert list(cache.arrays.iterdir()) == []


# --- a disk that refuses


def full(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def forbidden(*_, **__):
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


@pytest.mark.parametrize("refuse", [full, forbidden])
@pytest.mark.parametrize("step", ["numpy.save", "os.chmod", "os.rename", "tempfile.mkdtemp"])
def test_a_disk_that_refuses_is_said_once(cache, step, refuse, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        patch.setattr(step, refuse)
        for number in range(3):
            found, made = remember({"x": number})
            assert made and same(found)
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and "the cache is off" in said
    assert ("no space left" if refuse is full else "permission denied") in said
    assert list(cache.arrays.iterdir()) == []  # no temporary folder either
    remember()
    assert not remember()[1]  # when there is room again


def test_a_file_where_the_folder_should_be(home, cache, capsys):
    home.write_text("no folder")
    for _ in range(2):
        found, made = remember()
        assert made and same(found)
    assert capsys.readouterr().out.count("the cache is off") == 1
    assert (cache.entries(), cache.prune(), home.read_text()) == ([], [], "no folder")


@contextlib.contextmanager
def whom_permissions_stop():
    """As another user where we are root, who may write everywhere."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)  # nobody
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_a_folder_that_is_read_only(monkeypatch, capsys):
    # Not in tmp_path, into which other users cannot look.
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setenv("CLIPFT_CACHE", folder)
        arrays = default_cache().arrays
        arrays.mkdir()
        arrays.chmod(0o555)
        Path(folder).chmod(0o755)
        with whom_permissions_stop():
            found, made = remember()
        assert made and same(found) and "the cache is off" in capsys.readouterr().out
        assert list(arrays.iterdir()) == []


def test_a_time_that_cannot_be_written_does_no_harm(monkeypatch):
    """A cache that others filled may be readable alone."""
    remember()
    monkeypatch.setattr("os.utime", forbidden)
    found, made = remember()
    assert not made and same(found)


def test_others_may_read_what_was_kept():
    mask = os.umask(0o022)
    try:
        remember()
    finally:
        os.umask(mask)
    assert place().stat().st_mode & 0o777 == 0o755
    assert {file.stat().st_mode & 0o777 for file in place().iterdir()} == {0o644}


# --- listing and removing


def aged(title, days, key):
    """An entry last used so many days ago."""
    cache = default_cache()
    cache.arrays.mkdir(parents=True, exist_ok=True)
    before = set(cache.arrays.iterdir())
    cache.keep("embeddings", title, {"x": key}, ARRAYS)
    (new,) = set(cache.arrays.iterdir()) - before
    then = time.time() - 86400 * days
    os.utime(new, (then, then))
    return new


def test_entries_are_listed_the_longest_unused_first(home, cache):
    (home / "emoji-1").mkdir(parents=True)
    (home / "emoji-1" / "a.png").write_bytes(b"x" * 1000)
    folders = {days: aged(f"{days} days", days, days) for days in (1, 9, 4)}
    found = cache.entries()
    assert [entry.title for entry in found] == ["9 days", "4 days", "1 days", "emoji-1"]
    assert [entry.kind for entry in found] == ["embeddings"] * 3 + ["data set"]
    assert found[-1].size == 1000
    assert found[0].path == folders[9]
    assert found[0].size == sum(file.stat().st_size for file in folders[9].iterdir())


@pytest.mark.parametrize(("days", "gone"), [(0, {1, 4, 9}), (2, {4, 9}), (4.5, {9}), (10, set())])
def test_prune_by_days(home, cache, days, gone):
    (home / "emoji-1").mkdir(parents=True)
    os.utime(home / "emoji-1", (0, 0))  # data sets stay, however old
    folders = {age: aged(f"{age} days", age, age) for age in (1, 4, 9)}
    assert {entry.title for entry in cache.prune(days)} == {f"{age} days" for age in gone}
    assert {age for age, folder in folders.items() if not folder.exists()} == gone
    assert (home / "emoji-1").exists()


def test_what_is_used_is_young_again(cache):
    aged("old", 9, 1)
    assert cache.find("embeddings", {"x": 1}) is not None
    assert cache.prune(1) == []


def test_what_is_open_outlives_its_entry(cache):
    found, _ = remember()
    cache.prune()
    assert same(found)
    assert remember()[1]


def test_a_disk_that_keeps_what_is_pruned_is_one_line(cache, monkeypatch):
    remember()
    monkeypatch.setattr("shutil.rmtree", forbidden)
    with pytest.raises(StorageError, match="permission denied") as caught:
        cache.prune()
    assert "\n" not in str(caught.value)


def test_the_same_folder_is_the_same_cache(home, cache, monkeypatch):
    assert default_cache() is cache and cache.folder == home
    monkeypatch.setenv("CLIPFT_CACHE", str(home / "other"))
    assert default_cache() is not cache


def test_no_cache_at_all(cache):
    assert (cache.entries(), cache.prune(), cache.find("embeddings", KEY)) == ([], [], None)
