"""The network as it is deployed: uint8 pixels in, calibrated probabilities out, and nothing that only training needs.

    images -> normalised -> with flip averaging, their mirror images too -> trunk -> features -> classifier -> logits
           -> averaged over both views -> divided by the temperature -> softmax -> probabilities
                                                           features -> distance -> novelty, if the classifier has it

Auxiliary heads and dropout are gone, and batch norms are folded into the layer before them.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from classicnets.classifier import Classifier
from classicnets.models.contract import ConvNet
from classicnets.models.shapes import ShapesOnly
from classicnets.novelty import NoveltyScore
from classicnets.preprocess import Preprocess
from classicnets.weights.structure import network_of

OUTPUTS = ("probabilities", "novelty")
"""The names of the outputs, in order; the second is missing if the classifier has no novelty score."""


class ScaleShift(nn.Module):
    """x * scale + shift, for each channel: (N, C, H, W) -> (N, C, H, W), or (N, C) -> (N, C)."""

    scale: Tensor
    shift: Tensor

    def __init__(self, scale: Tensor, shift: Tensor, *, positions: bool = True) -> None:
        super().__init__()
        shape = (-1, 1, 1) if positions else (-1,)
        self.register_buffer("scale", scale.float().view(shape))
        self.register_buffer("shift", shift.float().view(shape))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale + self.shift


class Deployable(nn.Module):
    """A classifier as one graph: uint8 (N, C, H, W) -> probabilities float32 (N, K) [, novelty float32 (N,)].

    Attributes:
        normalise: pixel values to network input. It stays an operation of its own: folded into the first convolution it
            would no longer be exact, because that convolution pads with zeros after normalisation, which are pixels of
            the mean colour, not black ones.
        trunk: the stages, by their names.
        neck: what the head does before its last layer.
        classifier: the last layer of the head, and what follows it.
        novelty: what computes the novelty score, or None.
    """

    def __init__(
        self, network: ConvNet, preprocess: Preprocess, *, flip: bool, temperature: float, novelty: NoveltyScore | None
    ) -> None:
        super().__init__()
        mean, std = torch.tensor(preprocess.mean).double(), torch.tensor(preprocess.std).double()
        self.normalise = ScaleShift(1 / (255 * std), -mean / std)
        self.trunk = network.trunk
        head = dict(network.head.named_children())
        names = list(head)
        last = names.index("classifier")
        self.neck = nn.Sequential(OrderedDict((name, head[name]) for name in names[:last]))
        self.classifier = nn.Sequential(OrderedDict((name, head[name]) for name in names[last:]))
        self.has_positions = isinstance(head["classifier"], nn.Conv2d)
        self.flip, self.temperature, self.novelty = flip, temperature, novelty
        self.num_classes, self.num_features = network.config.num_classes, _inputs(head["classifier"])
        self.input_shape = (preprocess.channels, *preprocess.input_size)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the outputs, in order."""
        return OUTPUTS if self.novelty else OUTPUTS[:1]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        x = self.normalise(images.float())
        if self.flip:
            x = torch.cat((x, x.flip(-1)), 0)
        features = self.neck(self.trunk(x))
        logits = self.classifier(features)
        if self.has_positions:
            features = features.mean((2, 3))
        if self.flip:  # the logarithm of the averaged probabilities
            logits = logits.view(2, -1, self.num_classes).log_softmax(-1).logsumexp(0) - math.log(2)
            features = features.view(2, -1, self.num_features).mean(0)
        scaled = logits if self.temperature == 1 else logits / self.temperature
        probabilities = scaled.softmax(-1)
        return (probabilities, self.novelty(features, logits)) if self.novelty else (probabilities,)


def _inputs(layer: nn.Module) -> int:
    assert isinstance(layer, nn.Conv2d | nn.Linear)
    return layer.in_channels if isinstance(layer, nn.Conv2d) else layer.in_features


def deployable(classifier: Classifier) -> Deployable:
    """Return the classifier as one module in eval mode, on the CPU and in float32. The classifier stays as it is.

    Its probabilities are those of `classifier.card.probabilities(classifier.logits(images))`, to rounding.

    Args:
        classifier: the classifier. Its novelty score is included if its card has a threshold for it.

    >>> deployable(classifier)(torch.zeros(2, 3, 224, 224, dtype=torch.uint8))[0].shape  # doctest: +SKIP
    torch.Size([2, 1000])
    """
    card = classifier.card
    network = _bare_copy(network_of(classifier.model))
    _remove_dropout(network)
    _fold_batch_norms(network)
    novelty = classifier.novelty_score if card.novelty is not None else None
    module = Deployable(
        network, card.preprocess, flip=card.tta == "flip", temperature=card.temperature, novelty=novelty
    )
    return module.eval().requires_grad_(False)


def _bare_copy(network: ConvNet) -> ConvNet:
    """The network built again from its config, so without hooks, and without auxiliary heads."""
    changes: dict[str, Any] = {"aux": False} if getattr(network.config, "aux", False) else {}
    with ShapesOnly():
        copy = type(network)(replace(network.config, **changes))
    wanted = copy.state_dict().keys()
    state = {name: _plain(tensor) for name, tensor in network.state_dict().items() if name in wanted}
    copy.load_state_dict(state, assign=True)
    return copy.eval()


def _plain(tensor: Tensor) -> Tensor:
    tensor = tensor.detach().cpu().contiguous()
    return tensor.float() if tensor.is_floating_point() else tensor


def _remove_dropout(network: nn.Module) -> None:
    for parent in network.modules():
        for name, child in parent.named_children():
            if isinstance(child, nn.Dropout):
                parent._modules[name] = nn.Identity()


def _fold_batch_norms(network: nn.Module) -> None:
    """Replace every batch norm by nothing if a convolution or linear layer is right before it, else by a `ScaleShift`.

    Those in front of a convolution, in DenseNet and in ResNet with preactivation, are of the second kind: an activation
    lies between, so they cannot become part of the convolution behind it.
    """
    for parent in list(network.modules()):
        before: nn.Module | None = None
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
                scale, shift = _affine(child)
                if isinstance(parent, nn.Sequential) and isinstance(before, nn.Conv2d | nn.Linear):
                    _absorb(before, scale, shift)
                    parent._modules[name] = nn.Identity()
                else:
                    parent._modules[name] = ScaleShift(scale, shift, positions=isinstance(child, nn.BatchNorm2d))
            before = child


def _affine(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """What a batch norm multiplies by and adds in eval mode, float64 (C,)."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    return scale, norm.bias.double() - norm.running_mean.double() * scale


def _absorb(layer: nn.Conv2d | nn.Linear, scale: Tensor, shift: Tensor) -> None:
    """Have a layer multiply its output by `scale` and add `shift`, computed in float64 and rounded once."""
    weight = layer.weight.double() * scale.view(-1, *[1] * (layer.weight.ndim - 1))
    bias = shift if layer.bias is None else layer.bias.double() * scale + shift
    layer.weight = nn.Parameter(weight.float(), requires_grad=False)
    layer.bias = nn.Parameter(bias.float(), requires_grad=False)
