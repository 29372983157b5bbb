"""`explain`: a map of the places in an image that speak for a class, and a verdict on the map."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from classicnets.classifier import Classifier
from classicnets.errors import ConfigError, unknown_name
from classicnets.explanation.attribution import METHODS, Method, MethodName, require_captum
from classicnets.explanation.explanation import Explanation
from classicnets.explanation.gradcam import default_stage
from classicnets.explanation.score import ClassScore, differentiating
from classicnets.explanation.stages import all_names, check_stage
from classicnets.explanation.verdict import judge, judge_images
from classicnets.images import ImageSource, name_of, read_bytes, read_pixels, reduction_to
from classicnets.weights.structure import network_of

_DISPLAY = 1024  # pixels along the longer side of a picture that is drawn, if the image has them


def explain(
    classifier: Classifier,
    image: ImageSource,
    *,
    method: MethodName = "grad-cam",
    class_name: str | None = None,
    stage: str | None = None,
    verdict: bool = True,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Explanation:
    """Return a map of the places in an image that speak for a class, with a verdict on the map.

    The classifier is left as it was: modes, gradients, hooks and buffers. With `tta="flip"`, the map explains the
    average over the image and its mirror image, which is what the classifier computes.

    Args:
        classifier: what `load` or a training gives. A bundle has no network to look into.
        image: a path, the bytes of an image file, a file object opened in binary mode, or a decoded image, as for
            `read_image`.
        method: "grad-cam" or "grad-cam++" (one pass), "integrated-gradients" (50 images through the network),
            "occlusion" (about 170) or "smoothgrad" (25). The last three need captum, the extra `explain`.
        class_name: one of `classifier.classes`; None is the class with the highest probability.
        stage: for Grad-CAM and Grad-CAM++, a stage of the network, as `inspect` lists them; None is the last one whose
            output has at least 4 x 4 positions.
        verdict: whether to test the map. The tests take up to 5 more maps, and 88 images through the network.
        seed: decides the random numbers of SmoothGrad and of the tests, 0 or more.
        progress: called with how many images have gone through the network, and how many will.

    Returns an Explanation: `values` is the map, `verdict` the verdict.

    Raises:
        BadImage: the image cannot be decoded or does not fit.
        UnknownName: no such method, class or stage; the message suggests similar ones.
        ConfigError: a stage for a method on pixels, or a network whose map is not finite.
        MissingExtra: the method needs captum, which is not installed.

    >>> explain(classifier, "cat.jpg").verdict.passes  # doctest: +SKIP
    True
    """
    if not isinstance(classifier, Classifier):
        raise ConfigError(f"explain needs a Classifier, got {type(classifier).__name__}. Get one with load(RUN).")
    check_request(classifier, method=method, class_name=class_name, stage=stage)
    network, preprocess = network_of(classifier.model), classifier.preprocess
    chosen = METHODS[method]
    name = name_of(image)
    content = read_bytes(image, name=name) if hasattr(image, "read") else image
    prepared = torch.from_numpy(preprocess.read(content, name=name)).to(next(network.parameters()).device)
    picture = _picture(content, name, preprocess.bit_depth)
    on_images = _counting(progress, _total(chosen, classifier, verdict))

    with differentiating(classifier.model):
        score = ClassScore(
            network,
            preprocess.normalize(prepared[None]),
            flip=classifier.tta == "flip",
            index=None if class_name is None else classifier.classes.index(class_name),
            to_probabilities=classifier.card.probabilities,
            on_images=on_images,
        )
        if chosen.on_stage:
            stage = stage or default_stage(score.stage_sizes)
        attribute = partial(chosen.attribute, stage=stage, seed=seed)
        values = attribute(score).detach()
        if not values.isfinite().all():
            raise ConfigError(f"{name}: the {method} map is not finite, because the network's numbers are too large.")
        judged = judge(score, attribute, values, seed=seed) if verdict and bool((values > 0).any()) else None
    best = int(score.probabilities.argmax())
    return Explanation(
        path=name,
        model=classifier.model_name,
        method=method,
        stage=stage,
        label=classifier.classes[score.index],
        score=float(score.probabilities[score.index]),
        predicted=classifier.classes[best],
        predicted_score=float(score.probabilities[best]),
        values=values.float().cpu().numpy(),
        verdict=judged,
        picture=picture.numpy(),
        window=preprocess.window(*picture.shape[1:]),
    )


def check_request(classifier: Classifier, *, method: str, class_name: str | None, stage: str | None) -> None:
    """Raise what `explain` raises for these arguments, before any image is read."""
    if method not in METHODS:
        raise unknown_name("method", method, METHODS, next_step=f"Methods: {', '.join(METHODS)}.")
    if class_name is not None and class_name not in classifier.classes:
        raise unknown_name("class", class_name, classifier.classes, next_step=all_names("Classes", classifier.classes))
    if stage is not None and not METHODS[method].on_stage:
        raise ConfigError(
            f"{method} makes a map of the pixels, so it takes no stage; got {stage!r}. "
            "Leave the stage out, or use grad-cam or grad-cam++."
        )
    if stage is not None:
        check_stage(network_of(classifier.model), stage)
    if not METHODS[method].on_stage:
        require_captum()


def _total(method: Method, classifier: Classifier, verdict: bool) -> int:
    """How many images will go through the network."""
    images = method.images(*classifier.preprocess.input_size)
    return 1 + images + (judge_images(network_of(classifier.model), images) if verdict else 0)


def _counting(progress: Callable[[int, int], None] | None, total: int) -> Callable[[int], None]:
    """A function that adds up the images that have gone through the network, and reports the sum."""
    done = 0

    def count(number: int) -> None:
        nonlocal done
        done += number
        if progress is not None:
            progress(done, total)

    return count


def _picture(content: ImageSource, name: str, bit_depth: int) -> Tensor:
    """The image to draw: uint8 RGB (3, H, W). Of more than three channels, the first three."""
    pixels = torch.from_numpy(read_pixels(content, name=name, reduction=reduction_to(_DISPLAY), bit_depth=bit_depth))
    rgb = pixels[:3] if len(pixels) >= 3 else pixels[:1].expand(3, -1, -1)
    longest = max(rgb.shape[1:])
    if longest <= _DISPLAY:
        return rgb.contiguous()
    size = [max(1, round(side * _DISPLAY / longest)) for side in rgb.shape[1:]]
    return interpolate(rgb[None], size, mode="bilinear", antialias=True)[0]
