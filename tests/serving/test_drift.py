"""Drift is noticed, and false alarms are as rare as stated. MAPIE's exchangeability test is the judge."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from mapie.exchangeability_testing import OnlineMartingaleTest
from numpy.typing import NDArray
from prometheus_client.parser import text_string_to_metric_families
from scipy.stats import binom
from torch import Tensor

from bundles import rewrite, tiny_card, write_bundle
from classicnets.card import Card
from classicnets.classifier import Classifier
from classicnets.data import load_data
from classicnets.data.pipeline.pack import pack
from classicnets.drift import DriftReference
from classicnets.errors import ConfigError
from classicnets.evaluation.corruptions import corrupt
from classicnets.evaluation.trust import calibrate
from classicnets.serving import drift as drift_module
from classicnets.serving.drift import DriftTest
from classicnets.serving.models import Served
from servers import png, prepared, running

GOLDEN = Path(__file__).parents[1] / "golden" / "0.1.0" / "finished"


def reference_of(scores: NDArray[np.float64]) -> DriftReference:
    return DriftReference("doubt", tuple(np.sort(scores).tolist()))


def normal(n: int, seed: int) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=n)


def test_p_values_are_those_of_mapie() -> None:
    rng = np.random.default_rng(0)
    kept, asked = (rng.integers(0, 20, n).astype(float) for n in (60, 200))  # many ties
    ours = DriftTest(reference_of(kept), np.random.default_rng(1).uniform)
    judge = OnlineMartingaleTest(random_state=1)
    history = kept.tolist()
    for score in asked.tolist():
        assert ours.add(score) == pytest.approx(judge.compute_p_value(score, np.array(history)), abs=1e-12)
        history.append(score)


@pytest.mark.parametrize("shift", [0.0, 0.8, -0.8])
def test_the_judge_and_we_agree(shift: float) -> None:
    ours = DriftTest(reference_of(normal(400, 0)), random.Random(0).random)
    judge = OnlineMartingaleTest(test_method="jumper_martingale", test_level=0.01, warn=False)
    for score in normal(600, 1) + shift:
        p = ours.add(score)
        judge.update_simple_jumper_martingale(p)
        judge.pvalue_history.append(p)
    assert ours.state().alarm == (judge.is_exchangeable is False) == (shift != 0)


def alarms(windows: int, images: int, scores: Callable[[np.random.Generator], NDArray[np.float64]]) -> int:
    """How many windows of images without drift have an alarm; each has validation images of its own."""
    count = 0
    for seed in range(windows):
        values = scores(np.random.default_rng(seed)).tolist()
        test = DriftTest(reference_of(np.array(values[:-images])), random.Random(seed).random, window=images)
        for score in values[-images:]:
            test.add(score)
        count += test.state().alarm
    return count


def skewed(rng: np.random.Generator) -> NDArray[np.float64]:
    return rng.exponential(size=60 + 250)


def tied(rng: np.random.Generator) -> NDArray[np.float64]:
    return rng.integers(0, 4, 60 + 250).astype(float)


@pytest.mark.parametrize("scores", [skewed, tied])
def test_false_alarms_are_as_rare_as_stated(scores, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a rate of 10 %, so that few windows tell much, and with 60 validation images, which would fool fixed ranks."""
    monkeypatch.setattr(drift_module, "FALSE_ALARM_RATE", 0.1)
    found = alarms(150, 250, scores)
    assert found <= binom.ppf(0.9999, 150, 0.1)
    assert found > 0, "a test that never bets would pass"


@pytest.mark.slow
def test_false_alarms_of_whole_windows() -> None:
    found = alarms(1_000, 2_000, lambda rng: rng.gamma(2, size=200 + 2_000))
    assert found <= binom.ppf(0.9999, 1_000, 0.01)


@pytest.mark.parametrize(
    ("change", "within"),
    [
        (lambda z: z + 3, 30),  # much stranger
        (lambda z: z + 0.4, 400),  # a little stranger
        (lambda z: np.where(np.arange(len(z)) % 10 == 0, z + 4, z), 300),  # one in ten is much stranger
        (lambda z: z - 1, 150),  # a little less strange
        (lambda z: z * 3, 200),  # stranger or less strange
        (lambda z: z * 0.3, 200),  # all alike
    ],
    ids=["far", "near", "some", "easier", "wider", "narrower"],
)
def test_drift_is_found_after_a_long_time_without_it(change, within: int) -> None:
    test = DriftTest(reference_of(normal(500, 0)), random.Random(0).random)
    for score in normal(2_000, 1):
        test.add(score)
    assert not test.state().alarm
    for score in change(normal(within, 2)):
        test.add(score)
    assert test.state().alarm


def test_an_alarm_ends_with_the_first_whole_window_without_one() -> None:
    test = DriftTest(reference_of(normal(100, 0)), random.Random(0).random, window=200)
    seen = []
    for part in (normal(200, 1) + 3, normal(199, 2), normal(1, 3), normal(1, 4)):
        for score in part:
            test.add(score)
        seen.append((test.state().alarm, test.state().images))
    assert seen == [(True, 200), (True, 199), (True, 200), (False, 1)]
    assert "No sign of drift in 1 image." in test.state().words


class TestReference:
    def test_a_random_sample_with_six_digits(self) -> None:
        probabilities = np.random.default_rng(0).dirichlet([1, 1], 3_000)
        kept = DriftReference.of(probabilities, None)
        assert kept is not None
        assert len(kept.scores) == 1_000
        scores = kept.scores_of(probabilities, None)
        assert scores is not None
        assert set(kept.scores) <= set(scores.tolist())
        assert DriftReference.from_dict(json.loads(json.dumps(kept.to_dict()))) == kept

    def test_too_few_or_not_finite(self) -> None:
        assert DriftReference.of(np.full((49, 2), 0.5), None) is None
        assert DriftReference.of(np.full((60, 2), 0.5), np.full(60, np.nan)) is None

    @pytest.mark.parametrize("values", [{}, {"kind": "x", "scores": "1 " * 60}, {"kind": "doubt", "scores": "1 nan"}])
    def test_damage(self, values: dict[str, str]) -> None:
        with pytest.raises(ConfigError, match="the scores for drift"):
            DriftReference.from_dict(values)

    def test_a_card_of_an_earlier_version_has_none(self) -> None:
        values = tiny_card().to_dict()
        assert values.pop("drift") is None
        assert Card.from_dict(values).drift is None


class Digits(NamedTuple):
    """A classifier of handwritten digits that was trained for real, and calibrated on its validation images."""

    classifier: Classifier
    without_novelty: DriftReference
    test_images: Tensor


@pytest.fixture(scope="module")
def digits() -> Digits:
    data, classifier = load_data("digits", val_fraction=0.2, test_fraction=0.2), Classifier.load(GOLDEN)
    train, val, test = (pack(part, classifier.preprocess) for part in (data.train, data.val, data.test))
    of_val, of_train = classifier.classified(val.images), classifier.classified(train.images)
    made = calibrate(classifier, of_val, val.labels, of_train, train.labels)
    reference = DriftReference.of(made.card.probabilities(of_val.logits), None)
    assert reference is not None
    order = torch.randperm(len(test.images), generator=torch.Generator().manual_seed(0))
    return Digits(made, reference, test.images[order])


@pytest.mark.parametrize(
    ("kind", "change", "severity"),
    [
        ("novelty", None, 0), ("novelty", "contrast", 2), ("novelty", "fog", 3), ("novelty", "motion_blur", 5),
        ("doubt", None, 0), ("doubt", "contrast", 2), ("doubt", "fog", 3), ("doubt", "frost", 5),
    ],
)  # fmt: skip
def test_a_real_classifier(digits: Digits, kind: str, change: str | None, severity: int) -> None:
    classifier, images = digits.classifier, digits.test_images
    card = classifier.card
    reference = card.drift if kind == "novelty" else digits.without_novelty
    assert reference is not None
    assert reference.kind == kind
    outputs = classifier.outputs(images if change is None else corrupt(images, change, severity))
    scores = reference.scores_of(card.probabilities(outputs.logits), outputs.novelty)
    assert scores is not None
    test = DriftTest(reference, random.Random(0).random)
    for score in scores.tolist():
        test.add(score)
    assert test.state().alarm == (change is not None)


def test_the_classifier_keeps_its_scores(digits: Digits, tmp_path: Path) -> None:
    loaded = Classifier.load(digits.classifier.save(tmp_path / "digits"))
    assert loaded.card.drift == digits.classifier.card.drift
    answer = loaded.predict(digits.test_images[0].numpy()[0])
    assert answer.strangeness is not None
    assert "strangeness" not in answer.to_dict()


@pytest.fixture
def watched(tmp_path: Path) -> Path:
    """A bundle that keeps scores of validation images, all of them mostly red, green or blue."""
    folder = write_bundle(tmp_path / "tiny")
    doubts = np.linspace(0.001, 0.01, 100)
    reference = DriftReference.of(np.stack([1 - doubts, doubts], axis=1), None)
    rewrite(folder, card=replace(tiny_card(), drift=reference).to_dict())
    return folder


def test_a_server_says_it(watched: Path) -> None:
    with running([Served("tiny", watched)]) as server:
        (model,) = server.ask("GET", "/v1/models").json()["models"]
        assert model["drift"]["words"] == "No image to compare with the validation images yet."
        for _ in range(20):
            server.ask("POST", "/v1/predict", png(0))
        pixels = np.repeat(prepared(1)[None], 2, axis=0)
        tensor = {"name": "images", "datatype": "UINT8", "shape": [2, 3, 8, 8], "data": pixels.ravel().tolist()}
        server.ask("POST", "/v2/models/tiny/infer", json.dumps({"inputs": [tensor]}))
        (model,) = server.ask("GET", "/v1/models").json()["models"]
        assert (model["drift"]["images"], model["drift"]["alarm"]) == (22, True)
        assert model["drift"]["words"].startswith("Drift: recent images do not look like the validation images.")
        metrics = server.ask("GET", "/metrics").body.decode()
        assert 'classicnets_drift_alarm{model="tiny"} 1.0' in metrics
        evidence = [family for family in text_string_to_metric_families(metrics) if "evidence" in family.name]
        assert [sample.labels for family in evidence for sample in family.samples] == [{"model": "tiny"}]


def test_a_bundle_without_scores_has_no_drift(bundle: Path) -> None:
    with running([Served("tiny", bundle)]) as server:
        assert server.ask("GET", "/v1/models").json()["models"][0]["drift"] is None
        assert "classicnets_drift_alarm{" not in server.ask("GET", "/metrics").body.decode()


def test_a_model_that_is_replaced_begins_a_new_test(watched: Path) -> None:
    served = Served("tiny", watched)
    before = served.scorer
    served.watch(before, [0.5])
    rewrite(watched, created="2026-01-02T00:00:00Z")
    assert served.refresh()
    assert served.drift is not None
    served.watch(before, [0.5])
    assert served.drift.state().images == 0, "what the old one answered does not count"
