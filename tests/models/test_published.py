"""Published accuracies: torchvision's as its weights state them, and every data set with its own classes."""

from __future__ import annotations

import pytest
from torchvision.models import get_model_weights

from classicnets.models.catalog import CATALOG
from classicnets.models.published import CIFAR10, IMAGENET, PUBLISHED

OF_TORCHVISION = {
    name: family.torchvision[name].name for name, (family, _) in CATALOG.items() if name in family.torchvision
}


@pytest.mark.parametrize("name", OF_TORCHVISION)
def test_torchvisions_accuracies_are_those_of_its_weights(name: str) -> None:
    weights = get_model_weights(OF_TORCHVISION[name])["IMAGENET1K_V1"]
    assert 100 * PUBLISHED[name].top1 == pytest.approx(weights.meta["_metrics"]["ImageNet-1K"]["acc@1"], abs=1e-9)
    assert PUBLISHED[name].source == f"torchvision, weights {weights.name}"


def test_every_row_is_of_a_model_and_of_images_with_as_many_classes() -> None:
    for name, published in PUBLISHED.items():
        assert CATALOG[name].config.num_classes == {IMAGENET: 1000, CIFAR10: 10}[published.data], name
        assert 0.5 < published.top1 < 1
        assert published.source
