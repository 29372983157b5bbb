"""`load_data`: from what a user names to training, validation and test images."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import get_args

from classicnets.data.content import content_keys
from classicnets.data.imageset import Data, ImageSet, OnError, cannot_be_read
from classicnets.data.sources.cifar10 import read_cifar10
from classicnets.data.sources.digits import read_digits
from classicnets.data.sources.fashion_mnist import read_fashion_mnist
from classicnets.data.sources.folder import read_folder
from classicnets.data.sources.given import Given, listed
from classicnets.data.sources.table import read_table
from classicnets.data.split import split
from classicnets.errors import BadImage, ConfigError, DataError, did_you_mean
from classicnets.images import image_size
from classicnets.system.threads import in_threads

_READERS: dict[str, Callable[[], Given]] = {
    "digits": read_digits,
    "fashion-mnist": read_fashion_mnist,
    "cifar10": read_cifar10,
}


def load_data(
    source: str | Path,
    *,
    seed: int = 0,
    val_fraction: float = 0.1,
    test_fraction: float = 0.1,
    on_error: OnError = "fail",
) -> Data:
    """The training, validation and test images of a source.

    Parts that the source comes with are taken as they are. Where it has no validation images, `val_fraction` of the
    training images becomes them, and `test_fraction` the test images, if there are neither; in proportion within each
    class, with `seed`, and with identical files and images of one group on one side. A source with training and
    validation images only has no test images.

    The header of every file is read, no pixel of it: what is missing, empty, too large or no image is found here, and
    what is damaged further in by `pack`. With `on_error="fail"` either is a DataError; with "skip" such files are left
    out and listed in `skipped`. Files are only ever read.

    Args:
        source: "digits", "fashion-mnist" or "cifar10"; the path to a folder or to a .csv file, "folder:" or "csv:"
            before it or not. A name goes before a folder called the same.

    Raises ConfigError for a fraction or policy that cannot be used, DataError for all that is wrong with the data.

    >>> data = load_data("digits")
    >>> len(data.train), len(data.val), len(data.test)
    (1439, 179, 179)
    """
    if not (0 < val_fraction < 1 and 0 <= test_fraction < 1 and val_fraction + test_fraction < 1):
        raise ConfigError(
            f"val_fraction is {val_fraction} and test_fraction {test_fraction}; the first must be above 0, the second "
            f"at least 0, and both together below 1."
        )
    if on_error not in get_args(OnError):
        raise ConfigError(f"on_error is {on_error!r}; it must be fail or skip.")
    given = read_source(source)
    if given.problems:
        lines = "\n".join(f"  {problem}" for problem in given.problems)
        raise DataError(f"{given.source} cannot be trained on:\n{lines}\n`classicnets check` shows all of it.")
    given, bad = _without_bad(given)
    if bad and on_error == "fail":
        raise cannot_be_read(bad, sum(map(len, given.parts.values())) + len(bad))
    gone = [name for name, count in given.train.counts().items() if not count]
    if gone:
        raise DataError(f"No training image of {listed(gone)} can be read. Add some, or remove it.")
    data = divide(given, seed=seed, val_fraction=val_fraction, test_fraction=test_fraction)
    return replace(
        data, seed=seed, val_fraction=val_fraction, test_fraction=test_fraction, on_error=on_error, skipped=bad
    )


def read_source(source: str | Path) -> Given:
    """What a source holds, as it is found. Raises DataError where there is no such source, or nothing in it."""
    text = str(source)
    if text in _READERS and isinstance(source, str):
        return _READERS[text]()
    kind, _, rest = text.partition(":")
    if kind in ("folder", "csv") and rest:
        return (read_folder if kind == "folder" else read_table)(Path(rest).expanduser())
    path = Path(source).expanduser()
    if path.is_dir():
        return read_folder(path)
    if path.suffix.lower() == ".csv" and path.exists():
        return read_table(path)
    if path.exists():
        raise DataError(
            f"{path} is neither a folder nor a .csv file. A table of another suffix is given as csv:{path}."
        )
    near = did_you_mean(text, _READERS)
    hint = f" Did you mean {', '.join(near)}?" if near else ""
    raise DataError(
        f"There is no folder or file at {path.absolute()}, and no data set of that name.{hint} "
        f"Give {', '.join(_READERS)}, a folder of images, or a .csv file."
    )


def divide(given: Given, *, seed: int = 0, val_fraction: float = 0.1, test_fraction: float = 0.1) -> Data:
    """Split off what the source does not come with. Raises DataError where there are too few images for it."""
    train, val, test = given.train, given.val, given.test
    if not len(train):
        raise DataError(f"{given.source} has no training image that can be read.")
    if val is not None:
        sentence = f"{', '.join(given.parts)} as given" + ("" if test is not None else "; there are no test images")
    else:
        if given.test is not None:
            test_fraction = 0
        contents = content_keys(given.train)
        together: list[Sequence[Hashable]] = [contents] + ([given.train.groups] if given.train.groups else [])
        made = split(
            given.train.labels, val_fraction=val_fraction, test_fraction=test_fraction, seed=seed, together=together
        )
        train, val = given.train.subset(made.train), given.train.subset(made.val)
        test = given.train.subset(made.test) if made.test else test
        shares = [f"{len(made.val):,} for validation"] + ([f"{len(made.test):,} for testing"] if test_fraction else [])
        groups = f", keeping {len(set(given.train.groups)):,} groups whole" if given.train.groups else ""
        as_given = "test as given; " if given.test is not None else ""
        sentence = (
            f"{as_given}of {len(given.train):,} images {' and '.join(shares)}, in proportion within each class"
            f"{groups}, seed {seed}"
        )
    if not len(val):
        raise DataError(
            f"{given.source} has too few images to set some aside for validation: {len(given.train)}, those counted "
            f"that belong together. Add images, or a split of your own."
        )
    return Data(given.name, given.source, train, val, test, sentence, ignored=given.ignored)


def _without_bad(given: Given) -> tuple[Given, tuple[BadImage, ...]]:
    """The source without the files that are missing or whose header cannot be read, and those."""
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
