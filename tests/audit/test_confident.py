"""Confident learning and the head, beside cleanlab and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cleanlab.count import compute_confident_joint, get_confident_thresholds
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from classicnets.audit import confident
from classicnets.audit.confident import confident_learning
from classicnets.audit.head import fit_head


def judged_images(number: int, num_classes: int, seed: int) -> tuple[Tensor, Tensor]:
    """Probabilities that mostly know the truth, and labels of which a tenth is wrong."""
    random = torch.Generator().manual_seed(seed)
    truth = torch.randint(0, num_classes, (number,), generator=random)
    logits = torch.randn(number, num_classes, generator=random)
    logits[torch.arange(number), truth] += 5
    wrong = torch.rand(number, generator=random) < 0.1
    shifted = (truth + torch.randint(1, num_classes, (number,), generator=random)) % num_classes
    return logits.softmax(dim=1), torch.where(wrong, shifted, truth)


@pytest.mark.parametrize("seed", range(3))
def test_suspects_and_their_expected_number_are_those_of_cleanlab(seed: int) -> None:
    probabilities, labels = judged_images(400, 5, seed)
    found = confident_learning(probabilities, labels)
    given, p = labels.numpy(), probabilities.double().numpy()
    issues = find_label_issues(given, p, filter_by="confident_learning")
    assert sorted(found.suspects.tolist()) == np.flatnonzero(issues).tolist()
    joint = compute_confident_joint(given, p, calibrate=False)  # calibrated below as in Sec. 3.1: cleanlab rounds it
    right = (joint.diagonal() / joint.sum(axis=1) * np.bincount(given)).sum()
    assert found.expected_wrong == pytest.approx(len(labels) - right, rel=1e-4)
    own = get_label_quality_scores(given, p, method="self_confidence")
    usual = get_confident_thresholds(given, p)[given]
    np.testing.assert_allclose(found.score.numpy(), usual / (usual + own), atol=1e-5)


def test_a_label_is_measured_by_what_its_class_usually_gets() -> None:
    sure, unsure = [[0.9, 0.1]] * 4, [[0.4, 0.6]] * 4
    labels = torch.tensor([0] * 4 + [1] * 4 + [0, 1])
    probabilities = torch.tensor([*sure, *unsure, [0.5, 0.5], [0.5, 0.5]])
    score = confident_learning(probabilities, labels).score
    assert score[8] > score[9], "0.5 is unusual for the first class only"
    assert score[0] == pytest.approx(0.477, abs=0.001)


def test_the_surest_come_first_and_have_a_proposal() -> None:
    probabilities, labels = judged_images(300, 4, 7)
    found = confident_learning(probabilities, labels)
    scores = found.score[found.suspects]
    assert (scores.diff() <= 0).all()
    assert (found.proposed[found.suspects] != labels[found.suspects]).all()
    others = torch.ones(300, dtype=torch.bool)
    others[found.suspects] = False
    assert torch.equal(found.proposed[others], labels[others])


def test_what_cannot_be_judged_is_no_suspect() -> None:
    probabilities, labels = judged_images(300, 4, 7)
    found = confident_learning(probabilities, labels)
    judged = torch.ones(300, dtype=torch.bool)
    judged[found.suspects[0]] = False
    assert confident_learning(probabilities, labels, judged=judged).suspects.tolist() == found.suspects[1:].tolist()


def test_a_class_without_images_is_never_proposed() -> None:
    probabilities = torch.tensor([[0.1, 0.0, 0.9], [0.9, 0.0, 0.1], [0.2, 0.7, 0.1]])
    found = confident_learning(probabilities, torch.tensor([0, 0, 1]))
    assert found.suspects.tolist() == []
    assert found.expected_wrong == 0


def test_many_classes_are_looked_at_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    probabilities, labels = judged_images(300, 6, 1)
    whole = confident_learning(probabilities, labels)
    monkeypatch.setattr(confident, "_NUMBERS", 50)
    for one, other in zip(whole, confident_learning(probabilities, labels), strict=True):
        assert torch.equal(torch.as_tensor(one), torch.as_tensor(other))


def clouds(number: int, seed: int) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(number) % 3
    centres = 2 * torch.randn(3, 8, generator=random)
    return centres[labels] + torch.randn(number, 8, generator=random), labels


def test_the_head_is_the_logistic_regression_of_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = clouds(200, 0)
    features[:, 3] = 7.0  # constant
    head = fit_head(features, labels, 3, l2=5.0, steps=500)
    scaled = ((features - head.mean) / head.std).double().numpy()
    judge = LogisticRegression(C=1 / 5.0, tol=1e-8, max_iter=1000).fit(scaled, labels.numpy())
    np.testing.assert_allclose(head.probabilities(features).numpy(), judge.predict_proba(scaled), atol=2e-3)
    monkeypatch.setattr("classicnets.audit.head._ROWS", 40)
    torch.testing.assert_close(
        fit_head(features, labels, 3, l2=5.0, steps=500).probabilities(features), head.probabilities(features),
        atol=1e-3, rtol=0,
    )  # fmt: skip


def test_the_head_takes_classes_without_images_and_a_single_image() -> None:
    features, labels = clouds(60, 1)
    probabilities = fit_head(features, labels, 5).probabilities(features)
    assert probabilities[:, 3:].max() < 0.05
    assert (probabilities.argmax(1) == labels).float().mean() > 0.9
    alone = fit_head(features[:1], labels[:1], 3).probabilities(features)
    assert alone.isfinite().all()
