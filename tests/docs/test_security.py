"""Every promise of the page about security names a test, and the tests exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "docs" / "security.md", ROOT / "docs" / "zh" / "security.md"]


def rows(page: Path) -> list[str]:
    """The promises: lines of tables, without their heads."""
    lines = page.read_text("utf-8").splitlines()
    return [line for line in lines if line.startswith("| ") and not re.match(r"\| (promise|承诺) ", line)]


def names(text: str) -> list[tuple[str, str]]:
    """The files and functions or classes that a text names."""
    return re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)


@pytest.mark.parametrize("page", PAGES, ids=["English", "Chinese"])
def test_every_promise_has_a_test(page: Path) -> None:
    assert len(rows(page)) >= 15
    for row in rows(page):
        assert names(row), row
        for file, name in names(row):
            defined = ast.parse((ROOT / file).read_text("utf-8")).body
            assert name in [part.name for part in defined if isinstance(part, ast.FunctionDef | ast.ClassDef)], row


def test_both_languages_promise_the_same() -> None:
    english, chinese = ([names(row) for row in rows(page)] for page in PAGES)
    assert english == chinese
