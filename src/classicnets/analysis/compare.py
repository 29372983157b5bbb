"""Networks side by side: size, cost, depth, speed on this machine, and the accuracy that was published for them."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from classicnets.analysis.latency import Conditions, Latency, measure
from classicnets.analysis.summary import Pair, Summary, inspect
from classicnets.analysis.table import WIDTH, aligned, mebibytes, sides
from classicnets.data.words import counted
from classicnets.errors import ConfigError
from classicnets.models.facts import FACTS, human, list_models
from classicnets.models.published import CIFAR10, IMAGENET, PUBLISHED, Published
from classicnets.system.csv_text import csv_text
from classicnets.system.progress import Report


@dataclass(frozen=True, kw_only=True)
class Network:
    """A model of the catalog, for images of its paper's size.

    model             its name
    family            its family's name
    image             channels, height and width of its images
    parameters        how many there are, auxiliary heads included
    macs              multiply-adds of its convolutions and linear layers, for one image
    weight_bytes      parameters and buffers, in fp32
    activation_bytes  everything that it writes for one image, in fp32; training keeps about that
    depth             convolutions and linear layers on the longest path from the images to the logits
    receptive_field   image pixels, along rows and columns, that an output of the trunk's last stage sees; None: all
    latency           seconds on this machine, or None if it was not measured
    published         the accuracy that was published for it, or None if there is none for one view of each image
    """

    model: str
    family: str
    image: tuple[int, int, int]
    parameters: int
    macs: int
    weight_bytes: int
    activation_bytes: int
    depth: int
    receptive_field: Pair | None
    latency: Latency | None
    published: Published | None


@dataclass(frozen=True)
class Comparison:
    """Networks side by side. Print it, or use `to_dict()`, `to_json()` and `to_csv()`.

    networks     the networks, in the order given
    conditions   how latencies were measured, or None
    """

    networks: tuple[Network, ...]
    conditions: Conditions | None

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as JSON-ready values: bytes, pixels, seconds, and accuracies in 0..1."""
        return {
            "networks": [_values(network) for network in self.networks],
            "latency": self.conditions and {**self.conditions._asdict(), "precision": "fp32"},
        }

    def to_json(self) -> str:
        """Return `to_dict` as a JSON document."""
        return json.dumps(self.to_dict(), indent=2)

    def to_csv(self) -> str:
        """Return a CSV table with a row per network, in the units of `to_dict`. What is not known is empty."""
        columns = [
            "model", "family", "image", "parameters", "macs", "weight_bytes", "activation_bytes", "depth",
            "receptive_field", "seconds_one_image", "seconds_batch", "batch_size", "top1", "data", "source",
        ]  # fmt: skip
        rows = (
            [
                one.model, one.family, "x".join(map(str, one.image)), one.parameters, one.macs, one.weight_bytes,
                one.activation_bytes, one.depth, sides(one.receptive_field), *(one.latency or ("", "")),
                self.conditions.batch_size if self.conditions else "", *(one.published or ("", "", "")),
            ]
            for one in self.networks
        )  # fmt: skip
        return csv_text(columns, rows)

    def to_text(self) -> str:
        """Return tables for a terminal of 80 columns: what the networks are, and how fast and accurate they are."""
        header = ["model", "image", "params", "MACs", "weights", "activ.", "depth", "field"]
        rows = [
            [
                one.model, str(one.image[1]), human(one.parameters), human(one.macs), mebibytes(one.weight_bytes),
                mebibytes(one.activation_bytes), str(one.depth), sides(one.receptive_field) or "all",
            ]
            for one in self.networks
        ]  # fmt: skip
        lines = aligned(header, rows, words=1)
        lines += [
            "",
            "image: side in pixels. params: parameters. MACs: multiply-adds for one image.",
            "weights: MiB in fp32. activ.: MiB of one image's activations in fp32. depth:",
            "convolutions and linear layers on the longest path. field: pixels a side that",
            "an output of the trunk's last stage sees.",
        ]
        lines += _measured(self.networks, self.conditions)
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.to_text()


def compare(
    *models: str, latency: bool = True, batch_size: int = 8, device: str = "auto", progress: Report | None = None
) -> Comparison:
    """Put networks side by side, each for images of its paper's size.

    Args:
        models: names of the catalog, or patterns with the wildcards *, ? and [...]; 2 or more different models in all.
        latency: whether to measure how long a forward pass takes here. It takes a second or more for each model.
        batch_size: images in the batch whose latency is measured, 1 or more.
        device: where latencies are measured: "cpu", "cuda", "cuda:1" and the like, or "auto".
        progress: called with what is being done, how much of it is done, and how much there is.

    Returns:
        The networks, in the order given.

    Raises:
        UnknownName: a model does not exist; the message suggests similar names.
        ConfigError: fewer than 2 models, a batch size below 1, no such device, or too little memory for all models.

    >>> [network.depth for network in compare("vgg16", "resnet50", latency=False).networks]
    [16, 50]
    """
    names = matching_models(*models)
    if batch_size < 1:
        raise ConfigError(f"The batch size must be 1 or more, got {batch_size}.")
    summaries = []
    for done, name in enumerate(names):
        if progress is not None:
            progress("Counting", done, len(names))
        summaries.append(inspect(name))
    times: Sequence[Latency | None] = [None] * len(names)
    conditions = None
    if latency:
        times, conditions = measure(names, batch_size=batch_size, device=device, progress=progress)
    networks = tuple(_network(summary, taken) for summary, taken in zip(summaries, times, strict=True))
    return Comparison(networks, conditions)


def matching_models(*patterns: str) -> list[str]:
    """Return the models that `compare` would put side by side, each once, in the order given.

    Args:
        patterns: names of the catalog, or patterns with the wildcards *, ? and [...].

    Raises UnknownName for a model that does not exist, and ConfigError if there are fewer than 2 different models.

    >>> matching_models("vgg1[69]", "nin")
    ['vgg16', 'vgg19', 'nin']
    """
    found: dict[str, None] = {}
    for pattern in patterns:
        matching = list_models(pattern)
        if not matching:
            raise ConfigError(f"No model matches {pattern!r}. See `classicnets models`.")
        found |= dict.fromkeys(matching)
    if len(found) < 2:
        given = f"only {next(iter(found))}" if found else "none"
        raise ConfigError(f"A comparison needs 2 or more different models, got {given}. See `classicnets models`.")
    return list(found)


def _network(summary: Summary, latency: Latency | None) -> Network:
    head = [row.name for row in summary.stages].index("head")
    return Network(
        model=summary.model,
        family=FACTS[summary.model]["family"],
        image=summary.input,
        parameters=summary.parameters,
        macs=summary.macs,
        weight_bytes=summary.weight_bytes,
        activation_bytes=summary.activation_bytes,
        depth=summary.depth,
        receptive_field=summary.stages[head - 1].receptive_field,
        latency=latency,
        published=PUBLISHED.get(summary.model),
    )


def _values(network: Network) -> dict[str, Any]:
    """A network's values, JSON-ready."""
    values = asdict(network)
    values["latency"] = network.latency and network.latency._asdict()
    values["published"] = network.published and network.published._asdict()
    return values


def _measured(networks: Sequence[Network], conditions: Conditions | None) -> list[str]:
    """The table of what was measured: latencies here, and accuracies elsewhere, a column for each data set."""
    sets = [
        data for data in (IMAGENET, CIFAR10) if any(one.published and one.published.data == data for one in networks)
    ]
    header = ["model"]
    if conditions:
        header += ["ms, 1 image", f"ms, batch of {conditions.batch_size}"]
    header += sets
    if len(header) == 1:
        return ["", "No accuracy for one view of each image was published for these models."]
    rows = []
    for one in networks:
        row = [one.model]
        if one.latency:
            row += [_milliseconds(seconds) for seconds in one.latency]
        for data in sets:
            row.append(f"{one.published.top1:.2%}" if one.published and one.published.data == data else "-")
        rows.append(row)
    lines = ["", *aligned(header, rows, words=1), ""]
    if conditions:
        threads = counted(conditions.threads, "thread")
        where = f"{conditions.device}, {threads}" if conditions.device == "cpu" else conditions.device
        lines += textwrap.wrap(f"ms: median milliseconds of a forward pass here, fp32 on {where}.", WIDTH)
    return lines + _sources(networks, sets)


def _sources(networks: Sequence[Network], sets: Sequence[str]) -> list[str]:
    """What the accuracies are, and where each was published."""
    by_source: dict[str, list[str]] = {}
    for one in networks:
        if one.published:
            by_source.setdefault(one.published.source, []).append(one.model)
    if not sets:
        return []
    lines = textwrap.wrap(f"{' and '.join(sets)}: published top-1 accuracy, one view of each image. Sources:", WIDTH)
    for source, names in by_source.items():
        lines += textwrap.wrap(f"{', '.join(names)}: {source}", WIDTH, initial_indent="  ", subsequent_indent="    ")
    return lines


def _milliseconds(seconds: float) -> str:
    """Three digits, or all those before the point."""
    return f"{1000 * seconds:.3g}" if seconds < 0.9995 else f"{1000 * seconds:,.0f}"
