"""Fashion-MNIST, a network of every family with its shipped recipe, over several seeds: the whole table in one command.

Each run is `classicnets train` in a process of its own with an empty cache, from raw files to the report. What was
measured is kept in results/fashion_mnist.csv, a line a run, so that a command that was stopped goes on where it was;
`--fresh` measures again. `--add RUN` takes a run that is finished already, where its recipe is the shipped one.
`--changes` trains with one thing changed, and so shows what each of them gives or costs.

    python benchmarks/fashion_mnist.py --seeds 0 1 2
    python benchmarks/fashion_mnist.py --networks alexnet_cifar --changes as-shipped fp32 full-size sgd
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path

from report import RESULTS, write_results

from classicnets.data.sources.fashion_mnist import SYSTEM_FOLDER, find_fashion_mnist
from classicnets.models.catalog import family_of
from classicnets.training.recipe.choose import choose_recipe
from classicnets.training.recipe.files import load_recipe, with_settings
from classicnets.training.run.folder import Run

TABLE = RESULTS / "fashion_mnist.csv"
TEXTBOOK = {
    "alexnet_cifar": 0.883,
    "vgg13_half_cifar": 0.920,
    "nin_half_cifar_bn": 0.790,
    "googlenet_cifar": 0.886,
    "resnet14_wide_cifar": 0.893,
    "densenet_bc40_k12_cifar": 0.885,
}
"""A network of each family, and what Dive into Deep Learning's of that family reaches in its ten epochs, enlarged."""

CHANGES: dict[str, list[str]] = {
    "as-shipped": [],
    "fp32": ["precision=fp32"],
    "full-size": ["progressive.start=1.0", "progressive.until=0.0"],
    "sgd": ["optim.name=sgd", "optim.lr=0.1", "optim.weight_decay=5e-4"],
}
"""One thing of the recipe changed: the arithmetic, the sizes of the images, the optimizer with the rate it likes."""


@dataclass(frozen=True)
class Entry:
    """A run that was measured. `minutes` are from the first batch to the report, on `threads` threads."""

    network: str
    change: str
    seed: int
    accuracy: float
    minutes: float
    epochs: int
    threads: int
    date: str

    @classmethod
    def of(cls, run: Run, change: str) -> Entry:
        """The entry of a finished run."""
        events = [json.loads(line) for line in (run.path / "events.jsonl").read_text("utf-8").splitlines()]
        if [event["event"] for event in events].count("started") != 1 or events[-1]["event"] != "finished":
            raise SystemExit(f"{run.path} did not run to its end in one go: its minutes are not known.")
        begun, ended = (datetime.strptime(e["time"], "%Y-%m-%dT%H:%M:%S%z") for e in (events[0], events[-1]))
        recipe, environment = run.recipe, run.environment
        return cls(
            network=recipe.model.name,
            change=change,
            seed=recipe.seed,
            accuracy=round(events[-1]["top1"], 4),
            minutes=round((ended - begun).total_seconds() / 60, 1),
            epochs=recipe.epochs,
            threads=environment["threads"],
            date=str(ended.date()),
        )


def measure(network: str, seed: int, change: str) -> Entry:
    """Train once, and measure on the test images."""
    with tempfile.TemporaryDirectory() as folder:
        if (found := find_fashion_mnist()) and found != SYSTEM_FOLDER:  # what was downloaded before is not waited for
            shutil.copytree(found, f"{folder}/cache/fashion-mnist")
        command = [sys.executable, "-m", "classicnets", "train", network, "fashion-mnist", "--seed", str(seed)]
        command += ["--out", f"{folder}/run", *(word for setting in CHANGES[change] for word in ("--set", setting))]
        subprocess.run(command, check=True, env={**os.environ, "CLASSICNETS_CACHE": f"{folder}/cache"})
        return Entry.of(Run.open(f"{folder}/run"), change)


def finished(path: Path) -> Entry:
    """The entry of a run made elsewhere, which has to have the shipped recipe, or that with one of the changes."""
    run = Run.open(path)
    family = family_of(run.recipe.model.name).name
    name, _ = choose_recipe(num_train=54_000, image_size=28, family=family, batch_norm=True, pretrained=False)
    for change, settings in CHANGES.items():
        wanted = with_settings(load_recipe(name), settings)
        own = {
            "image_size": 28, "seed": run.recipe.seed, "data": run.recipe.data,
            "model": wanted.model.model_copy(update={"name": run.recipe.model.name}),
        }  # fmt: skip
        if run.recipe == wanted.model_copy(update=own):
            return Entry.of(run, change)
    raise SystemExit(f"{path} was not trained with the shipped recipe, nor with one of the changes.")


def read_table() -> list[Entry]:
    if not TABLE.exists():
        return []
    with TABLE.open(newline="") as file:
        return [
            Entry(
                row["network"], row["change"], int(row["seed"]), float(row["accuracy"]), float(row["minutes"]),
                int(row["epochs"]), int(row["threads"]), row["date"],
            )
            for row in csv.DictReader(file)
        ]  # fmt: skip


def record(entry: Entry) -> None:
    """Put the entry in the table, in the place of an earlier one. Another of these commands may have written since."""
    entries = {(e.network, e.change, e.seed): e for e in [*read_table(), entry]}
    with TABLE.open("w", newline="") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(Entry)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(entries[key]) for key in sorted(entries))


def summary(entries: list[Entry]) -> list[tuple[object, ...]]:
    """A row for every network and change."""
    rows = []
    for network, textbook in TEXTBOOK.items():
        for change in CHANGES:
            found = [e for e in entries if (e.network, e.change) == (network, change)]
            if not found:
                continue
            accuracies = [e.accuracy for e in found]
            spread = f" ± {statistics.stdev(accuracies):.4f}" if len(found) > 1 else ""
            minutes = ", ".join(f"{e.minutes:.1f}" + (" (one thread)" if e.threads == 1 else "") for e in found)
            rows.append(
                (network, change, len(found), f"{statistics.mean(accuracies):.4f}{spread}", found[0].epochs, minutes,
                 f"{textbook:.3f}")
            )  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=list(TEXTBOOK), choices=list(TEXTBOOK))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--changes", nargs="+", default=["as-shipped"], choices=list(CHANGES))
    parser.add_argument("--fresh", action="store_true", help="measure again what was measured before")
    parser.add_argument("--add", type=Path, nargs="+", default=[], metavar="RUN", help="only add these finished runs")
    options = parser.parse_args()
    if options.add:
        for path in options.add:
            record(finished(path))
    else:
        for seed, change, network in itertools.product(options.seeds, options.changes, options.networks):
            known = {(e.network, e.change, e.seed) for e in read_table()}
            if options.fresh or (network, change, seed) not in known:
                record(measure(network, seed, change))
    write_results(
        "fashion_mnist",
        "Fashion-MNIST, a network of every family with its shipped recipe",
        ("network", "recipe", "seeds", "test accuracy", "epochs", "minutes of each", "textbook, 10 epochs"),
        summary(read_table()),
        [
            "Two threads on two cores where nothing else is said; on one thread, two runs shared the two cores.",
            "The test images choose nothing: the best epoch is chosen on a tenth of the training images. Each run is",
            "a line of `fashion_mnist.csv`. The textbook is Dive into Deep Learning, whose networks take the images",
            "enlarged to 96 or 224 pixels. Of the recipes, fp32 is the shipped one without bf16, full-size without",
            "smaller images at first, sgd with SGD at a rate of 0.1 in the place of Muon.",
        ],
    )


if __name__ == "__main__":
    main()
