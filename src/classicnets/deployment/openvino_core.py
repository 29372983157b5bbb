"""`core`: OpenVINO's core, one for the whole process.

Each core that compiles gives its thread another stack for signals, and takes it back when it goes. With several cores,
the thread could be left with a stack that is gone, and the next signal then ended the process: a server that was asked
to stop, or a training after an export.
"""

from __future__ import annotations

from functools import cache

import openvino as ov


@cache
def core() -> ov.Core:
    """Return the core, made once and kept until the process ends. Threads may share it."""
    return ov.Core()
