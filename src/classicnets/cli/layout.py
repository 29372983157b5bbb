"""`classicnets export --layout`: what a server needs, for a bundle that was just written or one that exists."""

from __future__ import annotations

import os
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Any

import typer

from classicnets.cli.output import answer, print_json
from classicnets.errors import ConfigError


class LayoutName(StrEnum):
    """A server."""

    triton = "triton"
    kserve = "kserve"
    ovms = "ovms"


def refuse_options(context: typer.Context, *names: str) -> None:
    """Raise ConfigError if one of these options of the command was typed: they do not apply to a bundle."""
    sources = {name: context.get_parameter_source(name) for name in names}
    typed = [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
    if typed:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in typed)
        raise ConfigError(f"A bundle stays as it is. Leave out {options}, or give the run that it was made from.")


def check_layout(layout: LayoutName, engine: str) -> None:
    """Raise ConfigError before the export if its server cannot run the engine."""
    from classicnets.deployment.layouts import check_engine

    if engine != "auto":
        check_engine(layout.value, "onnxruntime" if engine == "onnx" else engine)


def write_layout_of(bundle: Path, layout: LayoutName, out: Path | None) -> dict[str, Any]:
    """Write the layout to `out`, or beside the bundle, and return where it is and how to start the server."""
    from classicnets.deployment.layouts import write_layout
    from classicnets.system.paths import numbered

    beside = bundle.with_name(f"{bundle.resolve().name}-{layout.value}")
    place = out or next(place for place in numbered(beside) if not os.path.lexists(place))
    laid = write_layout(bundle, layout.value, place)
    return asdict(laid) | {"path": str(laid.path)}


def print_layout(bundle: Path, layout: LayoutName, out: Path | None, *, as_json: bool) -> None:
    """Write the layout and say where it is."""
    laid = write_layout_of(bundle, layout, out)
    if as_json:
        print_json(laid)
        return
    answer(f"layout    {laid['path']}, for {layout.value}: the model {laid['name']}, computed by {laid['engine']}")
    answer(f"\nnext: {laid['start']}")
