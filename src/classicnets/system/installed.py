"""Which optional packages are here. Asking does not import them."""

from __future__ import annotations

import importlib.util


def is_installed(package: str) -> bool:
    """Return whether `package` can be imported.

    >>> is_installed("numpy")
    True
    """
    return importlib.util.find_spec(package) is not None
