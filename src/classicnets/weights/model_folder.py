"""A saved classifier on disk: `config.json`, `model.safetensors`, `README.md`, in the layout of the Hugging Face hub.

Another process may read the folder while it is saved, and the process that saves may be killed. The config holds the
SHA-256 of its weights, and files are replaced one by one in an order that always leaves a matching pair:

    .config.json       the new config, written first
    model.safetensors  replaced; until here the old pair matches, from here on .config.json and the new weights do
    config.json        .config.json, renamed

So a reader that finds no match met a writer between two steps, and reads again; if nothing has changed meanwhile, the
weights are damaged. One process saves at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from classicnets.errors import ChecksumMismatch, ClassicNetsError, ConfigError, WeightsError
from classicnets.system.storage import recover, written_aside
from classicnets.weights.config import (
    MAX_CONFIG_BYTES,
    SavedConfig,
    build,
    parse_config,
    read_config,
    to_text,
    with_sha256,
)
from classicnets.weights.files import load_safetensors, require_fit, save_safetensors, sha256_of
from classicnets.weights.readme import model_card

_FILES = ("config.json", "model.safetensors", "README.md")
_PENDING = ".config.json"
_ATTEMPTS = 100


def find_folder(path: str | Path) -> Path:
    """Return the classifier's folder: `path` itself, or the folder `model` of a run. Raises WeightsError."""
    path = Path(path)
    for folder in (path, path / "model"):
        if (folder / "config.json").is_file():
            return folder
    if not path.exists():
        raise WeightsError(f"{path} does not exist. Give a run folder (runs/...) or its model folder.")
    if (path / "recipe.toml").is_file():
        raise WeightsError(
            f"{path} has no model yet: its training has not reached the end of an epoch. "
            f"Continue it with `classicnets train --resume {path}`."
        )
    raise WeightsError(
        f"{path} is not a classifier: it has neither config.json nor model/config.json. Give a run folder (runs/...)."
    )


# ---- reading


def read_folder(folder: Path) -> tuple[SavedConfig, dict[str, Tensor]]:
    """Read a config and the weights that belong to it, also while another process saves to `folder`.

    Raises WeightsError if either is missing, damaged or not finite, ChecksumMismatch if they do not belong together.
    """
    before = _versions(folder)
    for attempt in range(_ATTEMPTS):
        try:
            saved, state = _read_once(folder)
        except WeightsError:
            after = _versions(folder)
            if after == before or attempt == _ATTEMPTS - 1:
                raise
            before = after
        else:
            break
    for name, tensor in state.items():
        if not _is_finite(tensor):
            raise WeightsError(
                f"{folder / 'model.safetensors'}: {name} holds numbers that are not finite. Such a model cannot answer."
            )
    return saved, state


def _read_once(folder: Path) -> tuple[SavedConfig, dict[str, Tensor]]:
    path = folder / "model.safetensors"
    saved = read_config(folder / "config.json")
    version = _version(path)
    try:
        actual = sha256_of(path)
    except OSError as error:
        raise WeightsError(f"Cannot read {path}: {error.strerror}. Get the folder again.") from None
    if saved.classicnets.sha256 != actual:
        saved = _pending_config(folder, actual) or saved
    if saved.classicnets.sha256 != actual:
        raise ChecksumMismatch(
            f"{path} is damaged or was changed: its SHA-256 starts with {actual[:12]}, and config.json says "
            f"{saved.classicnets.sha256[:12]}. Get the folder again."
        )
    state = load_safetensors(path)
    if _version(path) != version:
        raise ChecksumMismatch(
            f"{path} keeps changing while it is read. Wait until the process that writes it is done."
        )
    return saved, state


def _pending_config(folder: Path, sha256: str) -> SavedConfig | None:
    """The config of weights whose `save` is not done, or was killed before it was."""
    try:
        saved = read_config(folder / _PENDING)
    except WeightsError:
        return None
    return saved if saved.classicnets.sha256 == sha256 else None


def _versions(folder: Path) -> list[tuple[int, ...]]:
    return [_version(folder / name) for name in ("config.json", "model.safetensors", _PENDING)]


def _version(path: Path) -> tuple[int, ...]:
    """What changes when a file is replaced; empty if there is none."""
    try:
        state = path.stat()
    except OSError:
        return ()
    return state.st_ino, state.st_size, state.st_mtime_ns


# ---- writing


def write_folder(folder: Path, config: Mapping[str, Any], state: Mapping[str, Tensor]) -> None:
    """Write a classifier to `folder`, replacing an older one there. A reader sees the old one or the new one.

    `config` is what `make_config` returns. Nothing is written unless `read_folder` and `build` will take it.
    Raises ConfigError for a folder that holds other files and for what could not be loaded, StorageError if the disk
    refuses.
    """
    _require_loadable(config, state)
    others = sorted(_other_files(folder)) if folder.is_dir() else []
    if others or folder.is_file():
        raise ConfigError(
            f"{folder} already holds other files ({', '.join(others[:3]) or 'it is a file'}). Save to a new folder."
        )
    if folder.is_dir():
        recover(folder)
        _write_files(folder, config, state)
    else:
        with written_aside(folder) as new:
            new.mkdir()
            _write_files(new, config, state)


def _require_loadable(config: Mapping[str, Any], state: Mapping[str, Tensor]) -> None:
    """Take the way of a reader, before anything is written. Raises ConfigError."""
    text = to_text(with_sha256(config, "0" * 64))
    if len(text.encode()) > MAX_CONFIG_BYTES:
        raise ConfigError(f"The classifier cannot be saved: its config is larger than {MAX_CONFIG_BYTES >> 20} MiB.")
    broken = [name for name, tensor in state.items() if not _is_finite(tensor)]
    if broken:
        raise ConfigError(
            f"The classifier cannot be saved: {broken[0]} holds numbers that are not finite. Such a model cannot "
            "answer. Train it again at a lower rate."
        )
    try:
        require_fit(build(parse_config(text, Path("config.json")), state), state, "The model")
    except ClassicNetsError as error:
        raise ConfigError(f"The classifier cannot be saved, because it would not load: {error}") from None


def _is_finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(tensor.isfinite().all())


def _other_files(folder: Path) -> list[str]:
    """The names in `folder` that no `save` wrote, whole or killed."""
    names = (file.name for file in folder.iterdir())
    return [name for name in names if name not in (*_FILES, _PENDING) and not name.endswith(".aside")]


def _write_files(folder: Path, config: Mapping[str, Any], state: Mapping[str, Tensor]) -> None:
    weights = folder / "model.safetensors"
    with written_aside(weights) as new:
        save_safetensors(new, state)
        config = with_sha256(config, sha256_of(new))
        _write_text(folder / _PENDING, to_text(config))
    _write_text(folder / "config.json", to_text(config))
    (folder / _PENDING).unlink(missing_ok=True)
    _write_text(folder / "README.md", model_card(config))


def _write_text(path: Path, text: str) -> None:
    with written_aside(path) as new:
        new.write_text(text, "utf-8")
