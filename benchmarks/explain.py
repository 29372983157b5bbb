"""What a map costs: Grad-CAM beside a forward and backward pass, and the peak memory of integrated gradients.

Grad-CAM of an image of 224 x 224, without its verdict, and a forward and backward pass of the same image take turns.
The peaks are those of a process of its own for each map of DenseNet-201, the network with the most activations.

    python benchmarks/explain.py            # needs the extra `explain`
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

import torch
from report import PEERS, peak_mebibytes, write_results
from torch import Tensor

from classicnets.classifier import Classifier
from classicnets.explanation import explain
from classicnets.models.catalog import create
from classicnets.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess

MOST_TIMES = 3  # times a forward and backward pass
MOST_MEMORY = 2048  # MiB


def classifier_of(name: str, tta: str) -> tuple[Classifier, Tensor]:
    """A classifier with fresh weights, and an image of random pixels: uint8 (3, 224, 224)."""
    generator = torch.Generator().manual_seed(0)
    preprocess = Preprocess(input_size=(224, 224), mean=IMAGENET_MEAN, std=IMAGENET_STD)
    model = create(name, num_classes=10, generator=generator).eval().to(memory_format=torch.channels_last)
    image = torch.randint(0, 256, (3, 224, 224), dtype=torch.uint8, generator=generator)
    classes = tuple("abcdefghij")
    tta_name = "flip" if tta == "flip" else "none"
    return Classifier(model=model, model_name=name, classes=classes, preprocess=preprocess, tta=tta_name), image


def seconds(name: str, turns: int) -> tuple[float, float, float]:
    """Medians over the turns: a Grad-CAM map, a forward and backward pass, and the ratio of a turn's two."""
    classifier, image = classifier_of(name, "none")
    maps, passes = [], []
    for _ in range(turns + 1):
        begun = time.perf_counter()
        explain(classifier, image, verdict=False)
        between = time.perf_counter()
        classifier.model(classifier.views(image[None])[0])[0, 0].backward()
        passes.append(time.perf_counter() - between)
        maps.append(between - begun)
        classifier.model.zero_grad()
    ratios = [a / b for a, b in zip(maps[1:], passes[1:], strict=True)]
    return statistics.median(maps[1:]), statistics.median(passes[1:]), statistics.median(ratios)


def measure_memory(tta: str) -> None:
    """Print the peak memory of this process, in MiB, after one map by integrated gradients."""
    classifier, image = classifier_of("densenet201", tta)
    explain(classifier, image, method="integrated-gradients", verdict=False)
    print(peak_mebibytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--memory", choices=("none", "flip"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        measure_memory(options.memory)
        return
    rows, most = [], 0.0
    for name in PEERS:
        a_map, a_pass, ratio = seconds(name, options.turns)
        rows.append([name, f"{1000 * a_map:.0f}", f"{1000 * a_pass:.0f}", f"{ratio:.2f}"])
        most = max(most, ratio)
    peaks = {
        tta: float(subprocess.check_output([sys.executable, __file__, "--memory", tta])) for tta in ("none", "flip")
    }
    write_results(
        "explain",
        "What a map costs: Grad-CAM beside a forward and backward pass of one image",
        ("network, 224 px", "Grad-CAM, ms", "forward and backward, ms", "ratio"),
        rows,
        [
            f"Medians of {options.turns} turns. Integrated gradients of DenseNet-201 in a process of their own: a peak",
            f"of {peaks['none']:,.0f} MiB, and {peaks['flip']:,.0f} MiB if the classifier averages over mirror images.",
        ],
    )
    if most > MOST_TIMES or max(peaks.values()) > MOST_MEMORY:
        sys.exit(f"More than {MOST_TIMES} passes, or more than {MOST_MEMORY:,} MiB.")


if __name__ == "__main__":
    main()
