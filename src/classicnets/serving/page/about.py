"""What the page says about a model, in words: its card, its metrics, and how far its answers can be trusted.

No path of this machine is in it, although a card names where the training images lay. A card may come from anywhere:
what is not the number or the text that it should be is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from classicnets.card import Card
from classicnets.deployment import Bundle
from classicnets.errors import ConfigError
from classicnets.reports.run_files import table_at
from classicnets.reports.text import percent
from classicnets.serving.models import Served

COVERAGES = (0.8, 0.9, 0.95, 0.99)
"""The coverages that the page offers, if the model can promise them."""

_FEW = 10  # classes, which are named
_LARGEST = 1e15


class Section(NamedTuple):
    """A heading, rows of a name and a text, and a sentence below them."""

    title: str
    rows: list[tuple[str, str]]
    note: str = ""


def about(served: Served) -> dict[str, Any]:
    """Return what the page shows of a model, JSON-ready: `describe()`, and `coverages`, `calibrated`, `sections`."""
    card, facts = served.scorer.card, served.describe()
    sections = [_what(facts, card), _quality(card), _trust(card), _training(card), _drift(facts)]
    if isinstance(served.scorer, Bundle):
        sections.insert(1, _speed(served.scorer))
    return {
        **facts,
        "coverages": _coverages(card),
        "calibrated": _is_calibrated(card),
        "sections": [section._asdict() for section in sections if section.rows or section.note],
    }


def _what(facts: Mapping[str, Any], card: Card) -> Section:
    preprocess, classes = card.preprocess, card.classes
    height, width = preprocess.input_size
    colours = {1: "grey", 3: "RGB"}.get(preprocess.channels, f"{preprocess.channels} channels")
    fitted = {
        "crop": "the middle of the image",
        "squash": "the whole image, squashed",
        "pad": "the whole image, padded",
    }
    rows = [
        ("Network", facts["model"]),
        ("Classes", ", ".join(classes) if len(classes) <= _FEW else f"{len(classes):,}"),
        ("It sees", f"{fitted[preprocess.resize]}, {width} × {height} pixels, {colours}"),
        ("Computes", f"{facts['engine']} in {facts['precision']}"),
    ]
    if card.tta == "flip":
        rows.append(("Answer", "the average over the image and its mirror image"))
    note = (
        "It answers with one of its classes for every image, also for one that shows none of them. Expect more "
        "mistakes with cameras, light and backgrounds that its training images do not show."
    )
    return Section("What it is", rows, note)


def _speed(bundle: Bundle) -> Section:
    """What was measured when the bundle was made."""
    measured = bundle.manifest.measured
    rows = list(_latencies(measured.get("latency")))
    cpu = table_at(measured, "machine").get("cpu") if rows else None
    accuracy = table_at(measured, "accuracy")
    before, after, images = (_number(accuracy, name) for name in ("before", "after", "images"))
    if before is not None and after is not None and images is not None:
        told = f"{percent(before)} before the export, {percent(after)} after it ({images:,} images)"
        rows.append(("Accuracy", told))
    return Section("Measured when it was exported", rows, f"On this processor: {cpu}." if cpu else "")


def _latencies(table: object) -> Iterator[tuple[str, str]]:
    """The rows of the way that was kept."""
    for row in table if isinstance(table, list) else []:
        if isinstance(row, dict) and row.get("kept"):
            batch, milliseconds = _number(row, "batch"), _number(row, "milliseconds")
            if batch is not None and milliseconds is not None:
                yield ("One image" if batch == 1 else f"{batch} images"), f"{milliseconds:.3g} ms"


def _quality(card: Card) -> Section:
    metrics = table_at(card.provenance, "metrics")
    rows = list(_figures(metrics, len(card.classes)))
    if not rows:
        return Section("How good it is", [], "Not measured yet. `classicnets evaluate` measures it.")
    images = _number(metrics, "num_images")
    number = "images" if images is None else f"{images:,} images"
    note = f"Measured on {number}: {metrics.get('data', 'not recorded')}."
    recipe = table_at(table_at(card.provenance, "training"), "recipe")
    if str(metrics.get("data", "")).endswith("validation") and recipe.get("best") != "last":
        note += " They chose its best epoch: expect less on new images."
    return Section("How good it is", rows, note)


def _figures(metrics: Mapping[str, Any], num_classes: int) -> Iterator[tuple[str, str]]:
    if (top1 := _number(metrics, "top1")) is not None:
        ends = metrics.get("top1_interval")
        interval: dict[str, Any] = dict(zip(("low", "high"), ends, strict=False)) if isinstance(ends, list) else {}
        low, high = _number(interval, "low"), _number(interval, "high")
        between = "" if low is None or high is None else f" (95 % interval {100 * low:.1f} to {100 * high:.1f})"
        yield "Right", f"{percent(top1)}{between}"
    if (top5 := _number(metrics, "top5")) is not None and num_classes > 5:
        yield "Among the best five", percent(top5)
    if (f1 := _number(metrics, "macro_f1")) is not None:
        yield "Macro F1", f"{f1:.3f}"
    if (ece := _number(metrics, "ece")) is not None:
        yield "Calibration error", f"{100 * ece:.1f} points"


def _trust(card: Card) -> Section:
    rows = []
    if _is_calibrated(card):
        images = _number(table_at(card.provenance, "trust", "temperature"), "num_images")
        number = "" if images is None else f"{images:,} "
        rows.append(("Scores", f"calibrated on {number}validation images"))
    else:
        rows.append(("Scores", "not calibrated: they may be too high or too low"))
    if offered := _coverages(card):
        words = ", ".join(f"{100 * coverage:g} %" for coverage in offered)
        rows.append(("Sets of classes", f"for a coverage of {words}"))
    else:
        rows.append(("Sets of classes", f"none: {card.missing('coverage') or 'no validation scores were kept'}"))
    if card.novelty is None:
        rows.append(("Unlike the training images", f"not known: {card.missing('novelty') or 'no threshold was kept'}"))
    else:
        alarm = f"{100 * card.novelty.false_alarm_rate:g} % of the others are too, by mistake"
        rows.append(("Unlike the training images", f"such images are marked; {alarm}"))
    return Section("How far to trust it", rows, "This holds for images that come from where its own images come from.")


def _training(card: Card) -> Section:
    """How it was trained: numbers and the name of the data, never where the data lies."""
    data, training = table_at(card.provenance, "data"), table_at(card.provenance, "training")
    rows = []
    if data.get("name"):
        rows.append(("Images", str(data["name"])))
    if (epochs := _number(training, "epochs")) is not None:
        best = _number(training, "best_epoch")
        rows.append(("Epochs", f"{epochs:,}, the best one was epoch {best:,}" if best else f"{epochs:,}"))
    if (accuracy := _number(training, "val_accuracy")) is not None:
        rows.append(("Right on validation images", percent(accuracy)))
    if description := table_at(training, "recipe").get("description"):
        rows.append(("Recipe", str(description)))
    return Section("How it was trained", rows)


def _drift(facts: Mapping[str, Any]) -> Section:
    """Whether the images that it gets are like those it was trained on, in the words of `describe()`."""
    return Section("The images that it gets", [], (facts["drift"] or {}).get("words", ""))


def _coverages(card: Card) -> list[float]:
    """Which of the offered coverages the model can promise."""
    if card.conformal is None:
        return []
    possible = []
    for coverage in COVERAGES:
        try:
            card.conformal.thresholds(coverage)
        except ConfigError:
            continue
        possible.append(coverage)
    return possible


def _is_calibrated(card: Card) -> bool:
    """Whether a temperature was fitted. It may be 1, if the scores were right already."""
    temperature = table_at(card.provenance, "trust", "temperature")
    return bool(temperature) and not temperature.get("reason")


def _number(table: Mapping[str, Any], name: str) -> float | None:
    """A number of a table; None if it has none, or one that is not finite."""
    value = table.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST:
        return value
    return None
