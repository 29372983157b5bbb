"""The precision that a bundle computes in: what bf16 and int8 lose, and whether int8 is faster.

fp32 files -> opened in fp32 or bf16 -> accurate enough?
           -> int8 files, with the worst layers in higher precision -> accurate enough? -> faster? -> in their place
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from classicnets.classifier import Classifier
from classicnets.deployment.engines import FILES, Engine, Session, Settings, open_session
from classicnets.deployment.run_images import RunImages, training_images
from classicnets.deployment.timing import interleaved
from classicnets.deployment.verify import Accuracy, Reference, accuracy, answers
from classicnets.errors import ConfigError, ExportMismatch
from classicnets.models.catalog import family_of
from classicnets.system.progress import Report

_TIMED = 2.0  # seconds that int8 and fp32 take turns


class Made(NamedTuple):
    """What a bundle is made of.

    Attributes:
        classifier: what it answers as.
        run: the classifier's run folder, or None.
        images: validation images.
        reference: what the classifier answers for them.
        engine: what will compute.
        settings: how it runs, with the precision that was asked for.
        max_drop: how many percentage points of accuracy may be lost.
        progress: shows it.
    """

    classifier: Classifier
    run: Path | None
    images: RunImages
    reference: Reference
    engine: Engine
    settings: Settings
    max_drop: float
    progress: Report


class Reduced(NamedTuple):
    """A network in the precision that the bundle has.

    Attributes:
        session: the network.
        settings: how it runs; its precision may be another than was asked for.
        accuracy: what it loses, or None if that cannot be measured.
        more: what else was measured, by its name in bundle.json.
    """

    session: Session
    settings: Settings
    accuracy: Accuracy | None
    more: dict[str, Any]


def in_precision(folder: Path, made: Made) -> Reduced:
    """Open the network in the precision that was asked for, and measure what it loses.

    Args:
        folder: a bundle that is being written, with the engine's files in fp32. int8 replaces them.
        made: what the bundle is made of.

    Raises ExportMismatch if more accuracy is lost than allowed, ConfigError if the engine has no int8.
    """
    progress = partial(made.progress, "Measuring accuracy")
    if made.settings.precision == "int8":
        return _in_int8(folder, made)
    session = open_session(made.engine, folder, made.settings)
    measured = accuracy(session, made.reference, progress=progress)
    if made.settings.precision != "fp32" and measured is not None and measured.drop > made.max_drop:
        raise ExportMismatch(
            f"{made.settings.precision} loses {measured.words}; {made.max_drop:g} are allowed. Nothing was written. "
            f"Allow more with --max-drop, or export with --precision fp32."
        )
    return Reduced(session, made.settings, measured, {})


def _in_int8(folder: Path, made: Made) -> Reduced:
    """Replace the engine's files by int8 ones that are accurate enough, if they are faster here."""
    from classicnets.deployment.quantize import INT8_GAIN, calibration_images, quantize_within

    card, reference, engine = made.classifier.card, made.reference, made.engine
    assert reference.labels is not None
    if engine == "torch":
        raise ConfigError("int8 is made for OpenVINO and ONNX Runtime. Choose --engine openvino or onnx.")
    file = FILES[engine][0]
    (folder / "int8").mkdir()

    def answer(path: Path) -> NDArray[np.float32]:
        return answers(open_session(engine, path.parent, made.settings), reference.images).probabilities

    quantized = quantize_within(
        engine,
        folder / file,
        folder / "int8" / file,
        calibration_images(training_images(made.classifier, made.run), card.preprocess),
        family=family_of(card.model_name).name,
        answer=answer,
        reference=reference.answers.probabilities,
        labels=reference.labels,
        max_drop=made.max_drop,
        progress=lambda sentence: made.progress(sentence, 0, 1),
    )
    plain = replace(made.settings, precision="fp32")
    speedup = _speedup(open_session(engine, folder, plain), open_session(engine, folder / "int8", made.settings), made)
    about = quantized.to_dict() | {"speedup": speedup}
    if speedup < INT8_GAIN:
        shutil.rmtree(folder / "int8")
        note = f"int8 is {speedup:.2f} times as fast as fp32 here, so the bundle stays in fp32."
        kept = in_precision(folder, made._replace(settings=plain))
        return kept._replace(more={"int8": about | {"kept": False, "note": note}})
    for name in FILES[engine]:
        (folder / "int8" / name).replace(folder / name)
    (folder / "int8").rmdir()
    session = open_session(engine, folder, made.settings)
    more = {"kept_higher": list(quantized.kept_higher), "int8": about | {"kept": True, "note": ""}}
    return Reduced(session, made.settings, accuracy(session, reference), more)


def _speedup(fp32: Session, int8: Session, made: Made) -> float:
    """How many times as fast int8 is, for one image or, if throughput is the goal, for 32."""
    batch = 32 if made.settings.goal == "throughput" else 1
    images = np.resize(made.reference.images, (batch, *made.reference.images.shape[1:]))
    ways = {"fp32": partial(fp32.run, images), "int8": partial(int8.run, images)}
    times = interleaved(ways, seconds=_TIMED)
    return times["int8"].speedup_over(times["fp32"])
