"""Convolutions that a training computes by matrix products on a CPU, beside oneDNN's, layer by layer.

Each layer of the networks is timed alone, forward and backward, channels-last, on one thread: the least of five by
turns. The type is fp32 on a CPU with AVX2, and bf16 on one that has it. The table sums the layers for which
`training/step/convolution.py` takes products, and lists the shapes where the two differ most.

    python benchmarks/convolutions.py [NETWORK ...]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from report import write_results
from torch import Tensor, nn

from classicnets.models.catalog import create
from classicnets.system.memory import memory_kept
from classicnets.training.step.convolution import fast_convolutions, has_few_places

NETWORKS = ("alexnet_owt", "vgg11_bn", "nin_bn", "googlenet_bn", "resnet18", "resnet50")
SETTINGS = ((64, 32), (224, 8))  # pixels, batch
COLUMNS = (
    "network",
    "px",
    "batch",
    "layers",
    "oneDNN, ms",
    "products, ms",
    "ratio",
    "largest ratio, of",
    "least ratio, of",
)
TURNS = 5
DTYPE = torch.float32 if torch.backends.cpu.get_cpu_capability() == "AVX2" else torch.bfloat16


class Layer(NamedTuple):
    """A convolution and the input that it gets."""

    module: nn.Conv2d
    shape: tuple[int, ...]

    def __str__(self) -> str:
        _, channels, height, width = self.shape
        kernel = "x".join(map(str, self.module.kernel_size))
        return f"{channels} to {self.module.out_channels}, {kernel} on {height}x{width}"


def layers_of(name: str, size: int, batch: int) -> list[Layer]:
    """The convolutions of a network that are computed by products, with the shapes of their inputs."""
    network = create(name, num_classes=10).eval()
    found: list[Layer] = []
    for module in fast_convolutions(network):

        def note(module: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> None:
            assert isinstance(module, nn.Conv2d)
            layer = Layer(module, (batch, *inputs[0].shape[1:]))
            if DTYPE is torch.float32 or has_few_places(module, torch.Size(layer.shape)):
                found.append(layer)

        module.register_forward_hook(note)
    with torch.no_grad():
        network(torch.zeros(1, 3, size, size))
    return found


def seconds(layer: Layer) -> tuple[float, float]:
    """The least seconds of a pass by oneDNN and by products, by turns."""
    x = torch.randn(layer.shape).to(DTYPE, memory_format=torch.channels_last).requires_grad_()
    module = layer.module.to(memory_format=torch.channels_last)
    (products,) = fast_convolutions(module).values()
    ways = (partial(_pass, partial(nn.Conv2d.forward, module), x), partial(_pass, products, x))
    times = [tuple(map(_once, ways)) for _ in range(TURNS)]
    return min(one for one, _ in times), min(other for _, other in times)


def _pass(forward: Callable[[Tensor], Tensor], x: Tensor) -> None:
    with torch.autocast("cpu", torch.bfloat16, enabled=DTYPE is torch.bfloat16):
        y = forward(x)
    y.backward(y.detach())


def _once(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def measure(name: str, size: int, batch: int, known: dict[str, tuple[float, float]]) -> list[str]:
    """A line of the table."""
    layers = layers_of(name, size, batch)
    if not layers:
        return [name, str(size), str(batch), "0", "", "", "", "", ""]
    for layer in layers:
        key = f"{layer} {layer.module.stride} {batch}"
        if key not in known:
            known[key] = seconds(layer)
    times = {layer: known[f"{layer} {layer.module.stride} {batch}"] for layer in layers}
    one, other = (sum(pair[i] for pair in times.values()) for i in (0, 1))
    ratios = sorted((pair[0] / pair[1], str(layer)) for layer, pair in times.items())
    (least, narrowest), (most, widest) = ratios[0], ratios[-1]
    return [
        name, str(size), str(batch), str(len(layers)), f"{1e3 * one:.0f}", f"{1e3 * other:.0f}", f"{one / other:.2f}",
        f"{most:.2f}: {widest}", f"{least:.2f}: {narrowest}",
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", default=NETWORKS, metavar="NETWORK")
    torch.set_num_threads(1)
    lines, known = [], {}
    with memory_kept(DTYPE):
        for name in parser.parse_args().networks:
            for size, batch in SETTINGS:
                lines.append(measure(name, size, batch, known))
                print(*lines[-1], flush=True)
    capability = torch.backends.cpu.get_cpu_capability()
    type_name = str(DTYPE).removeprefix("torch.")
    note = f"{type_name}, one thread, {capability}. These layers alone, forward and backward."
    write_results("convolutions", "Convolutions by matrix products", COLUMNS, lines, [note])


if __name__ == "__main__":
    main()
