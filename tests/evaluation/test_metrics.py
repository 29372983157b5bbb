"""The metrics against scikit-learn and SciPy, and against cases small enough to check by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import sklearn.metrics
import torch
from scipy.stats import binom

from classicnets.evaluation import metrics


@pytest.fixture(scope="module")
def logits() -> torch.Tensor:
    return torch.randn(997, 7, generator=torch.Generator().manual_seed(0)) * 2


@pytest.fixture(scope="module")
def labels(logits: torch.Tensor) -> torch.Tensor:
    """Right about half of the time; class 6 has no images."""
    generator = torch.Generator().manual_seed(1)
    guess = torch.randint(0, 6, (len(logits),), generator=generator)
    return torch.where(torch.rand(len(logits), generator=generator) < 0.5, logits[:, :6].argmax(1), guess)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_topk_agrees_with_sklearn(logits: torch.Tensor, labels: torch.Tensor, k: int) -> None:
    expected = sklearn.metrics.top_k_accuracy_score(labels, logits, k=k, labels=range(7))
    assert metrics.topk_accuracy(logits, labels, k) == pytest.approx(expected, abs=1e-12)


def test_topk_beyond_the_classes_is_one(logits: torch.Tensor, labels: torch.Tensor) -> None:
    assert metrics.topk_accuracy(logits, labels, 50) == 1.0


def test_of_equal_scores_the_lower_index_wins() -> None:
    assert metrics.ranking(torch.zeros(3, 9), 2).tolist() == [[0, 1]] * 3


@pytest.mark.parametrize("k", [1, 3, 5, 9, 12])
def test_the_ranking_is_a_stable_sort(k: int) -> None:
    generator = torch.Generator().manual_seed(k)
    logits = torch.randint(-3, 3, (400, 9), generator=generator).float()
    some = torch.rand(logits.shape, generator=generator)
    logits[some < 0.2] = -math.inf
    logits[some > 0.9] = math.nan
    logits[(some > 0.8) & (some < 0.85)] = math.inf
    expected = logits.sort(dim=1, descending=True, stable=True).indices[:, :k]
    assert np.array_equal(metrics.ranking(logits, k), expected)


def test_numbers_do_not_depend_on_how_many_images_are_measured_at_a_time(
    logits: torch.Tensor, labels: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = metrics.ranking(logits, 5)
    expected = logits.double().softmax(1).gather(1, torch.from_numpy(best))
    loss = torch.nn.functional.cross_entropy(logits.double(), labels).item()
    assert metrics.cross_entropy(logits, labels) == pytest.approx(loss, rel=1e-14)
    monkeypatch.setattr(metrics, "_CHUNK", 70)  # ten images
    assert np.array_equal(metrics.ranking(logits, 5), best)
    np.testing.assert_allclose(metrics.probabilities(logits, best), expected, rtol=1e-13)
    assert metrics.cross_entropy(logits, labels) == pytest.approx(loss, rel=1e-14)


def test_arrays_and_tensors_are_measured_alike(logits: torch.Tensor, labels: torch.Tensor) -> None:
    values, truth = logits.numpy(), labels.numpy()
    assert metrics.cross_entropy(values, truth) == metrics.cross_entropy(logits, labels)
    assert metrics.balanced_accuracy(values, truth) == metrics.balanced_accuracy(logits, labels)
    assert metrics.calibration(values, truth) == metrics.calibration(logits, labels)


def test_infinite_logits_are_no_warning() -> None:
    logits = np.array([[math.inf, 0.0], [-math.inf, 0.0], [math.nan, 0.0]])
    assert math.isnan(metrics.cross_entropy(logits, np.array([0, 1, 1])))
    assert metrics.cross_entropy(logits[1:2], np.array([0])) == math.inf
    assert metrics.cross_entropy(logits[1:2], np.array([1])) == 0


def test_loss_agrees_with_sklearn(logits: torch.Tensor, labels: torch.Tensor) -> None:
    expected = sklearn.metrics.log_loss(labels, logits.double().softmax(1), labels=range(7))
    assert metrics.cross_entropy(logits, labels) == pytest.approx(expected, rel=1e-9)
    assert metrics.cross_entropy(torch.zeros(4, 10), torch.arange(4)) == pytest.approx(math.log(10))


def test_confusion_and_class_scores_agree_with_sklearn(logits: torch.Tensor, labels: torch.Tensor) -> None:
    predicted = logits.argmax(1)
    predicted[predicted == 5] = 4  # class 5 is never predicted, class 6 never true
    confusion = metrics.confusion_matrix(labels, predicted, 7)
    assert np.array_equal(confusion.dense(), sklearn.metrics.confusion_matrix(labels, predicted, labels=range(7)))
    expected = sklearn.metrics.precision_recall_fscore_support(labels, predicted, labels=range(7), zero_division=0)
    np.testing.assert_allclose(np.array(metrics.class_scores(confusion)).T, np.array(expected), atol=1e-12)
    assert metrics.class_scores(confusion)[5].precision == 0.0
    assert metrics.class_scores(confusion)[6].recall == 0.0


def test_confusion_rows_are_the_truth() -> None:
    confusion = metrics.confusion_matrix(torch.tensor([0, 0, 1]), torch.tensor([0, 2, 1]), 3)
    assert confusion.dense().tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 0]]


def test_calibration_by_hand() -> None:
    logits = torch.tensor([[0.85, 0.15], [0.85, 0.15], [0.65, 0.35], [0.25, 0.75]]).log()
    result = metrics.calibration(logits, torch.tensor([0, 1, 0, 1]), num_bins=10)
    assert [bin.size for bin in result.bins] == [0, 0, 0, 0, 0, 0, 1, 1, 2, 0]
    assert result.bins[8] == pytest.approx((0.8, 0.9, 2, 0.85, 0.5))
    assert result.ece == pytest.approx((0.35 * 2 + 0.35 + 0.25) / 4)
    assert result.gap == pytest.approx((0.85 + 0.85 + 0.65 + 0.75) / 4 - 0.75)


def test_calibration_counts_every_image(logits: torch.Tensor, labels: torch.Tensor) -> None:
    result = metrics.calibration(logits * 1000, labels)  # scores of exactly 1 fall into the last bin
    assert sum(bin.size for bin in result.bins) == len(labels)
    assert result.bins[-1].high == 1.0
    share = sum(bin.accuracy * bin.size for bin in result.bins) / len(labels)
    assert share == pytest.approx(metrics.topk_accuracy(logits, labels))


@pytest.mark.parametrize(("right", "total"), [(1, 2), (35, 36), (9_300, 10_000), (600_001, 1_000_000)])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_interval_is_the_limit_of_the_bootstrap(right: int, total: int, level: float) -> None:
    expected = binom.ppf([(1 - level) / 2, (1 + level) / 2], total, right / total) / total
    assert metrics.bootstrap_interval(right, total, level=level) == pytest.approx(tuple(expected), abs=1e-12)


def test_interval_agrees_with_drawn_resamples() -> None:
    drawn = np.random.default_rng(0).binomial(500, 0.9, 100_000) / 500
    expected = tuple(np.percentile(drawn, [2.5, 97.5]))
    assert metrics.bootstrap_interval(450, 500) == pytest.approx(expected, abs=0.0021)  # one image


def test_interval_at_the_ends_stays_open() -> None:
    assert metrics.bootstrap_interval(36, 36) == pytest.approx((0.025 ** (1 / 36), 1.0))
    assert metrics.bootstrap_interval(0, 36) == pytest.approx((0.0, 1 - 0.025 ** (1 / 36)))
