"""Whether a classifier is left as it was: `from untouched import same, snapshot`."""

from __future__ import annotations

from typing import Any

import torch

from classicnets.classifier import Classifier
from classifiers import tiny_classifier

FAMILIES: dict[str, dict[str, Any]] = {
    "alexnet_cifar": {"widths": (8, 8, 16, 16, 8), "hidden": (16, 16)},
    "vgg11_cifar": {"widths": (8, 8, 16, 16, 16)},
    "nin_tutorial": {"widths": ((8, 8, 8), (8, 8, 8), (16, 16, 16), (16, 16))},
    "googlenet_cifar": {"width": 0.25},
    "resnet20_cifar": {},
    "densenet40_k12_cifar": {"depths": (2, 2, 2)},
}
"""A network of each family, and switches for few channels and layers: the same stages in less time."""


def snapshot(classifier: Classifier) -> dict[str, object]:
    """All that an explanation could change in a network."""
    net = classifier.model
    tensors = {**net.state_dict()}
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return {
        "values": {name: tensor.clone() for name, tensor in tensors.items()},
        "places": {name: tensor.data_ptr() for name, tensor in tensors.items()},
        "modes": {name: module.training for name, module in net.named_modules()},
        "gradients": {name: None if p.grad is None else p.grad.clone() for name, p in net.named_parameters()},
        "needed": {name: p.requires_grad for name, p in net.named_parameters()},
        "hooks": {(name, kind): dict(getattr(m, kind)) for name, m in net.named_modules() for kind in hooks},
        "random": torch.get_rng_state(),
        "enabled": torch.is_grad_enabled(),
    }


def same(before: object, after: object) -> bool:
    if isinstance(before, dict) and isinstance(after, dict):
        return before.keys() == after.keys() and all(same(before[key], after[key]) for key in before)
    if isinstance(before, torch.Tensor) and isinstance(after, torch.Tensor):
        return torch.equal(before, after)
    return before == after


def used_classifier(tta: str) -> Classifier:
    """One in the middle of something: modes that differ, a frozen layer, gradients, a hook."""
    classifier = tiny_classifier(channels=3, tta=tta)
    net = classifier.model
    net.train()
    net.trunk.conv2.eval()
    net.trunk.conv1.requires_grad_(False)
    for parameter in net.head.parameters():
        parameter.grad = torch.ones_like(parameter)
    net.trunk.conv3.register_forward_hook(lambda module, args, output: None)
    return classifier
