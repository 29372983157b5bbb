"""Trainings that come out alike in any number of processes: torchrun runs this file, the tests import it.

`torchrun --nproc-per-node N parallel.py FOLDER [ARGS...]`: every process writes FOLDER/RANK.json, and then all of them
run the command `classicnets ARGS...`.
"""

import hashlib
import json
import sys
from pathlib import Path

import torch

from classicnets.cli.main import main
from classicnets.data.pipeline.pack import Packed
from classicnets.errors import DataError, StorageError
from classicnets.models.catalog import create
from classicnets.preprocess import Preprocess
from classicnets.training.recipe.files import with_settings
from classicnets.training.recipe.schema import Recipe
from classicnets.training.scale.processes import join
from classicnets.training.step.loop import fit
from classicnets.training.step.state import StepDone, TrainState

sys.path.append(str(Path(__file__).parents[2]))  # torchrun knows this folder alone
from sessions import session_for

ALEXNET = {"widths": (8, 8, 8, 8, 8), "hidden": (16, 16)}
RESNET = {"depths": (1, 1, 1), "widths": (8, 8, 8)}
CASES = {
    "batch norm": ("resnet20_cifar", RESNET, []),
    "batch norm, recomputed": ("resnet20_cifar", {**RESNET, "checkpointing": True}, []),
    "dropout": ("alexnet_cifar", {**ALEXNET, "batch_norm": True}, ["optim.lr=0.01"]),
    "dropout, accumulated": ("alexnet_cifar", {**ALEXNET, "batch_norm": False}, ["optim.lr=0.01", "accumulate=3"]),
    "unfrozen by and by": ("resnet20_cifar", RESNET, ["finetune.freeze=0.2", "finetune.unfreeze=gradual"]),
    "mixed, balanced": ("resnet20_cifar", RESNET, ["augment.mixup=0.4", "augment.cutmix=1", "data.balance=sample"]),
    # Rounding grows in its maps of one pixel: hence the low rate.
    "three heads": ("googlenet_cifar", {"width": 0.1, "aux": True}, ["optim.lr=0.001"]),
}
SETTINGS = ["epochs=1", "batch_size=17", "precision=fp32", "optim.lr=0.05", "ema=0.5", "optim.clip_norm=1"]


def images(n: int, seed: int) -> Packed:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (n, 1, 16, 16), dtype=torch.uint8, generator=generator)
    labels = torch.arange(n) % 3
    return Packed(
        pixels // 4 + 60 * labels[:, None, None, None].to(torch.uint8), labels, tuple(map(str, range(n))), num_classes=3
    )


def outcomes() -> dict[str, dict]:
    """The losses of every step, the row of the epoch and the hash of all weights, for each of the cases."""
    found, processes = {}, join()
    for case, (name, switches, settings) in CASES.items():
        recipe = with_settings(Recipe(), [*SETTINGS, *settings])
        model = create(name, num_classes=3, in_channels=1, generator=torch.Generator().manual_seed(0), **switches)
        model.to(memory_format=torch.channels_last)
        preprocess = Preprocess(input_size=(16, 16), mean=(0.3,), std=(0.2,))
        state = TrainState.begin(model, recipe)
        session = session_for(recipe, images(90, 0), images(21, 1), preprocess, name=name, processes=processes)
        *steps, epoch = fit(session, state)
        assert all(isinstance(step, StepDone) for step in steps)
        weights = b"".join(tensor.numpy().tobytes() for tensor in state.tensors().values())
        found[case] = {
            "losses": [step.loss for step in steps],
            "epoch": [epoch.train_loss, epoch.train_accuracy, epoch.val_loss, epoch.val_accuracy],
            "weights": hashlib.sha256(weights).hexdigest(),
            "names": list(state.tensors()),
        }
    return found


def errors() -> dict[str, str]:
    """The error that every process gets if one of them fails."""
    processes = join()

    def no_image() -> None:
        if processes.rank == 1:
            raise DataError("the second process has no image")

    def full() -> None:
        assert processes.is_main
        raise StorageError("the disk is full")

    found = {}
    for name, call in (
        ("together", lambda: processes.main_first(no_image)),
        ("main", lambda: processes.on_main(full)),
    ):
        try:
            call()
        except (DataError, StorageError) as error:
            found[name] = f"{type(error).__name__}: {error}"
    return found


if __name__ == "__main__":
    found = {"outcomes": outcomes(), "errors": errors(), "order": join().main_first(lambda: join().rank)}
    (Path(sys.argv[1]) / f"{join().rank}.json").write_text(json.dumps(found))
    if len(sys.argv) > 2:
        sys.argv = ["classicnets", *sys.argv[2:]]
        main()
