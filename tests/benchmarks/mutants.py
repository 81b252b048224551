"""Does the suite notice a wrong line? Forty small faults, drawn by a fixed seed over all rooms.

    python tests/benchmarks/mutants.py draw                  # writes mutants.json, once
    python tests/benchmarks/mutants.py run --pass after      # who kills each of them
    python tests/benchmarks/mutants.py run --pass after --rest --only 3,17
    python tests/benchmarks/mutants.py table

A fault is one operator, number, flag or returned value of an executable line, changed. It is put
into a scratch copy of the checkout, and tests run there: first the one that an earlier pass names,
then those of the fault's own room. --rest looks at those that lived: all tests but the browser's
run once to see which run the faults' lines, and these once more for each fault. A test counts as
a kill only if it passes on the copy without the fault.
"""

import argparse
import ast
import importlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECORD = Path(__file__).with_suffix(".json")
SEED = 21
COUNT = 40
# In figures and explorers numbers and flags are sizes, colours and what a legend shows.
COSMETIC = {"figures": {"number", "flag"}, "widgets": {"number", "flag"}}
ROOT_TESTS = {
    ".": ["tests/test_config.py", "tests/test_errors.py", "tests/test_methods.py"],
    "testing": ["tests/test_testing.py"],
}
COMPARISONS = {
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
}
ARITHMETIC = {ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "/")}
LOGIC = {ast.And: ("and", "or"), ast.Or: ("or", "and")}
REACHED = """import os

seen = set()


def at(number):
    where = os.environ.get("PYTEST_CURRENT_TEST", "")
    if (number, where) not in seen:
        seen.add((number, where))
        with open(os.environ["REACHED"], "a") as file:
            file.write(f"{number} {where}\\n")
"""
SURVIVED = "survived its room"
HOUR = 3600  # seconds for one run of tests: a guard against a loop without end


# --- drawing ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Site:
    """Bytes [start, end) of a line (AST columns count bytes) and what stands there instead."""

    kind: str
    line: int
    start: int
    end: int
    instead: str


class Sites(ast.NodeVisitor):
    """All places of a file where a fault can be put."""

    def __init__(self, text: str):
        self.lines = [line.encode() for line in text.splitlines()]
        self.found: list[Site] = []
        self.visit(ast.parse(text))

    def add(self, kind: str, node: ast.AST, instead: str) -> None:
        if node.lineno == node.end_lineno:
            site = Site(kind, node.lineno - 1, node.col_offset, node.end_col_offset, instead)
            self.found.append(site)

    def swap(self, kind: str, left: ast.AST, right: ast.AST, pair: tuple[str, str]) -> None:
        """Change the operator that stands between two operands of one line."""
        if left.end_lineno != right.lineno:
            return
        between = self.lines[right.lineno - 1][left.end_col_offset : right.col_offset].decode()
        was, instead = pair
        if was in between:
            changed = between.replace(was, instead, 1)
            line, start, end = right.lineno - 1, left.end_col_offset, right.col_offset
            self.found.append(Site(kind, line, start, end, changed))

    # What is no executable line, or only a message.

    def visit_JoinedStr(self, node):
        pass

    def visit_Raise(self, node):
        pass

    def visit_AnnAssign(self, node):
        if node.value is not None:
            self.visit(node.value)

    def visit_FunctionDef(self, node):
        for default in [*node.args.defaults, *filter(None, node.args.kw_defaults)]:
            self.visit(default)
        for statement in node.body:
            self.visit(statement)

    def visit_ClassDef(self, node):
        for statement in node.body:
            self.visit(statement)

    # What can be changed.

    def visit_Compare(self, node):
        pair = COMPARISONS.get(type(node.ops[0]))
        if pair is not None:
            self.swap("comparison", node.left, node.comparators[0], pair)
        self.generic_visit(node)

    def visit_BinOp(self, node):
        pair = ARITHMETIC.get(type(node.op))
        # Of texts and lists the change is only a TypeError.
        texts = [
            isinstance(side, ast.JoinedStr | ast.List)
            or (isinstance(side, ast.Constant) and isinstance(side.value, str))
            for side in (node.left, node.right)
        ]
        if pair is not None and not any(texts):
            self.swap("arithmetic", node.left, node.right, pair)
        self.generic_visit(node)

    def visit_BoolOp(self, node):
        self.swap("logic", node.values[0], node.values[1], LOGIC[type(node.op)])
        self.generic_visit(node)

    def visit_UnaryOp(self, node):
        if isinstance(node.op, ast.Not) and node.lineno == node.end_lineno:
            inner = self.lines[node.lineno - 1][node.operand.col_offset : node.end_col_offset]
            self.add("not", node, inner.decode())
        self.generic_visit(node)

    def visit_Constant(self, node):
        if isinstance(node.value, bool):
            self.add("flag", node, str(not node.value))
        elif isinstance(node.value, int):
            self.add("number", node, str(node.value + 1))

    def visit_Return(self, node):
        if node.value is not None and ast.unparse(node.value) != "None":
            self.add("return", node, "return None")
        self.generic_visit(node)


def room_of(file: Path) -> str:
    """The room of clipft/ that a file is in: "." for those beside the rooms."""
    parts = file.relative_to(ROOT / "clipft").parts
    if parts == ("testing.py",):
        return "testing"
    return parts[0] if len(parts) > 1 else "."


def sites_by_room() -> dict[str, list[tuple[Path, Site]]]:
    """Every place in the library, by room."""
    rooms: dict[str, list[tuple[Path, Site]]] = {}
    for file in sorted((ROOT / "clipft").rglob("*.py")):
        room = room_of(file)
        for site in Sites(file.read_text()).found:
            if site.kind not in COSMETIC.get(room, set()):
                rooms.setdefault(room, []).append((file, site))
    return rooms


def fault(room: str, file: Path, site: Site) -> dict:
    """What is recorded of a fault: the line before and after, found again by its text."""
    lines = file.read_text().splitlines()
    before = lines[site.line]
    code = before.encode()
    after = (code[: site.start] + site.instead.encode() + code[site.end :]).decode()
    return {
        "room": room,
        "file": str(file.relative_to(ROOT)),
        "kind": site.kind,
        "before": before,
        "after": after,
        "nth": lines[: site.line].count(before),  # of equal lines of the file
    }


def draw() -> list[dict]:
    """Two faults a room, the rest from the largest rooms; first the kind, then the place."""
    rooms = sites_by_room()
    quota = Counter(dict.fromkeys(rooms, 2))
    for room in sorted(rooms, key=lambda name: -len(rooms[name]))[: COUNT - 2 * len(rooms)]:
        quota[room] += 1
    rng = random.Random(SEED)
    faults = []
    for room in sorted(rooms):
        taken = set()
        while len(taken) < quota[room]:
            kind = rng.choice(sorted({site.kind for _, site in rooms[room]}))
            file, site = rng.choice([pair for pair in rooms[room] if pair[1].kind == kind])
            if (file, site.line) not in taken:
                taken.add((file, site.line))
                faults.append(fault(room, file, site))
    return faults


# --- running ----------------------------------------------------------------------------------


def place_of(copy: Path, fault: dict) -> tuple[dict, int] | None:
    """A fault as it is put into this copy, and its line, from 0; None if that is not there.

    Where the line was written anew since, "now" says what is the same fault today.
    """
    for version in (fault, fault.get("now")):
        if version is None or not (copy / version["file"]).exists():
            continue
        lines = (copy / version["file"]).read_text().splitlines()
        places = [number for number, line in enumerate(lines) if line == version["before"]]
        if len(places) > version["nth"]:
            return version, places[version["nth"]]
    return None


def put(copy: Path, fault: dict) -> None:
    """Write a fault into a copy."""
    version, line = place_of(copy, fault)
    file = copy / version["file"]
    lines = file.read_text().splitlines()
    lines[line] = version["after"]
    file.write_text("\n".join(lines) + "\n")


def ended(child: int) -> int | None:
    """The exit code of a process that leads its session; None if it was ended after an hour."""
    give_up = time.monotonic() + HOUR
    while time.monotonic() < give_up:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.2)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def statement_of(copy: Path, fault: dict) -> int:
    """The line on which the innermost statement around a fault begins, counted from 0.

    An `elif` counts as its `if`: nothing can be put between the two.
    """
    version, line = place_of(copy, fault)
    text = (copy / version["file"]).read_text()
    found = 0
    for node in ast.walk(ast.parse(text)):
        blocks = [getattr(node, name, []) for name in ("body", "orelse", "finalbody")]
        for statement in (each for block in blocks if isinstance(block, list) for each in block):
            begins = statement.lineno - 1
            is_elif = text.splitlines()[begins].lstrip().startswith("elif ")
            if begins <= line < statement.end_lineno and begins >= found and not is_elif:
                found = begins
    return found


def copy_tree(to: Path) -> None:
    """Copy what git tracks, and what it would."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).exists():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)


class Scratch:
    """A copy of the checkout in which tests run, and which tests fail there without any fault."""

    def __init__(self, folder: Path):
        self.copy = folder / "copy"
        self.folder = folder
        self.sound: dict[str, bool] = {}
        copy_tree(self.copy)

    def failed(self, tests: list[str], leave: list[str]) -> str | None:
        """The first test that fails, None if none does."""
        for name in ("cache", "temporary", "copy/.hypothesis"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        arguments = ["-vv", "-x", "-rfE", "--tb=no", "-p", "no:xdist"]
        arguments += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # loaded before the fork
        arguments += [f"--basetemp={self.folder / 'temporary'}", *leave, *tests]
        log = self.folder / "log"
        child = os.fork()
        if child == 0:
            self.test(arguments, log)
        code = ended(child)
        said = log.read_text()
        # 4: a test that an earlier pass names is no longer there; 5: none was left to run.
        if code in (0, 4, 5):
            return None
        if named := re.findall(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", said, re.MULTILINE):
            return named[0]
        if begun := re.findall(r"^(tests/\S+)", said, re.MULTILINE):
            return begun[-1]  # it never came to an end, or took the process with it
        raise RuntimeError(f"pytest ended with {code} and names no test:\n{said[-2000:]}")

    def test(self, arguments: list[str], log: Path) -> None:
        """In a forked process: be pytest on the copy, and end."""
        os.setsid()
        with log.open("w") as stream:
            os.dup2(stream.fileno(), 1)
            os.dup2(stream.fileno(), 2)
        os.chdir(self.copy)
        sys.path[0] = str(self.copy)
        os.environ["PYTHONPATH"] = str(self.copy)
        os.environ["CLIPFT_CACHE"] = str(self.folder / "cache")  # a fault's arrays go to no other's
        sys.argv = ["pytest", *arguments]
        code = 3
        try:
            code = int(pytest.main(arguments))
        except BaseException:  # the fork must not go on as its parent
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)

    def reached(self, faults: dict[int, dict]) -> dict[int, set[str]]:
        """The tests that run the lines of some faults, in this process or in one that they start.

        Only these can notice a fault. A line that a fixture runs is of the test that asked first,
        so all tests of that file count.
        """
        seen = self.folder / "reached"
        seen.touch()
        os.environ["REACHED"] = str(seen)
        (self.copy / "reached.py").write_text(REACHED)
        # From the last line to the first, so that the numbers of the others stay.
        marks = sorted(
            (
                (place_of(self.copy, fault)[0]["file"], statement_of(self.copy, fault), number)
                for number, fault in faults.items()
            ),
            reverse=True,
        )
        for name, line, number in marks:
            file = self.copy / name
            lines = file.read_text().splitlines()
            indent = lines[line][: len(lines[line]) - len(lines[line].lstrip())]
            lines.insert(line, f"{indent}__import__('reached').at({number})")
            file.write_text("\n".join(lines) + "\n")
        self.failed(["tests"], ["--ignore=tests/browser", "--maxfail=10000"])
        for name in {name for name, _, _ in marks}:
            shutil.copy2(ROOT / name, self.copy / name)

        tests = {number: set() for number in faults}
        for line in seen.read_text().splitlines():
            number, _, where = line.partition(" ")
            test, _, phase = where.rpartition(" ")
            tests[int(number)].add(test if phase == "(call)" else test.split("::")[0])
        return tests

    def is_sound(self, test: str) -> bool:
        """Whether a test passes on the copy as it is now, without a fault."""
        if test not in self.sound:
            self.sound[test] = self.failed([test], []) is None
        return self.sound[test]

    def killer(self, fault: dict, tests: list[str], ignore: list[str]) -> str | None:
        """The first test that fails with a fault and passes without it."""
        while True:
            unsound = [f"--deselect={test}" for test, sound in self.sound.items() if not sound]
            name = place_of(self.copy, fault)[0]["file"]
            put(self.copy, fault)
            failed = self.failed(tests, [*ignore, *unsound])
            shutil.copy2(ROOT / name, self.copy / name)
            if failed is None or self.is_sound(failed):
                return failed


def own_tests(copy: Path, fault: dict) -> list[str]:
    """The tests of a fault's room."""
    own = ROOT_TESTS.get(fault["room"], [f"tests/{fault['room']}"])
    return [path for path in own if (copy / path).exists()]


def judge(scratch: Scratch, fault: dict, known: str | None) -> str:
    """Who kills a fault: the test that an earlier pass names, or one of its room."""
    if place_of(scratch.copy, fault) is None:
        return "its line is gone"
    if known is not None and (scratch.copy / known.split("::")[0]).exists():
        if killer := scratch.killer(fault, [known], []):
            return killer
    return scratch.killer(fault, own_tests(scratch.copy, fault), []) or SURVIVED


def judge_by_others(scratch: Scratch, fault: dict, reached: set[str]) -> str:
    """Who kills a fault that its room let live: of all tests that run its line."""
    own = tuple(own_tests(scratch.copy, fault))
    others = sorted(test for test in reached if test and not test.startswith(own))
    if "" in reached:
        others = ["tests"]  # while modules are read: any test may tell
    killer = scratch.killer(fault, others, ["--ignore=tests/browser"]) if others else None
    return killer or f"survived all; {len(others)} tests of other rooms run its line"


def judge_by(scratch: Scratch, fault: dict, name: str, tests: list[str]) -> str:
    """Who of these tests kills a fault that lived so far; all that it survived if none does."""
    killer = scratch.killer(fault, tests, [])
    return killer or f"{fault[name]}, {', '.join(tests)}"


def load_libraries() -> None:
    """Heavy libraries are loaded once, not by every run of tests; clipft itself by each."""
    os.environ["OMP_NUM_THREADS"] = "1"
    names = ("open_clip", "pandas", "plotly.graph_objects", "scipy.stats", "sklearn.manifold")
    for name in names:
        importlib.import_module(name)


def run(name: str, only: set[int], rest: bool, tests: list[str]) -> None:
    """Judge faults and write who killed them under a pass's name."""
    load_libraries()
    faults = json.loads(RECORD.read_text())
    todo = {
        number: fault
        for number, fault in enumerate(faults)
        if (number in only if only else fault.get(name) == (SURVIVED if rest else None))
    }
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        scratch = Scratch(Path(folder))
        reached = scratch.reached(todo) if rest else {}
        for number, fault in todo.items():
            if tests:
                fault[name] = judge_by(scratch, fault, name, tests)
            elif rest:
                fault[name] = judge_by_others(scratch, fault, reached[number])
            else:
                earlier = fault.get("before_pass", "")
                is_test = earlier.startswith("tests/") and name != "before_pass"
                fault[name] = judge(scratch, fault, earlier if is_test else None)
            print(number, fault["file"], fault["after"].strip(), "->", fault[name], flush=True)
            RECORD.write_text(json.dumps(faults, indent=1) + "\n")


def table() -> None:
    """The share that each pass killed, and who survived."""
    faults = json.loads(RECORD.read_text())
    for name in ("before_pass", "after_pass"):
        judged = [fault[name] for fault in faults if name in fault]
        killed = [said for said in judged if said.startswith("tests/")]
        print(f"{name}: {len(killed)} of {len(judged)} killed")
    for number, fault in enumerate(faults):
        said = fault.get("after_pass", fault.get("before_pass", "not judged"))
        if not said.startswith("tests/"):
            print(number, fault["file"], fault["before"].strip(), "->", fault["after"].strip())
            print("   ", said, fault.get("why", ""))


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("verb", choices=["draw", "run", "table"])
    parser.add_argument("--pass", dest="name", choices=["before", "after"], default="after")
    parser.add_argument("--only", default="", help="numbers of faults, with commas")
    parser.add_argument("--rest", action="store_true", help="what survived its room: all the rest")
    parser.add_argument("--tests", default="", help="with --only: these tests alone, with commas")
    given = parser.parse_args()
    if given.verb == "draw":
        RECORD.write_text(json.dumps(draw(), indent=1) + "\n")
    elif given.verb == "run":
        only = {int(number) for number in given.only.split(",") if number}
        run(
            f"{given.name}_pass",
            only,
            given.rest,
            [test for test in given.tests.split(",") if test],
        )
    else:
        table()


if __name__ == "__main__":
    main()
