"""`export`: a trained classifier becomes a bundle, which is checked before anyone sees it.

    classifier -> model.onnx -> the engine's own files -> answers as PyTorch does? -> int8 or bf16 -> accurate enough?
               -> golden images, labels, README, bundle.json -> renamed to its place

Everything is written aside. If a check fails, or the process is killed, there is no bundle. The next export to the same
place removes what a killed one left.
"""

from __future__ import annotations

import copy
import os
from datetime import UTC, datetime
from functools import cache, partial
from os import PathLike
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from classicnets import __version__
from classicnets.classifier import Classifier
from classicnets.deployment.bundle import Bundle
from classicnets.deployment.bundle_files import write_golden, write_labels
from classicnets.deployment.choose import Row
from classicnets.deployment.engines import ENGINES, FILES, Engine, Goal, Precision, Settings, open_session
from classicnets.deployment.graph import deployable
from classicnets.deployment.image_size import with_image_size
from classicnets.deployment.manifest import FORMAT, Input, Manifest, is_bundle
from classicnets.deployment.precision import Made, Reduced, in_precision, with_own_drift
from classicnets.deployment.readme import readme
from classicnets.deployment.requirements import requirements
from classicnets.deployment.run_images import RunImages, large_photos, training_images, validation_images
from classicnets.deployment.timing import interleaved
from classicnets.deployment.verify import Reference, check_parity, check_whole_image
from classicnets.errors import ConfigError, DataError, MissingExtra, unknown_name
from classicnets.evaluation.choose import run_of
from classicnets.system.installed import is_installed
from classicnets.system.locks import folder_aside
from classicnets.system.machine import machine
from classicnets.system.paths import numbered
from classicnets.system.progress import Report, no_report
from classicnets.system.storage import check_new, sha256_of
from classicnets.weights.structure import network_of

EngineName = Literal["onnx", "onnxruntime", "openvino", "torch", "auto"]
"""What `export` takes; "onnx" is ONNX Runtime."""

PrecisionName = Literal["fp32", "bf16", "int8", "auto"]

_TIMED = 0.3  # seconds that the bundle's latency is measured
_AUTO: tuple[Engine, ...] = ("openvino", "onnxruntime")  # those that need no PyTorch


def export(
    run: Classifier | str | PathLike[str],
    out: str | PathLike[str] | None = None,
    *,
    engine: EngineName = "openvino",
    precision: PrecisionName | None = None,
    max_drop: float = 0.5,
    image_size: int | None = None,
    whole_image: bool = False,
    goal: Goal = "latency",
    progress: Report = no_report,
) -> Bundle:
    """Write a classifier as a bundle: a folder that answers without PyTorch, and proves that it answers rightly.

    Args:
        run: a run folder, a model folder, or a classifier.
        out: a new folder. By default `bundle` in the run folder, or `bundle-2` and so on; a classifier needs it.
        engine: what will compute: "openvino", "onnx" for ONNX Runtime, "torch", or "auto": whichever of OpenVINO and
            ONNX Runtime is fastest here.
        precision: "fp32" answers as PyTorch does. "bf16" and "int8" are faster on processors that have them, and may
            lose accuracy. "auto" is the fastest of them here that loses at most `max_drop`. By default "fp32", and
            "auto" if the engine is.
        max_drop: how many percentage points of accuracy "bf16" and "int8" may lose on validation images, 0 or more.
        image_size: height and width of the network's input in pixels; by default what it was trained with.
        whole_image: also write `whole_image.onnx`, whose graph resizes and crops an image of any size itself.
        goal: "latency" for one image at a time, "throughput" for many.
        progress: called with what is being done, how much of it is done, and how much there is.

    Returns the bundle, loaded from its place.

    Raises:
        ConfigError: an argument cannot be used, or `out` exists.
        MissingExtra: the engine, or what writes its files, is not installed.
        ExportMismatch: the exported network does not answer as PyTorch does, or loses more accuracy than allowed.
        StorageError: the disk refuses. Whatever is raised, nothing is left behind.

    >>> export("runs/birds", "birds-bundle", engine="openvino").predict("crow.jpg").label  # doctest: +SKIP
    'crow'
    """
    engines = _engines(engine)
    precisions = _precisions(precision or ("auto" if engine == "auto" else "fp32"))
    _check(engines, precisions, max_drop, image_size)
    classifier, folder = _opened(run)
    place = _place(out, folder)
    if image_size is not None:
        classifier = with_image_size(classifier, image_size, folder, report=progress)
    images = validation_images(classifier, folder, report=progress)
    if "fp32" not in precisions and images.labels is None:
        raise DataError(
            f"{precisions[0]} needs labelled validation images, to measure what it loses. {images.notes[0]}"
        )
    reference = Reference.of(
        classifier, images.validation, images.labels, progress=partial(progress, "Answering in PyTorch")
    )
    asked = Settings(precision=precisions[0], goal=goal)

    @cache
    def calibration() -> NDArray[np.uint8]:
        from classicnets.deployment.quantize import calibration_images

        return calibration_images(training_images(classifier, folder), classifier.preprocess)

    try:
        with folder_aside(place) as aside:
            made = Made(classifier, images, reference, calibration, engines[0], asked, max_drop, progress)
            _write(aside, made, engines, precisions, whole_image=whole_image)
    except FileExistsError:
        check_new(place)
        raise
    return Bundle.load(place)


def _write(
    folder: Path, made: Made, engines: tuple[Engine, ...], precisions: tuple[Precision, ...], *, whole_image: bool
) -> None:
    """Write and check everything in a folder that is not in its place yet."""
    classifier, images, card = made.classifier, made.images, made.classifier.card
    _write_networks(folder, made, engines, whole_image=whole_image)
    parity = {
        name: check_parity(open_session(name, folder), made.reference, name=name).to_dict()
        for name in _checked(engines)
    }
    whole = check_whole_image(folder / "whole_image.onnx", classifier, images.validation) if whole_image else None
    if len(engines) == len(precisions) == 1:
        reduced = in_precision(folder, made)
    else:
        from classicnets.deployment.auto import fastest

        reduced = fastest(folder, made, engines, precisions)
    card = with_own_drift(card, made, reduced)
    golden = write_golden(folder, images.validation, reduced.session)
    write_labels(folder, card.classes)
    measured = {
        "images": images.name,
        "parity": {name: row for name, row in parity.items() if name in _checked((reduced.engine,))},
        "whole_image": whole,
        "accuracy": None if reduced.accuracy is None else reduced.accuracy.to_dict(),
        "asked": "auto" if len(precisions) > 1 else precisions[0],
        "executed": reduced.session.executed,
        "reduced_decoding": _reduced_decoding(classifier, images),
        "machine": machine(*ENGINES.values(), "numpy", "pillow"),
        "notes": list(images.notes),
        "kept_higher": [],
        "int8": None,
        "latency": [row.to_dict() for row in _timed(reduced, made)] if "latency" not in reduced.more else [],
        "not_kept": [],
        **reduced.more,
    }
    manifest = Manifest(
        format=FORMAT,
        classicnets=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        engine=reduced.engine,
        settings=reduced.settings,
        files={},
        input=_input(classifier),
        outputs=("probabilities", "novelty") if made.reference.answers.novelty is not None else ("probabilities",),
        card=card.to_dict(),
        golden=golden,
        measured=measured,
    )
    sizes = {name: (folder / name).stat().st_size for name in _network_files(folder)}
    text = readme(manifest, card.preprocess, sizes, whole_image=whole_image)
    (folder / "README.md").write_text(text, "utf-8", newline="\n")
    (folder / "requirements.txt").write_text(requirements(manifest.engine), "utf-8", newline="\n")
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    hashes = {name: sha256_of(folder / name) for name in files}
    msgspec.structs.replace(manifest, files=hashes).write(folder)


def _write_networks(folder: Path, made: Made, engines: tuple[Engine, ...], *, whole_image: bool) -> None:
    from classicnets.deployment.onnx_file import write_onnx

    classifier, card = made.classifier, made.classifier.card
    network, about = deployable(classifier), {"classes": card.classes, "model": card.model_name}
    made.progress("Writing the network", 0, 1)
    write_onnx(network, folder / "model.onnx", metadata=about)
    if whole_image:
        write_onnx(network, folder / "whole_image.onnx", whole_image=card.preprocess, metadata=about)
    if "openvino" in engines:
        from classicnets.deployment.openvino_ir import write_ir

        write_ir(folder / "model.onnx", folder / "model.xml")
    if "torch" in engines:
        classifier.save(folder / "network")
    made.progress("Writing the network", 1, 1)


def _checked(engines: tuple[Engine, ...]) -> list[Engine]:
    """The engines that read a file of the bundle and are installed: ONNX Runtime reads model.onnx in all of them."""
    also: list[Engine] = ["onnxruntime"] if is_installed("onnxruntime") else []
    return list(dict.fromkeys([*engines, *also]))


def _timed(reduced: Reduced, made: Made) -> list[Row]:
    """How long one image takes, and 32."""
    settings, rows = reduced.settings, []
    for batch in (1, 32):
        ways = {"bundle": partial(reduced.session.run, made.reference.batch(batch))}
        seconds = interleaved(ways, seconds=_TIMED)["bundle"].p50
        measured = {"milliseconds": 1000 * seconds, "images_per_second": batch / seconds, "speed": 1.0, "kept": True}
        rows.append(Row.of(reduced.engine, settings, reduced.session.executed, batch, **measured))
    return rows


def _reduced_decoding(classifier: Classifier, images: RunImages) -> dict[str, Any] | None:
    """How far answers differ between photos that are decoded as a whole and at a reduced scale."""
    photos = large_photos(classifier.card, images)
    if photos is None:
        return None
    plain, reduced = (
        classifier.card.probabilities(classifier.logits(pixels)).numpy() for pixels in (photos.plain, photos.reduced)
    )
    same = plain.argmax(axis=1) == reduced.argmax(axis=1)
    return {
        "photos": photos.name,
        "images": len(plain),
        "difference": float(np.abs(plain - reduced).max()),
        "top1": float(same.mean()),
    }


def _input(classifier: Classifier) -> Input:
    preprocess = classifier.preprocess
    colours: dict[int, Literal["RGB", "grey", "other"]] = {1: "grey", 3: "RGB"}
    return Input(
        shape=("N", preprocess.channels, *preprocess.input_size), colours=colours.get(preprocess.channels, "other")
    )


def _network_files(folder: Path) -> list[str]:
    known = ["model.onnx", "whole_image.onnx", *(name for names in FILES.values() for name in names)]
    return [name for name in dict.fromkeys(known) if (folder / name).is_file()]


# ---- what the user gives


def _engines(name: str) -> tuple[Engine, ...]:
    """The engines to make. Raises UnknownName, or MissingExtra if it is not installed."""
    known: dict[str, tuple[Engine, ...]] = {engine: (engine,) for engine in ENGINES}
    known |= {"onnx": ("onnxruntime",), "auto": _AUTO}
    if name not in known:
        raise unknown_name("engine", name, get_args(EngineName), next_step="Known: onnx, openvino, torch, auto.")
    engines = tuple(engine for engine in known[name] if is_installed(ENGINES[engine]))
    for package in ("onnx", *map(ENGINES.__getitem__, known[name][:1])):
        if not is_installed(package) and not (engines and package != "onnx"):
            raise MissingExtra(
                f'Exporting for {name} needs the package {package}. Install it with: pip install "classicnets[deploy]"'
            )
    return engines


def _precisions(name: str) -> tuple[Precision, ...]:
    """The precisions to make. Raises UnknownName."""
    known: tuple[Precision, ...] = get_args(Precision)
    if name == "auto":
        return known
    if name not in known:
        raise unknown_name("precision", name, [*known, "auto"], next_step=f"Known: {', '.join(known)}, auto.")
    return tuple(precision for precision in known if precision == name)


def _check(
    engines: tuple[Engine, ...], precisions: tuple[Precision, ...], max_drop: float, image_size: int | None
) -> None:
    if engines == ("torch",) and precisions == ("int8",):
        raise ConfigError("int8 is made for OpenVINO and ONNX Runtime. Choose --engine openvino or onnx.")
    if not 0 <= max_drop <= 100:
        raise ConfigError(f"--max-drop is in percentage points of accuracy, from 0 to 100; got {max_drop:g}.")
    if image_size is not None and image_size < 1:
        raise ConfigError(f"--image-size is in pixels, 1 or more; got {image_size}.")


def _opened(run: Classifier | str | PathLike[str]) -> tuple[Classifier, Path | None]:
    """The classifier, and its run folder if it has one. Raises ConfigError for a bundle, and what `load` raises."""
    if isinstance(run, Classifier):
        return _in_float32(run), None
    if is_bundle(run):
        raise ConfigError(f"{Path(run)} is a bundle already. Give the run that it was made from.")
    return Classifier.load(run), run_of(run)


def _in_float32(classifier: Classifier) -> Classifier:
    """The classifier as `load` would load it after `save`: on the CPU and in float32. It stays as it is."""
    network = network_of(classifier.model)
    weight = next(network.parameters())
    if weight.device.type == "cpu" and weight.dtype == torch.float32:
        return classifier
    return Classifier.of(classifier.card, copy.deepcopy(network).cpu().float(), classifier.novelty_score)


def _place(out: str | PathLike[str] | None, run: Path | None) -> Path:
    """Where the bundle goes. Raises ConfigError if something is there, or nothing says where."""
    if out is not None:
        check_new(Path(out))
        return Path(out)
    if run is None:
        raise ConfigError("Say where the bundle goes: --out FOLDER, a new folder.")
    return next(place for place in numbered(run / "bundle") if not os.path.lexists(place))
