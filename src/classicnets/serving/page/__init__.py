"""Pages that a server shows: plain HTML, CSS and JavaScript, from its own address only.

`/` tries the models on images; `routes` has what it asks for. `/docs` describes the API from its OpenAPI document. The
usual page for that loads scripts from another server, which this one forbids, and which is missing offline.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby
from typing import Any, NamedTuple

from fastapi import FastAPI, Request, Response
from jinja2 import Environment, PackageLoader, StrictUndefined

from classicnets.serving.openapi import ALWAYS
from classicnets.serving.page.examples import Examples
from classicnets.serving.page.routes import router

_ENVIRONMENT = Environment(
    loader=PackageLoader("classicnets.serving", "page"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
    lstrip_blocks=True,
)  # fmt: skip


class Parameter(NamedTuple):
    """A parameter of a route, in words."""

    name: str
    text: str


class Route(NamedTuple):
    """A route, in words. Its example of a request and of an answer are JSON, or empty."""

    tag: str
    method: str
    path: str
    text: str
    parameters: list[Parameter]
    request: str
    answer: str
    errors: list[tuple[str, str]]


def add_pages(app: FastAPI, *, key: bool) -> None:
    """Add /, /docs and their files. `key` says whether requests need one."""
    app.state.examples = Examples()
    app.include_router(router, include_in_schema=False)

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> Response:
        document = app.openapi()
        groups = [(tag, list(routes)) for tag, routes in groupby(_routes(document), key=lambda route: route.tag)]
        errors = [(str(status), meaning) for status, meaning in ALWAYS.items()]
        page = _ENVIRONMENT.get_template("docs.html.j2").render(
            title=app.title,
            version=app.version,
            groups=groups,
            errors=errors,
            key=key,
            address=str(request.base_url).rstrip("/"),
        )
        return Response(page, media_type="text/html; charset=utf-8")


def _routes(document: dict[str, Any]) -> Iterator[Route]:
    """The routes of an OpenAPI document, in its order."""
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            yield Route(
                tag=route["tags"][0],
                method=method.upper(),
                path=path,
                text=route.get("description", route["summary"]),
                parameters=[_parameter(parameter) for parameter in route.get("parameters", [])],
                request=_example(route.get("requestBody", {})),
                answer=_example(route["responses"]["200"]),
                errors=[
                    (status, response["description"])
                    for status, response in route["responses"].items()
                    if status != "200" and int(status) not in ALWAYS
                ],
            )


def _example(described: dict[str, Any]) -> str:
    """The JSON example of a request body or a response; empty if it has none."""
    example = described.get("content", {}).get("application/json", {}).get("example")
    return "" if example is None else json.dumps(example, indent=1, ensure_ascii=False)


def _parameter(parameter: dict[str, Any]) -> Parameter:
    schema = parameter["schema"]
    choices = " or ".join(map(str, schema.get("enum", [])))
    default = f"Default: {schema['default']}." if schema.get("default") is not None else ""
    text = " ".join(filter(None, [parameter.get("description", ""), choices and f"{choices}.", default]))
    return Parameter(parameter["name"], text)
