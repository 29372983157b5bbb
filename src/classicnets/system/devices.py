"""The device to compute on, and the precision: the fastest that its hardware has."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Literal

import torch

from classicnets.errors import ConfigError
from classicnets.system.memory import memory_kept

PrecisionName = Literal["fp32", "bf16", "fp16"]

_DTYPES: dict[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_FP16, _BF16 = (7, 0), (8, 0)  # the first compute capabilities (V100, A100) with tensor cores for them


def choose_device(name: str = "auto") -> torch.device:
    """Return the device called `name`: "cpu", "cuda", "cuda:1", "mps", or "auto" for the first accelerator or the CPU.

    Raises:
        ConfigError: this machine has no such device. The message lists those that it has.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError, ImportError):
        raise ConfigError(
            f"No device {name!r} on this machine, which has {', '.join(devices())}. Use --device auto, or one of these."
        ) from None
    return device


def devices() -> list[str]:
    """Return the names of the devices that PyTorch can use here; GPUs with their model, such as "cuda:0 (Tesla T4)"."""
    gpus = [f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())]
    return ["cpu", *gpus, *(["mps"] if torch.backends.mps.is_available() else [])]


def has_bf16(device: torch.device) -> bool:
    """Return whether `device` multiplies bf16 matrices in hardware (on a CPU: AVX512-BF16 or AMX)."""
    if device.type == "cuda":
        return torch.version.hip is not None or torch.cuda.get_device_capability(device) >= _BF16
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False


def fastest_precision(device: torch.device) -> PrecisionName:
    """Return what "auto" means on `device`: bf16 if it has that in hardware, else fp16 if it is a GPU that has that."""
    if has_bf16(device):
        return "bf16"
    has_fp16 = device.type == "cuda" and torch.cuda.get_device_capability(device) >= _FP16
    return "fp16" if has_fp16 else "fp32"


@dataclass(frozen=True)
class Precision:
    """The data type of the forward pass. Weights, gradients and optimizer state stay fp32.

    bf16 has the range of fp32. fp16 has not, so its small gradients would be 0: the loss is scaled (`scaler`).
    """

    device: torch.device
    dtype: torch.dtype

    @classmethod
    def choose(cls, name: Literal["auto", "fp32", "bf16", "fp16"], device: torch.device) -> Precision:
        """Return the precision called `name` on `device`; "auto" is what the hardware computes fastest."""
        return cls(device, _DTYPES[fastest_precision(device) if name == "auto" else name])

    def __call__(self) -> AbstractContextManager[object]:
        """Return a context manager for the forward pass: `with precision(): ...`."""
        if self.dtype is torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.dtype)

    @property
    def name(self) -> PrecisionName:
        """The name that `choose` takes for this precision."""
        return next(name for name in ("fp32", "bf16", "fp16") if _DTYPES[name] is self.dtype)

    @property
    def widest(self) -> torch.dtype:
        """The type of floats in which sums are kept on the device: float64 if it has that."""
        return torch.float32 if self.device.type == "mps" else torch.float64

    def scaler(self) -> torch.amp.GradScaler:
        """Return a new scaler of the loss; it does nothing unless this is fp16."""
        return torch.amp.GradScaler(self.device.type, enabled=self.dtype is torch.float16)


@contextmanager
def fast_training(precision: Precision) -> Iterator[None]:
    """Inside the block, the process has the fastest settings for training, of memory and of a GPU's arithmetic.

    At the end they are what they were. See `memory_kept` and `fast_arithmetic`.
    """
    with memory_kept(precision.dtype), fast_arithmetic(precision.device):
        yield


@contextmanager
def fast_arithmetic(device: torch.device) -> Iterator[None]:
    """Inside the block, a GPU multiplies fp32 matrices in TF32, and cuDNN times its algorithms for each new shape.

    Both are settings of the whole process, so they are restored at the end. On other devices nothing changes.
    """
    if device.type != "cuda":
        yield
        return
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark
    matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = True, True, True
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = before


def synchronize(device: torch.device) -> None:
    """Wait until an accelerator has done all that was queued. A CPU queues nothing."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
