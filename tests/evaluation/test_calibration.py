"""The temperature: never worse on the images that it was fitted on, and 1 with a reason if they do not tell it."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

from classicnets.evaluation.calibration import fit_temperature
from classicnets.evaluation.metrics import cross_entropy


def draw(seed: int, *, n: int = 400, k: int = 5, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """Logits whose softmax at temperature `scale` is the truth, and labels that follow it."""
    random = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(n, k, generator=random, dtype=torch.float64)
    labels = torch.multinomial(logits.softmax(dim=1), 1, generator=random)[:, 0]
    return scale * logits, labels


@pytest.mark.parametrize("seed", range(40))
def test_it_never_makes_the_loss_worse(seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    n, k = int(torch.randint(1, 200, (), generator=random)), int(torch.randint(2, 30, (), generator=random))
    logits = torch.randn(n, k, generator=random) * 10 ** float(torch.randn((), generator=random))
    labels = torch.randint(0, k, (n,), generator=random)
    found = fit_temperature(logits, labels)
    assert found.value > 0
    assert found.loss_after <= found.loss_before
    assert found.loss_after == pytest.approx(cross_entropy(logits.double() / found.value, labels))
    assert (found.reason == "") or found.value == 1


@pytest.mark.parametrize("scale", [0.4, 1.7, 5.0])
def test_it_finds_the_temperature_that_the_scores_are_off_by(scale: float) -> None:
    logits, labels = draw(0, n=5_000, scale=scale)
    found = fit_temperature(logits, labels)
    assert found.value == pytest.approx(scale, rel=0.06)
    assert found.ece_after < 0.02 < found.ece_before
    around = [cross_entropy(logits / (found.value * factor), labels) for factor in (0.99, 1.01)]
    assert found.loss_after < min(around)


@pytest.mark.parametrize(
    ("logits", "labels", "reason"),
    [
        (torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64), "there are no validation images"),
        (*(part[:30] for part in draw(1, scale=3.0)), "30 validation images are too few to fit it; 50 are needed"),
        (torch.eye(3).repeat(30, 1), torch.arange(3).repeat(30), "all 90 answers on the validation images are right"),
        (torch.eye(3).repeat(30, 1), torch.arange(3).roll(1).repeat(30), "all 90 answers .* are wrong"),
        (torch.full((60, 3), torch.inf), torch.arange(3).repeat(20), "not finite"),
        (torch.tensor([[9.0, 0.0]] * 80), torch.tensor([0, 1] * 40), "outside 0.05 to 20"),
    ],
    ids=["none", "few", "right", "wrong", "infinite", "noise"],
)
def test_images_that_do_not_tell_it_leave_it_at_1_and_say_why(logits: Tensor, labels: Tensor, reason: str) -> None:
    found = fit_temperature(logits, labels)
    assert found.value == 1
    assert found.loss_after == found.loss_before or found.loss_before != found.loss_before
    assert re.search(reason, found.reason)
    assert found.to_dict()["reason"] == found.reason


def test_a_temperature_that_only_fits_its_own_half_is_not_taken() -> None:
    """One confident mistake among 60: the half that holds it asks for a temperature that the other half loses by."""
    logits = torch.tensor([[4.0, 0.0]]).repeat(60, 1)
    labels = torch.zeros(60, dtype=torch.int64)
    labels[0] = 1
    found = fit_temperature(logits, labels)
    assert (found.value, found.loss_after) == (1.0, found.loss_before)
    assert "half" in found.reason


def test_many_logits_are_sampled_and_the_result_still_holds_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, labels = draw(2, n=8_000, scale=2.0)
    monkeypatch.setattr("classicnets.evaluation.calibration._MOST_LOGITS", 10_000)
    found = fit_temperature(logits, labels)
    assert found.value == pytest.approx(2, rel=0.1)
    assert found.num_images == 8_000
    assert found.loss_after < found.loss_before
