"""A claim that a second can test: two networks on images made on the spot."""

from __future__ import annotations

from typing import Any

from classicnets.studies.claim import Arm, Claim, Hypothesis, Preset
from classicnets.studies.figures import curves
from classicnets.studies.numbers import difference

_SMALL = {"depths": [1, 1, 1], "widths": [4, 8, 8]}


def toy(**changes: Any) -> Claim:
    """The claim that a small ResNet beats a plain net on the `corners`."""
    preset = Preset(
        minutes=0.1,
        arms=[
            Arm(name="plain", model="plain20_cifar", switches=_SMALL),
            Arm(name="ResNet", model="resnet20_cifar", switches=_SMALL, settings=["optim.lr=0.05"]),
        ],
        settings=["epochs=2", "batch_size=20", "precision=fp32"],
        data="digits",
        images=60,
    )
    values: dict[str, Any] = {
        "name": "toy",
        "sentence": "Shortcuts help.",
        "guide": "5.1",
        "paper": "Nobody 1999",
        "hypotheses": [
            Hypothesis(what="accuracy", value=difference("test_accuracy", "ResNet", "plain"), unit="points")
        ],
        "quick": preset,
        "full": preset,
        "draw": curves({"training accuracy": "train_accuracy"}),
    }
    return Claim(**(values | changes))
