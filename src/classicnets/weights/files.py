"""Our own weights on disk: written whole or not at all, read strictly, identified by SHA-256.

Files are safetensors: names, shapes and numbers, and nothing that could run.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from classicnets.errors import KeysMismatch, WeightsError
from classicnets.system.storage import not_written, written_aside

Head = Literal["strict", "replace"]
MAX_BYTES = 4 << 30  # VGG-19 with the two moments of its optimizer is 1.7 GB; larger files hold something else
_HEADS = ("head.", "aux_")


def save_safetensors(path: str | Path, state: Mapping[str, Tensor]) -> None:
    """Write a state dict as safetensors, whole or not at all; equal states give equal bytes. Raises StorageError."""
    plain = {name: tensor.detach().to("cpu").contiguous() for name, tensor in state.items()}
    with written_aside(path) as new:
        new.touch()
        mode = new.stat().st_mode  # safetensors makes its files private; a model should be as readable as other files
        try:
            save_file(plain, new, metadata={"format": "pt"})
        except SafetensorError as error:
            raise not_written(Path(path), error) from error
        new.chmod(mode)


def load_safetensors(path: str | Path) -> dict[str, Tensor]:
    """Read a safetensors file: name -> tensor, on the CPU. Raises WeightsError if it is missing or damaged."""
    check_is_file(path)
    try:
        return load_file(path, device="cpu")
    except (SafetensorError, OSError, RuntimeError) as error:  # RuntimeError: the file is replaced while it is opened
        raise WeightsError(
            f"{path} is not a complete safetensors file ({error}). It may be cut short or renamed: get it again."
        ) from error


def load_into(model: nn.Module, state: Mapping[str, Tensor], *, head: Head = "strict", name: str = "") -> list[str]:
    """Copy a state dict in our own names into a model. If anything does not fit, the model stays as it was.

    Args:
        model: the model.
        state: name -> tensor.
        head: "strict", or "replace": layers of `head` and of the auxiliary heads that do not fit keep the model's
            present weights.
        name: what messages call the weights, usually a path.

    Returns one sentence per group of layers that was replaced or left out, to show to the user. Raises KeysMismatch,
    which lists every key that is missing, unexpected or of another shape.

    Example:
        >>> load_into(model, load_safetensors("w.safetensors"), head="replace")  # doctest: +SKIP
    """
    own = model.state_dict()
    misfits = _misfits(own, state)
    kept = {_layer(key) for key in misfits if head == "replace" and key.startswith(_HEADS)}
    _raise_for({key: why for key, why in misfits.items() if _layer(key) not in kept}, own, state, name)
    model.load_state_dict({**own, **{key: value for key, value in state.items() if _layer(key) not in kept}})

    known, given = {_layer(key) for key in own}, {_layer(key) for key in state}
    treated = {
        "Started afresh, as the weights are for another classifier": kept & known & given,
        "Started afresh, as the weights have none": kept - given,
        "Left out, as the model has none": kept - known,
    }
    return [f"{what}: {', '.join(sorted(layers))}." for what, layers in treated.items() if layers]


def require_fit(model: nn.Module, state: Mapping[str, Tensor], name: str = "") -> None:
    """Raise KeysMismatch unless all of `state` fits `model`, which may be on the meta device."""
    own = model.state_dict()
    _raise_for(_misfits(own, state), own, state, name)


def _misfits(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> dict[str, str]:
    """Each key that does not fit, with the reason."""
    return {key: why for key in dict.fromkeys([*own, *state]) if (why := _misfit(own.get(key), state.get(key)))}


def _misfit(own: Tensor | None, given: Tensor | None) -> str:
    """Why a weight cannot be copied, or an empty string."""
    if own is None or given is None:
        return "unexpected" if own is None else "missing"
    if own.shape != given.shape:
        return f"{tuple(given.shape)} given, {tuple(own.shape)} in the model"
    return f"{given.dtype} given, {own.dtype} in the model" if given.is_complex() else ""


def _layer(key: str) -> str:
    return key.rpartition(".")[0]


def _raise_for(misfits: Mapping[str, str], own: Mapping[str, Tensor], state: Mapping[str, Tensor], name: str) -> None:
    if not misfits:
        return
    message = f"{name or 'The weights'}: {len(misfits)} weights do not fit the model. "
    if all(key.startswith(_HEADS) for key in misfits):
        message += "Only the classifier differs: load with head='replace' to start a new one, or give its num_classes."
    else:
        message += "They belong to another model, or to another version of it."
    raise KeysMismatch(
        message,
        missing=[key for key in misfits if key not in state],
        unexpected=[key for key in misfits if key not in own],
        misshaped=[f"{key}: {why}" for key, why in misfits.items() if key in state and key in own],
    )


def check_is_file(path: str | Path) -> None:
    """Raise WeightsError unless the path is a regular file that can be opened, of at most MAX_BYTES."""
    try:
        size = os.path.getsize(path)
        if not os.path.isfile(path):
            raise WeightsError(f"Cannot read weights from {path}: it is not a file.")
        open(path, "rb").close()
    except (OSError, ValueError) as error:
        raise WeightsError(f"Cannot open the weights file {path}: {getattr(error, 'strerror', error)}.") from error
    if size > MAX_BYTES:
        raise WeightsError(f"{path} has {size:,} bytes; at most {MAX_BYTES:,} are read as weights.")
