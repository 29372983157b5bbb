"""The ways into a training: `start` one, `resume` one, or let `train` do all of it.

load data -> choose the recipe -> network, weights -> pack the images -> Job
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

import classicnets
from classicnets.classifier import Classifier
from classicnets.data import Data, load_data
from classicnets.data.check import quick_check
from classicnets.data.imageset import ImageSet
from classicnets.data.pack import channel_stats, pack_data
from classicnets.errors import ConfigError, DataError, WeightsError
from classicnets.hardware import Precision, keep_memory
from classicnets.images import image_size
from classicnets.models.catalog import create, family_of
from classicnets.models.contract import NetConfig
from classicnets.preprocess import Preprocess
from classicnets.training.checkpoint import Checkpoint, newest_checkpoint
from classicnets.training.distributed import Processes, join
from classicnets.training.job import Job, Parts
from classicnets.training.loop import TrainState
from classicnets.training.recipe import Recipe, choose_recipe, load_recipe, with_settings
from classicnets.training.run import Run, environment
from classicnets.weights import pretrained

_NAMES = {"train": "training", "val": "validation", "test": "test"}

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
    processes = join()
    settings = list(settings)
    with processes.connected():
        target = processes.together(lambda: processes.device(device))
        planned = processes.together(lambda: _plan(model, data, recipe, settings, out))
        if earlier := processes.on_main(lambda: Run.of_launch(planned.folder, planned.recipe)):
            return resume(earlier, device=device, checkpoint_every=checkpoint_every, progress=progress)
        parts = processes.together(lambda: _prepare(planned.recipe, planned.data, target, processes, progress))

        def create_run() -> Run:
            run = Run.create(planned.folder, planned.recipe, parts.precision.name)
            run.write_skipped(parts.data.skipped)
            return run

        run = processes.on_main(create_run)
    notes = [*quick_check(parts.data), *planned.notes]
    return Job(run, planned.recipe, parts, checkpoint_every=checkpoint_every, notes=notes)


class _Plan(NamedTuple):
    """What is to be trained, on what, and where it is written if that is not taken."""

    recipe: Recipe
    data: Data
    folder: Path
    notes: list[str]


def _plan(
    model: str, data: str | Path | Data, recipe: str | Path | Recipe | None, settings: list[str], out: str | Path | None
) -> _Plan:
    for key in ("model.name", "data.source"):
        if any(setting.partition("=")[0].strip() == key for setting in settings):
            raise ConfigError(f"{key} is what is trained, and on what: give it as the argument, not as a setting.")
    path = Path(out).resolve() if out is not None else None
    if path is not None and not path.name:
        raise ConfigError(f"--out {out} is no folder for a run. Give one that can be made anew, such as runs/mine.")
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
    values = draft.model_dump(mode="json")
    values["image_size"] = size
    values["model"] |= {"name": model, "weights": _absolute(draft.model.weights)}
    values["data"] |= {
        "source": loaded.source,
        "split_seed": loaded.seed,
        "val_fraction": loaded.val_fraction,
        "test_fraction": loaded.test_fraction,
        "on_error": loaded.on_error,
    }
    resolved = Recipe.model_validate(values)
    return _Plan(resolved, loaded, path or Path("runs") / f"{model}-{loaded.name}", notes)


def resume(
    run: str | Path | Run,
    *,
    device: str = "auto",
    checkpoint_every: int | None = None,
    progress: Progress | None = None,
) -> Job:
    """Go on with a run from its newest whole checkpoint, with its own recipe and data; on the CPU, bit for bit.

    Raises ConfigError where there is no run, DataError where its data is no longer what it was, WeightsError where
    none of its checkpoints is whole.
    """
    processes = join()
    path = run.path if isinstance(run, Run) else Path(run)
    with processes.connected():
        target = processes.together(lambda: processes.device(device))
        # The run folder need not be on the other machines.
        run, recipe, before = processes.on_main(lambda: _opened(path))
        checkpoint, notes = processes.on_main(lambda: newest_checkpoint(path / "checkpoints"))
        if checkpoint is None and processes.on_main((path / "model").exists):
            raise WeightsError(
                " ".join([*notes, f"{path} has no whole checkpoint to go on from; its model/ stays as it is."])
                + f" To train anew: classicnets train MODEL DATA --recipe {path}/recipe.toml"
            )
        data = processes.together(lambda: _load(recipe.data.source, recipe))
        if checkpoint is not None and checkpoint.trainer["fingerprint"] != data.fingerprint():
            raise DataError(
                f"The images at {recipe.data.source} are not those that {path} was trained on. "
                f"Bring them back, or start a new run."
            )
        parts = processes.together(lambda: _prepare(recipe, data, target, processes, progress, checkpoint))
    if checkpoint is None:
        notes.append("No checkpoint yet: starting from the beginning.")
    else:
        notes.append(f"Going on after step {parts.state.step}, epoch {len(parts.state.history)} of {recipe.epochs}.")
    now = environment(parts.precision.name)
    for what in ("torch", "cpu", "threads", "processes", "precision"):
        if before.get(what) != now[what]:
            notes.append(f"{what} was {before.get(what)} and is {now[what]}: the last bits may differ.")
    return Job(run, recipe, parts, checkpoint_every=checkpoint_every, notes=notes)


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


def _opened(path: Path) -> tuple[Run, Recipe, dict[str, Any]]:
    run = Run.open(path)
    return run, run.recipe, run.environment


def _prepare(
    recipe: Recipe,
    data: Data,
    device: torch.device,
    processes: Processes,
    progress: Progress | None,
    checkpoint: Checkpoint | None = None,
) -> Parts:
    side = recipe.image_size
    assert side is not None, "the resolved recipe holds the image size"
    keep_memory()
    fingerprint = data.fingerprint()
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
            progress(f"Reading {_NAMES[part]} images", done, total)

    plain = Preprocess(input_size=(side, side), mean=(0.0,) * channels, std=(1.0,) * channels)
    large = round(side * recipe.augment.packing_scale)
    sizes = {"train": replace(plain, input_size=(large, large)), "val": plain, "test": plain}
    packed = pack_data(data, sizes, progress=report)
    batch_size = min(recipe.batch_size, len(packed.train))
    if batch_size < processes.world * recipe.accumulate:
        raise ConfigError(
            f"A batch of {batch_size} images cannot be divided among {processes.world} processes and "
            f"{recipe.accumulate} parts each: batch_size is that of all together. Set a larger one, or use fewer."
        )
    state = TrainState.begin(model, recipe)
    if checkpoint is not None:
        preprocess = Preprocess.from_dict(checkpoint.trainer["preprocess"])
        state.restore(checkpoint.tensors, checkpoint.trainer)
    else:
        known = found.preprocess if found else None
        mean, std = (known.mean, known.std) if known else channel_stats(packed.train)
        preprocess = replace(plain, mean=mean, std=std)
    classifier = Classifier(
        model=model,
        model_name=source.name,
        classes=data.classes,
        preprocess=preprocess,
        tta="flip" if recipe.flip_at_test else "none",
        provenance={
            "data": {"name": data.name, "fingerprint": fingerprint, **recipe.data.model_dump(mode="json")},
            "versions": {"classicnets": classicnets.__version__, "torch": torch.__version__},
        },
    )
    return Parts(
        train=packed.train,
        val=packed.val,
        test=packed.test,
        data=packed.data,
        state=state,
        classifier=classifier,
        precision=Precision.choose(recipe.precision, device),
        processes=processes,
        fingerprint=fingerprint,
        notes=(f"starting from {found.source}", *found.notes) if found else (),
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
