"""Deployment: a trained classifier becomes a folder that answers the same everywhere, fast, and proves it.

    classifier -> graph -> model.onnx, model.xml -> int8 -> verified -> chosen by measurement -> bundle
    bundle -> `Bundle`, which answers without PyTorch; `doctor`, which checks it on the target machine; `bench`

A name is imported when it is first used, so that a bundle answers without PyTorch. Engines report nothing to their
makers: every import of OpenVINO comes after this one.
"""

from classicnets.deployment.bundle import Bundle, load
from classicnets.system.telemetry import silence_telemetry

__all__ = ["Bundle", "load"]

silence_telemetry()
