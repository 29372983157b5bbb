"""`classicnets doctor`: what this machine has for training."""

from __future__ import annotations

from typing import Any

import typer

from classicnets.cli.output import JsonFlag, note, print_json, print_table


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(epilog="[bold]Example[/bold]\n\n  classicnets doctor --json")(doctor)


def doctor(as_json: JsonFlag = False) -> None:
    """Show versions, devices, cores, number formats and where data is kept."""
    facts = _facts()
    if as_json:
        print_json(facts)
        return
    print_table(("what", "found"), [(name, value) for name, value in facts.items() if name != "advice"])
    if facts["advice"]:
        note(facts["advice"])


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
