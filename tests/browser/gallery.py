"""A figure of every kind over made-up numbers, with as many and as long names as real ones have."""

import importlib
import inspect
import itertools
import pkgutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from test_sweep import toy_sweep
from test_table import fake

from clipft import figures
from clipft.data import images
from clipft.data.severities import COMMON, SEVERITIES
from clipft.diagnostics.energy_map import EnergyMap
from clipft.figures.accuracy import accuracy_figure
from clipft.figures.calibration import reliability_figure, reliability_slider_figure
from clipft.figures.candidates import candidates_figure
from clipft.figures.confusions import confusion_figure
from clipft.figures.corruption import corruption_figure
from clipft.figures.detection import detection_figure
from clipft.figures.distortion import distortion_bars_figure, distortion_figure
from clipft.figures.energy_gap import Choice, class_figure, energy_gap_figure, leave_one_out_figure
from clipft.figures.energy_map import energy_map_figure
from clipft.figures.flips import class_losses_figure, flips_figure, group_figure
from clipft.figures.geometry import cka_figure, geometry_figure
from clipft.figures.images import contact_sheet_figure
from clipft.figures.on_the_line import on_the_line_figure
from clipft.figures.overview import overview_figure
from clipft.figures.panels import empty_figure, join_panels, line_figure, panel_row
from clipft.figures.parallel import parallel_figure
from clipft.figures.tables import table_figure, tables_figure
from clipft.figures.throughput import throughput_figure
from clipft.figures.trade_off import choice_figure, trade_off_figure
from clipft.figures.training import training_figure
from clipft.figures.weight_path import layer_figure, path_figure
from clipft.figures.wise import curves_figure, sweep_figure, wise_curve_figure, wise_slider_figure
from clipft.figures.without_labels import estimates_figure, record_figure, regret_figure
from clipft.methods import METHODS
from clipft.metrics.calibration import reliability
from clipft.metrics.correlation import correlation, leave_one_out
from clipft.papers import lipsum_ft
from clipft.papers.published import published
from clipft.reports import energy_map as maps
from clipft.runs.run import Run
from clipft.runs.shift_estimates import ESTIMATORS
from clipft.runs.table import results_table
from clipft.runs.track_record import regrets, track_record

# DomainNet's, with its longest name among the shifts.
DOMAINS = {"sketch/test": "infograph/test", "art/test": "painting/test"}
DOMAINNET = ("sketch", "infograph", "painting", "clipart")
COMBINED = ["ft+tpgm", "ft+tpgm_c", "lipsum+tpgm_c", "ft+greedy_soup", "lipsum+greedy_ensemble"]
WORDS = ["The Eiffel Tower", "aircraft carrier", "mushroom", "stethoscope", "sun", "zigzag"]
CLASSES = [*WORDS, "ice cream", "person in suit levitating"]
CALLED = "Lipsum-FT, lr 0.001, 120 steps, seed 3"
ABOUT = {
    "method": "lipsum",
    "lr": 1e-3,
    "steps": 120,
    "seed": 3,
    "run": "15fe07aa4c21",
    "manifest": "emoji_shift",
}
RATES = (1e-5, 1e-4, 1e-3)


def runs_of(recipes: list[tuple[str, float]], seeds: tuple[int, ...] = (0, 1)) -> pd.DataFrame:
    """`fake` results of four shifts, with feature distortion and plausible numbers."""
    table = fake(recipes=recipes, seeds=seeds, alphas=(0.0, 0.5, 0.8, 1.0))
    more = table[table.split.isin(DOMAINS)].assign(split=lambda rows: rows.split.map(DOMAINS))
    table = pd.concat([table, more], ignore_index=True)
    moved = table[(table.metric == "nll")].assign(metric="feature_distortion")
    return pd.concat([table, moved], ignore_index=True)


def gallery() -> dict[str, go.Figure]:
    """Name of a figure's function, and where it has several shapes which -> the figure."""
    few = runs_of([("ft", 1e-4), ("lipsum", 1e-4)])
    rates = runs_of(list(itertools.product(("ft", "l2sp", "lipsum"), RATES)))
    many = runs_of([(name, 1e-4) for name in [*METHODS, *COMBINED]], seeds=(0,))
    return {**_of_results(few, rates, many), **_of_runs(), **_others(few, rates)}


def _of_results(few: Any, rates: Any, many: Any) -> dict[str, go.Figure]:
    paper = published("1")
    return {
        "wise_slider_figure": wise_slider_figure(few),
        "wise_slider_figure, many": wise_slider_figure(many),
        "wise_curve_figure": wise_curve_figure(rates),
        "wise_curve_figure, many": wise_curve_figure(many),
        "energy_gap_figure": energy_gap_figure(few),
        "energy_gap_figure, rates": energy_gap_figure(rates, choice=Choice(run=rates.run[0])),
        "energy_gap_figure, many": energy_gap_figure(many),
        "on_the_line_figure": on_the_line_figure(rates, rates[rates.alpha == 0]),
        "on_the_line_figure, many": on_the_line_figure(many, alpha=None),
        "trade_off_figure": trade_off_figure(rates, paper),
        "trade_off_figure, many": trade_off_figure(many),
        "distortion_bars_figure": distortion_bars_figure(few),
        "distortion_bars_figure, many": distortion_bars_figure(many),
        "accuracy_figure": accuracy_figure(few[few.run == few.run[0]]),
        "table_figure": table_figure(results_table(few)),
        "table_figure, many": table_figure(results_table(many, calibration=True)),
    }


def _of_runs() -> dict[str, go.Figure]:
    splits = (
        "real/val",
        "real/test",
        *(f"{name}/test" for name in ("sketch", "infograph", "clipart")),
    )
    sweep = replace(
        toy_sweep(splits=splits, n=60), title=CALLED, about=ABOUT, folder=Path("runs/15fe07aa4c21")
    )
    other = replace(
        toy_sweep(5, splits=splits, n=60),
        title=CALLED.replace("3", "4"),
        about=ABOUT,
        folder=Path("runs/15fe07aa4c21"),
    )
    tiles = dict.fromkeys(sweep.ids, _tile())
    places = _places()
    return {
        "sweep_figure": sweep_figure(sweep, 0.6, beside=[other]),
        "sweep_figure, tiles": sweep_figure(sweep, 0.6, tiles),
        "curves_figure": curves_figure([sweep, other], 0.6),
        "reliability_slider_figure": reliability_slider_figure(sweep, "infograph/test", 0.6),
        "reliability_figure": reliability_figure(_diagrams(), "Reliability on infograph/test"),
        "energy_map_figure": energy_map_figure(places),
        "energy_map_figure, both": energy_map_figure(places, places="both"),
        "training_figure": training_figure(_history(), title=CALLED),
        "distortion_figure": distortion_figure(_distortions(), run="r1"),
        "detection_figure": detection_figure(_detections()),
        "path_figure": path_figure(_paths()),
        "layer_figure": layer_figure(dict.fromkeys(("ft", "lipsum", "lp_ft"), _layers())),
        "class_figure": class_figure(_classes()),
        "candidates_figure": candidates_figure(_candidates(), 7, 0.8),
        "geometry_figure": geometry_figure(_geometry()),
        "cka_figure": cka_figure(_cka()),
        "class_losses_figure": class_losses_figure(_losses()),
        "flips_figure": flips_figure(_flips(("ft", "lipsum"))),
        "flips_figure, many": flips_figure(_flips(METHODS)),
        "group_figure": group_figure(_groups()),
        "confusion_figure": confusion_figure(_confusions(15)),
        "confusion_figure, one": confusion_figure(_confusions(1)),
        "corruption_figure": corruption_figure(_disturbed()),
    }


def _candidates() -> pd.DataFrame:
    """Zero-shot, and two methods at ten alphas each."""
    rows = [("ft", 0.0, 0.64, 1.0)]
    for method, cost in (("ft", 0.5), ("lipsum", 0.3)):
        for alpha in np.linspace(0.1, 1, 10):
            rows.append((method, alpha, 0.64 + 0.2 * alpha - 0.05 * alpha**2, 1 - cost * alpha))
    return pd.DataFrame(rows, columns=["method", "alpha", "val_accuracy", "agreement"])


def _disturbed() -> pd.DataFrame:
    """Results with the fifteen kinds at five severities."""
    table = fake(seeds=(0,))
    one = table[(table.split == "sketch/test") & (table.metric == "accuracy")]
    parts = [table]
    for kind in COMMON:
        for level in SEVERITIES:
            split = f"made_{kind}_{level}/test"
            parts.append(one.assign(split=split, mean=one["mean"] * (1 - level / 7)))
    return pd.concat(parts, ignore_index=True)


def _others(few: pd.DataFrame, rates: pd.DataFrame) -> dict[str, go.Figure]:
    generator = np.random.default_rng(0)
    gap = generator.uniform(size=24)
    accuracy = gap + generator.uniform(size=24)
    methods = np.repeat(list(METHODS)[:8], 3).tolist()
    correlations = (correlation(gap, accuracy), leave_one_out(gap, accuracy, methods))
    points = pd.DataFrame({"name": "FT, learning rate varied", "label": "lr 1", "published": False,
                           "x": [40, 45], "y": [60, 80]})  # fmt: skip
    line = line_figure(points, "mean shift accuracy (%)", "reference accuracy (%)")
    chosen = pd.DataFrame({"method": ["ft", "lipsum"], "accuracy: shift": [0.3, 0.4],
                           "energy_gap: shift": [0.35, 0.4]})  # fmt: skip
    frames = {
        f"Ours: emoji_shift, emoji-tiny, reference twemoji: {name}": results_table(few)
        for name in ("accuracy (%)", "NLL (nats), in brackets the difference to the first row")
    }
    sheets = {size: _sheet(size) for size in (2, 8)}
    return {
        "leave_one_out_figure": leave_one_out_figure(dict.fromkeys(DOMAINNET[:3], correlations)),
        "line_figure": line,
        "join_panels": join_panels({f"{name}: accuracy": line for name in DOMAINNET}, "More tuning: reference accuracy against each of the shifts, as on domainnet", columns=4),
        "join_panels, sheets": join_panels({f"data set {size}": sheet for size, sheet in sheets.items()}, "Images of every data set", columns=1),
        "empty_figure": empty_figure("no soup and no greedy ensemble among these runs: clipft combine greedy_soup"),
        "choice_figure": choice_figure(chosen, "chosen by the gap: better in 3 of 12 runs, equal in 9, worse in 0 (+1.2 points under shift)"),
        "tables_figure": tables_figure(frames),
        "contact_sheet_figure": contact_sheet_figure(**_sheet_of(12), title="Every class, every domain: EmojiShift"),
        "contact_sheet_figure, 8": sheets[8],
        "contact_sheet_figure, 2": sheets[2],
        "overview_figure": overview_figure(),
        "parallel_figure": parallel_figure(few),
        "parallel_figure, rates": parallel_figure(rates),
        "panel_row": panel_row(DOMAINNET),
        "throughput_figure": throughput_figure(_throughput()),
        "estimates_figure": estimates_figure(_estimates()),
        "record_figure": record_figure(track_record(_estimates())),
        "regret_figure": regret_figure(regrets(_estimates())),
    }  # fmt: skip


def items(folder: Path) -> dict[str, go.Figure]:
    """Every item of Lipsum-FT over made-up results; what opens runs is given made-up records."""
    methods = list(
        dict.fromkeys(name for item in lipsum_ft.ITEMS.values() for name in item.methods)
    )
    table = runs_of([(name, 1e-4) for name in methods], seeds=(0,))
    return {name: lipsum_ft.PAPER.make(name, table, folder).figure for name in lipsum_ft.ITEMS}


def _estimates() -> pd.DataFrame:
    """Every estimator on three shifts of three references, of eight recipes with two seeds."""
    random = np.random.default_rng(0)
    rows = []
    for number, alpha in itertools.product(range(16), (0.0, 0.5, 1.0)):
        about = {"run": f"15fe07aa4c{number:02}", "recipe": f"recipe{number // 2}", "method": "ft"}
        about |= {"lr": 1e-4 * (1 + number // 2), "steps": 120, "seed": number % 2, "why": ""}
        about |= {"manifest_digest": "m", "model_digest": "t", "alpha": alpha, "n": 1600}
        for reference, split in itertools.permutations(DOMAINNET, 2):
            accuracy = 0.6 - 0.02 * alpha * number + random.normal(0, 0.01)
            truth = {"reference": reference, "split": f"{split}/test", "accuracy": accuracy}
            truth |= {"val_accuracy": 0.6 + 0.01 * alpha * number, "val_n": 1000}
            for name, estimator in ESTIMATORS.items():
                value = 1.0 if alpha == 0 else accuracy + random.normal(0, 0.05)
                told = {"estimator": name, "value": value, "estimate": value, "low": np.nan}
                if not estimator.estimates:
                    told["estimate"] = np.nan
                rows.append(about | truth | told | {"high": np.nan})
    return pd.DataFrame(rows)


def _throughput() -> pd.DataFrame:
    """As a card that waits for two processes would have it."""
    card = "NVIDIA A100-SXM4-80GB"
    table = pd.DataFrame(
        [
            ("decode", 290.0, "images", "1 process"),
            ("load", 310.0, "images", "2 processes"),
            ("copy", 60_000.0, "images", card),
            ("forward", 4_100.0, "images", card),
            ("ft", 1_320.0, "images", card),
            ("lipsum", 1_040.0, "images", card),
            ("texts", 21_000.0, "texts", card),
        ],
        columns=["part", "rate", "unit", "by"],
    )
    table["of_ft"] = (1_320 / table.rate).where(table.part.isin(["ft", "lipsum"]))
    table.attrs = {"model": "ViT-B-16-quickgelu", "precision": "bf16-mixed", "batch_size": 256}
    table.attrs["device"] = card
    return table


def _tile() -> str:
    return "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"


def _places() -> EnergyMap:
    splits = np.repeat(["real/test", "sketch/test", "infograph/test"], 20).tolist()
    before, after = np.random.default_rng(0).normal(size=(2, len(splits), 2))
    ids = tuple(f"{number}.png" for number in range(len(splits)))
    return EnergyMap(tuple(splits), ids, np.arange(len(splits)), before, after)


def _diagrams() -> dict[str, Any]:
    generator = np.random.default_rng(0)
    confidence = generator.uniform(0.1, 1, 300)
    diagram = reliability(confidence, generator.uniform(size=300) < confidence, 10)
    return dict.fromkeys(("zero-shot", "ft", "lipsum", "ft+greedy_soup", "lipsum+tpgm_c"), diagram)


def _history() -> list[dict[str, float]]:
    rows = []
    for step in range(1, 121, 5):
        terms = {"cross_entropy": 2.0 / step, "lipsum": 1.0 / step}
        rows.append({"step": step, "loss": 3.0 / step, **terms})
    return [*rows, {"step": 60, "val_accuracy": 0.5}, {"step": 120, "val_accuracy": 0.75}]


def _distortions() -> pd.DataFrame:
    rows = []
    for split in DOMAINNET:
        for number, method in enumerate(["ft", "l2sp", "lipsum"]):
            names = {"run": f"r{number}", "method": method, "lr": 1e-4, "steps": 120, "seed": 0}
            means = {"reference": 10 + number, "shifted": 10.5, "difference": number - 0.5}
            interval = {"low": number - 1, "high": number, "verdict": "open", "kind": "raw"}
            rows.append(names | means | interval | {"split": f"{split}/test"})
    return pd.DataFrame(rows)


def _detections() -> pd.DataFrame:
    rows = []
    models = itertools.product(DOMAINNET, ["ft", "lipsum"], ["energy", "max_softmax"], [0, 0.5, 1])
    for number, (split, method, score, alpha) in enumerate(models):
        names = {"run": f"r {method}", "method": method, "lr": 1e-4, "steps": 120, "seed": 0}
        auroc = 0.5 + number % 7 / 20
        numbers = {"auroc": auroc, "auroc_low": auroc - 0.02, "auroc_high": auroc + 0.02}
        numbers |= {"fpr": 1 - auroc, "fpr_low": 0.9 - auroc, "fpr_high": 1.1 - auroc}
        rows.append(names | numbers | {"split": f"{split}/test", "score": score, "alpha": alpha})
    return pd.DataFrame(rows)


def _losses() -> pd.DataFrame:
    generator = np.random.default_rng(0)
    names = [f"{name} {number}" for number, name in enumerate(CLASSES * 8)]
    numbers = {"change": generator.uniform(-0.6, 0.2, len(names))}
    numbers["cosine"] = generator.uniform(0.5, 0.95, len(names))
    worst = numbers["change"] < -0.5
    return pd.DataFrame({"class": names, "similar": names[::-1], **numbers, "worst": worst})


def _geometry() -> pd.DataFrame:
    rows = []
    for number, (split, alpha) in enumerate(itertools.product(DOMAINNET, (0.0, 0.5, 1.0))):
        numbers = {"modality_gap": 0.8 + alpha / 5, "alignment": 1.4, "uniformity": -1 - number / 9}
        rows.append(ABOUT | numbers | {"split": f"{split}/test", "alpha": alpha})
    return pd.DataFrame(rows)


def _cka() -> pd.DataFrame:
    rows = []
    for split, method in itertools.product(DOMAINNET, ("ft", "lipsum")):
        for place in range(13):
            block = "embedding" if place == 12 else str(place)
            numbers = {"block": block, "place": place, "cka": 1 - place**2 / 300}
            run = ABOUT | {"method": method, "run": method, "split": f"{split}/test"}
            rows.append(run | numbers)
    return pd.DataFrame(rows)


def _flips(methods: Any) -> pd.DataFrame:
    rows = []
    for number, (split, method) in enumerate(itertools.product(DOMAINNET, methods)):
        rates = {"lost": 0.1 + number % 5 / 20, "gained": number % 3 / 20}
        names = {"run": f"r {method}", "seed": 0, "method": method, "split": f"{split}/test"}
        rows.append(names | rates)
    return pd.DataFrame(rows)


def _groups() -> pd.DataFrame:
    rows = []
    grounds = ("land background", "water background")
    for place, bird in itertools.product(grounds, ("landbird", "waterbird")):
        row = {"run": "r", "seed": 0, "split": "test/test", "group": f"{bird}, {place}"}
        accuracy = 0.9 - 0.07 * len(rows)
        numbers = {"zero_shot": 0.5, "accuracy": accuracy, "low": accuracy - 0.05}
        rows.append(row | numbers | {"high": accuracy + 0.04})
    return pd.DataFrame(rows)


def _paths() -> pd.DataFrame:
    rows = []
    for number, split in enumerate(("real", "sketch", "infograph", "painting", "clipart")):
        for alpha in (0.0, 0.5, 1.0):
            wise = {"wise_accuracy": 0.5 + alpha / 4, "wise_nll": 1 + number}
            ensemble = {"ensemble_accuracy": 0.4 + number / 9, "ensemble_nll": 2 - alpha}
            rows.append(
                {"alpha": alpha, "split": f"{split}/test", "role": "shift", **wise, **ensemble}
            )
    return pd.DataFrame(rows)


def _layers() -> pd.DataFrame:
    names = [f"visual.transformer.resblocks.{number}" for number in range(12)]
    names = [
        "visual.class_embedding",
        "visual.positional_embedding",
        "visual.conv1",
        *names,
        "head",
    ]
    moved = np.linspace(0.01, 0.1, len(names))
    return pd.DataFrame({"layer": names, "distance": moved, "relative": moved})


def _classes() -> pd.DataFrame:
    generator = np.random.default_rng(0)
    count = 40
    names = [f"{WORDS[number % 6]} {number}" for number in range(count)]
    change = generator.normal(size=count) / 9
    gap = np.sort(generator.uniform(1, 3, count))
    return pd.DataFrame({"class": names, "n": 9, "zero_shot": 0.5, "accuracy": 0.5 + change,
                         "change": change, "energy_gap": gap})  # fmt: skip


def _confusions(pairs: int) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    names = list(itertools.permutations(CLASSES, 2))[:: 56 // pairs][:pairs]
    here = np.sort(generator.integers(1, 99, pairs))[::-1]
    zero_shot = generator.integers(0, 120, pairs)
    table = pd.DataFrame(names, columns=["class", "taken for"])
    table = table.assign(zero_shot=zero_shot, here=here, change=here - zero_shot, n=150)
    table.attrs = {"run": CALLED, "split": "infograph/test", "alpha": 1.0, "pairs": 56}
    return table


def _sheet_of(count: int) -> dict[str, Any]:
    image = np.full((16, 16, 3), 120, np.uint8)
    names = (CLASSES * 2)[:count]
    return {
        "tiles": {domain: [image] * count for domain in ("twemoji", "infograph", "line", "glyph")},
        "names": names,
    }


def _sheet(count: int) -> go.Figure:
    return contact_sheet_figure(**_sheet_of(count), title="Images of EmojiShift")


def made_up(patch: pytest.MonkeyPatch) -> None:
    """What items of a paper read of runs and data sets on disk."""
    run = SimpleNamespace(manifest=SimpleNamespace(title="EmojiShift"))
    sheet = _sheet_of(8)
    patch.setattr(maps, "energy_map", lambda _run: _places())
    patch.setattr(images, "sample_tiles", lambda *_, **__: (sheet["names"], sheet["tiles"]))
    patch.setattr(Run, "open", lambda _folder: run)


def function_names() -> set[str]:
    """Every public function of clipft/figures that makes a figure."""
    found = set()
    for file in pkgutil.iter_modules(figures.__path__):
        module = importlib.import_module(f"clipft.figures.{file.name}")
        for name, function in inspect.getmembers(module, inspect.isfunction):
            is_own = function.__module__ == module.__name__ and not name.startswith("_")
            if is_own and inspect.signature(function).return_annotation == "go.Figure":
                found.add(name)
            elif is_own and inspect.signature(function).return_annotation is go.Figure:
                found.add(name)
    return found
