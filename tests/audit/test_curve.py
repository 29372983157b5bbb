"""`learning_curve`: what it measures, what it expects of more images, and when it says "enough"."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import classicnets as cn
from classicnets.audit import curve as curve_module
from classicnets.audit.curve import curves_of, head_learner
from classicnets.audit.curve.fit import fit
from classicnets.audit.curve.measure import Answers, measure
from classicnets.audit.curve.outcome import LearningCurve
from classicnets.audit.fold_network import Trained
from classicnets.data import Data, ImageSet
from classicnets.data.split import folds
from classicnets.errors import ConfigError, DataError
from classifiers import tiny_classifier

QUIET = {"progress": lambda done, total: None}


def numbered(labels: Tensor) -> ImageSet:
    """A set whose images are all different."""
    numbers = torch.arange(len(labels))
    pixels = torch.stack([numbers % 256, numbers // 256], dim=1).to(torch.uint8).view(-1, 1, 1, 2)
    return ImageSet(
        tuple(map(str, range(int(labels.max()) + 1))), labels, tuple(map(str, numbers.tolist())), images=pixels
    )


def gaussians(number: int, seed: int, spread: float = 0.5) -> tuple[Tensor, Tensor]:
    """Features and labels of 4 classes in 12 dimensions."""
    means = torch.randn(4, 12, generator=torch.Generator().manual_seed(0)) * spread
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randperm(number, generator=generator) % 4
    return means[labels] + torch.randn(number, 12, generator=generator), labels


def audited(inputs: Tensor, labels: Tensor) -> LearningCurve:
    answers = measure(
        labels, folds(labels, 5, seed=0), head_learner(inputs, labels, 4), sizes=5, repeats=2, folds=5, seed=0, **QUIET
    )
    overall, classes = curves_of(answers, numbered(labels), len(labels), 0)
    return LearningCurve("gaussians", overall, classes, "heads")


# ---- the fit


def test_a_power_law_is_found_again() -> None:
    sizes = np.array([20.0, 40, 80, 160, 320])
    with_floor = np.tile(0.1 + 2.0 * sizes**-0.8, (2, 1))
    laws = fit(sizes, with_floor, np.ones(5))
    assert laws.errors(640)[0] == pytest.approx(0.1 + 2.0 * 640**-0.8, abs=1e-3)
    falling = np.tile(1.5 * sizes**-0.5, (2, 1))
    assert fit(sizes, falling, np.ones(5)).errors(5120) == pytest.approx(1.5 * 5120**-0.5, abs=1e-3)


def test_more_images_never_cost_accuracy_and_errors_stay_in_range() -> None:
    random = np.random.default_rng(0)
    laws = fit(np.array([10.0, 20, 40]), random.uniform(0, 1, (50, 3)), np.ones(3))
    numbers = [laws.errors(n) for n in (1, 10, 100, 10_000)]
    for fewer, more in itertools.pairwise(numbers):
        assert (more <= fewer + 1e-12).all()
    assert all(((errors >= 0) & (errors <= 1)).all() for errors in numbers)


# ---- the measuring


def test_parts_grow_keep_the_classes_and_never_hold_what_is_judged() -> None:
    labels = torch.arange(100) % 4
    fold_of = folds(labels, 5, seed=0)
    asked: list[tuple[int, ...]] = []

    def learn(part: Tensor, held: Tensor, seed: int) -> Tensor:
        assert not set(part.tolist()) & set(held.tolist())
        counts = labels[part].bincount(minlength=4)
        assert counts.max() - counts.min() <= 2
        asked.append((int(fold_of[held[0]]), len(part)))
        return labels[held] if len(part) == 80 else (labels[held] + 1) % 4

    answers = measure(labels, fold_of, learn, sizes=4, repeats=2, folds=5, seed=0, **QUIET)
    assert answers.sizes.tolist() == pytest.approx([8, 17, 37, 80], abs=1)
    assert answers.right.mean(axis=1).tolist() == [0, 0, 0, 1]
    assert len(asked) == 5 * (3 * 2 + 1), "all of the other folds are learned from once"


def test_an_image_counts_by_the_share_of_repeats() -> None:
    labels = torch.arange(60) % 2
    calls = iter(range(1000))

    def learn(part: Tensor, held: Tensor, seed: int) -> Tensor:
        return labels[held] if next(calls) % 2 else 1 - labels[held]

    answers = measure(labels, folds(labels, 3, seed=0), learn, sizes=2, repeats=2, folds=1, seed=0, **QUIET)
    assert set(answers.right[0][answers.judged].tolist()) <= {0.0, 0.5, 1.0}
    assert answers.judged.sum() == 20


# ---- what is expected


def test_the_expected_gain_is_what_more_images_really_add() -> None:
    inputs, labels = gaussians(160, 1)
    found = audited(inputs, labels)
    test = gaussians(4000, 99)
    real = []
    for seed in range(6):
        more = gaussians(320, 10 + seed)
        learn = head_learner(torch.cat([more[0], test[0]]), torch.cat([more[1], test[1]]), 4)
        held = torch.arange(320, 4320)
        few, many = ((learn(torch.arange(n), held, 0) == test[1]).float().mean().item() for n in (160, 320))
        real.append(many - few)
    low, high = found.overall.doubled.interval
    assert low <= float(np.mean(real)) <= high
    assert high - low < 0.12, "an interval that holds anything says nothing"
    assert len(found.classes) == 4
    gains = [one.more.value for one in found.classes]
    assert gains == sorted(gains, reverse=True)


def test_enough_is_said_if_and_only_if_doubling_adds_little() -> None:
    few, many = audited(*gaussians(80, 1, spread=0.4)), audited(*gaussians(600, 1, spread=3.0))
    assert not few.overall.is_enough
    assert few.sentence.startswith("100 more images of each class would add ")
    assert many.overall.is_enough
    assert many.overall.doubled.interval.high < 0.005
    assert many.sentence.startswith("There are enough images: twice as many would add at most 0.")


def test_a_class_with_few_judged_images_has_no_curve_of_its_own() -> None:
    labels = torch.tensor([0] * 50 + [1] * 48 + [2] * 2)
    answers = Answers(np.array([10.0, 80]), np.full((2, 100), 0.5), np.full(2, 0.01), np.ones(100, bool))
    overall, classes = curves_of(answers, numbered(labels), 100, 0)
    assert {one.name for one in classes} == {"0", "1"}
    assert overall.added == 300


# ---- the whole


def test_with_weights(corners: Data, tmp_path: Path) -> None:
    model = tiny_classifier().save(tmp_path / "model")
    found = cn.learning_curve(corners, weights=model)
    assert found.overall.now == 100, "training and validation images, no test images"
    assert [round(p.images) for p in found.overall.points][-1] == 80
    assert found.overall.points[-1].accuracy > 0.5
    page = found.save(tmp_path / "audit") / "curve.html"
    assert "Are there enough images?" in page.read_text("utf-8")
    answer = json.loads((tmp_path / "audit" / "curve.json").read_text("utf-8"))
    assert answer["overall"]["more"].keys() == {"gain", "low", "high"}
    assert answer == json.loads(json.dumps(cn.learning_curve(corners, run=model).to_dict()))
    with pytest.raises(ConfigError, match="never overwritten"):
        found.save(tmp_path / "audit")


def test_without_weights_small_networks_learn(corners: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    learned: list[int] = []

    def train_fold(small: ImageSet, rest: Tensor, held: Tensor, *others: object) -> Trained:
        learned.append(int(rest.sum()))
        assert not (rest & held).any()
        logits = torch.nn.functional.one_hot(small.labels[held], 4).float()
        return Trained(None, logits)  # type: ignore[arg-type]

    monkeypatch.setattr(curve_module, "train_fold", train_fold)
    found = cn.learning_curve(corners)
    assert learned == [8, 17, 37, 80] * 2
    assert found.method == "small networks (ResNet-8)"
    assert [p.accuracy for p in found.overall.points] == [1, 1, 1, 1]


@pytest.mark.parametrize("number", [12, 29])
def test_few_images_are_refused(corners: Data, number: int) -> None:
    with pytest.raises(DataError, match=f"{number} images are too few for a learning curve, which needs at least 30"):
        cn.learning_curve(corners.train.sample(number))


def test_a_limit_that_is_too_low_is_refused(corners: Data) -> None:
    with pytest.raises(ConfigError, match="at least 30, got 5"):
        cn.learning_curve(corners, most_images=5)


def test_ten_thousand_classes_of_one_image_are_refused_in_a_sentence(corners: Data) -> None:
    images = corners.train.images[:1].expand(10_000, -1, -1, -1)  # type: ignore[index]
    labels = torch.arange(10_000)
    single = ImageSet(tuple(map(str, range(10_000))), labels, tuple(map(str, range(10_000))), images=images)
    with pytest.raises(DataError, match="single image"):
        cn.learning_curve(single)


def test_many_classes_and_images_are_sampled_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = torch.arange(600) % 250
    monkeypatch.setattr(curve_module, "small_images", lambda images, model, progress: images)

    def train_fold(small: ImageSet, rest: Tensor, held: Tensor, *others: object) -> Trained:
        return Trained(None, torch.zeros(int(held.sum()), 250))  # type: ignore[arg-type]

    monkeypatch.setattr(curve_module, "train_fold", train_fold)
    found = cn.learning_curve(numbered(labels), most_images=300)
    assert any("of 250 classes, the 200 with the most" in note for note in found.notes)
    assert any("300 are used" in note for note in found.notes)
    assert found.classes == ()


def test_a_group_is_in_one_fold(corners: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    groups = tuple(f"g{i // 5}" for i in range(80))
    grouped = replace(corners.train, groups=groups)

    def train_fold(small: ImageSet, rest: Tensor, held: Tensor, *others: object) -> Trained:
        names = np.array(groups)
        assert not set(names[rest.numpy()]) & set(names[held.numpy()])
        return Trained(None, torch.zeros(int(held.sum()), 4))  # type: ignore[arg-type]

    monkeypatch.setattr(curve_module, "train_fold", train_fold)
    found = cn.learning_curve(grouped)
    assert any("new groups" in note for note in found.notes)
