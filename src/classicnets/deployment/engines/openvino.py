"""OpenVINO on the CPU: `model.xml` and `model.bin`.

    N images -> chunks of a fixed size, and single images for the rest -> infer requests, as many at once as streams

Each of the two sizes is compiled when it is first needed. Fixed shapes are faster than dynamic ones, and with two of
them the memory of compiled networks has a bound.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino.passes import ConstantFolding, Manager

from classicnets.deployment.engines import Answered, Operation, Settings
from classicnets.deployment.openvino_core import core
from classicnets.errors import WeightsError

HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}  # an int8 graph computes what is not quantised in fp32
_EXECUTED = {"I8": "int8", "BF16": "bf16", "F32": "fp32", "F16": "fp16"}
_CHUNK = 8
_CONVOLUTIONS = {"Convolution", "FullyConnected", "MatMul", "GroupConvolution"}


def open_session(folder: Path, settings: Settings) -> OpenVinoSession:
    """Load `model.xml`. Raises WeightsError if OpenVINO refuses it."""
    return OpenVinoSession(folder / "model.xml", settings)


class OpenVinoSession:
    """A network that OpenVINO has compiled. Several threads may use it.

    Attributes:
        executed: the precision of most of its convolutions and linear layers, read back from the compiled network.
    """

    def __init__(self, path: Path, settings: Settings) -> None:
        self._path, self._settings = path, settings
        self._core = core()
        self._config = {
            "INFERENCE_PRECISION_HINT": HINTS[settings.precision],
            "INFERENCE_NUM_THREADS": settings.used_threads,
            "NUM_STREAMS": settings.used_streams,
            "ENABLE_CPU_PINNING": False,  # other processes may use the same cores
        }
        self._compiling = threading.Lock()
        self._compiled: dict[int, _Compiled] = {}
        self._fixed = all(side.is_static for side in self._read().input(0).partial_shape[1:])
        self.chunk = (settings.chunk or _CHUNK) if self._fixed else 1
        first = self._of_size(1 if settings.goal == "latency" else self.chunk)
        self.executed = _executed(first.layers())

    def run(self, images: NDArray[np.uint8]) -> Answered:
        """Return what the network says of images, uint8 (N, C, H, W)."""
        images = np.ascontiguousarray(images)
        whole = len(images) - len(images) % self.chunk
        parts = []
        for size, some in ((self.chunk, images[:whole]), (1, images[whole:])):
            if len(some):
                parts += self._of_size(size).answers([some[i : i + size] for i in range(0, len(some), size)])
        return Answered(*(np.concatenate(outputs) for outputs in zip(*parts, strict=True)))

    def profile(self, images: NDArray[np.uint8]) -> list[Operation]:
        """Run images, uint8 (N, C, H, W), as one chunk, and return how long each operation took, in order."""
        request = self._compile(len(images), {"PERF_COUNT": True}).create_infer_request()
        for _ in range(2):  # the first pass warms up
            request.infer({0: images})
        ran = [info for info in request.profiling_info if info.real_time.total_seconds() > 0]
        return [
            Operation(info.node_name, info.node_type, info.exec_type, info.real_time.total_seconds()) for info in ran
        ]

    def _of_size(self, size: int) -> _Compiled:
        """The network for chunks of `size` images, compiled once."""
        with self._compiling:
            if size not in self._compiled:
                self._compiled[size] = _Compiled(self._compile(size, {}), self._settings.used_streams)
            return self._compiled[size]

    def _compile(self, size: int, more: dict[str, Any]) -> ov.CompiledModel:
        model = self._read()
        if self._fixed:
            shape = model.input(0).partial_shape
            shape[0] = size
            model.reshape(shape)
            if self._settings.convolution == "winograd" and self._settings.precision == "fp32":
                from classicnets.deployment.engines.winograd import use_winograd

                use_winograd(model)
        return self._core.compile_model(model, "CPU", {**self._config, **more})

    def _read(self) -> ov.Model:
        try:
            model = self._core.read_model(self._path)
        except RuntimeError as error:
            raise WeightsError(f"{self._path}: OpenVINO cannot load it ({error}).") from None
        if self._settings.precision != "int8":  # whose integer weights would become floats
            folding = Manager()
            folding.register_pass(ConstantFolding())  # else the biases of an ONNX file are computed in each pass
            folding.run_passes(model)
        return model


class _Compiled:
    """The network for one number of images, and its infer requests."""

    def __init__(self, compiled: ov.CompiledModel, streams: int) -> None:
        self._model = compiled
        self._outputs = range(len(compiled.outputs))
        self._free: SimpleQueue[ov.InferRequest] = SimpleQueue()
        for _ in range(streams):
            self._free.put(compiled.create_infer_request())

    def answers(self, chunks: list[NDArray[np.uint8]]) -> list[tuple[NDArray[np.float32], ...]]:
        """The outputs of each chunk, in order."""
        return [self._answer(chunks[0])] if len(chunks) == 1 else list(self._answers(chunks))

    def _answer(self, chunk: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
        """The outputs of one chunk, computed by the calling thread: waking another one costs 5 % of a fast network."""
        request = self._free.get()
        try:
            request.set_input_tensor(0, ov.Tensor(chunk, shared_memory=True))
            request.infer()
            return self._outputs_of(request)
        finally:
            self._free.put(request)

    def _answers(self, chunks: list[NDArray[np.uint8]]) -> Iterator[tuple[NDArray[np.float32], ...]]:
        running: deque[ov.InferRequest] = deque()
        try:
            for chunk in chunks:
                request = self.take(wait=not running)
                if request is None:  # all are busy: the oldest of ours is next to end
                    yield self._result(running[0])
                    request = running.popleft()
                running.append(request)
                request.start_async({0: chunk}, share_inputs=True)
            while running:
                yield self._result(running[0])
                self._free.put(running.popleft())
        finally:
            for request in running:
                with suppress(RuntimeError):
                    request.wait()
                self._free.put(request)

    def take(self, *, wait: bool) -> ov.InferRequest | None:
        """A request that is free; if there is none, wait for one or return None.

        A thread that holds a request never waits for another one, so that threads cannot block each other.
        """
        try:
            return self._free.get(block=wait)
        except Empty:
            return None

    def _result(self, request: ov.InferRequest) -> tuple[NDArray[np.float32], ...]:
        request.wait()
        return self._outputs_of(request)

    def _outputs_of(self, request: ov.InferRequest) -> tuple[NDArray[np.float32], ...]:
        return tuple(request.get_output_tensor(i).data.copy() for i in self._outputs)

    def layers(self) -> list[tuple[str, str]]:
        """The kind and the kernel of each operation that is executed, such as ("Convolution", "jit_avx2_I8")."""
        infos = [node.get_rt_info() for node in self._model.get_runtime_model().get_ops()]
        return [(info["layerType"].astype(str), info["primitiveType"].astype(str)) for info in infos]


def _executed(layers: list[tuple[str, str]]) -> str:
    """The precision of most convolutions and linear layers. A kernel's name ends with its precision."""
    kernels = [kernel.rpartition("_")[2].upper() for kind, kernel in layers if kind in _CONVOLUTIONS]
    most = Counter(kernels).most_common(1)
    return _EXECUTED.get(most[0][0], most[0][0].lower()) if most else "fp32"
