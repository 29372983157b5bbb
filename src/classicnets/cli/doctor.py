"""`classicnets doctor`: what this machine has for training, and whether a bundle holds on it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from classicnets.cli.output import JsonFlag, answer, error, note, print_json, print_table

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
    as_json: JsonFlag = False,
) -> None:
    """Check a bundle on this machine, or show what the machine has.

    With a bundle: its files are compared with their SHA-256, its golden images are answered again, and what differs
    from the machine that exported it is named. The exit code is 4 if the bundle must not be used here.

    Without one: versions, devices, cores, number formats and where data is kept.
    """
    if bundle is not None:
        _examine(bundle, as_json)
        return
    facts = _facts()
    if as_json:
        print_json(facts)
        return
    print_table(("what", "found"), [(name, value) for name, value in facts.items() if name != "advice"])
    if facts["advice"]:
        note(facts["advice"])


def _examine(bundle: Path, as_json: bool) -> None:
    from classicnets.deployment.doctor import examine

    diagnosis = examine(bundle)
    findings = diagnosis.findings if diagnosis.holds else diagnosis.findings[:-1]
    if as_json:
        print_json(diagnosis.to_dict())
    elif findings:
        print_table(("what", "verdict", "found"), [(one.what, one.verdict, one.found) for one in findings])
    if not diagnosis.holds:
        error(f"{bundle} does not hold on this machine: {diagnosis.findings[-1].found}")
        raise typer.Exit(4)
    if not as_json:
        best = f"{diagnosis.engine} and {diagnosis.threads} threads"
        answer(f"\n{bundle} holds on this machine. Here it computes best with {best}.")


def _facts() -> dict[str, Any]:
    from importlib.metadata import version

    import torch

    from classicnets.data.sources.fashion_mnist import find_fashion_mnist
    from classicnets.system.cache import cache_dir
    from classicnets.system.devices import choose_device, has_bf16
    from classicnets.system.threads import cpu_quota, load, threads_note, usable_cores
    from classicnets.training.run.folder import environment

    device = choose_device()
    libraries = {name: version(name) for name in ("torchvision", "numpy", "pillow", "simplejpeg", "safetensors")}
    fashion = find_fashion_mnist()
    return {
        **{key: value for key, value in environment("").items() if key not in ("precision", "launch")},
        "usable cores": usable_cores(),
        "CPU quota, in cores": cpu_quota(),
        "load": load(),
        "advice": threads_note(torch.get_num_threads()),
        **libraries,
        "device": str(device),
        "bf16 in hardware": has_bf16(device),
        "precision in training": "bf16" if has_bf16(device) else "fp32",
        "int8 in hardware": device.type != "cpu" or bool(torch.cpu._is_vnni_supported()),
        "fashion-mnist": str(fashion) if fashion else "not downloaded yet",
        "cache": str(cache_dir()),
    }
