"""The filters of a network's first layer: the only ones whose inputs are colours, so that they can be looked at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import nn

from classicnets.models.contract import ConvNet
from classicnets.preprocess import Preprocess


@dataclass(frozen=True)
class Filters:
    """The filters of the first convolution.

    Attributes:
        layer: the convolution's path in the network.
        weights: float32 (F, C, h, w), one filter for each output channel: weights of the image's values in 0..1, before
            its normalisation. C is 3 for RGB and 1 for grey images.
    """

    layer: str
    weights: np.ndarray

    @property
    def is_colour(self) -> bool:
        """Whether a filter can be drawn in colours: it has red, green and blue."""
        return bool(self.weights.shape[1] == 3)


def first_filters(network: ConvNet, preprocess: Preprocess) -> Filters:
    """Return the filters of the network's first convolution, as weights of the image before it is normalised.

    Args:
        network: any network of the catalog, on any device.
        preprocess: how its images are normalised: a weight of a normalised value is one of the value times 1 / std.

    >>> first_filters(classifier.model, classifier.preprocess).weights.shape  # doctest: +SKIP
    (64, 3, 7, 7)
    """
    layer, conv = next((name, module) for name, module in network.named_modules() if isinstance(module, nn.Conv2d))
    weights = conv.weight.detach().float().cpu().numpy()
    deviations = np.array(preprocess.std, np.float32)
    if weights.shape[1] == len(deviations):  # not so in grouped convolutions
        weights = weights / deviations[:, None, None]
    return Filters(layer, weights.copy())
