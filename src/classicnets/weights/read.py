"""Read any checkpoint as a plain state dict, without running anything that is in it.

The content decides, not the suffix: safetensors, PyTorch's zip files and its older pickles, and whole training
checkpoints among them. Only tensors, numbers, strings and containers are ever built (`weights_only=True`).
"""

from __future__ import annotations

import argparse
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

import torch
from torch import Tensor

from classicnets.errors import WeightsError
from classicnets.models.catalog import FAMILIES
from classicnets.weights.files import MAX_BYTES, check_is_file, load_safetensors

# The keys under which training scripts keep the network, best first: the average of the weights is what they deploy.
_WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model_state_dict", "model", "net", "weights")
# What wrapping a network puts before every key: DataParallel and averages, torch.compile, Lightning modules.
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "backbone.")
# A checkpoint of a run here holds the network twice: as the last step left it, and averaged over the steps.
_LAST, _AVERAGED = "model.", "average."
_AVERAGE_COUNT = "n_averaged"  # torch's AveragedModel counts its updates; the count belongs to the wrapper


@dataclass(frozen=True)
class Checkpoint:
    """A state dict, and how it was found in its file.

    Attributes:
        state: name -> tensor, on the CPU, in the file's order.
        found: where in the file it was found, in words.
        notes: what else the file holds, one sentence each, to show to the user.
    """

    state: dict[str, Tensor]
    found: str
    notes: tuple[str, ...] = ()


def read(path: str | Path) -> Checkpoint:
    """Read a weights file: `.safetensors`, `.pth`, `.pt`, `.th`, `.bin`, or any other name with such content.

    Wrappers (`{"state_dict": ...}`) and prefixes (`module.`) are removed, and keys of old files (DenseNet's `norm.1`)
    become today's. The names are otherwise the file's own; `translate` makes them ours. If most keys have one of the
    prefixes and others do not (a loss with a buffer, say), the others are left out and named in `notes`.

    Args:
        path: the file.

    Raises WeightsError for a file that is missing, damaged, too large, not a state dict, or that asks to run code.

    Example:
        >>> read("checkpoint.ckpt").notes  # doctest: +SKIP
        ("Left out, as they are not below 'model.': criterion.weight.",)
    """
    check_is_file(path)
    with open(path, "rb") as file:
        start = file.read(9)
    if start[8:] == b"{":
        kind = "safetensors"
        content: object = load_safetensors(path)
    elif start.startswith(b"PK\x03\x04"):
        _check_archive(path)
        kind, content = "PyTorch file", _unpickle(path)
    elif start.startswith(b"\x80"):
        kind, content = "PyTorch file of the old kind", _unpickle(path)
    else:
        raise WeightsError(
            f"{path} is no weights file: it starts with {start!r}. Give a safetensors file, or one that torch.save "
            "wrote. A download may have left a web page or a Git LFS pointer in its place: download it again."
        )
    state, wrapper = _unwrap(path, content)
    state, prefix, notes = _without_prefixes(state)
    found = kind + (f", in {wrapper!r}" if wrapper else "") + (f", prefix {prefix!r} removed" if prefix else "")
    return Checkpoint(_with_plain_tensors(path, state), found, tuple(notes))


def _check_archive(path: str | Path) -> None:
    """Refuse a zip that is damaged, is a program (TorchScript), or unpacks to more than it should."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise WeightsError(f"{path} is cut short or damaged ({error}). Get it again.") from error
    unpacked = sum(member.file_size for member in members)
    if unpacked > MAX_BYTES:
        raise WeightsError(f"{path} unpacks to {unpacked:,} bytes; at most {MAX_BYTES:,} are read.")
    if any(member.filename.endswith("/constants.pkl") for member in members):
        raise WeightsError(
            f"{path} is a TorchScript program, which is not opened. Where it came from, save its weights alone: "
            "torch.save(model.state_dict(), ...)."
        )


def _unpickle(path: str | Path) -> object:
    try:
        # argparse.Namespace, a bag of values, is what most training scripts put beside their weights.
        allowed = torch.serialization.safe_globals([argparse.Namespace])
        with open(path, "rb") as file, warnings.catch_warnings(), allowed:
            warnings.simplefilter("ignore")
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a hostile pickle can make the reader fail in any way it likes
        wanted = re.search(r"GLOBAL (\S+) (?:was not|whose module)", str(error))
        if wanted:
            raise WeightsError(
                f"{path} holds more than weights: it asks for {wanted[1]}, which could run code, so it was not opened. "
                "Where it came from, save the weights alone: torch.save(model.state_dict(), ...)."
            ) from error
        line = re.search(r"WeightsUnpickler error:\s*(.+)", str(error)) or re.search(r"(.+)", str(error))
        reason = line[1].strip() if line else type(error).__name__
        raise WeightsError(f"{path} is not a complete PyTorch weights file ({reason}). Get it again.") from error


def _unwrap(path: str | Path, content: object) -> tuple[dict[str, Tensor], str]:
    """The state dict in `content`, and the key it was under."""
    if _is_state_dict(content):
        return dict(content), ""
    inside = {k: v for k, v in content.items() if _is_state_dict(v)} if isinstance(content, Mapping) else {}
    for key in (*_WRAPPERS, *(inside if len(inside) == 1 else ())):
        if key in inside:
            return dict(inside[key]), str(key)
    if inside:
        raise WeightsError(
            f"{path} holds several sets of weights: {', '.join(map(repr, inside))}. Save only the one to load."
        )
    raise WeightsError(
        f"{path} holds no state dict (names with their tensors), but {_in_words(content)}. "
        f"Save the weights with torch.save(model.state_dict(), ...)."
    )


def _is_state_dict(value: object) -> TypeGuard[Mapping[str, Tensor]]:
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in value.items())
    )


def _in_words(content: object) -> str:
    if not isinstance(content, Mapping):
        return f"a value of type {type(content).__name__}"
    if not content:
        return "an empty dict"
    return "a dict of " + ", ".join(f"{k!r} ({type(v).__name__})" for k, v in list(content.items())[:8])


def _without_prefixes(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], str, list[str]]:
    """The state with the network's own names, the prefix that was before them, and notes on what was left out."""
    removed = ""
    notes = []
    while prefix := _common_prefix(state):
        others = [key for key in state if not key.startswith(prefix) and key != _AVERAGE_COUNT]
        if prefix == _AVERAGED:
            notes.append("Took the averaged weights; those of the last step are left out.")
        elif others:
            more = f" and {len(others) - 5} more" if len(others) > 5 else ""
            notes.append(f"Left out keys without the prefix {removed + prefix!r}: {', '.join(others[:5])}{more}.")
        state = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        removed += prefix
    return state, removed, notes


def _common_prefix(state: Mapping[str, Tensor]) -> str:
    """The prefix of the network's keys: of all keys, or the only one of the known prefixes and that of most keys."""
    keys = [key for key in state if key != _AVERAGE_COUNT]
    below = {prefix: sum(key.startswith(prefix) for key in keys) for prefix in (*_PREFIXES, _AVERAGED)}
    used = [prefix for prefix, count in below.items() if count]
    if set(used) == {_LAST, _AVERAGED} and below[_LAST] == below[_AVERAGED]:
        return _AVERAGED
    if len(used) == 1 and below[used[0]] > len(keys) / 2:
        return used[0]
    return ""


def _todays_name(key: str) -> str:
    """The key as the library that wrote the file names it today."""
    for family in FAMILIES:
        for pattern, name in family.old_names:
            key = re.sub(pattern, name, key)
    return key


def _with_plain_tensors(path: str | Path, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state with today's keys. Each tensor is ordinary memory that it really fills."""
    strange = [key for key, t in state.items() if t.layout != torch.strided or t.device.type != "cpu" or t.is_quantized]
    if strange:
        raise WeightsError(
            f"{path}: {', '.join(strange[:8])}: not plain tensors (sparse, quantised or without values). "
            f"Save them as ordinary tensors on the CPU."
        )
    claimed = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    if claimed > MAX_BYTES:
        raise WeightsError(f"{path}: its tensors claim {claimed:,} bytes; at most {MAX_BYTES:,} are read.")
    renamed = {_todays_name(key): tensor.detach() for key, tensor in state.items()}
    if len(renamed) < len(state):
        raise WeightsError(f"{path} holds the same weights under an old and a new name. Remove one of the two.")
    return renamed
