"""The command on many runs at once: list, label and prune them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from ..errors import ConfigError
from .app import Markdown, Runs
from .terminal_tables import show

if TYPE_CHECKING:
    from ..runs.folder import RunFolder

WANTED = "wanted: clipft runs tag RUN... +good -bad, clipft runs name RUN NAME, runs note RUN TEXT"


def runs(
    words: Annotated[
        list[str] | None,
        Argument(
            metavar="[list|prune|tag|name|note] [RUN...] [KEY=VALUE...]",
            help="what to do, list if left out; then which: ids, names, settings, tags=, state=",
        ),
    ] = None,
    runs: Runs = "runs",
    weights: Annotated[
        bool, Option("--weights", help="prune: also the weights of scored runs; numbers stay")
    ] = False,
    keep_best: Annotated[
        bool, Option("--keep-best", help="with --weights: but those of each method's best recipe")
    ] = False,
    members: Annotated[
        bool, Option("--members", help="with --weights: also those that an ensemble needs")
    ] = False,
    unfinished: Annotated[
        float | None,
        Option(metavar="DAYS", help="prune: also whole runs that are not finished, so long idle"),
    ] = None,
    yes: Annotated[
        bool, Option("--yes", help="prune: remove; without it, only say what would go")
    ] = False,
    as_markdown: Markdown = False,
) -> None:
    """List runs (clipft runs method=ft), prune them (prune), name them (name RUN NAME), tag them
    (tag RUN... +good -bad), or note something (note RUN TEXT).
    """
    given = words or []
    for word in given:
        if word.startswith("--"):
            raise ConfigError(f"no option {word}; those there are: clipft runs --help")
    verb = given[0] if given and given[0] in VERBS else "list"
    rest = given[1:] if given and given[0] in VERBS else given
    of_prune = {"--weights": weights, "--keep-best": keep_best, "--members": members}
    of_prune |= {"--unfinished": unfinished is not None, "--yes": yes}
    if verb == "prune":
        _check_prune(of_prune)
        _prune(rest, runs, unfinished=unfinished, options=of_prune)
        return
    for option, value in of_prune.items():
        if value:
            raise ConfigError(f"{option} is for clipft runs prune; nothing was done")
    if verb == "list":
        _list(rest, runs, as_markdown=as_markdown)
    else:
        LABELS[verb](rest, runs)


def _list(words: Sequence[str], runs: str, *, as_markdown: bool) -> None:
    """Print a row for each of the runs that words choose."""
    from ..runs.listing import choose

    chosen = choose(runs, words)
    rows = [run.row() for run in chosen]
    # Nobody labelled any: no empty columns.
    empty = [key for key in ("name", "tags", "note") if not any(row[key] for row in rows)]
    for row in rows:
        for key in empty:
            del row[key]
    show(rows, as_markdown=as_markdown)
    megabytes = sum(float(row["MB"]) for row in rows)
    print(f"{_counted(len(rows))}, {_size(1e6 * megabytes)}")


def _check_prune(options: dict[str, bool]) -> None:
    for option in ("--keep-best", "--members"):
        if options[option] and not options["--weights"]:
            raise ConfigError(f"{option} is about weights; wanted: --weights {option}")


def _prune(
    words: Sequence[str], runs: str, *, unfinished: float | None, options: dict[str, bool]
) -> None:
    """Remove what can go, or say what would; sizes before and after."""
    from ..runs.listing import choose
    from ..runs.pruning import GONE, WOULD_GO, best_runs, prune

    chosen = choose(runs, words)
    before = sum(run.size for run in chosen)
    targets: str | list[RunFolder] = runs  # with what lies beside the runs
    if words or options["--keep-best"]:
        kept = best_runs(runs) if options["--keep-best"] else set()
        targets = [run.folder for run in chosen if run.folder.name not in kept]
    pruned = prune(
        targets,
        weights=options["--weights"],
        unfinished=unfinished,
        members=options["--members"],
        dry_run=not options["--yes"],
    )
    rows = []
    for row in pruned.to_dict("records"):
        rows.append(row | {"bytes": _size(row["bytes"])})
    if rows:
        show(rows)
    freed = int(pruned.bytes[pruned.fate.isin([GONE, WOULD_GO])].sum())
    sizes = f"{_size(before)} before, {_size(before - freed)} after"
    undone = "" if options["--yes"] else "; nothing was removed: to do it, --yes"
    print(f"{_counted(len(chosen))}: {sizes}{undone}")


def _tag(words: Sequence[str], runs: str) -> None:
    """Add and remove tags of the runs that words choose."""
    from ..runs.labels import label
    from ..runs.listing import choose

    add = [word[1:] for word in words if word.startswith("+")]
    remove = [word[1:] for word in words if word.startswith("-")]
    which = [word for word in words if word[:1] not in ("+", "-")]
    if not which or not (add or remove):
        raise ConfigError(f"a tag needs runs, and +TAG or -TAG; {WANTED}")
    for run in choose(runs, which):
        tags = label(run.folder, add=add, remove=remove).tags
        print(f"{run.folder}: {' '.join(tags) or 'no tag'}")


def _name(words: Sequence[str], runs: str) -> None:
    """Name a run."""
    from ..runs.labels import label

    folder, text = _one(words, runs)
    label(folder, name=text)
    print(f"{folder} is called {text}" if text else f"{folder} has no name")


def _note(words: Sequence[str], runs: str) -> None:
    """Note something about a run."""
    from ..runs.labels import label

    folder, text = _one(words, runs)
    label(folder, note=text)
    print(f"{folder}: {text}" if text else f"{folder} has no note")


def _one(words: Sequence[str], runs: str) -> tuple[RunFolder, str]:
    """The folder of one run, and the text that is given for it."""
    from ..runs.listing import choose

    if len(words) != 2:
        raise ConfigError(f"expected a run and a text, '' to take it away; {WANTED}")
    (run,) = choose(runs, words[:1])[:1]
    return run.folder, words[1]


def _counted(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"


def _size(count: float) -> str:
    """Bytes as a reader would say them."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


LABELS = {"tag": _tag, "name": _name, "note": _note}
VERBS = ("list", "prune", *LABELS)
