"""Units of AlexNet that no longer fire on any image, after training at a usual rate and at one ten times as high.

A unit that never fires gets no gradient, so it does not come back: the price of what `relu` gains.
"""

from __future__ import annotations

from classicnets.studies.claim import Arm, Claim, Hypothesis, Preset
from classicnets.studies.figures import dots
from classicnets.studies.numbers import difference
from classicnets.studies.probes import dead_units


def _arms(**sizes: object) -> tuple[Arm, ...]:
    plain = {"batch_norm": False, "dropout": 0.0, **sizes}
    return (
        Arm(name="rate 0.01", model="alexnet_cifar", switches=plain, settings=("optim.lr=0.01",)),
        Arm(name="rate 0.1", model="alexnet_cifar", switches=plain, settings=("optim.lr=0.1",)),
        Arm(
            name="rate 0.1, batch norm",
            model="alexnet_cifar",
            switches={**plain, "batch_norm": True},
            settings=("optim.lr=0.1",),
        ),
    )


CLAIM = Claim(
    name="dead-relu",
    sentence="A high learning rate kills ReLUs: units that fire on no image; batch norm keeps them alive.",
    guide="1.1",
    paper="Maas et al. 2013, Sec. 2",
    hypotheses=[
        Hypothesis(
            what="share of dead units: rate 0.1 minus rate 0.01",
            value=difference("dead", "rate 0.1", "rate 0.01"),
            unit="points",
        ),
        Hypothesis(
            what="share of dead units at rate 0.1: without batch norm minus with it",
            value=difference("dead", "rate 0.1", "rate 0.1, batch norm"),
            unit="points",
        ),
    ],
    quick=Preset(
        minutes=2,
        arms=_arms(widths=(32, 64, 96, 96, 64), hidden=(256, 256)),
        settings=("epochs=4", "batch_size=32", "image_size=16", "optim.clip_norm=1.0"),
        images=2_000,
    ),
    full=Preset(minutes=1_000, arms=_arms(), settings=("epochs=30", "optim.clip_norm=1.0"), data="cifar10"),
    draw=dots({"dead units": "dead", "test accuracy": "test_accuracy"}),
    probe=dead_units,
)
