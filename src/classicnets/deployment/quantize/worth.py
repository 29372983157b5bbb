"""Whether int8 is worth its loss of accuracy on a machine."""

from __future__ import annotations

INT8_GAIN = 1.05
"""How many times faster than fp32 int8 must be to be kept. Less is within what two measurements differ by."""


def is_worth_it(fp32_ms: float, int8_ms: float) -> bool:
    """Return whether int8 is so much faster than fp32 that it is kept.

    Args:
        fp32_ms: what the same images take in fp32, in milliseconds; above 0.
        int8_ms: what they take in int8.

    >>> is_worth_it(10.0, 9.9)
    False
    """
    return fp32_ms >= INT8_GAIN * int8_ms
