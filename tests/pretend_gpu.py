"""A GPU that is pretended: its tensors say "cuda", and the CPU computes their values.

As a real one it refuses to mix its tensors with the CPU's. It counts what a real one would have to be waited for: a
copy that blocks, a value that is looked at, a shape that depends on values.

    with PretendGPU() as gpu:
        there = torch.ones(3).to("cuda", non_blocking=True)
    assert not gpu.waits
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_any_only, tree_leaves, tree_map, tree_map_only

CUDA = torch.device("cuda", 0)
_aten = torch.ops.aten
_LOOKS = {_aten._local_scalar_dense, _aten.nonzero, _aten.masked_select, _aten._unique2, _aten.equal, _aten.is_nonzero}
_COPIES = {_aten._to_copy, _aten.copy_}


class OnGPU(Tensor):
    """A tensor of the pretended GPU. Its values are in `values`, on the CPU."""

    values: Tensor

    @staticmethod
    def __new__(cls, values: Tensor) -> OnGPU:
        made: OnGPU = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, values.size(), strides=values.stride(), storage_offset=values.storage_offset(), dtype=values.dtype,
            device=CUDA, requires_grad=values.requires_grad,
        )  # fmt: skip
        made.values = values
        return made

    def __repr__(self, **_: Any) -> str:
        return f"OnGPU({self.values})"

    def record_stream(self, stream: Any) -> None:
        """Nothing: the memory is the CPU's."""

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket is _aten.detach:
            return OnGPU(args[0].values.detach())
        raise AssertionError(f"{func} outside of a PretendGPU block")


class PretendGPU(TorchDispatchMode):
    """While it is on, "cuda" is a pretended GPU. Threads do not see it.

    Attributes:
        waits: the operations that a real GPU would have been waited for, by name.
    """

    def __init__(self) -> None:
        super().__init__()
        torch._C._ensureCUDADeviceGuardSet()
        self.waits: list[str] = []

    def __enter__(self) -> PretendGPU:
        if torch.cuda.is_available():
            torch.cuda.init()
        self._initialized = torch.cuda._initialized  # else PyTorch looks for a driver as soon as it reads "cuda"
        torch.cuda._initialized = True
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        torch.cuda._initialized = self._initialized

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        there = tree_any_only(OnGPU, lambda _: True, (args, kwargs))
        device = kwargs.get("device")
        goes_there = device is not None and torch.device(device).type == "cuda"
        if not there and not goes_there:
            return func(*args, **kwargs)
        if func.overloadpacket in _COPIES:
            return self._copy(func, args, kwargs, goes_there=goes_there)
        self._refuse_mixing(func, args, kwargs)
        if func.overloadpacket in _LOOKS or _has_mask(func, args):
            self.waits.append(str(func))
        if goes_there:
            kwargs["device"] = torch.device("cpu")
        result = _on_values(func, args, kwargs)
        if func._schema.is_mutable:
            return kwargs.get("out", args[0])
        return tree_map_only(Tensor, OnGPU, result)

    def _copy(self, func: Any, args: Any, kwargs: dict[str, Any], *, goes_there: bool) -> Any:
        """A copy within the GPU, to it or from it."""
        if func.overloadpacket is _aten.copy_:
            target, source = args[:2]
            self._note(func, source, to_gpu=isinstance(target, OnGPU), non_blocking=len(args) > 2 and args[2])
            _on_values(func, args, kwargs)
            return target
        stays = kwargs.get("device") is None
        to_gpu = stays or goes_there
        self._note(func, args[0], to_gpu=to_gpu, non_blocking=kwargs.get("non_blocking", False))
        if not stays:
            kwargs["device"] = torch.device("cpu")
        result = _on_values(func, args, kwargs)
        return OnGPU(result) if to_gpu else result

    def _note(self, func: Any, source: Tensor, *, to_gpu: bool, non_blocking: bool) -> None:
        crosses = isinstance(source, OnGPU) != to_gpu
        if crosses and source.dim() and not (to_gpu and non_blocking):
            self.waits.append(str(func))

    def _refuse_mixing(self, func: Any, args: Any, kwargs: Any) -> None:
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if any(not isinstance(tensor, OnGPU) and tensor.dim() for tensor in tensors):
            raise AssertionError(f"{func} got tensors on the GPU and on the CPU")


def _has_mask(func: Any, args: Any) -> bool:
    """Whether elements are chosen by a mask of more than one value: how many there are is known to the GPU alone."""
    if func.overloadpacket not in (_aten.index, _aten.index_put_, _aten._index_put_impl_):
        return False
    is_fill = func.overloadpacket is not _aten.index and args[2].numel() == 1  # PyTorch turns it into masked_fill
    return not is_fill and any(index is not None and index.dtype is torch.bool for index in args[1])


def _on_values(func: Any, args: Any, kwargs: Any) -> Any:
    args, kwargs = tree_map(lambda x: x.values if isinstance(x, OnGPU) else x, (args, kwargs))
    return func(*args, **kwargs)
