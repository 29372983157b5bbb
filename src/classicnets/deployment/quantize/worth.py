"""From when int8 is worth its loss of accuracy."""

from __future__ import annotations

INT8_GAIN = 1.05
"""How many times faster than fp32 int8 must be to be kept. Less is within what two measurements differ by."""
