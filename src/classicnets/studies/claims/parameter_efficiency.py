"""DenseNet against a ResNet with more parameters: is it at least as accurate? Both train by the same recipe."""

from __future__ import annotations

from classicnets.studies.claim import SHIFTS_AND_FLIPS, Arm, Claim, Hypothesis, Preset
from classicnets.studies.figures import dots
from classicnets.studies.numbers import difference, ratio

_PAPER = (
    "epochs=300", "batch_size=64", "optim.weight_decay=1e-4", "schedule.name=step", "schedule.warmup=0.0",
    *SHIFTS_AND_FLIPS,
)  # fmt: skip

CLAIM = Claim(
    name="parameter-efficiency",
    sentence="DenseNet is more accurate than a ResNet with more parameters.",
    guide="6.1, 6.4",
    paper="Huang et al. 2016, Sec. 4.3",
    hypotheses=[
        Hypothesis(
            what="parameters: ResNet divided by DenseNet",
            value=ratio("parameters", "ResNet", "DenseNet-BC"),
            threshold=1.0,
            unit="times",
        ),
        Hypothesis(
            what="test accuracy: DenseNet minus ResNet",
            value=difference("test_accuracy", "DenseNet-BC", "ResNet"),
            unit="points",
        ),
    ],
    quick=Preset(
        minutes=3,
        arms=[
            Arm(name="DenseNet-BC", model="densenet_bc40_k12_cifar"),
            Arm(name="ResNet", model="resnet20_cifar"),
        ],
        settings=("epochs=6", "batch_size=64", "image_size=12"),
        images=2_000,
    ),
    full=Preset(
        minutes=54_000,
        arms=[
            Arm(name="DenseNet-BC", model="densenet_bc100_k12_cifar"),
            Arm(name="ResNet", model="resnet110_cifar"),
        ],
        settings=_PAPER,
        data="cifar10",
    ),
    draw=dots({"training accuracy": "train_accuracy", "test accuracy": "test_accuracy"}),
)
