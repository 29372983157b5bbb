"""`--engine auto` and `--precision auto`: every engine and precision that is accurate enough is measured here.

fp32, bf16 and int8 of each engine -> those within the limit -> `choose` -> the fastest one's files in their place
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from classicnets.deployment.choose import Candidate, choose
from classicnets.deployment.engines import FILES, Engine, Precision, Session, Settings, open_session
from classicnets.deployment.precision import Made, Reduced, put_in_place, quantized
from classicnets.deployment.quantize import Quantized
from classicnets.deployment.verify import Accuracy, accuracy, check_parity
from classicnets.errors import ExportMismatch, first_sentence

_THROUGHPUT = 32  # images in a call


def fastest(folder: Path, made: Made, engines: Collection[Engine], precisions: Collection[Precision]) -> Reduced:
    """Measure engines and precisions on this machine, keep the files of the fastest, and remove those of the others.

    Args:
        folder: a bundle that is being written, with the files of all `engines` in fp32.
        made: what the bundle is made of.
        engines: the engines to measure.
        precisions: the precisions to measure. bf16 and int8 are left out if nobody knows the images' true classes.

    Returns the network in the best way; its `more` has the whole table as "latency".
    """
    attempts = list(_attempts(folder, made, engines, precisions))
    found = {attempt.candidate: attempt for attempt in attempts if attempt.candidate is not None}
    candidates, notes = list(found), [attempt.note for attempt in attempts if attempt.candidate is None]
    goal = made.settings.goal
    images = made.reference.batch(_THROUGHPUT)
    choice = choose(candidates, images=images, goal=goal, max_drop=made.max_drop, progress=made.progress)
    best, settings, measured, int8 = choice.best, choice.settings, found[choice.best].accuracy, found[choice.best].int8
    more: dict[str, Any] = {"latency": [row.to_dict() for row in choice.rows], "not_kept": notes}
    if int8 is not None:
        more |= {"kept_higher": list(int8.kept_higher), "int8": int8.to_dict() | {"kept": True, "note": ""}}
        put_in_place(best.folder, folder, best.engine)
    for place in folder.glob("int8-*"):
        shutil.rmtree(place)
    for name in (name for engine in engines if engine != best.engine for name in FILES[engine]):
        if name != "model.onnx":  # which every bundle has
            (folder / name).unlink()
    session, settings = _opened(folder, made, best.engine, settings)
    return Reduced(best.engine, session, settings, measured or accuracy(session, made.reference), more)


class _Attempt(NamedTuple):
    """A candidate, the accuracy that was measured for it, and what int8 keeps; or why there is no candidate."""

    candidate: Candidate | None
    accuracy: Accuracy | None = None
    int8: Quantized | None = None
    note: str = ""


def _attempts(
    folder: Path, made: Made, engines: Collection[Engine], precisions: Collection[Precision]
) -> Iterator[_Attempt]:
    for engine in engines:
        if "fp32" in precisions:
            yield _Attempt(Candidate(engine, folder))
        if made.reference.labels is None:
            continue
        if "bf16" in precisions:
            session = open_session(engine, folder, replace(made.settings, precision="bf16"))
            lost = accuracy(session, made.reference) if session.executed == "bf16" else None
            yield _Attempt(Candidate(engine, folder, "bf16", lost.drop if lost else 0.0), lost)
        if "int8" in precisions and engine != "torch":
            try:
                found = quantized(folder, made._replace(engine=engine))
            except ExportMismatch as error:
                yield _Attempt(None, note=f"{engine} int8: {first_sentence(error)}")
            else:
                candidate = Candidate(engine, found.path.parent, "int8", found.drop)
                yield _Attempt(candidate, Accuracy.of(found.counts), found)


def _opened(folder: Path, made: Made, engine: Engine, settings: Settings) -> tuple[Session, Settings]:
    """The network as it will run, checked: Winograd's convolutions are kept if they still answer as PyTorch does."""
    session = open_session(engine, folder, settings)
    if settings.precision != "fp32":
        return session, settings
    try:
        check_parity(session, made.reference, name=engine)
    except ExportMismatch:
        if settings.convolution != "winograd":
            raise
        return _opened(folder, made, engine, replace(settings, convolution=Settings().convolution))
    return session, settings
