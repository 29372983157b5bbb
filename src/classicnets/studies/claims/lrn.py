"""AlexNet with and without local response normalisation after its first two convolutions."""

from __future__ import annotations

from classicnets.studies.claim import SHIFTS_AND_FLIPS, Arm, Claim, Hypothesis, Preset
from classicnets.studies.figures import dots
from classicnets.studies.numbers import difference


def _arms(**sizes: object) -> tuple[Arm, ...]:
    return tuple(
        Arm(name=name, model="alexnet_cifar", switches={"batch_norm": False, "lrn": lrn, **sizes})
        for name, lrn in (("with LRN", True), ("without", False))
    )


CLAIM = Claim(
    name="lrn",
    sentence="Local response normalisation makes AlexNet more accurate.",
    guide="",
    paper="Krizhevsky et al. 2012, Sec. 3.3",
    disputed="Simonyan and Zisserman 2014, Sec. 4.1: no gain in their networks",
    hypotheses=[
        Hypothesis(
            what="test accuracy: with LRN minus without",
            value=difference("test_accuracy", "with LRN", "without"),
            unit="points",
        )
    ],
    quick=Preset(
        minutes=2,
        arms=_arms(widths=(32, 64, 96, 96, 64), hidden=(256, 256)),
        settings=("epochs=6", "batch_size=32", "image_size=16", "optim.lr=0.03", "optim.clip_norm=1.0"),
        images=2_000,
    ),
    full=Preset(
        minutes=3_000,
        arms=_arms(),
        settings=("epochs=90", "optim.lr=0.02", "optim.clip_norm=1.0", *SHIFTS_AND_FLIPS),
        data="cifar10",
    ),
    draw=dots({"test accuracy": "test_accuracy"}),
)  # fmt: skip
