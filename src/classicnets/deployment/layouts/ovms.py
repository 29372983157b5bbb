"""OpenVINO Model Server: a list of models, and the model's files below a number that is its version.

FOLDER/config.json  NAME/1/model.xml  NAME/1/model.bin  NAME/labels.txt
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from classicnets.deployment.layouts.served import Served, mounted

VERSION = "2026.2"
"""The container's tag."""

_PRECISION = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
"""In what the layers compute that are not int8. Without it, CPUs that multiply bf16 matrices do not compute in fp32."""


def write(served: Served, folder: Path) -> None:
    """Write the models and their list into `folder`."""
    model = folder / served.name
    served.copy_model(model / "1")
    shutil.copyfile(served.labels, model / "labels.txt")
    listed = {"name": served.name, "base_path": f"/models/{served.name}", "plugin_config": plugin_config(served)}
    text = json.dumps({"model_config_list": [{"config": listed}]}, indent=2)
    (folder / "config.json").write_text(text + "\n", "utf-8")


def plugin_config(served: Served) -> dict[str, str]:
    """Return the properties that OpenVINO compiles the model with. The server counts a container's cores itself."""
    return {"PERFORMANCE_HINT": served.goal.upper(), "INFERENCE_PRECISION_HINT": _PRECISION[served.precision]}


def start(folder: Path, served: Served) -> str:
    """Return the command that serves `folder`."""
    server = f"openvino/model_server:{VERSION} --config_path /models/config.json --port 9000 --rest_port 8000"
    return f"docker run --rm -p 8000:8000 -p 9000:9000 {mounted(folder)} {server}"
