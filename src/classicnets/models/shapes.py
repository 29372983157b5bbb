"""Building networks that have shapes and no weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._device import DeviceContext

_FILLS: frozenset[Callable[..., Any]] = frozenset({
    nn.init.constant_, nn.init.kaiming_uniform_, nn.init.normal_, nn.init.uniform_,
    Tensor.fill_, Tensor.normal_, Tensor.uniform_, Tensor.zero_,
})  # fmt: skip


class ShapesOnly(DeviceContext):
    """Inside the block, new tensors are on the meta device, and layers do not fill their weights, as they have none.

    It is `torch.device("meta")` in less time: what PyTorch's layers draw for tensors without numbers takes as long as
    building them.

    >>> with ShapesOnly():
    ...     layer = nn.Linear(4, 2)
    >>> layer.weight.is_meta
    True
    """

    def __init__(self) -> None:
        super().__init__(torch.device("meta"))

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in _FILLS:
            tensor = args[0] if args else (kwargs or {})["tensor"]
            if tensor.is_meta:
                return tensor
        return super().__torch_function__(func, types, args, kwargs)  # type: ignore[no-untyped-call]
