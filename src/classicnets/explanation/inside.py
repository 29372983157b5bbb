"""`look`: filters, feature maps, what excites units, and features on a plane, of a classifier's network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from os import PathLike
from typing import NamedTuple

import torch
from torch import Tensor

from classicnets.analysis.unit import stage_fields
from classicnets.classifier import Classifier
from classicnets.data.imageset import Data, ImageSet, OnError
from classicnets.data.pipeline.pack import pack
from classicnets.data.words import counted
from classicnets.errors import ConfigError
from classicnets.evaluation.choose import labelled
from classicnets.explanation.activations import Peaks, Watched, stage_maps, watch
from classicnets.explanation.filters import first_filters
from classicnets.explanation.projection import MOST_PLACED, project
from classicnets.explanation.stages import check_stage, evenly
from classicnets.explanation.view import Excitement, NetworkView, PictureMaps, Plane, SeenImages, StageUnits, Unit
from classicnets.images import ImageSource, name_of
from classicnets.system.progress import Report as Progress
from classicnets.system.progress import no_report
from classicnets.weights.structure import network_of

_MOST_MAPS = 8  # channels of a stage that are shown for an image
_MOST_EXCITING = 8  # images for a unit
_STAGES_OF_MAPS, _STAGES_OF_UNITS = 8, 5  # unless a stage is named
_PICTURES = 2  # that are shown if none is given


def look(
    classifier: Classifier,
    images: ImageSet | Data | str | PathLike[str] | None = None,
    *,
    pictures: Sequence[ImageSource] = (),
    stage: str | None = None,
    units: int = 8,
    num_images: int = 1_000,
    data: str = "",
    on_error: OnError = "fail",
    seed: int = 0,
    progress: Progress | None = None,
) -> NetworkView:
    """Return what a classifier's network sees: its first filters, feature maps, units, and features on a plane.

    The classifier is left as it was: modes, gradients, hooks and buffers. A unit is a channel of a stage; the images
    that excite it most are those where its output is highest, anywhere in the image.

    Args:
        classifier: what `load` or a training gives. A bundle has no network to look into.
        images: labelled images, a Data (its test images, else its validation images), or what `load_data` takes.
            Without them there are no units and no plane.
        pictures: images whose feature maps are shown, each as for `read_image`; by default two of `images`.
        stage: the stage to look at, as `inspect` lists them. By default feature maps are of up to 8 stages and units
            of up to 5, evenly chosen.
        units: how many units of a stage, 1 or more: the most selective ones.
        num_images: how many of `images` pass through the network, 1 or more, chosen at random. The plane has at most
            2,000 of them.
        data: the name of `images`.
        on_error: "fail" raises DataError if one of `images` cannot be decoded; "skip" leaves it out.
        seed: decides which images pass, and t-SNE's random numbers.
        progress: called with the name of the step, how much of it is done, and how much there is.

    Returns a NetworkView: numbers, and a page with `save`.

    Raises:
        UnknownName: no such stage; the message suggests similar ones.
        ConfigError: `units` or `num_images` is below 1, or the network's outputs are not finite.
        BadImage: one of `pictures` cannot be decoded.
        DataError: `images` cannot be read, or there are none.

    >>> look(classifier, "digits").save("look.html")  # doctest: +SKIP
    """
    if not isinstance(classifier, Classifier):
        raise ConfigError(f"look needs a Classifier, got {type(classifier).__name__}. Get one with load(RUN).")
    check_look(classifier, stage=stage, units=units, num_images=num_images)
    names = network_of(classifier.model).stage_names
    seen = None
    if images is not None:
        chosen = labelled(images, on_error=on_error)
        some = chosen.images.sample(num_images, seed=seed)
        seen = _pass(
            classifier, some, [stage] if stage else evenly(names, _STAGES_OF_UNITS),
            data=data or chosen.name, of=len(chosen.images), on_error=on_error, progress=progress,
        )  # fmt: skip
    shown = [(name_of(one, f"image {i}"), one) for i, one in enumerate(pictures)]
    prepared = [(name, torch.from_numpy(classifier.preprocess.read(one, name=name))) for name, one in shown]
    if not prepared and seen is not None:
        prepared = [(seen.images.paths[i], seen.images.pixels[i]) for i in _of_different_classes(seen.images)]
    of_maps = [stage] if stage else evenly(names, _STAGES_OF_MAPS)
    return NetworkView(
        model=classifier.model_name,
        classes=classifier.classes,
        filters=first_filters(network_of(classifier.model), classifier.preprocess),
        pictures=tuple(_with_maps(classifier, name, image, of_maps) for name, image in prepared),
        images=seen.images if seen else None,
        units=tuple(_units(classifier, seen.watched.peaks, units)) if seen else (),
        plane=_plane(seen, seed) if seen else None,
        notes=seen.notes if seen else (),
    )


def check_look(classifier: Classifier, *, stage: str | None, units: int, num_images: int) -> None:
    """Raise what `look` raises for these arguments, before any image is read."""
    if units < 1 or num_images < 1:
        raise ConfigError(f"units and num_images must be 1 or more, got units={units}, num_images={num_images}.")
    if stage is not None:
        check_stage(network_of(classifier.model), stage)


class _Passed(NamedTuple):
    images: SeenImages
    watched: Watched
    notes: tuple[str, ...]


def _pass(
    classifier: Classifier,
    images: ImageSet,
    stages: Sequence[str],
    *,
    data: str,
    of: int,
    on_error: OnError,
    progress: Progress | None,
) -> _Passed:
    """Pass images through the network once."""
    report = progress or no_report
    packed = pack(images, classifier.preprocess, on_error=on_error, progress=partial(report, "Reading images"))
    watched = watch(
        classifier, packed.images, stages, most=_MOST_EXCITING, progress=partial(report, "Looking at images")
    )
    seen = SeenImages(
        data=data,
        paths=packed.ids,
        labels=tuple(images.classes[label] for label in packed.labels.tolist()),
        predicted=tuple(classifier.classes[best] for best in watched.probabilities.argmax(dim=1).tolist()),
        pixels=packed.images,
        of=of,
    )
    skipped = len(packed.skipped)
    notes = (f"{counted(skipped, 'image')} cannot be read and {'is' if skipped == 1 else 'are'} left out.",)
    return _Passed(seen, watched, notes if skipped else ())


def _units(classifier: Classifier, peaks: Mapping[str, Peaks], number: int) -> Iterator[StageUnits]:
    fields = stage_fields(network_of(classifier.model), image_size=classifier.preprocess.input_size)
    for stage, found in peaks.items():
        yield StageUnits(
            stage=stage,
            channels=found.values.shape[1],
            size=found.size,
            silent=int(found.silent.sum()),
            fields=fields[stage],
            units=tuple(_unit(found, channel) for channel in found.selective(number)),
        )


def _unit(peaks: Peaks, channel: int) -> Unit:
    columns = (tensor[:, channel].tolist() for tensor in (peaks.images, peaks.values, peaks.places))
    return Unit(
        channel,
        tuple(
            Excitement(image, value, *divmod(place, peaks.size[1]))
            for image, value, place in zip(*columns, strict=True)
        ),
    )


def _plane(seen: _Passed, seed: int) -> Plane:
    number = len(seen.images)
    images = list(range(number))
    if number > MOST_PLACED:
        images = sorted(torch.randperm(number, generator=torch.Generator().manual_seed(seed))[:MOST_PLACED].tolist())
    return Plane(tuple(images), project(seen.watched.features[images].numpy(), seed=seed))


def _with_maps(classifier: Classifier, name: str, image: Tensor, stages: Sequence[str]) -> PictureMaps:
    probabilities = classifier.card.probabilities(classifier.logits(image[None]))[0]
    best = int(probabilities.argmax())
    maps = stage_maps(classifier, image, stages, most=_MOST_MAPS)
    return PictureMaps(name, classifier.classes[best], float(probabilities[best]), image, tuple(maps))


def _of_different_classes(images: SeenImages) -> list[int]:
    """The first image of each of the first classes."""
    first: dict[str, int] = {}
    for i, label in enumerate(images.labels):
        first.setdefault(label, i)
    return list(first.values())[:_PICTURES]
