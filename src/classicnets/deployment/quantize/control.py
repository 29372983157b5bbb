"""int8 under a limit on the loss of accuracy: what is quantised, and which layers stay in higher precision.

all layers in int8, except by the family's rule -> within the limit? done
  -> each block alone in higher precision, on few images: which one brings the answers closest to fp32?
  -> the worst block in higher precision, then the 2 worst, 4, 8, up to half of them -> within the limit? done
  -> ExportMismatch
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from classicnets.deployment.quantize.families import kept_by_rule
from classicnets.deployment.quantize.layers import Layers, block_of, blocks
from classicnets.deployment.quantize.onnxruntime import onnx_layers, quantize_onnxruntime
from classicnets.deployment.quantize.openvino import openvino_layers, quantize_openvino, read_folded
from classicnets.errors import ExportMismatch
from classicnets.evaluation.metrics import Interval
from classicnets.evaluation.paired import Counts, count, difference_interval
from classicnets.system.machine import may_overflow

Engine = Literal["openvino", "onnxruntime"]

_FEW = 64  # calibration images while blocks are compared
_TINY = 1e-7


@dataclass(frozen=True)
class Quantized:
    """An int8 file and what it costs.

    Attributes:
        path: the file.
        layers: its convolutions and linear layers: in int8, and in higher precision.
        by_rule: of the layers in higher precision, those that the family's rule keeps; the rest are kept because
            accuracy asked for it.
        seven_bits: whether weights use 7 of their 8 bits. If not, ONNX Runtime's sums overflow on a processor with AVX2
            and without VNNI: a DenseNet lost 2.6 points.
        counts: how many validation images fp32 and int8 get right: both, fp32 only, int8 only, neither.
    """

    path: Path
    layers: Layers
    by_rule: tuple[str, ...]
    seven_bits: bool
    counts: Counts

    @property
    def kept_higher(self) -> tuple[str, ...]:
        """The layers that are computed in higher precision."""
        return self.layers.higher

    @property
    def drop(self) -> float:
        """How much accuracy int8 loses, in percentage points; below 0 if it gains."""
        return -100 * self.counts.difference

    @property
    def drop_interval(self) -> Interval:
        """The 95 % interval of the drop, in percentage points: the same images by both, Tango's score interval."""
        low, high = difference_interval(self.counts)
        return Interval(-100 * high, -100 * low)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {
            "int8_layers": len(self.layers.int8),
            "layers": len(self.layers.int8) + len(self.layers.higher),
            "kept_higher": list(self.kept_higher),
            "by_rule": list(self.by_rule),
            "seven_bits": self.seven_bits,
            "accuracy_fp32": self.counts.accuracy_first,
            "accuracy_int8": self.counts.accuracy_second,
            "drop_points": self.drop,
            "drop_interval": list(self.drop_interval),
            "images": self.counts.images,
        }


def quantize_within(
    engine: Engine,
    source: Path,
    out: Path,
    calibration: NDArray[np.uint8],
    *,
    family: str,
    answer: Callable[[Path], NDArray[np.float32]],
    reference: NDArray[np.float32],
    labels: NDArray[np.int64],
    max_drop: float,
    narrow: bool | None = None,
    progress: Callable[[str], None] | None = None,
) -> Quantized:
    """Write an int8 file whose accuracy is at most `max_drop` below that of fp32.

    Args:
        engine: "openvino" or "onnxruntime".
        source: the fp32 file, .xml or .onnx.
        out: the new file, in a folder that exists. It is removed again if int8 does not hold.
        calibration: uint8 (n, C, H, W), n at least 1, from `calibration_images`.
        family: the network's family, which decides what is kept in higher precision from the start.
        answer: gives the probabilities (N, K) of the validation images by the int8 file at a path.
        reference: the probabilities (N, K) of the same images by the fp32 file.
        labels: their true classes, int64 (N,), N at least 1.
        max_drop: how many percentage points of accuracy may be lost, 0 or more.
        narrow: use 7 of the weights' 8 bits, so that no instruction overflows; None does so if this machine needs it.
        progress: called with a sentence whenever a step begins.

    Raises ExportMismatch if more is lost whatever is kept, or if no layer is left in int8.

    >>> quantize_within("openvino", Path("model.xml"), Path("int8.xml"), images, family="resnet",
    ...     answer=answer, reference=reference, labels=labels, max_drop=0.5).drop  # doctest: +SKIP
    0.1
    """
    quantize = quantize_openvino if engine == "openvino" else quantize_onnxruntime
    layers = (openvino_layers(read_folded(source)) if engine == "openvino" else onnx_layers(source)).higher
    rule = kept_by_rule(family, layers)
    seven_bits = may_overflow() if narrow is None else narrow
    say = progress or (lambda _: None)
    right = reference.argmax(1) == labels

    def attempt(higher: Collection[str], images: NDArray[np.uint8]) -> tuple[Layers, NDArray[np.float32]]:
        made = quantize(source, out, images, higher=higher, narrow=seven_bits)
        if not made.int8:
            raise ExportMismatch(
                f"Nothing was quantised: all {len(layers)} layers stay in higher precision. Use --precision fp32."
            )
        return made, answer(out)

    def measured(higher: Collection[str]) -> Quantized:
        made, probabilities = attempt(higher, calibration)
        counts = count(right.tolist(), (probabilities.argmax(1) == labels).tolist())
        return Quantized(out, made, tuple(rule), seven_bits, counts)

    try:
        say(f"Quantising {len(layers) - len(rule)} of {len(layers)} layers.")
        first = best = measured(rule)
        if first.drop <= max_drop:
            return first
        free = [layer for layer in layers if layer not in rule]
        found = blocks(free)
        say(f"int8 loses {first.drop:.2f} points. Looking for the worst of {len(found)} blocks of layers.")

        def distance(block: str) -> float:
            higher = {*rule, *(layer for layer in free if block_of(layer) == block)}
            return _divergence(reference, attempt(higher, calibration[:_FEW])[1])

        ranked = sorted(found, key=distance) if len(found) > 1 else []
        for number in _doubled(len(ranked) // 2):
            higher = {*rule, *(layer for layer in free if block_of(layer) in ranked[:number])}
            say(f"Keeping {', '.join(ranked[:number])} in higher precision.")
            tried = measured(higher)
            if tried.drop <= max_drop:
                return tried
            best = min(best, tried, key=lambda one: one.drop)
        raise ExportMismatch(
            f"int8 loses {first.drop:.2f} points of accuracy on {len(labels):,} validation images, and still "
            f"{best.drop:.2f} with {_named(best.kept_higher)} in higher precision; {max_drop:g} are allowed. "
            f"Allow more with --max-drop, or export with --precision fp32."
        )
    except BaseException:
        for file in (out, out.with_suffix(".bin")):
            file.unlink(missing_ok=True)
        raise


def _divergence(reference: NDArray[np.float32], answers: NDArray[np.float32]) -> float:
    """How far the answers are from the reference: the mean Kullback-Leibler divergence."""
    p, q = reference.astype(float) + _TINY, answers.astype(float) + _TINY
    return float((p * np.log(p / q)).sum(1).mean())


def _doubled(most: int) -> list[int]:
    """1, 2, 4, ... and `most`.

    >>> _doubled(6)
    [1, 2, 4, 6]
    """
    numbers = [2**i for i in range(most.bit_length()) if 2**i < most]
    return [*numbers, most] if most else []


def _named(layers: tuple[str, ...]) -> str:
    if not layers:
        return "no layer"
    return f"{len(layers)} layers ({', '.join(layers[:3])}{', ...' if len(layers) > 3 else ''})"
