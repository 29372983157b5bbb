"""Triton Inference Server: a model repository.

    FOLDER/NAME/config.pbtxt  labels.txt  1/model.onnx

ONNX Runtime joins requests to batches as they come. Triton's OpenVINO backend fixes the batch size and pads every
request to it, so there Triton does no batching, and a request holds as many images as it likes.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from classicnets.deployment.layouts.served import Served, mounted, render

VERSION = "26.07-py3"
"""The container's tag. It has both backends, and its ONNX Runtime knows the opset of our graphs."""

_MAX_BATCH = 32
_QUEUE_DELAY = {"latency": 0, "throughput": 2000}
"""For how many microseconds a request may wait for others."""


def write(served: Served, folder: Path) -> None:
    """Write the model repository into `folder`."""
    model = folder / served.name
    served.copy_model(model / "1")
    shutil.copyfile(served.labels, model / "labels.txt")
    (model / "config.pbtxt").write_text(config(served), "utf-8")


def config(served: Served) -> str:
    """Return config.pbtxt: a ModelConfig in protobuf's text format."""
    batching = served.engine == "onnxruntime"
    return render(
        "config.pbtxt.j2",
        name=served.name,
        batching=batching,
        max_batch=_MAX_BATCH,
        queue_delay=_QUEUE_DELAY[served.goal],
        shape=served.shape,
        num_classes=served.num_classes,
        novelty=served.novelty,
        parameters=_onnxruntime(served) if batching else _openvino(served),
    )


def _onnxruntime(served: Served) -> dict[str, str]:
    return {"intra_op_thread_count": str(served.threads)} if served.threads else {}


def _openvino(served: Served) -> dict[str, str]:
    precision = {"HINT_BF16": "YES"} if served.precision == "bf16" else {}
    return {"PERFORMANCE_HINT": served.goal.upper()} | precision


def start(folder: Path, served: Served) -> str:
    """Return the command that serves `folder`."""
    ports = "-p 8000:8000 -p 8001:8001 -p 8002:8002"
    image = f"nvcr.io/nvidia/tritonserver:{VERSION}"
    return f"docker run --rm {ports} {mounted(folder)} {image} tritonserver --model-repository=/models"
