"""Very deep residual networks with batch norm and ReLU before each convolution, and after it as in the first paper.

The paper has 1001 layers. The quick study has the most that minutes allow: 164, a quarter as wide, at 12 pixels.
"""

from __future__ import annotations

from classicnets.studies.claim import SHIFTS_AND_FLIPS, Arm, Claim, Hypothesis, Preset
from classicnets.studies.figures import curves
from classicnets.studies.numbers import difference


def _arms(blocks: int, **sizes: object) -> tuple[Arm, ...]:
    shape = {"depths": (blocks,) * 3, **sizes}
    return tuple(
        Arm(name=name, model="preact_resnet164_cifar", switches={**shape, "preactivation": name == "before"})
        for name in ("before", "after")
    )


CLAIM = Claim(
    name="preactivation",
    sentence="Very deep ResNets train better with batch norm and ReLU before each convolution.",
    guide="5",
    paper="He et al. 2016 (arXiv:1603.05027), Sec. 4",
    hypotheses=[
        Hypothesis(
            what="test accuracy: normalisation and ReLU before minus after each convolution",
            value=difference("test_accuracy", "before", "after"),
            unit="points",
        )
    ],
    quick=Preset(
        minutes=3,
        arms=_arms(18, widths=(4, 8, 16)),
        settings=("epochs=4", "batch_size=64", "image_size=12", "optim.weight_decay=1e-4"),
        images=1_000,
    ),
    full=Preset(
        minutes=90_000,
        arms=_arms(111),
        settings=(
            "epochs=200", "optim.weight_decay=1e-4", "optim.nesterov=false", "schedule.name=step",
            "schedule.warmup=0.01", *SHIFTS_AND_FLIPS,
        ),
        data="cifar10",
    ),
    draw=curves({"training accuracy": "train_accuracy", "validation accuracy": "val_accuracy"}),
)  # fmt: skip
