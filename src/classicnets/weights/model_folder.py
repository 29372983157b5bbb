"""A saved classifier on disk: `config.json`, `model.safetensors`, `README.md`, in the layout of the Hugging Face hub.

A classifier that can tell images that are unlike its training images has the tensors of that score in a file of its
own, `novelty-SHA.safetensors`: "SHA" are the first digits of its SHA-256, so a new file never replaces an older one.

Another process may read the folder while it is saved, and the process that saves may be killed. The config holds the
SHA-256 of its weights, and files are replaced one by one in an order that always leaves a matching pair:

    novelty-...        the new tensors, beside those of the old config
    .config.json       the new config
    model.safetensors  replaced; until here the old pair matches, from here on .config.json and the new weights do
    config.json        .config.json, renamed; then the old config's novelty-... is deleted

So a reader that finds no match met a writer between two steps, and reads again; if nothing has changed meanwhile, the
weights are damaged. One process saves at a time.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors.torch import save
from torch import Tensor

from classicnets.errors import ChecksumMismatch, ClassicNetsError, ConfigError, WeightsError
from classicnets.system.storage import recover, sha256_of, written_aside
from classicnets.weights.config import (
    MAX_CONFIG_BYTES,
    SavedConfig,
    build,
    parse_config,
    read_config,
    to_text,
    with_sha256,
)
from classicnets.weights.files import load_safetensors, require_fit, save_safetensors
from classicnets.weights.readme import model_card

_FILES = ("config.json", "model.safetensors", "README.md")
_PENDING = ".config.json"
_NOVELTY = re.compile(r"novelty-[0-9a-f]{12}\.safetensors")
_ATTEMPTS = 100


def find_folder(path: str | Path) -> Path:
    """Return the classifier's folder: `path` itself, or the folder `model` of a run. Raises WeightsError."""
    path = Path(path)
    for folder in (path, path / "model"):
        if (folder / "config.json").is_file():
            return folder
    if (path / "bundle.json").is_file():
        raise WeightsError(
            f"{path} is a bundle, which has no network to look into. Give the run that it was exported from."
        )
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


class Saved(NamedTuple):
    """What a classifier's folder holds: its config, its weights, and the tensors of its novelty score or none."""

    config: SavedConfig
    state: dict[str, Tensor]
    novelty: dict[str, Tensor]


def read_folder(folder: Path) -> Saved:
    """Read a config and the tensors that belong to it, also while another process saves to `folder`.

    Raises WeightsError if a file is missing, damaged or not finite, ChecksumMismatch if they do not belong together.
    """
    before = _versions(folder)
    for attempt in range(_ATTEMPTS):
        try:
            found = _read_once(folder)
        except WeightsError:
            after = _versions(folder)
            if after == before or attempt == _ATTEMPTS - 1:
                raise
            before = after
        else:
            break
    for name, tensor in (*found.state.items(), *found.novelty.items()):
        if not _is_finite(tensor):
            raise WeightsError(
                f"{folder / 'model.safetensors'}: {name} holds numbers that are not finite. Such a model cannot answer."
            )
    return found


def _read_once(folder: Path) -> Saved:
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
    return Saved(saved, state, _read_novelty(folder, saved))


def _read_novelty(folder: Path, saved: SavedConfig) -> dict[str, Tensor]:
    """The tensors of the novelty score, if the config names some."""
    sha256 = saved.classicnets.novelty.sha256 if saved.classicnets.novelty else None
    if sha256 is None:
        return {}
    path = novelty_file(folder, sha256)
    tensors = load_safetensors(path)
    if sha256_of(path) != sha256:
        raise ChecksumMismatch(f"{path} is damaged or was changed: its SHA-256 is another one. Get the folder again.")
    return tensors


def novelty_file(folder: Path, sha256: str) -> Path:
    """Return the file in a classifier's folder that holds the novelty tensors with this SHA-256."""
    return folder / f"novelty-{sha256[:12]}.safetensors"


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


def write_folder(
    folder: Path, config: Mapping[str, Any], state: Mapping[str, Tensor], *, novelty: Mapping[str, Tensor]
) -> None:
    """Write a classifier to `folder`, replacing an older one there. A reader sees the old one or the new one.

    `config` is what `make_config` returns; `novelty` are the tensors of its novelty score, or none. Nothing is written
    unless `read_folder` and `build` will take it.
    Raises ConfigError for a folder that holds other files and for what could not be loaded, StorageError if the disk
    refuses.
    """
    _require_loadable(config, state, novelty)
    others = sorted(_other_files(folder)) if folder.is_dir() else []
    if others or folder.is_file():
        raise ConfigError(
            f"{folder} already holds other files ({', '.join(others[:3]) or 'it is a file'}). Save to a new folder."
        )
    if folder.is_dir():
        recover(folder)
        _write_files(folder, config, state, novelty)
    else:
        with written_aside(folder) as new:
            new.mkdir()
            _write_files(new, config, state, novelty)


def _require_loadable(config: Mapping[str, Any], state: Mapping[str, Tensor], novelty: Mapping[str, Tensor]) -> None:
    """Take the way of a reader, before anything is written. Raises ConfigError."""
    text = to_text(with_sha256(config, "0" * 64))
    if len(text.encode()) > MAX_CONFIG_BYTES:
        raise ConfigError(f"The classifier cannot be saved: its config is larger than {MAX_CONFIG_BYTES >> 20} MiB.")
    broken = [name for name, tensor in (*state.items(), *novelty.items()) if not _is_finite(tensor)]
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
    ours = (*_FILES, _PENDING)
    return [n for n in names if n not in ours and not n.endswith(".aside") and not _NOVELTY.fullmatch(n)]


def _write_files(
    folder: Path, config: Mapping[str, Any], state: Mapping[str, Tensor], novelty: Mapping[str, Tensor]
) -> None:
    sha256 = _write_novelty(folder, novelty) if novelty else ""
    weights = folder / "model.safetensors"
    with written_aside(weights) as new:
        save_safetensors(new, state)
        config = with_sha256(config, sha256_of(new), sha256)
        _write_text(folder / _PENDING, to_text(config))
    _write_text(folder / "config.json", to_text(config))
    (folder / _PENDING).unlink(missing_ok=True)
    for file in folder.glob("novelty-*.safetensors"):
        if file != novelty_file(folder, sha256) and _NOVELTY.fullmatch(file.name):
            file.unlink(missing_ok=True)
    _write_text(folder / "README.md", model_card(config))


def _write_novelty(folder: Path, tensors: Mapping[str, Tensor]) -> str:
    """Write the tensors of the novelty score under the name of their SHA-256, and return that."""
    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    sha256 = hashlib.sha256(content).hexdigest()
    with written_aside(novelty_file(folder, sha256)) as new:
        new.write_bytes(content)
    return sha256


def _write_text(path: Path, text: str) -> None:
    with written_aside(path) as new:
        new.write_text(text, "utf-8")
