"""classicnets: AlexNet, VGG, NiN, GoogLeNet, ResNet and DenseNet, from a folder of images to a usable classifier.

`__all__` lists everything public. A name is imported when it is first used, so that `import classicnets` is fast and
does not load PyTorch.

>>> import classicnets as cn
>>> cn.list_models("resnet5*")
['resnet50', 'resnet50_tutorial', 'resnet50_v1', 'resnet56_cifar']
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "Bundle": "deployment",
    "ClassicNetsError": "errors",
    "Classifier": "classifier",
    "Preprocess": "preprocess",
    "audit_labels": "audit.labels",
    "audit_shortcuts": "audit.shortcuts",
    "compare": "analysis",
    "compare_runs": "runs.paired",
    "create_model": "weights",
    "evaluate": "evaluation",
    "explain": "explanation",
    "export": "deployment.export",
    "inspect": "analysis",
    "learning_curve": "audit.curve",
    "list_models": "models.facts",
    "load": "deployment",
    "load_data": "data",
    "look": "explanation",
    "next_to_label": "audit.next_label",
    "read_image": "images",
    "resume": "training",
    "train": "training",
}

__all__ = [*_HOME, "__version__"]

if TYPE_CHECKING:
    from classicnets.analysis import compare as compare
    from classicnets.analysis import inspect as inspect
    from classicnets.audit.curve import learning_curve as learning_curve
    from classicnets.audit.labels import audit_labels as audit_labels
    from classicnets.audit.next_label import next_to_label as next_to_label
    from classicnets.audit.shortcuts import audit_shortcuts as audit_shortcuts
    from classicnets.classifier import Classifier as Classifier
    from classicnets.data import load_data as load_data
    from classicnets.deployment import Bundle as Bundle
    from classicnets.deployment import load as load
    from classicnets.deployment.export import export as export
    from classicnets.errors import ClassicNetsError as ClassicNetsError
    from classicnets.evaluation import evaluate as evaluate
    from classicnets.explanation import explain as explain
    from classicnets.explanation import look as look
    from classicnets.images import read_image as read_image
    from classicnets.models.facts import list_models as list_models
    from classicnets.preprocess import Preprocess as Preprocess
    from classicnets.runs.paired import compare_runs as compare_runs
    from classicnets.training import resume as resume
    from classicnets.training import train as train
    from classicnets.weights import create_model as create_model


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'classicnets' has no attribute {name!r}; public names: {', '.join(_HOME)}")
    return getattr(importlib.import_module(f"classicnets.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
