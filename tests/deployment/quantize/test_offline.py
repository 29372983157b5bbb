"""Quantising sends nothing over the network, although NNCF and OpenVINO report to their makers by default.

`import openvino` alone sends an event.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

RECORDER = """
import os, socket

def refused(kind):
    def call(*args, **kwargs):
        with open(os.environ["RECORDED"], "a") as file:
            file.write(f"{kind} {args[:2]}\\n")
        raise OSError("no network in this test")
    return call

socket.socket.connect = refused("connect")
socket.socket.connect_ex = refused("connect_ex")
socket.getaddrinfo = refused("getaddrinfo")
"""
"""A `sitecustomize`: the process and those that it starts record every connection that is tried."""

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
    home, code, recorded = tmp_path / "home", tmp_path / "code", tmp_path / "recorded"
    home.mkdir()
    code.mkdir()
    (code / "sitecustomize.py").write_text(RECORDER)
    images = tmp_path / "images.npy"
    np.save(images, digits.calibration[:2])
    known = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "OMP_NUM_THREADS", "LANG") if name in os.environ}
    environment = known | {
        "HOME": str(home),  # no file says yes or no to telemetry, and CI is not set
        "PYTHONPATH": os.pathsep.join([str(code), known.get("PYTHONPATH", "")]),
        "RECORDED": str(recorded),
    }
    command = [sys.executable, "-c", PROGRAM, tmp_path, images, digits.xml, digits.onnx]

    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.stdout.split() == ["8", "8", "refused"], done.stderr
    tried = recorded.read_text().splitlines()
    assert len(tried) == 1, tried  # the program's own, which shows that the recorder works
    assert "localhost" in tried[0]
