"""/v2: the Open Inference Protocol, with its extensions for binary tensors and classification.

A model takes either "images", prepared pixels UINT8 (N, C, H, W), or "encoded", image files BYTES (N,), which go
through the model's own preprocessing. It returns "probabilities" FP32 (N, K), and "novelty" FP32 (N,) if it can tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import numpy as np
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from classicnets import __version__
from classicnets.errors import BadImage
from classicnets.scorer import outputs_of
from classicnets.serving import schemas, tensors
from classicnets.serving.limits import check_pixels
from classicnets.serving.models import Served
from classicnets.serving.openapi import shows
from classicnets.serving.refusal import Refusal

if TYPE_CHECKING:
    from classicnets.card import Card
    from classicnets.classifier import Classifier
    from classicnets.deployment import Bundle
    from classicnets.serving.app import State

router = APIRouter(prefix="/v2")

_RAW = "application/octet-stream"
_BYTES: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
_INFER: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/InferRequest"},
                "example": schemas.InferRequest.example,
            },
            _RAW: _BYTES,
        },
    }
}
_INFERRED = shows(schemas.InferResponse, 404)
_INFERRED[200]["content"][_RAW] = _BYTES


@router.get("", responses=shows(schemas.Server))
async def server() -> dict[str, Any]:
    """What this server is."""
    return {"name": "classicnets", "version": __version__, "extensions": ["binary_tensor_data", "classification"]}


@router.get("/health/live", responses=shows(schemas.Live))
async def live() -> dict[str, bool]:
    """Whether the process runs."""
    return {"live": True}


@router.get("/health/ready", responses=shows(schemas.Ready) | {503: {"model": schemas.Ready | schemas.Error}})
async def ready(request: Request) -> Response:
    """Whether it takes requests."""
    is_ready = _state(request).ready
    status = HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE
    return JSONResponse({"live": True, "ready": is_ready}, status)


@router.get("/models/{name}/versions/{version}", responses=shows(schemas.ModelMetadata, 404))
@router.get("/models/{name}", responses=shows(schemas.ModelMetadata, 404))
async def metadata(request: Request, name: str, version: str | None = None) -> dict[str, Any]:
    """The inputs and outputs of a model."""
    served = _find(request, name, version)
    card = served.scorer.card
    return {
        "name": name,
        "versions": [str(served.version)],
        "platform": "classicnets",
        "inputs": [
            {"name": "images", "datatype": "UINT8", "shape": [-1, *_dims(card)]},
            {"name": "encoded", "datatype": "BYTES", "shape": [-1]},
        ],
        "outputs": [
            {"name": output, "datatype": "FP32", "shape": [-1, *dims]} for output, dims in _outputs(card).items()
        ],
    }


@router.get("/models/{name}/versions/{version}/config", responses=shows(schemas.ModelConfig, 404))
@router.get("/models/{name}/config", responses=shows(schemas.ModelConfig, 404))
async def config(request: Request, name: str, version: str | None = None) -> dict[str, Any]:
    """The model's configuration in the words of Triton, which its client asks for."""
    card = _find(request, name, version).scorer.card
    return {
        "name": name,
        "platform": "classicnets",
        "backend": "classicnets",
        "max_batch_size": _state(request).admission.limits.images,
        "input": [
            {"name": "images", "data_type": "TYPE_UINT8", "dims": _dims(card), "optional": True},
            {"name": "encoded", "data_type": "TYPE_STRING", "dims": [1], "optional": True},
        ],
        "output": [
            {"name": output, "data_type": "TYPE_FP32", "dims": dims or [1]} for output, dims in _outputs(card).items()
        ],
    }


@router.get("/models/{name}/versions/{version}/ready", responses=shows(schemas.ModelReady, 404))
@router.get("/models/{name}/ready", responses=shows(schemas.ModelReady, 404))
async def model_ready(request: Request, name: str, version: str | None = None) -> dict[str, Any]:
    """Whether a model answers."""
    _find(request, name, version)
    return {"name": name, "ready": True}


@router.post("/models/{name}/versions/{version}/infer", openapi_extra=_INFER, responses=_INFERRED)
@router.post("/models/{name}/infer", openapi_extra=_INFER, responses=_INFERRED)
async def infer(request: Request, name: str, version: str | None = None) -> Response:
    """Answer the images of a request. It may be compressed, and so is the answer if Accept-Encoding asks for that."""
    state, served = _state(request), _find(request, name, version)
    body = await request.body()
    return await state.admission.run(partial(_inferred, served, body, request.headers, state.admission.limits.images))


def _inferred(served: Served, body: bytes, headers: Mapping[str, str], most: int) -> Response:
    """Read the request, compute and write the answer: all of it may take long, so it runs in a thread."""
    asked = tensors.read_request(body, headers.get("inference-header-content-length"), most=most)
    scorer, version = served.scorer, str(served.version)
    known = _outputs(scorer.card)
    for output in asked.outputs:
        if output.name not in known:
            raise Refusal(HTTPStatus.BAD_REQUEST, f"There is no output {output.name!r}. Known: {', '.join(known)}.")
    values = _computed(scorer, asked.images)
    drift = scorer.card.drift
    strange = None if drift is None else drift.scores_of(values["probabilities"], values.get("novelty"))
    served.watch(scorer, [] if strange is None else strange.tolist())
    wanted = asked.outputs or tuple(tensors.Output(output, asked.binary) for output in values)
    made = [_tensor(values[output.name], output, scorer.card) for output in wanted]
    content, head = tensors.to_body(served.name, version, asked.id, made)
    about = {} if head is None else {"Inference-Header-Content-Length": str(head)}
    content, encoding = tensors.compressed(content, headers.get("accept-encoding", ""))
    about |= {"Content-Encoding": encoding, "Vary": "Accept-Encoding"} if encoding else {}
    return Response(content, headers=about, media_type="application/json" if head is None else _RAW)


def _computed(scorer: Classifier | Bundle, images: np.ndarray | list[bytes]) -> dict[str, np.ndarray]:
    """Probabilities, and novelty if the model can tell; each image by itself, so that no answer depends on another."""
    dims = _dims(scorer.card)
    if isinstance(images, list):
        prepared = []
        for i, content in enumerate(images):
            try:
                check_pixels(content, name=f"image {i}")
                prepared.append(scorer.preprocess.read(content, name=f"image {i}"))
            except BadImage as error:
                raise Refusal(HTTPStatus.BAD_REQUEST, str(error)) from None
        images = np.stack(prepared)
    if list(images.shape[1:]) != dims:
        raise Refusal(
            HTTPStatus.BAD_REQUEST,
            f"Images must be (N, {', '.join(map(str, dims))}), got ({', '.join(map(str, images.shape))}).",
        )
    outputs = outputs_of(scorer, images, batch_size=1)
    values = {"probabilities": scorer.card.probabilities(np.asarray(outputs.logits))}
    if outputs.novelty is not None:
        values["novelty"] = np.asarray(outputs.novelty)
    return values


def _tensor(values: np.ndarray, output: tensors.Output, card: Card) -> tensors.Tensor:
    if not output.classification or values.ndim < 2:
        return tensors.Tensor(output.name, values, output.binary)
    order = np.argsort(-values, axis=1, kind="stable")[:, : output.classification]
    words = [f"{row[k]:f}:{k}:{card.classes[k]}" for row, best in zip(values, order, strict=True) for k in best]
    return tensors.Tensor(output.name, order, output.binary, words)


def _dims(card: Card) -> list[int]:
    return [card.preprocess.channels, *card.preprocess.input_size]


def _outputs(card: Card) -> dict[str, list[int]]:
    """The outputs and their dimensions behind the first."""
    known = {"probabilities": [len(card.classes)]}
    return known | {"novelty": []} if card.novelty is not None else known


def _find(request: Request, name: str, version: str | None) -> Served:
    served = _state(request).find(name)
    if version is not None and version != str(served.version):
        raise Refusal(HTTPStatus.NOT_FOUND, f"{name} has version {served.version}, not {version!r}.")
    return served


def _state(request: Request) -> State:
    state: State = request.app.state.serving
    return state
