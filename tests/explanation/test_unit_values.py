"""How a unit's value comes about, in every family: the numbers add up to what the network computed."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from classicnets.classifier import Classifier
from classicnets.errors import ConfigError, UnknownName
from classicnets.explanation.unit import Place, Units, UnitValue
from classicnets.explanation.window import Convolved, Pooled
from classicnets.models.catalog import create
from classicnets.preprocess import Preprocess
from classifiers import tiny_classifier
from smaller import BARE, distinct, switches
from speed import within
from untouched import same, snapshot, used_classifier

FEW_FORMS = (
    "alexnet_2012", "vgg11_lrn", "vgg16_1x1", "nin_cifar_bn", "googlenet", "googlenet_cifar", "resnet18", "resnet50_v1",
    "plain20_cifar", "resnet20_cifar", "preact_resnet164_cifar", "densenet121", "densenet40_k12_cifar",
)  # fmt: skip
"""Every kind of step: groups, response norms, 1x1, pools, branches, shortcuts of all kinds, dense connections."""


def made(name: str, channels: int = 3, side: int = 0, **others: object) -> Classifier:
    """A classifier of a network in its smallest form, with batch norms that change something."""
    generator = torch.Generator().manual_seed(5)
    net = create(name, num_classes=3, in_channels=channels, generator=generator, **switches(name, BARE))
    for key, buffer in net.named_buffers():
        if key.endswith("running_mean"):
            buffer.normal_(0, 0.3, generator=generator)
        elif key.endswith("running_var"):
            buffer.uniform_(0.5, 2, generator=generator)
    for key, parameter in net.named_parameters():
        if ".bn" in key or key.endswith("bias"):
            parameter.data.add_(torch.empty_like(parameter).normal_(0, 0.3, generator=generator))
    side = side or max(33, net.config.min_size)
    preprocess = Preprocess(input_size=(side, side + 3), mean=(0.4,) * channels, std=(0.3,) * channels)
    return Classifier(model=net.eval(), model_name=name, classes=("a", "b", "c"), preprocess=preprocess, **others)


def image_for(classifier: Classifier) -> Tensor:
    size = (classifier.preprocess.channels, *classifier.preprocess.input_size)
    return torch.randint(0, 256, size, dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def check_sum(value: UnitValue) -> None:
    """The source's parts give its total, and the steps lead from the total to the value."""
    near = {"rel": 1e-4, "abs": 1e-4}
    source = value.source
    if isinstance(source, Convolved):
        for one in source.largest:
            assert float((one.patch * one.kernel).sum()) == pytest.approx(one.sum, abs=1e-9)
        sizes = [abs(one.sum) for one in source.largest]
        assert sizes == sorted(sizes, reverse=True)
        assert len(sizes) == min(4, source.channels)
        assert sum(one.sum for one in source.largest) + source.others + source.bias == pytest.approx(source.total)
        if len(sizes) == source.channels:
            assert source.others == 0
    before = source.total
    for step in value.steps:
        expected = {
            "relu": max(before, 0.0), "tanh": torch.tensor(before).tanh().item(),
        }.get(step.kind, before * (1 if step.factor is None else step.factor) + (step.added or 0))  # fmt: skip
        assert step.value == pytest.approx(expected, **near), step.kind
        before = step.value
    assert before == pytest.approx(value.value, **near)


def check_network(classifier: Classifier) -> set[str]:
    """Units of all stages, in the middle and in a corner. Return the kinds of steps that were met."""
    image, units, kinds = image_for(classifier), Units(classifier), set[str]()
    with torch.inference_mode():
        outputs = classifier.model.features(classifier.preprocess.normalize(image[None]))
    for stage, output in outputs.items():
        _, channels, height, width = output.shape
        middle = Place(stage, int(output[0].flatten(1).amax(dim=1).argmax()), height // 2, width // 2)
        for place in (middle, Place(stage, 0, 0, width - 1), Place(stage, channels - 1, height - 1, 0)):
            value = units.value(image, place)
            assert value.value == pytest.approx(float(output[0, place.channel, place.row, place.column]), abs=1e-5)
            check_sum(value)
            json.dumps(value.to_dict(), allow_nan=False)
            kinds |= {step.kind for step in value.steps} | {type(value.source).__name__}
    return kinds


def test_every_kind_of_step_adds_up() -> None:
    kinds = set[str]()
    for name in FEW_FORMS:
        kinds |= check_network(made(name))
    assert kinds == {"Convolved", "Pooled", "batch norm", "shortcut", "local response norm", "relu"}


@pytest.mark.slow
@pytest.mark.parametrize("name", distinct(BARE))
def test_every_form_of_the_catalog_adds_up(name: str) -> None:
    check_network(made(name))


def test_a_network_with_tanh() -> None:
    net = create("vgg11_cifar", num_classes=2, in_channels=1, activation="tanh", **switches("vgg11_cifar", BARE))
    preprocess = Preprocess(input_size=(16, 16), mean=(0.5,), std=(0.2,))
    classifier = Classifier(model=net.eval(), model_name="vgg11_cifar", classes=("a", "b"), preprocess=preprocess)
    assert "tanh" in check_network(classifier)


def test_what_a_convolution_reads_of_the_image() -> None:
    classifier = tiny_classifier(channels=3)
    image = image_for(classifier)
    value = Units(classifier).value(image, Place("conv1", 2, 0, 5))
    assert isinstance(value.source, Convolved)
    assert value.source.layer == "trunk.conv1.conv"
    assert value.source.window.rows.tolist() == [-1, 0, 1]
    assert not value.source.window.inside[0].any(), "the first row lies in the padding"
    normal = classifier.preprocess.normalize(image[None])[0]
    for one in value.source.largest:
        assert one.patch[0].tolist() == [0, 0, 0]
        torch.testing.assert_close(one.patch[1:].float(), normal[one.channel, 0:2, 4:7])
    assert value.to_dict()["source"]["largest"][0]["patch"][0] == [None, None, None]
    assert value.area == ((0, 1), (4, 6))


def test_a_pool_shows_its_patch() -> None:
    classifier = made("alexnet_cifar")
    image = image_for(classifier)
    value = Units(classifier).value(image, Place("pool1", 1, 0, 0))
    assert isinstance(value.source, Pooled)
    assert value.source.kind == "max pool"
    assert value.source.patch[0].tolist() == [-torch.inf] * 3, "padding never wins"
    assert value.to_dict()["source"]["patch"][0] == [None] * 3
    assert value.value == pytest.approx(float(value.source.patch.max()))


def test_a_channel_that_is_passed_on_names_the_stage_that_made_it() -> None:
    classifier = made("densenet40_k12_cifar")
    image, units = image_for(classifier), Units(classifier)
    first = units.value(image, Place("dense1", 0, 3, 3))
    assert (first.stage, first.source.layer) == ("stem", "trunk.stem.conv")
    last = units.value(image, Place("dense1", 8, 3, 3))
    assert (last.stage, last.source.layer) == ("dense1", "trunk.dense1.layer1.conv1")


def test_a_branch_sees_less_than_its_module() -> None:
    classifier = made("googlenet_cifar", side=64)
    image, units = image_for(classifier), Units(classifier)

    def size(channel: int) -> int:
        area = units.value(image, Place("inception_3a", channel, 16, 16)).area
        assert area is not None
        return area.rows.last - area.rows.first + 1

    assert size(0) < size(8) < size(16), "1x1, 3x3, 5x5"


@pytest.mark.parametrize(("name", "stage"), [("resnet20_cifar", "conv3"), ("googlenet_cifar", "inception_3a")])
def test_a_unit_sees_its_area_and_nothing_else(name: str, stage: str) -> None:
    classifier = made(name, side=48)
    image, units = image_for(classifier), Units(classifier)
    place = Place(stage, 1, 9, 9)
    value = units.value(image, place)
    assert value.area is not None
    (top, bottom), (left, right) = value.area
    assert (bottom - top + 1) * (right - left + 1) < 48 * 51
    only = torch.full_like(image, 77)
    only[:, top : bottom + 1, left : right + 1] = image[:, top : bottom + 1, left : right + 1]
    assert units.value(only, place).source.total == pytest.approx(value.source.total, abs=1e-4)
    inside = image.clone()
    inside[:, top : bottom + 1, left : right + 1] = 77
    assert units.value(inside, place).source.total != pytest.approx(value.source.total, abs=1e-4)


@pytest.mark.parametrize("tta", ["none", "flip"])
def test_the_answer_without_a_channel_or_a_unit(tta: str) -> None:
    classifier = made("resnet20_cifar", tta=tta, temperature=1.5)
    image, units = image_for(classifier), Units(classifier)
    expected = classifier.card.probabilities(classifier.logits(image[None]))[0]
    net = classifier.model

    def by_hand(row: slice, columns: list[slice]) -> Tensor:
        views = torch.cat(classifier.views(image[None]))
        with torch.inference_mode():
            x = net.trunk.conv2(net.trunk.conv1(views)).clone()
            for view, column in zip(x, columns, strict=False):
                view[3, row, column] = 0
            logits = net.head(net.trunk.conv4(net.trunk.conv3(x)))
        return (
            (logits.log_softmax(1).logsumexp(0) / 1.5).softmax(0) if len(logits) > 1 else (logits[0] / 1.5).softmax(0)
        )

    channel = units.without(image, "conv2", 3)
    torch.testing.assert_close(channel.before, expected)
    torch.testing.assert_close(channel.after, by_hand(slice(None), [slice(None)] * 2))
    assert not torch.allclose(channel.after, expected, atol=1e-4)
    unit = units.without(image, "conv2", 3, (4, 6))
    width = classifier.preprocess.input_size[1]
    torch.testing.assert_close(unit.after, by_hand(slice(4, 5), [slice(6, 7), slice(width - 7, width - 6)]))


def test_the_classifier_stays_as_it_was() -> None:
    classifier = used_classifier("flip")
    before = snapshot(classifier)
    image, units = image_for(classifier), Units(classifier)
    units.stages(image)
    units.value(image, Place("conv3", 1, 2, 2))
    units.without(image, "conv3", 1)
    with pytest.raises(ConfigError):
        units.value(image, Place("conv3", 1, 99, 2))
    assert same(before, snapshot(classifier))


def test_several_threads_ask_about_one_network() -> None:
    classifier = tiny_classifier(channels=3)
    units = Units(classifier)
    images = [image_for(classifier).roll(i, dims=2) for i in range(8)]
    places = [Place("conv3", i, i % 6, 2) for i in range(8)]
    alone = [units.value(image, place).to_dict() for image, place in zip(images, places, strict=True)]
    with ThreadPoolExecutor(4) as threads:
        for _ in range(5):
            together = threads.map(lambda image, place: units.value(image, place).to_dict(), images, places)
            assert list(together) == alone


def test_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = tiny_classifier(channels=3)
    stages = Units(classifier).stages(image_for(classifier))
    assert [stage[:4] for stage in stages] == [("conv1", 16, 12, 12), ("conv2", 16, 12, 12), ("conv3", 32, 6, 6),
                                               ("conv4", 64, 3, 3)]  # fmt: skip
    assert stages[0].sees == (3, 3)


@pytest.mark.parametrize(
    ("place", "error", "message"),
    [
        (Place("conv9", 0, 0, 0), UnknownName, "conv9"),
        (Place("conv3", 32, 0, 0), ConfigError, "The channel must be from 0 to 31 in conv3, got 32"),
        (Place("conv3", 0, 6, 0), ConfigError, "The row must be from 0 to 5 in conv3, got 6"),
        (Place("conv3", 0, 0, -1), ConfigError, "The column must be from 0 to 5 in conv3, got -1"),
    ],
)
def test_units_that_do_not_exist(place: Place, error: type[Exception], message: str) -> None:
    classifier = tiny_classifier(channels=3)
    units, image = Units(classifier), image_for(classifier)
    with pytest.raises(error, match=message):
        units.value(image, place)
    with pytest.raises(error, match=message):
        units.without(image, place.stage, place.channel, (place.row, place.column))


@pytest.mark.parametrize("name", ["resnet20_cifar", "nin_cifar"])
def test_small_networks_answer_at_once(name: str) -> None:
    net = create(name, num_classes=10)
    preprocess = Preprocess(input_size=(32, 32), mean=(0.5,) * 3, std=(0.2,) * 3)
    classes = tuple(map(str, range(10)))
    classifier = Classifier(model=net.eval(), model_name=name, classes=classes, preprocess=preprocess)
    image, units = image_for(classifier), Units(classifier)
    stage = net.stage_names[-1]
    units.value(image, Place(stage, 3, 2, 2))
    with within(1):
        for i in range(5):
            units.value(image, Place(stage, i, 2, 2))
            units.without(image, stage, i)
