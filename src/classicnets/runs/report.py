"""Everything about a run on one page: its report.html, completed with what takes time.

The numbers are those that the run recorded. Nothing is measured again: images are opened to be shown, checked and
explained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from classicnets.classifier import Classifier
from classicnets.data.check import DataCheck, check_data
from classicnets.data.imageset import ImageSet
from classicnets.errors import BadImage, ConfigError, DataError, first_sentence
from classicnets.evaluation.choose import own_images
from classicnets.evaluation.report import Report
from classicnets.explanation import Explanation, explain
from classicnets.preprocess import Window
from classicnets.reports.overlay import overlay
from classicnets.reports.page import MistakeMap, More, report_page
from classicnets.reports.thumbnails import thumbnail
from classicnets.runs.answers import measured_run
from classicnets.system.paths import free_file
from classicnets.system.progress import Report as Progress
from classicnets.system.progress import no_report
from classicnets.system.storage import written_aside
from classicnets.training.recipe.schema import DataSection

Count = Callable[[int, int], None]
_SIDE = 280  # pixels of the longer side of a map over its picture


@dataclass(frozen=True)
class RunPage:
    """The page of a run.

    Attributes:
        path: the file.
        report: the evaluation that it shows.
        check: what is wrong with the data; None if it was not checked.
        explanations: what speaks for the most confident mistakes.
        notes: what the reader should know, such as what is left out and why, one sentence each.
    """

    path: Path
    report: Report
    check: DataCheck | None
    explanations: tuple[Explanation, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers, JSON-ready."""
        return {
            "page": str(self.path),
            "model": self.report.model,
            **self.report.headline(),
            "notes": list(self.notes),
            "check": None if self.check is None else self.check.to_dict(),
            "explanations": [explanation.to_dict() for explanation in self.explanations],
        }


def write_run_page(
    path: str | Path,
    out: Path | None = None,
    *,
    check: bool = True,
    mistakes: int = 6,
    device: str = "cpu",
    progress: Progress | None = None,
) -> RunPage:
    """Write the whole page of a run: as its training wrote it, with a check of the data and maps of the mistakes.

    Args:
        path: the run folder.
        out: the file; None is the run's own report.html, which the new page replaces, because it has all that the old
            one had. If images are gone, the old page stays, and the new one is report-2.html.
        check: whether to open every image of the data, to find what is wrong with it.
        mistakes: for how many of the most confident mistakes to show what speaks for them, 0 or more.
        device: what the network runs on, as for `load`.
        progress: called with the name of the step, how much of it is done, and how much there is.

    Returns what was written. What cannot be shown is left out, and the page says so.

    Raises:
        ConfigError: `path` is not a run folder.
        DataError: the run has not been measured.
        WeightsError: its classifier cannot be loaded.
        StorageError: the page cannot be written.

    >>> write_run_page("runs/birds").path  # doctest: +SKIP
    PosixPath('runs/birds/report.html')
    """
    run, report = measured_run(path)
    classifier = Classifier.load(run, device=device)
    step = progress or no_report
    notes: list[str] = []
    found = None
    images = _images(classifier, run.path, notes)
    if images is None:
        check, mistakes = False, 0
    if check:
        found = _checked(run.recipe.data, partial(step, "Checking images"), notes)
    explanations = list(_explained(classifier, report, images, mistakes, partial(step, "Explaining mistakes")))
    maps = {explanation.path: _map(explanation) for explanation in explanations}
    all_shown = images is not None and {answer.path for answer in report.answers} <= set(images.ids)
    page = out or (run.page if all_shown else free_file(run.page))
    text = report_page(run.path, report, images, More(check=found, maps=maps, notes=tuple(notes)))
    with written_aside(page) as new:
        new.write_text(text, "utf-8")
    return RunPage(page, report, found, tuple(explanations), tuple(notes))


def _images(classifier: Classifier, run: Path, notes: list[str]) -> ImageSet | None:
    """The images that the run was measured on; None if they are gone or cannot be read, which `notes` then says."""
    try:
        chosen = own_images(classifier, run=run)
    except (DataError, ConfigError) as error:
        notes.append(
            f"Pictures, maps of mistakes and the check of the data are left out, as they need the run's images "
            f"({first_sentence(error)})."
        )
        return None
    notes += chosen.notes
    return chosen.images


def _checked(data: DataSection, progress: Count, notes: list[str]) -> DataCheck | None:
    try:
        return check_data(str(data.source), seed=data.split_seed, progress=progress)
    except DataError as error:
        notes.append(f"The check of the data is left out: {first_sentence(error)}.")
        return None


def _explained(
    classifier: Classifier, report: Report, images: ImageSet | None, most: int, progress: Count
) -> Iterator[Explanation]:
    """What speaks for the most confident wrong answers. Images that changed since, or are gone, are passed over."""
    index = {name: i for i, name in enumerate(images.ids)} if images else {}
    wrong = [answer for answer in report.mistakes if answer.path in index][:most]
    for number, answer in enumerate(wrong):
        progress(number, len(wrong))
        assert images is not None
        place = index[answer.path]
        image = images.paths[place] if images.paths else images.image(place)
        try:
            explanation = explain(classifier, image, class_name=answer.label)
        except BadImage:
            continue
        yield replace(explanation, path=answer.path)


def _map(explanation: Explanation) -> MistakeMap:
    """The map over the picture. A small picture is enlarged first, so that the map is not as coarse as its pixels."""
    picture, window = explanation.picture, explanation.window
    shown = thumbnail(picture, _SIDE)
    scale = shown.shape[1] / picture.shape[1], shown.shape[2] / picture.shape[2]
    placed = Window(window.top * scale[0], window.left * scale[1], window.height * scale[0], window.width * scale[1])
    pixels = overlay(shown, explanation.heat, placed)
    return MistakeMap(pixels, explanation.finding, explanation.is_trusted)
