"""`look`: filters, feature maps, units and a plane of any network; the classifier stays as it was."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import classicnets as cn
from classicnets.classifier import Classifier
from classicnets.data import ImageSet
from classicnets.errors import BadImage, ConfigError, UnknownName
from classicnets.explanation import NetworkView, activations
from classicnets.explanation.activations import watch
from classicnets.explanation.filters import first_filters
from classicnets.models.catalog import create
from classicnets.preprocess import Preprocess
from classifiers import images_for, tiny_classifier
from photos import encode, make_photo
from untouched import FAMILIES, same, snapshot, used_classifier


def colour_images(classifier: Classifier, n: int) -> ImageSet:
    """Images of the classifier's size in its first two classes, in turn."""
    channels, size = classifier.preprocess.channels, classifier.preprocess.input_size
    pixels = torch.randint(0, 256, (n, channels, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(n))
    ids = tuple(f"{i}.png" for i in range(n))
    return ImageSet(classes=classifier.classes, labels=torch.arange(n) % 2, ids=ids, images=pixels)


@pytest.mark.parametrize("tta", ["none", "flip"])
def test_the_classifier_stays_as_it_was(tta: str) -> None:
    classifier = used_classifier(tta)
    before = snapshot(classifier)
    cn.look(classifier, colour_images(classifier, 6), pictures=[encode(make_photo("disc", 0))])
    assert same(before, snapshot(classifier))


def test_the_classifier_stays_as_it_was_on_errors() -> None:
    classifier = used_classifier("flip")
    before = snapshot(classifier)

    def fail(what: str, done: int, total: int) -> None:
        if what == "Looking at images":
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        cn.look(classifier, colour_images(classifier, 3), progress=fail)
    assert same(before, snapshot(classifier))


@pytest.mark.parametrize(("name", "channels"), list(zip(FAMILIES, (3, 1) * 3, strict=True)))
def test_every_family(name: str, channels: int) -> None:
    net = create(name, num_classes=2, in_channels=channels, generator=torch.Generator().manual_seed(2))
    side = max(32, net.config.min_size)
    preprocess = Preprocess(input_size=(side, side), mean=(0.4,) * channels, std=(0.3,) * channels)
    classifier = Classifier(model=net, model_name=name, classes=("a", "b"), preprocess=preprocess)
    view = cn.look(classifier, colour_images(classifier, 6), units=3)
    stages = net.stage_names
    assert [picture.path for picture in view.pictures] == ["0.png", "1.png"]
    for shown in ([stage.stage for stage in view.units], [stage.stage for stage in view.pictures[0].stages]):
        assert (shown[0], shown[-1]) == (stages[0], stages[-1])
    for stage in view.units:
        assert len(stage.units) <= 3
        for unit in stage.units:
            values = [seen.value for seen in unit.images]
            assert len(values) == 6
            assert all(first >= second for first, second in pairwise(values))
    values = view.to_dict()
    assert json.loads(json.dumps(values)) == json.loads(json.dumps(values, allow_nan=False))
    assert len(values["plane"]) == 6
    assert values["plane"][0].keys() == {"path", "label", "predicted", "pca", "t-sne"}


def test_peaks_are_the_highest_values_of_all_images(monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = tiny_classifier()
    images = images_for(classifier, 23)
    assert images.images is not None
    monkeypatch.setattr(activations, "_MOST_IMAGES", 5)  # so that the best are gathered over batches
    peaks = watch(classifier, images.images, ["conv3"], most=4).peaks["conv3"]
    outputs = classifier.model.eval().features(classifier.preprocess.normalize(images.images))["conv3"].detach()
    highest = outputs.flatten(2).amax(dim=2)
    torch.testing.assert_close(peaks.values, highest.sort(dim=0, descending=True).values[:4])
    rows, columns = peaks.places // peaks.size[1], peaks.places % peaks.size[1]
    channels = torch.arange(outputs.shape[1]).expand_as(peaks.images)
    torch.testing.assert_close(outputs[peaks.images, channels, rows, columns], peaks.values)
    contrast = (peaks.values.mean(dim=0) - highest.mean(dim=0)) / highest.std(dim=0, correction=0)
    contrast[highest.amax(dim=0) <= 0] = -1
    assert peaks.selective(5) == contrast.argsort(descending=True)[:5].tolist()


@pytest.mark.parametrize(("name", "stage"), [("resnet20_cifar", "conv1"), ("alexnet_cifar", "conv2")])
def test_a_unit_sees_its_area_and_nothing_else(name: str, stage: str) -> None:
    net = create(name, num_classes=2, generator=torch.Generator().manual_seed(1))
    preprocess = Preprocess(input_size=(32, 32), mean=(0.5,) * 3, std=(0.2,) * 3)
    classifier = Classifier(model=net, model_name=name, classes=("a", "b"), preprocess=preprocess)
    images = colour_images(classifier, 4)
    assert images.images is not None
    (seen_stage,) = cn.look(classifier, images, stage=stage, units=2).units
    for unit in seen_stage.units:
        seen = unit.images[0]
        rows, columns = seen_stage.area(seen, (32, 32))
        assert 0 <= rows.first <= rows.last < 32
        assert rows.last - rows.first < 31
        only = torch.zeros_like(images.images[seen.image])
        part = (slice(None), slice(rows.first, rows.last + 1), slice(columns.first, columns.last + 1))
        only[part] = images.images[seen.image][part]
        assert value_of(classifier, only, stage, unit.channel, seen.row, seen.column) == pytest.approx(
            seen.value, abs=1e-5
        )
        without = images.images[seen.image].clone()
        without[part] = 0
        assert value_of(classifier, without, stage, unit.channel, seen.row, seen.column) < seen.value


def value_of(classifier: Classifier, image: Tensor, stage: str, channel: int, row: int, column: int) -> float:
    with torch.no_grad():
        outputs = classifier.model.eval().features(classifier.preprocess.normalize(image[None]))
    return float(outputs[stage][0, channel, row, column])


def test_silent_channels_are_counted_and_not_shown() -> None:
    classifier = tiny_classifier()
    norm = [module for module in classifier.model.trunk.conv1.modules() if isinstance(module, nn.BatchNorm2d)][-1]
    with torch.no_grad():
        norm.weight[:10] = 0
        norm.bias[:10] = -1
    (stage,) = cn.look(classifier, images_for(classifier, 9), stage="conv1", units=100).units
    assert stage.silent >= 10
    assert len(stage.units) == stage.channels - stage.silent
    assert not {unit.channel for unit in stage.units} & set(range(10))


def test_what_the_last_layer_reads() -> None:
    classifier = tiny_classifier(tta="flip")
    images = images_for(classifier, 7)
    assert images.images is not None
    watched = watch(classifier, images.images, [], most=1)
    own = classifier.model.head.classifier(watched.features)
    torch.testing.assert_close(own, classifier.model.eval()(classifier.preprocess.normalize(images.images)))
    torch.testing.assert_close(watched.probabilities, classifier.logits(images.images).softmax(dim=1))


def test_filters_are_weights_of_the_image_before_it_is_normalised() -> None:
    net = create("vgg11_cifar", num_classes=2, generator=torch.Generator().manual_seed(0))
    preprocess = Preprocess(input_size=(32, 32), mean=(0.4, 0.5, 0.6), std=(0.1, 0.2, 0.4))
    filters = first_filters(net, preprocess)
    weight = next(net.parameters())
    image = torch.rand(3, 3, 3)
    raw = (image - torch.tensor(preprocess.mean).view(3, 1, 1)) / torch.tensor(preprocess.std).view(3, 1, 1)
    change = (weight * (raw + 1 / torch.tensor(preprocess.std).view(3, 1, 1)) - weight * raw).sum(dim=(1, 2, 3))
    torch.testing.assert_close(
        torch.from_numpy(filters.weights).sum(dim=(1, 2, 3)), change.detach()
    )  # of a brighter image
    assert filters.weights.shape == (64, 3, 3, 3)
    assert filters.layer.startswith("trunk.conv1")
    assert filters.is_colour
    assert not first_filters(tiny_classifier().model, tiny_classifier().preprocess).is_colour


def test_at_most_so_many_images_pass_chosen_by_the_seed(no_figures: None) -> None:
    classifier = tiny_classifier()
    images = images_for(classifier, 40)
    views = [cn.look(classifier, images, num_images=7, stage="conv2", seed=seed) for seed in (0, 0, 1)]
    first, again, other = (view.images for view in views)
    assert first is not None
    assert again is not None
    assert other is not None
    assert (len(first), first.of) == (7, 40)
    assert first.paths == again.paths != other.paths
    labels = dict(zip(images.ids, (images.classes[i] for i in images.labels.tolist()), strict=True))
    assert [labels[path] for path in first.paths] == list(first.labels)
    assert views[0].to_dict() == views[1].to_dict()
    assert "7 images, chosen at random from 40." in views[0].to_html()


@pytest.mark.parametrize(("classes", "images"), [(2, 1), (2, 4), (120, 150)])
def test_any_number_of_classes_and_images(no_figures: None, classes: int, images: int, tmp_path: Path) -> None:
    classifier = tiny_classifier(tuple(f"<i>{i}</i>" for i in range(classes)))
    view = cn.look(classifier, images_for(classifier, images), units=2)
    page = view.save(tmp_path / "page.html").read_text("utf-8")
    assert "&lt;i&gt;" in page
    assert "<i>" not in page
    with pytest.raises(ConfigError, match="exists"):
        view.save(tmp_path / "page.html")


def test_a_page_has_figures_for_light_and_dark() -> None:
    classifier = tiny_classifier()
    page = cn.look(classifier, images_for(classifier, 6), stage="conv1").to_html()
    assert page.count("<picture") == 2
    assert page.count("prefers-color-scheme: dark") >= 3


def test_without_labelled_images_filters_and_given_pictures_are_shown() -> None:
    classifier = tiny_classifier(channels=3)
    view = cn.look(classifier, pictures=[encode(make_photo("disc", 0))])
    assert (view.images, view.units, view.plane) == (None, (), None)
    assert view.to_dict()["units"] == []
    (picture,) = view.pictures
    answer = classifier.predict(encode(make_photo("disc", 0)))
    assert (picture.predicted, picture.score) == (answer.label, pytest.approx(answer.score, abs=1e-5))
    page = replace(view, notes=("The images are gone.",)).to_html()
    assert "The images are gone." in page
    assert "excites" not in page
    assert isinstance(cn.look(classifier), NetworkView)


def test_mistakes(tmp_path: Path) -> None:
    classifier = tiny_classifier()
    images = images_for(classifier, 3)
    with pytest.raises(UnknownName, match="Did you mean conv2"):
        cn.look(classifier, images, stage="cnv2")
    with pytest.raises(ConfigError, match="units=0"):
        cn.look(classifier, images, units=0)
    with pytest.raises(ConfigError, match="num_images=0"):
        cn.look(classifier, images, num_images=0)
    with pytest.raises(ConfigError, match="needs a Classifier"):
        cn.look("run", images)  # type: ignore[arg-type]
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(BadImage, match=r"text\.png"):
        cn.look(classifier, pictures=[tmp_path / "text.png"])


def test_numbers_that_are_not_finite_are_refused() -> None:
    classifier = tiny_classifier()
    with torch.no_grad():
        next(classifier.model.trunk.conv2.parameters()).fill_(3e38)
    with pytest.raises(ConfigError, match="not finite"):
        cn.look(classifier, images_for(tiny_classifier(), 3))
