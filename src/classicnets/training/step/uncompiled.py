"""Optimizers that do not start PyTorch's compiler.

PyTorch wraps the methods of its optimizers for `torch.compile`. At its first call a wrapper imports `torch._dynamo`,
which takes one to two seconds, though a step is never compiled here. A subclass of `Uncompiled` has the same methods
without these wrappers, so its steps have the same bits.
"""

from __future__ import annotations

from inspect import unwrap

import torch


class Uncompiled(torch.optim.Optimizer):
    """The methods of PyTorch's optimizers as they were before they were wrapped.

    A subclass also gives its `step`: `torch.no_grad()(unwrap(torch.optim.SGD.step))`, because PyTorch's wrapper of a
    step turns gradients off too.

    >>> class SGD(Uncompiled, torch.optim.SGD):
    ...     step = torch.no_grad()(unwrap(torch.optim.SGD.step))
    """

    add_param_group = unwrap(torch.optim.Optimizer.add_param_group)
    state_dict = unwrap(torch.optim.Optimizer.state_dict)
    load_state_dict = unwrap(torch.optim.Optimizer.load_state_dict)
    zero_grad = unwrap(torch.optim.Optimizer.zero_grad)
