"""The Classifier: a model, its class names, its preprocessing and where it came from, as one thing.

Training makes one, evaluation measures one, `predict` asks one. What it is on disk is in `weights/model_folder.py`.
"""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from classicnets.data.threads import in_threads
from classicnets.errors import BadImage, ConfigError, UnknownName, WeightsError
from classicnets.hardware import Precision, choose_device
from classicnets.model_card import model_card
from classicnets.models.contract import ConvNet
from classicnets.preprocess import Preprocess
from classicnets.storage import written_aside
from classicnets.weights.files import load_into, save_safetensors, sha256_of
from classicnets.weights.model_folder import FILES, build, find_folder, make_config, read_config, read_weights

Image = str | Path | bytes | Tensor
"""A path, the bytes of an image file, or a decoded image: uint8 (3, H, W), RGB."""

PrecisionName = Literal["fp32", "bf16", "auto"]
"""The arithmetic of a forward pass; "auto" is bf16 where the hardware has it."""


@dataclass(frozen=True)
class Guess:
    """A class and its score: its probability in the classifier's eyes, in 0..1."""

    label: str
    score: float
    index: int


@dataclass(frozen=True)
class Prediction:
    """The answer for one image: the best classes, best first. `path` is the image's name, `model` the network's."""

    path: str
    predictions: tuple[Guess, ...]
    model: str

    @property
    def label(self) -> str:
        """The best class."""
        return self.predictions[0].label

    @property
    def score(self) -> float:
        """The best class's score, in 0..1."""
        return self.predictions[0].score

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: `path`, `predictions` (a list of `label`, `score`, `index`), `model`."""
        return {"path": self.path, "predictions": [asdict(guess) for guess in self.predictions], "model": self.model}


@dataclass(kw_only=True, eq=False)
class Classifier:
    """A model that knows its classes and how to prepare an image.

    classes      the name of every output, in order
    provenance   where it came from, JSON-ready: "data", "training", "metrics"
    tta          test-time augmentation: "flip" averages the probabilities of the image and its mirror image

    Raises ConfigError where the parts do not fit together.
    """

    model: ConvNet = field(repr=False)
    model_name: str
    classes: tuple[str, ...]
    preprocess: Preprocess
    provenance: dict[str, Any] = field(default_factory=dict, repr=False)
    tta: Literal["none", "flip"] = "none"

    def __post_init__(self) -> None:
        config = self.model.config
        if len(set(self.classes)) < len(self.classes) or not all(self.classes):
            twice = [name for name, times in Counter(self.classes).items() if times > 1 or not name]
            raise ConfigError(f"Class names must be distinct and not empty. To mend: {', '.join(map(repr, twice))}.")
        try:
            "".join(self.classes).encode()
        except UnicodeEncodeError:
            raise ConfigError(f"Class names must be valid Unicode, to be kept as JSON; got {self.classes}.") from None
        if len(self.classes) != config.num_classes:
            raise ConfigError(
                f"The model tells {config.num_classes} classes apart, and {len(self.classes)} names were given. "
                f"Build it with num_classes={len(self.classes)}, or give a name for each."
            )
        if self.preprocess.channels != config.in_channels:
            raise ConfigError(
                f"The model takes {config.in_channels} channels, the preprocessing gives {self.preprocess.channels}."
            )
        if self.tta not in ("none", "flip"):
            raise ConfigError(f"tta is {self.tta!r}; allowed: 'none', 'flip'.")

    # ---- inference: one path for validation, evaluation and prediction

    def logits(
        self,
        images: Tensor,
        *,
        batch_size: int = 256,
        precision: PrecisionName = "fp32",
        progress: Callable[[int, int], None] | None = None,
    ) -> Tensor:
        """Images as `preprocess.geometry` makes them, uint8 (N, C, H, W), to logits: float32 (N, K), on the CPU.

        Runs where the model is, in eval mode, and leaves the model in the mode it was in. With `tta="flip"` the logits
        are the logarithm of the averaged probabilities, so that their softmax is the average.
        `progress` is called with the number of images done and of all.
        """
        device = next(self.model.parameters()).device
        logits = torch.empty(len(images), len(self.classes))
        with evaluating(self.model), Precision.choose(precision, device)():
            for start in range(0, len(images), batch_size):
                batch = images[start : start + batch_size].to(device)
                logits[start : start + len(batch)] = averaged([self.model(view) for view in self.views(batch)])
                if progress is not None:
                    progress(start + len(batch), len(images))
        return logits

    def views(self, images: Tensor) -> list[Tensor]:
        """What the model is shown of uint8 images (N, C, H, W): them, normalised; with `tta="flip"` mirrored too."""
        normalised = self.preprocess.normalize(images)
        return [normalised] if self.tta == "none" else [normalised, normalised.flip(-1)]

    def predict(self, image: Image, *, top_k: int = 5) -> Prediction:
        """The `top_k` best classes for one image. Raises BadImage, naming the file and the reason.

        `clf.predict("cat.jpg").label`
        """
        (answer,) = self.predict_many([image], top_k=top_k)
        if isinstance(answer, BadImage):
            raise answer
        return answer

    def predict_many(
        self, images: Iterable[Image], *, top_k: int = 5, batch_size: int = 64, precision: PrecisionName = "fp32"
    ) -> Iterator[Prediction | BadImage]:
        """One answer for each image, in order: a Prediction, or the BadImage that says why there is none.

        Takes any number of images: they are read in threads, `batch_size` at a time. `top_k` beyond the number of
        classes means all of them.
        """
        if isinstance(images, str | bytes | Path):
            raise ConfigError("predict_many takes many images, and got one path. Use predict, or give a list.")
        if top_k < 1 or batch_size < 1:
            raise ConfigError(f"top_k={top_k}, batch_size={batch_size}: both must be 1 or more.")
        return self._predict_many(enumerate(images), top_k, batch_size, precision)

    def _predict_many(
        self, images: Iterator[tuple[int, Image]], top_k: int, batch_size: int, precision: PrecisionName
    ) -> Iterator[Prediction | BadImage]:
        while batch := list(itertools.islice(images, batch_size)):
            named = [(str(image) if isinstance(image, str | Path) else f"image {i}", image) for i, image in batch]
            prepared = list(in_threads(self._prepare, named, chunk=1))
            good = [image for image in prepared if isinstance(image, Tensor)]
            answers = iter(self._best(torch.stack(good), top_k, precision) if good else ())
            for (name, _), image in zip(named, prepared, strict=True):
                yield image if isinstance(image, BadImage) else Prediction(name, next(answers), self.model_name)

    def _prepare(self, named: tuple[str, Image]) -> Tensor | BadImage:
        name, image = named
        try:
            return (
                self.preprocess.geometry(image) if isinstance(image, Tensor) else self.preprocess.read(image, name=name)
            )
        except BadImage as error:
            return error

    def _best(self, images: Tensor, top_k: int, precision: PrecisionName) -> list[tuple[Guess, ...]]:
        probabilities = self.logits(images, batch_size=len(images), precision=precision).softmax(dim=1)
        scores, indices = (part[:, :top_k].tolist() for part in probabilities.sort(dim=1, descending=True, stable=True))
        return [
            tuple(Guess(self.classes[i], score, i) for score, i in zip(*row, strict=True))
            for row in zip(scores, indices, strict=True)
        ]

    # ---- on disk

    def save(self, folder: str | Path) -> Path:
        """Write the classifier to `folder`, aside and renamed; an older classifier there is replaced.

        Raises ConfigError for a folder that holds anything else, StorageError when the disk refuses.
        """
        folder = Path(folder)
        others = sorted({f.name for f in folder.iterdir()} - {*FILES}) if folder.is_dir() else []
        if others or folder.is_file():
            raise ConfigError(f"{folder} is taken ({', '.join(others[:3]) or 'a file'}). Save to a new folder.")
        with written_aside(folder) as new:
            new.mkdir()
            save_safetensors(new / "model.safetensors", self.model.state_dict())
            config = make_config(
                self.model,
                architecture=self.model_name,
                classes=self.classes,
                preprocess=self.preprocess,
                tta=self.tta,
                provenance=self.provenance,
                sha256=sha256_of(new / "model.safetensors"),
            )
            (new / "config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", "utf-8")
            (new / "README.md").write_text(model_card(config), "utf-8")
        return folder

    @classmethod
    def load(cls, path: str | Path, *, device: str = "cpu") -> Classifier:
        """The classifier of a run folder, or of a folder that `save` wrote.

        `device` is "cpu", "cuda:1" and the like, or "auto". Raises WeightsError for a folder that holds none and for a
        file that is damaged, changed or does not fit (ChecksumMismatch and KeysMismatch are kinds of it).
        """
        folder = find_folder(path)
        saved = read_config(folder / "config.json")
        state = read_weights(folder / "model.safetensors", saved.classicnets.sha256)
        try:
            classifier = cls(
                model=build(saved.architecture, saved.classicnets.config, state),
                model_name=saved.architecture,
                classes=tuple(saved.label_names),
                preprocess=Preprocess.from_dict(saved.classicnets.preprocess),
                provenance=saved.classicnets.provenance,
                tta=saved.classicnets.tta,
            )
        except (ConfigError, UnknownName) as error:
            raise WeightsError(f"{folder / 'config.json'}: {error}") from None
        load_into(classifier.model, state, name=str(folder / "model.safetensors"))
        classifier.model.eval().to(memory_format=torch.channels_last).to(choose_device(device))
        return classifier


load = Classifier.load


def averaged(logits: Sequence[Tensor]) -> Tensor:
    """The logits (N, K) of one or more views of the same images as one, float32: their softmax is the average's."""
    if len(logits) == 1:
        return logits[0].float()
    return torch.stack([view.float() for view in logits]).log_softmax(dim=-1).logsumexp(dim=0) - math.log(len(logits))


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode and no gradients within; every module's own mode is restored after, on errors too."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module in training:
            module.training = True
