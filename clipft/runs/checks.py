"""Look before the long work: what can be refused before a model is loaded, and before torch is.

The command line asks these first, and torch only then, so that a mistake is answered at once.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import DEFAULT, RunConfig, check_alpha, digest, plain_settings
from ..data.manifests import Manifest, load_manifest
from ..data.splits import Split
from ..disk.files import check_room, check_target
from ..errors import ConfigError, ImageError, MissingExtra, RunError
from ..methods import TURNED
from ..progress import started
from .adopted import check_name
from .folder import RunFolder
from .formats import DEFAULT_FORMAT, FORMATS, HEAD, Format, check_replaceable, format_of, record_of
from .identity import find_begun
from .made import scoring_precision
from .model_names import LOCAL, RANDOM, check_model, named
from .presence import check_images_there, without_images
from .recipes import posthoc_recipe
from .remake import command_of
from .rows import choosing_on, chosen_on, reference_of, reported_on, seen_by, shifts_of, trained_on
from .run import After, Run, open_runs
from .scores import size_of_scores
from .versions import FIRST, check_version

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ..methods import Posthoc

DECODERS = {"pillow": "", "fast": "torchcodec"}  # package beside those of every installation
# of runs that can be combined; the digests are of the zero-shot weights and of the data set
ALIKE = ("manifest_digest", "model_digest", "head", "selection", "decoder")


def check_training(
    config: RunConfig,
    runs: Path | str,
    *,
    scored: bool = False,
    skip_bad: bool = False,
    devices: int = 1,
) -> None:
    """Raise ClipftError for what a training would be refused for anyway, at its end at the latest.

    scored: whether the run is to be scored at its end, which asks every reported split. skip_bad:
    images that are missing are counted, and a line says so. devices: how many share its batches.
    """
    check_ranks(config, devices)
    manifest = seen_by(config, load_manifest(config.manifest))
    check_domains(config, manifest)
    check_decoder(config.decoder)
    check_model(config.model, config.pretrained)
    if config.head_from and not Path(config.head_from).is_file():
        raise ConfigError(
            f"no head file {config.head_from!r}; wanted: FOLDER/head.safetensors of an export"
        )
    check_target(runs, folder=True)
    begun = find_begun(runs, config)
    if begun is None or not begun.has_weights:  # a finished run is given without its data, too
        _check_rows(config, manifest, scored=scored, skip_bad=skip_bad)


def check_ranks(config: RunConfig, devices: int) -> None:
    """Raise ConfigError where a batch has fewer images than there are processes to share it."""
    count = max(devices, started())
    if count > config.batch_size:
        fault = f"{count} devices share batches of {config.batch_size} images"
        raise ConfigError(f"{fault}; wanted: at most one device an image")


def check_adoption(
    checkpoint: Path | str,
    config: RunConfig,
    *,
    name: str,
    head: Path | str = "",
    runs: Path | str = "runs",
) -> None:
    """Raise ClipftError for what an adoption would be refused for anyway.

    config: its data set, model and weights, reference and selection.
    """
    check_name(name)
    manifest = load_manifest(config.manifest)
    check_domains(config, manifest)
    if config.pretrained == RANDOM:
        fault = "a checkpoint was tuned from weights, not from random ones"
        raise ConfigError(f"{fault}; give --pretrained the tag, or the file, that it began with")
    check_model(config.model, config.pretrained)
    for file in (checkpoint, head):
        if str(file) and not Path(file).expanduser().exists():
            raise ConfigError(f"no such file: {file}; wanted: a file of weights")
    of_run = RunFolder(Path(checkpoint).expanduser().parent)
    if of_run.is_begun and of_run.weights_file.name == Path(checkpoint).name:
        raise ConfigError(f"{checkpoint} is of a run of clipft: {of_run}; use that as it is")
    check_target(runs, folder=True)


def check_evaluation(
    models: Sequence[str], manifest: str, reference: str = "", *, skip_bad: bool = False
) -> dict[str, RunConfig]:
    """Name -> the configuration of a zero-shot model, for each once; nothing is loaded.

    Raises ConfigError where there is no such model, data set, domain or list of images.
    """
    if not models:
        raise ConfigError("no model to evaluate; wanted: NAME:WEIGHTS, e.g. ViT-B-16:openai")
    about: Any = {"manifest": manifest, "reference": reference, "selection": "last"}
    configs = {}
    for name in models:
        model, pretrained = named(name)
        configs[name] = RunConfig(**about, model=model, pretrained=pretrained)
    first = next(iter(configs.values()))
    check_domains(first, load_manifest(manifest))
    for config in configs.values():
        check_model(config.model, config.pretrained)
    check_reported(first, skip_bad=skip_bad)
    return configs


def check_reported(config: RunConfig, *, skip_bad: bool = False) -> None:
    """Raise ClipftError where a split that is reported, or an image of it, is not there.

    Of a model that is not trained here, so that no val is needed.
    """
    manifest = seen_by(config, load_manifest(config.manifest))
    config = config.model_copy(update={"selection": "last"})
    if not manifest.is_rendered:
        splits = [manifest.split(name) for name in reported_on(config, manifest)]
        check_images_there(splits, skip_bad=skip_bad)


def _check_rows(config: RunConfig, manifest: Manifest, *, scored: bool, skip_bad: bool) -> None:
    """Raise ClipftError where what to train, choose and report on cannot be read."""
    if manifest.is_rendered:
        return  # which is long work itself
    asked = [*trained_on(config, manifest), *chosen_on(config, manifest)]
    if scored:
        asked += reported_on(config, manifest)
    splits = [manifest.split(name) for name in dict.fromkeys(asked)]
    check_images_there(splits, skip_bad=skip_bad)
    check_probe(config, manifest)


def check_probe(config: RunConfig, manifest: Manifest) -> None:
    """Raise ConfigError where a logistic probe has nothing to choose on, or lacks a class."""
    if config.entry.head != "probe" or config.head_from or config.solver != "logistic":
        return
    advice = "try solver=adamw, which starts from zero-shot"
    if not chosen_on(config, manifest):
        fault = f"the strength of a probe's penalty is chosen on val, and {manifest.name} has none"
        raise ConfigError(f"{fault}; {advice}, or hold some of train out: holdout: 0.2")
    train = Split.join([manifest.split(name) for name in trained_on(config, manifest)])
    empty = without_images(train, manifest.names)
    if empty:
        fault = f"class {empty[0]!r} has no training image in {train.name}"
        raise ConfigError(f"{fault} (of {len(empty)} such classes); {advice}")


def check_scoring(
    runs: Sequence[Run],
    alphas: Collection[float] = (),
    *,
    skip_bad: bool = False,
    progress: bool = True,
) -> None:
    """Raise ClipftError where a list or an image that scoring these runs asks for is not there.

    Or where the disk has no room for their scores at these alphas.
    """
    splits = {}
    needed: Counter[Path] = Counter()
    for run in runs:
        check_decoder(run.config.decoder)
        for name in reported_on(run.config, run.manifest):
            data = run.manifest
            key = (data.digest(), str(data.place), data.trained, data.made_of, name)
            if key not in splits:
                splits[key] = data.split(name)
            needed[run.path.parent] += size_of_scores(splits[key].ids, len(alphas))
    check_images_there(list(splits.values()), skip_bad=skip_bad, progress=progress)
    for folder, size in needed.items():
        check_room(folder, size)


def check_precision(runs: Sequence[Run], asked: str) -> None:
    """Raise ConfigError where one of the runs was scored in another precision than is asked for."""
    for run in runs:
        scoring_precision(run, asked)


def check_tracker(name: str) -> None:
    """Raise MissingExtra where the package that shows a run is not installed."""
    if name and util.find_spec(name) is None:
        raise MissingExtra(name, name)


def check_decoder(decoder: str) -> None:
    """Raise MissingExtra where a decoder is not installed."""
    missing = without_decoder(decoder)
    if missing:
        raise MissingExtra(missing, decoder)


def without_decoder(decoder: str) -> str:
    """The package that a decoder lacks; "" where it is there."""
    package = DECODERS[decoder]
    return package if package and util.find_spec(package) is None else ""


def check_domains(config: RunConfig, manifest: Manifest) -> None:
    """Raise ConfigError with the nearest name for a domain that the data set has not, and for a
    shift that is none.
    """
    for domain in (reference_of(config, manifest), *config.train_domains):
        manifest.check_domain(domain)
    shifts_of(config, manifest)


def check_export(
    run: Run, folder: Path | str, alpha: float, format: str = DEFAULT_FORMAT, *, half: bool = False
) -> Format:
    """The format; raises ClipftError for what an export would be refused for anyway."""
    check_alpha(alpha)
    target = format_of(format)
    target.check(half=half)
    check_weights(run)
    check_target(folder, folder=True)
    check_replaceable(Path(folder), target)
    return target


def check_exported(folder: Path, *, needs_head: bool = True) -> None:
    """Raise ConfigError where a folder is not what an export wrote; for other libraries neither."""
    check_format(folder)
    check_model(f"{LOCAL}{folder}", "")
    if needs_head and not (folder / HEAD).is_file():
        raise ConfigError(f"{folder} holds no {HEAD}; wanted: a folder that clipft export wrote")


def check_format(folder: Path) -> None:
    """Raise ConfigError where an export was written for another library."""
    record = record_of(folder)
    check_version(record.get("version", FIRST), folder)
    written_for = record.get("format", DEFAULT_FORMAT)
    if written_for in FORMATS and written_for != DEFAULT_FORMAT:
        title = FORMATS[written_for].title
        texts = "" if FORMATS[written_for].has_texts else ", without a text tower"
        wanted = f"wanted: an export with --format {DEFAULT_FORMAT}"
        raise ConfigError(f"{folder} holds {title}{texts}; {wanted}")


def check_images(paths: Sequence[Path], *, skip_bad: bool) -> None:
    """Raise ImageError where there is no image, or one is missing that may not be skipped."""
    from ..data.images import image_files  # Pillow, which no other check needs

    for file in image_files(paths):
        if not (skip_bad or file.is_file()):
            raise ImageError(f"image missing: {file}")


def check_weights(run: Run) -> None:
    """Raise RunError where a run has no weights of its own: an ensemble, a method that mixes each
    image anew, or a copy to look at.
    """
    if run.rule is not None:
        fault = f"{run.folder} mixes each image anew and has no weights of its own"
        raise RunError(f"{fault}; use its member instead")
    if run.is_ensemble:
        raise RunError(f"{run.folder} is an ensemble and has no weights; use its members instead")
    if not run.folder.has_weights:
        fault = f"{run.folder} is a copy without weights, or they were pruned"
        wanted = f"bring {run.folder.weights_file.name} along, or make the same again"
        raise RunError(f"{fault}; {wanted}: {command_of(run)}")


def weight_bearers(run: Run) -> list[Run]:
    """The runs whose weights a run is scored from: an ensemble's members, else itself."""
    return run.members if run.is_ensemble else [run]


def check_scorable(run: Run) -> None:
    """Raise RunError where the weights, or what was fitted, are gone that a run is scored from."""
    for member in weight_bearers(run):
        check_weights(member)
    if run.rule is not None and not run.folder.mixture_file.exists():
        fault = f"{run.folder} is a copy without {run.folder.mixture_file.name}"
        raise RunError(f"{fault}; bring it along, or make the same again: {command_of(run)}")


def check_verifiable(run: Run) -> None:
    """Raise RunError where a run was not scored, or has no weights to be scored again from."""
    if not run.folder.images_file.exists():
        fault = f"{run.folder} holds no scores of single images to compare with"
        raise RunError(f"{fault}; score it: clipft wise {run.folder}")
    check_scorable(run)


@dataclass(frozen=True)
class Combination:
    """A post-hoc method, the runs that it is given, what will be recorded of it, and where."""

    method: Posthoc
    members: list[Run]
    after: After
    folder: RunFolder

    @property
    def is_made(self) -> bool:
        """Whether it was made before; one whose weights were pruned is made again, if it can be."""
        has_all = self.method.ensemble or self.folder.has_weights
        if self.method.rule is not None:
            has_all = self.folder.mixture_file.exists()
        can_be = all(member.folder.has_weights for member in self.members)
        return self.folder.is_begun and (has_all or not can_be)


def combination(
    name: str, runs: Sequence[Run | Path | str], options: dict[str, Any]
) -> Combination:
    """What is to be combined, checked.

    name: a post-hoc method, or its preset. Raises ConfigError for an unknown method or option, or
    runs that do not belong together, RunError for one that is not finished or has no weights.
    """
    method, options = posthoc_recipe(name, options)
    members = open_runs(runs) if runs else []
    if members and members[0].config.protocol != DEFAULT and "ties" in method.options:
        as_released: dict[str, Any] = {"ties": TURNED}
        options = as_released | options
    method.check(len(members), options)
    options = method.completed(options)
    if method.mixes and "alpha" in options:
        check_alpha(options["alpha"])
    _check_alike(members)

    first = members[0]
    after = After(
        name=method.name,
        options=options,
        of=first.name.after,
        among=len(members),
        members=tuple(member.id for member in members),
    )
    folder = first.folder.beside(digest([first.config.id, after.model_dump(mode="json")]))
    given = Combination(method, members, after, folder)
    if not given.is_made:  # else the members' weights are not asked again
        for member in members:
            check_weights(member)
    return given


def check_combination(
    given: Combination, *, scored: bool = False, skip_bad: bool = False, progress: bool = True
) -> None:
    """Raise ClipftError where a list or an image that a combination asks for is not there.

    scored: whether it is to be scored at its end. One that was made asks for nothing.
    """
    first = given.members[0]
    manifest = first.manifest
    if not given.is_made:
        choose = choosing_on if given.method.asks else chosen_on
        names = choose(first.config, manifest)
        if given.method.asks_training:
            names = list(dict.fromkeys([*names, *trained_on(first.config, manifest)]))
        if not manifest.is_rendered and (given.method.asks or not given.method.ensemble):
            splits = [manifest.split(name) for name in names]
            check_images_there(splits, skip_bad=skip_bad, progress=progress)
    if scored and not manifest.is_rendered:
        check_scoring([first], skip_bad=skip_bad, progress=progress)


def _check_alike(members: Sequence[Run]) -> None:
    """Raise RunError for an ensemble, ConfigError where runs do not belong together."""
    first = members[0].folder
    mine = first.config()
    plain = plain_settings()  # an older record lacks newer keys
    for member in members:
        folder = member.folder
        if member.is_ensemble:
            check_weights(member)
        theirs = folder.config()
        for key in ALIKE:
            one, other = (record.get(key, plain.get(key)) for record in (mine, theirs))
            if one != other:
                pair = f"{folder} has {key} {other!r}, {first} {one!r}"
                raise ConfigError(f"{pair}; keep to one")
        if member.reference != members[0].reference:
            pair = f"{member.reference!r}, {first} {members[0].reference!r}"
            raise ConfigError(f"{folder} has reference {pair}; keep to one")
        if folder.path.parent.resolve() != first.path.parent.resolve():
            raise ConfigError(f"{folder} lies beside other runs than {first}; use one folder")
