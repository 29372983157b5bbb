"""`Refusal`: a request that is not answered, as a status and one sentence."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus


class Refusal(Exception):
    """A request that gets no answer.

    Args:
        status: the HTTP status, 400 or more.
        sentence: what is wrong and what to do. It never names a path or a trace of this machine.
        headers: more headers of the response, such as Retry-After.
    """

    def __init__(self, status: HTTPStatus, sentence: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.headers = status, sentence, dict(headers or {})

    def body(self) -> bytes:
        """The body of the response: {"error": sentence}, which clients of the Open Inference Protocol read too."""
        return json.dumps({"error": self.sentence}).encode()


def busy() -> Refusal:
    """The server has as many requests as it can take."""
    return Refusal(
        HTTPStatus.SERVICE_UNAVAILABLE, "The server is busy. Send the request again in a second.", {"Retry-After": "1"}
    )


def too_late() -> Refusal:
    """The deadline has passed."""
    return Refusal(
        HTTPStatus.SERVICE_UNAVAILABLE, "The request took too long. Send it again later.", {"Retry-After": "5"}
    )


def too_large(limit: int) -> Refusal:
    """The body has more than `limit` bytes."""
    return Refusal(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"The request has more than {limit:,} bytes. Send fewer or smaller images.",
    )
