"""A contender: one way to run a network, in a process of its own that waits while another one has its turn.

So its memory and its loading time are its own, its threads disturb nobody, and every contender meets the same machine.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from classicnets.deployment.engines import FILES, Engine, Settings, open_session
from classicnets.deployment.timing import turn
from classicnets.errors import ClassicNetsError, ConfigError

Way = Engine | Literal["eager", "compile"]
"""An engine; "eager", PyTorch as torchvision's users run it; or "compile", torch.compile with frozen weights."""

Run = Callable[[NDArray[np.uint8]], object]

TITLES: dict[Way, str] = {
    "eager": "PyTorch eager",
    "compile": "torch.compile",
    "torch": "torch engine",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
}


@dataclass(frozen=True)
class Contender:
    """A way to run a network.

    Attributes:
        way: an engine, or a rival.
        folder: where its files are.
        settings: how it runs; the rivals use its threads alone.
        label: what tells it from others of the same way, such as "as exported"; mostly empty.
    """

    way: Way
    folder: Path
    settings: Settings = Settings()  # noqa: RUF009  # frozen
    label: str = ""

    @property
    def name(self) -> str:
        """What it is called, such as "OpenVINO fp32"."""
        return " ".join(filter(None, (TITLES[self.way], self.settings.precision, self.label)))


class Loaded(NamedTuple):
    """What a contender reports when it has answered its first image: seconds since its start, and its precision."""

    seconds: float
    executed: str


Opener = Callable[[Contender], tuple[Run, str]]
"""Loads a contender. Returns what answers uint8 images (N, C, H, W), and the precision that it computes in."""


class Running:
    """A contender's process; `opener` loads it there. Close it at the end.

    Raises ConfigError if it cannot run here; the message says why.
    """

    def __init__(self, contender: Contender, shape: tuple[int, ...], opener: Opener | None = None) -> None:
        context = get_context("spawn")
        self._ours, theirs = context.Pipe()
        arguments = (theirs, contender, shape, opener or opened)
        self._process = context.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        theirs.close()
        self._name = contender.name
        self.loaded: Loaded = self._answer()

    def turn(self, batch: int) -> list[float]:
        """Run batches for one turn, and return the seconds of each."""
        self._ours.send(batch)
        times: list[float] = self._answer()
        return times

    def peak_bytes(self) -> int:
        """Return the most memory that the process ever held."""
        self._ours.send("memory")
        peak: int = self._answer()
        return peak

    def close(self) -> None:
        """End the process."""
        self._ours.close()
        self._process.kill()
        self._process.join()

    def _answer(self) -> Any:
        try:
            answer = self._ours.recv()
        except EOFError:
            self._process.join()
            raise ConfigError(f"{self._name} ended with exit code {self._process.exitcode}.") from None
        if isinstance(answer, str):
            self.close()
            raise ConfigError(answer)
        return answer


def opened(contender: Contender) -> tuple[Run, str]:
    """Load a contender in this process. Returns what answers uint8 images (N, C, H, W), and the executed precision."""
    if contender.way not in ("eager", "compile"):
        session = open_session(contender.way, contender.folder, contender.settings)
        return session.run, session.executed
    import torch

    from classicnets.classifier import Classifier

    torch.set_num_threads(contender.settings.used_threads)
    classifier = Classifier.load((contender.folder / FILES["torch"][0]).parent)
    classifier.model.eval()
    model: Callable[[torch.Tensor], torch.Tensor] = classifier.model
    if contender.way == "compile":
        import torch._inductor.config as inductor

        inductor.freezing = True
        inductor.compile_threads = 1  # its own processes would outlive this one, which is killed
        model = torch.compile(classifier.model)

    def run(images: NDArray[np.uint8]) -> object:
        with torch.no_grad():
            return model(classifier.preprocess.normalize(torch.as_tensor(images))).softmax(-1)

    return run, "fp32"


def _serve(pipe: Connection, contender: Contender, shape: tuple[int, ...], opener: Opener) -> None:
    """Load, report, and then run batches of the sizes that are asked for."""
    begun = time.perf_counter()
    try:
        run, executed = opener(contender)
        images = np.random.default_rng(0).integers(0, 256, (1, *shape), dtype=np.uint8)
        run(images)
    except (ClassicNetsError, RuntimeError, ImportError, OSError) as error:
        pipe.send(f"{contender.name} cannot run here: {str(error).splitlines()[0]}")
        return
    pipe.send(Loaded(time.perf_counter() - begun, executed))
    warm = {1}
    while True:
        try:
            asked = pipe.recv()
        except EOFError:
            return
        if asked == "memory":
            pipe.send(_peak_bytes())
            continue
        batch = np.resize(images, (asked, *shape))
        if asked not in warm:
            run(batch)
            warm.add(asked)
        pipe.send(turn(lambda: run(batch)))  # noqa: B023  # called before the next batch


def _peak_bytes() -> int:
    """The most memory that this process ever held. Linux's getrusage would count the parent's too."""
    try:
        lines = Path("/proc/self/status").read_text("utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        if os.name == "nt":
            return 0
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
