"""Small sets of photos, ResNet-18 from scratch: the default recipe beside a plain torchvision script and timm.

Every contender gets the same minutes, from its start to its answer. A FOLDER has train/CLASS/* and test/CLASS/*; its
name is the name of the set. Each run adds a line to results/photos.json, and runs that are there already are left out,
so that the same command continues a benchmark that was stopped. Without a FOLDER, only the tables are written again.

    python benchmarks/photos.py FOLDER... --minutes 2 --seeds 0 1 2
    python benchmarks/photos.py FOLDER... --minutes 2 --ablate ["full size throughout" ...]
    python benchmarks/photos.py FOLDER... --minutes 1 --weights resnet18.pth        # in torchvision's names
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from report import RESULTS, write_results

from classicnets.evaluation.metrics import wilson_interval

ROWS = RESULTS / "photos.json"
OURS, THIRD = "classicnets", "classicnets, 1/3 of the minutes"
TUNED = "trained weights"
PEERS = {"torchvision": "plain torchvision", "timm": "timm"}
ASIDE = frozenset({"natural"})  # no rule was decided by these sets; they are not in the means
COLUMNS = (
    "set", "contender", "minutes", "seeds", "pixels", "epochs", "mean accuracy", "range over seeds",
    "interval of one run", "ahead of the better peer", "seconds",
)  # fmt: skip

BASE = {
    "image_size": "64",
    "batch_size": "32",
    "optim.name": "adamw",
    "optim.lr": "0.001",
    "optim.weight_decay": "0.05",
    "ema": "0",
    "progressive.start": "0.7",
    "augment.scale": "[0.5,1]",
    "augment.rotate": "12",
    "augment.jitter": "0.3",
    "data.val_fraction": "0.1",
    "flip_at_test": "true",
}
"""What the ablation starts from; what is not here is as in the recipe `photos`."""

SGD = {"optim.name": "sgd", "optim.weight_decay": "5e-4"}
ABLATION: dict[str, dict[str, str]] = {
    "base": {},
    "SGD, batch 16, rate .05": {**SGD, "batch_size": "16", "optim.lr": "0.05"},
    "SGD, batch 32, rate .1": {**SGD, "optim.lr": "0.1"},
    "full size throughout": {"progressive.start": "1"},
    "batch 16": {"batch_size": "16"},
    "no rotation, no jitter": {"augment.rotate": "0", "augment.jitter": "0"},
    "rate .002": {"optim.lr": "0.002"},
    "96 pixels": {"image_size": "96"},
    "crops from .25": {"augment.scale": "[0.25,1]"},
    "rate .0005": {"optim.lr": "0.0005"},
    "crops from .08": {"augment.scale": "[0.08,1]"},
    "average .98": {"ema": "0.98"},
    "5 % for validation": {"data.val_fraction": "0.05"},
    "no mirror in tests": {"flip_at_test": "false"},
}
"""What is changed, one thing at a time."""

NOTES = (
    "The mean over seeds, their range, and the Wilson interval of one run's test images. The peers have the size that",
    "the default chose; their schedule follows the clock, and they train on the validation images too. Seconds are as",
    "measured, from start to answer: a default run fits its epochs to the speed of its first steps. One core; another",
    "program trained on the other core. Ours kept the epoch with the lowest validation loss; in `natural`, and by",
    "default since then, the last one.",
)
ABLATION_NOTE = (
    "Test accuracy; in brackets, the difference to the base in points. Epochs are what fitted. Measured on a slower",
    "machine (an AMD EPYC with AVX2, in fp32) and other drawings of the sets.",
)

Row = dict[str, Any]


def ours(
    folder: Path, minutes: float, seed: int, threads: int, settings: Mapping[str, str], weights: Path | None = None
) -> Row:
    """Train with the recipe that the data choose, and with these settings."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "classicnets", "train", "resnet18", str(folder), "--seed", str(seed), "--json"]
        command += ["--minutes", f"{minutes:.3f}", "--threads", str(threads), "--out", f"{scratch}/run"]
        for key, value in settings.items():
            command += ["--set", f"{key}={value}"]
        command += ["--weights", str(weights)] if weights else []
        answer = _answer(command, threads, CLASSICNETS_CACHE=f"{scratch}/cache")
        recipe = tomllib.loads(Path(scratch, "run", "recipe.toml").read_text("utf-8"))
    chosen = {key: recipe[key] for key in ("image_size", "epochs", "batch_size")}
    return {**chosen, **{key: answer[key] for key in ("top1", "num_images", "seconds")}}


def peer(
    folder: Path, minutes: float, seed: int, threads: int, recipe: str, size: int, weights: Path | None = None
) -> Row:
    """Train as another library does."""
    script = Path(__file__).with_name("photos_peers.py")
    command = [sys.executable, str(script), str(folder), "--recipe", recipe, "--size", str(size)]
    command += ["--minutes", str(minutes), "--seed", str(seed), "--threads", str(threads)]
    command += ["--weights", str(weights)] if weights else []
    return _answer(command, threads)


def _answer(command: list[str], threads: int, **environment: str) -> Row:
    variables = {**os.environ, "OMP_NUM_THREADS": str(threads), **environment}
    begun = time.perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=variables)
    return {**json.loads(done.stdout), "seconds": round(time.perf_counter() - begun, 1)}


def read_rows() -> list[Row]:
    """The runs so far."""
    return json.loads(ROWS.read_text("utf-8")) if ROWS.exists() else []  # type: ignore[no-any-return]


def run_missing(work: Callable[[], Row], **key: Any) -> Row:
    """The row with this key; if there is none, `work` is run and its row is kept."""
    rows = read_rows()
    for row in rows:
        if all(row[name] == value for name, value in key.items()):
            return row
    rows.append({**key, **work()})
    ROWS.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n", "utf-8")
    print(rows[-1], flush=True)
    return rows[-1]


def compare(folder: Path, minutes: float, seed: int, threads: int, sizes: Iterable[int]) -> None:
    """Run every contender on a set: the peers at the size that ours chooses, and at further sizes."""
    key = {"set": folder.name, "minutes": minutes, "seed": seed, "threads": threads}
    chosen = run_missing(lambda: ours(folder, minutes, seed, threads, {}), contender=OURS, **key)
    try:
        run_missing(lambda: ours(folder, minutes / 3, seed, threads, {}), contender=THIRD, **key)
    except subprocess.CalledProcessError:
        print(f"{folder.name}: {minutes / 3:.2g} minutes are too few for an epoch")
    for size in (chosen["image_size"], *sizes):
        for recipe, name in PEERS.items():
            run_missing(
                lambda recipe=recipe, size=size: peer(folder, minutes, seed, threads, recipe, size),
                contender=f"{name}, {size} px",
                **key,
            )


def compare_tuned(folder: Path, minutes: float, seed: int, threads: int, weights: Path) -> None:
    """Fine-tune the same weights with ours and with the plain script, at the size that ours chooses."""
    key = {"set": folder.name, "minutes": minutes, "seed": seed, "threads": threads}
    chosen = run_missing(
        lambda: ours(folder, minutes, seed, threads, {}, weights), contender=f"{TUNED}: classicnets", **key
    )
    size = chosen["image_size"]
    run_missing(
        lambda: peer(folder, minutes, seed, threads, "torchvision", size, weights),
        contender=f"{TUNED}: plain torchvision, {size} px",
        **key,
    )


def ablate(names: Iterable[str], folders: Iterable[Path], minutes: float, seed: int, threads: int) -> None:
    """Train with these changes of the base on the sets."""
    for name, folder in itertools.product(names, folders):
        run_missing(
            lambda folder=folder, name=name: ours(folder, minutes, seed, threads, {**BASE, **ABLATION[name]}),
            set=folder.name,
            contender=f"ablation: {name}",
            minutes=minutes,
            seed=seed,
            threads=threads,
        )


def accuracy(rows: list[Row]) -> float:
    """The mean accuracy of runs."""
    return statistics.mean(row["top1"] for row in rows)


def interval(rows: list[Row]) -> str:
    """The 95 % interval of one run's test images, at the runs' mean accuracy (Wilson 1927)."""
    images = rows[0]["num_images"]
    low, high = wilson_interval(accuracy(rows) * images, images)
    return f"{low:.3f} to {high:.3f}"


def comparison(rows: list[Row]) -> list[list[str]]:
    """A line for each set and contender: mean, range and interval, and the distance to the better peer."""
    lines = []
    for (name, minutes), groups in _contenders(rows):
        ahead = leads(groups)
        for who, group in groups.items():
            tops = [run["top1"] for run in group]
            lines.append([
                name, who, f"{minutes:g}", str(len(group)), _span(group, "image_size"), _span(group, "epochs"),
                f"{accuracy(group):.3f}", f"{min(tops):.3f} to {max(tops):.3f}",
                interval(group), f"{ahead[who]:+.3f}" if who in ahead else "", _span(group, "seconds"),
            ])  # fmt: skip
    return lines


def _contenders(rows: list[Row]) -> Iterable[tuple[tuple[str, float], dict[str, list[Row]]]]:
    """The runs of each contender, for each set and minutes.

    Ours come first. The size that ours chooses may change with the seed; a peer's runs at that size are one contender.
    """
    for name, minutes in sorted({(row["set"], row["minutes"]) for row in rows}):
        runs = [row for row in rows if (row["set"], row["minutes"]) == (name, minutes)]
        chosen = {run["seed"]: run["image_size"] for run in runs if run["contender"].endswith(OURS)}
        groups: dict[str, list[Row]] = {}
        for run in runs:
            who = run["contender"]
            if run["image_size"] == chosen.get(run["seed"]):
                who = who.removesuffix(f", {run['image_size']} px")
            groups.setdefault(who, []).append(run)
        yield (name, minutes), {who: groups[who] for who in sorted(groups, key=lambda who: "classicnets" not in who)}


def leads(groups: Mapping[str, list[Row]]) -> dict[str, float]:
    """How far each contender of ours is ahead of the better peer, as a difference of mean accuracies."""
    peers = [accuracy(group) for who, group in groups.items() if "classicnets" not in who]
    return {who: accuracy(group) - max(peers) for who, group in groups.items() if peers and "classicnets" in who}


def mean_leads(rows: list[Row]) -> list[str]:
    """A sentence for each contender of ours: its lead in the mean of the sets that were not kept aside."""
    found: dict[tuple[float, str], list[float]] = {}
    for (name, minutes), groups in _contenders(rows):
        for who, ahead in leads(groups).items() if name not in ASIDE else ():
            found.setdefault((minutes, who), []).append(100 * ahead)
    return [
        f"- {who} ({minutes:g} minutes): {statistics.mean(points):+.1f} points beside the better peer, in the mean of "
        f"{len(points)} sets."
        for (minutes, who), points in found.items()
    ]


def fine_tuning(rows: list[Row]) -> list[str]:
    """Lines of a table like the first one, of runs that began with trained weights."""
    lines = ["", "## From trained weights", "", "The same ResNet-18 for both; ours takes the recipe `finetune`.", ""]
    lines += [f"| {' | '.join(COLUMNS)} |", "| --- |" + " --- |" * (len(COLUMNS) - 1)]
    return [*lines, *(f"| {' | '.join(cells)} |" for cells in comparison(rows))] if rows else []


def ablation(rows: list[Row]) -> list[str]:
    """Lines of a table: the accuracy with each change on each set, and the difference to the base in the same seeds."""
    columns = sorted({(row["set"], row["minutes"]) for row in rows})
    heads = [f"{name}, {minutes:g} min" for name, minutes in columns]
    lines = ["", "## One change at a time", ""]
    lines += [*ABLATION_NOTE, ""]
    lines += [f"| change | {' | '.join(heads)} |", "| --- |" + " --- |" * len(columns)]
    for who in _unique(rows, "contender"):
        cells = []
        for column in columns:
            here = [row for row in rows if (row["set"], row["minutes"]) == column]
            mine = [row for row in here if row["contender"] == who]
            seeds = {row["seed"] for row in mine}
            base = [row for row in here if row["contender"] == "ablation: base" and row["seed"] in seeds]
            if not mine or not base:
                cells.append("")
                continue
            ahead = 100 * (accuracy(mine) - accuracy(base))
            cells.append(f"{accuracy(mine):.3f} ({ahead:+.1f}), {_span(mine, 'epochs')} epochs")
        lines.append(f"| {who.removeprefix('ablation: ')} | {' | '.join(cells)} |")
    return lines


def _unique(rows: list[Row], key: str) -> list[str]:
    return list(dict.fromkeys(row[key] for row in rows))


def _span(rows: list[Row], key: str) -> str:
    low, high = min(row[key] for row in rows), max(row[key] for row in rows)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="*", metavar="FOLDER")
    parser.add_argument("--minutes", type=float, default=2)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sizes", type=int, nargs="*", default=[224], help="further sizes for the peers")
    parser.add_argument("--ablate", nargs="*", choices=ABLATION, help="changes of the recipe; without any, all of them")
    parser.add_argument("--weights", type=Path, help="fine-tune this ResNet-18 instead of training from scratch")
    options = parser.parse_args()
    for seed in options.seeds:
        if options.ablate is not None:
            ablate(options.ablate or ABLATION, options.folders, options.minutes, seed, options.threads)
            continue
        for folder in options.folders:
            if options.weights:
                compare_tuned(folder, options.minutes, seed, options.threads, options.weights)
                continue
            compare(folder, options.minutes, seed, options.threads, options.sizes)
    rows = read_rows()
    ablated = [row for row in rows if row["contender"].startswith("ablation")]
    tuned = [row for row in rows if row["contender"].startswith(TUNED)]
    compared = [row for row in rows if row not in ablated and row not in tuned]
    aside = (
        f"Kept aside until the end, and not in these means: {', '.join(sorted(ASIDE))}. Its short run gave the "
        "idea of the rule for few steps on small images; other sets decided it."
    )
    write_results(
        "photos",
        "Small sets of photos, ResNet-18 from scratch in the same minutes",
        COLUMNS,
        comparison(compared),
        [*NOTES, "", *mean_leads(compared), "", aside, *fine_tuning(tuned), *ablation(ablated)],
    )


if __name__ == "__main__":
    main()
