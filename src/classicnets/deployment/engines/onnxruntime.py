"""ONNX Runtime on the CPU: `model.onnx`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from classicnets.deployment.engines import Answered, Settings
from classicnets.errors import WeightsError
from classicnets.system.threads import usable_cores

_ERRORS_ONLY = 3


def open_session(folder: Path, settings: Settings) -> OnnxRuntimeSession:
    """Load `model.onnx`. Raises WeightsError if ONNX Runtime refuses it."""
    return OnnxRuntimeSession(folder / "model.onnx", settings)


class OnnxRuntimeSession:
    """A network that ONNX Runtime has loaded."""

    def __init__(self, path: Path, settings: Settings) -> None:
        options = ort.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        options.intra_op_num_threads = settings.threads or usable_cores()
        options.inter_op_num_threads = 1
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # it raises many types, whose names are not public
            raise WeightsError(f"{path}: ONNX Runtime cannot load it ({error}).") from None
        self.executed = settings.precision

    def run(self, images: NDArray[np.uint8]) -> Answered:
        """Return what the network says of images, uint8 (N, C, H, W)."""
        return Answered(*self._session.run(None, {"images": images}))
