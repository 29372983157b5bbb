"""Where the time of a training step goes, for one network of each family: shares of the step by kind of work.

The operators' own times, as torch.profiler counts them, over some steps of what `classicnets train` does, augmentation
included; beside them the images/s of the same steps without the profiler.

    python benchmarks/training_profile.py --image-size 64
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict

import torch
from report import PEERS, synthetic, write_results
from timed_training import TimedTraining
from torch.profiler import ProfilerActivity, profile, record_function

from classicnets.data.pipeline.loader import Batch
from classicnets.system.devices import Precision, choose_device
from classicnets.system.memory import memory_kept
from classicnets.training.recipe.schema import Recipe
from classicnets.weights import create_model

KINDS = {  # the first whose word is in the operator's name has its time
    "augmentation": ("augmentation",),
    "convolution": ("convolution", "conv"),
    "batch norm": ("batch_norm",),
    "linear": ("addmm", "mm", "linear"),
    "pooling": ("pool",),
    "activation": ("relu", "threshold", "clamp_min"),
    "dropout": ("dropout", "bernoulli"),
    "optimizer": ("sgd", "_foreach", "_fused"),
    "cast and copy": ("copy", "_to_copy", "to", "contiguous", "clone", "cat", "zero", "fill"),
    "add": ("add", "sum"),
}


def kind_of(operator: str) -> str:
    name = operator.removeprefix("aten::").lower()
    return next((kind for kind, words in KINDS.items() if any(word in name for word in words)), "other")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--precision", default="auto", choices=("auto", "fp32", "bf16"))
    options = parser.parse_args()
    precision = Precision.choose(options.precision, choose_device("cpu"))
    with memory_kept(precision.dtype):
        measure(options, precision)


def augmented(training: TimedTraining) -> list[Batch]:
    """The batches of an epoch, made under a name of their own in the profile."""
    with record_function("augmentation"):
        return list(training.session.loader.batches(0))


def measure(options: argparse.Namespace, precision: Precision) -> None:
    recipe = Recipe.model_validate(
        {"batch_size": options.batch_size, "optim": {"lr": 0.01}, "augment": {"crop": "resized", "flip": True}}
    )
    packed, preprocess = synthetic(options.image_size, options.batch_size * (options.steps + 1))
    rows = []
    for name in PEERS:
        torch.manual_seed(0)
        model = create_model(name, num_classes=10).to(memory_format=torch.channels_last)
        training = TimedTraining(model, name, packed, preprocess, recipe, precision)
        training.step(augmented(training)[0])  # a warm-up
        begun = time.perf_counter()
        for batch in augmented(training):
            training.step(batch)
        rate = len(packed.labels) / (time.perf_counter() - begun)
        with profile(activities=[ProfilerActivity.CPU]) as profiled:
            for batch in augmented(training):
                training.step(batch)
        spent: dict[str, float] = defaultdict(float)
        inside = next(e.cpu_time_total for e in profiled.key_averages() if e.key == "augmentation")
        for event in profiled.events():
            parent = event
            while parent is not None and parent.name != "augmentation":
                parent = parent.cpu_parent
            if parent is None:
                spent[kind_of(event.name)] += event.self_cpu_time_total
        spent["augmentation"] = inside
        total = sum(spent.values())
        shares = [f"{spent[kind] / total:.0%}" for kind in (*KINDS, "other")]
        rows.append((name, f"{rate:.0f}", *shares))
        print(rows[-1], flush=True)
    write_results(
        f"training_profile_{options.image_size}_{precision.name}",
        f"Where a training step's time goes at {options.image_size} px, batch {options.batch_size}, {precision.name}",
        ("network", "images/s", *KINDS, "other"),
        rows,
        ["Shares of the operators' own time, forward and backward together. The images are random pixels, packed."],
    )


if __name__ == "__main__":
    main()
