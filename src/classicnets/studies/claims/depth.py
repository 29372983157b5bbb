"""VGG with 11, 16 and 19 layers: columns A, D and E of the paper's table, with batch norm so that all of them train."""

from __future__ import annotations

from classicnets.studies.claim import SHIFTS_AND_FLIPS, Arm, Claim, Hypothesis, Preset
from classicnets.studies.figures import dots
from classicnets.studies.numbers import difference


def _arms(**sizes: object) -> tuple[Arm, ...]:
    columns = {"VGG-11": (1, 1, 2, 2, 2), "VGG-16": (2, 2, 3, 3, 3), "VGG-19": (2, 2, 4, 4, 4)}
    return tuple(
        Arm(name=name, model="vgg16_cifar", switches={"depths": depths, **sizes}) for name, depths in columns.items()
    )


CLAIM = Claim(
    name="depth",
    sentence="Deeper VGG networks are more accurate.",
    guide="2.1, 2.5",
    paper="Simonyan and Zisserman 2014, Sec. 4.1",
    hypotheses=[
        Hypothesis(
            what="test accuracy: VGG-19 minus VGG-11",
            value=difference("test_accuracy", "VGG-19", "VGG-11"),
            unit="points",
        )
    ],
    quick=Preset(
        minutes=2,
        arms=_arms(widths=(16, 32, 64, 128, 128)),
        settings=("epochs=6", "batch_size=64", "image_size=16", "optim.lr=0.05"),
        images=2_000,
    ),
    full=Preset(
        minutes=8_000,
        arms=_arms(),
        settings=("epochs=74", "optim.lr=0.05", *SHIFTS_AND_FLIPS),
        data="cifar10",
    ),
    draw=dots({"training accuracy": "train_accuracy", "test accuracy": "test_accuracy"}),
)
