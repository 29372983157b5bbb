"""ReLU against tanh: how many epochs until the training error falls to a given level.

The paper chose the rate of each network so that it trains fastest, and used no regularisation (its Fig. 1). Here each
activation has two rates, and its faster training counts.
"""

from __future__ import annotations

from classicnets.studies.claim import Arm, Cells, Claim, Hypothesis, Preset
from classicnets.studies.figures import curves
from classicnets.studies.numbers import epochs_to

_ERROR = 0.25  # as in Fig. 1
_RATES = ("0.02", "0.06")
_PLAIN = ("optim.weight_decay=0", "schedule.name=constant", "optim.clip_norm=1.0")


def _speed_up(cells: Cells) -> float:
    fastest = {
        name: min(epochs_to(cells[f"{name} {rate}"], 1 - _ERROR) for rate in _RATES) for name in ("tanh", "relu")
    }
    return fastest["tanh"] / fastest["relu"]


def _arms(**sizes: object) -> tuple[Arm, ...]:
    plain = {"batch_norm": False, "dropout": 0.0, **sizes}
    return tuple(
        Arm(
            name=f"{name} {rate}",
            model="alexnet_cifar",
            switches={**plain, "activation": name},
            settings=(f"optim.lr={rate}",),
        )
        for name in ("relu", "tanh")
        for rate in _RATES
    )


CLAIM = Claim(
    name="relu",
    sentence="ReLU trains faster than tanh.",
    guide="1.1",
    paper="Krizhevsky et al. 2012, Sec. 3.1",
    hypotheses=[
        Hypothesis(
            what="epochs to 25% training error, each at its better rate: tanh divided by ReLU",
            value=_speed_up,
            threshold=1.0,
            unit="times",
        )
    ],
    quick=Preset(
        minutes=2,
        arms=_arms(widths=(32, 64, 96, 96, 64), hidden=(256, 256)),
        settings=("epochs=5", "batch_size=32", "image_size=16", *_PLAIN),
        images=2_000,
    ),
    full=Preset(
        minutes=1_350,
        arms=_arms(),
        settings=("epochs=30", *_PLAIN),
        data="cifar10",
    ),
    draw=curves({"training accuracy": "train_accuracy"}),
)
