"""`classicnets doctor`: what this machine has for training, and whether a bundle holds on it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from classicnets.cli.output import JsonFlag, answer, error, note, print_json, print_table, progress_bars

_EXAMPLES = """
[bold]Examples[/bold]

  classicnets doctor

  classicnets doctor bundle --json
"""


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(epilog=_EXAMPLES)(doctor)


def doctor(
    bundle: Annotated[
        Path | None, typer.Argument(metavar="[BUNDLE]", help="A folder that `export` wrote.", show_default=False)
    ] = None,
    measure: Annotated[
        bool, typer.Option(help="Measure which engine and how many threads are fastest for the bundle here.")
    ] = True,
    as_json: JsonFlag = False,
) -> None:
    """Check a bundle on this machine, or show what the machine has.

    With a bundle: its files are compared with their SHA-256, its golden images are answered again, and what differs
    from the machine that exported it is named. The exit code is 4 if the bundle must not be used here.

    Without one: versions, devices, cores, number formats and where data is kept.
    """
    if bundle is not None:
        _examine(bundle, measure, as_json)
        return
    facts = _facts()
    if as_json:
        print_json(facts)
        return
    print_table(("what", "found"), [(name, value) for name, value in facts.items() if name != "advice"])
    if facts["advice"]:
        note(facts["advice"])


def _examine(bundle: Path, measure: bool, as_json: bool) -> None:
    from classicnets.deployment.doctor import examine

    with progress_bars(quiet=as_json) as progress:
        diagnosis = examine(bundle, measure=measure, progress=progress)
    findings = diagnosis.findings if diagnosis.holds else diagnosis.findings[:-1]
    if as_json:
        print_json(diagnosis.to_dict())
    elif findings:
        print_table(("what", "verdict", "found"), [(one.what, one.verdict, one.found) for one in findings])
    if not diagnosis.holds:
        error(f"{bundle} does not hold on this machine: {diagnosis.findings[-1].found}")
        raise typer.Exit(4)
    if not as_json:
        answer(f"\n{bundle} holds on this machine.")


def _facts() -> dict[str, Any]:
    """What the machine has; of what needs PyTorch only if it is installed."""
    import classicnets
    from classicnets.deployment.engines import ENGINES
    from classicnets.system.cache import cache_dir
    from classicnets.system.installed import is_installed
    from classicnets.system.machine import machine
    from classicnets.system.threads import load

    found = machine(*_LIBRARIES, *ENGINES.values())
    packages = {name: found["versions"].get(name, "not installed") for name in (*_LIBRARIES, *ENGINES.values())}
    return {
        "classicnets": classicnets.__version__,
        "python": found["versions"]["python"],
        "platform": found["system"],
        "cpu": found["cpu"],
        "instruction sets": ", ".join(found["instruction_sets"]) or None,
        "memory, in GiB": found["memory_gib"],
        "cores": found["cores"],
        "usable cores": found["usable_cores"],
        "CPU quota, in cores": found["quota"],
        "load": load(),
        **packages,
        **(_of_torch() if is_installed("torch") else {"advice": None}),
        "cache": str(cache_dir()),
    }


_LIBRARIES = ("torchvision", "numpy", "pillow", "simplejpeg", "safetensors")


def _of_torch() -> dict[str, Any]:
    import torch

    from classicnets.data.sources.fashion_mnist import find_fashion_mnist
    from classicnets.system.devices import choose_device, fastest_precision, has_bf16
    from classicnets.system.threads import threads_note

    device = choose_device()
    fashion = find_fashion_mnist()
    return {
        "threads": torch.get_num_threads(),
        "advice": threads_note(torch.get_num_threads()),
        "device": str(device),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "bf16 in hardware": has_bf16(device),
        "precision in training": fastest_precision(device),
        "int8 in hardware": device.type != "cpu" or bool(torch.cpu._is_vnni_supported()),
        "fashion-mnist": str(fashion) if fashion else "not downloaded yet",
    }
