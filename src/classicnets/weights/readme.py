"""README.md of a saved classifier: what it is, how to use it, where it came from, what it is not for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

_MOST_CLASSES = 200


def model_card(config: Mapping[str, Any]) -> str:
    """Return the model card, Markdown with the hub's YAML header, from the content of `config.json`."""
    return (
        "\n".join(
            [*_header(config), *_use(config), *_data(config), *_figures(config), *_trust(config), *_limits(config)]
        )
        + "\n"
    )


def _header(config: Mapping[str, Any]) -> Iterator[str]:
    name, data = config["architecture"], config["classicnets"]["provenance"].get("data", {}).get("name")
    yield "---"
    yield "library_name: classicnets"
    yield "pipeline_tag: image-classification"
    yield "tags: [image-classification, classicnets]"
    if data:
        yield f"datasets: [{json.dumps(data, ensure_ascii=False)}]"  # JSON strings are YAML strings
    yield "metrics: [accuracy]"
    yield "---"
    yield ""
    yield f"# {_plain(name)}" + (f" on {_plain(data)}" if data else "")
    yield ""
    version = config["classicnets"]["version"]
    yield f"An image classifier of {config['num_classes']} classes, made with classicnets {version}."
    yield ""


def _use(config: Mapping[str, Any]) -> Iterator[str]:
    preprocess = config["classicnets"]["preprocess"]
    height, width = preprocess["input_size"]
    yield "## How to use it"
    yield ""
    yield "```python"
    yield "import classicnets as cn"
    yield ""
    yield 'classifier = cn.load("path/to/this/folder")'
    yield 'print(classifier.predict("image.jpg").label)'
    yield "```"
    yield ""
    yield "On the command line: `classicnets predict path/to/this/folder image.jpg`."
    yield ""
    yield (
        f"It takes images of any size and prepares them itself: {preprocess['resize']} to {height} x {width} pixels, "
        f"{len(preprocess['mean'])} channel(s), mean {_numbers(preprocess['mean'])}, std {_numbers(preprocess['std'])}."
    )
    if config["classicnets"]["tta"] == "flip":
        yield ""
        yield "Its answer is the average over the image and its mirror image."
    yield ""
    yield "## Classes"
    yield ""
    names = config["label_names"]
    more = f", and {len(names) - _MOST_CLASSES} more (all are in `config.json`)" if len(names) > _MOST_CLASSES else ""
    yield ", ".join(map(_plain, names[:_MOST_CLASSES])) + more
    yield ""


def _data(config: Mapping[str, Any]) -> Iterator[str]:
    yield "## Training data"
    yield ""
    yield from _table(config["classicnets"]["provenance"].get("data"), otherwise="Not recorded.")


def _figures(config: Mapping[str, Any]) -> Iterator[str]:
    provenance = config["classicnets"]["provenance"]
    training = dict(provenance.get("training", {}))
    recipe = training.pop("recipe", None)
    yield "## How good it is"
    yield ""
    metrics = provenance.get("metrics") or {}
    if metrics:
        chose = str(metrics.get("data", "")).endswith("validation") and (recipe or {}).get("best") != "last"
        yield (
            "Measured on the images that chose its best epoch: expect less on new images."
            if chose
            else "Measured on images that were used neither to train it nor to choose it."
        )
        yield ""
    yield from _table(metrics, otherwise="Not measured yet. Run `classicnets evaluate`.")
    yield "## How it was trained"
    yield ""
    yield from _table(training, otherwise="Not recorded.")
    if recipe:
        yield "The recipe:"
        yield ""
        yield "```json"
        yield json.dumps(recipe, indent=2, ensure_ascii=False).replace("```", "` ` `")
        yield "```"
        yield ""


def _trust(config: Mapping[str, Any]) -> Iterator[str]:
    ours = config["classicnets"]
    if not {"temperature", "conformal", "novelty"} & ours.keys():
        return
    yield "## How far its answers can be trusted"
    yield ""
    yield f"Scores are softmax(logits / {ours.get('temperature', 1):.4g}); the validation images set this temperature."
    if "conformal" in ours:
        yield "`classifier.predict(image, coverage=0.9).set` holds the true class with a probability of at least 90 %."
    if (novelty := ours.get("novelty")) is not None:
        yield (
            f"`unlike_training` marks images that are unlike the training images. Of images like them, "
            f"{novelty['false_alarm_rate']:.0%} are marked by mistake; {novelty['num_images']:,} validation images set "
            "the threshold."
        )
    yield "All of this holds for images that come from where the validation images come from."
    yield ""


def _limits(config: Mapping[str, Any]) -> Iterator[str]:
    yield "## What it is for, and what it is not for"
    yield ""
    yield (
        f"It distinguishes these {config['num_classes']} classes in images like those it was trained on. It answers "
        "with one of them for every image, also for an image that shows none of them: a high score does not prove that "
        "the image belongs to a class. Expect lower accuracy with cameras, light, backgrounds or people that the "
        "training data does not show. Measure it on your own images (`classicnets evaluate`) before you rely on it. "
        "Decisions about people's health, safety or rights need more than its answer."
    )


def _table(values: Mapping[str, Any] | None, *, otherwise: str) -> Iterator[str]:
    if not values:
        yield otherwise
    else:
        yield "| | |"
        yield "|---|---|"
        for key, value in values.items():
            yield f"| {_plain(key.replace('_', ' '))} | {_plain(_value(value))} |"
    yield ""


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return " to ".join(map(_value, value)) if len(value) == 2 else ", ".join(map(_value, value))
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)


def _numbers(values: list[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)


def _plain(text: object) -> str:
    """Escape text so that Markdown shows it as it is, on one line."""
    line = " ".join(str(text).split())
    return "".join(f"\\{c}" if c in r"\`*_{}[]<>#|~" else c for c in line)
