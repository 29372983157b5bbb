"""A bundle keeps the drift scores that it gives validation images itself."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bundles import tiny_card
from classicnets.conformal import Conformal
from classicnets.deployment.engines import Answered, Settings
from classicnets.deployment.precision import with_own_drift
from classicnets.drift import DriftReference

EXACT = np.tile([0.9, 0.06, 0.04], (60, 1)).astype(np.float32)
ROUNDED = np.tile([0.8, 0.1, 0.1], (60, 1)).astype(np.float32)
IMAGES = np.zeros((60, 3, 8, 8), np.uint8)
CARD = replace(tiny_card(), conformal=Conformal.of(EXACT, np.zeros(60, int)))


def made(labels: np.ndarray | None) -> Any:
    reference = SimpleNamespace(images=IMAGES, answers=Answered(EXACT, None))
    return SimpleNamespace(images=SimpleNamespace(labels=labels), reference=reference)


def reduced(precision: str) -> Any:
    def run(images: np.ndarray) -> Answered:
        return Answered(ROUNDED[: len(images)], None)

    return SimpleNamespace(session=SimpleNamespace(run=run), settings=Settings(precision=precision))


@pytest.mark.parametrize(("precision", "probabilities"), [("fp32", EXACT), ("int8", ROUNDED), ("bf16", ROUNDED)])
def test_scores_are_those_of_the_precision(precision: str, probabilities: np.ndarray) -> None:
    card = with_own_drift(CARD, made(np.zeros(60, np.int64)), reduced(precision))
    assert card.drift == DriftReference.of(probabilities, None)


@pytest.mark.parametrize("card", [CARD, tiny_card()], ids=["images gone", "images trained on"])
def test_without_validation_images_only_fp32_keeps_what_it_has(card) -> None:
    kept = DriftReference.of(EXACT, None)
    labels = None if card is CARD else np.zeros(60, np.int64)
    card = replace(card, drift=kept)
    assert with_own_drift(card, made(labels), reduced("fp32")).drift == kept
    assert with_own_drift(card, made(labels), reduced("int8")).drift is None
