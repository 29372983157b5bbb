"""Every model on a GPU: the CPU's logits, the same features, a gradient for every parameter."""

from __future__ import annotations

import pytest
import torch

from classicnets.models.catalog import CATALOG, create
from classicnets.models.contract import ConvNet
from classicnets.system.devices import fastest_precision
from smaller import SMALL, distinct, switches

pytestmark = pytest.mark.gpu

every_small_model = pytest.mark.parametrize("name", distinct(SMALL))


def build(name: str) -> ConvNet:
    generator = torch.Generator().manual_seed(0)
    return create(name, num_classes=7, generator=generator, **switches(name)).to(memory_format=torch.channels_last)


def images(name: str, n: int) -> torch.Tensor:
    config = CATALOG[name].config
    side = max(config.min_size, 64 if config.image_size > 64 else 32)
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, config.in_channels, side, side, generator=generator).to(memory_format=torch.channels_last)


@every_small_model
def test_logits_and_features_are_those_of_the_cpu(name: str, gpu: str) -> None:
    here, x = build(name).eval(), images(name, 2)
    there = build(name).eval().to(gpu)
    with torch.inference_mode(), torch.backends.cudnn.flags(allow_tf32=False):
        expected, found = here.features(x), there.features(x.to(gpu))
        torch.testing.assert_close(there(x.to(gpu)).cpu(), here(x), rtol=1e-3, atol=1e-4)
    assert list(found) == list(expected)
    for stage, values in expected.items():
        torch.testing.assert_close(found[stage].cpu(), values, rtol=1e-3, atol=1e-3 * float(values.abs().max()) + 1e-5)


@every_small_model
def test_gradient_reaches_every_parameter_in_the_precision_of_the_card(name: str, gpu: str) -> None:
    model, x = build(name).to(gpu), images(name, 4).to(gpu)
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[fastest_precision(torch.device(gpu))]
    with torch.autocast("cuda", dtype, enabled=dtype is not torch.float32):
        outputs = model.training_outputs(x)
        loss = sum(logits.float().square().sum() for logits in (outputs.logits, *outputs.auxiliary))
    loss.backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert torch.isfinite(parameter.grad).all(), parameter_name
        assert parameter.grad.abs().max() > 0, parameter_name


@every_small_model
def test_a_batch_of_two_is_two_of_one(name: str, gpu: str) -> None:
    model, x = build(name).eval().to(gpu), images(name, 2).to(gpu)
    with torch.inference_mode(), torch.backends.cudnn.flags(allow_tf32=False):
        torch.testing.assert_close(model(x), torch.cat([model(x[:1]), model(x[1:])]), rtol=1e-3, atol=1e-4)
