"""`audit_labels`: the images whose labels are probably wrong.

images -> out-of-fold probabilities -> confident learning -> suspects, with the images nearest to each -> LabelAudit
"""

from __future__ import annotations

from os import PathLike
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from classicnets.audit.confident import confident_learning
from classicnets.audit.evidence import Trunk, choose_trunk, gather
from classicnets.audit.images import Audited, images_of, without_damaged
from classicnets.audit.suspects import LabelAudit, Suspect
from classicnets.data.imageset import Data, ImageSet, OnError
from classicnets.data.words import counted, listed
from classicnets.errors import DataError
from classicnets.system.progress import Report, no_report

_NEIGHBOURS = 3  # images of a class that are shown beside a suspect
_FEW_RIGHT = 0.6  # of the labels: models that agree with fewer say little about them


def audit_labels(
    data: str | PathLike[str] | Data | ImageSet,
    *,
    weights: str | PathLike[str] | None = None,
    model: str | None = None,
    run: str | PathLike[str] | None = None,
    part: str = "train",
    folds: int = 5,
    seed: int = 0,
    on_error: OnError = "fail",
    progress: Report | None = None,
) -> LabelAudit:
    """Find the images whose labels are probably wrong, by confident learning (Northcutt et al. 2021, arXiv:1911.00068).

    Each image gets probabilities from a model that saw neither it, nor a copy of it, nor an image of its group. With
    weights, that is a head on the features of a frozen trunk; without, a small network that is trained for each fold.
    An image is a suspect if another class than its label is the likeliest of those whose typical probability it
    reaches. Nothing is changed or removed.

    Args:
        data: what `load_data` takes, the Data that it returned, or an ImageSet.
        weights: trained weights of the trunk: a run, a model folder, a checkpoint's folder, a file, or
            "torchvision[:NAME]". Best are weights that were trained on other images.
        model: the network that `weights` belongs to; without weights, the network that is trained for each fold.
        run: a run whose trunk is used; the same as `weights`.
        part: which images: "train", "val", "test" or "all". A source that comes undivided is audited as a whole.
        folds: into how many parts the images are divided, 2 or more.
        seed: decides the folds, and the training of the small networks.
        on_error: "fail" raises DataError for images that cannot be decoded, "skip" leaves them out.
        progress: called with the name of the step, how much of it is done, and how much there is.

    Returns:
        The suspects, the surest first, and how many labels are expected to be wrong; `save` writes them.

    Raises:
        ConfigError: an argument is out of range, or two exclude each other.
        DataError: there are no such images, or no two of them are independent.
        UnknownName, WeightsError: there is no such network, or the weights do not fit.

    >>> audit_labels("photos/").save("audit")  # doctest: +SKIP
    """
    report = progress or no_report
    chosen = images_of(data, part, on_error)
    if on_error == "skip":
        chosen = without_damaged(chosen, report)
    images = chosen.images
    if len(images) < 2:
        raise DataError(f"{chosen.name} has {counted(len(images), 'image')}; an audit needs at least 2.")
    trunk = choose_trunk(weights, model, run, data=images)
    evidence = gather(images, trunk=trunk, folds=folds, seed=seed, model=model, progress=report)
    judged = _judged(images.labels, evidence.fold_of)
    found = confident_learning(evidence.probabilities, images.labels, judged=judged)
    agreeing = float((evidence.probabilities.argmax(dim=1) == images.labels).float().mean())
    beside = _nearest(evidence.features, images.labels, found.proposed, found.suspects)
    suspects = tuple(
        Suspect(
            path=images.ids[i],
            label=images.classes[images.labels[i]],
            proposed=images.classes[found.proposed[i]],
            score=float(found.score[i]),
            like_label=tuple(images.ids[j] for j in near.label),
            like_proposed=tuple(images.ids[j] for j in near.proposed),
        )
        for i, near in zip(found.suspects.tolist(), beside, strict=True)
    )
    return LabelAudit(
        data=chosen.name,
        source=chosen.source,
        part=part,
        classes=images.classes,
        num_images=len(images),
        expected_wrong=found.expected_wrong,
        agreement=agreeing,
        suspects=suspects,
        method=_method(trunk, model, int(evidence.fold_of.max()) + 1),
        notes=(*chosen.notes, *(trunk.notes if trunk else ()), *_warnings(images, judged, agreeing, trunk, chosen)),
        images=images,
    )


def _judged(labels: Tensor, fold_of: Tensor) -> Tensor:
    """Whether another fold has an image with the same label, bool (N,): else no model could know the label."""
    in_all = labels.bincount()
    pairs = fold_of * len(in_all) + labels
    in_fold = pairs.bincount(minlength=int(pairs.max()) + 1)
    return in_all[labels] > in_fold[pairs]


class _Near(NamedTuple):
    label: list[int]
    proposed: list[int]


def _nearest(features: Tensor, labels: Tensor, proposed: Tensor, suspects: Tensor) -> list[_Near]:
    """The images nearest to each suspect, of its label and of the proposed class; no suspects among them."""
    directions = normalize(features - features.mean(dim=0))
    beyond_doubt = torch.ones(len(labels), dtype=torch.bool)
    beyond_doubt[suspects] = False
    near = [_Near([], []) for _ in range(len(suspects))]
    for field, classes in enumerate((labels[suspects], proposed[suspects])):
        for name in classes.unique().tolist():
            asking = (classes == name).nonzero().flatten()
            answers = ((labels == name) & beyond_doubt).nonzero().flatten()
            if len(answers):
                alike = directions[suspects[asking]] @ directions[answers].T
                best = alike.topk(min(_NEIGHBOURS, len(answers)), dim=1).indices
                for place, indices in zip(asking.tolist(), answers[best].tolist(), strict=True):
                    near[place][field].extend(indices)
    return near


def _method(trunk: Trunk | None, model: str | None, folds: int) -> str:
    if trunk is None:
        return f"{model or 'a small network'}, trained for each of {folds} folds"
    classifier = trunk.classifier
    side = classifier.preprocess.input_size[0]
    return (
        f"{classifier.model_name} at {side} pixels, frozen, from {trunk.source}, and a head for each of {folds} folds"
    )


def _warnings(images: ImageSet, judged: Tensor, agreeing: float, trunk: Trunk | None, chosen: Audited) -> list[str]:
    """What makes the suspects less certain, one sentence each."""
    warnings = []
    alone = sorted({images.classes[label] for label in images.labels[~judged].tolist()})
    if alone:
        number = int((~judged).sum())
        warnings.append(
            f"{counted(number, 'image')} cannot be judged, because no independent image has the same label: "
            f"{listed(alone)}."
        )
    if agreeing < _FEW_RIGHT:
        warnings.append(
            f"The models agree with only {agreeing:.0%} of the labels, so many suspects will be right. Trained weights "
            f"(--weights) help, or more images."
        )
    if trunk is not None and chosen.source and trunk.trained_on == chosen.source:
        warnings.append(
            "The weights were trained on these images, wrong labels included: some wrong labels will not be found. "
            "Weights from other images find more."
        )
    return warnings
