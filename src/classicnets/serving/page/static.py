"""The files of the pages: a fixed table, read once. No other file can be asked for."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

_SCRIPT = "text/javascript; charset=utf-8"

FILES = {
    "icon.svg": "image/svg+xml",
    "style.css": "text/css; charset=utf-8",
    "try.css": "text/css; charset=utf-8",
    "inside.css": "text/css; charset=utf-8",
    **dict.fromkeys(
        (
            "about.js", "answer.js", "api.js", "app.js", "batch.js", "camera.js", "code.js", "csv.js", "dom.js",
            "examples.js", "heat.js", "inside.js", "intake.js", "patch.js", "words.js",
        ),
        _SCRIPT,
    ),
}  # fmt: skip
"""The files behind /page/, and their media types."""

PUBLIC = frozenset({"/", "/docs", "/inside", *(f"/page/{name}" for name in FILES)})
"""What is shown without a key: pages and their files, which say nothing about the models."""


@cache
def content(name: str) -> bytes:
    """Return a file of this folder."""
    return files(__package__).joinpath(name).read_bytes()
