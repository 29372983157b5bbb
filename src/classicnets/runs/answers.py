"""What a run answered on its test images, and which of these images another run answered too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import NamedTuple

from classicnets.data.record import read_record
from classicnets.errors import ConfigError, DataError
from classicnets.evaluation.report import Report
from classicnets.scorer import Answer
from classicnets.training.run.folder import Run


@dataclass(frozen=True)
class Answers:
    """The recorded answers of a run.

    Attributes:
        path: the run folder.
        model: the catalog name of its network.
        source: where its images came from, as its recipe says.
        data: the name of the images that it was measured on, such as "digits test".
        is_finished: whether its training ended and was measured. Otherwise the answers are those of an evaluation.
        answers: one for each image, 1 or more.
        keys: what identifies the content of each image; None if the run did not record that for all of them.
    """

    path: Path
    model: str
    source: str
    data: str
    is_finished: bool
    answers: tuple[Answer, ...]
    keys: tuple[str, ...] | None

    @property
    def accuracy(self) -> float:
        """The share of right answers, in 0..1."""
        return sum(answer.correct for answer in self.answers) / len(self.answers)

    @property
    def is_validation(self) -> bool:
        """Whether the images are validation images, which may have chosen the best epoch."""
        return self.data.endswith(" validation")


class Common(NamedTuple):
    """The images that two runs answered.

    Attributes:
        first, second: the answers of each run, in the same order; the images have the same class in both.
        relabelled: how many more images both answered, but with another class in each run.
        by_name: whether images were recognised by their names, not by their content.
    """

    first: tuple[Answer, ...]
    second: tuple[Answer, ...]
    relabelled: int
    by_name: bool


def read_answers(path: str | PathLike[str]) -> Answers:
    """Read what a run answered on its test images, or on its validation images if there are no test images.

    Args:
        path: the run folder.

    Raises:
        ConfigError: it is not a run folder, or its recipe is damaged.
        DataError: it has not been measured, or its evaluation or its `images.csv` is damaged.

    >>> len(read_answers("runs/resnet20_cifar-digits").answers)  # doctest: +SKIP
    179
    """
    run, report = measured_run(path)
    if not report.answers:
        raise DataError(f"{run.path} has answered no images. Run `classicnets evaluate {run.path}`.")
    return Answers(
        path=run.path,
        model=report.model,
        source=str(run.recipe.data.source),
        data=report.data,
        is_finished=run.finished,
        answers=report.answers,
        keys=_keys(run, report),
    )


def no_run(path: str | PathLike[str]) -> ConfigError:
    """Return the error for a run that does not exist."""
    return ConfigError(f"There is no run {path}. `classicnets runs` lists those in runs/.")


def measured_run(path: str | PathLike[str]) -> tuple[Run, Report]:
    """Open a run that was measured, and read its evaluation.

    Raises ConfigError if `path` is not a run folder, DataError if it was not measured or its evaluation is damaged.

    >>> measured_run("runs/resnet20_cifar-digits")[1].top1  # doctest: +SKIP
    0.9888
    """
    path = Path(path)
    if not path.is_dir():
        raise no_run(path)
    run = Run.open(path)
    if not (run.path / "evaluation" / "report.json").exists():
        raise DataError(
            f"{run.path} has not been measured on its test images. Finish its training with `classicnets train "
            f"--resume {run.path}`, or measure it as it is with `classicnets evaluate {run.path}`."
        )
    return run, run.report


def common_images(first: Answers, second: Answers) -> Common:
    """Find the images that both runs answered: by their content, wherever they were.

    Runs of versions that kept no `images.csv` are matched by the images' names, if both name the same source.

    Raises DataError if there are no such images, or if nothing tells which images are the same.
    """
    if first.keys and second.keys:
        identities: tuple[Sequence[str], Sequence[str]] = (first.keys, second.keys)
    elif first.source == second.source:
        identities = ([answer.path for answer in first.answers], [answer.path for answer in second.answers])
    else:
        without = first if not first.keys else second
        raise DataError(
            f"{without.path} has no images.csv that lists its test images, and the runs' images come from "
            f"{first.source} and {second.source}: nothing tells which images are the same. Train that run again."
        )
    in_first = dict(zip(_numbered(identities[0]), first.answers, strict=True))
    in_second = dict(zip(_numbered(identities[1]), second.answers, strict=True))
    both = [(answer, in_second[image]) for image, answer in in_first.items() if image in in_second]
    pairs = [(one, other) for one, other in both if one.truth == other.truth]
    if not pairs:
        raise DataError(_nothing_common(first, second, len(both)))
    ones, others = zip(*pairs, strict=True)
    return Common(ones, others, len(both) - len(pairs), by_name=not (first.keys and second.keys))


def _keys(run: Run, report: Report) -> tuple[str, ...] | None:
    """The content of each answered image, as images.csv has it. Runs of earlier versions have no such file."""
    if not run.record.is_file():
        return None
    rows = read_record(run.record)
    part = "test" if any(row.part == "test" for row in rows) else "val"
    known = {row.id: row.key for row in rows if row.part == part}
    keys = tuple(known.get(answer.path, "") for answer in report.answers)
    return keys if all(keys) else None


def _numbered(identities: Sequence[str]) -> list[Hashable]:
    """Each identity with how often it came before: a set may hold the same image twice."""
    seen: Counter[str] = Counter()
    numbered: list[Hashable] = []
    for identity in identities:
        numbered.append((identity, seen[identity]))
        seen[identity] += 1
    return numbered


def _nothing_common(first: Answers, second: Answers, relabelled: int) -> str:
    here = f"{first.path} ({len(first.answers):,} of {first.data}) and {second.path} ({len(second.answers):,} of "
    if relabelled:
        return (
            f"{here}{second.data}) were measured on the same images with other classes. Give runs that were trained "
            "with the same labels."
        )
    return (
        f"{here}{second.data}) were measured on different images, with none in common. Give runs that were trained on "
        "the same data and divided by the same seed (data.split_seed)."
    )
