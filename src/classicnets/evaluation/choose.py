"""Choose the images to evaluate on: those that a run kept apart, or others that the user names.

A run's `images.csv` tells which images it was trained on, also after they have moved.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from classicnets.data.corrections import corrected
from classicnets.data.imageset import Data, ImageSet, OnError, cannot_be_read
from classicnets.data.load import Reader, find_source, load_with, read_source
from classicnets.data.record import Recorded, image_keys, read_record
from classicnets.data.sources.given import Given
from classicnets.errors import ConfigError, DataError
from classicnets.images import is_tensor
from classicnets.scorer import Scorer

if TYPE_CHECKING:
    from torch import Tensor

PARTS = {"test": "test", "val": "validation", "train": "training", "all": ""}
"""The parts of data that a user can choose, and what a report calls them."""

_SAME = 0.9
"""The share of images, of the run's and of the user's, from which both are one set."""


_FLATTERED = (
    "Images of this source were used to train this classifier: the result flatters it. `load_data(...).test` has the "
    "test images, and `classicnets evaluate RUN` measures those of a run."
)
"""The note if nothing tells which images of the source were used."""


class Chosen(NamedTuple):
    """Images to evaluate on.

    Attributes:
        images: the images.
        name: what a report calls them: "birds test".
        on_error: what to do about images that cannot be decoded.
        is_own: whether they are what the classifier's training kept apart for this: its test images, or its validation
            images if there are no test images.
        notes: what the user should know, one sentence each.
    """

    images: ImageSet
    name: str
    on_error: OnError
    is_own: bool
    notes: tuple[str, ...] = ()


def own_images(
    scorer: Scorer, part: str | None = None, *, run: Path | None = None, read: Reader = read_source
) -> Chosen:
    """Return images of the data that the classifier was trained on, divided as they were then.

    Args:
        scorer: the classifier.
        part: "train", "val", "test" or "all"; None is the test images, or the validation images if there are none.
        run: its run folder. The run's recipe says where the data is now, and its `images.csv` which image was in which
            part, should the data have changed.
        read: reads the source; `reader_for` chooses it.

    Raises ConfigError if nothing says what the classifier was trained on, DataError if the images are gone, cannot be
    read, or have no such part.

    Example:
        >>> own_images(clf, "val", run=Path("runs/birds")).name  # doctest: +SKIP
        'birds validation'
    """
    known = {**scorer.card.provenance.get("data", {}), **_recipe_data(run)}
    try:
        data = load_with(
            read,
            known["source"],
            seed=known["split_seed"],
            val_fraction=known["val_fraction"],
            test_fraction=known["test_fraction"],
            on_error=known["on_error"],
        )
        data = _as_corrected(data, known.get("corrections"), run)
    except (KeyError, TypeError):
        raise ConfigError(
            "This classifier does not record what it was trained on. Name the images: `classicnets evaluate RUN DATA`."
        ) from None
    except DataError as error:
        if not _is_gone(known["source"]):
            raise
        name = run or "RUN"
        raise DataError(
            f"{error} If the images have moved, `classicnets evaluate {name} NEW_PLACE` measures this classifier on "
            f"them, and `classicnets train --resume {name} NEW_PLACE` makes the run remember their new place."
        ) from None
    parts: Mapping[str, ImageSet] = data.parts
    notes = []
    if data.on_error == "fail" and data.fingerprint() != known.get("fingerprint"):
        record = _Record.of(run)
        if record is None:
            notes.append("The data has changed since the training: some test images may have been training images.")
        else:
            images = joined(tuple(parts.values()))
            parts = record.divide(images)
            notes += record.changes(images, parts)
    best = "test" if "test" in parts else "val"
    part = part or best
    notes += _refitted(part, known)
    return Chosen(part_of(parts, part, data.name), _named(data.name, part), data.on_error, part == best, tuple(notes))


def given_images(
    source: str | PathLike[str],
    part: str | None = None,
    *,
    on_error: OnError = "fail",
    run: Path | None = None,
    trained_on: str | None = None,
    read: Reader = read_source,
) -> Chosen:
    """Return images of any source that `load_data` takes, in the parts that it comes in.

    If they are the images of the run, at another place or not, they are divided as they were for its training.

    Args:
        source: a folder, a table or the name of a data set.
        part: "train", "val", "test" or "all"; None is the test images if there are any, else all.
        on_error: "fail", or "skip" to leave out images that cannot be decoded.
        run: the run folder whose `images.csv` tells which images its classifier was trained on.
        trained_on: without a run, the source that the classifier was trained on: a note says if it is this one.
        read: reads the source; `reader_for` chooses it.

    Raises DataError if there are no such images or they cannot be read.

    Example:
        >>> given_images("holiday/").name  # doctest: +SKIP
        'holiday'
    """
    given = read(source if isinstance(source, str) else Path(source))
    if given.missing and on_error == "fail":
        raise cannot_be_read(given.missing, sum(map(len, given.parts.values())) + len(given.missing))
    record = _Record.of(run)
    if record is None:
        part = part or _default(given.parts)
        has_training_images = given.source == trained_on and part in ("all", "train")
        flattered = (_FLATTERED,) if has_training_images else ()
        return Chosen(_given_part(given, part), _named(given.name, part), on_error, is_own=False, notes=flattered)

    images = joined(tuple(given.parts.values()))
    parts = record.divide(images)
    wanted = part or record.best
    if wanted in parts and (record.is_same(images, parts) or (part and len(given.parts) == 1)):
        notes = []
        if part is None:
            notes.append(
                f"This classifier was trained with these images. Only its {len(parts[wanted]):,} {PARTS[wanted]} "
                f"images are measured; --split all measures all {len(images):,}."
            )
        notes += _refitted(wanted, _recipe_data(run))
        return Chosen(parts[wanted], _named(given.name, wanted), on_error, wanted == record.best, tuple(notes))
    part = part or _default(given.parts)
    images = _given_part(given, part)
    return Chosen(images, _named(given.name, part), on_error, is_own=False, notes=record.flattering(images))


def reader_for(scorer: Scorer) -> Reader:
    """Return what reads a source for a scorer: without PyTorch, if the scorer does not need it."""
    return read_source if getattr(scorer, "needs_torch", True) else find_source


def labelled(
    images: ImageSet | Data | str | PathLike[str],
    *,
    on_error: OnError = "fail",
    trained_on: str | None = None,
    read: Reader = read_source,
) -> Chosen:
    """Return what `evaluate` measures: the images, the test part of a Data (or its validation part), or a source's.

    Args:
        images: labelled images, a Data, or what `load_data` takes.
        on_error: "fail", or "skip" to leave out images that cannot be decoded.
        trained_on: the source that the classifier was trained on, if it is known.
        read: reads a source; `reader_for` chooses it.

    Raises DataError if there are no such images or they cannot be read.
    """
    if isinstance(images, ImageSet):
        return Chosen(images, "", on_error, is_own=False)
    if isinstance(images, Data):
        part = "val" if images.test is None else "test"
        return Chosen(images.parts[part], _named(images.name, part), on_error, is_own=False)
    return given_images(images, on_error=on_error, trained_on=trained_on, read=read)


def run_of(path: str | PathLike[str]) -> Path | None:
    """Return the run folder of a run or of its model folder; None if it is a model folder without a run."""
    for folder in (Path(path), Path(path).absolute().parent):
        if (folder / "model" / "config.json").is_file():
            return folder
    return None


def joined(parts: tuple[ImageSet, ...]) -> ImageSet:
    """Join sets of one source, with the same classes, into one. Groups and columns that a set lacks are left out."""
    first = parts[0]
    if len(parts) == 1:
        return first
    shared = [name for name in first.columns if all(name in part.columns for part in parts)]
    return ImageSet(
        classes=first.classes,
        labels=_together([part.labels for part in parts]),
        ids=tuple(id for part in parts for id in part.ids),
        images=None if first.images is None else _together([p.images for p in parts if p.images is not None]),
        paths=None if first.paths is None else tuple(path for part in parts for path in part.paths or ()),
        groups=tuple(group for part in parts for group in part.groups or ()) if all(p.groups for p in parts) else None,
        columns={name: tuple(value for part in parts for value in part.columns[name]) for name in shared},
    )


def _together(parts: Sequence[Tensor]) -> Tensor:
    """The rows of all parts: tensors, or arrays of a set that was read without PyTorch."""
    if not is_tensor(parts[0]):
        return cast("Tensor", np.concatenate(parts))
    import torch

    return torch.cat(list(parts))


class _Record:
    """The images of a run, as its images.csv has them."""

    def __init__(self, rows: Sequence[Recorded], *, refit: bool = False) -> None:
        self._trained_on = ("train", "val") if refit else ("train",)
        self.sizes: dict[str, int] = {}
        self._by_id: dict[tuple[str, str], str] = {}
        self._by_key: dict[str, str] = {}
        for row in rows:
            self.sizes[row.part] = self.sizes.get(row.part, 0) + 1
            if row.key:
                self._by_id[row.id, row.key] = row.part
                # An image that is in two parts counts as trained on, wherever it turns up under another name.
                if self._by_key.get(row.key) != "train":
                    self._by_key[row.key] = row.part

    @property
    def best(self) -> str:
        """The part that the run was measured on."""
        return "test" if "test" in self.sizes else "val"

    @classmethod
    def of(cls, run: Path | None) -> _Record | None:
        """The record of a run; None if it has none, as runs of earlier versions."""
        path = run / "images.csv" if run else None
        refit = bool(_recipe_data(run).get("refit"))
        return cls(read_record(path), refit=refit) if path and path.is_file() else None

    def divide(self, images: ImageSet) -> dict[str, ImageSet]:
        """The images that were in the run, by the part that they were in."""
        places: dict[str, list[int]] = {}
        for i, (id, key) in enumerate(zip(images.ids, image_keys(images), strict=True)):
            part = self._by_id.get((id, key)) or self._by_key.get(key)
            if part is not None:
                places.setdefault(part, []).append(i)
        return {part: images.subset(places[part]) for part in PARTS if part in places}

    def is_same(self, images: ImageSet, parts: Mapping[str, ImageSet]) -> bool:
        """Whether the images are the run's own: nearly all of them are in the run, and nearly all of the run's."""
        found = sum(map(len, parts.values()))
        return found >= _SAME * len(images) and found >= _SAME * sum(self.sizes.values())

    def changes(self, images: ImageSet, parts: Mapping[str, ImageSet]) -> list[str]:
        """A note if images of the run are gone, or others have come."""
        found = sum(map(len, parts.values()))
        gone, new = sum(self.sizes.values()) - found, len(images) - found
        if gone <= 0 and new <= 0:
            return []
        return [
            f"The data has changed since the training: {max(gone, 0):,} images are gone, and {new:,} are new. The "
            "others are divided as they were then; new ones are left out."
        ]

    def flattering(self, images: ImageSet) -> tuple[str, ...]:
        """A note if there are training images among the images."""
        parts = self.divide(images)
        count = sum(len(parts[part]) for part in self._trained_on if part in parts)
        if not count:
            return ()
        return (f"{count:,} of the {len(images):,} images were used to train this classifier: the result flatters it.",)


def _refitted(part: str, known: Mapping[str, Any]) -> list[str]:
    """A note if validation images are measured that the classifier was trained on, by `data.refit`."""
    if part == "val" and known.get("refit"):
        return ["These validation images were also used to train this classifier (data.refit): the result flatters it."]
    return []


def _recipe_data(run: Path | None) -> dict[str, Any]:
    """The table `data` of a run's recipe: a run that was resumed elsewhere knows the new place first."""
    try:
        found = tomllib.loads((run / "recipe.toml").read_text("utf-8")).get("data") if run else None
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _as_corrected(data: Data, file: str | None, run: Path | None) -> Data:
    """The data with the corrections that the classifier was trained with, from the run's copy or the file itself."""
    places = [run / "corrections.csv" if run else None, Path(file) if file else None]
    found = next((place for place in places if file and place and place.is_file()), None)
    return corrected(data, found) if found else data


def _is_gone(source: str) -> bool:
    """Whether a source is a path at which there is nothing; the names of data sets are no paths."""
    path = Path(source.removeprefix("folder:").removeprefix("csv:")).expanduser()
    return path.is_absolute() and not path.exists()


def _default(parts: Mapping[str, ImageSet]) -> str:
    return "test" if "test" in parts else "all"


def _given_part(given: Given, part: str) -> ImageSet:
    """A part that the source came with. Raises DataError."""
    if part == "all":
        return joined(tuple(given.parts.values()))
    if len(given.parts) == 1:
        raise DataError(f"{given.source} is not divided into parts. Omit --split to evaluate on all of it.")
    if part not in given.parts:
        raise DataError(
            f"{given.source} does not come with {part} images. It has {', '.join(given.parts)}; omit --split to "
            "evaluate on all."
        )
    return given.parts[part]


def part_of(parts: Mapping[str, ImageSet], part: str, name: str, *, option: str = "--split") -> ImageSet:
    """Return a part of the data called `name`, or "all" of it. Raises DataError, which names `option`."""
    if part == "all":
        return joined(tuple(parts.values()))
    if part not in parts:
        raise DataError(
            f"{name} has no {PARTS[part]} images. It has {', '.join(parts)}; choose one of them, or all, with {option}."
        )
    return parts[part]


def _named(name: str, part: str) -> str:
    return f"{name} {PARTS[part]}".strip()
