"""How a new network gets its weights: by its family's initialiser, which may leave no tensor unfilled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from classicnets.errors import ConfigError
from classicnets.models.contract import ConvNet


def allocate(model: nn.Module) -> None:
    """Give a network that was built on the meta device memory on the CPU, which may hold anything.

    `Module.to_empty` does that too, but imports SymPy for it, which takes a third of a second.
    """
    memory = {name: torch.empty(tensor.shape, dtype=tensor.dtype) for name, tensor in model.state_dict().items()}
    model.load_state_dict(memory, assign=True)


@torch.no_grad()
def start_weights(model: ConvNet, generator: torch.Generator | None = None) -> None:
    """Fill every parameter and buffer of `model`, whose memory holds anything, on the CPU.

    The family's `init_weights` comes first. A layer that it does not know starts by its own `reset_parameters`. Both
    draw from `generator`, or from PyTorch's global generator if that is None. Raises ConfigError if a tensor remains,
    with its name.
    """
    tensors = {name: tensor for name, tensor in (*model.named_parameters(), *model.named_buffers()) if tensor.numel()}
    marks = {name: _mark(tensor) for name, tensor in tensors.items()}

    def unfilled() -> list[str]:
        return [name for name, tensor in tensors.items() if _has(tensor, marks[name])]

    model.init_weights(generator)
    layers = dict.fromkeys(name.rpartition(".")[0] for name in unfilled())
    if layers:
        _reset([model.get_submodule(layer) for layer in layers], generator)
    left = unfilled()
    if left:
        layer = type(model.get_submodule(left[0].rpartition(".")[0])).__name__
        raise ConfigError(
            f"{type(model).__name__} does not initialise {', '.join(left)}. Fill it in {type(model).__name__}."
            f"init_weights, or give {layer} a method reset_parameters."
        )


def _reset(layers: Sequence[nn.Module], generator: torch.Generator | None) -> None:
    """Call the layers' `reset_parameters`, which can only draw from the global generator: it is seeded and put back."""
    with torch.random.fork_rng(devices=[], enabled=generator is not None):
        if generator is not None:
            torch.default_generator.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        for layer in layers:
            reset = getattr(layer, "reset_parameters", None)
            if callable(reset):
                reset()


class _Mark(NamedTuple):
    """What an unfilled tensor holds at its start and end, which no initialiser chooses; None: no such value exists."""

    value: float | None
    version: int


def _mark(tensor: Tensor) -> _Mark:
    value: float | None
    if tensor.dtype is torch.bool:
        value = None
    elif tensor.is_floating_point() or tensor.is_complex():
        value = math.nan
    else:
        value = torch.iinfo(tensor.dtype).max
    if value is not None:
        ends = tensor.view(-1)
        ends[0] = ends[-1] = value
    return _Mark(value, tensor._version)


def _has(tensor: Tensor, mark: _Mark) -> bool:
    """Whether the tensor still holds its mark. One without a mark counts as filled if any operation wrote to it."""
    if mark.value is None:
        return tensor._version == mark.version
    ends = tensor.view(-1)[[0, -1]]
    return bool((ends.isnan() if math.isnan(mark.value) else ends == mark.value).any())
