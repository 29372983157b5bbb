"""AlexNet with and without dropout: how much better it knows the training images than new ones.

Measured without dropout: all units answer, in both networks, on both sets of images.
"""

from __future__ import annotations

from classicnets.studies.claim import Arm, Cell, Cells, Claim, Hypothesis, Preset
from classicnets.studies.figures import dots


def _gap(cell: Cell) -> float:
    return float(cell["train_accuracy"] - cell["test_accuracy"])


def _arms(**sizes: object) -> tuple[Arm, ...]:
    return tuple(
        Arm(name=name, model="alexnet_cifar", switches={"batch_norm": False, "dropout": dropout, **sizes})
        for name, dropout in (("with dropout", 0.5), ("without", 0.0))
    )


def _smaller_gap(cells: Cells) -> float:
    return _gap(cells["without"]) - _gap(cells["with dropout"])


CLAIM = Claim(
    name="dropout",
    sentence="Dropout lowers overfitting: accuracy falls less from training images to new ones.",
    guide="1.1",
    paper="Krizhevsky et al. 2012, Sec. 4.2",
    hypotheses=[
        Hypothesis(
            what="training minus test accuracy: without dropout minus with it", value=_smaller_gap, unit="points"
        )
    ],
    quick=Preset(
        minutes=2,
        arms=_arms(widths=(32, 64, 96, 96, 64), hidden=(256, 256)),
        settings=("epochs=15", "batch_size=32", "image_size=16", "optim.lr=0.03", "optim.clip_norm=1.0"),
        images=1_000,
    ),
    full=Preset(
        minutes=2_000,
        arms=_arms(),
        settings=("epochs=90", "optim.lr=0.02", "optim.clip_norm=1.0"),
        data="cifar10",
    ),
    draw=dots({"training accuracy": "train_accuracy", "test accuracy": "test_accuracy"}),
)
