"""KServe: an InferenceService, and the folder that its storageUri has to lead to.

FOLDER/inferenceservice.yaml
FOLDER/NAME/NAME/...    a model repository of Triton, if ONNX Runtime computes
FOLDER/NAME/1/model.xml  model.bin  for OpenVINO Model Server, if OpenVINO computes
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from classicnets.deployment.layouts import ovms, triton
from classicnets.deployment.layouts.served import Served, render


def write(served: Served, folder: Path) -> None:
    """Write the InferenceService and what it serves into `folder`."""
    stored = folder / served.name
    if served.engine == "onnxruntime":
        triton.write(replace(served, threads=served.cores), stored)
    else:
        served.copy_model(stored / "1")
        shutil.copyfile(served.labels, stored / "labels.txt")
    (folder / "inferenceservice.yaml").write_text(manifest(served), "utf-8")


def manifest(served: Served) -> str:
    """Return inferenceservice.yaml."""
    runtime = _triton() if served.engine == "onnxruntime" else _openvino(served)
    return render(
        "inferenceservice.yaml.j2",
        name=served.name,
        host_name=served.host_name,
        cores=served.cores,
        memory=served.memory,
        **runtime,
    )


def _triton() -> dict[str, Any]:
    """KServe's own runtime is of 2023, and its ONNX Runtime does not know the opset of our graphs."""
    return {"model_format": "triton", "runtime": "kserve-tritonserver", "version": triton.VERSION, "args": []}


def _openvino(served: Served) -> dict[str, Any]:
    properties = json.dumps(ovms.plugin_config(served))
    args = [f"--plugin_config={properties}"]
    return {"model_format": "openvino", "runtime": "kserve-openvino", "version": ovms.VERSION, "args": args}


def start(folder: Path, served: Served) -> str:
    """Return the command that starts the service."""
    return f"kubectl apply -f {folder / 'inferenceservice.yaml'}"
