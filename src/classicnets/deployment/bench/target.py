"""What is measured: a model of the catalog, a run or a bundle, as files for every engine, and its contenders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from classicnets.deployment.bench.contender import Contender, Way
from classicnets.deployment.bundle import Bundle, load
from classicnets.deployment.engines import ENGINES, FILES, Engine, Precision, Settings
from classicnets.deployment.manifest import is_bundle
from classicnets.errors import ConfigError, MissingExtra, unknown_name
from classicnets.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from classicnets.system.installed import is_installed
from classicnets.system.progress import Report, no_report

if TYPE_CHECKING:
    from classicnets.classifier import Classifier

WAYS: tuple[Way, ...] = ("eager", "compile", "torch", "onnxruntime", "openvino")
_CALIBRATION = 8  # images of noise: enough for speed, not for accuracy


@dataclass(frozen=True)
class Work:
    """What a network does for one image.

    Attributes:
        macs: multiply-adds.
        weights: how many numbers it has learned.
        activations: how many numbers its layers write.
    """

    macs: int
    weights: int
    activations: int

    def bytes_moved(self, batch: int, precision: str) -> float:
        """Return how many bytes a batch has to move: the weights once, each activation out and in again."""
        size = {"int8": 1, "bf16": 2}.get(precision, 4)
        return size * (self.weights + 2 * batch * self.activations)


@dataclass(frozen=True)
class Target:
    """A network and the ways to run it.

    Attributes:
        title: what it is, such as "resnet18 at 3x224x224".
        shape: channels, height and width of an image.
        contenders: the ways; the first is what the others are compared with.
        work: what it does for one image; None if that is not known, as without PyTorch.
        notes: what was left out, and why.
    """

    title: str
    shape: tuple[int, int, int]
    contenders: tuple[Contender, ...]
    work: Work | None
    notes: tuple[str, ...] = ()


@contextmanager
def open_target(
    what: str | Path | Classifier,
    *,
    ways: Sequence[str] = WAYS,
    threads: int | None = None,
    int8: bool = True,
    progress: Report = no_report,
) -> Iterator[Target]:
    """Write the files of every engine to a folder that lasts as long as the block, and yield the target.

    Args:
        what: a model of the catalog, which gets random weights; a run, a model folder or a bundle; or a classifier.
        ways: which contenders: "eager", "compile", "torch", "onnx" or "onnxruntime", "openvino".
        threads: how many threads each has; by default one for each core that this process may use.
        int8: whether int8 is measured too, calibrated on noise, which is enough for speed.
        progress: called with what is being done, how much of it is done, and how much there is.

    Raises UnknownName for a way or model that does not exist, WeightsError for a folder that holds no classifier.

    >>> with open_target("resnet18") as target:  # doctest: +SKIP
    ...     print(target.title)
    """
    chosen = _chosen(ways)
    found = _found(what)
    settings = Settings(threads=threads)
    with TemporaryDirectory(prefix="classicnets-bench-") as name:
        folder = Path(name)
        notes: list[str] = []
        if not isinstance(found, Bundle):
            classifier = found
            _save_network(classifier, folder, chosen)
            contenders = _of_classifier(classifier, folder, chosen, settings, int8=int8, notes=notes, progress=progress)
        else:
            contenders = _of_bundle(found, chosen, settings)
            if not is_installed("torch"):
                yield _without_torch(found, contenders)
                return
            classifier = _random(found.model_name, found)
            _save_network(classifier, folder, chosen)
        rivals = [Contender(way, folder, settings) for way in ("eager", "compile") if way in chosen]
        yield Target(*_named(classifier), (*rivals, *contenders), _work(classifier), tuple(notes))


def _named(scorer: Classifier | Bundle) -> tuple[str, tuple[int, int, int]]:
    """The title, and the shape of an image."""
    channels, size = scorer.preprocess.channels, scorer.preprocess.input_size
    return f"{scorer.model_name} at {channels}x{size[0]}x{size[1]}", (channels, *size)


def _without_torch(bundle: Bundle, contenders: Sequence[Contender]) -> Target:
    """The engines of a bundle on a machine that has no PyTorch. Raises ConfigError if there are none."""
    if not contenders:
        raise ConfigError("No engine to measure without PyTorch. Name one that the bundle has with --engines.")
    note = "PyTorch is not installed: it is not measured, and what the network computes and moves is not known."
    return Target(*_named(bundle), tuple(contenders), None, (note,))


def _chosen(ways: Sequence[str]) -> list[Way]:
    """The ways by their full names, in the order of `WAYS`."""
    names = {"onnx": "onnxruntime"}
    full = {names.get(way, way) for way in ways}
    for way in full:
        if way not in WAYS:
            raise unknown_name("engine", way, WAYS, next_step=f"Known: {', '.join(WAYS)}.")
    return [way for way in WAYS if way in full]


def _found(what: str | Path | Classifier) -> Classifier | Bundle:
    if not isinstance(what, str | Path):
        return what
    if is_bundle(what):
        return Bundle.load(what)
    from classicnets.models.catalog import CATALOG

    if str(what) in CATALOG and not Path(what).exists():
        return _random(str(what))
    if not Path(what).exists():
        raise unknown_name(
            "model", str(what), CATALOG, next_step="Give a model of `classicnets models`, a run or a bundle."
        )
    return load(what)


def _random(name: str, like: Bundle | None = None) -> Classifier:
    """A model of the catalog with random weights, for as many classes and channels as `like` has."""
    import torch

    from classicnets.classifier import Classifier
    from classicnets.models.catalog import create

    options: dict[str, Any] = (
        {} if like is None else {"num_classes": len(like.classes), "in_channels": like.preprocess.channels}
    )
    model = create(name, generator=torch.Generator().manual_seed(0), **options).eval()
    channels, side = model.config.in_channels, model.config.image_size
    size = (side, side) if like is None else like.preprocess.input_size
    usual = channels == len(IMAGENET_MEAN)
    preprocess = Preprocess(
        input_size=size,
        mean=IMAGENET_MEAN if usual else (0.5,) * channels,
        std=IMAGENET_STD if usual else (0.25,) * channels,
    )
    classes = tuple(map(str, range(model.config.num_classes)))
    return Classifier(model=model, model_name=name, classes=classes, preprocess=preprocess)


def _save_network(classifier: Classifier, folder: Path, chosen: Sequence[Way]) -> None:
    if {"eager", "compile", "torch"} & set(chosen):
        classifier.save((folder / FILES["torch"][0]).parent)


def _of_bundle(bundle: Bundle, chosen: Sequence[Way], settings: Settings) -> list[Contender]:
    """The bundle's own engine as it was exported, and the other engines whose files it has."""
    own = replace(bundle.manifest.settings, threads=settings.threads or bundle.manifest.settings.threads)
    contenders = []
    for engine in ENGINES:
        if engine not in chosen or not all((bundle.folder / file).is_file() for file in FILES[engine]):
            continue
        if engine == bundle.manifest.engine:
            contenders.append(Contender(engine, bundle.folder, own, "as exported"))
        else:
            contenders.append(Contender(engine, bundle.folder, settings))
    return contenders


def _of_classifier(
    classifier: Classifier,
    folder: Path,
    chosen: Sequence[Way],
    settings: Settings,
    *,
    int8: bool,
    notes: list[str],
    progress: Report,
) -> list[Contender]:
    """Every engine that is installed, in every precision that this machine has."""
    from classicnets.deployment.graph import deployable
    from classicnets.deployment.onnx_file import write_onnx
    from classicnets.deployment.openvino_ir import write_ir

    engines: list[Engine] = [engine for engine in ENGINES if engine in chosen]
    missing = [engine for engine in engines if not is_installed(ENGINES[engine])]
    notes += [f"{engine} is not installed: pip install 'classicnets[deploy]'" for engine in missing]
    engines = [engine for engine in engines if engine not in missing]
    if {"onnxruntime", "openvino"} & set(engines):
        progress("Writing files", 0, 2)
        write_onnx(deployable(classifier), folder / "model.onnx")
        if "openvino" in engines:
            write_ir(folder / "model.onnx", folder / "model.xml")
        progress("Writing files", 2, 2)
    contenders = []
    for engine in ("torch", "onnxruntime", "openvino"):
        if engine not in engines:
            continue
        contenders.append(Contender(engine, folder, settings))
        if engine == "openvino":
            contenders.append(Contender(engine, folder, replace(settings, convolution="winograd"), "winograd"))
        if engine != "onnxruntime" and _has_bf16():
            contenders.append(Contender(engine, folder, replace(settings, precision="bf16")))
        if engine != "torch" and int8:
            try:
                contenders.append(_quantised(engine, classifier, folder, settings, progress))
            except MissingExtra as error:
                notes.append(str(error))
    return contenders


def _quantised(engine: Engine, classifier: Classifier, folder: Path, settings: Settings, progress: Report) -> Contender:
    from classicnets.deployment.quantize.onnxruntime import quantize_onnxruntime
    from classicnets.deployment.quantize.openvino import quantize_openvino

    progress(f"Quantising for {engine}", 0, 1)
    made = folder / f"int8-{engine}"
    made.mkdir()
    shape = (_CALIBRATION, classifier.preprocess.channels, *classifier.preprocess.input_size)
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    if engine == "openvino":
        quantize_openvino(folder / "model.xml", made / "model.xml", noise)
    else:
        quantize_onnxruntime(folder / "model.onnx", made / "model.onnx", noise)
    progress(f"Quantising for {engine}", 1, 1)
    precision: Precision = "int8"
    return Contender(engine, made, replace(settings, precision=precision))


def _has_bf16() -> bool:
    import torch

    from classicnets.system.devices import has_bf16

    return has_bf16(torch.device("cpu"))


def _work(classifier: Classifier) -> Work:
    from classicnets.analysis import inspect
    from classicnets.weights.structure import network_of

    network = network_of(classifier.model)
    summary = inspect(network, image_size=classifier.preprocess.input_size)
    views = 2 if classifier.tta == "flip" else 1
    return Work(views * summary.macs, summary.parameters, views * summary.activation_bytes // 4)
