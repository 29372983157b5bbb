"""Hands that show digits: persons the network never saw, and beside it the random split that flatters.

Takes a CSV with `path,label,group`, `group` being the person. The same recipe is trained twice from scratch: on a split
by person, and on a split that ignores persons, so that pictures of the same hand stand on both sides.

    python benchmarks/sign_digits.py [INDEX_CSV] --seeds 0 1 2
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from report import SIGN_DIGITS, write_results


def measure(source: Path, model: str, seed: int, settings: list[str]) -> tuple[float, int, float]:
    """Train once: (test accuracy, test images, minutes)."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "classicnets", "train", model, f"csv:{source}", "--seed", str(seed), "--json"]
        command += ["--out", f"{folder}/run"]
        for setting in (f"data.split_seed={seed}", *settings):
            command += ["--set", setting]
        begun = time.perf_counter()
        done = subprocess.run(
            command, check=True, stdout=subprocess.PIPE, env={**os.environ, "CLASSICNETS_CACHE": f"{folder}/cache"}
        )
        answer = json.loads(done.stdout)
        return answer["top1"], answer["num_images"], (time.perf_counter() - begun) / 60


def without_groups(index: Path, folder: Path) -> Path:
    """A copy of the table without its `group` column and with absolute paths."""
    with index.open(newline="") as file:
        rows = [(index.parent.resolve() / row["path"], row["label"]) for row in csv.DictReader(file)]
    copy = folder / "random-split.csv"
    with copy.open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label"), *rows])
    return copy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("index", type=Path, nargs="?", default=SIGN_DIGITS / "index.csv")
    parser.add_argument("--model", default="resnet20_cifar")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--seeds-beside", type=int, nargs="+", default=[0], help="those of the random split")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        splits = {
            "by person": (options.index, options.seeds),
            "random": (without_groups(options.index, Path(folder)), options.seeds_beside),
        }
        for split, (source, seeds) in splits.items():
            runs = [measure(source, options.model, seed, options.settings) for seed in seeds]
            rows += [
                (split, seed, images, f"{accuracy:.4f}", f"{minutes:.1f}")
                for seed, (accuracy, images, minutes) in zip(seeds, runs, strict=True)
            ]
            accuracies, _, minutes = zip(*runs, strict=True)
            rows.append((split, "mean", "", f"{statistics.mean(accuracies):.4f}", f"{statistics.mean(minutes):.1f}"))
    write_results(
        "sign_digits",
        f"Sign digits, `{options.model}` from scratch, the shipped recipe",
        ("split", "seed", "test images", "test accuracy", "minutes, from files to report"),
        rows,
        ["Each seed draws another split as well as other first weights."],
    )


if __name__ == "__main__":
    main()
