"""Commands on what runs are worth: evaluate, wise, diagnose, compare, confusions, pick, results,
verify.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Exit, Option

from ..errors import ConfigError
from .app import Alpha, Device, Devices, Markdown, Precision, RunPath, Runs, SkipBad, Workers
from .terminal_tables import print_models, print_scores, show, show_frame

if TYPE_CHECKING:
    from ..config import Reading

COARSE = (0.0, 0.25, 0.5, 0.75, 1.0)  # alphas where an adaptive sweep begins


def evaluate(
    run: Annotated[Path | None, Argument(help="a run's folder; or none, and --model")] = None,
    model: Annotated[
        list[str] | None,
        Option(metavar="NAME[:WEIGHTS]", help="a zero-shot model instead of a run; repeatable"),
    ] = None,
    pretrained: Annotated[str, Option(help="weights of models that are given without")] = "",
    manifest: Annotated[str, Option(help="the data set for --model")] = "",
    reference: Annotated[str, Option(help="the domain that others are shifts of")] = "",
    csv: Annotated[Path | None, Option(help="also write the tidy table of --model here")] = None,
    as_markdown: Markdown = False,
    device: Device = "auto",
    workers: Workers = "auto",
    precision: Precision = "",
    skip_bad: SkipBad = False,
) -> None:
    """Score a finished run's zero-shot and tuned model on every split; or, by --model and
    --manifest, zero-shot models without a run.
    """
    from ..config import TUNED, ZERO_SHOT, Reading

    reading = Reading(device=device, workers=workers, skip_bad=skip_bad, precision=precision)
    of_model = {"--pretrained": pretrained, "--manifest": manifest, "--reference": reference}
    of_model |= {"--csv": csv, "--markdown": as_markdown}
    given = [name for name, value in of_model.items() if value]
    if run is not None and (model or given):
        other = "--model" if model else given[0]
        raise ConfigError(
            f"{other} is for a model without a run, and {run} is given; leave out one"
        )
    if run is not None:
        _sweep(run, (ZERO_SHOT, TUNED), reading)
        return
    if not (model and manifest):
        raise ConfigError(
            "what to evaluate? wanted: a run, or --model NAME:WEIGHTS --manifest NAME"
        )
    _zero_shot(_with_weights(model, pretrained), manifest, reference, reading, csv, as_markdown)


def _with_weights(models: Sequence[str], pretrained: str) -> list[str]:
    """NAME:WEIGHTS of each; raises ConfigError where --pretrained would do nothing."""
    from ..runs.model_names import named

    if not pretrained:
        return list(models)
    bare = [name for name in models if not named(name)[1]]
    if not bare:
        raise ConfigError(
            f"every model has weights of its own; leave out --pretrained {pretrained}"
        )
    return [f"{name}:{pretrained}" if name in bare else name for name in models]


def _zero_shot(
    models: Sequence[str],
    manifest: str,
    reference: str,
    reading: Reading,
    csv: Path | None,
    as_markdown: bool,
) -> None:
    """Score zero-shot models; print them, and write their tidy table."""
    from ..disk.files import check_target, write_csv
    from ..runs.checks import check_evaluation

    check_evaluation(models, manifest, reference, skip_bad=reading.skip_bad)
    if csv:
        check_target(csv)

    from ..evaluation.zero_shot import evaluate as evaluate_models

    scores = evaluate_models(models, manifest, reference=reference, reading=reading)
    print_models(scores, as_markdown)
    if csv:
        write_csv(csv, scores)


def wise(
    run: RunPath,
    alpha: Annotated[list[float] | None, Option(help="0 zero-shot ... 1 tuned; repeatable")] = None,
    adaptive: Annotated[
        float, Option(min=0, max=1, help="more alphas where accuracy bends by more, e.g. 0.01")
    ] = 0.0,
    device: Device = "auto",
    devices: Devices = 1,
    workers: Workers = "auto",
    precision: Precision = "",
    skip_bad: SkipBad = False,
) -> None:
    """Sweep WiSE-FT's alpha over a finished run: 0, 0.1 ... 1 unless given, or 0, 0.25 ... and
    where it bends.
    """
    from ..config import ALPHAS, Reading

    default = COARSE if adaptive else ALPHAS
    where: dict[str, Any] = {"device": device, "devices": devices, "workers": workers}
    reading = Reading(**where, skip_bad=skip_bad, precision=precision)
    _sweep(run, alpha or default, reading, adaptive=adaptive)


def _sweep(folder: Path, alphas: Sequence[float], reading: Reading, adaptive: float = 0) -> None:
    """Score a run at these alphas, and at more of them if adaptive; print it."""
    from ..config import check_alpha
    from ..runs.checks import check_weights
    from ..runs.run import Run

    for alpha in alphas:
        check_alpha(alpha)
    run = Run.open(folder)
    if adaptive:
        check_weights(run)

    from ..evaluation.score import score

    score(run, alphas, adaptive=adaptive, reading=reading)
    scores = run.table()
    if adaptive:
        alphas = sorted(set(scores["alpha"]))
    print_scores(scores, alphas, run.config)


def diagnose(
    run: RunPath, alpha: Alpha = 1.0, device: Device = "auto", precision: Precision = ""
) -> None:
    """Energy gap and its errors, feature distortion, loss barrier, how far each layer moved, and
    whether shifted images are told from those of the reference.
    """
    from ..config import ALPHAS, ZERO_SHOT, Reading, check_alpha
    from ..runs.checks import check_weights
    from ..runs.detection import detection_table
    from ..runs.reading import barrier_table, distortion_table
    from ..runs.run import Run

    check_alpha(alpha)
    opened = Run.open(run)
    check_weights(opened)

    from ..evaluation.score import score
    from ..reports.energy_gap import gap_table
    from ..reports.weight_paths import layer_table

    reading = Reading(device=device, precision=precision)
    score(opened, [*ALPHAS, alpha], summarise=False, reading=reading)
    gaps = gap_table(opened, alpha, reading)
    units = f"squared logits, s = {gaps.attrs['scale']:.4g}; cosine_gap = energy_gap / s^2"
    show_frame(gaps, f"energy gap ({units})")
    distortion = distortion_table([opened], alpha)
    distortion = distortion.drop(columns=["run", "method", "lr", "steps", "seed", "domain", "part"])
    show_frame(distortion, "feature distortion; theory: reference > shifted")
    barriers = barrier_table(opened)
    show_frame(barriers, "rise above the line between the ends: NLL (nats), error (fraction)")
    show_frame(layer_table(opened, reading), "distance moved")
    detected = detection_table(opened, sorted({ZERO_SHOT, alpha}))
    if len(detected):
        told = ["alpha", "split", "score", "auroc", "auroc_low", "auroc_high", "fpr"]
        show_frame(detected[told], "shift told from reference test; fpr: at 95 % TPR (fractions)")


def compare(
    first: RunPath,
    second: Annotated[Path, Argument(help="another's")],
    alpha: Annotated[float, Option(help="of both: 0 zero-shot ... 1 tuned")] = 1.0,
) -> None:
    """Compare two runs on the same images: difference with its 95 % interval, McNemar's exact p."""
    from ..config import check_alpha
    from ..runs.reading import compare_runs
    from ..runs.run import Run

    check_alpha(alpha)
    pair = (Run.open(first), Run.open(second))

    from ..evaluation.score import score

    score(pair, [alpha], summarise=False)
    table = compare_runs(*pair, alpha)
    show_frame(table, "accuracy (fractions); only_first: images that the first alone gets right")


def confusions(
    run: RunPath,
    split: Annotated[str, Option(help="e.g. sketch/test; default: all test splits")] = "",
    alpha: Alpha = 1.0,
    most: Annotated[int, Option(min=1, help="so many pairs of classes")] = 20,
    as_markdown: Markdown = False,
) -> None:
    """Which class was taken for which, before and after tuning, the most frequent first."""
    from ..runs.confusion import confusion_table

    table = confusion_table(run, split, alpha, most)
    where = split or "all test splits"
    pairs = f"{len(table)} of {table.attrs['pairs']} pairs"
    title = f"images of {where}, {pairs}; here: alpha {alpha:g}; n: all of the class"
    show_frame(table, title, as_markdown)


def pick(
    runs: Runs = "runs",
    among: Annotated[str, Option(help="alphas of each run, or models of each seed")] = "alphas",
    unlabelled: Annotated[
        list[Path] | None,
        Option(metavar="FOLDER", help="images of the shift without labels; repeatable"),
    ] = None,
    device: Device = "auto",
    workers: Workers = "auto",
    skip_bad: SkipBad = False,
) -> None:
    """Choose alpha, or a model, without shift labels: by reference accuracy or energy gap too; with
    --unlabelled by agreement with zero-shot on images of the shift, and what accuracy is estimated
    there.
    """
    from ..runs.choosing import check_among, choices, verdict
    from ..runs.table import results as read_results
    from .unlabelled import check_folders, pick_unlabelled

    check_among(among)
    check_folders(unlabelled or ())
    table = read_results(runs)
    if unlabelled:
        from ..config import Reading

        reading = Reading(device=device, workers=workers, skip_bad=skip_bad)
        pick_unlabelled(table, runs, unlabelled, among, reading)
        return
    chosen = choices(table, among)
    show_frame(chosen, "fractions; oracle: what the shift's own labels would take")
    print(f"by energy gap instead of accuracy: {verdict(chosen)}")


def results(
    runs: Runs = "runs",
    csv: Annotated[Path | None, Option(help="also write the tidy table here")] = None,
    calibration: Annotated[bool, Option(help="also NLL (nats) and ECE (%)")] = False,
    intervals: Annotated[
        bool, Option("--intervals", help="95 % intervals of the mean over seeds, in place of std")
    ] = False,
    watch: Annotated[
        bool, Option("--watch", help="stay, and show the table again when a run comes; end: Ctrl-C")
    ] = False,
    interval: Annotated[
        float | None, Option(min=0.01, help="with --watch: seconds between two looks; default: 5")
    ] = None,
    until: Annotated[
        int | None, Option(min=1, help="with --watch: end when so many runs are scored")
    ] = None,
    as_markdown: Markdown = False,
) -> None:
    """Print the table of all finished runs; with --watch, of a batch in flight."""
    from ..disk.files import check_target, write_csv
    from ..runs.table import results as read_results
    from .watch import INTERVAL, Look, groups

    if watch and csv:
        raise ConfigError("--csv goes without --watch; wanted: one of them")
    if not watch and (interval or until):
        raise ConfigError("--interval and --until go with --watch")
    if csv:
        check_target(csv)
    look = Look(calibration=calibration, intervals=intervals, as_markdown=as_markdown)
    if watch:
        look.watch(runs, interval or INTERVAL, until)
        return
    scores = read_results(runs)
    for rows, title, _ in groups(scores, calibration=calibration, intervals=intervals):
        show(rows, title, as_markdown)
    if scores.attrs["unfinished"]:
        print(f"left out, not finished or not scored: {', '.join(scores.attrs['unfinished'])}")
    if csv:
        write_csv(csv, scores)


def verify(
    runs: Annotated[list[Path], Argument(metavar="RUN...", help="run folders")],
    alpha: Annotated[
        list[float] | None, Option(help="one of those recorded; repeatable; default: all")
    ] = None,
    tolerance: Annotated[
        float | None,
        Option(min=0, help="of a number, as a part of it or of 1; default: a thousandth"),
    ] = None,
    device: Device = "auto",
    workers: Workers = "auto",
    precision: Precision = "",
    skip_bad: SkipBad = False,
) -> None:
    """Score runs again from their weights and compare; nothing is written. Exit 1: not as recorded.

    A line a run says: equal to the bit, or the largest difference and where.
    """
    from ..config import Reading, check_alpha
    from ..runs.checks import check_verifiable
    from ..runs.run import open_runs

    alphas = [check_alpha(given) for given in alpha or ()]
    # Of one folder of runs those that are not finished are left out.
    opened = open_runs(runs[0] if len(runs) == 1 else runs)
    for run in opened:
        check_verifiable(run)

    from ..evaluation.verify import TOLERANCE, verify_runs

    if tolerance is None:
        tolerance = TOLERANCE
    reading = Reading(device=device, workers=workers, skip_bad=skip_bad, precision=precision)
    all_hold = True
    for verification in verify_runs(opened, alphas, tolerance=tolerance, reading=reading):
        print(verification)
        all_hold = all_hold and verification.holds
    if not all_hold:
        raise Exit(1)
