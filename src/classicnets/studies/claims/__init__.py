"""Every claim by its name, in the networks' order. A new claim is a file in this folder and a name in `_FILES`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from classicnets.errors import unknown_name
from classicnets.studies.claim import Claim
from classicnets.studies.claims import (
    auxiliary,
    bn_bias,
    dead_relu,
    depth,
    dropout,
    feature_reuse,
    global_pooling,
    gradient_flow,
    inception_cost,
    lrn,
    parameter_efficiency,
    preactivation,
    relu,
    residual,
    small_kernels,
    stride_place,
)

_FILES = (
    relu,
    dropout,
    lrn,
    dead_relu,
    depth,
    small_kernels,
    global_pooling,
    auxiliary,
    inception_cost,
    residual,
    gradient_flow,
    bn_bias,
    stride_place,
    preactivation,
    feature_reuse,
    parameter_efficiency,
)

CLAIMS: Mapping[str, Claim] = MappingProxyType({file.CLAIM.name: file.CLAIM for file in _FILES})


def find_claim(name: str) -> Claim:
    """Return the claim called `name`. Raises UnknownName, with suggestions, if there is none.

    >>> find_claim("relu").sentence
    'ReLU trains faster than tanh.'
    """
    if name not in CLAIMS:
        raise unknown_name("claim", name, CLAIMS, next_step="`classicnets study` lists all of them.")
    return CLAIMS[name]
