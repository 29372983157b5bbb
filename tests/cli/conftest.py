"""`run_cli`: the command line as a user meets it, in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest

from classicnets.cli.main import main


class Answer(NamedTuple):
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def run_cli(capsys, monkeypatch) -> Callable[..., Answer]:
    """Run `classicnets ARGS...` and return its Answer; an exception that would show as a traceback fails the test."""

    def run(*args: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["classicnets", *map(str, args)])
        monkeypatch.setenv("COLUMNS", "200")
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return Answer(ended.value.code or 0, out, err)

    return run
