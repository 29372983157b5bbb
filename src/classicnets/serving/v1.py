"""/v1: images in, classes out, as `classicnets predict` and `classicnets explain` answer."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from classicnets.deployment import Bundle
from classicnets.errors import BadImage
from classicnets.serving.answering import Given, Question, answer_all, to_json
from classicnets.serving.forms import FORM, files_of
from classicnets.serving.limits import check_pixels
from classicnets.serving.openapi import shows
from classicnets.serving.refusal import Refusal
from classicnets.serving.schemas import Answers, Explanation, Models, NoAnswers

if TYPE_CHECKING:
    from classicnets.serving.app import State

router = APIRouter(prefix="/v1")

_IMAGES: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "image/*": {"schema": {"type": "string", "format": "binary"}},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"images": {"type": "array", "items": {"type": "string", "format": "binary"}}},
                }
            },
        },
    }
}

_EXPLAINED = shows(Explanation, 404, 409)
_EXPLAINED[200]["content"]["image/png"] = {"schema": {"type": "string", "format": "binary"}}

Model = Annotated[str | None, Query(description="The model's name. It may be left out if there is one model.")]


@router.get("/models", responses=shows(Models))
async def models(request: Request) -> dict[str, Any]:
    """The models: their names, classes and input sizes."""
    state: State = request.app.state.serving
    return {"models": [served.describe() for served in state.models.values()]}


@router.post("/predict", openapi_extra=_IMAGES, responses=shows(Answers, 404) | {400: {"model": NoAnswers}})
async def predict(
    request: Request,
    model: Model = None,
    top_k: Annotated[int, Query(ge=1, le=1000, description="How many classes each answer has.")] = 5,
    coverage: Annotated[
        float | None, Query(gt=0, lt=1, description="Also give the set that holds the true class so often.")
    ] = None,
    sets: Annotated[Literal["lac", "raps"], Query(description="How sets are chosen.")] = "lac",
) -> Response:
    """The best classes of one image (its bytes) or of many (multipart). An image that cannot be read has an "error"."""
    state: State = request.app.state.serving
    served = state.find(model)
    images = await _images(request, state.admission.limits.images)
    question = Question(top_k, coverage, sets)
    answers = await state.admission.run(partial(answer_all, served, images, question, state.telemetry))
    status = HTTPStatus.OK if any(not isinstance(answer, BadImage) for answer in answers) else HTTPStatus.BAD_REQUEST
    first = next((str(answer) for answer in answers if isinstance(answer, BadImage)), "")
    body: dict[str, Any] = {"answers": [to_json(answer) for answer in answers]}
    return JSONResponse(body | ({"error": first} if status != HTTPStatus.OK else {}), status)


@router.post("/explain", openapi_extra=_IMAGES, responses=_EXPLAINED)
async def explain(
    request: Request,
    model: Model = None,
    method: Annotated[
        Literal["grad-cam", "grad-cam++", "integrated-gradients", "occlusion", "smoothgrad"], Query()
    ] = "grad-cam",
    class_name: Annotated[str | None, Query(alias="class", description="The class to look for.")] = None,
    stage: Annotated[str | None, Query(description="A stage of the network, for grad-cam.")] = None,
    verdict: Annotated[bool, Query(description="Also test whether the map can be believed; takes longer.")] = False,
) -> Response:
    """Where in the image a class is found: a PNG over the image, or numbers if the request accepts JSON only."""
    state: State = request.app.state.serving
    served = state.find(model)
    scorer = served.scorer
    if isinstance(scorer, Bundle):
        raise Refusal(
            HTTPStatus.CONFLICT, f"{served.name} is a bundle, which cannot be explained. Serve the run beside it."
        )
    (image,) = await _images(request, 1)

    def work() -> Response:
        from classicnets.explanation import explain as explain_image

        check_pixels(image.content, name=image.name)
        explanation = explain_image(
            scorer, image.content, method=method, class_name=class_name, stage=stage, verdict=verdict
        )
        if "image/png" in request.headers.get("accept", "*/*") or "*/*" in request.headers.get("accept", "*/*"):
            return Response(explanation.to_png(), media_type="image/png")
        return JSONResponse(explanation.to_dict() | {"path": image.name, "heat": explanation.heat.tolist()})

    return await state.admission.run(work)


async def _images(request: Request, most: int) -> list[Given]:
    """The images of a request: its body, or the files of a form. Raises Refusal if there are none, or too many."""
    body = await request.body()
    content_type = request.headers.get("content-type", "")
    if content_type.lower().startswith(FORM):
        images = files_of(body, content_type, most=most)
        if not images:
            raise Refusal(
                HTTPStatus.BAD_REQUEST, "The form has no file. Send each image as a file, with any field name."
            )
        return images
    if not body:
        raise Refusal(HTTPStatus.BAD_REQUEST, "The request has no image. Send its bytes as the body.")
    return [Given("image 0", body)]
