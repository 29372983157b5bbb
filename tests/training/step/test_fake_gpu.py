"""A training step on GPU tensors without a GPU: PyTorch's fake tensors have a device and a shape, but no numbers.

They refuse to mix devices, and they raise wherever the host would wait for a number. PyTorch's backward pass needs the
device itself, so gradients of fake GPU tensors are made here; fake CPU tensors go through the real one.
"""

from __future__ import annotations

import contextlib

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from classicnets.card import Card
from classicnets.data.pipeline.loader import Batch
from classicnets.data.pipeline.pack import Packed
from classicnets.models.catalog import create
from classicnets.models.contract import ConvNet
from classicnets.system.devices import Precision
from classicnets.training.recipe.files import with_settings
from classicnets.training.recipe.schema import Recipe
from classicnets.training.step import loop
from classicnets.training.step.session import Session
from classicnets.training.step.state import TrainState
from trainings import PREPROCESS, SMALL

BATCH = 16
SETTINGS = {
    "sgd": ["optim.clip_norm=1", "ema=0.9", "accumulate=2", "loss.label_smoothing=0.1"],
    "adamw": ["optim.name=adamw"],
    "muon, scaled": ["optim.name=muon", "precision=fp16"],
}


def on(device: str, network: ConvNet) -> ConvNet:
    """The network with fake weights on `device`; call it in a FakeTensorMode."""

    def fake(tensor: Tensor) -> Tensor:
        lies = torch.channels_last if tensor.ndim == 4 else torch.contiguous_format
        return torch.empty(tensor.shape, dtype=tensor.dtype, device=device, memory_format=lies)

    for module in network.modules():
        module._parameters.update(
            {name: nn.Parameter(fake(p)) for name, p in module._parameters.items() if p is not None}
        )
        module._buffers.update({name: fake(b) for name, b in module._buffers.items() if b is not None})
    return network


def made_gradients(model: nn.Module) -> None:
    for parameter in model.parameters():
        grad = torch.empty_like(parameter)
        parameter.grad = grad if parameter.grad is None else parameter.grad + grad


def fused_sgd(*tensors: list[Tensor], found_inf: Tensor, **options: object) -> None:
    """In place of PyTorch's kernel, which has no form for fake tensors."""
    assert len({tensor.device for group in (*tensors, (found_inf,)) for tensor in group}) == 1


class Fake:
    """A training on fake tensors of a device."""

    def __init__(self, device: str, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
        images = torch.zeros(2 * BATCH, 1, 12, 12, dtype=torch.uint8)
        packed = Packed(images, torch.arange(2 * BATCH) % 4, tuple(map(str, range(2 * BATCH))), 4)
        card = Card(model_name="resnet20_cifar", classes=tuple("abcd"), preprocess=PREPROCESS)
        model, average = (create("resnet20_cifar", num_classes=4, in_channels=1, **SMALL) for _ in range(2))
        with FakeTensorMode() as self.mode:
            self.state = TrainState.begin(on(device, model), with_settings(recipe, ["ema=0", "precision=fp32"]))
            self.state.average = on(device, average) if recipe.ema else None
            self.state.scaler = torch.amp.GradScaler("cpu", enabled=recipe.precision == "fp16")
            labels = torch.empty(BATCH, dtype=torch.int64, device=device)
            pixels = torch.empty(BATCH, 1, 12, 12, device=device)
            self.batch = Batch(pixels, labels, labels, torch.empty(BATCH, dtype=torch.int64))
        self.session = Session.of(recipe, card, packed, packed, Precision.choose("fp32", torch.device(device)))
        if device == "cuda":
            monkeypatch.setattr(loop, "seeded", lambda seed, device: contextlib.nullcontext())
            monkeypatch.setattr(torch, "_fused_sgd_", fused_sgd)
            monkeypatch.setattr(Tensor, "backward", lambda loss: made_gradients(self.state.model))

    def step(self, *, reads: bool) -> float:
        with self.mode:
            return loop.train_step(self.session, self.state, self.batch, 0.1, None, reads)


@pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")
@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("name", SETTINGS)
def test_a_step_that_is_not_read_waits_for_nothing_and_mixes_no_devices(
    device: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = with_settings(Recipe(), [f"batch_size={BATCH}", "precision=fp32", *SETTINGS[name]])
    fake = Fake(device, recipe, monkeypatch)
    for _ in range(2):
        fake.step(reads=False)
    assert fake.state.step == fake.state.unread.steps == 2
    of_optimizer = [value for state in fake.state.optimizer.state.values() for value in state.values()]
    tensors = [*fake.state.model.state_dict().values(), *of_optimizer, fake.state.unread._sums]
    assert {tensor.device.type for tensor in tensors if isinstance(tensor, Tensor)} == {device}


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_reading_is_what_waits(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake(device, with_settings(Recipe(), [f"batch_size={BATCH}", "precision=fp32"]), monkeypatch)
    with pytest.raises(DataDependentOutputException):
        fake.step(reads=True)


def test_a_tensor_on_another_device_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """So the first test can fail."""
    recipe = with_settings(Recipe(), [f"batch_size={BATCH}", "precision=fp32"])
    fake = Fake("cuda", recipe, monkeypatch)
    with fake.mode:
        fake.state.model.head.classifier.bias = nn.Parameter(torch.empty(4))
    with pytest.raises(RuntimeError, match="device"):
        fake.step(reads=False)
