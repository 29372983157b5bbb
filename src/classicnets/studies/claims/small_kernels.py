"""Small kernels in VGG: the weights of three 3x3 layers against one 7x7 layer, and two 3x3 against one 5x5, trained.

Column B has pairs of 3x3 layers. The paper compares it with a shallow net of one 5x5 layer for each pair, which sees as
far (Sec. 2.3 and 4.1).
"""

from __future__ import annotations

from classicnets.studies.claim import SHIFTS_AND_FLIPS, Arm, Cells, Claim, Hypothesis, Preset
from classicnets.studies.figures import dots
from classicnets.studies.numbers import difference, ratio


def _arms(**sizes: object) -> tuple[Arm, ...]:
    return (
        Arm(name="two 3x3", model="vgg16_cifar", switches={"depths": (2, 2, 2, 2, 2), **sizes}),
        Arm(name="one 5x5", model="vgg16_cifar", switches={"depths": (1, 1, 1, 1, 1), "kernel_size": 5, **sizes}),
    )


def _count() -> Cells:
    """Weights of the first stage, from 64 channels to 64, and what one of its outputs sees."""
    from classicnets.analysis import inspect
    from classicnets.models.catalog import create

    cells = {}
    for name, depth, kernel_size in (("three 3x3", 3, 3), ("one 7x7", 1, 7)):
        net = create("vgg16", device="meta", in_channels=64, depths=(depth, 1, 1, 1, 1), kernel_size=kernel_size)
        stage = inspect(net).stages[0]
        weights = sum(tensor.numel() for tensor in net.trunk.get_submodule("conv1").parameters() if tensor.ndim > 1)
        assert stage.receptive_field == (7, 7)
        cells[name] = {"weights": weights}
    return cells


CLAIM = Claim(
    name="small-kernels",
    sentence="Stacks of 3x3 convolutions see as far as one large kernel with fewer weights, and are more accurate.",
    guide="2.1",
    paper="Simonyan and Zisserman 2014, Sec. 2.3 and 4.1",
    hypotheses=[
        Hypothesis(
            what="weights of layers that see 7x7 pixels: one 7x7 divided by three 3x3",
            value=ratio("weights", "one 7x7", "three 3x3"),
            threshold=1.0,
            unit="times",
        ),
        Hypothesis(
            what="test accuracy: two 3x3 layers a stage minus one 5x5",
            value=difference("test_accuracy", "two 3x3", "one 5x5"),
            unit="points",
        ),
    ],
    quick=Preset(
        minutes=2,
        arms=_arms(widths=(16, 32, 64, 128, 128)),
        settings=("epochs=6", "batch_size=64", "image_size=16", "optim.lr=0.05"),
        images=2_000,
    ),
    full=Preset(
        minutes=4_000,
        arms=_arms(),
        settings=("epochs=74", "optim.lr=0.05", *SHIFTS_AND_FLIPS),
        data="cifar10",
    ),
    count=_count,
    draw=dots({"training accuracy": "train_accuracy", "test accuracy": "test_accuracy"}),
)
