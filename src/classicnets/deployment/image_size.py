"""The same classifier for images of another size."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from classicnets.card import Card
from classicnets.classifier import Classifier
from classicnets.data.pipeline.pack import pack
from classicnets.data.split import balanced_sample
from classicnets.deployment.run_images import training_images, validation_images
from classicnets.errors import ConfigError
from classicnets.evaluation.novelty import MOST_TRAINING_IMAGES
from classicnets.evaluation.trust import calibrate
from classicnets.system.progress import Report, no_report
from classicnets.weights.structure import network_of


def with_image_size(classifier: Classifier, side: int, run: Path | None, *, report: Report = no_report) -> Classifier:
    """Return the classifier for images of side x side pixels. The weights are the same.

    Temperature, sets and novelty threshold hold for one size only, so they are fitted again on the run's images. If
    these are gone, or trained on too, the temperature is kept, and sets and threshold are left out.

    Args:
        classifier: the classifier, which stays as it is.
        side: height and width in pixels.
        run: its run folder, or None.
        report: shows progress.

    Raises ConfigError if the network does not take images of this size.

    >>> with_image_size(classifier, 192, Path("runs/birds")).preprocess.input_size  # doctest: +SKIP
    (192, 192)
    """
    card, smallest = classifier.card, network_of(classifier.model).config.min_size
    if side < smallest:
        raise ConfigError(
            f"--image-size {side} is too small: {card.model_name} takes images of at least {smallest} pixels a side. "
            f"It was trained with {_words(card)}."
        )
    if card.preprocess.input_size == (side, side):
        return classifier
    sized = replace(card.preprocess, input_size=(side, side))
    bare = replace(card, preprocess=sized, conformal=None, novelty=None, drift=None)
    resized = Classifier.of(bare, classifier.model)
    if card.conformal is None and card.novelty is None:
        return resized
    val = validation_images(resized, run, report=report)
    if val.labels is None or card.conformal is None:
        return Classifier.of(_without_promises(bare, f"the network was trained with {_words(card)}"), classifier.model)
    source = training_images(resized, run)
    chosen = source.subset(balanced_sample(source.labels, MOST_TRAINING_IMAGES))
    train = pack(chosen, bare.preprocess, on_error="skip", progress=partial(report, "Reading training images"))
    return calibrate(
        resized,
        resized.classified(val.validation, progress=partial(report, "Calibrating")),
        torch.from_numpy(val.labels),
        resized.classified(train.images, progress=partial(report, "Looking at training images")),
        train.labels,
    )


def _without_promises(card: Card, why: str) -> Card:
    trust = card.provenance.get("trust")
    notes = {**(trust if isinstance(trust, dict) else {}), "coverage_note": why, "novelty_note": why}
    return replace(card, provenance={**card.provenance, "trust": notes})


def _words(card: Card) -> str:
    height, width = card.preprocess.input_size
    return f"images of {width} x {height} pixels"
