"""OpenVINO on the CPU: `model.xml` and `model.bin`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from classicnets.deployment.engines import Answered, Settings
from classicnets.errors import WeightsError
from classicnets.system.threads import usable_cores

_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}  # an int8 graph computes what is not quantised in fp32


def open_session(folder: Path, settings: Settings) -> OpenVinoSession:
    """Load `model.xml`. Raises WeightsError if OpenVINO refuses it."""
    return OpenVinoSession(folder / "model.xml", settings)


class OpenVinoSession:
    """A network that OpenVINO has compiled."""

    def __init__(self, path: Path, settings: Settings) -> None:
        config = {
            "INFERENCE_PRECISION_HINT": _HINTS[settings.precision],
            "INFERENCE_NUM_THREADS": settings.threads or usable_cores(),
            "PERFORMANCE_HINT": settings.goal.upper(),
        }
        try:
            self._model = ov.Core().compile_model(str(path), "CPU", config)
        except RuntimeError as error:
            raise WeightsError(f"{path}: OpenVINO cannot load it ({error}).") from None
        self.executed = settings.precision

    def run(self, images: NDArray[np.uint8]) -> Answered:
        """Return what the network says of images, uint8 (N, C, H, W)."""
        results = self._model.create_infer_request().infer({"images": images})
        return Answered(*(results[i] for i in range(len(self._model.outputs))))
