"""The OpenAPI document says what the server answers: every route, status and key."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from bundles import rewrite, tiny_card, write_bundle
from classicnets.conformal import Conformal
from classicnets.drift import DriftReference
from classicnets.serving import schemas
from classicnets.serving.models import Served
from classicnets.serving.schemas import Schema
from classifiers import tiny_classifier
from servers import Server, form, png, prepared, running

ALWAYS = {"400", "401", "413", "415", "421", "500", "503"}


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of a bundle that can promise coverage and notice drift, beside a network that can explain."""
    from dataclasses import replace

    folder = tmp_path_factory.mktemp("full")
    bundle = write_bundle(folder / "tiny")
    probabilities = np.tile([0.9, 0.07, 0.03], (100, 1))
    card = replace(
        tiny_card(),
        conformal=Conformal.of(probabilities, np.zeros(100, int)),
        drift=DriftReference.of(probabilities, None),
    )
    rewrite(bundle, card=card.to_dict())
    pets = tiny_classifier(("cat", "dog"), channels=3).save(folder / "pets")
    with running([Served("tiny", bundle), Served("pets", pets)], body=100_000, images=4) as server:
        yield server


@pytest.fixture(scope="module")
def document(full: Server) -> dict[str, Any]:
    values: dict[str, Any] = full.ask("GET", "/openapi.json").json()
    return values


def described(document: dict[str, Any], path: str, method: str, status: int) -> dict[str, Any]:
    content: dict[str, Any] = document["paths"][path][method]["responses"][str(status)]["content"]
    return content


def check(document: dict[str, Any], schema: dict[str, Any], value: Any) -> None:
    jsonschema.Draft202012Validator({**schema, "components": document["components"]}).validate(value)


def test_every_route_says_what_it_answers(document: dict[str, Any]) -> None:
    operations = [op for methods in document["paths"].values() for op in methods.values()]
    assert len(operations) == 17
    for operation in operations:
        responses = operation["responses"]
        assert set(responses) >= ALWAYS
        assert "422" not in responses
        for status, response in responses.items():
            for content in response["content"].values():
                assert content["schema"], (operation["operationId"], status)
        (kind,) = {"application/json", "text/plain"} & set(responses["200"]["content"])
        assert kind == "text/plain" or "example" in responses["200"]["content"][kind], operation["operationId"]
        assert operation["description"]


def test_the_examples_are_what_they_are_examples_of(document: dict[str, Any]) -> None:
    models = [model for model in vars(schemas).values() if isinstance(model, type) and issubclass(model, Schema)]
    for model in [*models, schemas.InferRequest]:
        if model.example:
            check(document, model.model_json_schema(), model.example)


INFER = {
    "inputs": [{"name": "images", "datatype": "UINT8", "shape": [1, 3, 8, 8], "data": prepared(0).ravel().tolist()}]
}
WORDS = [{"name": "probabilities", "parameters": {"classification": 2}}]
ANSWERS = [
    ("get", "/v1/models", "/v1/models", None, 200),
    ("post", "/v1/predict", "/v1/predict?model=tiny", png(0), 200),
    ("post", "/v1/predict", "/v1/predict?model=tiny&coverage=0.9&top_k=2", png(1), 200),
    ("post", "/v1/predict", "/v1/predict?model=tiny", form(("a.png", png(0)), ("b.png", b"x")), 200),
    ("post", "/v1/predict", "/v1/predict?model=tiny", b"text", 400),
    ("post", "/v1/predict", "/v1/predict", png(0), 400),
    ("post", "/v1/predict", "/v1/predict?model=tin", png(0), 404),
    ("post", "/v1/predict", "/v1/predict?model=tiny", bytes(100_001), 413),
    ("post", "/v1/explain", "/v1/explain?model=pets", png(0), 200),
    ("post", "/v1/explain", "/v1/explain?model=tiny", png(0), 409),
    ("get", "/health/live", "/health/live", None, 200),
    ("get", "/health/ready", "/health/ready", None, 200),
    ("get", "/v2", "/v2", None, 200),
    ("get", "/v2/health/live", "/v2/health/live", None, 200),
    ("get", "/v2/health/ready", "/v2/health/ready", None, 200),
    ("get", "/v2/models/{name}", "/v2/models/tiny", None, 200),
    ("get", "/v2/models/{name}/config", "/v2/models/pets/config", None, 200),
    ("get", "/v2/models/{name}/ready", "/v2/models/pets/ready", None, 200),
    ("get", "/v2/models/{name}/versions/{version}/ready", "/v2/models/pets/versions/9/ready", None, 404),
    ("post", "/v2/models/{name}/infer", "/v2/models/tiny/infer", json.dumps(INFER).encode(), 200),
    ("post", "/v2/models/{name}/infer", "/v2/models/tiny/infer", json.dumps(INFER | {"outputs": WORDS}).encode(), 200),
    ("post", "/v2/models/{name}/infer", "/v2/models/tiny/infer", b"{}", 400),
]  # fmt: skip


@pytest.mark.parametrize(("method", "route", "path", "body", "status"), ANSWERS, ids=range(len(ANSWERS)))
def test_answers_have_the_keys_of_their_schema(full: Server, document, method, route, path, body, status) -> None:
    headers = {"Accept": "application/json"}
    if isinstance(body, tuple):
        body, more = body
        headers |= more
    reply = full.ask(method.upper(), path, body, headers)
    assert reply.status == status
    content = described(document, route, method, status)
    check(document, content[reply.headers["content-type"]]["schema"], reply.json())


def test_while_it_stops_it_is_not_ready(full: Server, document: dict[str, Any]) -> None:
    full.state.ready = False
    try:
        for path in ("/health/ready", "/v2/health/ready"):
            reply = full.ask("GET", path)
            assert (reply.status, reply.json()) == (503, {"live": True, "ready": False})
            check(document, described(document, path, "get", 503)["application/json"]["schema"], reply.json())
    finally:
        full.state.ready = True


def test_a_key_is_described(bundle: Path) -> None:
    with running([Served("tiny", bundle)], key="secret") as server:
        document = server.ask("GET", "/openapi.json", headers={"X-API-Key": "secret"}).json()
    assert document["security"] == [{"key": []}, {"bearer": []}]
    assert document["components"]["securitySchemes"]["key"]["name"] == "X-API-Key"


def test_the_page_shows_examples_and_errors(full: Server) -> None:
    page = full.ask("GET", "/docs").body.decode()
    assert page.count("An example of an answer") >= 14
    assert "An example of a request" in page
    assert "The model is a bundle, which cannot be explained." in page
    for status in ALWAYS:
        assert f"<code>{status}</code>" in page


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "POST"])
def test_a_method_that_a_route_does_not_have(full: Server, method: str) -> None:
    reply = full.ask(method, "/v1/models")
    assert (reply.status, reply.json()) == (405, {"error": "Method Not Allowed."})
    assert reply.headers["allow"] == "GET"
