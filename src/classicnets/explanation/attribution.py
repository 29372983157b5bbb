"""The methods that attribute a class's score to places in an image, by name: `METHODS`.

A method takes a `ClassScore` and returns a map (h, w): above 0 where the image speaks for the class. Grad-CAM and
Grad-CAM++ are in `gradcam.py`. The methods on pixels are captum's, an extra that is imported only here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from classicnets.errors import MissingExtra
from classicnets.explanation.gradcam import grad_cam, grad_cam_plus_plus
from classicnets.explanation.score import ClassScore

MethodName = Literal["grad-cam", "grad-cam++", "integrated-gradients", "occlusion", "smoothgrad"]

_STEPS = 50  # of integrated gradients
_SAMPLES = 25  # of SmoothGrad
_NOISE = 0.15  # SmoothGrad's standard deviation, as a share of the range of the input
_WINDOWS = 7  # occluding windows along a side, without their overlap
_PIXELS = 2 * 224 * 224  # that go through the network at a time, so that DenseNet-201 stays within 2 GiB


@dataclass(frozen=True)
class Method:
    """A way to make a map.

    Attributes:
        images: how many images go through the network for one map, by the input's (height, width).
        of_stage: the map of a stage's output, by the score and the stage's name; None for a method on pixels.
        of_pixels: the map of the input's pixels, by the score and a seed; None for a method on a stage.
    """

    images: Callable[[int, int], int]
    of_stage: Callable[[ClassScore, str], Tensor] | None = None
    of_pixels: Callable[[ClassScore, int], Tensor] | None = None

    @property
    def on_stage(self) -> bool:
        """Whether the map is of a stage's output."""
        return self.of_stage is not None

    def attribute(self, score: ClassScore, *, stage: str | None, seed: int) -> Tensor:
        """Return the map: (h, w) of the stage's output, or (H, W) of the input."""
        if self.of_stage is not None:
            assert stage is not None
            return self.of_stage(score, stage)
        assert self.of_pixels is not None
        return self.of_pixels(score, seed)


def integrated_gradients(score: ClassScore, seed: int = 0) -> Tensor:
    """Return the integrated gradients of the score, summed over the channels: (H, W). `seed` changes nothing.

    The path goes from the mean colour of the training images to the image, in 50 steps (Sundararajan et al. 2017).
    """
    from captum.attr import IntegratedGradients

    values: Tensor = IntegratedGradients(score).attribute(
        _input(score), n_steps=_STEPS, internal_batch_size=_batch_size(score)
    )
    return values[0].detach().sum(dim=0)


def occlusion(score: ClassScore, seed: int = 0) -> Tensor:
    """Return how much the score falls when a window is covered with the mean colour: (H, W). `seed` changes nothing.

    Windows are a seventh of a side and overlap by half; a pixel gets the mean of its windows (Zeiler and Fergus 2014).
    """
    from captum.attr import Occlusion

    channels, *sides = score.image.shape[1:]
    windows = [_window(side) for side in sides]
    with torch.no_grad():
        values: Tensor = Occlusion(score).attribute(
            score.image,
            sliding_window_shapes=(channels, *(size for size, _ in windows)),
            strides=(channels, *(stride for _, stride in windows)),
            perturbations_per_eval=_batch_size(score),
        )
    return values[0].mean(dim=0)


def smoothgrad(score: ClassScore, seed: int = 0) -> Tensor:
    """Return the absolute gradient, averaged over 25 noisy copies of the image and summed over channels: (H, W).

    Smilkov et al. 2017. `seed` decides the noise.
    """
    from captum.attr import NoiseTunnel, Saliency

    image = _input(score)
    noise = _NOISE * float(score.image.max() - score.image.min())
    devices = [image.device] if image.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        values: Tensor = NoiseTunnel(Saliency(score)).attribute(
            image,
            nt_samples=_SAMPLES,
            nt_samples_batch_size=min(_SAMPLES, _batch_size(score)),
            stdevs=noise,
            abs=False,
        )
    return values[0].detach().abs().sum(dim=0)


def require_captum() -> None:
    """Raise MissingExtra, with the line that installs captum, if it is not installed."""
    try:
        import captum.attr  # noqa: F401
    except ImportError:
        raise MissingExtra(
            "This method needs captum, which is not installed. "
            'Install it with: pip install "classicnets[explain]"; or use grad-cam or grad-cam++.'
        ) from None


def _input(score: ClassScore) -> Tensor:
    return score.image.detach().clone().requires_grad_()


def _batch_size(score: ClassScore) -> int:
    height, width = score.image.shape[2:]
    views = 2 if score.flip else 1
    return max(1, _PIXELS // (height * width * views))


def _window(side: int) -> tuple[int, int]:
    """The size of an occluding window along a side, and the distance to the next."""
    size = math.ceil(side / _WINDOWS)
    return size, max(1, size // 2)


def _number_of_windows(height: int, width: int) -> int:
    number = 1
    for side in (height, width):
        size, stride = _window(side)
        number *= math.ceil((side - size) / stride) + 1
    return number


METHODS: Mapping[str, Method] = {
    "grad-cam": Method(of_stage=grad_cam, images=lambda height, width: 1),
    "grad-cam++": Method(of_stage=grad_cam_plus_plus, images=lambda height, width: 1),
    "integrated-gradients": Method(of_pixels=integrated_gradients, images=lambda height, width: _STEPS),
    "occlusion": Method(of_pixels=occlusion, images=lambda height, width: 1 + _number_of_windows(height, width)),
    "smoothgrad": Method(of_pixels=smoothgrad, images=lambda height, width: _SAMPLES),
}
"""Every method by its name. A new one is a function and a line here."""
