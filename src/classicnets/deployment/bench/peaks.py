"""The ceilings of this machine: how fast it multiplies matrices and reads memory, measured here and now."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from classicnets.deployment.timing import Clock, turn
from classicnets.system.devices import has_bf16
from classicnets.system.progress import Report, no_report

_SIDES = (1024, 2048)
_BYTES = 256 << 20  # more than any cache
_REPEATS, _SECONDS = 5, 0.5  # at least, of each


@dataclass(frozen=True)
class Peaks:
    """What this machine reaches at most.

    Attributes:
        gflops: billions of operations per second in a product of large matrices, by precision; a precision that the
            machine has no instructions for is missing.
        gbps: billions of bytes per second, read from memory.
        threads: how many threads computed.
    """

    gflops: dict[str, float]
    gbps: float
    threads: int

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as JSON-ready values."""
        return asdict(self)

    def roof(self, precision: str, intensity: float) -> float | None:
        """Return the most GFLOP/s at so many operations per byte, or None if the precision's peak is not known."""
        peak = self.gflops.get(precision)
        return None if peak is None else min(peak, intensity * self.gbps)


def measure_peaks(threads: int, *, progress: Report = no_report, clock: Clock = time.perf_counter) -> Peaks:
    """Measure the peaks with so many threads: the best of PyTorch's and, if it is installed, OpenVINO's product.

    Args:
        threads: how many threads compute, 1 or more.
        progress: called with what is being done, how much of it is done, and how much there is.
        clock: tells the time, in seconds.

    >>> measure_peaks(2).gbps  # doctest: +SKIP
    21.4
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        products = [_product(side, dtype) for dtype in _dtypes() for side in _SIDES]
        with suppress(ImportError):
            products += [_openvino_product(side, threads) for side in _SIDES]
        gflops: dict[str, float] = {}
        for done, (precision, flops, multiply) in enumerate(products):
            progress("Measuring this machine", done, len(products) + 1)
            gflops[precision] = max(gflops.get(precision, 0), flops / _best(multiply, clock) / 1e9)
        numbers = torch.ones(_BYTES // 4)
        matrix, vector = numbers.view(4096, -1), torch.ones(_BYTES // 4 // 4096)
        gbps = _BYTES / min(_best(numbers.sum, clock), _best(lambda: matrix @ vector, clock)) / 1e9
        progress("Measuring this machine", len(products) + 1, len(products) + 1)
    finally:
        torch.set_num_threads(before)
    return Peaks({name: round(value, 1) for name, value in gflops.items()}, round(gbps, 1), threads)


_Product = tuple[str, float, Callable[[], object]]
"""A precision, how many operations the product has, and what computes it."""


def _dtypes() -> list[tuple[str, torch.dtype]]:
    return [("fp32", torch.float32), *([("bf16", torch.bfloat16)] if has_bf16(torch.device("cpu")) else [])]


def _product(side: int, kind: tuple[str, torch.dtype]) -> _Product:
    name, dtype = kind
    a, b = torch.ones(side, side, dtype=dtype), torch.ones(side, side, dtype=dtype)
    out = torch.empty_like(a)
    return name, 2 * side**3, lambda: torch.mm(a, b, out=out)


def _openvino_product(side: int, threads: int) -> _Product:
    import openvino as ov
    from openvino import opset13 as op

    from classicnets.deployment.openvino_core import core

    rows = op.parameter([side, side], np.float32)
    product = op.matmul(rows, op.constant(np.ones((side, side), np.float32)), False, False)
    config = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
    request = core().compile_model(ov.Model([product], [rows]), "CPU", config).create_infer_request()
    ones = np.ones((side, side), np.float32)
    return "fp32", 2 * side**3, lambda: request.infer([ones], share_inputs=True, share_outputs=True)


def _best(call: Callable[[], object], clock: Clock) -> float:
    """The shortest time of some calls, after one that warms up."""
    call()
    taken: list[float] = []
    while len(taken) < _REPEATS or sum(taken) < _SECONDS:
        taken += turn(call, clock=clock)
    return min(taken)
