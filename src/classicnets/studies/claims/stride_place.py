"""Where a bottleneck halves the size: in its first 1x1 convolution, which skips three of four positions, or its 3x3."""

from __future__ import annotations

from classicnets.studies.claim import SHIFTS_AND_FLIPS, Arm, Claim, Hypothesis, Preset
from classicnets.studies.figures import dots
from classicnets.studies.numbers import difference


def _arms(blocks: int) -> tuple[Arm, ...]:
    shape = {"depths": (blocks,) * 3, "bottleneck": True, "shortcut": "projection"}
    return tuple(
        Arm(name=f"stride in {place}", model="resnet20_cifar", switches={**shape, "stride_in_1x1": place == "1x1"})
        for place in ("1x1", "3x3")
    )


CLAIM = Claim(
    name="stride-place",
    sentence="A bottleneck is more accurate with its stride in the 3x3 than in the first 1x1.",
    guide="5.3",
    paper="Gross and Wilber 2016, fb.resnet.torch",
    disputed="He et al. 2015, Table 1, whose networks stride in the 1x1",
    hypotheses=[
        Hypothesis(
            what="test accuracy: stride in the 3x3 minus stride in the 1x1",
            value=difference("test_accuracy", "stride in 3x3", "stride in 1x1"),
            unit="points",
        )
    ],
    quick=Preset(
        minutes=2,
        arms=_arms(1),
        settings=("epochs=6", "batch_size=64", "image_size=16", "optim.lr=0.05"),
        images=2_000,
    ),
    full=Preset(
        minutes=7_000,
        arms=_arms(6),
        settings=("epochs=100", "optim.weight_decay=1e-4", *SHIFTS_AND_FLIPS),
        data="cifar10",
    ),
    draw=dots({"training accuracy": "train_accuracy", "test accuracy": "test_accuracy"}),
)  # fmt: skip
