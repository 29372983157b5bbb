"""What a machine needs to answer with a bundle, without PyTorch: the packages that are imported then, and no others.

pip install --no-deps classicnets
pip install -r BUNDLE/requirements.txt
"""

from __future__ import annotations

import re
from importlib.metadata import requires

NAMES = ("numpy", "pillow", "simplejpeg", "msgspec", "typer", "rich")
"""Imported by `load`, `predict` and the command line, beside the engine."""


def requirements(engine: str) -> str:
    """Return the text of a requirements file: a line for each package, with the version that classicnets needs.

    Args:
        engine: the bundle's engine: "openvino", "onnxruntime" or "torch".

    >>> print(requirements("openvino").splitlines()[-1].partition(">")[0])
    openvino
    """
    needed: dict[str, str] = {}
    for line in requires("classicnets") or ():
        requirement, _, _ = line.partition(";")
        name = re.split(r"[^\w.-]", requirement.strip())[0].lower()
        needed.setdefault(name, requirement.strip())
    return "".join(f"{needed.get(name, name)}\n" for name in (*NAMES, engine))
