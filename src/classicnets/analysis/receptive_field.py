"""What one position of a tensor sees of the input image, carried through a network operation by operation.

The arithmetic is that of Araujo, Norris and Sim, Computing Receptive Fields of Convolutional Neural Networks, 2019
(doi:10.23915/distill.00021).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True)
class Window:
    """How an operation looks at its input along one axis: a convolution, pooling, slice or padding, in positions."""

    kernel: int = 1
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    ceil: bool = False

    @property
    def extent(self) -> int:
        """How many positions there are from a window's first to its last."""
        return self.dilation * (self.kernel - 1) + 1

    def positions(self, size: int) -> int:
        """How many outputs an input of `size` positions gives. With `ceil`, a last window that is cut off counts.

        >>> Window(kernel=3, stride=2).positions(224)
        111
        """
        room = size + 2 * self.padding - self.extent
        if not self.ceil:
            return room // self.stride + 1
        count = -(-room // self.stride) + 1
        # As in PyTorch, a window that would start in the padding on the far side is dropped.
        return count - 1 if (count - 1) * self.stride >= size + self.padding else count


class Field(NamedTuple):
    """Output i sees the pixels from `low + i * jump` to `high + i * jump` along one axis, padding included.

    `Field()` is that of the image itself: every pixel sees itself.
    """

    low: int = 0
    high: int = 0
    jump: int = 1

    @property
    def size(self) -> int:
        """The receptive field, in pixels."""
        return self.high - self.low + 1

    def through(self, window: Window) -> Field:
        """Return the field after an operation with that window.

        >>> Field().through(Window(kernel=7, stride=2, padding=3))
        Field(low=-3, high=3, jump=2)
        """
        low = self.low - window.padding * self.jump
        return Field(low, low + self.size - 1 + (window.extent - 1) * self.jump, self.jump * window.stride)

    def join(self, other: Field) -> Field:
        """Return the field of two branches that meet: all that either sees. Their jumps must be equal."""
        return Field(min(self.low, other.low), max(self.high, other.high), max(self.jump, other.jump))
