"""How other libraries name the weights of a family: the tables that `weights.translate` reads in both directions.

A row is a pair: a pattern for the start of one of our names, and what that start is called elsewhere; both are those
of `re.sub`. The rest of a name (`weight`, `running_mean`, ...) is the same everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

Rows = tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]


@dataclass(frozen=True)
class ForeignNames:
    """One library's names for the weights of a family.

    rows      the table; the first row that matches a name counts
    kernels   their name -> side of the window, for linear layers that they keep as convolutions over their whole input
    """

    rows: Rows
    kernels: Mapping[str, int] = field(default_factory=dict)


class TorchvisionModel(NamedTuple):
    """torchvision's model that computes what one of ours does.

    name              its name in `torchvision.models`
    transform_input   it normalises its input again, from ImageNet's mean and deviation to 0.5 and 0.5
    """

    name: str
    transform_input: bool = False


def from_zero(template: str) -> Callable[[re.Match[str]], str]:
    """A replacement whose numbers are one less than ours: our conv2 is `layer1`, and its block1 their block 0."""
    return lambda match: template.format(*(int(number) - 1 for number in match.groups()))
