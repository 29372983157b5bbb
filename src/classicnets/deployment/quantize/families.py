"""What each family keeps in higher precision from the start, and why. `benchmarks/int8.py` measures it.

In no family does int8 need it: nowhere does the 95 % interval of the loss lie above 0. So every layer is quantised, and
a network that loses more than is allowed gets its worst blocks back by measurement (`control`). Of the operations
between the layers, some never become int8, in any family:

    normalisation of the pixels, softmax, flip averaging, novelty score   they are after or before the layers
    local response normalisation                                          neither engine has it in int8
    batch norms in front of a convolution (DenseNet, preactivation)       scale and shift, by channel
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch
from typing import NamedTuple


class Rule(NamedTuple):
    """What a family keeps, as patterns of layers' names, and what was measured."""

    higher: tuple[str, ...]
    reason: str


RULES: dict[str, Rule] = {
    "alexnet": Rule((), "local response normalisation stays in float32, between layers in int8"),
    "vgg": Rule((), "a straight line of convolutions and ReLU"),
    "nin": Rule((), "a straight line of convolutions and ReLU"),
    "googlenet": Rule((), "inception_3a in fp32 brings the answers closer in OpenVINO, but no image more is right"),
    "resnet": Rule((), "conv1 in fp32 brings the answers closer, but no image more is right"),
    "densenet": Rule((), "concatenations in fp32 bring the answers closer in ONNX Runtime, but cost what int8 gains"),
}


def kept_by_rule(family: str, layers: Sequence[str]) -> list[str]:
    """Return which of a network's layers its family keeps in higher precision.

    Args:
        family: the family's short name, such as "resnet". One without a rule keeps nothing.
        layers: the names of the layers, in order.

    >>> kept_by_rule("resnet", ["trunk.conv1.conv"])
    []
    """
    patterns = RULES[family].higher if family in RULES else ()
    return [layer for layer in layers if any(fnmatch(layer, pattern) for pattern in patterns)]
