"""A small classifier and images for it, made on the spot: `from classifiers import tiny_classifier`."""

from __future__ import annotations

from typing import Any

import torch

from classicnets.classifier import Classifier
from classicnets.data import ImageSet
from classicnets.models.catalog import create
from classicnets.preprocess import Preprocess


def tiny_classifier(classes: tuple[str, ...] = ("a", "b", "c"), *, channels: int = 1, **others: Any) -> Classifier:
    """A resnet20_cifar of three blocks for 12x12 images, with random weights that give varied answers."""
    generator = torch.Generator().manual_seed(3)
    model = create(
        "resnet20_cifar", num_classes=len(classes), in_channels=channels, generator=generator, depths=(1, 1, 1)
    )
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.5, generator=generator)
    preprocess = Preprocess(input_size=(12, 12), mean=(0.4,) * channels, std=(0.2,) * channels)
    return Classifier(model=model, model_name="resnet20_cifar", classes=classes, preprocess=preprocess, **others)


def images_for(classifier: Classifier, n: int, *, right: float = 0.7) -> ImageSet:
    """`n` random images, about a share `right` of them labelled as the classifier answers, the rest at random."""
    generator = torch.Generator().manual_seed(n)
    shape = (n, classifier.preprocess.channels, 12, 12)
    brightness = torch.rand((n, 1, 1, 1), generator=generator)
    images = (torch.rand(shape, generator=generator) * brightness * 255).to(torch.uint8)
    guess = torch.randint(0, len(classifier.classes), (n,), generator=generator)
    answer = classifier.logits(images).argmax(dim=1)
    labels = torch.where(torch.rand(n, generator=generator) < right, answer, guess)
    return ImageSet(
        classes=classifier.classes, labels=labels, ids=tuple(f"test/{i:05}" for i in range(n)), images=images
    )
