"""Plain and residual networks of 20 and 56 layers: does depth hurt the first, and help the second?

Both hypotheses are about the training error (Fig. 6), so neither is about overfitting.
"""

from __future__ import annotations

from classicnets.studies.claim import SHIFTS_AND_FLIPS, Arm, Claim, Hypothesis, Preset
from classicnets.studies.figures import curves
from classicnets.studies.numbers import difference

_ARMS = [
    Arm(name="plain-20", model="plain20_cifar"),
    Arm(name="plain-56", model="plain56_cifar"),
    Arm(name="ResNet-20", model="resnet20_cifar"),
    Arm(name="ResNet-56", model="resnet56_cifar"),
]

CLAIM = Claim(
    name="residual",
    sentence="Deeper plain networks train worse; with shortcuts, deeper networks train better.",
    guide="5.1",
    paper="He et al. 2015, Sec. 4.2",
    hypotheses=[
        Hypothesis(
            what="training accuracy: plain-20 minus plain-56",
            value=difference("train_accuracy", "plain-20", "plain-56"),
            unit="points",
        ),
        Hypothesis(
            what="training accuracy: ResNet-56 minus ResNet-20",
            value=difference("train_accuracy", "ResNet-56", "ResNet-20"),
            unit="points",
        ),
    ],
    quick=Preset(
        minutes=4,
        arms=_ARMS,
        settings=("epochs=6", "batch_size=64", "image_size=12", "optim.weight_decay=1e-4"),
        images=1_500,
    ),
    full=Preset(
        minutes=12_000,
        arms=_ARMS,
        settings=(
            "epochs=182", "optim.weight_decay=1e-4", "optim.nesterov=false", "schedule.name=step",
            "schedule.warmup=0.0", *SHIFTS_AND_FLIPS,
        ),
        data="cifar10",
    ),
    draw=curves({"training accuracy": "train_accuracy", "validation accuracy": "val_accuracy"}),
)  # fmt: skip
