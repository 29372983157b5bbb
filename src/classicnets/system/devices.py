"""The device to compute on, and the precision: bf16 if the hardware has it, else fp32."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

import torch

from classicnets.errors import ConfigError


def choose_device(name: str = "auto") -> torch.device:
    """Return the device called `name`: "cpu", "cuda", "cuda:1", "mps", or "auto" for the first accelerator or the CPU.

    Raises:
        ConfigError: this machine has no such device.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError, ImportError):
        raise ConfigError(f"No device {name!r} on this machine. Use --device auto or --device cpu.") from None
    return device


def has_bf16(device: torch.device) -> bool:
    """Return whether `device` multiplies bf16 matrices in hardware (on a CPU: AVX512-BF16 or AMX)."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False


@dataclass(frozen=True)
class Precision:
    """The data type of the forward pass. Weights, gradients and optimizer state stay fp32, so bf16 needs no scaling."""

    device: torch.device
    dtype: torch.dtype

    @classmethod
    def choose(cls, name: Literal["auto", "fp32", "bf16"], device: torch.device) -> Precision:
        """Return the precision called `name` on `device`; "auto" is bf16 if the device has it in hardware."""
        bf16 = name == "bf16" or (name == "auto" and has_bf16(device))
        return cls(device, torch.bfloat16 if bf16 else torch.float32)

    def __call__(self) -> AbstractContextManager[object]:
        """Return a context manager for the forward pass: `with precision(): ...`."""
        if self.dtype is torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.dtype)

    @property
    def name(self) -> Literal["fp32", "bf16"]:
        """The name that `choose` takes for this precision."""
        return "bf16" if self.dtype is torch.bfloat16 else "fp32"
