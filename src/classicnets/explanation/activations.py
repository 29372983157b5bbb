"""What a network computes on the way to its answer: the outputs of its stages for images, seen while they pass.

`stage_maps` keeps all of the strongest channels, for one image. `watch` passes many images, and keeps little of each:
the features that the classifier reads, the answer, and which images excite each channel most.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from classicnets.classifier import Classifier, averaged, evaluating
from classicnets.errors import ConfigError
from classicnets.models.contract import through_head
from classicnets.weights.structure import network_of

_PIXELS = 16 * 224 * 224  # that pass at a time
_MOST_IMAGES = 256  # that pass at a time


class StageMaps(NamedTuple):
    """The strongest channels of a stage's output for one image: those with the highest value, the highest first.

    Attributes:
        stage: the stage's name.
        channels: the channels, int64 (k,).
        maps: their outputs, float32 (k, h, w).
    """

    stage: str
    channels: Tensor
    maps: Tensor


class Watched(NamedTuple):
    """What is kept of N images that passed through a network.

    Attributes:
        probabilities: what the classifier answers: float32 (N, K).
        features: what the network's last layer reads: float32 (N, D). Positions are averaged if there are several.
        peaks: which images excite each channel of a stage most, by the stage's name.
    """

    probabilities: Tensor
    features: Tensor
    peaks: dict[str, Peaks]


class Peaks:
    """The images with the highest values of each channel of a stage, found while the images pass.

    Args:
        most: how many images are kept for each channel.

    Attributes:
        size: (height, width) of the stage's output.
        values: the highest value in each of the best images, float32 (k, C), best first; k is at most `most`.
        images: which images they are, int64 (k, C).
        places: where the value stands in the output, int64 (k, C): row x width + column.
        num_images: how many images have passed.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.size = (0, 0)
        self.num_images = 0
        self.values, self.images, self.places = torch.empty(0), torch.empty(0), torch.empty(0)
        self._sum = self._squares = torch.empty(0)

    def add(self, output: Tensor) -> None:
        """Look at the next images' output, (B, C, h, w)."""
        self.size = (output.shape[2], output.shape[3])
        values, places = output.float().flatten(2).max(dim=2)
        images = torch.arange(self.num_images, self.num_images + len(values), device=values.device)
        images = images[:, None].expand_as(values)
        doubles = values.double()
        total, squares = doubles.sum(dim=0), doubles.square().sum(dim=0)
        if self.num_images:
            values = torch.cat([self.values, values])
            images, places = torch.cat([self.images, images]), torch.cat([self.places, places])
            total, squares = self._sum + total, self._squares + squares
        self.num_images += len(output)
        values, order = values.sort(dim=0, descending=True, stable=True)
        self.values, order = values[: self._most], order[: self._most]
        self.images, self.places = images.gather(0, order), places.gather(0, order)
        self._sum, self._squares = total, squares

    @property
    def silent(self) -> Tensor:
        """Whether a channel is above 0 nowhere in all images: bool (C,). Behind a ReLU, such a channel is dead."""
        return self.values[0] <= 0

    def selective(self, number: int) -> list[int]:
        """Return the most selective channels, at most `number`, without silent ones.

        They are those whose best images exceed the mean of all images by most, counted in standard deviations.
        """
        mean = self._sum / self.num_images
        deviation = (self._squares / self.num_images - mean.square()).clamp(min=0).sqrt()
        varies = deviation > 1e-6 * mean.abs()
        contrast = torch.where(varies, (self.values.double().mean(dim=0) - mean) / deviation, 0)
        contrast[self.silent] = -1  # others have 0 or more
        order = contrast.sort(descending=True, stable=True).indices
        channels: list[int] = order[: min(number, int((~self.silent).sum()))].tolist()
        return channels


def stage_maps(classifier: Classifier, image: Tensor, stages: Sequence[str], *, most: int) -> list[StageMaps]:
    """Return the strongest channels of stages for one image.

    Args:
        classifier: left as it was.
        image: uint8 (C, H, W), as `classifier.preprocess.read` makes it.
        stages: names of stages.
        most: how many channels of each stage.

    >>> stage_maps(classifier, image, ["conv1"], most=8)[0].maps.shape  # doctest: +SKIP
    torch.Size([8, 112, 112])
    """
    network = network_of(classifier.model)
    with evaluating(classifier.model):
        outputs = network.features(_inputs(classifier, image[None]))
        return [_strongest(stage, outputs[stage][0].float(), most) for stage in stages]


def watch(
    classifier: Classifier,
    images: Tensor,
    stages: Sequence[str],
    *,
    most: int,
    progress: Callable[[int, int], None] | None = None,
) -> Watched:
    """Pass images through the network once, and keep what `Watched` lists.

    Args:
        classifier: left as it was. With `tta="flip"` the mirror images count for its answers only.
        images: uint8 (N, C, H, W), as `classifier.preprocess.geometry` makes them; N is 1 or more.
        stages: the stages whose channels' best images are kept.
        most: how many images are kept for a channel.
        progress: called with the number of images done and the number of all.

    Raises ConfigError if the network's numbers are not finite.

    >>> watch(classifier, images, ["conv4"], most=8).peaks["conv4"].images  # doctest: +SKIP
    """
    network = network_of(classifier.model)
    at_a_time = min(_MOST_IMAGES, max(1, _PIXELS // (images.shape[2] * images.shape[3])))
    peaks = {stage: Peaks(most) for stage in stages}
    probabilities, features = [], []
    with evaluating(classifier.model):
        for batch in images.split(at_a_time):
            inputs = _inputs(classifier, batch)
            outputs = network.features(inputs)
            classified = through_head(network.head, next(reversed(outputs.values())))
            features.append(classified.features.float().cpu())
            views = [classified.logits]
            if classifier.tta == "flip":
                views.append(network(inputs.flip(-1)))
            probabilities.append(classifier.card.probabilities(averaged(views)).cpu())
            for stage, found in peaks.items():
                found.add(outputs[stage])
            if progress is not None:
                progress(sum(map(len, features)), len(images))
    watched = Watched(torch.cat(probabilities), torch.cat(features), peaks)
    numbers = [watched.probabilities, watched.features, *(found.values for found in peaks.values())]
    if not all(bool(tensor.isfinite().all()) for tensor in numbers):
        raise ConfigError(
            "The network's outputs are not finite for these images: its numbers are too large to look at."
        )
    return watched


def _strongest(stage: str, output: Tensor, most: int) -> StageMaps:
    channels = output.flatten(1).amax(dim=1).sort(descending=True, stable=True).indices[:most]
    return StageMaps(stage, channels.cpu(), output[channels].cpu())


def _inputs(classifier: Classifier, images: Tensor) -> Tensor:
    weight = next(classifier.model.parameters())
    return classifier.preprocess.normalize(images.to(weight.device)).to(weight.dtype)
