"""`classicnets export`: write a classifier as a bundle, which answers without PyTorch."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from classicnets.cli.layout import LayoutName, check_layout, print_layout, refuse_options, write_layout_of
from classicnets.cli.output import JsonFlag, answer, note, print_json, print_table, progress_bars

if TYPE_CHECKING:
    from classicnets.deployment import Bundle

_EXAMPLES = """
[bold]Examples[/bold]

  classicnets export runs/birds

  classicnets export runs/birds --engine auto

  classicnets export runs/birds --engine onnx --out birds-bundle

  classicnets export runs/birds --precision int8 --max-drop 0.3

  classicnets export runs/birds --image-size 192 --whole-image

  classicnets export runs/birds/bundle --layout triton --out models
"""
_OF_EXPORT = ("engine", "precision", "max_drop", "image_size", "whole_image", "goal")


class EngineName(StrEnum):
    """What computes."""

    onnx = "onnx"
    openvino = "openvino"
    torch = "torch"
    auto = "auto"


class PrecisionName(StrEnum):
    """What it computes in."""

    fp32 = "fp32"
    bf16 = "bf16"
    int8 = "int8"
    auto = "auto"


class Goal(StrEnum):
    """What should be fast."""

    latency = "latency"
    throughput = "throughput"


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(epilog=_EXAMPLES)(export)


def export(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or a model folder.")],
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A new folder. Default: bundle, inside the run.")
    ] = None,
    engine: Annotated[
        EngineName,
        typer.Option(help="What computes: onnx is ONNX Runtime, auto the faster of it and OpenVINO here."),
    ] = EngineName.openvino,
    precision: Annotated[
        PrecisionName | None,
        typer.Option(
            help="fp32 answers as PyTorch does; bf16 and int8 may lose accuracy; auto is the fastest of them within "
            "--max-drop. Default: fp32, and auto for --engine auto.",
            show_default=False,
        ),
    ] = None,
    max_drop: Annotated[
        float, typer.Option(metavar="POINTS", help="How many percentage points of accuracy bf16 and int8 may lose.")
    ] = 0.5,
    image_size: Annotated[
        int | None, typer.Option(metavar="N", help="Height and width of the network's input. Default: as trained.")
    ] = None,
    whole_image: Annotated[
        bool, typer.Option("--whole-image", help="Also write a graph that resizes and crops images of any size itself.")
    ] = False,
    goal: Annotated[Goal, typer.Option(help="One image at a time, or many.")] = Goal.latency,
    layout: Annotated[
        LayoutName | None,
        typer.Option(
            help="Also write what a server needs: Triton Inference Server, KServe or OpenVINO Model Server (ovms). "
            "RUN may then be a bundle.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Write a classifier as a bundle: a small folder that answers the same everywhere, without PyTorch.

    The graph takes pixels and returns calibrated probabilities. It is compared with PyTorch on the run's validation
    images before anything is written: in fp32, probabilities may differ by 0.0001. bf16 and int8 may lose --max-drop
    points of accuracy; int8 first keeps its worst layers in higher precision.
    """
    from classicnets.deployment.manifest import is_bundle

    if layout is not None and is_bundle(run):
        refuse_options(context, *_OF_EXPORT)
        print_layout(run, layout, out, as_json=as_json)
        return
    from classicnets.deployment.export import export as write_bundle
    from classicnets.system.threads import limit_threads

    if layout is not None:
        check_layout(layout, engine.value)
    limit_threads()
    with progress_bars(quiet=as_json) as progress:
        bundle = write_bundle(
            run, out, engine=engine.value, precision=precision.value if precision else None, max_drop=max_drop,
            image_size=image_size, whole_image=whole_image, goal=goal.value, progress=progress,
        )  # fmt: skip
    for remark in bundle.manifest.measured["notes"]:
        note(remark)
    if as_json:
        about = {key: value for key, value in bundle.manifest.to_dict().items() if key not in ("card", "golden")}
        laid = {} if layout is None else {"layout": write_layout_of(bundle.folder, layout, None)}
        print_json({"bundle": str(bundle.folder), **about, **laid})
    else:
        _print(bundle)
        if layout is not None:
            print_layout(bundle.folder, layout, None, as_json=False)


def _print(bundle: Bundle) -> None:
    manifest, measured = bundle.manifest, bundle.manifest.measured
    height, width = bundle.preprocess.input_size
    answer(f"bundle    {bundle.folder}, {_megabytes(bundle.folder):,.1f} MB")
    answer(
        f"network   {bundle.model_name}, {len(bundle.classes)} classes, "
        f"uint8 (N, {bundle.preprocess.channels}, {height}, {width}) -> {', '.join(manifest.outputs)}"
    )
    executed, asked = bundle.session.executed, manifest.settings.precision
    here = "" if executed == asked else f" here, which has no instructions for {asked}"
    answer(f"engine    {manifest.engine}, computes in {executed}{here}")
    for name, row in measured["parity"].items():
        answer(
            f"parity    {name} in fp32 beside PyTorch: probabilities differ by at most {row['difference']:.0e}, "
            f"{row['top1']:.0%} of the best classes are the same"
        )
    found = measured["accuracy"]
    if found:
        low, high = found["interval"]
        answer(
            f"accuracy  {found['before']:.2%} in PyTorch, {found['after']:.2%} in the bundle, on {found['images']:,} "
            f"{measured['images']}: a drop of {found['drop']:.2f} points (95% interval {low:.2f} to {high:.2f})"
        )
    else:
        answer("accuracy  not measured: there are no labelled validation images")
    if measured["kept_higher"]:
        kept = measured["kept_higher"]
        more = ", ..." if len(kept) > 4 else ""
        answer(f"in fp32   {len(kept)} layers, for the accuracy: {', '.join(kept[:4])}{more}")
    if measured["int8"] and not measured["int8"]["kept"]:
        note(measured["int8"]["note"])
    if measured["asked"] == "auto" or len({row["engine"] for row in measured["latency"]}) > 1:
        _print_table(measured["latency"])
    else:
        one, many = measured["latency"]
        times = f"{one['milliseconds']:,.1f} ms for 1 image, {many['milliseconds']:,.1f} ms for {many['batch']}"
        answer(f"latency   {times}, on this machine")
    for reason in measured["not_kept"]:
        note(reason)
    answer(
        f"\nnext: classicnets predict {bundle.folder} IMAGE, and classicnets doctor {bundle.folder} where it is used"
    )


def _print_table(rows: list[dict[str, Any]]) -> None:
    """Every engine and setting that was measured."""
    print_table(
        ("engine", "precision", "threads", "streams", "at once", "how", "ms", "images/s", "speed", ""),
        [
            (
                row["engine"], row["precision"], row["threads"], row["streams"], row["chunk"],
                row["convolution"] + (", spinning" if row["spinning"] else ""), row["milliseconds"],
                row["images_per_second"],
                None if row["speed"] is None else f"{row['speed']:.2f}x", "kept" if row["kept"] else row["note"],
            )
            for row in rows
        ],
        title=f"\nmeasured here, {rows[0]['batch']} at a time",
    )  # fmt: skip


def _megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
