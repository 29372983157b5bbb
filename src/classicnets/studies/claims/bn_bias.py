"""Biases before batch norm: what they change in the logits, and what gradient they get.

Batch norm subtracts the mean of each channel, and a bias is part of that mean. In double precision, what is left is
rounding: about 1e-15 of the logits. The guide's ResNets have such biases.
"""

from __future__ import annotations

from classicnets.studies.claim import Cells, Claim, Hypothesis, Preset
from classicnets.studies.figures import dots

_ROUNDING = 1e-9


def _count() -> Cells:
    import torch
    from torch import nn
    from torch.nn.functional import cross_entropy

    from classicnets.models.catalog import create

    generator = torch.Generator().manual_seed(0)
    net = create("resnet18_tutorial", num_classes=10, generator=generator).double()
    images = torch.randn(16, 3, 32, 32, generator=generator, dtype=torch.float64)
    convolutions = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    with torch.no_grad():
        without = net(images)
        for module in convolutions:
            assert module.bias is not None
            module.bias.normal_(generator=generator)
    logits = net(images)
    cross_entropy(logits, torch.arange(16) % 10).backward()
    biases = [module.bias for module in convolutions if module.bias is not None]
    weights = [module.weight for module in convolutions]
    change = (logits.detach() - without).abs().max() / without.abs().max()
    return {
        "resnet18_tutorial": {
            "change": float(change),
            "gradient": _norm([bias.grad for bias in biases]) / _norm([weight.grad for weight in weights]),
            "biases": sum(bias.numel() for bias in biases),
        }
    }


def _norm(tensors: list) -> float:
    import torch

    return float(torch.stack([tensor.norm() for tensor in tensors]).norm())


CLAIM = Claim(
    name="bn-bias",
    sentence="Biases of convolutions that batch norm follows do nothing: no output changes, and they learn nothing.",
    guide="5.3",
    paper="Ioffe and Szegedy 2015, Sec. 3.2",
    hypotheses=[
        Hypothesis(
            what="change of the logits when all biases are drawn from N(0, 1), relative to the largest logit",
            value=lambda cells: float(cells["resnet18_tutorial"]["change"]),
            relation="<",
            threshold=_ROUNDING,
        ),
        Hypothesis(
            what="gradient norm: all biases divided by all weights of the convolutions",
            value=lambda cells: float(cells["resnet18_tutorial"]["gradient"]),
            relation="<",
            threshold=_ROUNDING,
        ),
    ],
    quick=Preset(minutes=0.1),
    full=Preset(minutes=0.1),
    count=_count,
    draw=dots({"change of the logits": "change", "gradient of the biases": "gradient"}, scale="log"),
)
