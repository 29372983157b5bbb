"""`classicnets bench`: how fast a network is here, in every engine at hand, beside PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from classicnets.cli.output import JsonFlag, note, print_json, print_table, progress_bars, say
from classicnets.errors import ConfigError

if TYPE_CHECKING:
    from classicnets.deployment.bench.measure import BenchReport
    from classicnets.deployment.bench.target import Target

_EXAMPLES = """
[bold]Examples[/bold]

  classicnets bench resnet18

  classicnets bench runs/birds --batches 1,32 --figure roofline.png

  classicnets bench birds-bundle --engines eager,openvino --threads 1

  classicnets bench densenet121 --layers --engines openvino
"""


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(epilog=_EXAMPLES)(bench)


def bench(
    what: Annotated[
        str, typer.Argument(metavar="MODEL|RUN|BUNDLE", help="A name from `classicnets models`, a run or a bundle.")
    ],
    batches: Annotated[str, typer.Option(metavar="N,N...", help="How many images a call has.")] = "1,8,32",
    engines: Annotated[
        str,
        typer.Option(
            metavar="A,B...",
            help="Of eager, compile, torch, onnx, openvino. The first that runs is what the others are compared with.",
        ),
    ] = "eager,compile,torch,onnx,openvino",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of each. Default: the cores that this process may use.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.0, help="How long each one runs at each batch size, at least.")] = 2.0,
    int8: Annotated[bool, typer.Option("--int8/--no-int8", help="Also quantise a MODEL or RUN, on noise.")] = True,
    layers: Annotated[
        bool, typer.Option("--layers", help="Show where the time goes, layer by layer, on the fastest of the engines.")
    ] = False,
    figure: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the roofline to a new .png or .svg file.")
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the table as CSV.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Measure latency, throughput, memory and loading of every engine beside PyTorch, and how much of the machine
    they use.

    All contenders take turns, each in a process of its own. Ratios are more reliable than times on a busy machine.
    """
    sizes = _numbers(batches)
    if as_csv and as_json:
        raise ConfigError("--csv cannot be combined with --json. Give one of them.")
    if layers and (figure is not None):
        raise ConfigError("--figure draws the roofline of all engines, and --layers looks at one. Give one of them.")
    if figure is not None:
        from classicnets.reports.canvas import check_figure_path

        check_figure_path(figure)
    from classicnets.deployment.bench.target import open_target

    ways = [word.strip() for word in engines.split(",") if word.strip()]
    if not ways:
        raise ConfigError("--engines names none. Give some of eager, compile, torch, onnx and openvino.")
    with (
        progress_bars(quiet=as_json) as progress,
        open_target(what, ways=ways, threads=threads, int8=int8, progress=progress) as target,
    ):
        if figure is not None and target.work is None:
            raise ConfigError("--figure needs PyTorch, which tells what the network computes. Leave --figure out.")
        if layers:
            _show_layers(target, sizes[0], as_csv=as_csv, as_json=as_json)
            return
        from classicnets.deployment.bench.measure import bench as measure

        report = measure(target, batches=sizes, threads=threads, seconds=seconds, progress=progress)
    for text in report.notes:
        note(text)
    if figure is not None:
        _draw(report, figure)
    if as_json:
        print_json(report.to_dict())
    elif as_csv:
        typer.echo(report.to_csv(), nl=False)
    else:
        _print(report)


def _print(report: BenchReport) -> None:
    columns = ("batch", "engine", "p50 ms", "p90", "p99", "images/s", "x", "GFLOP/s", "GB/s", "roof", "MiB", "load s")
    rows = [
        (
            row.batch, _name(row.contender, row.precision), f"{row.p50_ms:.2f}", f"{row.p90_ms:.2f}",
            f"{row.p99_ms:.2f}", f"{row.images_per_second:.4g}", f"{row.speed:.2f}", _number(row.gflops, ".4g"),
            _number(row.gbps, ".3g"), _number(row.of_roof, ".0%"), f"{row.peak_mib:.0f}", f"{row.load_seconds:.1f}",
        )
        for row in report.rows
    ]  # fmt: skip
    print_table(columns, rows, title=f"{report.network}, {_machine(report)}")
    than = f"x: times faster than {report.rows[0].contender}."
    if report.peaks is None:
        typer.echo(than)
        return
    peaks = ", ".join(f"{value:.0f} GFLOP/s in {name}" for name, value in report.peaks.gflops.items())
    typer.echo(f"{than} roof: share of what this machine reaches at most:")
    typer.echo(f"{peaks} (matrix product), {report.peaks.gbps:.1f} GB/s (memory).")


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else f"{value:{form}}"


def _name(contender: str, executed: str) -> str:
    """The contender, with the precision that it computed in if that is not the one it was asked for."""
    return contender if executed in contender else f"{contender} (computes in {executed})"


def _machine(report: BenchReport) -> str:
    return f"{report.machine['cpu']}, {report.threads} thread{'s' * (report.threads != 1)}"


def _draw(report: BenchReport, figure: Path) -> None:
    assert report.peaks is not None, "the target's work is known"
    from classicnets.reports.canvas import save_figure
    from classicnets.reports.roofline import Point, roofline

    smallest = min(row.batch for row in report.rows)
    best = max((row for row in report.rows if row.batch == smallest), key=lambda row: row.speed)
    first = report.rows[0].contender
    finding = f"{best.contender} is fastest at batch {smallest}"
    if best.contender != first:
        finding += f": {best.speed:.1f} times as fast as {first}"
    drawn = roofline(
        [Point(row.contender, row.batch, row.intensity or 0.0, row.gflops or 0.0) for row in report.rows],
        peaks=report.peaks.gflops,
        gbps=report.peaks.gbps,
        finding=finding,
        detail=f"{report.network}, {_machine(report)}. The shaded part is beyond what this machine reached in tests.",
    )
    save_figure(drawn, figure)
    say(f"figure: {figure}")


def _show_layers(target: Target, batch: int, *, as_csv: bool, as_json: bool) -> None:
    import numpy as np

    from classicnets.deployment.bench.layers import LayerTime, layer_times
    from classicnets.deployment.bench.measure import fastest
    from classicnets.system.csv_text import csv_text

    images = np.random.default_rng(0).integers(0, 256, (batch, *target.shape), dtype=np.uint8)
    contender, session = fastest(target, images)
    rows = layer_times(session, images)
    if as_json:
        layers = [row._asdict() for row in rows]
        print_json({"network": target.title, "contender": contender.name, "batch": batch, "layers": layers})
    elif as_csv:
        typer.echo(csv_text(LayerTime._fields, rows), nl=False)
    else:
        shown = [(row.name, row.kind, row.kernel, f"{row.ms:.3f}", f"{row.share:.1%}") for row in rows]
        title = f"{target.title}, {contender.name}, batch {batch}: {sum(row.ms for row in rows):.2f} ms"
        print_table(("layer", "kind", "kernel", "ms", "share"), shown, title=title)


def _numbers(text: str) -> list[int]:
    """Parse '1,8,32' as batch sizes."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and int(word) > 0 for word in words):
        raise ConfigError(f"--batches must be numbers from 1 with commas between, such as 1,8,32; got {text!r}.")
    return list(dict.fromkeys(map(int, words)))
