"""The methods on pixels: what their numbers mean, and that they can be repeated."""

from __future__ import annotations

import sys

import pytest
import torch

from classicnets.classifier import Classifier
from classicnets.errors import MissingExtra
from classicnets.explanation import explain
from classicnets.explanation.attribution import METHODS, integrated_gradients, occlusion, smoothgrad
from classicnets.explanation.score import ClassScore, differentiating
from classifiers import images_for, tiny_classifier


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return tiny_classifier(channels=3)


def score_of(classifier: Classifier, *, flip: bool = False) -> ClassScore:
    image = classifier.preprocess.normalize(images_for(classifier, 1).images)
    return ClassScore(classifier.model.eval(), image, flip=flip)


@pytest.mark.parametrize("flip", [False, True])
def test_integrated_gradients_add_up_to_the_change_of_the_score(classifier: Classifier, flip: bool) -> None:
    with differentiating(classifier.model):
        score = score_of(classifier, flip=flip)
        total = float(integrated_gradients(score).sum())
        change = score(torch.cat([score.image, torch.zeros_like(score.image)])).detach()
    assert total == pytest.approx(float(change[0] - change[1]), rel=0.1)


def test_occlusion_is_the_fall_of_the_score(classifier: Classifier) -> None:
    """Windows of 12 pixels are 2 wide and 1 apart, so the pixel in the corner belongs to one of them."""
    with differentiating(classifier.model):
        score = score_of(classifier)
        values = occlusion(score)
        covered = score.image.clone()
        covered[:, :, :2, :2] = 0
        fall = (score(score.image) - score(covered)).detach()
    assert values.shape == (12, 12)
    assert float(values[0, 0]) == pytest.approx(float(fall), abs=1e-5)


def test_smoothgrad_is_repeated_by_its_seed_and_leaves_the_random_numbers_alone(classifier: Classifier) -> None:
    state = torch.get_rng_state()
    with differentiating(classifier.model):
        score = score_of(classifier)
        first, again, other = (smoothgrad(score, seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert (first >= 0).all()
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("tta", ["none", "flip"])
@pytest.mark.parametrize("method", METHODS)
def test_the_stated_number_of_images_is_what_it_takes(method: str, tta: str) -> None:
    classifier = tiny_classifier(channels=3, tta=tta)
    seen: list[tuple[int, int]] = []
    explanation = explain(
        classifier,
        images_for(classifier, 1).images[0],
        method=method,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert explanation.verdict is not None
    assert seen[-1][0] == seen[-1][1]
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_without_captum_the_extra_is_named(classifier: Classifier, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    image = images_for(classifier, 1).images[0]
    with pytest.raises(MissingExtra, match=r"pip install \"classicnets\[explain\]\""):
        explain(classifier, image, method="occlusion")
    assert explain(classifier, image, verdict=False).method == "grad-cam"
