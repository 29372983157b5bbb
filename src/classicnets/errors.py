"""The exceptions of classicnets, and the exit code that each one means on the command line.

Every message answers four questions: what happened, what was given, what is allowed, what to do next.
`classicnets.cli` prints the message of a `ClassicNetsError` and exits with its `exit_code`. Any other exception is a
bug in this package and shows its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class ClassicNetsError(Exception):
    """Base of every error that a user can cause and fix."""

    exit_code = 1


class UnknownName(ClassicNetsError):
    """A model, recipe, key or option that does not exist. The message suggests similar names."""

    exit_code = 2


class ConfigError(ClassicNetsError):
    """A known setting with a value that cannot be used."""

    exit_code = 2


class Locked(ConfigError):
    """Another process holds the lock on a file or folder, such as a run that it trains."""


class MissingExtra(ClassicNetsError):
    """An optional dependency is not installed. The message gives the `pip install` line."""

    exit_code = 2


class DataError(ClassicNetsError):
    """Data that cannot be trained or evaluated on: a missing folder, one class, an unreadable table."""

    exit_code = 3


class BadImage(DataError):
    """An image that cannot be decoded, or is refused.

    Attributes:
        name: the path of the image, or a label for an image without one.
        reason: why it cannot be used.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name
        self.reason = reason

    def __reduce__(self) -> tuple[type[BadImage], tuple[str, str]]:
        return type(self), (self.name, self.reason)


class WeightsError(ClassicNetsError):
    """A weights file, model folder or bundle that cannot be read or trusted."""

    exit_code = 4


class KeysMismatch(WeightsError):
    """A state dict that does not fit the model. The message lists every key that is missing, unexpected or misshaped.

    Attributes:
        missing: the model's keys that the state dict lacks.
        unexpected: the state dict's keys that the model lacks.
        misshaped: the keys whose tensors have another shape than the model's.
    """

    def __init__(
        self,
        message: str,
        *,
        missing: Sequence[str] = (),
        unexpected: Sequence[str] = (),
        misshaped: Sequence[str] = (),
    ) -> None:
        lines = [message]
        for title, keys in (("missing", missing), ("unexpected", unexpected), ("wrong shape", misshaped)):
            lines += [f"  {title}: {key}" for key in keys]
        super().__init__("\n".join(lines))
        self.missing = tuple(missing)
        self.unexpected = tuple(unexpected)
        self.misshaped = tuple(misshaped)


class ChecksumMismatch(WeightsError):
    """A file whose SHA-256 differs from the recorded one."""


class ExportMismatch(WeightsError):
    """An exported network that does not answer as the original does, or loses more accuracy than allowed."""


class TrainingDiverged(ClassicNetsError):
    """The loss or the gradients are no longer finite."""

    exit_code = 5


class ProcessLost(ClassicNetsError):
    """Another process of the same training has ended."""


class OutOfMemory(ClassicNetsError):
    """The memory of the machine or of its GPU is too small. The message says what to lower."""

    exit_code = 6


class StorageError(ClassicNetsError):
    """The disk is full, read-only, or refuses a write for another reason."""

    exit_code = 6


def did_you_mean(name: str, known: Iterable[str], *, most: int = 3) -> list[str]:
    """Return the names in `known` that are most similar to `name`: at most `most`, best first.

    Case is ignored. If no name is similar, names that start with `name` are returned.

    >>> did_you_mean("Resnet81", ["resnet18", "vgg11"])
    ['resnet18']
    """
    known = list(known)
    by_folded = {k.casefold(): k for k in known}
    near = difflib.get_close_matches(name.casefold(), by_folded, n=most, cutoff=0.6)
    starting = [k for f, k in by_folded.items() if f.startswith(name.casefold()) and f not in near]
    return [by_folded[n] for n in near][:most] or starting[:most]


def unknown_name(kind: str, name: str, known: Iterable[str], *, next_step: str) -> UnknownName:
    """Return an `UnknownName` for a `name` that is not in `known`, with the similar names.

    `kind` is what it names ("model"); `next_step` is a sentence that says where to find all names.

    >>> str(unknown_name("model", "resnet81", ["resnet18", "vgg11"], next_step="See `classicnets models`."))
    "No model named 'resnet81'. Did you mean resnet18? See `classicnets models`."
    """
    near = did_you_mean(name, known)
    hint = f" Did you mean {', '.join(near)}?" if near else ""
    return UnknownName(f"No {kind} named {name!r}.{hint} {next_step}")


def first_sentence(error: Exception) -> str:
    """Return what happened, as an error's message says it first, without the advice and without a full stop.

    >>> first_sentence(DataError("There is no folder birds/. Give a folder of images."))
    'There is no folder birds/'
    """
    return str(error).splitlines()[0].split(". ")[0].rstrip(".:")
