"""Engines run an exported network: `open_session` returns a `Session` of ONNX Runtime, OpenVINO or PyTorch.

Each engine is one file with a function `open_session(folder, settings)`, and one line in `ENGINES`. Importing this
module imports no engine.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from classicnets.errors import ConfigError, MissingExtra, unknown_name
from classicnets.system.threads import usable_cores

Engine = Literal["onnxruntime", "openvino", "torch"]
Precision = Literal["fp32", "bf16", "int8"]
Goal = Literal["latency", "throughput"]
Convolution = Literal["direct", "winograd"]

ENGINES: dict[Engine, str] = {"onnxruntime": "onnxruntime", "openvino": "openvino", "torch": "torch"}
"""Each engine, and the package that must be installed for it."""

FILES: dict[Engine, tuple[str, ...]] = {
    "onnxruntime": ("model.onnx",),
    "openvino": ("model.xml", "model.bin"),
    "torch": ("network/config.json", "network/model.safetensors"),
}
"""The files of a bundle that each engine reads."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How an engine runs a network.

    Attributes:
        precision: the arithmetic that is asked for. `Session.executed` says what is done.
        threads: how many threads compute, 1 or more; None for the cores that this process may use.
        streams: how many chunks are computed at once, 1 or more; None for 1, or with the goal "throughput" for one a
            thread.
        chunk: how many images are computed together, 1 or more; None for the engine's choice. A larger batch is
            divided.
        convolution: how OpenVINO computes 3x3 convolutions in fp32: "direct", or by "winograd" where that should be
            faster. Other engines and precisions ignore it.
        spinning: whether ONNX Runtime's threads wait for each other actively, which is faster on cores that nothing
            else needs. Other engines ignore it.
        goal: whether one batch or many batches at once should be fast.

    Raises ConfigError for numbers below 1 and unknown words.
    """

    precision: Precision = "fp32"
    threads: int | None = None
    streams: int | None = None
    chunk: int | None = None
    convolution: Convolution = "direct"
    spinning: bool = False
    goal: Goal = "latency"

    def __post_init__(self) -> None:
        words = {"precision": get_args(Precision), "convolution": get_args(Convolution), "goal": get_args(Goal)}
        for name, allowed in words.items():
            if getattr(self, name) not in allowed:
                raise ConfigError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}.")
        for name in ("threads", "streams", "chunk"):
            number = getattr(self, name)
            if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 1):
                raise ConfigError(f"{name} must be a whole number from 1, got {number!r}.")

    @property
    def used_threads(self) -> int:
        """How many threads compute: `threads`, but never more than the cores that this process may use."""
        usable = usable_cores()
        return min(self.threads or usable, usable)

    @property
    def used_streams(self) -> int:
        """How many chunks are computed at once: at most one a thread."""
        default = 1 if self.goal == "latency" else self.used_threads
        return min(self.streams or default, self.used_threads)


class Answered(NamedTuple):
    """What an exported network says of N images: probabilities float32 (N, K), and novelty float32 (N,) or None."""

    probabilities: NDArray[np.float32]
    novelty: NDArray[np.float32] | None = None


class Operation(NamedTuple):
    """One operation of a pass: the layer's or the engine's name, its kind, the kernel that ran, and its seconds."""

    name: str
    kind: str
    kernel: str
    seconds: float


class Session(Protocol):
    """An exported network that an engine has loaded. Several threads may use it at once."""

    @property
    def executed(self) -> str:
        """The precision that the engine really computes in, such as "fp32"."""
        ...

    def run(self, images: NDArray[np.uint8]) -> Answered:
        """Return what the network says of images, uint8 (N, C, H, W), N 1 or more, of the network's own size."""
        ...

    def profile(self, images: NDArray[np.uint8]) -> list[Operation]:
        """Run images, uint8 (N, C, H, W), as one chunk, and return how long each operation took, in order."""
        ...


def open_session(engine: str, folder: Path, settings: Settings | None = None) -> Session:
    """Load the network of a bundle.

    Args:
        engine: "onnxruntime", "openvino" or "torch".
        folder: the folder that holds the engine's `FILES`.
        settings: how it runs; by default fp32 on all cores that this process may use.

    Raises UnknownName for another engine, MissingExtra if the engine is not installed, WeightsError if it refuses the
    file.

    >>> open_session("openvino", Path("bundle")).executed  # doctest: +SKIP
    'fp32'
    """
    if engine not in ENGINES:
        raise unknown_name("engine", engine, list(ENGINES), next_step=f"Known: {', '.join(ENGINES)}.")
    package = ENGINES[engine]
    try:
        importlib.import_module(package)
    except ImportError:
        raise MissingExtra(
            f"The engine {engine} needs the package {package}, which is not installed. "
            f"Install it with: pip install {package}"
        ) from None
    module = importlib.import_module(f"classicnets.deployment.engines.{engine}")
    session: Session = module.open_session(folder, settings or Settings())
    return session
