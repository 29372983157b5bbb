"""Inference beside torchvision and each peer's documented best, for a network of each family at 224 pixels.

At equal precision, fp32: torchvision in eager mode (our own network where it has none), torch.compile with freezing,
ONNX Runtime and OpenVINO at their defaults, and what `--engine auto` chooses here; and int8 as `auto` runs it. Each
contender has a process of its own, all take turns, and ratios are medians over the rounds.

`auto` chooses with one image for batch 1, and with 8 images for batch 32. int8 is calibrated on noise: this measures
speed, and `export` measures the accuracy.

    python benchmarks/infer.py                                                  # about 12 minutes on two quiet cores
    python benchmarks/infer.py --quick                                          # 1 minute: does it run?
    python benchmarks/infer.py --compile vgg16,nin,googlenet_bn,resnet50,densenet121     # torch.compile takes minutes
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from report import write_results

from classicnets.deployment.bench.contender import Contender, Run, Running, opened
from classicnets.deployment.bench.measure import measured
from classicnets.deployment.bench.peaks import measure_peaks
from classicnets.deployment.bench.target import Target, open_target
from classicnets.deployment.choose import Candidate, choose
from classicnets.deployment.engines import Settings
from classicnets.deployment.timing import Times
from classicnets.system.progress import progress_bars
from classicnets.system.threads import usable_cores

NETWORKS = ("alexnet_owt", "vgg16", "nin", "googlenet_bn", "resnet18", "resnet50", "densenet121")
TORCHVISION = {"alexnet_owt": "alexnet", "vgg16": "vgg16", "googlenet_bn": "googlenet", "resnet18": "resnet18",
               "resnet50": "resnet50", "densenet121": "densenet121"}  # fmt: skip
COMPILED = "alexnet_owt,resnet18"
PEERS = ("compile", "onnxruntime", "openvino")
CHOICE_IMAGES = {1: 1, 32: 8}


def peer(contender: Contender) -> tuple[Run, str]:
    """Load a contender; a label tells torchvision's network and the engines at their defaults."""
    if contender.label == "defaults":
        return defaults(contender), "fp32"
    if contender.way in ("eager", "compile") and contender.label:
        return torchvision_network(contender), "fp32"
    return opened(contender)


def defaults(contender: Contender) -> Run:
    """An engine as its documentation's first example runs it."""
    if contender.way == "onnxruntime":
        import onnxruntime as ort

        session = ort.InferenceSession(contender.folder / "model.onnx", providers=["CPUExecutionProvider"])
        return lambda images: session.run(None, {"images": images})
    import openvino as ov

    compiled = ov.Core().compile_model(str(contender.folder / "model.xml"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
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

    def run(images: NDArray[np.uint8]) -> object:
        with torch.no_grad():
            return network((torch.as_tensor(images).float() / 255 - mean) / std).softmax(-1)

    return run


class Found(NamedTuple):
    """A network at a batch size: the times of each contender, by name, and what auto chose."""

    network: str
    batch: int
    times: dict[str, Times]
    auto: Contender
    gflops: float


def contenders(name: str, target: Target, *, compiled: bool) -> dict[str, Contender]:
    """The peers."""
    folder, settings = target.contenders[0].folder, Settings()
    label = TORCHVISION.get(name, "")
    peers = {
        "eager": Contender("eager", folder, settings, label),
        "onnxruntime": Contender("onnxruntime", folder, settings, "defaults"),
        "openvino": Contender("openvino", folder, settings, "defaults"),
    }
    if compiled:
        peers["compile"] = Contender("compile", folder, settings, label)
    return peers


def chosen(target: Target, precision: str, batch: int) -> Contender:
    """What `auto` chooses among the engines in that precision."""
    own = [c for c in target.contenders if c.way not in ("eager", "compile", "torch")]
    candidates = [Candidate(c.way, c.folder, c.settings.precision) for c in own if c.settings.precision == precision]
    images = np.random.default_rng(0).integers(0, 256, (CHOICE_IMAGES.get(batch, batch), *target.shape), dtype=np.uint8)
    choice = choose(
        list(dict.fromkeys(candidates)), images=images, goal="latency" if batch == 1 else "throughput", max_drop=100
    )
    return Contender(choice.best.engine, choice.best.folder, choice.settings, f"auto {batch}")


def measure(name: str, options: argparse.Namespace) -> list[Found]:
    """Measure a network at every batch size."""
    found = []
    compiled = name in options.compile.split(",")
    with (
        progress_bars() as progress,
        open_target(name, ways=("eager", "onnx", "openvino"), progress=progress) as target,
    ):
        peers = contenders(name, target, compiled=compiled)
        for batch in options.batches:
            ours = {f"auto {precision}": chosen(target, precision, batch) for precision in ("fp32", "int8")}
            running = {key: Running(c, target.shape, peer) for key, c in (peers | ours).items()}
            try:
                turns: dict[Contender, Callable[[int], list[float]]] = {
                    replace(c, label=key): running[key].turn for key, c in (peers | ours).items()
                }
                times = measured(turns, batch, options.seconds, progress)
            finally:
                for process in running.values():
                    process.close()
            by_name = {contender.label: taken for contender, taken in times.items()}
            gflops = 2 * target.work.macs * batch / by_name["auto fp32"].p50 / 1e9
            found.append(Found(name, batch, by_name, ours["auto fp32"], gflops))
            print(name, batch, {key: f"{t.p50 * 1e3:.1f} ms" for key, t in by_name.items()}, flush=True)
    return found


def row(found: Found, peak: float) -> list[object]:
    """A row of the table: ratios to eager, and auto's to the best peer in fp32."""
    times, eager = found.times, found.times["eager"]
    speeds = [f"{times[key].speedup_over(eager):.2f}" if key in times else "-" for key in PEERS]
    ours = [f"{times[f'auto {precision}'].speedup_over(eager):.2f}" for precision in ("fp32", "int8")]
    settings = found.auto.settings
    way = f"{found.auto.way}, {settings.streams} x {settings.threads // settings.streams} threads"
    way += ", winograd" if settings.convolution == "winograd" else ""
    way += ", spinning" if settings.spinning else ""
    way += f", chunk {settings.chunk}" if settings.chunk else ""
    beside = f"{times['auto fp32'].speedup_over(best_peer(found)):.2f}"
    share = f"{found.gflops / peak:.0%}"
    return [found.network, found.batch, f"{eager.p50 * 1e3:.1f}", *speeds, *ours, beside, way, share]


def best_peer(found: Found) -> Times:
    """The fastest peer in fp32."""
    return min((found.times[key] for key in ("eager", *PEERS) if key in found.times), key=lambda times: times.p50)


def means(rows: list[Found]) -> list[str]:
    """The geometric means at each batch size, in words."""
    lines = []
    for batch in dict.fromkeys(found.batch for found in rows):
        some = [found for found in rows if found.batch == batch]
        eager = {
            precision: statistics.geometric_mean(
                f.times[f"auto {precision}"].speedup_over(f.times["eager"]) for f in some
            )
            for precision in ("fp32", "int8")
        }
        ratios = [f.times["auto fp32"].speedup_over(best_peer(f)) for f in some]
        lines.append(
            f"- batch {batch}: auto in fp32 is {eager['fp32']:.2f} times as fast as eager, in int8 {eager['int8']:.2f} "
            f"times (geometric means). Beside the best peer in fp32: {statistics.geometric_mean(ratios):.2f}x in "
            f"geometric mean, {min(ratios):.2f}x at least."
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--batches", default="1,32")
    parser.add_argument("--compile", default=COMPILED, help="networks that torch.compile takes part in")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each contender at each batch size, at least")
    parser.add_argument("--quick", action="store_true", help="one small network at batch 1 and 2; nothing is written")
    options = parser.parse_args()
    if options.quick:
        options.networks, options.batches, options.compile, options.seconds = "nin_cifar", "1,2", "", 0.1
    options.batches = [int(batch) for batch in options.batches.split(",")]
    begun = time.perf_counter()
    peaks = measure_peaks(usable_cores())
    rows = [found for name in options.networks.split(",") for found in measure(name, options)]
    columns = ["network", "batch", "eager ms", "compile", "ONNX Runtime", "OpenVINO", "auto fp32", "auto int8",
               "auto fp32 / best peer", "auto's way in fp32", "of the matrix-product rate"]  # fmt: skip
    table = [row(found, peaks.gflops["fp32"]) for found in rows]
    notes = [
        *means(rows),
        f"- this machine: {peaks.gflops['fp32']:.0f} GFLOP/s in an fp32 matrix product, {peaks.gbps:.1f} GB/s from "
        f"memory, {peaks.threads} threads",
        "",
        "Numbers are times faster than torchvision in eager mode (our network where it has none: nin), medians over "
        "interleaved rounds. Peers: torch.compile with freezing, ONNX Runtime and OpenVINO at their defaults, in fp32. "
        "A rate above 100 % is Winograd's: it needs fewer multiplications than are counted.",
        f"It took {(time.perf_counter() - begun) / 60:.0f} minutes.",
    ]
    if options.quick:
        print(columns, *table, *notes, sep="\n")
        return
    write_results("infer", "Inference at 224 pixels beside PyTorch and other engines", columns, table, notes)


if __name__ == "__main__":
    main()
