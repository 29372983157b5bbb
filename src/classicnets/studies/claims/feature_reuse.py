"""DenseNet's use of early features: the weights that late layers give them, and what is lost without them (Sec. 5)."""

from __future__ import annotations

from classicnets.studies.claim import SHIFTS_AND_FLIPS, Arm, Claim, Hypothesis, Preset
from classicnets.studies.figures import source_map
from classicnets.studies.probes import reuse

_NAME = "DenseNet"


CLAIM = Claim(
    name="feature-reuse",
    sentence="Late layers of a dense block use the features of its early layers directly.",
    guide="6.1",
    paper="Huang et al. 2016, Sec. 5",
    hypotheses=[
        Hypothesis(
            what="mean weight of late layers on early features, divided by that on all features",
            value=lambda cells: float(cells[_NAME]["early"]),
            threshold=0.5,
            unit="times",
        ),
        Hypothesis(
            what="test accuracy lost if the later half of each block does not see the earlier half",
            value=lambda cells: float(cells[_NAME]["lost"]),
            threshold=0.01,
            unit="points",
        ),
    ],
    quick=Preset(
        minutes=2,
        arms=[Arm(name=_NAME, model="densenet40_k12_cifar", switches={"depths": (8, 8, 8)})],
        settings=("epochs=5", "batch_size=64", "image_size=12"),
        images=1_500,
    ),
    full=Preset(
        minutes=27_000,
        arms=[Arm(name=_NAME, model="densenet40_k12_cifar")],
        settings=(
            "epochs=300", "batch_size=64", "optim.weight_decay=1e-4", "schedule.name=step", "schedule.warmup=0.0",
            *SHIFTS_AND_FLIPS,
        ),
        data="cifar10",
    ),
    probe=reuse,
    draw=source_map("by_source", "source: the block's input, then its layers", "layer of the last dense block"),
)  # fmt: skip
