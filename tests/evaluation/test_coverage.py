"""Sets with coverage: MAPIE's thresholds and sets, the promise kept on exchangeable data, and no promise beyond it."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from mapie.classification import SplitConformalClassifier
from mapie.conformity_scores.sets.raps import RAPSConformityScore
from mapie.utils import _compute_classification_quantile
from scipy.stats import binom
from sklearn.base import BaseEstimator, ClassifierMixin

from classicnets.conformal import Conformal, Scores, misfit
from classicnets.errors import ConfigError
from classicnets.evaluation.coverage import measure_all, measure_sets


def draw(seed: int, n: int, k: int = 6, *, sharp: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that a classifier is wrong about, and labels: exchangeable from image to image."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(n, k)) * sharp
    truth = (logits + random.gumbel(size=(n, k))).argmax(axis=1)  # class c with the probability softmax(logits)[c]
    return softmax(2 * logits), truth


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


class Given(ClassifierMixin, BaseEstimator):
    """An estimator whose input are its probabilities."""

    def __init__(self, k: int = 6) -> None:
        self.k = k
        self.classes_ = np.arange(k)
        self.fitted_ = True

    def fit(self, x: np.ndarray, y: np.ndarray) -> Given:
        return self

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        return x

    def predict(self, x: np.ndarray) -> np.ndarray:
        return x.argmax(axis=1)


@pytest.mark.parametrize("coverage", [0.6, 0.8, 0.9, 0.95])
def test_lac_sets_are_mapies(coverage: float) -> None:
    val, truth = draw(0, 200)  # fewer than 50 of each class: one threshold
    new, _ = draw(1, 300)
    judge = SplitConformalClassifier(Given(), confidence_level=coverage, conformity_score="lac", prefit=True)
    judge.conformalize(val, truth)
    theirs = judge.predict_set(new)[1][:, :, 0]
    ours = Conformal.of(val, truth).sets(new, coverage, "lac")
    best = np.eye(6, dtype=bool)[new.argmax(axis=1)]  # ours never leave out the best class
    assert np.array_equal(ours, theirs | best)
    assert not np.array_equal(theirs, best)


@pytest.mark.parametrize("coverage", [0.6, 0.8, 0.9, 0.95])
def test_raps_thresholds_and_sets_are_mapies(coverage: float) -> None:
    """MAPIE fits its penalty and draws at random. With our penalty, and without its random numbers, sets are equal."""
    val, truth = draw(2, 200)
    new, _ = draw(3, 300)
    scores = misfit(val, "raps")[np.arange(200), truth][:, None]
    quantile = _compute_classification_quantile(scores, np.array([1 - coverage]))
    ours = Conformal.of(val, truth)
    assert ours.thresholds(coverage, "raps") == pytest.approx([quantile[0]] * 6, abs=2e-6)
    judge = RAPSConformityScore()
    judge.quantiles_, judge.k_star, judge.lambda_star = quantile, np.array([1]), np.array([0.1])
    theirs = judge.get_prediction_sets(
        new[:, :, None], scores, np.array([1 - coverage]), cv="prefit", include_last_label=True
    )[:, :, 0]
    assert np.array_equal(ours.sets(new, coverage, "raps"), theirs)


@pytest.mark.parametrize("method", ["lac", "raps"])
@pytest.mark.parametrize(("n", "own"), [(60, 0), (900, 6)])
def test_the_promise_is_kept_on_exchangeable_images(method: str, n: int, own: int) -> None:
    """Over many draws of validation and new images, as many sets hold the truth as asked, by binomial bounds."""
    coverage, draws, new = 0.9, 40, 60
    held = 0
    for seed in range(draws):
        p, truth = draw(seed, n + new)
        kept = Conformal.of(p[:n], truth[:n])
        assert len(kept.own_classes(coverage, method)) == own
        inside = kept.sets(p[n:], coverage, method)
        held += int(inside[np.arange(new), truth[n:]].sum())
    assert held >= binom.ppf(0.001, draws * new, coverage) - 10  # validation images are shared within a draw
    assert method == "lac" or (held < 0.985 * draws * new)


def test_a_rare_and_hard_class_is_covered_too() -> None:
    """One class is often missed. By class, it is covered like the others; with one threshold for all it was not."""
    random = np.random.default_rng(0)
    truth = random.choice(3, p=[0.6, 0.3, 0.1], size=8_000)
    logits = random.normal(size=(8_000, 3)) + np.array([2.0, 1.0, 0.0]) + 2 * np.eye(3)[truth]
    p = softmax(logits)
    kept = Conformal.of(p[:4_000], truth[:4_000])
    inside = kept.sets(p[4_000:], 0.9)
    of_rare = truth[4_000:] == 2
    assert kept.own_classes(0.9) == [0, 1, 2]
    assert inside[of_rare, 2].mean() > 0.86
    together = Scores.together(kept.by_class["lac"].values()).threshold(0.9)
    assert (1 - p[4_000:][of_rare, 2] <= together).mean() < 0.75


def test_only_classes_with_enough_images_have_a_threshold_of_their_own() -> None:
    p, _ = draw(0, 400, k=3)
    truth = np.repeat([0, 1, 2], [300, 60, 40])
    kept = Conformal.of(p, truth)
    assert set(kept.by_class["lac"]) == {0, 1}  # 50 and more
    assert kept.own_classes(0.9) == [0, 1]  # 6 of 60 lie above it
    assert kept.own_classes(0.95) == [0]
    thresholds = kept.thresholds(0.95)
    assert thresholds[1] == thresholds[2] != thresholds[0]
    assert kept.own_classes(0.98) == [0]  # 100 others are just enough
    assert kept.own_classes(0.982) == [0]
    assert kept.own_classes(0.9925) == []  # they are not: one threshold for all
    assert len(set(kept.thresholds(0.995))) == 1


@pytest.mark.parametrize(("n", "coverage"), [(1, 0.6), (2, 0.7), (12, 0.95), (18, 0.95), (98, 0.99)])
def test_a_coverage_that_so_few_images_cannot_promise_is_refused_with_what_they_can(n: int, coverage: float) -> None:
    p, truth = draw(0, n)
    needed = math.ceil(coverage / (1 - coverage) - 1e-9)
    highest = math.floor(1000 * n / (n + 1)) / 1000
    with pytest.raises(ConfigError, match=rf"needs {needed} validation images or more, and this .* had {n}\. Ask"):
        Conformal.of(p, truth).thresholds(coverage)
    assert Conformal.of(p, truth).thresholds(highest).shape == (6,)


@pytest.mark.parametrize("coverage", [0, 1, -0.1, 95, math.nan])
def test_a_coverage_is_a_probability(coverage: float) -> None:
    with pytest.raises(ConfigError, match=r"must be above 0 and below 1, such as 0\.95"):
        Conformal.of(*draw(0, 50)).thresholds(coverage)
    with pytest.raises(ConfigError, match="'lac' or 'raps', got 'aps'"):
        Conformal.of(*draw(0, 50)).thresholds(0.9, "aps")


@pytest.mark.parametrize("method", ["lac", "raps"])
def test_degenerate_scores_give_sets_all_the_same(method: str) -> None:
    sure = np.eye(3)[np.arange(90) % 3]
    for p, truth in ((sure, np.arange(90) % 3), (np.full((90, 3), 1 / 3), np.arange(90) % 3)):
        inside = Conformal.of(p, truth).sets(p, 0.9, method)
        assert inside.any(axis=1).all()
        assert inside[np.arange(90), truth].mean() >= 0.9
    assert Conformal.of(sure, np.arange(90) % 3).sets(sure, 0.9, method).sum() == 90
    always_wrong = Conformal.of(sure, (np.arange(90) + 1) % 3).sets(sure, 0.9, method)
    assert always_wrong[np.arange(90), (np.arange(90) + 1) % 3].mean() >= 0.9
    one = Conformal.of(np.ones((30, 1)), np.zeros(30, dtype=int))
    assert one.sets(np.ones((2, 1)), 0.9, method).tolist() == [[True], [True]]


def test_kept_scores_come_back_equal_and_are_never_lower_than_what_was_left_out() -> None:
    p, truth = draw(5, 5_000)
    kept = Conformal.of(p, truth)
    assert Conformal.from_dict(json.loads(json.dumps(kept.to_dict())), 6) == kept
    assert kept.num_images == 5_000
    assert len(json.dumps(kept.to_dict())) < 40_000
    for k, scores in kept.by_class["lac"].items():
        whole = np.sort(1 - p[truth == k, k])
        assert len(scores.values) <= 200
        assert scores.images == len(whole)
        for coverage in (0.5, 0.8, 0.9, 0.95, 0.99):
            rank = math.ceil((len(whole) + 1) * coverage)
            exact = whole[rank - 1]
            assert exact <= scores.threshold(coverage) <= whole[min(rank + 10, len(whole) - 1)] + 1e-6
            if coverage >= 0.9:
                assert scores.threshold(coverage) == pytest.approx(exact, abs=2e-6)


@pytest.mark.parametrize(
    "damage",
    [
        lambda v: v.pop("lac"),
        lambda v: v["lac"].pop("others"),
        lambda v: v["raps"]["others"].update(values="0.2 0.1", counts="1 1"),
        lambda v: v["raps"]["others"].update(values="0.1 nan", counts="1 1"),
        lambda v: v["raps"]["others"].update(values="0.1", counts="0"),
        lambda v: v["raps"]["others"].update(values="0.1", counts="1 1"),
        lambda v: v["raps"]["others"].update(values=7),
        lambda v: v["lac"]["classes"].update({"6": v["lac"]["others"]}),
        lambda v: v["lac"]["classes"].update(a=v["lac"]["others"]),
    ],
)
def test_damaged_scores_are_refused(damage) -> None:
    values = Conformal.of(*draw(0, 40)).to_dict()
    damage(values)
    with pytest.raises(ConfigError, match="scores for sets with coverage"):
        Conformal.from_dict(values, 6)


def test_ten_thousand_classes_take_little_space_and_give_sets() -> None:
    random = np.random.default_rng(0)
    k, n = 10_000, 200
    p = softmax(random.normal(size=(n, k)).astype(np.float32))
    truth = random.integers(0, k, n)
    p[np.arange(n), truth] += 1
    p /= p.sum(axis=1, keepdims=True)
    kept = Conformal.of(p, truth)
    assert len(json.dumps(kept.to_dict())) < 100_000
    measured = measure_sets(kept, torch.from_numpy(p), torch.from_numpy(truth), 0.9)
    assert measured.measured >= 0.9
    assert measured.mean_size < 2


def test_what_a_report_shows_is_counted() -> None:
    p, truth = draw(0, 600)
    new, labels = draw(1, 500)
    kept = Conformal.of(p, truth)
    rows, reason = measure_all(kept, torch.from_numpy(new), torch.from_numpy(labels))
    assert [(row.method, row.coverage) for row in rows] == [(m, c) for m in ("lac", "raps") for c in (0.9, 0.95)]
    assert reason == ""
    for row in rows:
        inside = kept.sets(new, row.coverage, row.method)
        assert row.measured == pytest.approx(inside[np.arange(500), labels].mean())
        assert row.mean_size == pytest.approx(inside.sum(axis=1).mean())
        assert row.interval.low < row.measured < row.interval.high
        assert row.size_interval.low < row.mean_size < row.size_interval.high
    few, reason = measure_all(Conformal.of(p[:12], truth[:12]), torch.from_numpy(new), torch.from_numpy(labels))
    assert [row.coverage for row in few] == [0.9, 0.9]
    assert "0.95 needs 19 validation images" in reason
