"""The last step of a training before it is measured: what its classifier's answers are worth.

One pass over the validation images gives the temperature and the scores for sets with coverage. With one over some
training images, it gives the novelty score and its threshold. The training images are described in the precision of the
training: only the validation images set thresholds, and those are computed as `predict` computes.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from classicnets.classifier import Classifier
from classicnets.data import Data
from classicnets.data.pipeline.pack import Packed, pack
from classicnets.data.split import balanced_sample
from classicnets.evaluation.calibration import Temperature, fit_temperature
from classicnets.evaluation.novelty import MOST_TRAINING_IMAGES
from classicnets.evaluation.trust import calibrate
from classicnets.models.contract import Classified
from classicnets.scorer import Outputs, outputs_of
from classicnets.system.streams import sent
from classicnets.training.scale.processes import Processes
from classicnets.training.step.session import Session

TRAINED_ON = "the classifier was trained again on the validation images (data.refit), so no image is left to set it on"

_AT_A_TIME = 256  # training images in memory


def calibrated(best: Classifier, session: Session, data: Data) -> Classifier:
    """Return the classifier with its temperature, scores for sets and novelty threshold. All processes call it.

    Args:
        best: the classifier of the best epoch, on the session's device.
        session: what it was trained with.
        data: its images.
    """
    val, processes = session.validation, session.processes
    chosen = balanced_sample(session.loader.packed.labels, MOST_TRAINING_IMAGES)
    mine = chosen[processes.shard.of(len(chosen))]
    parts = [
        best.classified(training_images(session, data, best, some), precision=session.precision.name)
        for some in mine.split(_AT_A_TIME)
    ]
    of_train = _gathered([torch.cat(rows) for rows in zip(*parts, strict=True)], len(chosen), processes)
    of_val = _gathered(best.classified(val.images), len(val.packed), processes)
    labels = session.loader.packed.labels[chosen]
    return processes.on_main(lambda: calibrate(best, of_val, val.labels, of_train, labels))


def first_temperature(first: Classifier, session: Session) -> Temperature:
    """Return the temperature of the first training's classifier, which the second one of `data.refit` takes over.

    `first` is what the run folder holds. If that is the second one's already, its card has the temperature.
    """
    if "refit" in first.provenance["training"]:
        return Temperature(**first.provenance["trust"]["temperature"])
    first.model.to(session.precision.device)
    logits = all_outputs(first, session.validation.packed.images, session.processes).logits
    return fit_temperature(logits, session.validation.labels)


def training_images(session: Session, data: Data, classifier: Classifier, chosen: Tensor) -> Tensor:
    """Return some training images as `predict` would prepare them: uint8 (n, C, H, W). `chosen` are indices (n,)."""
    packed, preprocess = session.loader.packed, classifier.preprocess
    if session.features:  # then the packed images have no pixels
        return pack(data.train.subset(chosen), preprocess).images
    if isinstance(packed, Packed) and packed.images.shape[2:] == preprocess.input_size:
        images = packed.images if session.loader.resident is None else session.loader.resident
        return images[sent(chosen, images.device)]
    return torch.cat([preprocess.geometry(picture[None]) for picture in packed.pictures(chosen)])


def all_outputs(classifier: Classifier, images: Tensor, processes: Processes) -> Outputs[Tensor]:
    """Return a classifier's outputs for images uint8 (N, C, H, W) in every process; each computes its share."""
    mine = outputs_of(classifier, images[processes.shard.of(len(images))])
    logits = processes.rows(mine.logits, len(images))
    novelty = None if mine.novelty is None else processes.rows(mine.novelty[:, None], len(images))[:, 0]
    return Outputs(logits, novelty)


def _gathered(mine: Iterable[Tensor], n: int, processes: Processes) -> Classified:
    """The logits and features of all `n` images, of which this process has its share."""
    logits, features = (processes.rows(rows, n) for rows in mine)
    return Classified(logits, features)
