"""Layouts hold what each server needs to find, and the servers' own schemas accept them."""

from __future__ import annotations

import errno
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import text_format
from schemas import Resources, triton_model_config

from bundles import CLASSES, rewrite, seal, write_bundle, write_graph
from classicnets.deployment.engines import Settings
from classicnets.deployment.layouts import kserve, ovms, triton, write_layout
from classicnets.deployment.layouts.served import GIB, Served
from classicnets.errors import ChecksumMismatch, ConfigError, ExportMismatch, StorageError, UnknownName

DEPLOY = (Path(__file__).parents[2] / "docs/deploy.md").read_text("utf-8")


def resources(page: str) -> list[dict[str, Any]]:
    """What the YAML of a page defines."""
    blocks = re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return [resource for block in blocks for resource in yaml.safe_load_all(block)]


@pytest.fixture
def served(tmp_path: Path) -> Served:
    (tmp_path / "model.onnx").write_bytes(b"graph")
    return Served(
        name="Birds_2",
        engine="onnxruntime",
        precision="fp32",
        goal="latency",
        threads=None,
        cores=3,
        shape=(3, 224, 160),
        num_classes=10,
        novelty=False,
        model=(tmp_path / "model.onnx",),
        labels=tmp_path / "labels.txt",
    )


def openvino(served: Served, precision: str = "fp32") -> Served:
    return replace(served, engine="openvino", precision=precision)


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_triton_gets_a_model_repository(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "birds")
    laid = write_layout(bundle, "triton", tmp_path / "models")
    assert files(tmp_path / "models") == {"birds/config.pbtxt", "birds/labels.txt", "birds/1/model.onnx"}
    assert (tmp_path / "models/birds/labels.txt").read_text("utf-8").split() == list(CLASSES)
    assert (tmp_path / "models/birds/1/model.onnx").read_bytes() == (bundle / "model.onnx").read_bytes()
    assert (laid.name, laid.engine) == ("birds", "onnxruntime")
    assert f'-v "{tmp_path / "models"}:/models:ro" nvcr.io/nvidia/tritonserver:' in laid.start


def test_triton_joins_requests_to_batches(served: Served) -> None:
    text = triton.config(served)
    assert 'platform: "onnxruntime_onnx"\nmax_batch_size: 32\ndynamic_batching {' in text
    assert "data_type: TYPE_UINT8\n    dims: [ 3, 224, 160 ]" in text
    assert 'dims: [ 10 ]\n    label_filename: "labels.txt"' in text
    assert "parameters" not in text
    assert "max_queue_delay_microseconds: 2000" in triton.config(replace(served, goal="throughput"))


def test_threads_are_said_only_where_they_were_chosen(served: Served) -> None:
    text = triton.config(replace(served, threads=4))
    assert 'key: "intra_op_thread_count"\n  value { string_value: "4" }' in text


def test_triton_s_openvino_backend_does_no_batching(served: Served) -> None:
    text = triton.config(openvino(served, "int8"))
    assert 'backend: "openvino"\nmax_batch_size: 0' in text
    assert "dims: [ -1, 3, 224, 160 ]" in text
    assert "dims: [ -1, 10 ]" in text
    assert "dynamic_batching" not in text
    assert "HINT_BF16" not in text
    assert 'key: "HINT_BF16"\n  value { string_value: "YES" }' in triton.config(openvino(served, "bf16"))


def test_a_bundle_for_openvino_is_served_by_onnxruntime_if_that_answers_alike(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "birds", "openvino")
    assert write_layout(bundle, "triton", tmp_path / "models").engine == "onnxruntime"
    write_graph(bundle / "model.onnx", bias=0.1)
    seal(bundle)
    with pytest.raises(ExportMismatch, match=r"model\.onnx does not answer as the bundle does: logarithms of"):
        write_layout(bundle, "triton", tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_lower_precision_stays_with_the_engine_that_was_measured(tmp_path: Path, precision: Any) -> None:
    bundle = write_bundle(tmp_path / "birds", "openvino", settings=Settings(precision=precision))
    assert write_layout(bundle, "triton", tmp_path / "models").engine == "openvino"
    assert files(tmp_path / "models/birds/1") == {"model.xml", "model.bin"}


def test_openvino_model_server_gets_a_list_of_models(tmp_path: Path) -> None:
    laid = write_layout(write_bundle(tmp_path / "birds", "openvino"), "ovms", tmp_path / "models")
    assert files(tmp_path / "models") == {
        "config.json",
        *(f"birds/{n}" for n in ("1/model.xml", "1/model.bin", "labels.txt")),
    }
    (model,) = json.loads((tmp_path / "models/config.json").read_text("utf-8"))["model_config_list"]
    assert model["config"] == {
        "name": "birds",
        "base_path": "/models/birds",
        "plugin_config": {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"},
    }
    assert "--config_path /models/config.json" in laid.start


def test_kserve_gets_a_service_and_what_it_serves(tmp_path: Path) -> None:
    laid = write_layout(write_bundle(tmp_path / "birds"), "kserve", tmp_path / "one")
    stored = {f"birds/birds/{name}" for name in ("config.pbtxt", "labels.txt", "1/model.onnx")}
    assert files(tmp_path / "one") == {"inferenceservice.yaml", *stored}
    assert laid.start == f"kubectl apply -f {tmp_path / 'one' / 'inferenceservice.yaml'}"
    write_layout(write_bundle(tmp_path / "owls", "openvino"), "kserve", tmp_path / "two")
    stored = {f"owls/{name}" for name in ("labels.txt", "1/model.xml", "1/model.bin")}
    assert files(tmp_path / "two") == {"inferenceservice.yaml", *stored}


def test_a_service_names_its_runtime(served: Served) -> None:
    service = yaml.safe_load(kserve.manifest(served))
    assert service["metadata"]["name"] == "birds-2"
    model = service["spec"]["predictor"]["model"]
    assert (model["runtime"], model["modelFormat"]) == ("kserve-tritonserver", {"name": "triton"})
    assert model["storageUri"] == "pvc://models/Birds_2"
    assert model["resources"]["limits"] == {"cpu": "3", "memory": "2Gi"}
    model = yaml.safe_load(kserve.manifest(openvino(served, "bf16")))["spec"]["predictor"]["model"]
    assert (model["runtime"], model["modelFormat"]) == ("kserve-openvino", {"name": "openvino"})
    (argument,) = model["args"]
    assert json.loads(argument.removeprefix("--plugin_config=")) == ovms.plugin_config(openvino(served, "bf16"))


def test_memory_grows_with_the_weights(served: Served) -> None:
    with served.model[0].open("wb") as file:
        file.truncate(GIB // 2)
    assert served.memory == 3


@pytest.mark.parametrize(
    ("name", "expected", "host"),
    [("birds", "birds", "birds"), ("my birds (2)", "my-birds-2", "my-birds-2"), ("鸟", "classifier", "classifier")],
)
def test_names(tmp_path: Path, served: Served, name: str, expected: str, host: str) -> None:
    assert write_layout(write_bundle(tmp_path / "b"), "triton", tmp_path / "out", name=name).name == expected
    assert replace(served, name=expected).host_name == host


def test_the_page_s_resources_belong_together() -> None:
    deployment, service, scaler = resources(DEPLOY)
    assert [deployment["kind"], service["kind"]] == ["Deployment", "Service"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert labels == deployment["spec"]["selector"]["matchLabels"] == service["spec"]["selector"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"].endswith(f":{ovms.VERSION}")
    assert container["ports"][0]["containerPort"] == service["spec"]["ports"][0]["targetPort"]
    assert scaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]


def test_the_page_s_programs_can_be_read() -> None:
    programs = re.findall(r"^```python\n(.*?)^```$", DEPLOY, re.MULTILINE | re.DOTALL)
    assert len(programs) == 2
    for program in programs:
        compile(program, "docs/deploy.md", "exec")


class TestBad:
    def test_another_layout(self, tmp_path: Path) -> None:
        with pytest.raises(UnknownName, match=r"No layout named 'tritn'\. Did you mean triton"):
            write_layout(tmp_path, "tritn", tmp_path / "out")

    def test_a_folder_that_exists(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="files are never overwritten"):
            write_layout(write_bundle(tmp_path / "b"), "triton", tmp_path)

    def test_a_changed_file(self, tmp_path: Path) -> None:
        bundle = write_bundle(tmp_path / "b")
        write_graph(bundle / "model.onnx", bias=0.1)
        with pytest.raises(ChecksumMismatch, match=r"model\.onnx was changed or damaged"):
            write_layout(bundle, "triton", tmp_path / "out")

    def test_a_full_disk(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*paths: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        bundle = write_bundle(tmp_path / "b")
        monkeypatch.setattr("shutil.copyfile", full)
        with pytest.raises(StorageError, match="No space left on device"):
            write_layout(bundle, "triton", tmp_path / "out")
        assert [path.name for path in tmp_path.iterdir()] == ["b"]

    def test_a_server_that_cannot_run_the_engine(self, tmp_path: Path) -> None:
        bundle = write_bundle(tmp_path / "b")
        with pytest.raises(ConfigError, match=r"needs a bundle for OpenVINO\. Export the run with --engine openvino"):
            write_layout(bundle, "ovms", tmp_path / "out")
        rewrite(bundle, engine="torch")
        with pytest.raises(
            ConfigError, match=r"No server runs a bundle for PyTorch\. Export the run with --engine onnx"
        ):
            write_layout(bundle, "triton", tmp_path / "out")


@pytest.mark.slow  # downloads a package
def test_triton_s_own_schema_accepts_the_config(served: Served, tmp_path: Path) -> None:
    message = triton_model_config(tmp_path)
    for goal, threads, novelty in (("latency", None, True), ("throughput", 4, False)):
        batched = replace(served, goal=goal, threads=threads, novelty=novelty)
        config = text_format.Parse(triton.config(batched), message())
        assert (config.max_batch_size, config.HasField("dynamic_batching")) == (32, True)
        assert [list(tensor.dims) for tensor in config.output] == [[10], *[[1]] * novelty]
        assert config.output[0].label_filename == "labels.txt"
        assert all(tensor.HasField("reshape") for tensor in config.output[1:])
        single = text_format.Parse(triton.config(openvino(batched, "bf16")), message())
        assert [list(tensor.dims) for tensor in single.output] == [[-1, 10], *[[-1]] * novelty]
        assert (
            single.input[0].data_type
            == message.DESCRIPTOR.file.enum_types_by_name["DataType"].values_by_name["TYPE_UINT8"].number
        )
    with pytest.raises(text_format.ParseError, match="label_file"):
        text_format.Parse(triton.config(served).replace("label_filename", "label_file"), message())


@pytest.mark.slow  # downloads packages
def test_kserve_s_own_types_have_every_field(served: Served, tmp_path: Path) -> None:
    types = Resources(tmp_path)
    for one in (served, openvino(served)):
        service = yaml.safe_load(kserve.manifest(one))
        assert list(types.unknown(service, "V1beta1InferenceService")) == []
    ours = yaml.safe_load_all((Path(__file__).parents[2] / "deploy/kubernetes.yaml").read_text("utf-8"))
    for resource in (*resources(DEPLOY), *ours):
        version = resource["apiVersion"].rpartition("/")[2].capitalize()
        assert list(types.unknown(resource, f"{version}{resource['kind']}")) == []
    service["spec"]["predictor"]["model"]["storageURI"] = "pvc://models"
    service["spec"]["predictor"]["minReplicas"] = "1"
    assert list(types.unknown(service, "V1beta1InferenceService")) == [
        ".spec.predictor.minReplicas: '1' is not int",
        ".spec.predictor.model.storageURI",
    ]
