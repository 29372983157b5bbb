"""What the page says about a model, in words: its card, its metrics, and how far its answers can be trusted.

No path of this machine is in it, although a card names where the training images lay.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from classicnets.card import Card
from classicnets.deployment import Bundle
from classicnets.errors import ConfigError
from classicnets.reports.text import percent
from classicnets.serving.models import Served

COVERAGES = (0.8, 0.9, 0.95, 0.99)
"""The coverages that the page offers, if the model can promise them."""

_FEW = 10  # classes, which are named


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
    rows = []
    kept = [row for row in measured.get("latency") or [] if row.get("kept") and row.get("milliseconds")]
    for row in kept:
        images = "One image" if row["batch"] == 1 else f"{row['batch']} images"
        rows.append((images, f"{row['milliseconds']:.3g} ms"))
    if accuracy := measured.get("accuracy"):
        before, after = percent(accuracy["before"]), percent(accuracy["after"])
        rows.append(("Accuracy", f"{before} before the export, {after} after it ({accuracy['images']:,} images)"))
    cpu = measured.get("machine", {}).get("cpu", "")
    return Section("Measured when it was exported", rows, f"On this processor: {cpu}." if cpu and kept else "")


def _quality(card: Card) -> Section:
    metrics = card.provenance.get("metrics") or {}
    rows = list(_figures(metrics, len(card.classes)))
    if not rows:
        return Section("How good it is", [], "Not measured yet. `classicnets evaluate` measures it.")
    note = f"Measured on {metrics.get('num_images', 0):,} images: {metrics.get('data', 'not recorded')}."
    if str(metrics.get("data", "")).endswith("validation"):
        note += " They chose its best epoch: expect less on new images."
    return Section("How good it is", rows, note)


def _figures(metrics: Mapping[str, Any], num_classes: int) -> Iterator[tuple[str, str]]:
    if (top1 := metrics.get("top1")) is not None:
        interval = metrics.get("top1_interval")
        between = f" (95 % interval {100 * interval[0]:.1f} to {100 * interval[1]:.1f})" if interval else ""
        yield "Right", f"{percent(top1)}{between}"
    if (top5 := metrics.get("top5")) is not None and num_classes > 5:
        yield "Among the best five", percent(top5)
    if (f1 := metrics.get("macro_f1")) is not None:
        yield "Macro F1", f"{f1:.3f}"
    if (ece := metrics.get("ece")) is not None:
        yield "Calibration error", f"{100 * ece:.1f} points"


def _trust(card: Card) -> Section:
    rows = []
    trust = card.provenance.get("trust")
    temperature = trust.get("temperature") if isinstance(trust, dict) else None
    if _is_calibrated(card) and temperature:
        rows.append(("Scores", f"calibrated on {temperature['num_images']:,} validation images"))
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
    data, training = card.provenance.get("data") or {}, card.provenance.get("training") or {}
    rows = []
    if data.get("name"):
        rows.append(("Images", str(data["name"])))
    if training.get("epochs") is not None:
        best = f", the best one was epoch {training['best_epoch']}" if training.get("best_epoch") else ""
        rows.append(("Epochs", f"{training['epochs']:,}{best}"))
    if training.get("val_accuracy") is not None:
        rows.append(("Right on validation images", percent(training["val_accuracy"])))
    recipe = training.get("recipe") or {}
    if recipe.get("description"):
        rows.append(("Recipe", str(recipe["description"])))
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
    trust = card.provenance.get("trust")
    temperature = trust.get("temperature") if isinstance(trust, dict) else None
    return isinstance(temperature, dict) and not temperature.get("reason")
