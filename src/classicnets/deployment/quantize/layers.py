"""The layers of an exported graph that can be computed in int8: its convolutions and linear layers, by their names.

The files of all engines keep the names that the network gives its layers, such as "trunk.conv2.conv". What follows the
last layer, the softmax and the novelty score, stays in float32.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

_PARTS = ("trunk.", "neck.", "classifier.")  # of `Deployable`


class Layers(NamedTuple):
    """The convolutions and linear layers of a file, in the order of the graph.

    Attributes:
        int8: the names of those with int8 weights.
        higher: the names of the others, which are computed in a higher precision.
    """

    int8: tuple[str, ...]
    higher: tuple[str, ...]


def is_layer(name: str) -> bool:
    """Whether a convolution or matrix product of this name is a layer; others belong to pooling or the novelty score.

    >>> is_layer("trunk.conv1.conv"), is_layer("neck.pool.by_rows"), is_layer("matmul_1")
    (True, False, False)
    """
    return name.startswith(_PARTS) and not name.endswith((".by_rows", ".by_columns"))


def block_of(layer: str) -> str:
    """Return the stage of the trunk, or the part of the head, that a layer belongs to.

    >>> block_of("trunk.inception_3a.reduce3x3.conv")
    'trunk.inception_3a'
    """
    return ".".join(layer.split(".")[:2])


def blocks(layers: Iterable[str]) -> list[str]:
    """Return the blocks of layers, each once, in order."""
    return list(dict.fromkeys(map(block_of, layers)))
