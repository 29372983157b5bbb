"""`Bundle`: an exported classifier, which answers without PyTorch; and `load`, for everything that can be asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from classicnets.card import Card
from classicnets.deployment.engines import Session, open_session
from classicnets.deployment.manifest import Manifest, is_bundle
from classicnets.errors import ConfigError
from classicnets.scorer import Outputs, PrecisionName, Predictor, Values

if TYPE_CHECKING:
    from classicnets.classifier import Classifier

_SMALLEST = np.finfo(np.float32).tiny  # a probability of 0 has no logarithm


class Bundle(Predictor):
    """A card and an exported network: a `Scorer` that needs an engine, and no PyTorch.

    It has the interface of a `Classifier`, except for what needs the network itself: training and explanation.

    Attributes:
        folder: where it lies.
        manifest: what its bundle.json says.
        card: classes, preprocessing, thresholds, provenance.
        session: the network, loaded by the engine.
    """

    needs_torch = False

    def __init__(self, folder: Path, manifest: Manifest, card: Card, session: Session) -> None:
        self.folder, self.manifest, self.card, self.session = folder, manifest, card, session

    @classmethod
    def load(
        cls,
        folder: str | PathLike[str],
        *,
        engine: str | None = None,
        threads: int | None = None,
        streams: int | None = None,
    ) -> Bundle:
        """Load a bundle that `export` wrote.

        Args:
            folder: the bundle.
            engine: "onnxruntime", "openvino" or "torch"; by default the one that the bundle was made for.
            threads: how many threads compute, 1 or more; by default the cores that this process may use, or as many as
                the bundle was made for if they are fewer.
            streams: how many batches are computed at once, 1 or more; by default as many as the bundle was made for.

        Raises WeightsError if a file is missing or the format is newer, ChecksumMismatch if a file was changed,
        MissingExtra if the engine is not installed.

        >>> Bundle.load("bundle").predict("cat.jpg").label  # doctest: +SKIP
        'cat'
        """
        folder = Path(folder)
        manifest = Manifest.read(folder)
        card = manifest.read_card(folder)
        manifest.check_files(folder)
        settings = manifest.settings
        given: dict[str, Any] = {"threads": threads, "streams": streams}
        settings = replace(settings, **{name: number for name, number in given.items() if number is not None})
        return cls(folder, manifest, card, open_session(engine or manifest.engine, folder, settings))

    def __repr__(self) -> str:
        return f"Bundle({self.card}, {self.manifest.engine} in {self.session.executed})"

    def logits(
        self,
        images: Values,
        *,
        batch_size: int = 256,
        precision: PrecisionName = "fp32",
        progress: Callable[[int, int], None] | None = None,
    ) -> NDArray[np.float32]:
        """Return the logits of prepared images: float32 (N, K).

        The graph returns probabilities. Their logarithms times the temperature are logits with the same scores.

        Args:
            images: uint8 (N, C, H, W), as `preprocess.geometry` makes them, an array or a tensor.
            batch_size: how many images go through the network at a time, 1 or more.
            precision: not used: a bundle computes in its own precision, `session.executed`.
            progress: called with the number of images done and the number of all images.

        Raises ConfigError for images of another shape or type.
        """
        return self.outputs(images, batch_size=batch_size, precision=precision, progress=progress).logits

    def outputs(
        self,
        images: Values,
        *,
        batch_size: int = 256,
        precision: PrecisionName = "fp32",
        progress: Callable[[int, int], None] | None = None,
    ) -> Outputs[NDArray[np.float32]]:
        """Return the logits of prepared images, and how unlike the training images each one is, or None.

        Arguments are those of `logits`.
        """
        pixels = np.asarray(images)
        channels, height, width = self.preprocess.channels, *self.preprocess.input_size
        if pixels.dtype != np.uint8 or pixels.shape[1:] != (channels, height, width):
            raise ConfigError(
                f"The bundle takes uint8 images (N, {channels}, {height}, {width}), got {pixels.dtype} {pixels.shape}. "
                f"preprocess.read makes them from any image."
            )
        logits, novelty = np.empty((len(pixels), len(self.classes)), np.float32), np.empty(len(pixels), np.float32)
        can_tell = "novelty" in self.manifest.outputs
        for start in range(0, len(pixels), batch_size):
            answered = self.session.run(pixels[start : start + batch_size])
            end = start + len(answered.probabilities)
            logits[start:end] = np.log(np.maximum(answered.probabilities, _SMALLEST)) * self.card.temperature
            if can_tell:
                novelty[start:end] = answered.novelty
            if progress is not None:
                progress(end, len(pixels))
        return Outputs(logits, novelty if can_tell else None)


def load(path: str | PathLike[str], *, device: str = "cpu") -> Classifier | Bundle:
    """Load a run folder, a model folder or a bundle.

    Args:
        path: the folder.
        device: where a network in PyTorch computes: "cpu", "cuda", "cuda:1" and the like, or "auto". A bundle computes
            on the CPU.

    Returns a `Bundle` for a bundle, without importing PyTorch, else a `Classifier`.

    Raises what `Bundle.load` and `Classifier.load` raise, and ConfigError for a bundle on another device.

    >>> load("runs/birds").predict("crow.jpg").label  # doctest: +SKIP
    'crow'
    """
    if is_bundle(path):
        if device not in ("cpu", "auto"):
            raise ConfigError(f"A bundle computes on the CPU, got device={device!r}. Leave it out.")
        return Bundle.load(path)
    from classicnets.classifier import Classifier

    return Classifier.load(path, device=device)
