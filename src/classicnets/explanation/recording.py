"""`Recorder`: the operations of a forward pass, as they run, with the tensors that go in and come out.

A dispatch mode sees PyTorch's own operations, so additions and concatenations between modules are seen too. PyTorch
keeps the mode for each thread by itself: what another thread computes with the same modules meanwhile is not recorded,
and there is no hook to remove.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class Operation(NamedTuple):
    """An operation that ran: its name in PyTorch, such as "conv2d", its arguments in order, and its output."""

    name: str
    args: tuple[Any, ...]
    output: Tensor


class Recorder(TorchDispatchMode):
    """Inside a `with` block, keeps the operations that this thread runs. Use it inside `evaluating`.

    >>> with Recorder() as recorder:  # doctest: +SKIP
    ...     output = network.trunk.conv1(images)
    >>> recorder.maker(output).name  # doctest: +SKIP
    'relu'
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # PyTorch's modes have no types
        self._made: dict[int, Operation] = {}  # holds the outputs, so that no other tensor gets their identity

    def maker(self, tensor: Tensor) -> Operation | None:
        """Return the operation whose output this tensor is, or None if it was not made inside the block."""
        return self._made.get(id(tensor))

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing here is compiled; the default loads the compiler, which takes a second

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        if isinstance(output, Tensor) and not any(output is given for given in args):  # dropout gives its input back
            self._made[id(output)] = Operation(func.overloadpacket.__name__, args, output)
        return output
