"""Fashion-MNIST from raw files with the shipped recipe, in one command, over several seeds.

Each run is `classicnets train` in a process of its own with an empty cache, so that the minutes count everything a
user waits for: reading the files, training, measuring the 10,000 test images, and the report.

    python benchmarks/fashion_mnist.py --model resnet20_cifar --seeds 0 1 2
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from report import write_results

from classicnets.data.fashion_mnist import SYSTEM_FOLDER, find_fashion_mnist


def measure(model: str, seed: int, settings: list[str]) -> tuple[float, float]:
    """Train once: (test accuracy, minutes)."""
    with tempfile.TemporaryDirectory() as folder:
        if (found := find_fashion_mnist()) and found != SYSTEM_FOLDER:  # what was downloaded before is not waited for
            shutil.copytree(found, f"{folder}/cache/fashion-mnist")
        command = [sys.executable, "-m", "classicnets", "train", model, "fashion-mnist", "--seed", str(seed), "--json"]
        command += ["--out", f"{folder}/run", *(part for s in settings for part in ("--set", s))]
        begun = time.perf_counter()
        done = subprocess.run(
            command, check=True, stdout=subprocess.PIPE, env={**os.environ, "CLASSICNETS_CACHE": f"{folder}/cache"}
        )
        return json.loads(done.stdout)["top1"], (time.perf_counter() - begun) / 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="resnet20_cifar")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings")
    options = parser.parse_args()
    measured = {seed: measure(options.model, seed, options.settings) for seed in options.seeds}
    rows = [(seed, f"{accuracy:.4f}", f"{minutes:.1f}") for seed, (accuracy, minutes) in measured.items()]
    accuracies, minutes = zip(*measured.values(), strict=True)
    spread = statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0
    rows.append(("mean", f"{statistics.mean(accuracies):.4f} ± {spread:.4f}", f"{statistics.mean(minutes):.1f}"))
    write_results(
        f"fashion_mnist_{options.model}",
        f"Fashion-MNIST, `{options.model}`, the shipped recipe",
        ("seed", "test accuracy", "minutes, from raw files to report"),
        rows,
        ["The test images choose nothing: the best epoch is chosen on a tenth of the training images."],
    )


if __name__ == "__main__":
    main()
