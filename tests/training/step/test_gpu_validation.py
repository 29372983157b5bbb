"""Validation and calibration on a pretended GPU: the CPU's answers, and one copy of them."""

import pytest
import torch
from torch import nn

from classicnets.card import Card
from classicnets.classifier import Classifier
from classicnets.data.pipeline.loader import Shard
from classicnets.data.pipeline.pack import Packed
from classicnets.models.catalog import create
from classicnets.preprocess import Preprocess
from classicnets.system import streams
from classicnets.system.devices import Precision
from classicnets.training.scale.processes import Processes
from classicnets.training.step.validation import Validation
from classicnets.training.transfer.features import CachedValidation
from pretend_gpu import CUDA, OnGPU, PretendGPU
from smaller import BARE, switches

NAME = "resnet20_cifar"
CLASSES = tuple("abcdefghij")


@pytest.fixture(autouse=True)
def _what_the_pretended_gpu_lacks(monkeypatch):
    """Pinned memory, inference mode, cuDNN."""
    monkeypatch.setattr(streams, "pinned", lambda tensor: tensor.clone())
    monkeypatch.setattr(torch, "inference_mode", torch.no_grad)
    with torch.backends.cudnn.flags(enabled=False):
        yield


@pytest.fixture
def packed():
    images = torch.randint(0, 256, (50, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Packed(images, torch.arange(50) % 10, tuple(map(str, range(50))), num_classes=10)


@pytest.fixture
def network():
    return create(NAME, num_classes=10, generator=torch.Generator().manual_seed(0), **switches(NAME, BARE)).eval()


def card(tta):
    preprocess = Preprocess(input_size=(16, 16), mean=(0.4,) * 3, std=(0.2,) * 3)
    return Card(model_name=NAME, classes=CLASSES, preprocess=preprocess, tta=tta)


def moved(network):
    """The network with its weights on the pretended GPU."""
    for module in network.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = nn.Parameter(OnGPU(parameter.data), requires_grad=False)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = OnGPU(buffer)
    return network


@pytest.mark.parametrize("kind", [Validation, CachedValidation])
@pytest.mark.parametrize("resident", [True, False], ids=["resident", "crossing"])
@pytest.mark.parametrize("tta", ["none", "flip"])
def test_logits_are_the_cpus_and_are_copied_once(packed, network, tta, resident, kind):
    expected = kind(card(tta), packed, Precision(torch.device("cpu"), torch.float32), 16).logits(network)
    there = OnGPU(packed.images) if resident else None
    with PretendGPU() as gpu:
        on_gpu = kind(card(tta), packed, Precision(CUDA, torch.float32), 16, resident=there)
        network = moved(network)
        on_gpu.logits(network)
        gpu.waits.clear()  # a frozen trunk's features are kept in the machine's memory the first time
        found = on_gpu.logits(network)
    assert len(gpu.waits) == 1
    assert torch.equal(found, expected)


def test_features_are_the_cpus_and_are_copied_once(packed, network):
    expected = Classifier.of(card("flip"), network).classified(packed.images, batch_size=16)
    with PretendGPU() as gpu:
        found = Classifier.of(card("flip"), moved(network)).classified(OnGPU(packed.images), batch_size=16)
    assert len(gpu.waits) == 2  # logits and features
    assert torch.equal(found.logits, expected.logits)
    assert torch.equal(found.features, expected.features)


def test_a_process_validates_its_own_images(packed):
    validation = Validation(card("none"), packed, Precision(CUDA, torch.float32), 16, Processes(1, 2))
    assert torch.equal(validation.images, packed.images[Shard(1, 2).of(50)])
    there = packed.images[:3]
    assert Validation(card("none"), packed, validation.precision, 16, resident=there).images is there


def test_a_networks_layers_are_compared_with_its_config_once(packed, network, monkeypatch):
    made, of = [], Classifier.of
    monkeypatch.setattr(Classifier, "of", lambda *parts: made.append(parts) or of(*parts))
    validation = Validation(card("none"), packed, Precision(torch.device("cpu"), torch.float32), 16)
    first, again = validation.logits(network), validation.logits(network)
    assert len(made) == 1
    assert torch.equal(first, again)
