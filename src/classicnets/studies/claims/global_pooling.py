"""NiN's global average pooling against a fully connected layer on the same class maps, with dropout (Sec. 4.6).

What replacing fully connected layers saves is counted too, on the ImageNet networks.
"""

from __future__ import annotations

from classicnets.studies.claim import Arm, Cells, Claim, Hypothesis, Preset
from classicnets.studies.figures import dots
from classicnets.studies.numbers import difference, ratio


def _arms(grid: int, **sizes: object) -> tuple[Arm, ...]:
    return (
        Arm(name="average", model="nin_cifar_bn", switches=sizes),
        Arm(name="fully connected", model="nin_cifar_bn", switches={"linear_grid": grid, **sizes}),
    )


def _count() -> Cells:
    from classicnets.models.catalog import create

    nets = {name: create(name, device="meta") for name in ("alexnet", "nin")}
    return {name: {"weights": sum(tensor.numel() for tensor in net.parameters())} for name, net in nets.items()}


CLAIM = Claim(
    name="global-pooling",
    sentence="Global average pooling in place of fully connected layers needs fewer parameters and generalises better.",
    guide="3.1",
    paper="Lin et al. 2013, Sec. 3.2 and 4.6",
    hypotheses=[
        Hypothesis(
            what="parameters of the ImageNet networks: AlexNet divided by NiN",
            value=ratio("weights", "alexnet", "nin"),
            threshold=2.0,
            unit="times",
        ),
        Hypothesis(
            what="test accuracy of NiN: average minus fully connected",
            value=difference("test_accuracy", "average", "fully connected"),
            unit="points",
        ),
    ],
    quick=Preset(
        minutes=2,
        arms=_arms(4, widths=((48, 40, 24), (48, 48, 48), (48, 48))),
        settings=("epochs=8", "batch_size=64", "image_size=16", "optim.lr=0.05"),
        images=2_000,
    ),
    full=Preset(
        minutes=6_500,
        arms=_arms(8),
        settings=("epochs=120", "optim.lr=0.05", "optim.weight_decay=1e-4"),
        data="cifar10",
    ),
    count=_count,
    draw=dots({"training accuracy": "train_accuracy", "test accuracy": "test_accuracy"}),
)
