"""Ten views of an image, averaged."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from classicnets.classifier import Classifier
from classicnets.evaluation import evaluate
from classicnets.evaluation.ten_crop import TenCrop
from classifiers import images_for, tiny_classifier


@pytest.mark.parametrize(("fraction", "side"), [(1.0, 37), (0.8, 40)])
def test_it_is_the_mean_probability_of_ten_views(fraction, side):
    classifier = tiny_classifier()
    preprocess = replace(classifier.preprocess, input_size=(32, 32), crop_fraction=fraction)
    classifier = Classifier.of(replace(classifier.card, preprocess=preprocess), classifier.model)
    ten = TenCrop(classifier)
    assert ten.card.preprocess.input_size == (side, side)
    channels = preprocess.channels
    picture = torch.randint(
        0, 256, (2, channels, 50, 70), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    images = ten.card.preprocess.geometry(picture)
    last, middle = side - 32, (side - 32) // 2
    views = [
        images[..., top : top + 32, left : left + 32]
        for top, left in ((0, 0), (0, last), (last, 0), (last, last), (middle, middle))
    ]
    one_by_one = torch.stack([classifier.logits(v).softmax(1) for view in views for v in (view, view.flip(-1))])
    done = []
    answer = ten.logits(images, batch_size=1, progress=lambda n, total: done.append((n, total)))
    assert torch.allclose(answer.softmax(1), one_by_one.mean(0), atol=1e-6)
    assert done == [(n, 10) for n in range(1, 11)]
    assert not torch.allclose(answer.softmax(1), one_by_one[8], atol=1e-4)  # the middle alone is another answer


def test_the_middle_view_is_what_the_classifier_sees():
    classifier = tiny_classifier()
    preprocess = replace(classifier.preprocess, crop_fraction=0.8)
    classifier = Classifier.of(replace(classifier.card, preprocess=preprocess), classifier.model)
    picture = torch.randint(0, 256, (1, preprocess.channels, 60, 60), dtype=torch.uint8)
    images = TenCrop(classifier).card.preprocess.geometry(picture)
    height, width = preprocess.input_size
    top, left = TenCrop(classifier)._corners(*images.shape[-2:])[-1]
    assert torch.equal(images[..., top : top + height, left : left + width], preprocess.geometry(picture))


def test_it_is_evaluated_like_a_classifier():
    classifier = tiny_classifier()
    images = images_for(classifier, 40)
    report = evaluate(TenCrop(classifier), images)
    assert report.num_images == 40
    assert report.trust is None
    assert 0.3 < report.top1 <= 1
    assert [a.score for a in report.answers] != [a.score for a in evaluate(classifier, images).answers]
