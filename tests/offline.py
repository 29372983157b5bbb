"""Whether a program tries a connection: `from offline import RECORDER, without_network`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

RECORDER = """
import os, socket

def refused(kind):
    def call(*args, **kwargs):
        with open(os.environ["RECORDED"], "a") as file:
            file.write(f"{kind} {args[:2]}\\n")
        raise OSError("no network in this test")
    return call

socket.socket.connect = refused("connect")
socket.socket.connect_ex = refused("connect_ex")
socket.getaddrinfo = refused("getaddrinfo")
"""
"""A `sitecustomize`: the process and those that it starts record every connection that is tried."""


class Ended(NamedTuple):
    """How a program ended, and which connections it tried, one a line."""

    process: subprocess.CompletedProcess[str]
    tried: list[str]


def without_network(command: Sequence[object], folder: Path) -> Ended:
    """Run Python with arguments in a fresh process that can reach nothing, has no home and is not told that CI runs."""
    home, code, recorded = folder / "home", folder / "code", folder / "recorded"
    home.mkdir()
    code.mkdir()
    (code / "sitecustomize.py").write_text(RECORDER)
    known = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "OMP_NUM_THREADS", "LANG") if name in os.environ}
    environment = known | {
        "HOME": str(home),  # no file says yes or no to telemetry
        "PYTHONPATH": os.pathsep.join([str(code), known.get("PYTHONPATH", "")]),
        "RECORDED": str(recorded),
        "CLASSICNETS_CACHE": str(folder / "cache"),
    }
    done = subprocess.run(
        [sys.executable, *map(str, command)], env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    return Ended(done, recorded.read_text().splitlines() if recorded.exists() else [])
