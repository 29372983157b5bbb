"""Peak memory of training DenseNet-121: ours and torchvision's, plain and memory-efficient, each in its own process.

Every process builds the net, takes a few SGD steps on the same random images (fp32), and reports the most memory that
the system ever saw it hold (`ru_maxrss`), by how much the steps raised it, and what a step costs. CPU only.

    python benchmarks/densenet_memory.py
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
import torchvision
from report import peak_mebibytes, write_results
from torch import nn

from classicnets.models.catalog import create

NETS: dict[str, Callable[[], nn.Module]] = {
    "ours": lambda: create("densenet121"),
    "ours, checkpointing=True": lambda: create("densenet121", checkpointing=True),
    "torchvision": lambda: torchvision.models.densenet121(),
    "torchvision, memory_efficient=True": lambda: torchvision.models.densenet121(memory_efficient=True),
}


def measure(net: str, batch_size: int, image_size: int, steps: int) -> dict[str, float]:
    """Train for a few steps in this process: its peak, what the steps added, and the cheapest step's CPU seconds."""
    torch.manual_seed(0)
    model = NETS[net]().train()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    images, labels = torch.randn(batch_size, 3, image_size, image_size), torch.randint(1000, (batch_size,))
    before, seconds = peak_mebibytes(), []
    for _ in range(steps):
        start = time.process_time()
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
        seconds.append(time.process_time() - start)
    return {"peak": peak_mebibytes(), "added": peak_mebibytes() - before, "seconds": min(seconds)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--measure", choices=NETS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(args.measure, args.batch_size, args.image_size, args.steps)))
        return
    rows = []
    for net in NETS:
        command = [sys.executable, *sys.argv, "--measure", net]
        result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        rows.append((net, f"{result['peak']:.0f}", f"{result['added']:.0f}", f"{result['seconds']:.2f}"))
    write_results(
        "densenet_memory",
        f"Training DenseNet-121: batch {args.batch_size}, {args.image_size} px, fp32",
        ("net", "peak memory, MiB", "of it by the steps, MiB", "cheapest step, CPU seconds"),
        rows,
        [
            "Outputs, gradients and batch-norm statistics of ours are the same in both modes (`tests/models`). "
            "torchvision's memory-efficient mode counts every batch twice in the statistics that it recomputes.",
        ],
    )


if __name__ == "__main__":
    main()
