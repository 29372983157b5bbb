"""Quantising sends nothing over the network, although NNCF and OpenVINO report to their makers by default.

`import openvino` alone sends an event.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from offline import without_network

PROGRAM = """
import sys, urllib.request
from pathlib import Path
import numpy as np
from classicnets.deployment.quantize.onnxruntime import quantize_onnxruntime
from classicnets.deployment.quantize.openvino import quantize_openvino

folder, images = Path(sys.argv[1]), np.load(sys.argv[2])
print(len(quantize_openvino(Path(sys.argv[3]), folder / "int8.xml", images).int8))
print(len(quantize_onnxruntime(Path(sys.argv[4]), folder / "int8.onnx", images).int8))
try:
    urllib.request.urlopen("http://localhost:9")
except OSError:
    print("refused")
"""


def test_no_connection_is_tried(digits: Any, tmp_path: Path) -> None:
    images = tmp_path / "images.npy"
    np.save(images, digits.calibration[:2])
    command = ["-c", PROGRAM, tmp_path, images, digits.xml, digits.onnx]

    done, tried = without_network(command, tmp_path)
    assert done.stdout.split() == ["8", "8", "refused"], done.stderr
    assert len(tried) == 1, tried  # the program's own, which shows that the recorder works
    assert "localhost" in tried[0]
