"""ONNX Runtime on the CPU: `model.onnx`."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from classicnets.deployment.engines import Answered, Operation, Settings
from classicnets.errors import WeightsError

_ERRORS_ONLY = 3
_TIME = "_kernel_time"
_INTEGER_KERNELS = (b"QLinearConv", b"QLinearMatMul", b"QGemm", b"ConvInteger", b"MatMulInteger")


def open_session(folder: Path, settings: Settings) -> OnnxRuntimeSession:
    """Load `model.onnx`. Raises WeightsError if ONNX Runtime refuses it."""
    return OnnxRuntimeSession(folder / "model.onnx", settings)


class OnnxRuntimeSession:
    """A network that ONNX Runtime has loaded. Several threads may use it.

    Attributes:
        executed: "int8" if convolutions or linear layers are computed in integers, else "fp32". ONNX Runtime has no
            bf16 on CPUs.
    """

    def __init__(self, path: Path, settings: Settings) -> None:
        self._path, self._settings = path, settings
        self._streams = settings.used_streams
        self._session = self._open()
        self._pool = ThreadPoolExecutor(self._streams, "classicnets-ort") if self._streams > 1 else None
        self.executed = "int8" if settings.precision == "int8" and self._has_integers() else "fp32"

    def run(self, images: NDArray[np.uint8]) -> Answered:
        """Return what the network says of images, uint8 (N, C, H, W)."""
        size = self._settings.chunk or -(-len(images) // self._streams)
        chunks = [images[i : i + size] for i in range(0, len(images), size)]
        if self._pool is None or len(chunks) == 1:
            parts = [self._one(chunk) for chunk in chunks]
        else:
            parts = list(self._pool.map(self._one, chunks))
        return Answered(*(np.concatenate(outputs) for outputs in zip(*parts, strict=True)))

    def profile(self, images: NDArray[np.uint8]) -> list[Operation]:
        """Run images, uint8 (N, C, H, W), as one chunk, and return how long each operation took, in order."""
        with TemporaryDirectory() as folder:
            session = self._open(profile=Path(folder) / "profile")
            for _ in range(2):  # the first pass warms up
                session.run(None, {"images": images})
            events = json.loads(Path(session.end_profiling()).read_text("utf-8"))
        ran = {e["name"]: e for e in events if e["cat"] == "Node" and e["name"].endswith(_TIME)}  # the last pass counts
        return [
            Operation(name.removesuffix(_TIME), e["args"]["op_name"], e["args"]["provider"], e["dur"] / 1e6)
            for name, e in ran.items()
        ]

    def _one(self, chunk: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        outputs: list[NDArray[np.float32]] = self._session.run(None, {"images": chunk})
        return outputs

    def _has_integers(self) -> bool:
        """Whether the graph that ONNX Runtime made of the file computes in integers: it fuses them, or it does not."""
        with TemporaryDirectory() as folder:
            made = Path(folder) / "made.onnx"
            self._open(made=made)
            return any(kernel in made.read_bytes() for kernel in _INTEGER_KERNELS)

    def _open(self, *, made: Path | None = None, profile: Path | None = None) -> ort.InferenceSession:
        options = ort.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        options.intra_op_num_threads = max(1, self._settings.used_threads // self._streams)
        options.inter_op_num_threads = 1
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.add_session_config_entry("session.intra_op.allow_spinning", str(int(self._settings.spinning)))
        if made is not None:
            options.optimized_model_filepath = str(made)
        if profile is not None:
            options.enable_profiling = True
            options.profile_file_prefix = str(profile)
        try:
            return ort.InferenceSession(str(self._path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # it raises many types, whose names are not public
            raise WeightsError(f"{self._path}: ONNX Runtime cannot load it ({error}).") from None
