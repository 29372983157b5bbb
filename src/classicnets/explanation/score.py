"""`ClassScore`: the number that a map explains, as a function of the network's input.

For a classifier without test-time augmentation it is the logit of the class. With `tta="flip"` the classifier averages
the probabilities of the image and its mirror image. The score is then the logarithm of that average, with the
softmax's denominators held at their values for the image: each view counts as much as it counts in the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from classicnets.classifier import averaged, evaluating
from classicnets.models.contract import ConvNet


@contextmanager
def differentiating(model: nn.Module) -> Iterator[None]:
    """Set a model to eval mode inside the block, with gradients; each module gets its own mode back, on errors too."""
    with evaluating(model), torch.inference_mode(False), torch.enable_grad():
        yield


class ClassScore:
    """The score of one class for images (N, C, H, W): float32 (N,). Use it inside `differentiating`.

    Args:
        network: the network, in eval mode.
        image: the normalised input (1, C, H, W), float32.
        flip: whether the mirror image counts too.
        index: the class, 0 <= index < K; None is the class with the highest probability.
        to_probabilities: makes probabilities of logits (N, K): the method of the classifier's card.
        on_images: called with a number of images each time that so many have gone through the network.

    Attributes:
        probabilities: what the classifier answers for the image: float32 (K,).
        stage_sizes: the (height, width) of every stage's output for the image, by the stage's name.
    """

    def __init__(
        self,
        network: ConvNet,
        image: Tensor,
        *,
        flip: bool,
        index: int | None = None,
        to_probabilities: Callable[[Tensor], Tensor] = lambda logits: logits.softmax(dim=-1),
        on_images: Callable[[int], None] = lambda number: None,
    ) -> None:
        self.network, self.image, self.flip, self.on_images = network, image, flip, on_images
        self.to_probabilities = to_probabilities
        with torch.no_grad():
            features = network.features(self._as_input(self.views(image)))
            logits = self._by_view(network.head(next(reversed(features.values()))))
        on_images(1)
        self.stage_sizes = {name: (output.shape[2], output.shape[3]) for name, output in features.items()}
        self.probabilities = to_probabilities(averaged(list(logits)))[0]
        self.index = int(self.probabilities.argmax()) if index is None else index
        self._denominators = logits.logsumexp(dim=2)

    def __call__(self, images: Tensor) -> Tensor:
        """Return the class's score for each image."""
        return self._score(self._logits(images))

    def probability(self, images: Tensor) -> Tensor:
        """Return the probability that the classifier gives the class, for each image: float32 (N,)."""
        with torch.no_grad():
            return self.to_probabilities(averaged(list(self._logits(images))))[:, self.index]

    def at_stage(self, stage: str) -> tuple[Tensor, Tensor]:
        """Return a stage's output for each view of the image, and the score's gradient there: float64 (V, C, h, w)."""
        views = self.views(self.image).detach().requires_grad_()  # so that frozen networks have gradients too
        features = self.network.features(self._as_input(views))
        logits = self.network.head(next(reversed(features.values())))
        self.on_images(1)
        score = self._score(self._by_view(logits))
        (gradient,) = torch.autograd.grad(score.sum(), features[stage])
        return features[stage].detach().double(), gradient.double()

    def views(self, images: Tensor) -> Tensor:
        """Return what the network sees of images (N, C, H, W): (V x N, C, H, W), the mirror images last."""
        return torch.cat([images, images.flip(-1)]) if self.flip else images

    def merged(self, maps: Tensor) -> Tensor:
        """Return the sum of the views' maps (V, h, w), with the mirror image's mirrored back: (h, w)."""
        return maps[0] + maps[1].flip(-1) if self.flip else maps[0]

    def _logits(self, images: Tensor) -> Tensor:
        """The logits of each view: float32 (V, N, K)."""
        self.on_images(len(images))
        logits: Tensor = self.network(self._as_input(self.views(images)))
        return self._by_view(logits)

    def _as_input(self, images: Tensor) -> Tensor:
        return images.to(next(self.network.parameters()).dtype)

    def _by_view(self, logits: Tensor) -> Tensor:
        by_view: Tensor = logits.float().unflatten(0, (2 if self.flip else 1, -1))
        return by_view

    def _score(self, logits: Tensor) -> Tensor:
        score: Tensor = (logits[:, :, self.index] - self._denominators).logsumexp(dim=0)
        return score
