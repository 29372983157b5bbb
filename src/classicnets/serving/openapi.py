"""The OpenAPI document: what FastAPI knows of the routes, and what the server may say on any of them."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from fastapi import FastAPI, Response
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from classicnets.serving.schemas import Error, InferRequest, Schema

ALWAYS = {
    400: "The request cannot be used.",
    401: "The key is missing or wrong.",
    413: "The body is larger than allowed, also after it is inflated.",
    415: "Content-Encoding is neither gzip nor deflate.",
    421: "The server does not answer for the request's Host.",
    500: "The server failed. Its log says why.",
    503: "The server is busy or stops, or the request took too long. Retry-After says when to send it again.",
}
"""The statuses that any route may answer, and what they mean."""

_NO_MODEL = {404: "There is no such model or version."}
_MEANINGS = {**ALWAYS, **_NO_MODEL, 409: "The model is a bundle, which cannot be explained."}
_PARAMETERS = {
    "name": "The model's name, as GET /v1/models has it.",
    "version": "The model's version. It may be left out.",
}
_REF = "#/components/schemas/{model}"


def shows(model: type[Schema], *errors: int) -> dict[int | str, dict[str, Any]]:
    """Return a route's `responses`: what it answers, with the example, and the errors that only such routes have."""
    return {
        200: {"model": model, "content": {"application/json": {"example": model.example}}},
        **{status: {"model": Error, "description": _MEANINGS[status]} for status in errors},
    }


def describe(app: FastAPI, *, key: bool) -> None:
    """Have the application describe all that it answers, at /openapi.json. `key` says whether requests need one."""

    @cache
    def document() -> dict[str, Any]:
        return _document(app, key)

    @cache
    def text() -> bytes:
        return json.dumps(document(), separators=(",", ":")).encode()

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi() -> Response:
        return Response(text(), media_type="application/json")

    app.openapi = document  # type: ignore[method-assign]


def _document(app: FastAPI, key: bool) -> dict[str, Any]:
    values = get_openapi(title=app.title, version=app.version, routes=app.routes, description=app.description)
    schemas = values["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for model in (Error, InferRequest):
        _add(schemas, model)
    for methods in values["paths"].values():
        for operation in methods.values():
            _complete(operation)
    if key:
        values["components"]["securitySchemes"] = {
            "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            "bearer": {"type": "http", "scheme": "bearer"},
        }
        values["security"] = [{"key": []}, {"bearer": []}]
    return values


def _add(schemas: dict[str, Any], model: type[BaseModel]) -> None:
    """Add a model and those that it consists of to the components."""
    schema = model.model_json_schema(ref_template=_REF)
    schemas |= schema.pop("$defs", {})
    schemas[model.__name__] = schema


def _complete(operation: dict[str, Any]) -> None:
    """Say what every route may answer: 422 is never sent, and every error is {"error": sentence}."""
    responses = operation["responses"]
    responses.pop("422", None)
    error = {"$ref": _REF.format(model="Error")}
    for status, meaning in ALWAYS.items():
        response = responses.setdefault(str(status), {"content": {"application/json": {"schema": error}}})
        response["description"] = meaning
    for response in responses.values():
        for content in response["content"].values():
            if reference := content["schema"].get("$ref"):  # FastAPI adds what it knows of the function's type
                content["schema"] = {"$ref": reference}
    operation["responses"] = dict(sorted(responses.items()))
    for parameter in operation.get("parameters", []):
        if parameter["name"] in _PARAMETERS:
            parameter.setdefault("description", _PARAMETERS[parameter["name"]])
