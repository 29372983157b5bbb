"""/v2 is the Open Inference Protocol, in JSON and in raw tensors."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import numpy as np
import pytest

from servers import Reply, Server, png, prepared

INFER = "/v2/models/tiny/infer"


def infer(server: Server, values: Any, raw: bytes = b"") -> Reply:
    head = json.dumps(values).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))} if raw else {}
    return server.ask("POST", INFER, head + raw, headers)


def pixels(images: np.ndarray, **more: Any) -> dict[str, Any]:
    return {"name": "images", "datatype": "UINT8", "shape": list(images.shape), **more}


def test_what_the_server_and_the_model_are(server: Server) -> None:
    assert server.ask("GET", "/v2").json()["extensions"] == ["binary_tensor_data", "classification"]
    assert server.ask("GET", "/v2/health/live").json() == {"live": True}
    assert server.ask("GET", "/v2/health/ready").json() == {"live": True, "ready": True}
    assert server.ask("GET", "/v2/models/tiny/ready").json() == {"name": "tiny", "ready": True}
    model = server.ask("GET", "/v2/models/tiny/versions/1").json()
    assert model["inputs"][0] == {"name": "images", "datatype": "UINT8", "shape": [-1, 3, 8, 8]}
    assert model["outputs"] == [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]}]
    config = server.ask("GET", "/v2/models/tiny/config").json()
    assert config["input"][0] == {"name": "images", "data_type": "TYPE_UINT8", "dims": [3, 8, 8], "optional": True}


def test_the_same_numbers_in_json_and_raw_alone_and_in_a_batch(server: Server) -> None:
    images = np.stack([prepared(k) for k in (0, 2)])
    from_json = infer(server, {"id": "7", "inputs": [pixels(images, data=images.tolist())]}).json()
    assert (from_json["model_name"], from_json["id"]) == ("tiny", "7")
    values = np.array(from_json["outputs"][0]["data"], np.float32).reshape(2, 3)
    raw = infer(
        server,
        {
            "inputs": [pixels(images, parameters={"binary_data_size": images.size})],
            "parameters": {"binary_data_output": True},
        },
        images.tobytes(),
    )
    length = int(raw.headers["inference-header-content-length"])
    (output,) = json.loads(raw.body[:length])["outputs"]
    assert output["parameters"] == {"binary_data_size": 24}
    assert np.array_equal(np.frombuffer(raw.body[length:], "<f4").reshape(2, 3), values)
    for k in range(2):
        one = images[k : k + 1]
        alone = infer(server, {"inputs": [pixels(one, data=one.ravel().tolist())]}).json()["outputs"][0]["data"]
        assert np.array_equal(np.array(alone, np.float32), values[k])


def test_image_files_go_through_the_models_preprocessing(server: Server) -> None:
    expected = server.ask("POST", "/v1/predict", png(1)).json()["answers"][0]["predictions"][0]
    tensor = {"name": "encoded", "datatype": "BYTES", "shape": [1]}
    text = base64.b64encode(png(1)).decode()
    from_json = infer(server, {"inputs": [tensor | {"data": [text]}]}).json()["outputs"][0]["data"]
    raw = struct.pack("<I", len(png(1))) + png(1)
    sized = tensor | {"parameters": {"binary_data_size": len(raw)}}
    from_raw = infer(server, {"inputs": [sized]}, raw).json()["outputs"][0]["data"]
    assert from_json == from_raw
    assert max(from_raw) == pytest.approx(expected["score"], abs=1e-7)


@pytest.mark.parametrize("binary", [False, True])
def test_classification(server: Server, binary: bool) -> None:
    images = prepared(2)[None]
    wanted = {"name": "probabilities", "parameters": {"classification": 2, "binary_data": binary}}
    reply = infer(server, {"inputs": [pixels(images, data=images.ravel().tolist())], "outputs": [wanted]})
    length = int(reply.headers.get("inference-header-content-length", len(reply.body)))
    (output,) = json.loads(reply.body[:length])["outputs"]
    assert (output["datatype"], output["shape"]) == ("BYTES", [1, 2])
    first = output["data"][0] if not binary else reply.body[length + 4 : length + 4 + 15].decode()
    assert first.split(":")[1:] == ["2", "blue"]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ([], "The body is not a JSON object."),
        ({}, '"inputs" must have one tensor.'),
        ({"inputs": [{"name": "images", "datatype": "UINT8", "shape": [0]}]}, 'The "shape" of the input'),
        ({"inputs": [pixels(prepared(0)[None], data=[1, 2])]}, "The shape [1, 3, 8, 8] needs 192 values, got 2."),
        ({"inputs": [pixels(prepared(0)[None], data=[1.5] * 192)]}, "UINT8 data must be whole numbers from 0 to 255."),
        ({"inputs": [pixels(prepared(0)[None], data=[256] * 192)]}, "UINT8 data must be whole numbers from 0 to 255."),
        ({"inputs": [pixels(prepared(0)[None], data=[[1], [1, 2]])]}, "The rows of the data have different lengths."),
        ({"inputs": [pixels(np.zeros((1, 3, 4, 4)), data=[0] * 48)]}, "Images must be (N, 3, 8, 8), got (1, 3, 4, 4)."),
        ({"inputs": [pixels(np.zeros((9, 1)), data=[0] * 9)]}, "The request has 9 images; the limit is 4."),
        ({"inputs": [pixels(prepared(0)[None])]}, 'The input has neither "data" nor "binary_data_size".'),
        ({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}]}, "The input must be"),
        ({"inputs": [{"name": "encoded", "datatype": "BYTES", "shape": [1], "data": ["%"]}]}, "BYTES in JSON must be"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_mistakes_are_one_sentence_under_error(server: Server, values: Any, sentence: str) -> None:
    reply = infer(server, values)
    assert reply.status == 400
    assert reply.json()["error"].startswith(sentence)


def test_raw_tensors_that_are_cut_short(server: Server) -> None:
    tensor = {"name": "encoded", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 6}}
    assert infer(server, {"inputs": [tensor]}, b"\xff\0\0\0ab").json() == {"error": "A BYTES element is cut short."}
    wrong = server.ask("POST", INFER, b"{}", {"Inference-Header-Content-Length": "99"})
    assert wrong.json() == {"error": "Inference-Header-Content-Length is not the length of the JSON part."}


def test_names_and_versions_that_do_not_exist(server: Server) -> None:
    assert server.ask("GET", "/v2/models/tinny").status == 404
    assert server.ask("GET", "/v2/models/tiny/versions/9").json() == {"error": "tiny has version 1, not '9'."}
    images = prepared(0)[None]
    asked = {"inputs": [pixels(images, data=images.ravel().tolist())], "outputs": [{"name": "logits"}]}
    assert infer(server, asked).json() == {"error": "There is no output 'logits'. Known: probabilities."}
