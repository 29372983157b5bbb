"""The precision that a bundle computes in: what bf16 and int8 lose, and whether int8 is faster.

fp32 files -> opened in fp32 or bf16 -> accurate enough?
           -> int8 files, with the worst layers in higher precision -> accurate enough? -> faster? -> in their place
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from classicnets.card import Card
from classicnets.classifier import Classifier
from classicnets.deployment.choose import LOSSY_GAIN
from classicnets.deployment.engines import FILES, Engine, Session, Settings, open_session
from classicnets.deployment.run_images import RunImages
from classicnets.deployment.timing import interleaved
from classicnets.deployment.verify import Accuracy, Reference, accuracy, answers
from classicnets.drift import DriftReference
from classicnets.errors import ExportMismatch
from classicnets.models.catalog import family_of
from classicnets.system.progress import Report

if TYPE_CHECKING:
    from classicnets.deployment.quantize import Quantized

_TIMED = 2.0  # seconds that int8 and fp32 take turns


class Made(NamedTuple):
    """What a bundle is made of.

    Attributes:
        classifier: what it answers as.
        images: validation images.
        reference: what the classifier answers for them.
        calibration: returns images of the run's training, which int8 needs; once read, they are kept.
        engine: what will compute.
        settings: how it runs, with the precision that was asked for.
        max_drop: how many percentage points of accuracy may be lost.
        progress: shows it.
    """

    classifier: Classifier
    images: RunImages
    reference: Reference
    calibration: Callable[[], NDArray[np.uint8]]
    engine: Engine
    settings: Settings
    max_drop: float
    progress: Report


class Reduced(NamedTuple):
    """A network in the precision that the bundle has.

    Attributes:
        engine: what computes.
        session: the network, opened by the engine.
        settings: how it runs; its precision may be another than was asked for.
        accuracy: what it loses, or None if that cannot be measured.
        more: what else was measured, by its name in bundle.json.
    """

    engine: Engine
    session: Session
    settings: Settings
    accuracy: Accuracy | None
    more: dict[str, Any]


def in_precision(folder: Path, made: Made) -> Reduced:
    """Open the network in the precision that was asked for, and measure what it loses.

    Args:
        folder: a bundle that is being written, with the engine's files in fp32. int8 replaces them.
        made: what the bundle is made of.

    Raises ExportMismatch if more accuracy is lost than allowed.
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
    return Reduced(made.engine, session, made.settings, measured, {})


def with_own_drift(card: Card, made: Made, reduced: Reduced) -> Card:
    """Return the card with the drift scores that the bundle itself gives validation images.

    bf16 and int8 shift scores a little, which would look like drift. A classifier of an earlier version gets its first
    ones. If no validation images are left, fp32 keeps those of the card.
    """
    is_exact = reduced.settings.precision == "fp32"
    if made.images.labels is None or card.conformal is None:
        return card if is_exact else replace(card, drift=None)
    found = made.reference.answers if is_exact else answers(reduced.session, made.reference.images)
    return replace(card, drift=DriftReference.of(found.probabilities, found.novelty))


def _in_int8(folder: Path, made: Made) -> Reduced:
    """Replace the engine's files by int8 ones that are accurate enough, if they are faster here."""
    found = quantized(folder, made)
    plain = replace(made.settings, precision="fp32")
    fp32, int8 = open_session(made.engine, folder, plain), open_session(made.engine, found.path.parent, made.settings)
    speedup = _speedup(fp32, int8, made)
    about = found.to_dict() | {"speedup": speedup}
    if speedup < LOSSY_GAIN:
        shutil.rmtree(found.path.parent)
        note = f"int8 is {speedup:.2f} times as fast as fp32 here, so the bundle stays in fp32."
        kept = in_precision(folder, made._replace(settings=plain))
        return kept._replace(more={"int8": about | {"kept": False, "note": note}})
    put_in_place(found.path.parent, folder, made.engine)
    session = open_session(made.engine, folder, made.settings)
    more = {"kept_higher": list(found.kept_higher), "int8": about | {"kept": True, "note": ""}}
    return Reduced(made.engine, session, made.settings, Accuracy.of(found.counts), more)


def quantized(folder: Path, made: Made) -> Quantized:
    """Write int8 files of the engine into a folder of their own inside `folder`, and return what they lose.

    Raises ExportMismatch if they lose more accuracy than allowed.
    """
    from classicnets.deployment.quantize import quantize_within

    reference, engine = made.reference, made.engine
    settings = replace(made.settings, precision="int8")
    assert reference.labels is not None
    assert engine != "torch"
    place = folder / f"int8-{engine}" / FILES[engine][0]
    place.parent.mkdir()

    def answer(path: Path) -> NDArray[np.float32]:
        return answers(open_session(engine, path.parent, settings), reference.images).probabilities

    return quantize_within(
        engine,
        folder / place.name,
        place,
        made.calibration(),
        family=family_of(made.classifier.model_name).name,
        answer=answer,
        reference=reference.answers.probabilities,
        labels=reference.labels,
        max_drop=made.max_drop,
        progress=lambda sentence: made.progress(sentence, 0, 1),
    )


def put_in_place(source: Path, folder: Path, engine: Engine) -> None:
    """Move the engine's files from `source`, which is removed, to `folder`."""
    for name in FILES[engine]:
        (source / name).replace(folder / name)
    shutil.rmtree(source)


def _speedup(fp32: Session, int8: Session, made: Made) -> float:
    """How many times as fast int8 is, for one image or, if throughput is the goal, for 32."""
    batch = 32 if made.settings.goal == "throughput" else 1
    images = made.reference.batch(batch)
    ways = {"fp32": partial(fp32.run, images), "int8": partial(int8.run, images)}
    times = interleaved(ways, seconds=_TIMED)
    return times["int8"].speedup_over(times["fp32"])
