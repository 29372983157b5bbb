"""Inference beside torchvision and each peer's documented best, for a network of each family at 224 pixels.

For each precision that this machine has (fp32, bf16, int8) one match at equal precision: torchvision in eager mode and
fp32 (our own network where it has none), torch.compile with freezing (bf16 by autocast), ONNX Runtime and OpenVINO at
their defaults, and what `--engine auto` chooses here. Each contender has a process of its own, all take turns, and
ratios are medians over the rounds.

`auto` chooses as an export does: with one image for batch 1, with a batch of 32 for batch 32. int8 is calibrated on
noise: this measures speed, and `export` measures the accuracy.

    python benchmarks/infer.py                                                  # about 30 minutes on two quiet cores
    python benchmarks/infer.py --quick                                          # 1 minute: does it run?
    python benchmarks/infer.py --compile ""                                     # torch.compile takes minutes
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from report import write_results

from classicnets.deployment.bench.contender import TITLES, Contender, Run, Running, opened
from classicnets.deployment.bench.measure import measured
from classicnets.deployment.bench.peaks import Peaks, measure_peaks
from classicnets.deployment.bench.target import Target, Work, open_target
from classicnets.deployment.choose import Candidate, choose
from classicnets.deployment.engines import Precision, Settings
from classicnets.deployment.timing import Times
from classicnets.system.progress import progress_bars
from classicnets.system.threads import usable_cores

NETWORKS = ("alexnet_owt", "vgg16", "nin", "googlenet_bn", "resnet18", "resnet50", "densenet121")
TORCHVISION = {"alexnet_owt": "alexnet", "vgg16": "vgg16", "googlenet_bn": "googlenet", "resnet18": "resnet18",
               "resnet50": "resnet50", "densenet121": "densenet121"}  # fmt: skip
PEERS = ("compile", "onnxruntime", "openvino")
EAGER = "eager"
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "int8")


def peer(contender: Contender) -> tuple[Run, str]:
    """Load a contender; a label tells torchvision's network and the engines at their defaults."""
    if contender.label == "defaults":
        return defaults(contender), contender.settings.precision
    if contender.way in ("eager", "compile") and contender.label:
        return torchvision_network(contender), contender.settings.precision
    return opened(contender)


def defaults(contender: Contender) -> Run:
    """An engine as its documentation's first example runs it."""
    if contender.way == "onnxruntime":
        import onnxruntime as ort

        session = ort.InferenceSession(contender.folder / "model.onnx", providers=["CPUExecutionProvider"])
        return lambda images: session.run(None, {"images": images})
    import openvino as ov

    from classicnets.deployment.engines.openvino import HINTS

    hint = {"INFERENCE_PRECISION_HINT": HINTS[contender.settings.precision]}
    compiled = ov.Core().compile_model(str(contender.folder / "model.xml"), "CPU", hint)
    return lambda images: compiled([images])


def torchvision_network(contender: Contender) -> Run:
    """torchvision's network with random weights, eager or by torch.compile with frozen weights."""
    import torch
    import torchvision

    torch.set_num_threads(contender.settings.used_threads)
    options = {"aux_logits": False, "init_weights": False} if contender.label == "googlenet" else {}
    network = torchvision.models.get_model(contender.label, weights=None, **options).eval()
    if contender.way == "compile":
        import torch._inductor.config as inductor

        inductor.freezing = True
        network = torch.compile(network)
    mean, std = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)

    half = contender.settings.precision == "bf16"

    def run(images: NDArray[np.uint8]) -> object:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=half):
            return network((torch.as_tensor(images).float() / 255 - mean) / std).softmax(-1)

    return run


class Found(NamedTuple):
    """A match: a network at a batch size and a precision, the times of each contender by name, and what auto chose."""

    network: str
    batch: int
    precision: Precision
    times: dict[str, Times]
    auto: Settings
    way: str
    work: Work

    @property
    def speed(self) -> float:
        """How many times as fast as eager auto is."""
        return self.times["auto"].speedup_over(self.times[EAGER])

    @property
    def beside_peers(self) -> float:
        """How many times as fast as the fastest peer auto is."""
        peers = [self.times[name] for name in PEERS if name in self.times]
        return self.times["auto"].speedup_over(min(peers, key=lambda times: times.p50))


def contenders(name: str, target: Target, precision: Precision, *, compiled: bool) -> dict[str, Contender]:
    """Eager in fp32, and the peers that have the precision."""
    label, settings = TORCHVISION.get(name, ""), Settings(precision=precision)
    found = {EAGER: Contender("eager", target.contenders[0].folder, Settings(), label)}
    for contender in target.contenders:
        if contender.settings.precision == precision and contender.way in ("onnxruntime", "openvino"):
            found[contender.way] = replace(contender, settings=settings, label="defaults")
    if compiled and precision != "int8" and (label or precision == "fp32"):
        found["compile"] = Contender("compile", target.contenders[0].folder, settings, label)
    return found


def chosen(target: Target, precision: Precision, batch: int) -> Contender | None:
    """What `auto` chooses among the engines in that precision; None if this machine does not have it."""
    own = [c for c in target.contenders if c.way not in ("eager", "compile", "torch")]
    candidates = [Candidate(c.way, c.folder, c.settings.precision) for c in own if c.settings.precision == precision]
    if not candidates:
        return None
    images = np.random.default_rng(0).integers(0, 256, (batch, *target.shape), dtype=np.uint8)
    choice = choose(
        list(dict.fromkeys(candidates)), images=images, goal="latency" if batch == 1 else "throughput", max_drop=100
    )
    return Contender(choice.best.engine, choice.best.folder, choice.settings, "auto")


def measure(name: str, options: argparse.Namespace) -> list[Found]:
    """Measure a network at every batch size and precision."""
    found = []
    with (
        progress_bars() as progress,
        open_target(name, ways=("eager", "onnx", "openvino"), progress=progress) as target,
    ):
        for batch, precision in itertools.product(options.batches, PRECISIONS):
            auto = chosen(target, precision, batch)
            if auto is None:
                continue
            all_of_them = contenders(name, target, precision, compiled=name in options.compile.split(","))
            all_of_them["auto"] = auto
            running: dict[str, Running] = {}
            try:
                for key, contender in all_of_them.items():
                    running[key] = Running(contender, target.shape, peer)
                turns: dict[Contender, Callable[[int], list[float]]] = {
                    replace(contender, label=key): running[key].turn for key, contender in all_of_them.items()
                }
                times = measured(turns, batch, options.seconds, progress)
            finally:
                for process in running.values():
                    process.close()
            by_name = {contender.label: taken for contender, taken in times.items()}
            found.append(Found(name, batch, precision, by_name, auto.settings, TITLES[auto.way], target.work))
            print(name, batch, precision, {key: f"{t.p50 * 1e3:.1f} ms" for key, t in by_name.items()}, flush=True)
    return found


def row(found: Found, peaks: Peaks) -> list[object]:
    """A row of the table."""
    times, settings = found.times, found.auto
    eager, auto = times[EAGER], times["auto"]
    speeds = [f"{times[key].speedup_over(eager):.2f}" if key in times else "-" for key in PEERS]
    way = f"{found.way}, {settings.used_streams} x {settings.used_threads // settings.used_streams} threads"
    way += ", winograd" if settings.convolution == "winograd" and found.precision == "fp32" else ""
    way += ", spinning" if settings.spinning else ""
    way += f", chunk {settings.chunk}" if settings.chunk else ""
    peak = peaks.gflops.get(found.precision)
    rate = 2 * found.work.macs * found.batch / auto.p50 / 1e9
    bound = found.work.bytes_moved(0, found.precision) / peaks.gbps / 1e9  # the weights alone
    return [
        found.network, found.batch, found.precision, f"{eager.p50 * 1e3:.1f}", *speeds, f"{found.speed:.2f}",
        f"{found.beside_peers:.2f}", f"{auto.p50 * 1e3:.1f}", way, "-" if peak is None else f"{rate / peak:.0%}",
        f"{auto.p50 / bound:.1f}" if found.batch == 1 else "-",
    ]  # fmt: skip


def means(matches: list[Found]) -> list[str]:
    """The geometric means at each batch size and precision, in words."""
    lines = []
    for batch, precision in dict.fromkeys((found.batch, found.precision) for found in matches):
        some = [found for found in matches if (found.batch, found.precision) == (batch, precision)]
        beside = [found.beside_peers for found in some]
        speed = statistics.geometric_mean(found.speed for found in some)
        lines.append(
            f"- batch {batch}, {precision}: auto is {speed:.2f} times as fast as eager in fp32 (geometric mean); "
            f"beside the best peer {statistics.geometric_mean(beside):.2f}x, {min(beside):.2f}x at least"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--batches", default="1,32")
    parser.add_argument("--compile", default=",".join(NETWORKS), help="networks that torch.compile takes part in")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each contender at each batch size, at least")
    parser.add_argument("--quick", action="store_true", help="one small network at batch 1 and 2; nothing is written")
    options = parser.parse_args()
    if options.quick:
        options.networks, options.batches, options.compile, options.seconds = "nin_cifar", "1,2", "", 0.1
    options.batches = [int(batch) for batch in options.batches.split(",")]
    begun = time.perf_counter()
    peaks = measure_peaks(usable_cores())
    matches = [found for name in options.networks.split(",") for found in measure(name, options)]
    columns = ["network", "batch", "precision", "eager fp32, ms", "compile", "ONNX Runtime", "OpenVINO", "auto",
               "auto / best peer", "auto, ms", "auto's way", "of the matrix-product rate",
               "times what reading the weights takes"]  # fmt: skip
    table = [row(found, peaks) for found in matches]
    rates = ", ".join(f"{rate:.0f} GFLOP/s in {precision}" for precision, rate in peaks.gflops.items())
    notes = [
        *means(matches),
        f"- this machine: {rates} (matrix product), {peaks.gbps:.1f} GB/s from memory, {peaks.threads} threads",
        "",
        "Numbers are times faster than torchvision in eager mode and fp32 (our network where it has none: nin),",
        "medians over interleaved rounds. Peers compute in the same precision: torch.compile with freezing (bf16 by",
        "autocast), ONNX Runtime and OpenVINO at their defaults with the same exported files. A rate above 100 % is",
        "Winograd's: it needs fewer multiplications than are counted.",
        f"It took {(time.perf_counter() - begun) / 60:.0f} minutes.",
    ]
    if options.quick:
        print(columns, *table, *notes, sep="\n")
        return
    write_results("infer", "Inference at 224 pixels beside PyTorch and other engines", columns, table, notes)


if __name__ == "__main__":
    main()
