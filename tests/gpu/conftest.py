"""Tests that need a GPU: `make test-gpu`. Without one they fail, so that nobody takes them for passed."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def gpu() -> str:
    """The first GPU's name as a device."""
    if not torch.cuda.is_available():
        pytest.fail("This machine has no GPU that PyTorch can use. Run `make test-gpu` on a machine with one.")
    return "cuda"
