"""The gradient at every depth of all six networks, and of a plain net, before and after training.

What is compared is how unequal the gradient is: the factor between the first quarter of the convolutions and the last,
in powers of ten, whether it vanishes or explodes. The plain net differs from ResNet only by its missing shortcuts.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from classicnets.studies.claim import Arm, Cell, Cells, Claim, Hypothesis, Preset
from classicnets.studies.figures import by_layer
from classicnets.studies.probes import gradients

_QUARTER = {"widths": (16, 32, 64, 128, 128)}


def _unequal(cell: Cell, when: str) -> float:
    logs = [math.log10(max(value, 1e-30)) for value in cell[when]]
    quarter = max(1, len(logs) // 4)
    return abs(sum(logs[:quarter]) - sum(logs[-quarter:])) / quarter


def _excess(other: str, when: str) -> Callable[[Cells], float]:
    return lambda cells: _unequal(cells["plain-56"], when) - _unequal(cells[other], when)


_ARMS = [
    Arm(name="AlexNet", model="alexnet_cifar", switches={"batch_norm": False, "widths": (32, 64, 96, 96, 64)}),
    Arm(name="VGG-16", model="vgg16_cifar", switches={"batch_norm": False, **_QUARTER}),
    Arm(name="NiN", model="nin_half_cifar_bn", switches={"batch_norm": False}),
    Arm(name="GoogLeNet", model="googlenet_cifar", switches={"batch_norm": False, "width": 0.2}),
    Arm(name="ResNet-56", model="resnet56_cifar"),
    Arm(name="DenseNet-BC-40", model="densenet_bc40_k12_cifar"),
    Arm(name="plain-56", model="plain56_cifar"),
]

CLAIM = Claim(
    name="gradient-flow",
    sentence="Shortcuts and dense connections keep the gradient of a deep network from vanishing or exploding.",
    guide="5.1, 6.1",
    paper="He et al. 2015, Sec. 1; Huang et al. 2016, Sec. 1",
    disputed="He et al. 2015, Sec. 4.1: with batch norm, the gradients of their plain nets are healthy too",
    hypotheses=[
        Hypothesis(
            what=f"powers of ten between first and last convolutions {words}: plain-56 minus {other}",
            value=_excess(other, when),
        )
        for when, words in (("by_start", "at the start"), ("by_end", "after training"))
        for other in ("ResNet-56", "DenseNet-BC-40")
    ],
    quick=Preset(
        minutes=2,
        arms=_ARMS,
        settings=("epochs=3", "batch_size=32", "image_size=16", "optim.lr=0.02", "optim.clip_norm=1.0"),
        images=500,
    ),
    full=Preset(
        minutes=3_200,
        arms=_ARMS,
        settings=("epochs=30", "optim.lr=0.02", "optim.clip_norm=1.0", "augment.crop=pad", "augment.padding=4"),
        data="cifar10",
    ),
    probe=gradients,
    draw=by_layer(
        {"gradient / weight, at the start": "by_start", "after training": "by_end"}, "depth: first to last convolution"
    ),
)
