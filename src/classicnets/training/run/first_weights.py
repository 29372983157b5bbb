"""First weights that follow from the training images or from the network's shape, for a training from scratch.

Both are of Jordan 2024, arXiv:2404.00498: a first convolution that whitens (Sec. 3.2, after Page 2019, "How to train
your ResNet 8: Bag of tricks"), and later convolutions that begin by passing their input on (Sec. 3.3).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from classicnets.data.pipeline.loader import Loader
from classicnets.models.contract import ConvNet
from classicnets.training.recipe.schema import InitSection

_IMAGES = 1_000  # whose patches are measured
_SMALLEST_VARIANCE = 5e-4  # added to each variance, so that patches that hardly vary do not become noise


def set_first_weights(model: ConvNet, recipe: InitSection, loader: Loader, generator: torch.Generator) -> None:
    """Set the weights that the `[init]` section names, and leave the others as they are.

    Args:
        model: the network, with its family's first weights; changed in place.
        recipe: the `[init]` section.
        loader: makes the training batches. The patches are those of the first images of the first epoch.
        generator: a CPU generator, for filters beyond those that the patches determine.
    """
    first, *later = (layer for layer in model.modules() if isinstance(layer, nn.Conv2d))
    if recipe.whiten:
        whiten(first, _first_images(loader), generator)
    if recipe.dirac:
        for layer in later:
            pass_on(layer)


@torch.no_grad()
def whiten(layer: nn.Conv2d, images: Tensor, generator: torch.Generator) -> None:
    """Let the filters of `layer` decorrelate the pixels of its patches: each output has mean 0 and variance 1.

    The first filters are the principal directions of the patches, each divided by its standard deviation, the largest
    first: their outputs are uncorrelated. Then come the same with the opposite sign, and then random mixtures.

    Args:
        layer: a convolution that sees images; its weight is changed in place.
        images: network input, float32 (N, C, H, W).
        generator: a CPU generator, for the mixtures.

    >>> whiten(nn.Conv2d(1, 18, 3), torch.randn(100, 1, 28, 28), torch.Generator())
    """
    count, channels, height, width = layer.weight.shape
    apart = F.unfold(images, (height, width), stride=(height, width)).double()
    patches = apart.transpose(1, 2).reshape(-1, channels * height * width)
    variances, directions = torch.linalg.eigh(patches.T.cov())
    whitening = (directions / (variances + _SMALLEST_VARIANCE).sqrt()).T.flip(0)  # a row for each direction
    mixtures = F.normalize(torch.randn(count, len(whitening), generator=generator, dtype=torch.float64))
    filters = torch.cat((whitening, -whitening, mixtures @ whitening))[:count]
    layer.weight.copy_(filters.view(layer.weight.shape))


@torch.no_grad()
def pass_on(layer: nn.Conv2d) -> None:
    """Let the first filters of `layer` pass on an input channel each; the others stay as they are.

    Convolutions in groups are not changed.
    """
    if layer.groups == 1:
        nn.init.dirac_(layer.weight[: layer.in_channels])


def _first_images(loader: Loader) -> Tensor:
    images, seen = [], 0
    for batch in loader.batches(0):
        images.append(batch.images)
        seen += len(batch.images)
        if seen >= _IMAGES:
            break
    return torch.cat(images)
