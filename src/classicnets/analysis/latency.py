"""How long networks take on this machine: one image, and a batch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor, nn

from classicnets.errors import ConfigError
from classicnets.models.catalog import create
from classicnets.models.facts import FACTS
from classicnets.system.devices import choose_device
from classicnets.system.machine import memory_bytes
from classicnets.system.progress import Report

_ROUNDS = 5
_LEAST = 0.05  # seconds that a network runs in each round, at least once: more repeats for the fast ones


class Latency(NamedTuple):
    """Median seconds of a forward pass: for one image, and for a whole batch."""

    one: float
    batch: float


class Conditions(NamedTuple):
    """How latencies were measured: on "cpu" or another device, with how many threads of PyTorch, and the batch size."""

    device: str
    threads: int
    batch_size: int


def measure(
    names: Sequence[str], *, batch_size: int, device: str = "auto", progress: Report | None = None
) -> tuple[list[Latency], Conditions]:
    """Measure forward passes in fp32 and eval mode, for images of each model's own size.

    All networks take turns, and the first turn is a warm-up that does not count. So whatever else this machine does
    meanwhile slows all of them alike.

    Args:
        names: models of the catalog, 1 or more. All of them are in memory at once.
        batch_size: images in a batch, 1 or more.
        device: "cpu", "cuda", "cuda:1" and the like, or "auto".
        progress: called with what is being done, how much of it is done, and how much there is.

    Returns:
        The latency of each model, and how they were measured.

    Raises:
        ConfigError: there is no such device, or the weights do not fit in memory.
    """
    where = choose_device(device)
    _check_memory(names)
    generator = torch.Generator().manual_seed(0)
    cells: list[tuple[nn.Module, Tensor]] = []
    for name in names:
        net = create(name, generator=generator).eval().to(memory_format=torch.channels_last).to(where)
        side = net.config.image_size
        images = torch.rand(batch_size, net.config.in_channels, side, side, generator=generator).to(where)
        for batch in (images[:1], images):
            cells.append((net, batch.contiguous(memory_format=torch.channels_last)))
    times: list[list[float]] = [[] for _ in cells]
    total = (1 + _ROUNDS) * len(cells)
    for turn in range(total):
        round_, cell = divmod(turn, len(cells))
        taken = _times(*cells[cell])
        if round_ > 0:
            times[cell] += taken
        if progress is not None:
            progress("Measuring latency", turn + 1, total)
    medians = [median(taken) for taken in times]
    latencies = [Latency(one, batch) for one, batch in zip(medians[::2], medians[1::2], strict=True)]
    return latencies, Conditions(str(where), torch.get_num_threads(), batch_size)


def _times(net: nn.Module, images: Tensor) -> list[float]:
    """Seconds of each of some forward passes."""
    taken: list[float] = []
    with torch.inference_mode():
        while sum(taken) < _LEAST:
            start = time.perf_counter()
            net(images)[0, 0].item()  # reading a logit waits for an accelerator
            taken.append(time.perf_counter() - start)
    return taken


def _check_memory(names: Sequence[str]) -> None:
    """Raise ConfigError if the weights take more than half of this machine's memory, as far as that is known."""
    memory = memory_bytes()
    needed = sum(4 * FACTS[name]["params"] for name in names)
    if memory is not None and 2 * needed > memory:
        raise ConfigError(
            f"The weights of these {len(names)} models need {needed / 2**30:.1f} GiB at once, and this machine has "
            f"{memory / 2**30:.1f} GiB. Compare fewer models, or leave the latency out (--no-latency)."
        )
