"""/inside: look into the network of a run, with an image, stage by stage and unit by unit.

    POST /inside/open       an image      -> what the network sees of it, its answer, the stages
    POST /inside/maps       what it sees  -> the strongest channels of a stage, as pictures
    POST /inside/unit       what it sees  -> how the value of a unit comes about
    POST /inside/without    what it sees  -> the answer with a channel or a unit at 0

The first answer holds what the network sees: a small PNG, which the page sends with every further question. So no image
is kept on the server, neither on disk nor in memory. A bundle has no network to look into.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from classicnets.deployment import Bundle
from classicnets.errors import BadImage
from classicnets.images import image_size, png_uri, read_pixels
from classicnets.serving.limits import check_pixels
from classicnets.serving.page.static import content
from classicnets.serving.refusal import Refusal
from classicnets.system.finite import finite

if TYPE_CHECKING:
    from torch import Tensor

    from classicnets.classifier import Classifier
    from classicnets.explanation.unit import Units
    from classicnets.serving.app import State
    from classicnets.serving.models import Served

router = APIRouter(prefix="/inside")

_MOST_CLASSES = 5
_NAME = "the image"

Model = Annotated[str | None, Query()]
Stage = Annotated[str, Query(max_length=100)]
Index = Annotated[int, Query(ge=0, lt=2**20)]


@router.get("")
async def page() -> Response:
    """The page."""
    return Response(content("inside.html"), media_type="text/html; charset=utf-8")


@router.post("/open")
async def open_image(request: Request, model: Model = None) -> Response:
    """What the network sees of an image, the best classes, and the stages."""
    return await _answer(request, model, _opened)


@router.post("/maps")
async def maps(
    request: Request, stage: Stage, model: Model = None, most: Annotated[int, Query(ge=1, le=256)] = 64
) -> Response:
    """The channels of a stage with the highest values, as pictures."""
    return await _answer(request, model, partial(_maps, stage=stage, most=most))


@router.post("/unit")
async def unit(
    request: Request, stage: Stage, channel: Index, row: Index, column: Index, model: Model = None
) -> Response:
    """How the value of a unit comes about: patch, kernel, sum, and what follows."""

    def work(units: Units, body: bytes) -> dict[str, Any]:
        from classicnets.explanation.unit import Place

        return units.value(_seen(units, body), Place(stage, channel, row, column)).to_dict()

    return await _answer(request, model, work)


@router.post("/without")
async def without(
    request: Request,
    stage: Stage,
    channel: Index,
    row: Annotated[int | None, Query(ge=0, lt=2**20)] = None,
    column: Annotated[int | None, Query(ge=0, lt=2**20)] = None,
    model: Model = None,
) -> Response:
    """The best classes before and after a channel, or one unit of it, is set to 0."""
    if (row is None) != (column is None):
        raise Refusal(HTTPStatus.BAD_REQUEST, "Give row and column for a unit, or neither for a whole channel.")
    at = None if row is None or column is None else (row, column)

    def work(units: Units, body: bytes) -> dict[str, Any]:
        before, after = units.without(_seen(units, body), stage, channel, at)
        best = dict.fromkeys([*_best(before), *_best(after)])
        names = units.classifier.classes
        rows = [{"label": names[i], "before": float(before[i]), "after": float(after[i])} for i in best]
        return {"classes": rows}

    return await _answer(request, model, work)


async def _answer(request: Request, model: str | None, work: Callable[[Units, bytes], dict[str, Any]]) -> Response:
    """Answer with what `work` returns for the network's units and the body of the request."""
    state: State = request.app.state.serving
    served = state.find(model)
    scorer = served.scorer
    if isinstance(scorer, Bundle):
        raise Refusal(
            HTTPStatus.CONFLICT,
            f"{served.name} is a bundle, which keeps no network to look into. Serve its run instead: classicnets "
            f"serve RUN.",
        )
    body = await request.body()
    if not body:
        raise Refusal(HTTPStatus.BAD_REQUEST, "The request has no image. Send its bytes as the body.")

    def answer() -> Response:
        return JSONResponse(finite(work(_units(state, served, scorer), body)))

    return await state.admission.run(answer)


def _units(state: State, served: Served, classifier: Classifier) -> Units:
    """The units of a model's network, made when they are first asked for, and again when the model is replaced."""
    from classicnets.explanation.unit import Units

    units = state.units.get(served.name)
    if units is None or units.classifier is not classifier:
        state.units[served.name] = units = Units(classifier)
    return units


def _opened(units: Units, body: bytes) -> dict[str, Any]:
    import torch

    check_pixels(body, name=_NAME)
    classifier = units.classifier
    pixels = classifier.preprocess.read(body, name=_NAME)
    if len(pixels) not in (1, 3):
        raise BadImage(_NAME, f"the network takes images of {len(pixels)} channels, which cannot be shown")
    image = torch.from_numpy(pixels)
    scores = classifier.card.probabilities(classifier.logits(image[None]))[0]
    return {
        "picture": png_uri(_png(pixels)),
        "classes": [{"label": classifier.classes[i], "before": float(scores[i])} for i in _best(scores)],
        "stages": [stage._asdict() for stage in units.stages(image)],
    }


def _maps(units: Units, body: bytes, *, stage: str, most: int) -> dict[str, Any]:
    from classicnets.explanation.activations import stage_maps
    from classicnets.explanation.stages import check_stage
    from classicnets.reports.maps import map_uri
    from classicnets.weights.structure import network_of

    check_stage(network_of(units.classifier.model), stage)
    (found,) = stage_maps(units.classifier, _seen(units, body), [stage], most=most)
    shown = [
        {
            "channel": channel,
            "lowest": float(values.min()),
            "highest": float(values.max()),
            "peak": divmod(int(values.argmax()), values.shape[1]),
            "picture": map_uri(values),
        }
        for channel, values in zip(found.channels.tolist(), found.maps, strict=True)
    ]
    return {"stage": stage, "maps": shown}


def _seen(units: Units, body: bytes) -> Tensor:
    """What the network sees, uint8 (C, H, W), from the PNG that `_opened` gave. Raises BadImage for another image."""
    import torch

    preprocess = units.classifier.preprocess
    if image_size(body, name=_NAME) != preprocess.input_size:  # known from the header
        raise BadImage(_NAME, "it is not what /inside/open answered with; open the image again")
    pixels = preprocess.converted(read_pixels(body, name=_NAME))
    return torch.from_numpy(np.broadcast_to(pixels, (preprocess.channels, *preprocess.input_size)).copy())


def _best(scores: Tensor) -> list[int]:
    best: list[int] = scores.argsort(descending=True, stable=True)[:_MOST_CLASSES].tolist()
    return best


def _png(pixels: np.ndarray) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)).save(out, "PNG")
    return out.getvalue()
