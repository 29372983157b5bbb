"""NVIDIA's client for Python drives /v2, as it does Triton: `test_tritonclient` runs these in a process."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bundles import write_bundle
from classicnets.serving.models import Served
from servers import Server, png, prepared, running

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput, InferResult
    from tritonclient.utils import InferenceServerException

CLASSES = ["red", "green", "blue"]


@pytest.fixture(scope="module")
def two(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    other = write_bundle(tmp_path_factory.mktemp("second") / "other")
    with running([Served("tiny", bundle), Served("other", other)], body=200_000, images=128) as server:
        yield server


@pytest.fixture(scope="module")
def client(two: Server) -> Iterator[InferenceServerClient]:
    with InferenceServerClient(f"127.0.0.1:{two.port}", concurrency=2) as made:
        yield made


def pixels(*classes: int, binary: bool = True) -> InferInput:
    images = np.stack([prepared(k) for k in classes])
    return InferInput("images", list(images.shape), "UINT8").set_data_from_numpy(images, binary_data=binary)


def files(*contents: bytes) -> InferInput:
    values = np.array(contents, dtype=np.object_)
    return InferInput("encoded", [len(contents)], "BYTES").set_data_from_numpy(values)


def probabilities(result: InferResult) -> np.ndarray:
    values: np.ndarray = result.as_numpy("probabilities")
    return values


def test_health(client: InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("tiny")
    assert client.is_model_ready("tiny", "1")
    assert not client.is_model_ready("none")
    assert not client.is_model_ready("tiny", "2")


def test_metadata_and_config(client: InferenceServerClient) -> None:
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data", "classification"]
    metadata = client.get_model_metadata("tiny", "1")
    assert [tensor["name"] for tensor in metadata["inputs"]] == ["images", "encoded"]
    config = client.get_model_config("tiny")
    assert config["max_batch_size"] == 128
    assert config["output"] == [{"name": "probabilities", "data_type": "TYPE_FP32", "dims": [3]}]


@pytest.mark.parametrize("binary_in", [True, False], ids=["raw in", "JSON in"])
@pytest.mark.parametrize("binary_out", [True, False], ids=["raw out", "JSON out"])
def test_pixels(client: InferenceServerClient, two: Server, binary_in: bool, binary_out: bool) -> None:
    outputs = [InferRequestedOutput("probabilities", binary_data=binary_out)]
    result = client.infer("tiny", [pixels(0, 2, 1, binary=binary_in)], outputs=outputs, request_id="7")
    assert result.get_response()["id"] == "7"
    assert probabilities(result).dtype == np.float32
    assert probabilities(result).argmax(axis=1).tolist() == [0, 2, 1]
    expected = two.ask("POST", "/v1/predict?model=tiny", png(2)).json()["answers"][0]["predictions"][0]["score"]
    assert probabilities(result)[1].max() == pytest.approx(expected, abs=1e-7)


def test_the_default_is_raw_and_all_outputs(client: InferenceServerClient) -> None:
    result = client.infer("tiny", [pixels(1)])
    assert [output["name"] for output in result.get_response()["outputs"]] == ["probabilities"]
    assert result.get_output("probabilities")["parameters"] == {"binary_data_size": 12}


def test_image_files_go_through_our_preprocessing(client: InferenceServerClient) -> None:
    from_files = probabilities(client.infer("tiny", [files(png(0), png(2))]))
    assert np.array_equal(from_files, probabilities(client.infer("tiny", [pixels(0, 2)])))


@pytest.mark.parametrize("binary", [True, False])
def test_classification(client: InferenceServerClient, binary: bool) -> None:
    outputs = [InferRequestedOutput("probabilities", binary_data=binary, class_count=2)]
    words = client.infer("tiny", [files(png(2), png(0))], outputs=outputs).as_numpy("probabilities")
    assert words.shape == (2, 2)
    found = [word.decode() if isinstance(word, bytes) else word for word in words[:, 0].tolist()]
    assert [word.split(":")[1:] for word in found] == [["2", "blue"], ["0", "red"]]
    assert float(found[0].split(":")[0]) > 0.9


@pytest.mark.parametrize("packed", ["gzip", "deflate"])
def test_compression_both_ways(client: InferenceServerClient, packed: str) -> None:
    images = [0, 1, 2, 2] * 30
    for outputs in (None, [InferRequestedOutput("probabilities", binary_data=False)]):
        result = client.infer(
            "tiny", [pixels(*images)], outputs=outputs, request_compression_algorithm=packed,
            response_compression_algorithm=packed,
        )  # fmt: skip
        assert probabilities(result).argmax(axis=1).tolist() == images


@pytest.mark.parametrize("packed", ["gzip", "deflate"])
def test_long_answers_are_compressed_if_asked(two: Server, packed: str) -> None:
    data = np.stack([prepared(k % 3) for k in range(64)])
    body = b'{"inputs": [{"name": "images", "datatype": "UINT8", "shape": [64, 3, 8, 8], "data": %s}]}'
    body = body.replace(b"%s", str(data.ravel().tolist()).encode())
    reply = two.ask("POST", "/v2/models/tiny/infer", body, {"Accept-Encoding": f"br, {packed};q=0.5"})
    assert reply.headers["content-encoding"] == packed
    reply = two.ask("POST", "/v2/models/tiny/infer", body, {"Accept-Encoding": f"{packed};q=0"})
    assert "content-encoding" not in reply.headers


def test_several_models_and_requests_at_once(client: InferenceServerClient) -> None:
    waiting = [client.async_infer(name, [pixels(k)]) for k in range(3) for name in ("tiny", "other")]
    results = [request.get_result() for request in waiting]
    assert [result.get_response()["model_name"] for result in results] == ["tiny", "other"] * 3
    assert [int(probabilities(result).argmax()) for result in results] == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("model", "version", "inputs", "outputs", "sentence"),
    [
        ("tinny", "", [pixels(0)], None, "There is no such model. Did you mean tiny? GET /v1/models lists them."),
        ("tiny", "3", [pixels(0)], None, "tiny has version 1, not '3'."),
        ("tiny", "", [pixels(0)], ["logits"], "There is no output 'logits'. Known: probabilities."),
        ("tiny", "", [pixels(0), pixels(1)], None, '"inputs" must have one tensor.'),
        (
            "tiny", "", [InferInput("images", [1, 3, 4, 4], "UINT8").set_data_from_numpy(np.zeros((1, 3, 4, 4), "u1"))],
            None, "Images must be (N, 3, 8, 8), got (1, 3, 4, 4).",
        ),
        (
            "tiny", "", [InferInput("images", [1, 3, 8, 8], "FP32").set_data_from_numpy(np.zeros((1, 3, 8, 8), "f4"))],
            None, "The input must be \"images\" UINT8 or \"encoded\" BYTES, got 'images' 'FP32'.",
        ),
        ("tiny", "", [files(png(0), b"text")], None, "image 1: this is not an image in a known format"),
        ("tiny", "", [pixels(*[0] * 129)], None, "The request has 129 images; the limit is 128."),
        ("../tiny", "", [pixels(0)], None, "There is no such"),
    ],
    ids=["model", "version", "output", "two inputs", "shape", "datatype", "file", "too many", "path"],
)  # fmt: skip
def test_its_error_is_our_sentence(client: InferenceServerClient, model, version, inputs, outputs, sentence) -> None:
    asked = [InferRequestedOutput(name) for name in outputs] if outputs else None
    with pytest.raises(InferenceServerException) as caught:
        client.infer(model, inputs, version, outputs=asked)
    assert caught.value.message().startswith(sentence) or model.startswith("..")
    assert caught.value.status() == ("404" if model != "tiny" or version else "400")


@pytest.mark.parametrize("call", ["load_model", "unload_model", "get_inference_statistics", "get_trace_settings"])
def test_what_it_cannot_do_is_a_404(client: InferenceServerClient, call: str) -> None:
    with pytest.raises(InferenceServerException) as caught:
        getattr(client, call)("tiny")
    assert caught.value.status() == "404"
    assert caught.value.message() == "Not Found."
