"""What a recipe leaves to the data and the network: which shipped recipe suits them, and the image size."""

from __future__ import annotations

import statistics

from torch import nn

from classicnets.data.imageset import ImageSet
from classicnets.images import image_size
from classicnets.models.contract import ConvNet, NetConfig
from classicnets.training.recipe.files import shipped_recipes


def choose_recipe(
    *, num_train: int, image_size: int, family: str, batch_norm: bool, pretrained: bool
) -> tuple[str, str]:
    """Choose the shipped recipe that suits the network and the data.

    Args:
        num_train: number of training images.
        image_size: side of the images in pixels, as the network gets them.
        family: the network's family, such as "resnet".
        batch_norm: whether the network is normalised throughout; see `normalised`.
        pretrained: whether the training starts from trained weights.

    Returns:
        The name of the recipe, and the reason in words.

    >>> choose_recipe(num_train=1500, image_size=8, family="resnet", batch_norm=True, pretrained=False)[0]
    'small-set'
    """
    data = f"{num_train:,} training images of {image_size} pixels"
    if pretrained:
        return "finetune", f"{data}, and weights that were trained before"
    if not batch_norm:
        return "no-batch-norm", f"{data}, from scratch, and layers without batch norm, which need a low rate"
    if image_size > 40:
        return "photos", f"{data}, from scratch"
    if num_train < 20_000:
        return "small-set", f"{data}, from scratch: few and small"
    name = f"small-images-{family}"
    return name if name in shipped_recipes() else "small-images", f"{data}, from scratch: many and small"


def normalised(network: ConvNet) -> bool:
    """Return whether the network has batch norm, in its hidden linear layers too, which VGG's `_bn` rows do not."""
    has_norm = any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    head = list(network.head.modules())
    hidden = sum(isinstance(module, nn.Linear) for module in head) - 1
    head_norms = sum(isinstance(module, nn.BatchNorm1d) for module in head)
    return has_norm and hidden <= head_norms


def natural_size(images: ImageSet, config: NetConfig) -> int:
    """Return the side, in pixels, to train at: the images' own up to 64, else the network's, at least 64."""
    if images.paths is None:
        own = min(images.image(0).shape[1:])
    else:
        sample = images.paths[:: max(1, len(images) // 50)]
        own = round(statistics.median(min(image_size(path)) for path in sample))
    wanted = own if own <= 64 else max(64, config.image_size)
    return max(wanted, config.min_size, 8)
