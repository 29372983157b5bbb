"""`classicnets evaluate`: measure how good a classifier is."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from classicnets.cli.found import load_scorer
from classicnets.cli.options import Device
from classicnets.cli.output import JsonFlag, answer, print_json, print_table, progress_bars
from classicnets.cli.output import note as say_note
from classicnets.errors import ConfigError, MissingExtra
from classicnets.system.installed import is_installed

if TYPE_CHECKING:
    from classicnets.classifier import Classifier
    from classicnets.data import ImageSet
    from classicnets.deployment import Bundle
    from classicnets.evaluation import Report
    from classicnets.evaluation.corruptions import Robustness
    from classicnets.evaluation.ten_crop import TenCrop
    from classicnets.evaluation.trust import Trust

_EXAMPLES = """
[bold]Examples[/bold]

  classicnets evaluate runs/resnet20_cifar-fashion-mnist

  classicnets evaluate runs/photos holiday/ --out holiday-report

  classicnets evaluate runs/photos --split val --json

  classicnets evaluate runs/photos --corruptions
"""
_MOST_CLASSES = 30


class Split(StrEnum):
    """A part of the data."""

    test = "test"
    val = "val"
    train = "train"
    all = "all"


class OnBadImage(StrEnum):
    """What to do about an image that cannot be decoded."""

    fail = "fail"
    skip = "skip"


class Arithmetic(StrEnum):
    """The arithmetic of the forward pass."""

    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"
    auto = "auto"


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(epilog=_EXAMPLES)(evaluate)


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder, a model folder or a bundle.")],
    data: Annotated[
        str | None,
        typer.Argument(help="Labelled images: a folder, csv:FILE or a data set. By default the run's own images."),
    ] = None,
    split: Annotated[
        Split | None, typer.Option(help="The part of the data to measure. By default its test images, if it has any.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the report. Default: inside the run.")] = None,
    on_error: Annotated[
        OnBadImage, typer.Option(help="What to do about images in DATA that cannot be decoded.")
    ] = OnBadImage.fail,
    precision: Annotated[
        Arithmetic, typer.Option(help="auto uses bf16 if the hardware supports it, else fp16 on a GPU.")
    ] = Arithmetic.fp32,
    corruptions: Annotated[
        bool, typer.Option("--corruptions", help="Also measure noisy, blurred, snowy and otherwise damaged images.")
    ] = False,
    corruption_images: Annotated[
        int, typer.Option(min=1, help="How many images --corruptions uses at most, chosen at random.")
    ] = 1_000,
    ten_crop: Annotated[
        bool, typer.Option("--ten-crop", help="Average over ten views of each image, as the papers did.")
    ] = False,
    device: Device = "auto",
    as_json: JsonFlag = False,
) -> None:
    """Measure a classifier on labelled images: accuracy, each class, calibration, the most confident mistakes.

    If DATA holds the images that the run was trained with, only its test images are measured, wherever they are now.

    Writes evaluation/, figures/ and report.html: into the run for its own test images, into a folder in the run's
    evaluations/ for other images, or into --out.

    With --ten-crop, the corners, the middle and their mirror images are averaged, at ten times the cost. The report
    goes into a folder of its own.

    With --corruptions, 15 corruptions at 5 severities are measured too: 75 times the forward passes of the images.
    """
    from classicnets import evaluation
    from classicnets.evaluation.choose import given_images, own_images, reader_for, run_of

    if corruptions:
        _check_corruptions()
    classifier = load_scorer(run, device=device)
    read = reader_for(classifier)
    part = split.value if split else None
    if data is None:
        chosen = own_images(classifier, part, run=run_of(run), read=read)
    else:
        chosen = given_images(data, part, on_error=on_error.value, run=run_of(run), read=read)
    for note in chosen.notes:
        say_note(note)
    scorer = _ten_crop(classifier) if ten_crop else classifier
    name = f"{chosen.name}, 10 views" if ten_crop else chosen.name
    with progress_bars() as progress:
        report = evaluation.evaluate(
            scorer, chosen.images, data=name, on_error=chosen.on_error, precision=precision.value,
            progress=progress,
        )  # fmt: skip
        robustness = None
        if corruptions:
            from classicnets.evaluation.corruptions import evaluate_corruptions

            robustness = evaluate_corruptions(
                scorer, chosen.images, report, most=corruption_images, on_error=chosen.on_error,
                precision=precision.value, progress=progress,
            )  # fmt: skip
    folder = out or _folder_in(run, name, is_own=chosen.is_own and not ten_crop)
    if folder and robustness:
        robustness.save(folder / "evaluation")
    page = _written(folder, report, chosen.images) if folder else None
    if as_json:
        damaged = {"corruptions": robustness.to_dict()} if robustness else {}
        print_json({**report.to_dict(), **damaged, "report": page and str(page)})
    else:
        _print(report)
        if robustness:
            _print_corruptions(robustness)
        answer(f"\nreport: {page}" if page else "\nNo report was written. Use --out FOLDER to write one.")


def _check_corruptions() -> None:
    """Raise MissingExtra without PyTorch, before anything is measured."""
    if not is_installed("torch"):
        raise MissingExtra(
            "--corruptions needs PyTorch, which is not installed: it computes what noise, blur and weather do to an "
            "image. Leave --corruptions out, or install everything with: pip install classicnets"
        )


def _ten_crop(classifier: Classifier | Bundle) -> TenCrop:
    if not classifier.needs_torch:
        raise ConfigError("--ten-crop needs a run or a model folder: a bundle takes its own view of an image only.")
    from classicnets.classifier import Classifier
    from classicnets.evaluation.ten_crop import TenCrop

    assert isinstance(classifier, Classifier), "only a bundle does without PyTorch"
    return TenCrop(classifier)


def _folder_in(run: Path, name: str, *, is_own: bool) -> Path | None:
    """The folder for the report inside a run; None for a model folder, where nothing is added to the classifier."""
    if not (run / "model" / "config.json").is_file():
        return None
    return run if is_own else run / "evaluations" / re.sub(r"[^\w.-]+", "-", name)


def _written(folder: Path, report: Report, images: ImageSet) -> Path:
    from classicnets.reports import write_report

    return write_report(folder, report, images)


def _print(report: Report) -> None:
    low, high = report.top1_interval
    answer(f"{report.model} on {report.data}: {report.num_images:,} images, {len(report.mistakes):,} wrong")
    for line in report.skipped:
        answer(f"skipped: {line}")
    numbers = [
        ("top-1 accuracy", f"{report.top1:.2%}", f"95% interval {low:.2%} to {high:.2%}"),
        ("top-5 accuracy", f"{report.top5:.2%}", "") if len(report.classes) > 5 else None,
        ("loss", f"{report.loss:.4f}", "nats"),
        ("macro F1", f"{report.macro_f1:.2%}", "every class counts the same"),
        ("calibration error", f"{report.calibration.ece:.2%}", "how far the scores are from the share that is right"),
    ]
    for name, value, note in filter(None, numbers):
        answer(f"  {name:18} {value:>8}   {note}".rstrip())
    if report.trust:
        _print_trust(report, report.trust)
    scores = sorted(report.per_class.items(), key=lambda item: item[1].f1)
    scores = [item for item in scores if item[1].support]
    print_table(
        ("class", "precision", "recall", "F1", "images"),
        [(name, *(f"{value:.1%}" for value in score[:3]), score.support) for name, score in scores[:_MOST_CLASSES]],
        title="\nclass by class, worst first",
    )
    if len(scores) > _MOST_CLASSES:
        answer(f"({len(scores) - _MOST_CLASSES} more; per_class.csv has all)")
    _print_slices(report)
    if report.confusions:
        print_table(("true class", "predicted as", "images"), report.confusions[:5], title="\nmost frequent confusions")


def _print_trust(report: Report, trust: Trust) -> None:
    answer(f"\n{trust.temperature_words}")
    answer(
        f"  loss {trust.loss_before:.4f} before and {report.loss:.4f} after, calibration error "
        f"{trust.ece_before:.2%} before and {report.calibration.ece:.2%} after"
    )
    if trust.sets:
        print_table(
            ("asked", "method", "measured", "95% interval", "mean size"), _set_rows(trust),
            title="\nsets of classes: how often they hold the true one",
        )  # fmt: skip
    for words in filter(None, (trust.sets_note, trust.novelty_words)):
        answer(words)


def _set_rows(trust: Trust) -> list[tuple[str, ...]]:
    return [
        (
            f"{row.coverage:.0%}",
            row.method.upper(),
            f"{row.measured:.1%}",
            f"{row.interval.low:.1%} to {row.interval.high:.1%}",
            f"{row.mean_size:.2f}",
        )
        for row in trust.sets
    ]


def _print_slices(report: Report) -> None:
    slices = report.slices
    if slices.judged:
        answer(f"\n{slices.finding} (corrected for {len(slices.judged)} comparisons at 5%)")
    if slices.weak:
        print_table(
            ("slice", "accuracy", "interval", "the others", "its classes", "images"),
            [
                (
                    one.name,
                    f"{one.accuracy:.1%}",
                    f"{one.interval.low:.1%} to {one.interval.high:.1%}" if one.interval else "",
                    f"{one.rest:.1%}",
                    f"{one.expected:.1%}",
                    one.images,
                )
                for one in slices.weak
            ],
        )
    if slices.few:
        answer(f"too few images to judge: {len(slices.few):,} more slices (report.json has them)")
    for sentence in slices.left_out:
        answer(sentence)


def _print_corruptions(robustness: Robustness) -> None:
    print_table(
        ("corruption", *(f"severity {severity}" for severity in range(1, 6)), "mean"),
        [
            (name.replace("_", " "), *(f"{share:.1%}" for share in accuracies), f"{robustness.mean_of(name):.1%}")
            for name, accuracies in robustness.accuracy.items()
        ],
        title=f"\naccuracy on corrupted images ({robustness.num_images:,} of them)",
    )
    for name, value, interval in (
        ("mean accuracy", robustness.mean, robustness.mean_interval),
        ("of the accuracy is left", robustness.relative, robustness.relative_interval),
    ):
        answer(f"  {name:24} {value:>7.2%}   95% interval {interval.low:.2%} to {interval.high:.2%}")
    answer(f"  {'without corruption':24} {robustness.clean:>7.2%}")
