"""Where `grid_sample` reads, computed by rows and columns."""

from __future__ import annotations

import torch
from torch import Tensor


def affine_grid(theta: Tensor, size: tuple[int, int]) -> Tensor:
    """The same as `F.affine_grid`, (B, 2, 3) -> (B, H, W, 2), but faster, and without a matrix product.

    A GPU may multiply matrices in TF32, whose ten bits do not tell the pixels of a large image apart.
    """
    y, x = (torch.linspace(-1, 1, side, device=theta.device) * (side - 1) / side for side in size)
    grid = torch.empty(len(theta), *size, 2, device=theta.device)
    for i in range(2):
        by_x, by_y, shift = theta[:, i, :, None].unbind(1)
        grid[..., i].copy_((x * by_x)[:, None, :]).add_((y * by_y)[:, :, None]).add_(shift[:, :, None])
    return grid
