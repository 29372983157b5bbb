"""Arguments of a function or a command as settings of the recipe."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping


def as_settings(given: Iterable[str], options: Mapping[str, object]) -> list[str]:
    """The settings `given`, then those `options` (value by dotted key) that are not None, as `key=value` each.

    >>> as_settings(["batch_size=64"], {"epochs": 5, "model.weights": None})
    ['batch_size=64', 'epochs=5']
    """
    chosen = {key: value for key, value in options.items() if value is not None}
    return [*given, *(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in chosen.items())]


def sets(key: str, settings: Iterable[str]) -> bool:
    """Return whether one of the `key=value` settings has this key.

    >>> sets("epochs", ["optim.lr=0.1", "epochs=3"])
    True
    """
    return any(setting.partition("=")[0].strip() == key for setting in settings)
