"""The Classifier: a model, its class names, its preprocessing and where it came from, as one thing.

Training makes one, evaluation measures one, `predict` asks one. What it is on disk is in `weights/model_folder.py`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from classicnets import scorer
from classicnets.card import Card
from classicnets.errors import BadImage, ConfigError, UnknownName, WeightsError
from classicnets.models.contract import ConvNet
from classicnets.preprocess import Preprocess
from classicnets.scorer import Answer, Image, PrecisionName
from classicnets.system.devices import Precision, choose_device
from classicnets.system.storage import written_aside
from classicnets.weights.files import load_into, save_safetensors, sha256_of
from classicnets.weights.model_folder import FILES, build, find_folder, make_config, read_config, read_weights
from classicnets.weights.readme import model_card


class Classifier:
    """A network that knows its classes and how to prepare an image: a `Scorer` in PyTorch.

    Args:
        model: the network, on any device.
        model_name: its name in the catalog.
        classes: the name of every output, in order.
        preprocess: how an image becomes network input.
        provenance: where it came from, JSON-ready: "data", "training", "metrics".
        tta: test-time augmentation; "flip" averages the probabilities of the image and its mirror image.

    Raises ConfigError if the parts do not fit together.
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
    ) -> None:
        self.model = model
        self.card = Card(
            model_name=model_name,
            classes=tuple(classes),
            preprocess=preprocess,
            tta=tta,
            provenance=provenance or {},
        )
        config = model.config
        if len(self.classes) != config.num_classes:
            raise ConfigError(
                f"The model tells {config.num_classes} classes apart, and {len(self.classes)} names were given. "
                f"Build it with num_classes={len(self.classes)}, or give a name for each."
            )
        if preprocess.channels != config.in_channels:
            raise ConfigError(
                f"The model takes {config.in_channels} channels, the preprocessing gives {preprocess.channels}."
            )

    @classmethod
    def of(cls, card: Card, model: ConvNet) -> Classifier:
        """The classifier of a card and its network. Raises ConfigError if they do not fit together."""
        return cls(
            model=model,
            model_name=card.model_name,
            classes=card.classes,
            preprocess=card.preprocess,
            provenance=card.provenance,
            tta=card.tta,
        )

    def __repr__(self) -> str:
        return f"Classifier({self.card})"

    @property
    def model_name(self) -> str:
        """The network's name in the catalog."""
        return self.card.model_name

    @property
    def classes(self) -> tuple[str, ...]:
        """The name of every output, in order."""
        return self.card.classes

    @property
    def preprocess(self) -> Preprocess:
        """How an image becomes network input."""
        return self.card.preprocess

    @property
    def tta(self) -> Literal["none", "flip"]:
        """Test-time augmentation: "flip" averages over the image and its mirror image."""
        return self.card.tta

    @property
    def provenance(self) -> dict[str, Any]:
        """Where it came from, JSON-ready."""
        return self.card.provenance

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

    def predict(self, image: Image, *, top_k: int = 5) -> Answer:
        """The `top_k` best classes for one image. Raises BadImage, naming the image and the reason.

        `clf.predict("cat.jpg").label`
        """
        return scorer.predict(self, image, top_k=top_k)

    def predict_many(
        self, images: Iterable[Image], *, top_k: int = 5, batch_size: int = 64, precision: PrecisionName = "fp32"
    ) -> Iterator[Answer | BadImage]:
        """One answer for each image, in order; the arguments are those of `scorer.predict_many`."""
        return scorer.predict_many(self, images, top_k=top_k, batch_size=batch_size, precision=precision)

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
