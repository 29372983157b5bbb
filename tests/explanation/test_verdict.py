"""The verdict: a map that shows what the network learned passes, an edge detector and a random map fail."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from classicnets.classifier import Classifier
from classicnets.data import Data
from classicnets.explanation.attribution import METHODS
from classicnets.explanation.score import ClassScore, differentiating
from classicnets.explanation.verdict import (
    MOST_CORRELATION,
    Verdict,
    judge,
    judge_images,
    randomised,
    rank_correlation,
    removal_scores,
)
from classicnets.models.catalog import create
from classicnets.preprocess import Preprocess


@pytest.fixture(scope="module")
def corner_classifier(corners: Data) -> Classifier:
    """A classifier that has learned in which corner the square is."""
    generator = torch.Generator().manual_seed(5)
    net = create("resnet20_cifar", num_classes=4, in_channels=1, depths=(1, 1, 1), generator=generator)
    preprocess = Preprocess(input_size=(12, 12), mean=(0.25,), std=(0.25,))
    images, labels = preprocess.normalize(corners.train.images), corners.train.labels
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(40):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(images), labels).backward()
        optimizer.step()
    classifier = Classifier(
        model=net.eval(), model_name="resnet20_cifar", classes=corners.classes, preprocess=preprocess
    )
    answers = classifier.logits(corners.test.images).argmax(dim=1)
    assert (answers == corners.test.labels).float().mean() > 0.9
    return classifier


def edges(score: ClassScore) -> Tensor:
    """An edge detector: a map that knows nothing of the network."""
    image = score.image.mean(dim=1)[0]
    across, down = (image.roll(1, dims) - image for dims in (0, 1))
    return (across**2 + down**2).sqrt()


def verdicts(classifier: Classifier, data: Data, attribute) -> list[Verdict]:
    found = []
    for image in data.test.images[:8]:
        with differentiating(classifier.model):
            score = ClassScore(classifier.model, classifier.preprocess.normalize(image[None]), flip=False)
            found.append(judge(score, attribute, attribute(score).detach()))
    return found


@pytest.mark.parametrize("name", ["integrated-gradients", "occlusion"])
def test_good_maps_pass(corner_classifier: Classifier, corners: Data, name: str) -> None:
    found = verdicts(corner_classifier, corners, lambda score: METHODS[name].attribute(score, stage=None, seed=0))
    assert all(verdict.passes for verdict in found), found


def test_an_edge_detector_fails(corner_classifier: Classifier, corners: Data) -> None:
    for verdict in verdicts(corner_classifier, corners, edges):
        assert not verdict.passes
        assert verdict.correlation == pytest.approx(1)
        assert "hardly changes when the weights are random" in verdict.reason


def test_a_random_map_fails(corner_classifier: Classifier, corners: Data) -> None:
    generator = torch.Generator().manual_seed(0)
    found = verdicts(corner_classifier, corners, lambda score: torch.rand(12, 12, generator=generator))
    assert sum(verdict.passes for verdict in found) <= 1
    assert all("no better than random" in verdict.reason for verdict in found if not verdict.passes)


def test_the_removal_score_is_that_of_a_known_place(corner_classifier: Classifier, corners: Data) -> None:
    """The quarter with the square comes first in one order and last in its reverse, which has the opposite score."""
    index = int((corners.test.labels == 0).nonzero()[0])
    image = corner_classifier.preprocess.normalize(corners.test.images[index : index + 1])
    order = torch.arange(144).view(12, 12)  # from the top down, and NW is at the top
    with differentiating(corner_classifier.model):
        score = ClassScore(corner_classifier.model, image, flip=False, index=0)
        down, up = removal_scores(score, torch.stack([order, 143 - order]))
    assert down > 0.2
    assert up == pytest.approx(-down, abs=1e-6)


def test_weights_are_random_from_the_head_down(corner_classifier: Classifier) -> None:
    net = corner_classifier.model
    own = {name: value.clone() for name, value in net.state_dict().items()}
    changed: dict[str, set[str]] = {}
    for level, twin in randomised(net, seed=0):
        assert twin is not net
        assert not twin.training
        changed[level] = {
            name.split(".")[1] if name.startswith("trunk") else "head"
            for name, value in twin.state_dict().items()
            if name.endswith("weight") and value.ndim > 1 and not torch.equal(value, own[name])
        }
    assert changed == {
        "conv1": {"head", "conv1", "conv2", "conv3", "conv4"},
        "conv2": {"head", "conv2", "conv3", "conv4"},
        "conv3": {"head", "conv3", "conv4"},
        "conv4": {"head", "conv4"},
        "head": {"head"},
    }
    assert all(torch.equal(value, own[name]) for name, value in net.state_dict().items())


def test_random_weights_are_not_those_that_a_training_with_the_seed_starts_with() -> None:
    net = create("resnet20_cifar", num_classes=3, depths=(1, 1, 1), generator=torch.Generator().manual_seed(0))
    _, twin = next(randomised(net, seed=0))
    assert not torch.equal(twin.head.classifier.weight, net.head.classifier.weight)


def test_a_deep_network_is_randomised_in_five_steps() -> None:
    net = create("googlenet_cifar", device="meta")
    assert judge_images(net, 1) == 5 * 2 + 88


def test_rank_correlation() -> None:
    rising = torch.arange(6.0).view(2, 3)
    assert rank_correlation(rising, rising**3) == pytest.approx(1)
    assert rank_correlation(rising, -rising) == pytest.approx(-1)
    assert rank_correlation(rising, torch.zeros(2, 3)) == 0
    assert rank_correlation(torch.ones(1, 1), torch.ones(1, 1)) == 0
    assert MOST_CORRELATION < 1
