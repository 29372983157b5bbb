"""Where the time of a pass goes: layer by layer, on one engine."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from classicnets.deployment.engines import Operation, Session

_PASSES = 5
_PARTS = ("/winograd ", "/WithoutBiases", "_nchwc")  # what engines append to a layer's name


class LayerTime(NamedTuple):
    """A layer, or another operation of the engine.

    Attributes:
        name: the layer's path in the network, or the engine's name for the operation.
        kind: what it computes, such as "Convolution".
        kernel: the code that ran; of several, the slowest.
        ms: milliseconds, the median of some passes.
        share: of the pass, in 0..1.
    """

    name: str
    kind: str
    kernel: str
    ms: float
    share: float


def layer_times(session: Session, images: NDArray[np.uint8], *, passes: int = _PASSES) -> list[LayerTime]:
    """Return how long each layer of a pass takes, in the order of running.

    Args:
        session: an engine that has loaded the network.
        images: uint8 (N, C, H, W), one batch.
        passes: how many times the pass is profiled, 1 or more.

    >>> layer_times(open_session("openvino", folder), images)[0].name  # doctest: +SKIP
    'conv1.conv'
    """
    runs = [together(session.profile(images)) for _ in range(passes)]
    times = {name: median(run[name].seconds for run in runs if name in run) for name in runs[0]}
    total = sum(times.values()) or 1.0
    return [
        LayerTime(name, operation.kind, operation.kernel, times[name] * 1e3, times[name] / total)
        for name, operation in runs[0].items()
    ]


def together(operations: Sequence[Operation]) -> dict[str, Operation]:
    """Return one operation for each layer: its times added, and the kind and kernel of its slowest part."""
    found: dict[str, Operation] = {}
    slowest: dict[str, float] = {}
    for operation in operations:
        name = layer_name(operation.name)
        before = found.get(name, operation._replace(seconds=0.0))
        if operation.seconds >= slowest.get(name, 0.0):
            slowest[name] = operation.seconds
            before = before._replace(kind=operation.kind, kernel=operation.kernel)
        found[name] = before._replace(name=name, seconds=before.seconds + operation.seconds)
    return found


def layer_name(name: str) -> str:
    """Return the layer that an engine's operation belongs to: its path in the network, without what engines append.

    >>> layer_name("trunk.conv3.conv1/winograd 0 products")
    'trunk.conv3.conv1'
    """
    for part in _PARTS:
        name = name.partition(part)[0]
    return name
