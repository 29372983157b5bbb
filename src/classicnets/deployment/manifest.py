"""bundle.json: what a bundle is, what it holds, and what was measured when it was made."""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import msgspec

from classicnets.card import Card
from classicnets.deployment.engines import Engine, Settings
from classicnets.errors import ChecksumMismatch, ClassicNetsError, WeightsError
from classicnets.system.storage import sha256_of

FORMAT = 1
NAME = "bundle.json"
_MAX_BYTES = 64 * 2**20


def is_bundle(path: str | PathLike[str]) -> bool:
    """Return whether the folder at `path` is a bundle."""
    return (Path(path) / NAME).is_file()


class Input(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the graph takes: pixels of the network's own size."""

    name: Literal["images"] = "images"
    dtype: Literal["uint8"] = "uint8"
    shape: tuple[Literal["N"], int, int, int]
    layout: Literal["NCHW"] = "NCHW"
    colours: Literal["RGB", "grey", "other"] = "RGB"


class Golden(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An image that the bundle must always answer alike: a PNG of the network's own size, and its answer."""

    file: str
    probabilities: tuple[float, ...]
    novelty: float | None = None


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The content of bundle.json.

    Attributes:
        format: the number of this layout; a newer one is refused.
        classicnets: the version that wrote it.
        created: when, in ISO 8601, UTC.
        engine: which engine the bundle was made and checked for.
        settings: how that engine runs.
        files: the SHA-256 of every other file, by its path in the bundle.
        input: what the graph takes.
        outputs: the names of what it returns: "probabilities", then "novelty" if the classifier can tell.
        card: `Card.to_dict()`.
        golden: images and their answers.
        measured: what was measured when the bundle was made, JSON-ready.
    """

    format: int
    classicnets: str
    created: str
    engine: Engine
    settings: Settings
    files: dict[str, str]
    input: Input
    outputs: tuple[Literal["probabilities", "novelty"], ...]
    card: dict[str, Any]
    golden: tuple[Golden, ...] = ()
    measured: dict[str, Any] = {}

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        return values

    def write(self, folder: Path) -> None:
        """Write bundle.json into a folder that is not in its place yet."""
        text = json.dumps(self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False)
        (folder / NAME).write_text(text + "\n", "utf-8")

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read the bundle.json of a folder. Raises WeightsError if it is damaged, or of a newer format."""
        path = folder / NAME
        try:
            if path.stat().st_size > _MAX_BYTES:
                raise WeightsError(f"{path} has more than {_MAX_BYTES:,} bytes: it is no bundle.json. {_AGAIN}")
            values = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise WeightsError(f"{path} cannot be read ({error}). {_AGAIN}") from None
        number = values.get("format") if isinstance(values, dict) else None
        if isinstance(number, int) and number > FORMAT:
            raise WeightsError(
                f"{path} has format {number}, and this version of classicnets reads up to {FORMAT}. "
                f"Update it with: pip install --upgrade classicnets"
            )
        try:
            return msgspec.convert(values, cls)
        except msgspec.ValidationError as error:
            raise WeightsError(f"{path}: {error}. {_AGAIN}") from None
        except ClassicNetsError as error:
            raise WeightsError(f"{path}: {error}") from None

    def read_card(self, folder: Path) -> Card:
        """Return the card. Raises WeightsError if it cannot be used."""
        try:
            return Card.from_dict(self.card)
        except ClassicNetsError as error:
            raise WeightsError(f"{folder / NAME}: {error}") from None

    def check_files(self, folder: Path) -> None:
        """Raise WeightsError if a file is missing, ChecksumMismatch if one is not what the bundle was made with."""
        for name, expected in self.files.items():
            path = folder / name
            if Path(name).is_absolute() or ".." in Path(name).parts:
                raise WeightsError(f"{folder / NAME} names a file outside the bundle: {name}. {_AGAIN}")
            if not path.is_file():
                raise WeightsError(f"{path} is missing. {_AGAIN}")
            if sha256_of(path) != expected:
                raise ChecksumMismatch(f"{path} was changed or damaged: its SHA-256 is not that of {NAME}. {_AGAIN}")


_AGAIN = "Export the run again, or copy the whole bundle again."
