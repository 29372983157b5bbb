"""Layouts: a bundle's network, as inference servers want to find it. The servers are others' programs.

Each layout is one file with `write` and `start`, and one line in `LAYOUTS`. A server computes with the engine that the
bundle was checked with. If it computes with another one, that one answers the golden images first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Literal

from classicnets.deployment.engines import FILES, Settings, open_session
from classicnets.deployment.golden import replay, tolerance
from classicnets.deployment.layouts import kserve, ovms, triton
from classicnets.deployment.layouts.served import Served
from classicnets.deployment.manifest import Manifest
from classicnets.errors import ConfigError, ExportMismatch, unknown_name
from classicnets.system.locks import folder_aside
from classicnets.system.storage import check_new
from classicnets.system.threads import usable_cores

LAYOUTS: dict[str, ModuleType] = {"triton": triton, "kserve": kserve, "ovms": ovms}
"""Triton Inference Server, KServe on Kubernetes, and OpenVINO Model Server."""


@dataclass(frozen=True)
class Laid:
    """A layout that was written.

    Attributes:
        path: its folder.
        name: the model's name on the server.
        engine: what the server computes with.
        start: the command that starts the server.
    """

    path: Path
    name: str
    engine: str
    start: str


def write_layout(bundle: Path, layout: str, out: Path, *, name: str | None = None) -> Laid:
    """Write what a server needs to serve a bundle. The bundle stays as it is.

    Args:
        bundle: the folder that `export` wrote.
        layout: "triton", "kserve" or "ovms".
        out: a new folder.
        name: the model's name on the server; by default the name of the run that the bundle lies in, or of its folder.

    Raises UnknownName for another layout, ConfigError if `out` exists or if the server cannot run the bundle's engine,
    WeightsError if the bundle does not hold, StorageError if the disk is full.

    >>> print(write_layout(Path("bundle"), "triton", Path("models")).start)  # doctest: +SKIP
    """
    if layout not in LAYOUTS:
        raise unknown_name("layout", layout, list(LAYOUTS), next_step=f"Known: {', '.join(LAYOUTS)}.")
    check_new(out)
    manifest = Manifest.read(bundle)
    manifest.check_files(bundle)
    served = _served(bundle, manifest, layout, name or _named(bundle.resolve()))
    with folder_aside(out) as new:
        LAYOUTS[layout].write(served, new)
    return Laid(out, served.name, served.engine, LAYOUTS[layout].start(out, served))


def _named(bundle: Path) -> str:
    """The name of the run that a bundle lies in, or of the bundle's folder."""
    return bundle.parent.name if (bundle.parent / "recipe.toml").is_file() else bundle.name


def _served(bundle: Path, manifest: Manifest, layout: str, name: str) -> Served:
    engine = _engine(bundle, manifest, layout)
    threads = manifest.settings.threads
    return Served(
        name=re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII).strip("-.") or "classifier",
        engine=engine,
        precision=manifest.settings.precision,
        goal=manifest.settings.goal,
        threads=threads,
        cores=threads or usable_cores(),
        shape=manifest.input.shape[1:],
        num_classes=len(manifest.read_card(bundle).classes),
        novelty="novelty" in manifest.outputs,
        model=tuple(bundle / file for file in FILES[engine]),
        labels=bundle / "labels.txt",
    )


def check_engine(layout: str, engine: str) -> None:
    """Raise ConfigError if the server of a layout cannot run an engine: "onnxruntime", "openvino" or "torch"."""
    if engine == "torch":
        raise ConfigError("No server runs a bundle for PyTorch. Export the run with --engine onnx or openvino instead.")
    if layout == "ovms" and engine != "openvino":
        raise ConfigError("OpenVINO Model Server needs a bundle for OpenVINO. Export the run with --engine openvino.")


def _engine(bundle: Path, manifest: Manifest, layout: str) -> Literal["onnxruntime", "openvino"]:
    """What the server computes with: the bundle's engine, or for Triton ONNX Runtime if it gives the same answers."""
    check_engine(layout, manifest.engine)
    if manifest.engine != "openvino":
        return "onnxruntime"
    has_onnx = set(FILES["onnxruntime"]) <= manifest.files.keys()
    if layout == "triton" and manifest.settings.precision == "fp32" and has_onnx:
        _check(bundle, manifest)
        return "onnxruntime"
    return "openvino"


def _check(bundle: Path, manifest: Manifest) -> None:
    """Raise ExportMismatch unless ONNX Runtime answers the golden images as the bundle's engine did."""
    answers, allowed = replay(open_session("onnxruntime", bundle, Settings()), manifest, bundle), tolerance("fp32")
    if not answers.within(allowed):
        raise ExportMismatch(
            f"{bundle}/model.onnx does not answer as the bundle does: {answers.describe(allowed)}. "
            f"Export the run again with --engine onnx."
        )
