"""Questions to a model, the same for every protocol: images and options in, answers and what was counted out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from classicnets.conformal import SetMethod
from classicnets.errors import BadImage
from classicnets.scorer import Answer, require_conformal
from classicnets.serving.admission import abandoned
from classicnets.serving.limits import check_pixels
from classicnets.serving.models import Served
from classicnets.serving.telemetry import Telemetry


@dataclass(frozen=True)
class Question:
    """What a request asks about its images.

    Attributes:
        top_k: how many classes each answer has, 1 or more.
        coverage: the probability with which the set of classes holds the true one, or None for no set.
        sets: how the set is chosen.
    """

    top_k: int = 5
    coverage: float | None = None
    sets: SetMethod = "lac"


@dataclass(frozen=True)
class Given:
    """An image of a request: its content and what to call it."""

    name: str
    content: bytes


def answer_all(
    served: Served, images: Sequence[Given], question: Question, telemetry: Telemetry
) -> list[Answer | BadImage]:
    """Answer each image by itself, so that its numbers do not depend on the others.

    Raises ConfigError if the model cannot promise the coverage.
    """
    scorer = served.scorer
    if question.coverage is not None:
        require_conformal(scorer.card, question.coverage, question.sets)
    answers: list[Answer | BadImage] = []
    for image in images:
        if abandoned():
            break
        try:
            check_pixels(image.content, name=image.name)
            answer = scorer.predict(image.content, top_k=question.top_k, coverage=question.coverage, sets=question.sets)
        except BadImage as error:
            telemetry.bad.labels(served.name).inc()
            answers.append(BadImage(image.name, error.reason))
            continue
        telemetry.images.labels(served.name, answer.label).inc()
        served.watch(scorer, [] if answer.strangeness is None else [answer.strangeness])
        if answer.unlike_training:
            telemetry.unlike.labels(served.name).inc()
        answers.append(replace(answer, path=image.name))
    return answers


def to_json(answer: Answer | BadImage) -> dict[str, Any]:
    """Return an answer with the keys of `classicnets predict --format json`, or the name and what is wrong."""
    if isinstance(answer, BadImage):
        return {"path": answer.name, "error": str(answer)}
    return answer.to_dict()
