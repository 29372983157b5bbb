"""A classifier in Ray Serve: the bytes of an image file in, the answer of `predict` out.

    pip install 'ray[serve]'
    CLASSICNETS_BUNDLE=/models/birds serve run deploy.ray_serve:app

Each copy has two cores and answers as many images at once. Of more than `max_queued_requests`, Ray Serve refuses the
rest with 503.
"""

from __future__ import annotations

import asyncio
import os

from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse

import classicnets as cn
from classicnets.errors import BadImage

CORES = 2


@serve.deployment(
    num_replicas="auto", max_ongoing_requests=CORES, max_queued_requests=64, ray_actor_options={"num_cpus": CORES}
)
class Classifier:
    """A bundle, loaded once in each copy."""

    def __init__(self, bundle: str) -> None:
        self.bundle = cn.Bundle.load(bundle, threads=CORES, streams=CORES)

    async def __call__(self, request: Request) -> JSONResponse:
        """Answer the image in the body of a request; each by itself, so that its numbers do not depend on others."""
        content = await request.body()
        try:
            answer = await asyncio.to_thread(self.bundle.predict, content)
        except BadImage as error:
            return JSONResponse({"error": str(error)}, 400)
        return JSONResponse(answer.to_dict())


app = Classifier.bind(os.environ.get("CLASSICNETS_BUNDLE", "/models/bundle"))
