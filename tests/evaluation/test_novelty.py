"""The novelty score and its threshold: false alarms as promised, strangers found, files that come back equal."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest
import torch
from scipy.stats import binom
from sklearn.metrics import roc_auc_score
from torch import Tensor

from classicnets.card import NoveltyThreshold
from classicnets.classifier import Classifier
from classicnets.errors import WeightsError
from classicnets.evaluation.novelty import fit_novelty, measure_false_alarms
from classicnets.evaluation.trust import calibrate
from classicnets.models.contract import Classified
from classicnets.novelty import NoveltyScore, _main_directions
from classifiers import images_for, tiny_classifier


def draw(n: int, seed: int, *, k: int = 4, width: int = 64, apart: float = 4.0) -> tuple[Classified, Tensor]:
    """Features of k classes, ReLU-like, with logits that read them."""
    centres = apart * torch.rand(k, width, generator=torch.Generator().manual_seed(7))
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, k, (n,), generator=random)
    features = (centres[labels] + torch.randn(n, width, generator=random)).clamp(min=0)
    return Classified(features @ centres.T / width, features), labels


def strange(n: int, seed: int, *, width: int = 64) -> Classified:
    """Features of none of the classes."""
    features = 4 * torch.rand(n, width, generator=torch.Generator().manual_seed(seed))
    centres = 4.0 * torch.rand(4, width, generator=torch.Generator().manual_seed(7))
    return Classified(features @ centres.T / width, features)


def test_false_alarms_are_as_asked_over_many_draws() -> None:
    alarms = total = 0
    for seed in range(40):
        train, labels = draw(120, seed)
        novelty = fit_novelty(train, labels, draw(60, 1_000 + seed)[0])
        test = draw(100, 2_000 + seed)[0]
        alarms += int((novelty.score(test.features, test.logits) > novelty.threshold.threshold).sum())
        total += 100
    assert alarms <= binom.ppf(0.999, total, 0.05) + 20  # the 60 validation images are shared within a draw
    assert alarms >= 0.02 * total


@pytest.mark.parametrize("n", [24, 400, 2_000])
def test_strangers_have_higher_scores(n: int) -> None:
    train, labels = draw(n, 0)
    score = NoveltyScore.fit(train.features, train.logits, labels)
    known, other = draw(200, 1)[0], strange(200, 2)
    scores = torch.cat([score(known.features, known.logits), score(other.features, other.logits)])
    assert roc_auc_score([0] * 200 + [1] * 200, scores) > 0.95


@pytest.mark.parametrize(
    ("train", "labels"),
    [
        (torch.ones(10, 8), torch.arange(10) % 2),
        (torch.zeros(10, 8), torch.arange(10) % 2),
        (torch.eye(8)[:2], torch.tensor([0, 1])),
        (torch.rand(3, 4096), torch.tensor([0, 0, 5])),
        (torch.rand(300, 4), torch.arange(300)),
    ],
    ids=["all the same", "all zero", "two images", "three images", "a class an image"],
)
def test_degenerate_features_give_finite_scores(train: Tensor, labels: Tensor) -> None:
    score = NoveltyScore.fit(train, torch.zeros(len(train), 6), labels)
    scores = score(torch.cat([train, torch.rand(5, train.shape[1])]), torch.zeros(len(train) + 5, 6))
    assert scores.isfinite().all()


@pytest.mark.parametrize(("n", "width"), [(40, 200), (200, 40)])
def test_the_main_directions_are_those_of_the_singular_value_decomposition(n: int, width: int) -> None:
    random = torch.Generator().manual_seed(0)
    x = torch.randn(n, width, generator=random, dtype=torch.float64) * torch.linspace(5, 0.1, width)
    ours = _main_directions(x, 6)
    theirs = torch.linalg.svd(x, full_matrices=False).Vh[:6].T
    torch.testing.assert_close(ours.T @ ours, torch.eye(6, dtype=torch.float64))
    torch.testing.assert_close(ours @ ours.T, theirs @ theirs.T)


def test_too_few_images_give_no_threshold_and_the_reason() -> None:
    train, labels = draw(100, 0)
    assert fit_novelty(train, labels, draw(18, 1)[0]).reason == (
        "18 validation images are too few to set the threshold; 19 are needed"
    )
    assert fit_novelty(train, labels, draw(19, 1)[0]).threshold.num_images == 19
    one = Classified(*(part[:1] for part in train))
    assert fit_novelty(one, labels[:1], draw(50, 1)[0]).reason == "there are fewer than 2 training images"
    broken = Classified(train.logits, train.features * torch.nan)
    assert fit_novelty(broken, labels, draw(50, 1)[0]).reason == "some features or logits are not finite"


def test_it_can_be_traced_into_a_graph() -> None:
    train, labels = draw(100, 0)
    score = NoveltyScore.fit(train.features, train.logits, labels)

    class Graph(torch.nn.Module):
        def forward(self, features: Tensor, logits: Tensor) -> Tensor:
            return score(features, logits)

    new = draw(7, 3)[0]
    graph = torch.fx.symbolic_trace(Graph())
    torch.testing.assert_close(graph(new.features, new.logits), score(new.features, new.logits))
    assert {node.op for node in graph.graph.nodes} <= {
        "placeholder",
        "get_attr",
        "call_function",
        "call_method",
        "output",
    }


def test_false_alarms_are_counted() -> None:
    alarms = measure_false_alarms(torch.arange(20.0), NoveltyThreshold(17.0, 0.05, 40))
    assert (alarms.asked, alarms.measured) == (0.05, 0.1)
    assert alarms.interval.low < 0.1 < alarms.interval.high


# ---- in a classifier, and in its folder


@cache
def trusted(tta: str = "none") -> Classifier:
    """A tiny classifier, calibrated on images that it answers at random. No test changes it."""
    classifier = tiny_classifier(tta=tta)
    val, train = images_for(classifier, 120), images_for(classifier, 60)
    of = [classifier.classified(part.images) for part in (val, train)]
    return calibrate(classifier, of[0], val.labels, of[1], train.labels)


@pytest.mark.parametrize("tta", ["none", "flip"])
def test_classified_is_logits_and_what_the_last_layer_reads(tta: str) -> None:
    classifier = tiny_classifier(tta=tta)
    images = images_for(classifier, 9).images
    found = classifier.classified(images, batch_size=4)
    torch.testing.assert_close(found.logits, classifier.logits(images), rtol=0, atol=1e-6)
    assert found.features.shape == (9, 64)
    if tta == "none":
        torch.testing.assert_close(classifier.model.head.classifier(found.features), found.logits)
    else:
        mirrored = classifier.classified(images.flip(-1), batch_size=4)
        torch.testing.assert_close(mirrored.features, found.features)
    assert classifier.classified(images[:0]).features.shape == (0, 64)


@pytest.mark.parametrize("tta", ["none", "flip"])
def test_saved_and_loaded_it_is_equal(tta: str, tmp_path: Path) -> None:
    classifier = trusted(tta)
    assert classifier.card.novelty is not None
    assert classifier.card.temperature != 1
    folder = classifier.save(tmp_path / "model")
    (file,) = folder.glob("novelty-*.safetensors")
    config = json.loads((folder / "config.json").read_text())["classicnets"]
    assert config["novelty"]["sha256"].startswith(file.stem.removeprefix("novelty-"))
    loaded = Classifier.load(folder)
    assert loaded.card == classifier.card
    images = images_for(classifier, 30).images
    before, after = classifier.outputs(images), loaded.outputs(images)
    torch.testing.assert_close(after.novelty, before.novelty, rtol=1e-4, atol=1e-4)
    again = loaded.save(tmp_path / "again")
    for name in sorted(f.name for f in folder.iterdir()):
        assert (again / name).read_bytes() == (folder / name).read_bytes()


def test_a_newer_classifier_replaces_the_file_and_one_without_removes_it(tmp_path: Path) -> None:
    folder = trusted().save(tmp_path / "model")
    (first,) = folder.glob("novelty-*")
    trusted("flip").save(folder)
    (second,) = folder.glob("novelty-*")
    assert first != second
    tiny_classifier().save(folder)
    assert sorted(f.name for f in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert Classifier.load(folder).outputs(images_for(tiny_classifier(), 2).images).novelty is None


def test_a_kill_between_two_files_leaves_the_old_classifier_whole(tmp_path: Path, monkeypatch) -> None:
    old = trusted()
    folder = old.save(tmp_path / "model")
    for place in ("save_safetensors", "model_card"):  # before the weights are replaced, and after the config is
        with monkeypatch.context() as patch:
            patch.setattr(f"classicnets.weights.model_folder.{place}", lambda *args: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                trusted("flip").save(folder)
        expected = old if place == "save_safetensors" else trusted("flip")
        assert Classifier.load(folder).card == expected.card


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda file: file.unlink(), "novelty-"),
        (lambda file: file.write_bytes(file.read_bytes()[:-4]), "novelty-"),
        (lambda file: file.write_bytes(file.read_bytes()[:-1] + b"\x01"), "is damaged or was changed"),
    ],
)
def test_a_missing_or_changed_file_is_refused(tmp_path: Path, damage, message: str) -> None:
    folder = trusted().save(tmp_path / "model")
    damage(next(folder.glob("novelty-*")))
    with pytest.raises(WeightsError, match=message):
        Classifier.load(folder)


def test_tensors_that_do_not_fit_together_are_refused() -> None:
    train, labels = draw(100, 0)
    tensors = NoveltyScore.fit(train.features, train.logits, labels).tensors()
    for change in ({"centre": torch.zeros(3)}, {"surprise": torch.zeros(1)}):
        with pytest.raises(WeightsError, match="do not fit together"):
            NoveltyScore.of_tensors({**tensors, **change})
    with pytest.raises(WeightsError, match="do not fit together"):
        NoveltyScore.of_tensors({name: tensor for name, tensor in tensors.items() if name != "centre"})


# ---- answers


def test_answers_say_set_and_warning_and_nothing_without_them() -> None:
    classifier = trusted()
    image = images_for(classifier, 1).images[0]
    answer = classifier.predict(image, coverage=0.9)
    assert list(answer.to_dict()) == ["path", "predictions", "model", "set", "coverage", "unlike_training"]
    assert answer.label in answer.set
    outputs = classifier.outputs(image[None])
    assert answer.unlike_training is (float(outputs.novelty[0]) > classifier.card.novelty.threshold)
    inside = classifier.card.conformal.sets(classifier.card.probabilities(outputs.logits).numpy(), 0.9)[0]
    assert set(answer.set) == {name for name, is_in in zip("abc", inside, strict=True) if is_in}
    assert answer.score == pytest.approx(float((outputs.logits[0] / classifier.card.temperature).softmax(0).max()))
    assert list(classifier.predict(image).to_dict()) == ["path", "predictions", "model", "unlike_training"]
    many = list(classifier.predict_many(images_for(classifier, 40).images, coverage=0.8, sets="raps", batch_size=7))
    assert all(one.label == one.set[0] for one in many)
    assert len({len(one.set) for one in many}) > 1


class Engine:
    """A scorer that is no Classifier: a card, logits and novelty scores, as an exported network would give them."""

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier
        self.card = classifier.card

    def logits(self, images: Tensor, **options: object) -> Tensor:
        return self.outputs(images).logits

    def outputs(self, images: Tensor, **options: object) -> tuple[Tensor, Tensor]:
        return self._classifier.outputs(images)


def test_another_engine_can_say_the_same() -> None:
    from classicnets.evaluation import evaluate
    from classicnets.scorer import Predictor

    classifier = trusted()
    images = images_for(classifier, 50)
    engine = Engine(classifier)
    for image in images.images[:5]:
        assert Predictor.predict(engine, image, coverage=0.9) == classifier.predict(image, coverage=0.9)
    assert evaluate(engine, images) == evaluate(classifier, images)
    assert evaluate(engine, images).trust.false_alarms is not None
