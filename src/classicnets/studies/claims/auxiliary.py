"""GoogLeNet with and without its auxiliary classifiers: the gradient that its first layers get, and how fast it trains.

With the weights of the paper, the losses add up to 1.6 times the one loss. Only a gradient that grows more than that
says that the early layers had too little.
"""

from __future__ import annotations

import math

from classicnets.studies.claim import Arm, Cell, Cells, Claim, Hypothesis, Preset
from classicnets.studies.figures import by_layer
from classicnets.studies.numbers import epochs_to
from classicnets.studies.probes import gradients

_LOSSES = 1.6  # 1 + 0.3 + 0.3
_ERROR = 0.25
_EARLY = 9  # convolutions: the stem and the first Inception module


def _arms(width: float) -> tuple[Arm, ...]:
    plain = {"batch_norm": False, "width": width}
    return (
        Arm(name="with auxiliary", model="googlenet_cifar", switches={**plain, "aux": True}),
        Arm(name="without", model="googlenet_cifar", switches={**plain, "aux": False}),
    )


def _early(cell: Cell) -> float:
    first = cell["by_start"][:_EARLY]
    return math.exp(sum(map(math.log, first)) / len(first))


def _gradients(cells: Cells) -> float:
    return _early(cells["with auxiliary"]) / _early(cells["without"])


def _speed_up(cells: Cells) -> float:
    with_them, without = (epochs_to(cells[name], 1 - _ERROR) for name in ("with auxiliary", "without"))
    return without / with_them


CLAIM = Claim(
    name="auxiliary",
    sentence="Auxiliary classifiers ease vanishing gradients and speed up training.",
    guide="4.1, 4.4",
    paper="Szegedy et al. 2014, Sec. 5",
    disputed="Szegedy et al. 2015 (arXiv:1512.00567), Sec. 4: no faster at the start; they regularise",
    hypotheses=[
        Hypothesis(
            what="gradient of the first convolutions at the start: with auxiliary classifiers divided by without",
            value=_gradients,
            threshold=_LOSSES,
            unit="times",
        ),
        Hypothesis(
            what="epochs to 25% training error: without auxiliary classifiers divided by with",
            value=_speed_up,
            threshold=1.0,
            unit="times",
        ),
    ],
    quick=Preset(
        minutes=2,
        arms=_arms(0.2),
        settings=("epochs=6", "batch_size=64", "image_size=16", "optim.lr=0.02", "optim.clip_norm=1.0"),
        images=2_000,
    ),
    full=Preset(
        minutes=2_200,
        arms=_arms(0.4),
        settings=("epochs=60", "optim.lr=0.02", "optim.clip_norm=1.0", "augment.crop=pad", "augment.padding=4"),
        data="cifar10",
    ),
    probe=gradients,
    draw=by_layer(
        {"gradient / weight, at the start": "by_start", "after training": "by_end"}, "depth: first to last convolution"
    ),
)
