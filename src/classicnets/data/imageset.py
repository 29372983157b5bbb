"""`ImageSet`: labelled images in a fixed order. `Data`: the training, validation and test images of a run."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from classicnets.data.shuffled import shuffled
from classicnets.errors import BadImage, DataError
from classicnets.images import as_array, data_bit_depth, is_tensor, read_image, read_state, within_limit

if TYPE_CHECKING:
    from torch import Tensor

OnError = Literal["fail", "skip"]


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Labelled images in a fixed order, in memory (`images`) or in files that are decoded on demand (`paths`).

    Attributes:
        classes: the name of every class; a label is an index into it.
        labels: int64 (N,). Labels and images are tensors, or arrays if `find_source` read the set, without PyTorch.
        ids: the name of each image: its path relative to the source, or "train/00012". Stable and unique.
        images: uint8 (N, C, H, W), or None for a set of files.
        paths: N paths, or None for a set in memory.
        groups: N names of groups (a person, a patient) whose images must stay in one part, or None.
        columns: what else a table says of the images, by the name of the column: N texts each.
    """

    classes: tuple[str, ...]
    labels: Tensor
    ids: tuple[str, ...]
    images: Tensor | None = None
    paths: tuple[Path, ...] | None = None
    groups: tuple[str, ...] | None = None
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.images is None) == (self.paths is None):
            raise ValueError("An ImageSet has either images or paths.")
        of_images = {name: getattr(self, name) for name in ("labels", "images", "paths", "groups")}
        for name, values in {**of_images, **self.columns}.items():
            if values is not None and len(values) != len(self.ids):
                raise ValueError(f"An ImageSet of {len(self.ids)} ids has {len(values)} {name}.")

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def bit_depth(self) -> int:
        """How many bits the 16-bit files of the set use: 8, 10, 12, 14 or 16; 16 if there are none."""
        return data_bit_depth(self.paths)

    def image(self, index: int) -> Tensor:
        """Return image number `index` (0..N-1), uint8 (C, H, W). 16-bit files are read with the set's `bit_depth`.

        Raises BadImage for a file that cannot be decoded.
        """
        if self.paths is not None:
            path, name = self.paths[index], self.ids[index]
            return read_image(path, name=name, reduction=within_limit, bit_depth=self.bit_depth)
        assert self.images is not None
        return self.images[index]

    def subset(self, indices: Sequence[int] | NDArray[np.int64] | Tensor) -> ImageSet:
        """The images at `indices`, in that order. All classes are kept, even without images."""
        index = np.asarray(as_array(indices) if is_tensor(indices) else indices, np.int64)
        places: list[int] = index.tolist()
        return replace(
            self,
            labels=self.labels[index],
            ids=tuple(self.ids[i] for i in places),
            images=None if self.images is None else self.images[index],
            paths=None if self.paths is None else tuple(self.paths[i] for i in places),
            groups=None if self.groups is None else tuple(self.groups[i] for i in places),
            columns={name: tuple(values[i] for i in places) for name, values in self.columns.items()},
        )

    def sample(self, number: int, *, seed: int = 0) -> ImageSet:
        """At most `number` of the images, chosen at random by `seed`, in their order."""
        if number >= len(self):
            return self
        return self.subset(np.sort(shuffled(len(self), seed=seed)[:number]))

    def counts(self) -> dict[str, int]:
        """How many images each class has, in the order of the classes."""
        counts: list[int] = np.bincount(as_array(self.labels), minlength=len(self.classes)).tolist()
        return dict(zip(self.classes, counts, strict=True))

    def fingerprint(self) -> str:
        """A SHA-256 that changes with the classes, labels, order, names or content of the images.

        Files are not read: their size and time of change stand for their content.
        """
        digest = hashlib.sha256(repr((self.classes, self.ids, self.labels.tolist())).encode())
        if self.images is not None:
            digest.update(repr(tuple(self.images.shape)).encode())
            digest.update(np.ascontiguousarray(as_array(self.images)).data)
        for state in self.file_states():
            digest.update(b"%d %d\n" % (state.st_size, state.st_mtime_ns))
        return digest.hexdigest()

    def file_states(self) -> list[os.stat_result]:
        """The `os.stat` of every file, in order; empty for a set in memory. Raises BadImage."""
        if self.paths is None:
            return []
        return [read_state(path, name=name) for path, name in zip(self.paths, self.ids, strict=True)]


@dataclass(frozen=True, eq=False)
class Data:
    """The images of a run: train to learn from, val to choose the best epoch by, test to measure the result on.

    Attributes:
        name: short and safe in a file name: "fashion-mnist", or the name of the folder.
        source: what `load_data` takes to load it again; paths are absolute.
        test: None if the source has training and validation images only.
        split: one sentence on how the three parts were made.
        on_error: what to do with images that cannot be decoded, here and when they are packed.
        skipped: the images that were left out so far; always empty with `on_error="fail"`.
        seed, val_fraction, test_fraction: the arguments of `load_data` that decided the split.
        ignored: how many files among the images are of another kind, by suffix: "12 .heic".
        notes: how the source was interpreted and what was left out, one sentence each.
        corrections: the SHA-256 of the corrections that changed labels or dropped images (`corrected`); "" for none.
    """

    name: str
    source: str
    train: ImageSet
    val: ImageSet
    test: ImageSet | None
    split: str
    seed: int = 0
    val_fraction: float = 0.1
    test_fraction: float = 0.1
    on_error: OnError = "fail"
    skipped: tuple[BadImage, ...] = ()
    ignored: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    corrections: str = ""

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in the order of the labels."""
        return self.train.classes

    @property
    def parts(self) -> dict[str, ImageSet]:
        """ "train", "val" and, if there is one, "test"."""
        parts = {"train": self.train, "val": self.val}
        return parts if self.test is None else {**parts, "test": self.test}

    def fingerprint(self) -> str:
        """A SHA-256 that changes with any image of any part, as `ImageSet.fingerprint` does."""
        return hashlib.sha256("".join(images.fingerprint() for images in self.parts.values()).encode()).hexdigest()


def cannot_be_read(bad: Sequence[BadImage], num_images: int) -> DataError:
    """The error for images that cannot be decoded: how many there are, the first few with reasons, what to do."""
    first = "\n".join(f"  {image}" for image in bad[:5])
    more = f"\n  and {len(bad) - 5} more (`classicnets check` lists them all)" if len(bad) > 5 else ""
    return DataError(
        f"{len(bad)} of {num_images} images cannot be read:\n{first}{more}\n"
        f'Fix or remove them, or leave them out with `--on-error skip` (on_error="skip").'
    )
