"""`create_app`: the routes of a server, around its models, with everything that guards them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from classicnets import __version__
from classicnets.errors import ClassicNetsError, did_you_mean
from classicnets.serving import inside, v1, v2
from classicnets.serving.admission import Admission
from classicnets.serving.guard import Guard
from classicnets.serving.limits import Limits
from classicnets.serving.models import Served
from classicnets.serving.openapi import describe, shows
from classicnets.serving.page import add_pages
from classicnets.serving.page.static import PUBLIC
from classicnets.serving.refusal import Refusal
from classicnets.serving.schemas import Error, Live, Ready
from classicnets.serving.telemetry import Telemetry

if TYPE_CHECKING:
    from classicnets.explanation.unit import Units

logger = logging.getLogger(__name__)

_LOOK_AGAIN = 1.0  # seconds between two looks at the models' files
_CLIENT_LEFT = 499  # what nginx counts for a client that closed the connection


class State:
    """What the routes share.

    Attributes:
        models: the models by their names, in order.
        admission: runs their work.
        telemetry: counts.
        units: what looks into the networks, by the models' names.
        ready: whether the server takes requests.
    """

    def __init__(self, models: Sequence[Served], limits: Limits) -> None:
        self.models = {served.name: served for served in models}
        self.admission = Admission(limits)
        self.telemetry = Telemetry()
        self.units: dict[str, Units] = {}
        self.ready = True
        self.telemetry.inside.set_function(lambda: self.admission.inside)

    def find(self, name: str | None) -> Served:
        """Return a model by its name; the only one for None. Raises Refusal."""
        if name is None:
            if len(self.models) == 1:
                return next(iter(self.models.values()))
            raise Refusal(HTTPStatus.BAD_REQUEST, f"Choose a model with ?model=NAME: {', '.join(self.models)}.")
        if name not in self.models:
            near = did_you_mean(name, list(self.models))
            hint = f" Did you mean {', '.join(near)}?" if near else ""
            raise Refusal(HTTPStatus.NOT_FOUND, f"There is no such model.{hint} GET /v1/models lists them.")
        return self.models[name]


def create_app(
    models: Sequence[Served], *, limits: Limits, hosts: Sequence[str], key: str | None = None
) -> tuple[ASGIApp, State]:
    """Return the application, and the state that its routes share.

    Args:
        models: what it serves, one or more, with different names.
        limits: what it takes.
        hosts: the names that the Host header of a request may have.
        key: the key that requests must show, or None.
    """
    state = State(models, limits)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        watching = asyncio.create_task(_watch(state))
        yield
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        await asyncio.to_thread(state.admission.close)

    app = FastAPI(
        title="classicnets", version=__version__, lifespan=lifespan, openapi_url=None, docs_url=None, redoc_url=None,
        redirect_slashes=False,
    )  # fmt: skip
    app.state.serving = state
    app.include_router(v1.router, tags=["v1"])
    app.include_router(v2.router, tags=["Open Inference Protocol v2"])
    _add_health(app, state)
    app.include_router(inside.router, include_in_schema=False)
    add_pages(app, key=key is not None)
    describe(app, key=key is not None)
    _add_errors(app)
    guarded = Guard(app, state.admission, hosts=hosts, key=key, public=PUBLIC)
    return _Counted(guarded, state.telemetry), state


async def _watch(state: State) -> None:
    """Load models again whose files were replaced."""
    while True:
        await asyncio.sleep(_LOOK_AGAIN)
        for served in state.models.values():
            if await asyncio.to_thread(served.refresh):
                state.telemetry.loads.labels(served.name).inc()


def _add_health(app: FastAPI, state: State) -> None:
    @app.get("/health/live", tags=["health"], responses=shows(Live))
    async def live() -> dict[str, bool]:
        """Whether the process runs."""
        return {"live": True}

    @app.get("/health/ready", tags=["health"], responses=shows(Ready) | {503: {"model": Ready | Error}})
    async def ready() -> Response:
        """Whether it takes requests. While it stops, it does not."""
        status = HTTPStatus.OK if state.ready else HTTPStatus.SERVICE_UNAVAILABLE
        return JSONResponse({"live": True, "ready": state.ready}, status)

    @app.get("/metrics", tags=["health"], response_class=PlainTextResponse)
    async def metrics() -> Response:
        """What was counted, as Prometheus reads it."""
        return Response(state.telemetry.text(state.models.values()), media_type="text/plain; version=0.0.4")


def _add_errors(app: FastAPI) -> None:
    """Every error is {"error": sentence}: no path of this machine, no trace."""

    @app.exception_handler(Refusal)
    async def refused(_: Request, refusal: Refusal) -> Response:
        return Response(refusal.body(), int(refusal.status), refusal.headers, "application/json")

    @app.exception_handler(ClassicNetsError)
    async def mistaken(_: Request, error: ClassicNetsError) -> Response:
        if error.exit_code not in (2, 3):
            return await failed(_, error)
        return JSONResponse({"error": str(error)}, HTTPStatus.BAD_REQUEST)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        first: dict[str, Any] = dict(error.errors()[0])
        place = ".".join(str(part) for part in first["loc"][1:])
        return JSONResponse({"error": f"{place}: {first['msg']}."}, HTTPStatus.BAD_REQUEST)

    @app.exception_handler(HTTPException)
    async def unknown(_: Request, error: HTTPException) -> Response:
        return JSONResponse({"error": f"{error.detail}."}, error.status_code, error.headers)

    @app.exception_handler(Exception)
    async def failed(_: Request, error: Exception) -> Response:
        logger.error("A request failed.", exc_info=error)
        return JSONResponse(
            {"error": "The server failed on this request. Its log says why."}, HTTPStatus.INTERNAL_SERVER_ERROR
        )


class _Counted:
    """An ASGI application that counts the requests of another one, the refused ones too."""

    def __init__(self, app: ASGIApp, telemetry: Telemetry) -> None:
        self._app, self._telemetry = app, telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), _CLIENT_LEFT

        async def seen_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, seen_send)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self._telemetry.requests.labels(route, str(status)).inc()
            self._telemetry.seconds.labels(route).observe(time.perf_counter() - began)
