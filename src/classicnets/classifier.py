"""`Classifier`: a network, its class names, its preprocessing and where it came from, in one object.

Training makes one, evaluation measures one, `predict` asks one. `weights/model_folder.py` describes its files.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from os import PathLike
from pathlib import Path
from typing import Any, Literal, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from classicnets.card import Card, NoveltyThreshold
from classicnets.conformal import Conformal
from classicnets.drift import DriftReference
from classicnets.errors import ConfigError, UnknownName, WeightsError
from classicnets.models.contract import Classified, ConvNet
from classicnets.models.start import allocate
from classicnets.novelty import NoveltyScore
from classicnets.preprocess import Preprocess
from classicnets.scorer import Outputs, PrecisionName, Predictor, Values
from classicnets.system.devices import Precision, choose_device
from classicnets.system.streams import collect, sent
from classicnets.weights.config import SavedConfig, build, make_config, num_features
from classicnets.weights.files import load_into
from classicnets.weights.model_folder import find_folder, read_folder, write_folder
from classicnets.weights.structure import catalog_name, network_of, require_own_layers

T = TypeVar("T")


class Classifier(Predictor):
    """A network that knows its classes and how to prepare an image: a `Scorer` in PyTorch.

    Args:
        model: the network, on any device and in any floating-point type. The result of `torch.compile` is accepted too.
        model_name: its name in the catalog. If the network is exactly another row of the catalog, it gets that name.
        classes: the name of each output, in order; distinct.
        preprocess: how an image becomes network input.
        provenance: where it came from, JSON-ready: "data", "training", "trust", "metrics".
        tta: test-time augmentation; "flip" averages the probabilities of the image and its mirror image.
        temperature: what logits are divided by before the softmax; finite, above 0.
        conformal: scores of validation images, for sets with coverage, or None.
        novelty: when an image is called unlike the training images, or None.
        drift: scores of validation images, with which a server notices drift, or None.
        novelty_score: computes the score that `novelty` is a threshold for, or None.

    Raises:
        UnknownName: `model_name` is not in the catalog.
        ConfigError: the parts do not fit together, or the model has layers that its config does not describe, so that
            a saved classifier would not load.

    Example:
        >>> model = create_model("resnet18", num_classes=2)  # doctest: +SKIP
        >>> Classifier(model=model, model_name="resnet18", classes=("cat", "dog"), preprocess=preprocess)
    """

    def __init__(
        self,
        *,
        model: ConvNet,
        model_name: str,
        classes: Sequence[str],
        preprocess: Preprocess,
        provenance: dict[str, Any] | None = None,
        tta: Literal["none", "flip"] = "none",
        temperature: float = 1.0,
        conformal: Conformal | None = None,
        novelty: NoveltyThreshold | None = None,
        drift: DriftReference | None = None,
        novelty_score: NoveltyScore | None = None,
    ) -> None:
        if isinstance(classes, str):
            raise ConfigError(f"classes must be a list of names, got the single name {classes!r}.")
        network = network_of(model)
        self.model = model
        self.card = Card(
            model_name=catalog_name(network, model_name),
            classes=tuple(classes),
            preprocess=preprocess,
            tta=tta,
            temperature=temperature,
            conformal=conformal,
            novelty=novelty,
            drift=drift,
            provenance=provenance or {},
        )
        self.novelty_score = novelty_score
        config = network.config
        if len(self.classes) != config.num_classes:
            raise ConfigError(
                f"The model has {config.num_classes} outputs, but {len(self.classes)} class names were given. "
                f"Build it with num_classes={len(self.classes)}, or give one name per output."
            )
        if preprocess.channels != config.in_channels:
            raise ConfigError(
                f"The model takes {config.in_channels} channels, but the preprocessing gives {preprocess.channels}."
            )
        require_own_layers(network)

    @classmethod
    def of(cls, card: Card, model: ConvNet, novelty_score: NoveltyScore | None = None) -> Classifier:
        """Return the classifier of a card and its network. Raises ConfigError if they do not fit.

        Args:
            card: everything except the network.
            model: the network.
            novelty_score: computes the score that `card.novelty` is a threshold for, or None.
        """
        parts = {f.name: getattr(card, f.name) for f in fields(card)}
        return cls(model=model, novelty_score=novelty_score, **parts)

    def __repr__(self) -> str:
        return f"Classifier({self.card})"

    # ---- inference: one path for validation, evaluation and prediction

    def logits(
        self,
        images: Values,
        *,
        batch_size: int = 256,
        precision: PrecisionName = "fp32",
        progress: Callable[[int, int], None] | None = None,
    ) -> Tensor:
        """Return the logits of prepared images: float32 (N, K), on the CPU.

        Runs on the model's device, in eval mode, and restores the mode that the model was in. Several threads may call
        it at once. With `tta="flip"` the logits are the logarithm of the averaged probabilities, so that their softmax
        is the average.

        Args:
            images: uint8 (N, C, H, W), as `preprocess.geometry` makes them, an array or a tensor.
            batch_size: how many images go through the network at a time, 1 or more.
            precision: the arithmetic of the forward pass; "fp32" is the model's own floating-point type.
            progress: called with the number of images done and the number of all images.

        Raises ConfigError for images of another shape.

        Example:
            >>> clf.logits(np.stack([clf.preprocess.read("cat.jpg")]))  # doctest: +SKIP
        """
        images = torch.as_tensor(images)
        logits = torch.empty(len(images), len(self.classes))
        passed = self._passed(images, self.model, batch_size, precision, progress)
        collect(((averaged(views),) for views in passed), (logits,))
        return logits

    def outputs(
        self,
        images: Values,
        *,
        batch_size: int = 256,
        precision: PrecisionName = "fp32",
        progress: Callable[[int, int], None] | None = None,
    ) -> Outputs[Tensor]:
        """Return the logits of prepared images, and how unlike the training images each one is, in one pass.

        Arguments and logits are those of `logits`. The novelty is None if the classifier has no `novelty_score`.

        Example:
            >>> clf.outputs(np.stack([clf.preprocess.read("cat.jpg")])).novelty  # doctest: +SKIP
        """
        if self.novelty_score is None:
            return Outputs(self.logits(images, batch_size=batch_size, precision=precision, progress=progress))
        classified = self.classified(images, batch_size=batch_size, precision=precision, progress=progress)
        return Outputs(classified.logits, self.novelty_score(classified.features, classified.logits))

    def classified(
        self,
        images: Values,
        *,
        batch_size: int = 256,
        precision: PrecisionName = "fp32",
        progress: Callable[[int, int], None] | None = None,
    ) -> Classified:
        """Return the logits of prepared images, and the features behind them: float32 (N, K) and (N, D), on the CPU.

        Arguments and logits are those of `logits`. With `tta="flip"` the features are averaged over both views.

        Example:
            >>> clf.classified(np.stack([clf.preprocess.read("cat.jpg")])).features  # doctest: +SKIP
        """
        images, network = torch.as_tensor(images), network_of(self.model)
        logits, features = (torch.empty(len(images), width) for width in (len(self.classes), num_features(network)))
        passed = self._passed(images, network.classified, batch_size, precision, progress)

        def of(views: list[Classified]) -> tuple[Tensor, Tensor]:
            average = torch.stack([view.features.float() for view in views]).mean(dim=0)
            return averaged([view.logits for view in views]), average

        collect(map(of, passed), (logits, features))
        return Classified(logits, features)

    def _passed(
        self,
        images: Tensor,
        network: Callable[[Tensor], T],
        batch_size: int,
        precision: PrecisionName,
        progress: Callable[[int, int], None] | None,
    ) -> Iterator[list[T]]:
        """Yield, for one batch after the other, what the network says of each view of its images."""
        weight = next(self.model.parameters())
        device, dtype = weight.device, weight.dtype
        with evaluating(self.model), Precision.choose(precision, device)():
            for start in range(0, len(images), batch_size):
                batch = sent(images[start : start + batch_size], device)
                yield [network(view.to(dtype)) for view in self.views(batch)]
                if progress is not None:
                    progress(start + len(batch), len(images))

    def views(self, images: Tensor) -> list[Tensor]:
        """Return what the model sees of uint8 images (N, C, H, W): normalised, and with `tta="flip"` mirrored too."""
        normalised = self.preprocess.normalize(images)
        return [normalised] if self.tta == "none" else [normalised, normalised.flip(-1)]

    # ---- on disk

    def save(self, folder: str | PathLike[str]) -> Path:
        """Write the classifier to a folder, and return the folder. An older classifier there is replaced.

        Another process may load the folder meanwhile: it gets the old or the new classifier, as it does after a kill.
        One process saves at a time. Weights are saved as they are; `load` computes in float32.

        Args:
            folder: a new folder, or one that `save` wrote.

        Raises:
            ConfigError: the folder holds other files, or the classifier could not be loaded again: layers that its
                config does not describe, weights that are not finite, provenance that is not JSON-ready.
            StorageError: the disk refuses.

        Example:
            >>> clf.save("models/birds")  # doctest: +SKIP
        """
        network = network_of(self.model)
        require_own_layers(network)
        config = make_config(
            network,
            architecture=self.model_name,
            classes=self.classes,
            preprocess=self.preprocess,
            tta=self.tta,
            trust=_trust_values(self.card),
            provenance=self.provenance,
        )
        tensors = self.novelty_score.tensors() if self.novelty_score and self.card.novelty else {}
        write_folder(Path(folder), config, network.state_dict(), novelty=tensors)
        return Path(folder)

    @classmethod
    def load(cls, path: str | PathLike[str], *, device: str = "cpu") -> Classifier:
        """Load the classifier of a run folder, or of a folder that `save` wrote, in eval mode.

        Args:
            path: the folder, or anything with `__fspath__`.
            device: "cpu", "cuda", "cuda:1" and the like, or "auto".

        Raises:
            WeightsError: the folder holds no classifier, or a file is damaged, changed or does not fit.
                ChecksumMismatch and KeysMismatch are kinds of it.
            ConfigError: there is no such device.

        Example:
            >>> clf = Classifier.load("runs/birds")  # doctest: +SKIP
        """
        folder = find_folder(Path(path))
        saved, state, tensors = read_folder(folder)
        try:
            model = build(saved, state)
            allocate(model)
            score = NoveltyScore.of_tensors(tensors) if tensors else None
            classifier = cls.of(_read_card(saved), model, score)
        except (ConfigError, UnknownName) as error:
            raise WeightsError(f"{folder / 'config.json'}: {error}") from None
        load_into(classifier.model, state, name=str(folder / "model.safetensors"))
        classifier.model.eval().to(memory_format=torch.channels_last).to(choose_device(device))
        return classifier


_WITHOUT = {
    "temperature": 1.0,
    "conformal": None,
    "novelty": None,
    "drift": None,
}  # what a card has if nothing was measured


def _trust_values(card: Card) -> dict[str, Any]:
    """What config.json keeps of the card's temperature and thresholds: nothing for a classifier that has none."""
    values = card.to_dict()
    return {name: values[name] for name, missing in _WITHOUT.items() if values[name] != missing}


def _read_card(saved: SavedConfig) -> Card:
    """The card that config.json describes. Raises ConfigError or UnknownName for what cannot be used."""
    section = saved.classicnets
    kept = section.model_dump(include={"preprocess", "tta", "provenance", *_WITHOUT}, exclude={"novelty": {"sha256"}})
    return Card.from_dict({**kept, "model_name": saved.architecture, "classes": saved.label_names})


def averaged(logits: Sequence[Tensor]) -> Tensor:
    """Combine logits (N, K) of one or more views of the same images: float32 (N, K), whose softmax is the average."""
    if len(logits) == 1:
        return logits[0].float()
    return torch.stack([view.float() for view in logits]).log_softmax(dim=-1).logsumexp(dim=0) - math.log(len(logits))


class _Evaluation:
    """The modules of a model to set to training mode when its last user has left, and the number of its users."""

    def __init__(self, model: nn.Module) -> None:
        self.training = [module for module in model.modules() if module.training]
        self.users = 0


_evaluations: WeakKeyDictionary[nn.Module, _Evaluation] = WeakKeyDictionary()
_lock = threading.Lock()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Set a model to eval mode, and compute no gradients, inside the block.

    Several threads may be inside for one model. When the last one leaves, on errors too, each module gets its own mode
    back.
    """
    with _lock:
        evaluation = _evaluations.setdefault(model, _Evaluation(model))
        evaluation.users += 1
        model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        with _lock:
            evaluation.users -= 1
            if not evaluation.users:
                del _evaluations[model]
                for module in evaluation.training:
                    module.training = True
