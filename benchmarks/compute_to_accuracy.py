"""Training multiply-adds until a test accuracy, of the shipped recipes, of changes of them, and of the peers' ways.

A run's multiply-adds are those of its forward passes times three: the gradients of inputs and of weights cost as much
again each. They are counted from the network, at the image size of each epoch; augmentation, validation and the
optimizer's own arithmetic are left out. The rate of every run falls to its end, so a budget is a run of its own:
--epochs gives a family of them, and the smallest whose final accuracy reaches the target counts.

    python benchmarks/compute_to_accuracy.py --networks resnet14_wide_cifar --epochs 3 5 8 --seeds 0 1 2
    python benchmarks/compute_to_accuracy.py --set cifar10 --data CIFAR10_FOLDER --ways shipped torchvision timm
    python benchmarks/compute_to_accuracy.py --images 12000 --change init.whiten=true --epochs 4    # a quick try

Each run is a line of results/compute_to_accuracy.csv and is measured once; a run that was stopped goes on from its
last epoch in --out. What results/fashion_mnist.csv has of the shipped recipes counts too. The test images choose
nothing: the best epoch is chosen on the validation images.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import itertools
import shutil
import statistics
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import fashion_mnist
from report import RESULTS, write_results

from classicnets.analysis.summary import meta_net
from classicnets.analysis.trace import trace
from classicnets.data import Data, load_data
from classicnets.data.pipeline.loader import steps_per_epoch
from classicnets.evaluation import evaluate
from classicnets.models.catalog import create, family_of
from classicnets.training.entry import reopen, start
from classicnets.training.recipe.choose import choose_recipe
from classicnets.training.recipe.files import load_recipe, with_settings
from classicnets.training.recipe.schema import Recipe
from classicnets.training.step.loop import image_size_at

TABLE = RESULTS / "compute_to_accuracy.csv"
NETWORKS = tuple(fashion_mnist.TEXTBOOK)
_FEWER_TO_VALIDATE = 1_000  # with --images
_SEEDS = 3  # a single one that reaches a target may be luck


class Set(NamedTuple):
    """Images, and the test accuracies to reach on them."""

    targets: tuple[float, ...]
    learn: int  # images to train and validate on
    side: int
    channels: int

    def train(self, val_fraction: float = 0.1) -> int:
        """How many of them are trained on."""
        return round(self.learn * (1 - val_fraction))


SETS = {
    "fashion-mnist": Set(targets=(0.93, 0.94, 0.95), learn=60_000, side=28, channels=1),
    "cifar10": Set(targets=(0.85, 0.90, 0.92, 0.93), learn=50_000, side=32, channels=3),
}

SHIPPED = "shipped"
PEERS = {
    # references/classification/train.py: --lr 0.1 --wd 1e-4 --lr-step-size 30 --lr-gamma 0.1, 90 epochs, 8 x 32 images
    "torchvision": (
        "optim.name=sgd", "optim.lr=0.1", "optim.nesterov=false", "optim.weight_decay=1e-4", "batch_size=256",
        "schedule.name=step", "schedule.warmup=0", "schedule.milestones=[0.3333, 0.6667]",
        "augment.crop=resized", "augment.scale=[0.08, 1.0]", "augment.flip=true",
    ),
    # train.py --opt adamw --lr 1e-3 --weight-decay 0.05 --sched cosine --smoothing 0.1 --aa rand-m6-mstd0.5-inc1
    "timm": (
        "optim.name=adamw", "optim.lr=1e-3", "optim.weight_decay=0.05", "schedule.name=cosine", "batch_size=128",
        "loss.label_smoothing=0.1", "augment.policy=rand", "augment.policy_magnitude=6",
        "augment.crop=resized", "augment.scale=[0.08, 1.0]", "augment.flip=true",
    ),
}  # fmt: skip
"""The peers' published flags in our keys: their optimizer, schedule and augmentation around the same network."""


@dataclass(frozen=True)
class Cell:
    """A run: what was trained how on how many images, what it cost, and the accuracy that it ended with."""

    set: str
    images: int
    network: str
    way: str
    changes: str
    epochs: int
    seed: int
    multiply_adds: int
    accuracy: float
    date: str

    @property
    def group(self) -> tuple[str, int, str, str, str, int]:
        """What the runs of all seeds have in common."""
        return self.set, self.images, self.network, self.way, self.changes, self.epochs


def recipe_of(way: str, network: str, images: Set, changes: Iterable[str], epochs: int | None) -> Recipe:
    """The recipe of a way to train `network`, with the changes, resolved as far as the arithmetic needs it."""
    if way in PEERS:
        recipe = with_settings(Recipe(), PEERS[way])
    else:
        family = family_of(network).name
        chosen, _ = choose_recipe(
            num_train=SETS["fashion-mnist"].train(), image_size=28, family=family, batch_norm=True, pretrained=False
        )
        recipe = load_recipe(chosen)
    resolved = [f"model.name={network}", f"image_size={images.side}", *([f"epochs={epochs}"] if epochs else [])]
    return with_settings(recipe, [*changes, *resolved])


def multiply_adds(recipe: Recipe, images: int, channels: int) -> int:
    """Return the multiply-adds of a whole training on so many images: three forward passes for each."""
    assert recipe.image_size is not None
    full = recipe.image_size, recipe.image_size
    switches = tuple(recipe.model.switches.items())
    smallest = create(recipe.model.name, device="meta", **recipe.model.switches).config.min_size
    sides = [
        image_size_at(recipe.progressive, full, epoch / recipe.epochs, smallest)[0] for epoch in range(recipe.epochs)
    ]
    an_epoch = steps_per_epoch(images, recipe.batch_size) * recipe.batch_size
    return 3 * an_epoch * sum(_forward(recipe.model.name, _hashable(switches), channels, side) for side in sides)


def _hashable(value: object) -> object:
    return tuple(map(_hashable, value)) if isinstance(value, list | tuple) else value


@cache
def _forward(network: str, switches: object, channels: int, side: int) -> int:
    """The multiply-adds of one image in training, auxiliary classifiers included."""
    options: dict[str, object] = dict(switches)  # type: ignore[call-overload]
    net = create(network, num_classes=10, in_channels=channels, device="meta", **options)
    _, twin, image = meta_net(net, image_size=side, in_channels=None, num_classes=None)
    return sum(op.macs for op in trace(twin, image, run=twin.training_outputs))


def measure(cell: Cell, data: Data, recipe: Recipe, out: Path, threads: int) -> Cell:
    """Train, or go on with a training that was stopped, and measure on the test images once."""
    changes = hashlib.sha256(cell.changes.encode()).hexdigest()[:8]  # they may be longer than a file name can be
    run = out / "-".join(map(str, (*replace(cell, changes=changes).group, cell.seed)))
    if (run / "recipe.toml").is_file():
        job = reopen(run, data=data, threads=threads)
    else:
        job = start(cell.network, data, recipe=recipe, settings=[f"seed={cell.seed}"], out=run, threads=threads)
    job.measure = False  # no report is drawn
    for _ in job:
        pass
    test = data.test
    assert test is not None, "both sets have test images"
    accuracy = evaluate(job.run.classifier, test, data="test").top1
    shutil.rmtree(run)
    return replace(cell, accuracy=round(accuracy, 4), date=time.strftime("%Y-%m-%d"))


def fewer(data: Data, images: int) -> Data:
    """The data with so many training images, and fewer to validate on; all test images stay."""
    if images >= len(data.train):
        return data
    return replace(data, train=data.train.sample(images), val=data.val.sample(_FEWER_TO_VALIDATE))


def read_cells() -> list[Cell]:
    """What was measured here."""
    if not TABLE.exists():
        return []
    with TABLE.open(newline="") as file:
        return [
            Cell(
                row["set"], int(row["images"]), row["network"], row["way"], row["changes"], int(row["epochs"]),
                int(row["seed"]), int(row["multiply_adds"]), float(row["accuracy"]), row["date"],
            )
            for row in csv.DictReader(file)
        ]  # fmt: skip


def record(cell: Cell) -> None:
    """Add the cell to the table. Another of these commands may have written since."""
    cells = {(*c.group, c.seed): c for c in [*read_cells(), cell]}
    with TABLE.open("w", newline="") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(Cell)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(cells[key]) for key in sorted(cells))


def shipped_before() -> Iterator[Cell]:
    """The runs of results/fashion_mnist.csv with the shipped recipes."""
    name, images = "fashion-mnist", SETS["fashion-mnist"]
    for entry in fashion_mnist.read_table():
        if entry.change == "as-shipped":
            recipe = recipe_of(SHIPPED, entry.network, images, (), entry.epochs)
            cost = multiply_adds(recipe, images.train(), images.channels)
            yield Cell(
                name, images.train(), entry.network, SHIPPED, "", entry.epochs, entry.seed, cost, entry.accuracy,
                entry.date,
            )  # fmt: skip


class Budget(NamedTuple):
    """The runs of all seeds that have the same budget."""

    cells: list[Cell]

    @property
    def accuracy(self) -> float:
        """The mean of the final test accuracies."""
        return statistics.mean(cell.accuracy for cell in self.cells)

    @property
    def tera(self) -> float:
        """The multiply-adds of a run, in 10^12."""
        return self.cells[0].multiply_adds / 1e12

    @property
    def columns(self) -> list[str]:
        """Network, way, changes, epochs, multiply-adds, accuracy and seeds, as in the tables."""
        cell = self.cells[0]
        accuracies = [c.accuracy for c in self.cells]
        spread = f" ± {statistics.stdev(accuracies):.4f}" if len(accuracies) > 1 else ""
        return [
            cell.network, cell.way, cell.changes, str(cell.epochs), f"{self.tera:.2f}", f"{self.accuracy:.4f}{spread}",
            str(len(accuracies)),
        ]  # fmt: skip


def budgets(cells: Iterable[Cell]) -> list[Budget]:
    """The cells by budget, in order."""
    ordered = sorted(cells, key=lambda cell: (*cell.group, cell.seed))
    return [Budget(list(group)) for _, group in itertools.groupby(ordered, key=lambda cell: cell.group)]


def cheapest(found: list[Budget]) -> Iterator[list[str]]:
    """A row for each set, target and way: the budget with the fewest multiply-adds that reaches it."""
    for name, images in SETS.items():
        for target in images.targets:
            here = [b for b in found if b.cells[0].set == name and b.cells[0].images >= images.train()]
            for way in (SHIPPED, *PEERS):
                tried = [b for b in here if b.cells[0].way == way]
                enough = [b for b in tried if len(b.cells) >= _SEEDS]
                reached = min((b for b in enough if b.accuracy >= target), key=lambda b: b.tera, default=None)
                if reached:
                    yield [name, f"{target:.2f}", *reached.columns]
                elif tried:
                    yield [name, f"{target:.2f}", "", way, "", "", "not reached" if enough else "too few seeds", "", ""]


def everything(found: list[Budget]) -> list[str]:
    """Lines of a second table: every budget that was measured."""
    lines = ["", "## Every budget", "", f"| {' | '.join(('set', 'images', *COLUMNS))} |"]
    lines += ["| --- |" + " --- |" * (1 + len(COLUMNS))]
    for budget in found:
        cell = budget.cells[0]
        lines.append(f"| {' | '.join((cell.set, f'{cell.images:,}', *budget.columns))} |")
    return lines


COLUMNS = ("network", "way", "changes", "epochs", "T multiply-adds", "test accuracy", "seeds")
NOTES = (
    "T: 10^12. Three forward passes for each training image that is seen: augmentation, validation and the",
    "optimizer's own arithmetic are not counted. A target is reached if the mean over three seeds reaches it; the",
    "first table has the cheapest budget of each way among those measured, changes of a way included.",
    "`torchvision` and `timm` are their published flags in our keys, around the same network and loader.",
    "Runs of one seed are single tries beside other work: too few to keep or reject a change.",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", choices=list(SETS), default="fashion-mnist")
    parser.add_argument(
        "--data", help="where the images are, if not where `load_data` finds the set: a folder or table"
    )
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--ways", nargs="+", default=[SHIPPED], choices=[SHIPPED, *PEERS])
    parser.add_argument("--change", nargs="+", default=[], metavar="KEY=VALUE", help="changes of the recipe")
    parser.add_argument("--epochs", type=int, nargs="+", default=[None], help="by default, the recipe's")
    parser.add_argument("--images", type=int, help="train on so many images, to try an idea")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/compute_to_accuracy"), help="for runs under way")
    parser.add_argument("--table", action="store_true", help="only write the tables again")
    options = parser.parse_args()
    images = SETS[options.set]
    data = None
    for seed, way, network, epochs in itertools.product(
        options.seeds, options.ways, options.networks, [] if options.table else options.epochs
    ):
        recipe = recipe_of(way, network, images, options.change, epochs)
        part = recipe.data.val_fraction
        whole = images.train(part)
        count = min(options.images or whole, whole)
        cost = multiply_adds(recipe, count, images.channels)
        changes = " ".join(options.change)
        cell = Cell(options.set, count, network, way, changes, recipe.epochs, seed, cost, 0.0, "")
        if any((c.group, c.seed) == (cell.group, seed) for c in (*read_cells(), *shipped_before())):
            continue
        data = data or fewer(load_data(options.data or options.set, val_fraction=part), count)
        record(done := measure(cell, data, recipe, options.out, options.threads))
        print(*done.group, f"seed {seed}: {cost / 1e12:.2f} T, {done.accuracy:.4f}", flush=True)
    found = budgets((*read_cells(), *shipped_before()))
    title = "Training multiply-adds until a test accuracy"
    write_results(
        "compute_to_accuracy", title, ("set", "target", *COLUMNS), cheapest(found), [*NOTES, *everything(found)]
    )


if __name__ == "__main__":
    main()
