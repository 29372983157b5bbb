"""What takes a network apart or compiles it: torch.fx, torch.jit, torch.compile. Results are equal to the bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn
from torchvision.models.feature_extraction import create_feature_extractor

from classicnets.errors import ConfigError
from classicnets.models.catalog import FAMILIES, create, family_of
from classicnets.models.contract import ConvNet

FORMS: dict[str, dict[str, Any]] = {  # every family and every kind of block, narrow or shallow
    "alexnet_cifar": {"widths": (4, 4, 8, 8, 4), "hidden": (8, 8), "lrn": True},
    "vgg11_cifar": {"widths": (4, 4, 8, 8, 8)},
    "nin_cifar_bn": {"widths": ((4, 4, 4), (8, 8, 8), (8, 8))},
    "googlenet": {"width": 0.1},
    "resnet20_cifar": {"depths": (2, 1, 1)},
    "resnet50": {"depths": (1, 1, 1, 1), "widths": (4, 4, 8, 8)},
    "preact_resnet164_cifar": {"depths": (1, 1, 1), "widths": (4, 4, 8)},
    "densenet_bc100_k12_cifar": {"depths": (2, 2, 2), "growth_rate": 4, "dropout": 0.2},
}

every_form = pytest.mark.parametrize("name", FORMS)


def build(name: str, **switches: Any) -> ConvNet:
    generator = torch.Generator().manual_seed(0)
    return create(name, num_classes=5, generator=generator, **FORMS[name], **switches)


def images() -> Tensor:
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def test_every_family_is_here() -> None:
    assert {family_of(name).name for name in FORMS} == {family.name for family in FAMILIES}


@every_form
@pytest.mark.parametrize("checkpointing", [False, True])
def test_torchvisions_feature_extractor_gives_the_features(name: str, checkpointing: bool) -> None:
    net = build(name, checkpointing=checkpointing).eval()
    stages = [stage for stage, _ in net.trunk.named_children()]
    extractor = create_feature_extractor(net, {f"trunk.{stage}": stage for stage in stages})
    found, expected = extractor(images()), net.features(images())
    assert list(found) == list(expected)
    for stage in stages:
        assert torch.equal(found[stage], expected[stage]), stage


@every_form
def test_a_symbolic_trace_computes_the_same(name: str) -> None:
    net = build(name).eval()
    assert torch.equal(fx.symbolic_trace(net)(images()), net(images()))


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::torch.jit.TracerWarning")
def test_a_jit_trace_computes_the_same() -> None:
    net = build("resnet20_cifar").eval()
    assert torch.equal(torch.jit.trace(net, images())(images()), net(images()))


@every_form
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_torch_jit_script_says_what_to_use_instead(name: str) -> None:
    for module in (build(name), nn.Sequential(build(name))):
        with pytest.raises(ConfigError, match=r"torch\.jit\.script does not support .* Use torch\.jit\.trace, "):
            torch.jit.script(module)


@pytest.mark.parametrize(
    ("name", "switches"),
    [
        ("resnet20_cifar", {"depths": (3, 1), "widths": (4, 8)}),
        ("densenet_bc100_k12_cifar", {"depths": (2, 1), "growth_rate": 4, "dropout": 0.2}),
    ],
)
def test_a_compiled_training_step_with_checkpointing_is_a_plain_one(name: str, switches: dict[str, Any]) -> None:
    """Outputs, gradients and batch-norm statistics; the recomputation counts no batch twice and repeats its dropout."""
    plain, lean = (
        create(name, generator=torch.Generator().manual_seed(0), checkpointing=checkpointing, **switches)
        for checkpointing in (False, True)
    )
    torch.compiler.reset()
    steps = (plain, torch.compile(lean, backend="aot_eager", fullgraph=True))
    outputs = []
    for step in steps:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            output = step(images())
            output.square().mean().backward()
        outputs.append(output)
    assert torch.equal(*outputs)
    for (key, a), b in zip(plain.named_parameters(), lean.parameters(), strict=True):
        assert a.grad is not None
        assert b.grad is not None
        assert torch.equal(a.grad, b.grad), key
    for (key, a), b in zip(plain.named_buffers(), lean.buffers(), strict=True):
        assert torch.equal(a, b), key
