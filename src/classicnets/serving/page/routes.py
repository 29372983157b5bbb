"""What the page at / asks for, besides the API: its files, the models in words, and example images."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from classicnets.serving.page.about import about
from classicnets.serving.page.examples import Example
from classicnets.serving.page.occlusion import occlusion
from classicnets.serving.page.static import FILES, content
from classicnets.serving.refusal import Refusal

if TYPE_CHECKING:
    from classicnets.serving.app import State
    from classicnets.serving.page.examples import Examples

router = APIRouter()


@router.get("/")
async def page() -> Response:
    """The page that tries the models."""
    return Response(content("index.html"), media_type="text/html; charset=utf-8")


@router.get("/page/models")
async def models(request: Request) -> dict[str, Any]:
    """What the page shows of the models, and what the server takes."""
    state = _state(request)
    return {
        "models": [about(served) for served in state.models.values()],
        "largest": state.admission.limits.body,
    }


@router.get("/page/examples/{name}")
async def examples(request: Request, name: str) -> dict[str, Any]:
    """The examples of a model: their names and true classes."""
    found = await _examples(request, name)
    return {"examples": [{"name": example.name, "truth": example.truth} for example in found]}


@router.get("/page/examples/{name}/{number}")
async def example(request: Request, name: str, number: int) -> Response:
    """The file of an example, by its place in the list."""
    found = await _examples(request, name)
    if not 0 <= number < len(found):
        raise Refusal(HTTPStatus.NOT_FOUND, f"{name} has {len(found)} examples, counted from 0.")
    return Response(found[number].content, media_type=found[number].kind)


@router.post("/page/occlusion/{name}")
async def occluded(request: Request, name: str, label: Annotated[str | None, Query(alias="class")] = None) -> Response:
    """Where a model looks, found by covering patches of the image: for bundles, which have no gradients."""
    state = _state(request)
    served = state.find(name)
    content = await request.body()
    return JSONResponse(await state.admission.run(partial(occlusion, served.scorer, content, label)))


@router.get("/page/{name}")
async def static_file(name: str) -> Response:
    """A file of the pages, by its name in a fixed table."""
    if name not in FILES:
        raise Refusal(HTTPStatus.NOT_FOUND, "The pages have no such file.")
    return Response(content(name), media_type=FILES[name])


async def _examples(request: Request, name: str) -> list[Example]:
    kept: Examples = request.app.state.examples
    return await kept.of(_state(request).find(name))


def _state(request: Request) -> State:
    state: State = request.app.state.serving
    return state
