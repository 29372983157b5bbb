"""What an error may say to a client."""

from __future__ import annotations

import re

_LEAK = re.compile(
    r"Traceback|File \"|site-packages|\.py\b|0x[0-9a-f]{6,}|object at|<class|Errno|[A-Z]:\\|"
    r"/(?:home|root|tmp|usr|work|var|etc|opt|proc|mnt)\b|"
    r"(?:^|[\s'\"(=:])(?:~|\.{1,2})?/\w"  # the beginning of a path
)
_HINT = "GET /v1/models lists them"


def check_sentence(error: str, *, given: str = "") -> None:
    """Fail if an error tells of the server's files or code, or is no sentence.

    `given` is what the client sent itself, such as a file's name, which may be repeated.
    """
    text = error.replace(_HINT, "")
    if given:
        text = text.replace(given, "")
    assert not _LEAK.search(text), error
    assert 5 < len(error) < 600, error
    assert "\n" not in error, error
