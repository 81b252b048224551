"""What hostile files hold, and a watch over what is opened and written while they are read."""

import contextlib
import faulthandler
import os
import sys
import sysconfig
from pathlib import Path

from hypothesis import HealthCheck, settings, strategies as st

import clipft

EXAMPLES = int(os.environ.get("CLIPFT_FUZZ", "0"))  # 0: a few, always the same
HANGS_AFTER = 60  # seconds of one example, after which the process ends with all its tracebacks
# Texts that mean something to a file system, a page, a terminal, a table, or a parser.
TOKENS = [
    *("../../secret/x.png", "/etc/passwd", "..", ".", "", "a/b", "/", "~", "~root/x", "C:\\x"),
    *("<img src=x onerror=alert(1)>", '"><script>alert(1)</script>', "${x}", "{{x}}", "[/red]"),
    *("\0", "\x1b[31m", "\u202e", "é", "e\u0301", "\ud7ff", "\U0001f600", "\ufeff", "\r", "\u2028"),
    *("=1+1", "@x", "-1", "1e999", "nan", ".inf", "9" * 400, "0x10", "1_0", "010", "2020-13-45"),
    *("null", "yes", "~", "- a", "a: b", "&a [*a]", "*a", "<<: *a", "!!python/x", "? x", "| x"),
    *("[" * 120, "{a: " * 120, "x" * 300, "x" * 5000, "{domain}", "{split}", "{}", "{class}"),
    *("real", "sketch", "clipart", "apple", "bee", "mini", "openai", "imagenet", "any", "found"),
    *("real/apple/real_000_train0.png", "real_train.txt", "mini.classes.yaml", "..\\..\\x"),
]  # fmt: skip
words = st.one_of(st.sampled_from(TOKENS), st.text(max_size=8))
numbers = st.one_of(
    st.integers(-3, 9), st.integers(), st.floats(), st.sampled_from([10**400, -(10**30), 1e308])
)
scalars = st.one_of(words, numbers, st.booleans(), st.none(), st.dates())
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)


def changed(base: dict, keys=(), more=values):
    """The mapping with some keys left out, and some given another value, or one that it lacks."""
    known = st.sampled_from(sorted({*base, *keys}))
    changes = st.dictionaries(st.one_of(known, known, known, words), more, max_size=3)
    left_out = st.sets(known, max_size=1)

    def change(pair):
        new, gone = pair
        return {key: value for key, value in (base | new).items() if key not in gone or key in new}

    return st.tuples(changes, left_out).map(change)


def spliced(text: bytes, tokens=TOKENS):
    """Bytes with some parts cut out, doubled, or replaced by a token or by any bytes."""
    places = st.integers(0, len(text))
    coded = [token.encode("utf-8", "surrogatepass") for token in tokens]
    parts = st.one_of(st.sampled_from(coded), st.binary(max_size=6))
    edits = st.lists(st.tuples(places, places, st.one_of(parts, st.none())), min_size=1, max_size=4)

    def edit(steps):
        content = text
        for *ends, part in steps:
            first, last = sorted(ends)
            content = content[:first] + (content[first:last] * 2 if part is None else part)
            content += text[last:]
        return content

    return edits.map(edit)


def fuzz(few: int):
    """Settings of a test: so many examples in the suite, $CLIPFT_FUZZ of them where that is set."""
    return settings(
        max_examples=EXAMPLES or few,
        derandomize=not EXAMPLES,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )


# --- what is opened and written

CHECKOUT = Path(clipft.__file__).parent.parent
LIBRARIES = {Path(path) for path in sysconfig.get_paths().values()}
READ = [CHECKOUT, *LIBRARIES, Path(sys.prefix), Path(sys.base_prefix), Path("/proc"), Path("/dev")]
READ += [Path("/sys"), Path("/usr/share"), Path("/usr/lib"), Path("/lib"), Path("/etc/mime.types")]
READ = [Path(os.path.realpath(path)) for path in READ]
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
MOVES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.truncate"}
_roots: list[Path] = []  # of the example that is watched
_left: list[str] = []  # what was opened or written out of them


def _note(event: str, args: tuple) -> None:
    if not _roots or event not in MOVES | {"open"}:
        return
    path = args[0]
    if isinstance(path, int) or path is None:
        return
    place = Path(os.path.realpath(os.fsdecode(path)))
    writes = event in MOVES or bool((args[2] or 0) & WRITES)
    allowed = _roots if writes else [*_roots, *READ]
    if not any(place.is_relative_to(root) for root in allowed) and place != Path("/dev/null"):
        _left.append(f"{event} {place}")


sys.addaudithook(_note)


@contextlib.contextmanager
def watched(*roots: Path):
    """Within, nothing is opened or written out of the roots; libraries are read. A hang ends it."""
    _roots[:] = [Path(os.path.realpath(root)) for root in roots]
    _left.clear()
    faulthandler.dump_traceback_later(HANGS_AFTER, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        _roots.clear()
    assert _left == [], _left


@contextlib.contextmanager
def refused_in_a_line():
    """Within, nothing but a ClipftError is raised, and that is of one readable line."""
    try:
        yield
    except clipft.ClipftError as error:
        said = str(error)
        assert len(said) <= 2000
        assert not any(sign in said for sign in "\0\x1b\u202e")
        said.encode()
