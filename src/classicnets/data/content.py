"""Which images are the same, byte for byte."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Hashable

from classicnets.data.imageset import ImageSet
from classicnets.images import as_array, read_bytes
from classicnets.system.threads import in_threads


def content_keys(images: ImageSet) -> list[Hashable]:
    """One key for each image: two keys are equal exactly if the images (or the files) hold the same bytes.

    A file is read only if another file has the same size. Raises BadImage if it cannot be read.
    """
    if images.images is not None:
        return [digest(as_array(row).tobytes()) for row in images.images]
    assert images.paths is not None
    paths = images.paths
    sizes = [state.st_size for state in images.file_states()]
    times = Counter(sizes)
    shared = [i for i, size in enumerate(sizes) if times[size] > 1]
    digests = in_threads(lambda i: digest(read_bytes(paths[i], name=images.ids[i])), shared)
    keys: list[Hashable] = list(sizes)
    for i, key in zip(shared, digests, strict=True):
        keys[i] = key
    return keys


def digest(data: bytes) -> bytes:
    """A key that no two contents share."""
    return hashlib.blake2b(data, digest_size=16).digest()
