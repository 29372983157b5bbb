"""`Room`: which images stay in a GPU's memory, so that no batch of them has to cross."""

from __future__ import annotations

import torch
from torch import Tensor

from classicnets.data.words import in_bytes

_SPARE = 1 / 10  # of a GPU's memory is left to what nobody counts: libraries' workspaces, fragments


class Room:
    """The memory of a GPU that images may take: what is free, less what the training will ask for and a tenth of all.

    Args:
        device: where the training computes. There is room only on a GPU that PyTorch calls "cuda".
        needed: bytes that the training will still ask for.

    Attributes:
        notes: what fits and what does not, one sentence each.

    >>> Room(torch.device("cpu"), 0).take(torch.zeros(8), "training images") is None
    True
    """

    def __init__(self, device: torch.device, needed: int) -> None:
        self.notes: list[str] = []
        self._device = device
        self._left = 0
        if device.type != "cuda":
            return
        free, total = torch.cuda.mem_get_info(device)
        self._left = max(0, int(free - needed - _SPARE * total))
        self.notes.append(
            f"{in_bytes(free)} of the GPU's {in_bytes(total)} are free. The training may need {in_bytes(needed)} more, "
            f"so images may take {in_bytes(self._left)}"
        )

    def take(self, tensor: Tensor, name: str) -> Tensor | None:
        """Return a copy in the GPU's memory if there is room, else None: then each batch of it crosses.

        Args:
            tensor: on the CPU, of any shape and type.
            name: what it is called in the notes.
        """
        if self._device.type != "cuda":
            return None
        size = in_bytes(tensor.nbytes)
        if tensor.nbytes > self._left:
            self.notes.append(f"{name} ({size}) stay in the machine's memory, and each batch is copied ahead of time")
            return None
        self._left -= tensor.nbytes
        self.notes.append(f"{name} ({size}) are in the GPU's memory")
        return tensor.to(self._device)
