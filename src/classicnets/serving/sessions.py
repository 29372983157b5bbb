"""A bundle for a server: a request that comes alone computes on all cores, and of many requests each has a core.

The first answers sooner. The second answers more requests a second, because no core waits for another one. A request
comes alone if no other one is in the server: one that is being decoded or waits would compete for the cores.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from classicnets.deployment import Bundle
from classicnets.deployment.engines import FILES, Answered, Operation, Session, open_session
from classicnets.serving.admission import alone

_LARGEST = 256 * 2**20  # bytes of a network's files: a larger one is not held twice
_TRIED = 4  # images that both sessions answer


class OneOrMany:
    """A session made of two of the same network, which give the same numbers.

    Args:
        one: computes a batch on all cores.
        many: computes several batches at once, each on its share of the cores.
    """

    def __init__(self, one: Session, many: Session) -> None:
        self._one, self._many = one, many
        self._running = 0
        self._lock = threading.Lock()

    @property
    def executed(self) -> str:
        """The precision that the engine really computes in."""
        return self._many.executed

    def run(self, images: NDArray[np.uint8]) -> Answered:
        """Return what the network says of images, uint8 (N, C, H, W)."""
        with self._lock:
            self._running += 1
            session = self._one if self._running == 1 and alone() else self._many
        try:
            return session.run(images)
        finally:
            with self._lock:
                self._running -= 1

    def profile(self, images: NDArray[np.uint8]) -> list[Operation]:
        """Run images, uint8 (N, C, H, W), as one chunk, and return how long each operation took, in order."""
        return self._one.profile(images)


def open_for_server(folder: Path, *, workers: int) -> Bundle:
    """Load a bundle so that `workers` threads can ask it at once, and one that asks alone gets all cores.

    A network whose files are large has one session only, and so has one whose numbers depend on how many cores compute.
    Raises what `Bundle.load` raises.
    """
    bundle = Bundle.load(folder, streams=workers)
    manifest = bundle.manifest
    size = sum((folder / name).stat().st_size for name in FILES[manifest.engine])
    if workers == 1 or size > _LARGEST:
        return bundle
    one = open_session(manifest.engine, folder, replace(manifest.settings, streams=1))
    if _answer_alike(one, bundle):
        bundle.session = OneOrMany(one, bundle.session)
    return bundle


def _answer_alike(one: Session, bundle: Bundle) -> bool:
    """Whether both sessions give the same numbers, to the bit. Their kernels are compiled then, too."""
    shape = (1, bundle.preprocess.channels, *bundle.preprocess.input_size)
    noise = np.random.default_rng(0)
    for _ in range(_TRIED):
        image = noise.integers(0, 256, shape, dtype=np.uint8)
        ours, theirs = one.run(image), bundle.session.run(image)
        if _bytes(ours) != _bytes(theirs):
            return False
    return True


def _bytes(answered: Answered) -> list[bytes]:
    return [output.tobytes() for output in answered if output is not None]
