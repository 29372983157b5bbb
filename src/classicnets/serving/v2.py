"""/v2: the Open Inference Protocol, with its extensions for binary tensors and classification.

A model takes either "images", prepared pixels UINT8 (N, C, H, W), or "encoded", image files BYTES (N,), which go
through the model's own preprocessing. It returns "probabilities" FP32 (N, K), and "novelty" FP32 (N,) if it can tell.
"""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import numpy as np
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from classicnets import __version__
from classicnets.errors import BadImage
from classicnets.scorer import outputs_of
from classicnets.serving import tensors
from classicnets.serving.models import Served
from classicnets.serving.refusal import Refusal

if TYPE_CHECKING:
    from classicnets.card import Card
    from classicnets.serving.app import State

router = APIRouter(prefix="/v2")


@router.get("")
async def server() -> dict[str, Any]:
    """What this server is."""
    return {"name": "classicnets", "version": __version__, "extensions": ["binary_tensor_data", "classification"]}


@router.get("/health/live")
async def live() -> dict[str, bool]:
    """Whether the process runs."""
    return {"live": True}


@router.get("/health/ready")
async def ready(request: Request) -> Response:
    """Whether it takes requests."""
    is_ready = _state(request).ready
    status = HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE
    return JSONResponse({"live": True, "ready": is_ready}, status)


@router.get("/models/{name}")
@router.get("/models/{name}/versions/{version}")
async def metadata(request: Request, name: str, version: str | None = None) -> dict[str, Any]:
    """The inputs and outputs of a model."""
    served = _find(request, name, version)
    return {
        "name": name,
        "versions": [str(served.version)],
        "platform": "classicnets",
        "inputs": [
            {"name": "images", "datatype": "UINT8", "shape": [-1, *_dims(served)]},
            {"name": "encoded", "datatype": "BYTES", "shape": [-1]},
        ],
        "outputs": [
            {"name": output, "datatype": "FP32", "shape": [-1, *dims]} for output, dims in _outputs(served).items()
        ],
    }


@router.get("/models/{name}/config")
@router.get("/models/{name}/versions/{version}/config")
async def config(request: Request, name: str, version: str | None = None) -> dict[str, Any]:
    """The model's configuration in the words of Triton, which its client asks for."""
    served = _find(request, name, version)
    return {
        "name": name,
        "platform": "classicnets",
        "backend": "classicnets",
        "max_batch_size": _state(request).admission.limits.images,
        "input": [
            {"name": "images", "data_type": "TYPE_UINT8", "dims": _dims(served), "optional": True},
            {"name": "encoded", "data_type": "TYPE_STRING", "dims": [1], "optional": True},
        ],
        "output": [
            {"name": output, "data_type": "TYPE_FP32", "dims": dims or [1]} for output, dims in _outputs(served).items()
        ],
    }


@router.get("/models/{name}/ready")
@router.get("/models/{name}/versions/{version}/ready")
async def model_ready(request: Request, name: str, version: str | None = None) -> dict[str, Any]:
    """Whether a model answers."""
    _find(request, name, version)
    return {"name": name, "ready": True}


@router.post("/models/{name}/infer")
@router.post("/models/{name}/versions/{version}/infer")
async def infer(request: Request, name: str, version: str | None = None) -> Response:
    """Answer the images of a request."""
    state, served = _state(request), _find(request, name, version)
    body = await request.body()
    asked = tensors.read_request(
        body, request.headers.get("inference-header-content-length"), most=state.admission.limits.images
    )
    known = _outputs(served)
    for output in asked.outputs:
        if output.name not in known:
            raise Refusal(HTTPStatus.BAD_REQUEST, f"There is no output {output.name!r}. Known: {', '.join(known)}.")
    values = await state.admission.run(partial(_computed, served, asked.images))
    wanted = asked.outputs or tuple(tensors.Output(output, asked.binary) for output in values)
    made = [_tensor(values[output.name], output, served.scorer.card) for output in wanted]
    content, head = tensors.to_body(name, str(served.version), asked.id, made)
    headers = {} if head is None else {"Inference-Header-Content-Length": str(head)}
    return Response(
        content, headers=headers, media_type="application/json" if head is None else "application/octet-stream"
    )


def _computed(served: Served, images: np.ndarray | list[bytes]) -> dict[str, np.ndarray]:
    """Probabilities, and novelty if the model can tell; each image by itself, so that no answer depends on another."""
    scorer = served.scorer
    if isinstance(images, list):
        prepared = []
        for i, content in enumerate(images):
            try:
                prepared.append(scorer.preprocess.read(content, name=f"image {i}"))
            except BadImage as error:
                raise Refusal(HTTPStatus.BAD_REQUEST, str(error)) from None
        images = np.stack(prepared)
    if list(images.shape[1:]) != _dims(served):
        raise Refusal(HTTPStatus.BAD_REQUEST, f"Images must be (N, {', '.join(map(str, _dims(served)))}).")
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


def _dims(served: Served) -> list[int]:
    preprocess = served.scorer.card.preprocess
    return [preprocess.channels, *preprocess.input_size]


def _outputs(served: Served) -> dict[str, list[int]]:
    """The outputs and their dimensions behind the first."""
    card = served.scorer.card
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
