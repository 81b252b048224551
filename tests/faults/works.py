"""Every kind of write of clipft as a command on a miniature world, and what it leaves."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml
from conftest import MODEL, World, _write_manifest, draw_tree, write_model

from clipft.data.manifests import manifests_folder
from clipft.methods import METHODS, POSTHOC

# What says when and how long: it is not the same twice.
TOLD = ("made.json", "status.json", "log.txt", "run.ipynb", "run.html", "index.html", "results.csv")
TINY = {"steps": 8, "eval_every": 3}
HANDS = ["twemoji", "openmoji", "line", "glyph"]
EMOJI = {"size": 24, "per_class": {"train": 3, "val": 2, "test": 2}, "seed": 0}


@dataclass(frozen=True)
class Work:
    """A command; {place} in it is a folder of its own, which begins as a copy of `begins`."""

    kind: str
    name: str
    command: tuple[str, ...]
    begins: str = ""

    @property
    def title(self) -> str:
        return f"{self.kind} {self.name}"

    def at(self, place: Path) -> list[str]:
        return [word.replace("{place}", str(place)) for word in self.command]


class Stock:
    """What the commands begin from, made once in a folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.manifest = folder / "manifests/mini.yaml"
        self.model = folder / "model"
        self.world = World(self.manifest, self.model, folder / "finished/runs")
        self.emoji = folder / "manifests/few_emoji.yaml"

    def environment(self, place: Path) -> dict[str, str]:
        cache = str(place / "cache")
        return {"CLIPFT_DATA": f"{self.folder}/data", "CLIPFT_CACHE": cache, "HOME": str(place)}

    def make(self, forks) -> None:
        """The data, the model, and finished runs: two trained ones, one scored, and an export."""
        for name in ("manifests", "model", "finished", "empty"):
            (self.folder / name).mkdir(parents=True)
        draw_tree(self.folder / "data/mini")
        _write_manifest(self.folder / "manifests")
        write_model(self.model, MODEL)
        self._write_few_emoji()
        self._write_batch()
        place = self.folder / "finished"
        for seed in (0, 1):
            self._run(forks, self.train("ft", f"seed={seed}", steps=6), place)
        wise = ["wise", f"{place}/runs/{self.runs[0]}", "--alpha", "0", "--alpha", "1", *CPU]
        self._run(forks, wise, place)
        self._run(forks, ["export", f"{place}/runs/{self.runs[1]}", f"{place}/tuned"], place)
        shutil.rmtree(place / "cache")

    @property
    def runs(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "finished/runs").iterdir())

    def train(self, method: str, *more: str, **changes) -> list[str]:
        values = self.world.settings(method=method, **TINY | changes)
        settings = [f"{key}={json.dumps(value).strip(chr(34))}" for key, value in values.items()]
        often = ["--checkpoint-minutes", "1e-9", "--no-score", "--runs", "{place}/runs"]
        return ["train", "--preset", "none", *settings, *more, *often, *CPU]

    def works(self) -> list[Work]:
        """All kinds, of all methods."""
        one, other = (f"{{place}}/runs/{run}" for run in self.runs)
        model = f"local-dir:{self.model}:{self.model}/random.pt"
        zero_shot = ("evaluate", "--model", model, "--reference", "twemoji", *CPU)
        made = [Work("checkpoint", name, tuple(self.train(name))) for name in METHODS]
        for name, method in POSTHOC.items():
            members = [one, other] if method.many else [one]
            command = ("combine", name, *members, "--no-score", *CPU)
            made.append(Work("combine", name, command, "finished"))
        alphas = ("--alpha", "0.25", "--alpha", "0.5", "--alpha", "0.75")
        rendering = (*zero_shot, "--manifest", str(self.emoji), "--csv", "{place}/z.csv")
        pack = ("datasets", "pack", str(self.manifest), "--size", "16")
        adopt = ("adopt", f"{self.folder}/finished/tuned/open_clip_model.safetensors")
        adopt += ("--model", f"local-dir:{self.model}", "--pretrained", f"{self.model}/random.pt")
        adopt += ("--manifest", str(self.manifest), "--no-score", "--runs", "{place}/runs")
        return [
            *made,
            Work("adopt", "open_clip", (*adopt, "--device", "cpu"), "finished"),
            Work("scores", "wise", ("wise", one, *alphas, *CPU), "finished"),
            Work("scores", "adaptive", ("wise", one, "--adaptive", "0.01", *CPU), "finished"),
            Work("cache", "probe", tuple(self.train("lp", "solver=logistic"))),
            Work("render", "evaluate", rendering),
            Work("export", "open_clip", ("export", one, "{place}/tuned"), "finished"),
            Work("export", "state_dict", export(one, "state_dict"), "finished"),
            Work("export", "huggingface", export(one, "huggingface"), "finished"),
            Work("thumbnails", "pack", ("thumbnails", "--runs", "{place}/runs"), "finished"),
            Work("pack", "datasets", pack),
            Work("batch", "train", self._batch),
        ]

    @property
    def _batch(self) -> tuple[str, ...]:
        return ("batch", f"{self.folder}/spec.yaml", "--out", "{place}/out", "--jobs", "1")

    def _write_few_emoji(self) -> None:
        """EmojiShift of five classes, as rendering 200 takes long."""
        values = yaml.safe_load((manifests_folder() / "emoji_shift.yaml").read_text())
        classes = yaml.safe_load((manifests_folder() / values["classes"]).read_text())
        few = dict(list(classes.items())[:5]) if isinstance(classes, dict) else classes[:5]
        (self.emoji.parent / "few.classes.yaml").write_text(yaml.safe_dump(few, sort_keys=False))
        values |= {"name": "few_emoji", "classes": "few.classes.yaml", "emoji": EMOJI}
        self.emoji.write_text(yaml.safe_dump(values, sort_keys=False))

    def _write_batch(self) -> None:
        """A batch of two jobs, which train a run and score it."""
        settings = self.world.settings(**TINY)
        cell = "import clipft\nreading = clipft.Reading('cpu', progress=False)\n"
        cell += f"config = clipft.RunConfig.read({settings!r} | dict(seed=seed))\n"
        cell += "run = clipft.train(config, runs, reading=reading)\n"
        cell += "clipft.score(run, [0, 1], reading=reading)"
        parameters = {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "outputs": []}
        parameters |= {"execution_count": None, "source": "seed = 0\nruns = ''"}
        work = parameters | {"metadata": {}, "source": cell}
        kernel = {"name": "python3", "language": "python", "display_name": "Python 3"}
        notebook = {"cells": [parameters, work], "metadata": {"kernelspec": kernel}}
        notebook |= {"nbformat": 4, "nbformat_minor": 4}
        (self.folder / "work.ipynb").write_text(json.dumps(notebook))
        stage = {"notebook": "work.ipynb", "parameters": {"runs": "{out}/runs"}}
        stage |= {"grid": [{"seed": [5, 6]}]}
        (self.folder / "spec.yaml").write_text(yaml.safe_dump({"name": "t", "stages": [stage]}))

    def _run(self, forks, command: list[str], place: Path) -> None:
        words = [word.replace("{place}", str(place)) for word in command]
        job = forks.run(words, place / "log", self.environment(place))
        assert job.code == 0, job.said
        job.log.unlink()


CPU = ("--device", "cpu")


def export(run: str, form: str) -> tuple[str, ...]:
    return ("export", run, "{place}/tuned", "--format", form)


def files(place: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(place.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(place)), path


def contents(place: Path) -> dict[str, str]:
    """Name -> digest of what is there; locks stay, and what tells of times differs.

    Embeddings are named by what is in them: their keys tell when the images were written.
    """
    found = {}
    for name, path in files(place):
        if name.endswith(".lock") or path.name in TOLD:
            continue
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
        if not name.startswith("cache/arrays/"):
            found[name] = digest
        elif path.suffix == ".npy":
            found[f"cache/arrays {digest}"] = digest
    return found


def temporary(place: Path) -> list[str]:
    """What is named as unfinished, or as nobody's."""
    found = []
    for path in sorted(place.rglob("*")):
        if path.name.endswith(".tmp") or path.name.startswith(("tmp", ".tmp")):
            found.append(str(path.relative_to(place)))
    return found


def parts_of_work(place: Path) -> dict[str, list[str]]:
    """Run -> the kinds of work that made it, each once however often it was killed."""
    found = {}
    for file in sorted(place.glob("runs/*/made.json")):
        parts = json.loads(file.read_text())["parts"]
        found[file.parent.name] = list(dict.fromkeys(part["work"] for part in parts))
    return found
