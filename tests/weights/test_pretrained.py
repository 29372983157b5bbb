"""Weights trained elsewhere: published, in a file or in a folder; what is adapted is said, all else is refused."""

import io
import json
import logging
from collections.abc import Callable
from functools import lru_cache, partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from file_server import Server
from torch import Tensor
from torchvision.models import Weights, WeightsEnum
from torchvision.transforms._presets import ImageClassification

from classicnets.errors import ChecksumMismatch, ConfigError, KeysMismatch, UnknownName, WeightsError
from classicnets.models.catalog import create
from classicnets.models.googlenet import GoogLeNet
from classicnets.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from classicnets.weights import create_model, pretrained
from classicnets.weights.files import load_safetensors, save_safetensors
from classicnets.weights.translate import TORCHVISION

pytestmark = pytest.mark.usefixtures("own_caches")

CATEGORIES = ["cat", "crane", "dog", "crane"]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@lru_cache(maxsize=2)
def published(name: str, seed: int) -> tuple[dict[str, Tensor], bytes]:
    """The weights of torchvision's network of that name, and their file."""
    torch.manual_seed(seed)
    options = {"init_weights": True} if name == "googlenet" else {}
    state = torchvision.models.get_model(name, weights=None, num_classes=4, **options).state_dict()
    file = io.BytesIO()
    torch.save(state, file)
    return state, file.getvalue()


class Registry:
    """torchvision's registry, with files that the test makes behind its URLs."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.entries: dict[str, type[WeightsEnum]] = {}

    def publish(self, name: str, *names: str, categories: list[str] | None = CATEGORIES) -> dict[str, Tensor]:
        """A file under each of `names`, the last being the best; returns the last one's state dict."""
        members: dict[str, Any] = {}
        state: dict[str, Tensor] = {}
        for seed, member in enumerate(names):
            state, content = published(name, seed)
            file = f"/{name}-{sha256(content).hexdigest()[:8]}.pth"
            self.server.files[file] = content
            transforms = partial(ImageClassification, crop_size=32, resize_size=40 + seed)
            members[member] = Weights(self.server.url + file, transforms, {"categories": categories})
        self.entries[name] = WeightsEnum(f"{name}_Weights", {**members, "DEFAULT": members[names[-1]]})
        return dict(state)


@pytest.fixture
def registry(server: Server, monkeypatch: pytest.MonkeyPatch) -> Registry:
    registry = Registry(server)
    monkeypatch.setattr(torchvision.models, "get_model_weights", lambda name: registry.entries[name])
    return registry


def same(a: Tensor, b: Tensor) -> bool:
    return torch.equal(a, b)


# ---- published weights ----


def test_published_weights_come_with_their_classes_and_preprocessing(registry: Registry) -> None:
    state = registry.publish("resnet18", "IMAGENET1K_V1", "IMAGENET1K_V2")
    best = pretrained("resnet18", "torchvision")
    assert same(best.model.state_dict()["trunk.conv1.conv.weight"], state["conv1.weight"])
    assert same(best.model.state_dict()["head.classifier.weight"], state["fc.weight"])
    assert best.classes == ("cat", "crane (1)", "dog", "crane (3)")
    assert best.preprocess == Preprocess(
        input_size=(32, 32), crop_fraction=32 / 41, mean=IMAGENET_MEAN, std=IMAGENET_STD
    )
    assert best.source.startswith("torchvision IMAGENET1K_V2 (http://127.0.0.1")
    assert best.notes == ()
    first = pretrained("resnet18", "torchvision:IMAGENET1K_V1")
    assert not same(first.model.state_dict()["head.classifier.weight"], state["fc.weight"])
    assert first.preprocess is not None
    assert first.preprocess.crop_fraction == 32 / 40
    assert len(registry.server.asked) == 2


def test_create_model_is_the_short_way(registry: Registry) -> None:
    state = registry.publish("resnet18", "IMAGENET1K_V1")
    model = create_model("resnet18", weights="torchvision")
    assert model.training
    assert model.config.num_classes == 4
    assert same(model.state_dict()["head.classifier.bias"], state["fc.bias"])


def test_another_number_of_classes_starts_a_new_classifier_and_says_so(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    state = registry.publish("resnet18", "IMAGENET1K_V1")
    with caplog.at_level(logging.INFO, logger="classicnets"):
        got = pretrained("resnet18", "torchvision", num_classes=7, generator=seeded(5))
    fresh = create("resnet18", num_classes=7, generator=seeded(5))
    assert same(got.model.state_dict()["head.classifier.weight"], fresh.state_dict()["head.classifier.weight"])
    assert same(got.model.state_dict()["trunk.conv5.block2.residual.conv2.weight"], state["layer4.1.conv2.weight"])
    assert got.classes == ()
    assert got.preprocess is not None
    assert got.notes == ("Started afresh, as the weights are for another classifier: head.classifier.",)
    assert got.notes[0] in caplog.text


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_other_channels_adapt_the_first_convolution_and_say_so(registry: Registry, channels: int) -> None:
    state = registry.publish("resnet18", "IMAGENET1K_V1")
    got = pretrained("resnet18", "torchvision", in_channels=channels)
    first = got.model.state_dict()["trunk.conv1.conv.weight"]
    theirs = state["conv1.weight"]
    assert first.shape == (64, channels, 7, 7)
    if channels == 1:
        assert same(first, theirs.sum(1, keepdim=True))
    else:
        assert same(first[:, 1], theirs[:, 1] * (3 / channels))
    grey = torch.randn(1, 1, 64, 64, generator=seeded(0))
    if channels != 2:  # a grey image answers as before: all filters are there, equally often
        model = create_model("resnet18", weights="torchvision").eval()
        answer = got.model.eval()(grey.expand(-1, channels, -1, -1))
        torch.testing.assert_close(answer, model(grey.expand(-1, 3, -1, -1)), rtol=1e-3, atol=1e-3)
    assert got.preprocess is not None
    assert got.preprocess.channels == channels
    assert got.preprocess.mean[0] == (pytest.approx(sum(IMAGENET_MEAN) / 3) if channels == 1 else IMAGENET_MEAN[0])
    assert len(got.notes) == 1
    assert got.notes[0].startswith(f"Adapted from 3 to {channels} input channels")
    assert got.classes[0] == "cat"


def test_densenets_published_keys_are_old_ones(registry: Registry, server: Server, tmp_path: Path) -> None:
    state = registry.publish("densenet121", "IMAGENET1K_V1")
    old = {
        key.replace("norm1", "norm.1")
        .replace("norm2", "norm.2")
        .replace("conv1", "conv.1")
        .replace("conv2", "conv.2"): v
        for key, v in state.items()
        if not key.endswith("num_batches_tracked")
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    torch.save(old, tmp_path / "old.pth")
    got = pretrained("densenet121", tmp_path / "old.pth")
    assert same(
        got.model.state_dict()["trunk.dense1.layer1.bn1.weight"], state["features.denseblock1.denselayer1.norm1.weight"]
    )


def test_googlenets_second_normalisation_becomes_part_of_the_first(registry: Registry) -> None:
    state = registry.publish("googlenet", "IMAGENET1K_V1")
    got = pretrained("googlenet_bn", "torchvision", aux=True)
    assert isinstance(got.model, GoogLeNet)
    assert got.preprocess is not None
    theirs = torchvision.models.googlenet(num_classes=4, transform_input=True, init_weights=False)
    theirs.load_state_dict(state)
    image = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8, generator=seeded(0))
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    answer = got.model.eval()(got.preprocess.normalize(image))
    torch.testing.assert_close(answer, theirs.eval()((image / 255 - mean) / std), rtol=1e-4, atol=1e-5)

    plain = pretrained("googlenet_bn", "torchvision")
    assert isinstance(plain.model, GoogLeNet)
    assert not plain.model.config.aux
    assert len(plain.notes) == 1
    assert plain.notes[0].startswith("Left out, as the model has none: aux_4a.classifier, aux_4a.conv.bn")


def test_weights_without_a_classifier_need_the_number_of_classes(registry: Registry) -> None:
    registry.publish("resnet18", "IMAGENET1K_FEATURES", categories=None)
    with pytest.raises(WeightsError, match="Give num_classes"):
        pretrained("resnet18", "torchvision")
    got = pretrained("resnet18", "torchvision", num_classes=4, generator=seeded(5))
    fresh = create("resnet18", num_classes=4, generator=seeded(5))
    assert same(got.model.state_dict()["head.classifier.weight"], fresh.state_dict()["head.classifier.weight"])
    assert got.classes == ()
    assert got.notes == ("Started afresh, as the weights have none: head.classifier.",)


def test_names_that_torchvision_does_not_publish(registry: Registry) -> None:
    registry.publish("resnet18", "IMAGENET1K_V1")
    with pytest.raises(UnknownName, match=r"IMAGENET1K_V3'\. Did you mean IMAGENET1K_V1"):
        pretrained("resnet18", "torchvision:IMAGENET1K_V3")
    with pytest.raises(WeightsError, match=r"no weights for alexnet\. It does for alexnet_owt"):
        pretrained("alexnet", "torchvision")
    with pytest.raises(UnknownName, match="resnet18"):
        pretrained("resnet81", "torchvision")
    assert registry.server.asked == []


def test_a_published_file_of_another_content_is_refused(registry: Registry) -> None:
    registry.publish("resnet18", "IMAGENET1K_V1")
    for name in registry.server.files:
        registry.server.files[name] = registry.server.files[name][:-1]
    with pytest.raises(ChecksumMismatch):
        create_model("resnet18", weights="torchvision")


@pytest.mark.parametrize("name", TORCHVISION)
def test_the_real_registry_has_weights_for_every_name(name: str) -> None:
    for weights in torchvision.models.get_model_weights(TORCHVISION[name]):
        assert weights.url.startswith("https://")
        assert weights.transforms().crop_size
        assert "categories" in weights.meta


# ---- files ----


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A ResNet-20 of ours for grey images of three classes."""
    model = create("resnet20_cifar", num_classes=3, in_channels=1, generator=seeded(1))
    save_safetensors(tmp_path / "w.safetensors", model.state_dict())
    return tmp_path / "w.safetensors"


def test_a_file_brings_its_own_classes_and_channels(file: Path) -> None:
    got = pretrained("resnet20_cifar", file)
    assert (got.model.config.num_classes, got.model.config.in_channels) == (3, 1)
    expected = create("resnet20_cifar", num_classes=3, in_channels=1, generator=seeded(1))
    images = torch.randn(2, 1, 32, 32)
    assert same(got.model.eval()(images), expected.eval()(images))
    assert (got.classes, got.preprocess, got.notes, got.source) == ((), None, (), str(file))


def test_names_of_a_library_without_such_a_network_are_remarked_on(tmp_path: Path) -> None:
    torch.save(torchvision.models.resnet50(weights=None, num_classes=2).state_dict(), tmp_path / "w.pth")
    assert pretrained("resnet50", tmp_path / "w.pth").notes == ()
    (note,) = pretrained("resnet50_v1", tmp_path / "w.pth").notes
    assert note.startswith("torchvision has no network that computes what resnet50_v1 does")


def test_one_channel_becomes_three(file: Path) -> None:
    got = pretrained("resnet20_cifar", file, in_channels=3)
    grey = torch.randn(2, 1, 32, 32, generator=seeded(0))
    expected = pretrained("resnet20_cifar", file).model.eval()(grey)
    torch.testing.assert_close(got.model.eval()(grey.expand(-1, 3, -1, -1)), expected, rtol=1e-4, atol=1e-4)


def test_a_misfit_names_the_file_and_the_keys(file: Path) -> None:
    state = load_safetensors(file)
    del state["trunk.conv2.block3.residual.conv1.weight"]
    save_safetensors(file, state)
    with pytest.raises(KeysMismatch, match=rf"{file}: 1 weights do not fit") as caught:
        create_model("resnet20_cifar", weights=file)
    assert caught.value.missing == ("trunk.conv2.block3.residual.conv1.weight",)


def test_weights_of_another_model_name_the_models_they_fit(file: Path) -> None:
    with pytest.raises(KeysMismatch, match=rf"{file}: .* They fit resnet20_cifar, plain20_cifar"):
        create_model("resnet32_cifar", weights=file)


@pytest.mark.parametrize("weights", ["nowhere.pth", "imagenet", "torchvison"])
def test_weights_that_do_not_exist(weights: str) -> None:
    with pytest.raises(WeightsError, match=f"No weights '{weights}': neither a file or folder nor 'torchvision'"):
        create_model("resnet18", weights=weights)


def test_a_wrong_switch_is_refused_with_and_without_weights(file: Path) -> None:
    for weights in (None, file):
        with pytest.raises(ConfigError, match="residual"):
            create_model("resnet20_cifar", weights=weights, residul=False)


# ---- folders ----


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A saved classifier: ResNet-20 with tanh, two classes."""
    from classicnets.classifier import Classifier

    preprocess = Preprocess(input_size=(28, 28), mean=(0.1,), std=(0.2,))
    model = create("resnet20_cifar", num_classes=2, in_channels=1, activation="tanh", generator=seeded(1))
    Classifier(model=model, model_name="resnet20_cifar", classes=("left", "right"), preprocess=preprocess).save(
        tmp_path / "run" / "model"
    )
    return tmp_path / "run" / "model"


def test_a_run_or_its_model_brings_all_it_knows(folder: Path) -> None:
    for path in (folder, folder.parent):
        got = pretrained("resnet20_cifar", path)
        assert got.classes == ("left", "right")
        assert got.preprocess == Preprocess(input_size=(28, 28), mean=(0.1,), std=(0.2,))
        original = create("resnet20_cifar", num_classes=2, in_channels=1, activation="tanh", generator=seeded(1))
        images = torch.randn(2, 1, 28, 28)
        assert same(got.model.eval()(images), original.eval()(images))
    assert pretrained("resnet20_cifar", folder, num_classes=5).classes == ()
    relu = pretrained("resnet20_cifar", folder, activation="relu").model
    assert relu.config.to_dict()["activation"] == "relu"


def test_a_folder_with_weights_alone_is_a_file(folder: Path) -> None:
    (folder / "config.json").unlink()
    assert pretrained("resnet20_cifar", folder).model.config.num_classes == 2


@pytest.mark.parametrize("averaged", [False, True])
def test_a_checkpoint_of_a_run_brings_its_weights_and_what_the_run_knows(folder: Path, averaged: bool) -> None:
    model = create("resnet20_cifar", num_classes=2, in_channels=1, activation="tanh", generator=seeded(2))
    state = {f"{'average' if averaged else 'model'}.{key}": value for key, value in model.state_dict().items()}
    if averaged:
        state |= {f"model.{key}": torch.zeros_like(value) for key, value in model.state_dict().items()}
    step = folder.parent / "checkpoints" / "step-000001"
    step.mkdir(parents=True)
    save_safetensors(step / "model.safetensors", state)
    got = pretrained("resnet20_cifar", step)
    assert same(got.model.state_dict()["head.classifier.weight"], model.state_dict()["head.classifier.weight"])
    assert (got.classes, got.model.config.to_dict()["activation"]) == (("left", "right"), "tanh")
    assert got.preprocess == Preprocess(input_size=(28, 28), mean=(0.1,), std=(0.2,))
    assert got.notes == (("Took the averaged weights; those of the last step are left out.",) if averaged else ())
    with pytest.raises(WeightsError, match="holds a resnet20_cifar, but a resnet32_cifar was asked for"):
        pretrained("resnet32_cifar", step)


def test_what_was_left_out_of_a_file_is_a_note(tmp_path: Path) -> None:
    model = create("resnet20_cifar", num_classes=2)
    state = {f"backbone.{key}": value for key, value in model.state_dict().items()}
    torch.save({"state_dict": {**state, "criterion.weight": torch.ones(2)}}, tmp_path / "w.ckpt")
    got = pretrained("resnet20_cifar", tmp_path / "w.ckpt")
    assert got.notes == ("Left out keys without the prefix 'backbone.': criterion.weight.",)
    assert same(got.model.state_dict()["head.classifier.weight"], model.state_dict()["head.classifier.weight"])


def _edit(change: Callable[[dict[str, Any]], None], path: Path) -> None:
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda c: c["classicnets"].update(sha256="0" * 64), ChecksumMismatch, "damaged or was changed"),
        (
            lambda c: c["classicnets"]["config"].update(depths=[10**9]),
            WeightsError,
            r"config\.json: .* size above",
        ),
        (lambda c: c["classicnets"]["config"].update(activation="exec"), WeightsError, "activation"),
        (lambda c: c["classicnets"]["preprocess"].update(std=[0]), WeightsError, "std"),
        (lambda c: c.pop("classicnets"), WeightsError, "not written by classicnets"),
        (lambda c: c.update(architecture="resnet18"), WeightsError, "holds a resnet18, but a resnet20_cifar was asked"),
    ],
)
def test_a_folder_that_was_tampered_with_is_refused(
    folder: Path, change: Callable[[dict[str, Any]], None], error: type[Exception], message: str
) -> None:
    _edit(change, folder / "config.json")
    with pytest.raises(error, match=message):
        pretrained("resnet20_cifar", folder)


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"neither model\.safetensors nor model/model\.safetensors"):
        pretrained("resnet20_cifar", tmp_path)
