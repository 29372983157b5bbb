"""The ways into a training: `start` one, `resume` one, or let `train` do all of it.

load data -> choose the recipe -> network, weights -> pack the images -> Job
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

import classicnets
from classicnets.classifier import Classifier
from classicnets.data import Data, load_data
from classicnets.data.check import quick_check
from classicnets.data.imageset import ImageSet
from classicnets.data.loader import steps_per_epoch
from classicnets.data.pack import channel_stats, pack_data
from classicnets.errors import ConfigError, WeightsError
from classicnets.hardware import Precision, keep_memory
from classicnets.images import image_size
from classicnets.models.catalog import create, family_of
from classicnets.models.contract import NetConfig
from classicnets.preprocess import Preprocess
from classicnets.training.checkpoint import Checkpoint, newest_checkpoint
from classicnets.training.distributed import ALONE, Processes, join
from classicnets.training.equip import equip, settled
from classicnets.training.guards import check_same, identity, same_batches
from classicnets.training.job import Job, Parts
from classicnets.training.recipe import Recipe, choose_recipe, load_recipe, with_settings
from classicnets.training.run import Run, environment
from classicnets.training.state import TrainState
from classicnets.weights import pretrained

_NAMES = {
    "train": "Reading training images",
    "val": "Reading validation images",
    "test": "Reading test images",
    "features": "Computing features",
}

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


def start(
    model: str,
    data: str | Path | Data,
    *,
    recipe: str | Path | Recipe | None = None,
    settings: Iterable[str] = (),
    out: str | Path | None = None,
    device: str = "auto",
    checkpoint_every: int | None = None,
    progress: Progress | None = None,
) -> Job:
    """Prepare a training of the catalog's `model` on `data` from the beginning, and make its run folder.

    `recipe` is a Recipe, a shipped name or a file; None chooses one by the data and says why in `Job.notes`.
    `settings` are `key=value` changes to it. `out` is the run folder, `runs/MODEL-DATA` if None; a number is appended
    where it exists. `checkpoint_every` is in steps, beside the checkpoint after each epoch.
    Started again by torchrun after a process was lost, it goes on with the run that it made before.
    Raises UnknownName, ConfigError, DataError, WeightsError or StorageError; then no folder was made.
    """
    folder = Path(out).resolve() if out is not None else None
    if folder is not None and not folder.name:
        raise ConfigError(f"--out {out} is no folder for a run. Give one that can be made anew, such as runs/mine.")
    processes = join()
    with processes.connected():
        target = processes.together(lambda: processes.device(device))
        plan = processes.together(lambda: resolve(model, data, recipe=recipe, settings=settings))
        path = folder or Path("runs") / f"{model}-{plan.data.name}"
        if earlier := processes.on_main(lambda: Run.of_launch(path, plan.recipe)):
            return resume(earlier, device=device, checkpoint_every=checkpoint_every, progress=progress)
        parts = processes.together(lambda: prepare(plan.recipe, plan.data, target, progress, processes=processes))
        run = processes.on_main(lambda: Run.create(path, plan.recipe, parts.precision.name))
    notes = [*quick_check(parts.data), *plan.notes]
    return Job(run, plan.recipe, parts, checkpoint_every=checkpoint_every, notes=notes)


@dataclass(frozen=True)
class Plan:
    """What is to be trained, on what, and how: the resolved recipe, the data it names, and what was chosen and why."""

    recipe: Recipe
    data: Data
    notes: tuple[str, ...]


def resolve(
    model: str, data: str | Path | Data, *, recipe: str | Path | Recipe | None = None, settings: Iterable[str] = ()
) -> Plan:
    """Load the data and resolve the recipe for the catalog's `model`: what `start` begins with. Nothing is written.

    The arguments are those of `start`. Raises UnknownName, ConfigError or DataError.
    """
    settings = list(settings)
    for key in ("model.name", "data.source"):
        if any(setting.partition("=")[0].strip() == key for setting in settings):
            raise ConfigError(f"{key} is what is trained, and on what: give it as the argument, not as a setting.")
    given = recipe if isinstance(recipe, Recipe) else None if recipe is None else load_recipe(recipe)
    draft = with_settings(given or Recipe(), settings)
    network = create(model, device="meta", **_switches(draft))
    loaded = data if isinstance(data, Data) else _load(data, draft)
    size = draft.image_size or _natural_size(loaded.train, network.config)
    if size < network.config.min_size:
        raise ConfigError(
            f"{model} takes images of {network.config.min_size} pixels or more, and image_size is {size}. "
            f"Set a larger one, or choose a variant for small images (`classicnets models cifar`)."
        )
    notes = [loaded.split]
    if given is None:
        name, reason = choose_recipe(
            num_train=len(loaded.train),
            image_size=size,
            family=family_of(model).name,
            batch_norm=any(isinstance(module, nn.BatchNorm2d) for module in network.modules()),
            pretrained=bool(draft.model.weights),
        )
        draft = with_settings(load_recipe(name), settings)
        notes.append(f"recipe {name!r}: {reason}")
    draft, adapted = settled(draft)
    notes += adapted
    values = draft.model_dump(mode="json")
    values["image_size"] = size
    values["model"] |= {"name": model, "weights": _absolute(draft.model.weights)}
    values["distill"]["teacher"] = _absolute(draft.distill.teacher)
    values["data"] |= {
        "source": loaded.source,
        "split_seed": loaded.seed,
        "val_fraction": loaded.val_fraction,
        "test_fraction": loaded.test_fraction,
        "on_error": loaded.on_error,
    }
    return Plan(Recipe.model_validate(values), loaded, tuple(notes))


def resume(
    run: str | Path | Run,
    *,
    data: str | Path | None = None,
    settings: Iterable[str] = (),
    allow_change: bool = False,
    device: str = "auto",
    checkpoint_every: int | None = None,
    progress: Progress | None = None,
) -> Job:
    """Go on with a run from its newest whole checkpoint, with its own recipe and data; on the CPU, bit for bit.

    `data` is where its images are now, if they have moved. A recipe that has changed, by `settings` or in the run's
    recipe.toml, and images that are not the same are refused, unless `allow_change`; `on_nan`, `workers` and
    `recompute` may always change. A run that is finished gives a job that says so and changes nothing.
    Raises ConfigError where there is no run, or one that another process is training, or where its recipe is not what
    it was, DataError where its data is not, WeightsError where none of its checkpoints is whole.
    """
    processes = join()
    path = run.path if isinstance(run, Run) else Path(run)
    with processes.connected(), ExitStack() as stack:
        target = processes.together(lambda: processes.device(device))
        opened = processes.on_main(lambda: Run.open(path))
        processes.on_main(lambda: stack.enter_context(opened.locked()))
        # The run folder need not be on the other machines.
        own, before, finished = processes.on_main(lambda: (opened.recipe, opened.environment, opened.finished))
        recipe = with_settings(own, [*settings, *([f"data.source={_quoted(data)}"] if data is not None else [])])
        recipe, adapted = settled(recipe)
        checkpoint, notes = processes.on_main(lambda: newest_checkpoint(path / "checkpoints"))
        notes += adapted
        changes: list[str] = []
        if checkpoint is None and processes.on_main((path / "model").exists):
            raise WeightsError(
                " ".join([*notes, f"{path} has no whole checkpoint to go on from; its model/ stays as it is."])
                + f" To train anew: classicnets train MODEL DATA --recipe {path}/recipe.toml"
            )
        loaded = processes.together(lambda: _load(recipe.data.source, recipe))
        if data is not None:
            recipe = with_settings(recipe, [f"data.source={_quoted(loaded.source)}"])
        if checkpoint is not None:
            changes = check_same(
                checkpoint.trainer["identity"], identity(recipe, loaded), run=str(path), allow_change=allow_change
            )
            if changes:
                notes.append(f"Going on otherwise than before: {'; '.join(changes)}.")
        parts = processes.together(lambda: prepare(recipe, loaded, target, progress, checkpoint, processes=processes))
        if checkpoint is not None and not same_batches(checkpoint.trainer["identity"], parts.identity):
            parts.state.begin_epoch(steps_per_epoch(len(parts.train.labels), recipe.batch_size))
            notes.append("The epoch under way begins again, as its batches are others.")
        if changes:
            processes.on_main(opened.begin_again)
            finished = False
        if recipe != own:
            processes.on_main(lambda: opened.write_recipe(recipe))
    if finished:
        notes.append(f"{path} is finished already, after step {parts.state.step}: its report is {opened.page}.")
    elif checkpoint is None:
        notes.append("No checkpoint yet: starting from the beginning.")
    else:
        notes.append(f"Going on after step {parts.state.step}, epoch {len(parts.state.history)} of {recipe.epochs}.")
    now = environment(parts.precision.name)
    for what in ("torch", "cpu", "threads", "processes", "precision"):
        if before.get(what) != now[what]:
            notes.append(f"{what} was {before.get(what)} and is {now[what]}: the last bits may differ.")
    return Job(opened, recipe, parts, checkpoint_every=checkpoint_every, notes=notes, changed=bool(changes))


def train(
    model: str,
    data: str | Path | Data,
    *,
    epochs: int | None = None,
    recipe: str | Path | Recipe | None = None,
    settings: Iterable[str] = (),
    out: str | Path | None = None,
    device: str = "auto",
    checkpoint_every: int | None = None,
) -> Run:
    """Train the catalog's `model` on `data`, measure it on the test images, and return the run.

    The arguments are those of `start`. To see the training as it goes, iterate over `start(...)` instead.
    """
    settings = [*settings, *([f"epochs={epochs}"] if epochs is not None else [])]
    job = start(
        model, data, recipe=recipe, settings=settings, out=out, device=device, checkpoint_every=checkpoint_every
    )
    for _ in job:
        pass
    return job.run


def prepare(
    recipe: Recipe,
    data: Data,
    device: torch.device,
    progress: Progress | None,
    checkpoint: Checkpoint | None = None,
    *,
    processes: Processes = ALONE,
) -> Parts:
    """The network, the packed images and all else that a resolved recipe needs, from the checkpoint where there is one.

    Raises DataError or WeightsError.
    """
    side = recipe.image_size
    assert side is not None, "the resolved recipe holds the image size"
    keep_memory()
    known_by = identity(recipe, data)
    channels = data.train.images.shape[1] if data.train.images is not None else 3
    options = {
        "num_classes": len(data.classes),
        "in_channels": channels,
        "generator": torch.Generator().manual_seed(recipe.seed),
        **_switches(recipe),
    }
    source = recipe.model
    # A checkpoint has all the weights: those that the run once started from need not be there any more.
    found = pretrained(source.name, source.weights, **options) if source.weights and checkpoint is None else None
    model = found.model if found else create(source.name, **options)
    model.to(device).to(memory_format=torch.channels_last)

    def report(part: str, done: int, total: int) -> None:
        if progress is not None:
            progress(_NAMES[part], done, total)

    plain = Preprocess(input_size=(side, side), mean=(0.0,) * channels, std=(1.0,) * channels)
    large = round(side * recipe.augment.packing_scale)
    sizes = {"train": replace(plain, input_size=(large, large)), "val": plain, "test": plain}
    packed = pack_data(data, sizes, progress=report)
    batch_size = min(recipe.batch_size, len(packed.train))
    if batch_size < processes.world * recipe.accumulate:
        among = f"among {processes.world} processes and" if processes.world > 1 else "into"
        raise ConfigError(
            f"A batch of {batch_size} images cannot be divided {among} {recipe.accumulate} parts: it would have empty "
            f"ones. Set a larger batch_size, a smaller accumulate, or use fewer processes."
        )
    state = TrainState.begin(model, recipe)
    if checkpoint is not None:
        preprocess = Preprocess.from_dict(checkpoint.trainer["preprocess"])
        state.restore(checkpoint.tensors, checkpoint.trainer)
    else:
        known = found.preprocess if found else None
        mean, std = (known.mean, known.std) if known else channel_stats(packed.train)
        preprocess = replace(plain, mean=mean, std=std)
    precision = Precision.choose(recipe.precision, device)
    train, notes = equip(
        state, recipe, packed.train, data.classes, preprocess, precision, progress=partial(report, "features")
    )
    classifier = Classifier(
        model=model,
        model_name=source.name,
        classes=data.classes,
        preprocess=preprocess,
        tta="flip" if recipe.flip_at_test else "none",
        provenance={
            "data": {"name": data.name, "fingerprint": known_by["fingerprint"], **recipe.data.model_dump(mode="json")},
            "versions": {"classicnets": classicnets.__version__, "torch": torch.__version__},
        },
    )
    return Parts(
        train=train,
        val=packed.val,
        test=packed.test,
        data=packed.data,
        state=state,
        classifier=classifier,
        precision=precision,
        processes=processes,
        identity=known_by,
        notes=(*((f"starting from {found.source}", *found.notes) if found else ()), *notes),
    )


def _switches(recipe: Recipe) -> dict[str, Any]:
    """The recipe's switches of the network. Raises ConfigError for those that the data decides."""
    for name in ("num_classes", "in_channels", "generator", "device", "name"):
        if name in recipe.model.switches:
            raise ConfigError(f"model.switches.{name} is decided by the data and the command: remove it.")
    return recipe.model.switches | ({"checkpointing": True} if recipe.recompute else {})


def _absolute(weights: str) -> str:
    """The weights as they can be found again from another folder."""
    is_path = weights.partition(":")[0] != "torchvision" and Path(weights).exists()
    return str(Path(weights).absolute()) if weights and is_path else weights


def _quoted(path: str | Path) -> str:
    """A path as a TOML string."""
    return json.dumps(str(path), ensure_ascii=False)


def _load(source: str | Path, recipe: Recipe) -> Data:
    data = recipe.data
    return load_data(
        source, seed=data.split_seed, val_fraction=data.val_fraction, test_fraction=data.test_fraction,
        on_error=data.on_error,
    )  # fmt: skip


def _natural_size(images: ImageSet, config: NetConfig) -> int:
    """The image size to train at: the data's own up to 64 pixels, else the network's, at least 64."""
    if images.paths is None:
        own = min(images.image(0).shape[1:])
    else:
        sample = images.paths[:: max(1, len(images) // 50)]
        own = round(statistics.median(min(image_size(path)) for path in sample))
    return max(own if own <= 64 else max(64, config.image_size), config.min_size, 8)
