"""Where images come from, and what happens to them before they are in a batch.

    source -> split -> pack -> order and augment -> batch

Names are imported on first use, so that the list of sources can be read without PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

SOURCES = {
    "digits": "1,797 grey 8x8 handwritten digits, part of scikit-learn: no download",
    "fashion-mnist": "70,000 grey 28x28 pictures of clothes in 10 classes",
    "cifar10": "60,000 colour 32x32 photos in 10 classes, downloaded on first use (170 MB)",
    "folder:PATH": "a folder with train/CLASS/*, val/CLASS/* and maybe test/CLASS/*, or with CLASS/* alone",
    "csv:FILE": "a table with the columns path,label and maybe group and split",
}
"""The sources that `load_data` takes, with a description. It also takes the plain path of a folder or a .csv file."""

_HOME = {
    "Data": "imageset",
    "ImageSet": "imageset",
    "find_fashion_mnist": "sources.fashion_mnist",
    "load_data": "load",
}

__all__ = ["SOURCES", "Data", "ImageSet", "find_fashion_mnist", "load_data"]

if TYPE_CHECKING:
    from classicnets.data.imageset import Data, ImageSet
    from classicnets.data.load import load_data
    from classicnets.data.sources.fashion_mnist import find_fashion_mnist


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'classicnets.data' has no attribute {name!r}")
    return getattr(importlib.import_module(f"classicnets.data.{_HOME[name]}"), name)
