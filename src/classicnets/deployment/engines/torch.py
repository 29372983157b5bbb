"""PyTorch on the CPU: the folder `network/`, as `Classifier.save` writes it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from classicnets.classifier import Classifier
from classicnets.deployment.engines import FILES, Answered, Operation, Settings
from classicnets.deployment.graph import deployable
from classicnets.system.devices import Precision
from classicnets.system.threads import threads_kept


def open_session(folder: Path, settings: Settings) -> TorchSession:
    """Load `network/`. Raises WeightsError if it is damaged."""
    return TorchSession((folder / FILES["torch"][0]).parent, settings)


class TorchSession:
    """A classifier without what only training needs, in channels-last memory. Several threads may use it.

    Attributes:
        executed: the precision that its convolutions compute in. It has no int8.
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        self._settings = settings
        self._network = deployable(Classifier.load(folder)).to(memory_format=torch.channels_last)
        self._precision = Precision.choose("bf16" if settings.precision == "bf16" else "fp32", torch.device("cpu"))
        self.executed = self._precision.name

    def run(self, images: NDArray[np.uint8]) -> Answered:
        """Return what the network says of images, uint8 (N, C, H, W)."""
        size = self._settings.chunk or len(images)
        with threads_kept(), torch.inference_mode(), self._precision():
            if torch.get_num_threads() != self._settings.used_threads:
                torch.set_num_threads(self._settings.used_threads)
            parts = [self._network(torch.as_tensor(images[i : i + size])) for i in range(0, len(images), size)]
        return Answered(*(torch.cat(outputs).float().numpy() for outputs in zip(*parts, strict=True)))

    def profile(self, images: NDArray[np.uint8]) -> list[Operation]:
        """Run images, uint8 (N, C, H, W), as one chunk, and return how long each layer took, in order."""
        begun: dict[str, float] = {}
        ran: dict[str, Operation] = {}

        def before(name: str) -> Any:
            return lambda module, args: begun.update({name: time.perf_counter()})

        def after(name: str, kind: str) -> Any:
            return lambda module, args, output: ran.update(
                {name: Operation(name, kind, "torch", time.perf_counter() - begun[name])}
            )

        layers = [(name, m) for name, m in self._network.named_modules() if not any(m.children())]
        hooks = [module.register_forward_pre_hook(before(name)) for name, module in layers]
        hooks += [module.register_forward_hook(after(name, type(module).__name__)) for name, module in layers]
        try:
            for _ in range(2):  # the first pass warms up
                self.run(images)
        finally:
            for hook in hooks:
                hook.remove()
        return list(ran.values())
