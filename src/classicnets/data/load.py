"""`load_data`: from what a user names to training, validation and test images."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import NamedTuple, get_args

from classicnets.data.content import content_keys
from classicnets.data.imageset import Data, ImageSet, OnError, cannot_be_read
from classicnets.data.sources.folder import archive_hint, read_folder
from classicnets.data.sources.given import Given
from classicnets.data.sources.table import read_table
from classicnets.data.words import listed
from classicnets.errors import BadImage, ConfigError, DataError, did_you_mean
from classicnets.images import image_size
from classicnets.system.paths import expanded
from classicnets.system.threads import in_threads

_MANY_CLASSES = 10  # so many classes of one image each are labels of another kind

_READERS = {"digits": "read_digits", "fashion-mnist": "read_fashion_mnist", "cifar10": "read_cifar10"}
"""The data sets with a name, and the function of the module of that name that reads each."""

Reader = Callable[[str | Path], Given]
"""`read_source`, or `find_source`."""


def load_data(
    source: str | Path,
    *,
    seed: int = 0,
    val_fraction: float = 0.1,
    test_fraction: float = 0.1,
    on_error: OnError = "fail",
) -> Data:
    """Load the training, validation and test images of a source.

    Parts that the source comes with are used as they are. If it has no validation images, `val_fraction` of the
    training images become them; if it has no test images either, `test_fraction` become those. Each class gives its
    share. Identical files, and images of one group, stay in one part. A source with training and validation images
    only has no test images. `Data.notes` says how the source was interpreted and what was left out.

    The header of every file is read here, its pixels are not: missing and empty files, and files that are no images,
    are found now, damage to the pixels when the images are packed. No file is ever changed.

    A class without validation or test images is allowed, in a folder and in a table, and `quick_check` warns of it: it
    is common for rare classes. A validation class that the training images lack is refused.

    Args:
        source: "digits", "fashion-mnist" or "cifar10"; or the path of a folder or a .csv file, also as "folder:PATH"
            or "csv:FILE". A string that is both a name and a folder is the name.
        seed: decides which images go into which part, if a split has to be made.
        val_fraction: share of the training images for validation, above 0. `val_fraction + test_fraction` is below 1.
        test_fraction: share of the training images for testing, 0 or more.
        on_error: what to do with images that cannot be read: "fail" raises DataError, "skip" leaves them out and lists
            them in `Data.skipped`.

    Returns:
        The three parts, and how they were made.

    Raises:
        ConfigError: a fraction or `on_error` is out of range.
        DataError: there is no such source, or its images cannot be trained on; the message names every reason.

    >>> data = load_data("digits")
    >>> len(data.train), len(data.val), len(data.test)
    (1439, 179, 179)
    """
    return load_with(
        read_source, source, seed=seed, val_fraction=val_fraction, test_fraction=test_fraction, on_error=on_error
    )


def load_with(
    read: Reader, source: str | Path, *, seed: int, val_fraction: float, test_fraction: float, on_error: OnError
) -> Data:
    """Load a source as `load_data` does, read by `read_source` or, without PyTorch, by `find_source`."""
    if not (0 < val_fraction < 1 and 0 <= test_fraction < 1 and val_fraction + test_fraction < 1):
        raise ConfigError(
            f"val_fraction is {val_fraction} and test_fraction is {test_fraction}; val_fraction must be above 0, "
            f"test_fraction at least 0, and their sum below 1."
        )
    given, bad = read_readable(source, on_error, read=read)
    data = divide(given, seed=seed, val_fraction=val_fraction, test_fraction=test_fraction)
    return replace(
        data, seed=seed, val_fraction=val_fraction, test_fraction=test_fraction, on_error=on_error, skipped=bad
    )


def read_readable(
    source: str | Path, on_error: OnError, *, read: Reader | None = None
) -> tuple[Given, tuple[BadImage, ...]]:
    """Read what a source holds, without the files whose header cannot be read; return those too.

    `read` is `read_source`, which is the default, or `find_source`. Raises ConfigError for another `on_error`,
    DataError if the source cannot be trained on.
    """
    if on_error not in get_args(OnError):
        raise ConfigError(f"on_error is {on_error!r}; it must be fail or skip.")
    given = (read or read_source)(source)
    refuse_problems(given)
    given, bad = without_bad(given)
    if bad and on_error == "fail":
        raise cannot_be_read(bad, sum(map(len, given.parts.values())) + len(bad))
    gone = [name for name, count in given.train.counts().items() if not count]
    if gone:
        raise DataError(f"No training image of {listed(gone)} can be read. Add images, or remove the class.")
    return given, bad


def read_source(source: str | Path) -> Given:
    """Read what a source holds, as it is. Raises DataError if there is no such source, or nothing in it."""
    import torch

    def with_tensors(images: ImageSet) -> ImageSet:
        pixels = None if images.images is None else torch.as_tensor(images.images)
        return replace(images, labels=torch.as_tensor(images.labels), images=pixels)

    given = find_source(source)
    parts = {name: with_tensors(images) for name, images in given.parts.items()}
    return replace(given, **parts)  # type: ignore[arg-type]


def find_source(source: str | Path) -> Given:
    """Read what a source holds as `read_source` does. Without PyTorch: labels and images are arrays."""
    text = str(source)
    if text in _READERS and isinstance(source, str):
        module = import_module(f"classicnets.data.sources.{text.replace('-', '_')}")
        given: Given = getattr(module, _READERS[text])()
        return given
    kind, _, rest = text.partition(":")
    path = expanded(rest if kind in ("folder", "csv") and rest else source)
    if path.is_file() and archive_hint(path.name):
        raise DataError(f"{path} is an archive. {archive_hint(path.name)}")
    if kind in ("folder", "csv") and rest:
        return (read_folder if kind == "folder" else read_table)(path)
    if path.is_dir():
        return read_folder(path)
    if path.suffix.lower() == ".csv" and path.exists():
        return read_table(path)
    if path.exists():
        raise DataError(
            f"{path} is neither a folder nor a .csv file. Give the folder that holds the class folders. If the file "
            f"is a table, give csv:{path}."
        )
    near = did_you_mean(text, _READERS)
    hint = f" Did you mean {', '.join(near)}?" if near else ""
    raise DataError(
        f"There is no folder or file at {path.absolute()}, and no data set of that name.{hint} "
        f"Give {', '.join(_READERS)}, a folder of images, or a .csv file."
    )


def divide(given: Given, *, seed: int = 0, val_fraction: float = 0.1, test_fraction: float = 0.1) -> Data:
    """Split off the parts that the source does not come with. Raises DataError if it has too few images for that."""
    notes = given.notes
    if not len(given.train):
        raise DataError(f"{given.source} has no training image that can be read.")
    if given.test is not None and not len(given.test):
        notes = (*notes, "test has no image that can be read and is not used")
        given = replace(given, test=None)
    if given.val is None:
        train, val, test, sentence = _split_off(given, seed, val_fraction, test_fraction)
    elif len(given.val):
        train, val, test = given.train, given.val, given.test
        sentence = f"{', '.join(given.parts)} as given" + ("" if test is not None else "; there are no test images")
    else:
        raise DataError(f"{given.source} has no validation image that can be read. Fix them, or leave val out.")
    return Data(given.name, given.source, train, val, test, sentence, ignored=given.ignored, notes=notes)


class _Divided(NamedTuple):
    train: ImageSet
    val: ImageSet
    test: ImageSet | None
    sentence: str


def _split_off(given: Given, seed: int, val_fraction: float, test_fraction: float) -> _Divided:
    """Split the training images, by content and group. Raises DataError if none can be set aside for validation."""
    from classicnets.data.split import split

    images = given.train
    if given.test is not None:
        test_fraction = 0
    together: list[Sequence[Hashable]] = [content_keys(images)]
    if images.groups:
        together.append(images.groups)
    made = split(images.labels, val_fraction=val_fraction, test_fraction=test_fraction, seed=seed, together=together)
    if not made.val:
        raise DataError(_too_few(given))
    shares = f"{len(made.val):,} for validation"
    if test_fraction:
        shares += f" and {len(made.test):,} for testing"
    groups = f", keeping {len(set(images.groups)):,} groups whole" if images.groups else ""
    as_given = "test as given; " if given.test is not None else ""
    return _Divided(
        images.subset(made.train),
        images.subset(made.val),
        images.subset(made.test) if made.test else given.test,
        f"{as_given}of {len(images):,} images {shares}, in proportion within each class{groups}, seed {seed}",
    )


def _too_few(given: Given) -> str:
    """The message that no image can be set aside for validation."""
    counts = given.train.counts()
    if len(counts) > _MANY_CLASSES and max(counts.values()) == 1:
        return (
            f"{given.source} has a different label for each of its {len(given.train):,} training images: "
            f"{listed(given.train.classes)}. A class needs several images. Check that these are the labels."
        )
    return (
        f"{given.source} has too few images to set some aside for validation: {len(given.train):,}. Images of one "
        f"group, and identical files, stay together. Add images, or a split of your own."
    )


def refuse_problems(given: Given) -> None:
    """Raise DataError, with every reason, if a source cannot be trained on as it is."""
    if given.problems:
        lines = "\n".join(f"  {problem}" for problem in given.problems)
        raise DataError(f"{given.source} cannot be trained on:\n{lines}\n`classicnets check` shows the details.")


def without_bad(given: Given) -> tuple[Given, tuple[BadImage, ...]]:
    """Leave out files that are missing or whose header cannot be read; returns what is left, and those files."""
    bad = list(given.missing)
    left: dict[str, ImageSet] = {}
    for part, images in given.parts.items():
        failures = list(in_threads(partial(_failure, images), range(len(images))))
        kept = [i for i, failure in enumerate(failures) if failure is None]
        bad += [failure for failure in failures if failure is not None]
        left[part] = images if len(kept) == len(images) else images.subset(kept)
    return replace(given, train=left["train"], val=left.get("val"), test=left.get("test")), tuple(bad)


def _failure(images: ImageSet, index: int) -> BadImage | None:
    if images.paths is None:
        return None
    try:
        image_size(images.paths[index], name=images.ids[index])
    except BadImage as error:
        return error
    return None
