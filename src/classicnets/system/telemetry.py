"""No library that we use reports to its makers.

`import openvino` alone sends an event over the network, unless CI is set or a file in the user's home says no. NNCF
sends one for each quantisation.
"""

from __future__ import annotations

import os
import sys


def silence_telemetry() -> None:
    """Have OpenVINO and NNCF send nothing from this process. Call it before they are imported.

    Both do without the package `openvino_telemetry` if it cannot be imported.

    >>> silence_telemetry()
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    os.environ.setdefault("NNCF_CI", "1")
