"""`classicnets doctor`: what this machine has, and what that means for training."""

from __future__ import annotations

from typing import Any

import typer

from classicnets.cli.output import JsonFlag, print_json, print_table


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(epilog="[bold]Example[/bold]\n\n  classicnets doctor --json")(doctor)


def doctor(as_json: JsonFlag = False) -> None:
    """Say which versions, devices, number formats and data are found."""
    facts = _facts()
    if as_json:
        print_json(facts)
    else:
        print_table(("what", "found"), facts.items())


def _facts() -> dict[str, Any]:
    from importlib.metadata import version

    import torch

    from classicnets.data import find_fashion_mnist
    from classicnets.data.pipeline.pack import default_cache
    from classicnets.system.devices import choose_device, has_bf16
    from classicnets.training.run.folder import environment

    device = choose_device()
    libraries = {name: version(name) for name in ("torchvision", "numpy", "pillow", "simplejpeg", "safetensors")}
    fashion = find_fashion_mnist()
    return {
        **{key: value for key, value in environment("").items() if key != "precision"},
        **libraries,
        "device": str(device),
        "bf16 in hardware": has_bf16(device),
        "precision in training": "bf16" if has_bf16(device) else "fp32",
        "int8 in hardware": device.type != "cpu" or bool(torch.cpu._is_vnni_supported()),
        "fashion-mnist": str(fashion) if fashion else "not here yet; fetched on first use",
        "cache": str(default_cache()),
    }
