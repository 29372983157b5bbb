"""What the data and the network decide: which shipped recipe suits them, how it is fitted, and the image size."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Collection
from typing import Any

from torch import Tensor, nn

from classicnets.data.imageset import ImageSet
from classicnets.data.pipeline.loader import steps_per_epoch
from classicnets.data.words import counted
from classicnets.errors import BadImage
from classicnets.images import image_size
from classicnets.models.contract import ConvNet, NetConfig
from classicnets.training.recipe.files import shipped_recipes
from classicnets.training.recipe.schema import OptimSection, Recipe

FITTED = ("photos", "small-set")
"""The recipes for small sets, which `fitted` fits to the number of images."""

_STEPS_PER_EPOCH = 20  # fewer are too few updates of the weights
_SMALLEST_BATCH = 16  # smaller ones make the batch norms' statistics too noisy
_STEPS_FOR_AVERAGE = 1_000  # in a shorter run, the moving average lags behind the weights
_STEPS_FOR_SGD = 300  # AdamW was well ahead below 190 steps and not at 460; nothing between was measured
_OPTIM_OF_FEW_STEPS = OptimSection(name="adamw", lr=1e-3, weight_decay=0.05)
_BATCH_OF_FEW_STEPS = 32
_FEW_TO_VALIDATE = 500  # fewer images measure an epoch too coarsely to compare it with others
_SHIFT = 1 / 8  # of the side
_GREY = 4.0  # levels that the channels of a grey image may be apart, saved as a JPEG
_FEW_PHOTOS = 5_000  # from scratch, fewer photos train at a smaller size, in more epochs an hour
_SIZE_OF_FEW_PHOTOS = 96


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


def fitted(
    recipe: Recipe,
    num_train: int,
    image_size: int,
    *,
    num_val: int = _FEW_TO_VALIDATE,
    color: bool = False,
    given: Collection[str] = (),
) -> tuple[Recipe, str]:
    """Fit the optimizer, the batch size, the average, the kept epoch and the augmentation to the images.

    The batch size is the largest power of two that leaves 20 steps an epoch, at least 16 and at most the recipe's. The
    rate changes in proportion to it, or to its square root if the optimizer is not SGD. A run of fewer than 1,000 steps
    has no average. A run of fewer than 300 steps takes AdamW instead of SGD, on photos with batches of at least 32;
    small grey images, which SGD learned as well, keep it. With fewer than 500 validation images the last epoch is kept,
    unless `patience` is set: a choice among epochs would be chance, because an accuracy is uncertain by 2 points or
    more. Shifts reach an eighth of the side. Small images in colour are mirrored and not rotated: they are rarely
    digits or letters.

    Args:
        recipe: the recipe that was chosen, with the user's changes; it stays as it is.
        num_train: number of training images, 1 or more.
        image_size: side of the images in pixels, as the network gets them.
        num_val: number of validation images; by default so many that the accuracy compares epochs.
        color: whether the images are in colour; see `in_color`.
        given: dotted keys that the user has set. They are left as they are.

    Returns:
        The fitted recipe, and a sentence on what was changed and why; "" if nothing was.

    >>> recipe, sentence = fitted(Recipe(batch_size=64, epochs=30), 648, 96, num_val=72)
    >>> recipe.batch_size, recipe.optim.lr
    (32, 0.05)
    """
    changes = []
    batch_size = recipe.batch_size if "batch_size" in given else _fitting_batch(num_train, recipe.batch_size)
    steps = recipe.epochs * steps_per_epoch(num_train, batch_size)
    optim = recipe.optim
    optim_is_given = any(key.startswith("optim.") for key in given)
    if optim.name == "sgd" and (color or image_size > 40) and steps < _STEPS_FOR_SGD and not optim_is_given:
        changes.append(f"AdamW instead of SGD, which needs more than a run of only {counted(steps, 'step')}")
        optim = _OPTIM_OF_FEW_STEPS
        if "batch_size" not in given and image_size > 40:
            batch_size = min(recipe.batch_size, max(_BATCH_OF_FEW_STEPS, batch_size))
    if batch_size < recipe.batch_size:
        changes.append(f"batch_size is {batch_size} instead of {recipe.batch_size}, for more steps an epoch")
    if batch_size < recipe.batch_size and optim == recipe.optim and "optim.lr" not in given:
        share = batch_size / recipe.batch_size
        lr = optim.lr * (share if optim.name == "sgd" else share**0.5)
        changes.append(f"optim.lr is {lr:.3g} instead of {optim.lr:g}, for the smaller batch")
        optim = optim.model_copy(update={"lr": lr})
    recipe = recipe.model_copy(update={"batch_size": batch_size, "optim": optim})
    if "ema" not in given and recipe.ema and steps < _STEPS_FOR_AVERAGE:
        changes.append(f"ema is 0, because an average of the weights lags in a run of only {counted(steps, 'step')}")
        recipe = recipe.model_copy(update={"ema": 0.0})
    if num_val < _FEW_TO_VALIDATE and recipe.best == "accuracy" and not recipe.patience and "best" not in given:
        images = counted(num_val, "validation image")
        changes.append(f"the last epoch is kept, because {images} can hardly tell which one is best")
        recipe = recipe.model_copy(update={"best": "last"})
    if recipe.augment.crop == "pad":
        recipe, more = _with_shifts(recipe, image_size, color=color, given=given)
        changes += more
    if not changes:
        return recipe, ""
    return recipe, f"fitted to {num_train:,} training images of {image_size} pixels: {'; '.join(changes)}"


def _with_shifts(recipe: Recipe, image_size: int, *, color: bool, given: Collection[str]) -> tuple[Recipe, list[str]]:
    """The recipe with shifts that suit small images of that side, and of colour or not."""
    shift = max(1, round(image_size * _SHIFT))
    wanted: dict[str, Any] = {"padding": shift, **({"flip": True, "rotate": 0.0} if color else {})}
    old = recipe.augment
    new = old.model_copy(update={key: value for key, value in wanted.items() if f"augment.{key}" not in given})
    changes = []
    if new.padding != old.padding:
        changes.append(f"images are shifted by up to {counted(new.padding, 'pixel')}")
    turned = [*(["mirrored"] if new.flip != old.flip else []), *(["not rotated"] if new.rotate != old.rotate else [])]
    if turned:
        changes.append(f"images in colour are {' and '.join(turned)}, because they are rarely digits or letters")
    return recipe.model_copy(update={"augment": new}), changes


def _fitting_batch(num_train: int, most: int) -> int:
    """The largest power of two that leaves `_STEPS_PER_EPOCH` steps, from `_SMALLEST_BATCH` up to `most`."""
    largest = max(1, num_train // _STEPS_PER_EPOCH)
    power_of_two = 1 << (largest.bit_length() - 1)
    return min(most, max(_SMALLEST_BATCH, power_of_two))


def in_color(images: ImageSet) -> bool:
    """Return whether most of about 50 images are in colour, by their pixels: a grey image may be saved as RGB."""
    colored = []
    for i in range(0, len(images), max(1, len(images) // 50)):
        with contextlib.suppress(BadImage):  # it is reported, or left out, where all images are read
            image = images.image(i)
            colored.append(len(image) == 3 and _spread(image) > _GREY)
    return sum(colored) * 2 > len(colored)


def _spread(image: Tensor) -> float:
    """How far the channels of an image uint8 (C, H, W) are apart, in the mean of its pixels, in levels."""
    return float((image.amax(0).float() - image.amin(0).float()).mean())


def normalised(network: ConvNet) -> bool:
    """Return whether the network has batch norm, in its hidden linear layers too, which VGG's `_bn` rows do not."""
    has_norm = any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    head = list(network.head.modules())
    hidden = sum(isinstance(module, nn.Linear) for module in head) - 1
    head_norms = sum(isinstance(module, nn.BatchNorm1d) for module in head)
    return has_norm and hidden <= head_norms


def natural_size(images: ImageSet, config: NetConfig, *, fit: bool = False) -> int:
    """Return the side to train at, in pixels: the images' own up to 64, else the network's or one for few photos.

    Args:
        images: the training images. The sides of about 50 of them are read.
        config: the network's config.
        fit: whether the size may follow from the number of images: not with trained weights or a given recipe, which
            belong to a size.

    Returns:
        The images' own side if it is up to 64, else the network's image size, at least 64. With `fit`, fewer than
        5,000 photos get at most 96, and are not enlarged. Never less than the network's smallest size.
    """
    if images.paths is None:
        own = min(images.image(0).shape[1:])
    else:
        sample = images.paths[:: max(1, len(images) // 50)]
        own = round(statistics.median(min(image_size(path)) for path in sample))
    size = own if own <= 64 else max(64, config.image_size)
    if fit and own > 64 and len(images) < _FEW_PHOTOS:
        size = min(size, own, _SIZE_OF_FEW_PHOTOS)
    return max(size, config.min_size, 8)
