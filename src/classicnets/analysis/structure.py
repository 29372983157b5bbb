"""Which modules of a network are built alike, so that they do the same to the same input."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable

from torch import nn

_OF_EVERY_MODULE = frozenset(vars(nn.Module())) - {"training"}
_PLAIN = (int, float, str, bytes, type(None))


def structures(net: nn.Module) -> dict[nn.Module, int]:
    """Return a number for each module of a network, itself included: modules of the same number are built alike.

    They have the same class, mode and attributes, parameters and buffers of the same shapes, and children that are
    built alike. Only the values of parameters and buffers may differ. A module with hooks, or with a child that another
    module holds too, is like no other one.

    >>> net = nn.Sequential(nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 3))
    >>> [structures(net)[layer] for layer in net]
    [0, 0, 1]
    """
    holders = Counter(child for module in net.modules() for child in module._modules.values())
    numbers: dict[Hashable, int] = {}
    found: dict[nn.Module, int] = {}

    def number(module: nn.Module) -> int:
        if module not in found:
            named = module._modules.items()
            children = tuple([(name, None if child is None else number(child)) for name, child in named])
            is_alone = any(child is not None and holders[child] > 1 for _, child in named)
            has_hooks = module._forward_hooks or module._forward_pre_hooks
            built = id(module) if is_alone or has_hooks else _built(module, children)
            found[module] = numbers.setdefault(built, len(numbers))
        return found[module]

    number(net)
    return found


def _built(module: nn.Module, children: tuple[Hashable, ...]) -> Hashable:
    """What is equal for modules that are built alike."""
    tensors = (*module._parameters.items(), *module._buffers.items())
    return (
        type(module),
        children,
        tuple([(name, None if tensor is None else tensor.shape) for name, tensor in tensors]),
        tuple([(name, _value(value)) for name, value in vars(module).items() if name not in _OF_EVERY_MODULE]),
    )


def _value(value: object) -> Hashable:
    """An attribute's value if it is plain, or else its identity: what an object does is not known."""
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, tuple | list):
        return tuple(map(_value, value))
    return ("object", id(value))
