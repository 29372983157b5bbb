"""What a cell measures beside losses and accuracies: functions from a training to JSON-ready numbers.

PyTorch is loaded when a probe runs, so that the claims can be listed without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from classicnets.data import ImageSet
    from classicnets.data.pipeline.pack import Packed
    from classicnets.models.contract import ConvNet
    from classicnets.studies.cells import Trained

_BATCH = 128
_MOST_SEEN = 1_000


def gradients(trained: Trained) -> dict[str, Any]:
    """Measure the gradient of each convolution of the trunk, in order, before and after the training.

    The numbers are the norm of the gradient divided by that of the weights, on 128 training images and with the
    training loss, auxiliary classifiers included. Dropout is off.

    Returns `by_start` and `by_end`, lists from the first convolution to the last.
    """
    packed = _packed(trained, trained.data.train, _BATCH)
    images = trained.classifier.preprocess.normalize(packed.images)
    return {
        "by_start": _relative_gradients(trained.start, images, packed.labels),
        "by_end": _relative_gradients(trained.classifier.model, images, packed.labels),
    }


def _relative_gradients(net: ConvNet, images: Tensor, labels: Tensor) -> list[float]:
    from torch import nn

    from classicnets.training.recipe.schema import LossSection
    from classicnets.training.step.objective import objective

    net.train()
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    net.zero_grad()
    device = next(net.parameters()).device
    objective(net, images.to(device), labels.to(device), LossSection()).loss.backward()
    weights = [module.weight for module in net.trunk.modules() if isinstance(module, nn.Conv2d)]
    norms = [float(weight.grad.norm() / weight.detach().norm()) for weight in weights if weight.grad is not None]
    net.zero_grad()
    net.eval()
    return norms


def dead_units(trained: Trained) -> dict[str, Any]:
    """Measure which units never fire: channels of a ReLU that are 0 everywhere, on all of up to 1,000 test images.

    Returns `dead`, the share of such units in the whole network, and `by_layer`, the share in each ReLU.
    """
    import torch
    from torch import nn

    data = trained.data
    packed = _packed(trained, data.test if data.test is not None else data.val, _MOST_SEEN)
    model = trained.classifier.model
    largest: dict[str, Tensor] = {}

    def see(name: str, output: Tensor) -> None:
        channels = output.detach().transpose(0, 1).flatten(1).amax(1)
        largest[name] = torch.maximum(largest[name], channels) if name in largest else channels

    relus = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.ReLU)]
    hooks = [
        module.register_forward_hook(lambda _module, _inputs, output, name=name: see(name, output))
        for name, module in relus
    ]
    try:
        trained.classifier.logits(packed.images)
    finally:
        for hook in hooks:
            hook.remove()
    dead = [units <= 0 for units in largest.values()]
    return {
        "dead": float(torch.cat(dead).float().mean()),
        "by_layer": [float(units.float().mean()) for units in dead],
    }


def reuse(trained: Trained) -> dict[str, Any]:
    """Measure how the later half of each dense block uses the features of its earlier half, as Sec. 5 of the paper.

    A layer's weight on a source is the mean of |weight| of its first convolution on the features of that source: the
    block's input, or an earlier layer.

    Returns:
        `by_source`: for each layer of the last block, its weights on its sources, divided by their mean.
        `early`: the same on the sources of the earlier half, as a mean over all layers of the later half.
        `lost`: by how much the test accuracy falls if the later half does not see the earlier half.
    """
    import torch

    from classicnets.evaluation import evaluate
    from classicnets.models.densenet import DenseNetConfig

    model, data = trained.classifier.model, trained.data
    test = data.test if data.test is not None else data.val
    whole = evaluate(trained.classifier, test).top1
    assert isinstance(model.config, DenseNetConfig)
    growth = model.config.growth_rate
    early: list[float] = []
    rows: list[list[float]] = []
    for name, block in model.trunk.named_children():
        if not name.startswith("dense"):
            continue
        layers = list(block.children())
        rows = []
        for i, layer in enumerate(layers):
            weight = layer.get_parameter("conv1.weight").detach()  # shares its memory
            first = weight.shape[1] - i * growth  # channels of the block's input
            sources = weight.abs().mean((0, 2, 3)).split([first, *[growth] * i])
            means = torch.stack([source.mean() for source in sources])
            rows.append([float(value) for value in means / means.mean()])
            if i >= len(layers) // 2:
                half = 1 + len(layers) // 2  # the block's input, and the layers of the earlier half
                early.append(sum(rows[-1][:half]) / half)
                weight[:, : first + growth * (half - 1)] = 0
    without = evaluate(trained.classifier, test).top1
    return {"by_source": rows, "early": sum(early) / len(early), "lost": whole - without}


def _packed(trained: Trained, images: ImageSet, number: int) -> Packed:
    """The first images, as the network gets them before they are normalised."""
    from classicnets.data.pipeline.pack import pack

    return pack(images.subset(range(min(number, len(images)))), trained.classifier.preprocess)
