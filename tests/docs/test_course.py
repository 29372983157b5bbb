"""The Sphinx extension of the course: what it makes of outcomes, docstrings and links, without a build."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "docs"))

import course


def test_outcomes_are_found_by_their_claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(course, "RESULTS", tmp_path)
    (tmp_path / "studies").mkdir()
    for file, name in (("relu-quick", "relu"), ("relu-full", "relu"), ("lrn-quick", "lrn")):
        (tmp_path / "studies" / f"{file}.json").write_text(json.dumps({"name": name}), "utf-8")
    assert {name: len(files) for name, files in course.outcomes().items()} == {"relu": 2, "lrn": 1}


def test_two_columns_of_a_docstring_become_a_list() -> None:
    lines = ["Do it.", "", "model   a name or *", "size    a side,", "        in pixels", "", ">>> f(*x)", "`*_cifar`"]
    course.mark_up(None, "function", "f", None, None, lines)
    assert lines == [
        "Do it.", "", r"* **model**: a name or \*", "* **size**: a side,", "  in pixels", "", ">>> f(*x)", "`*_cifar`",
    ]  # fmt: skip


def test_links_to_results_lead_to_their_page() -> None:
    source = ["[measured](../../benchmarks/results/photos.md), 5 %\n"]
    course.read_source(None, "zh/course/vgg", source)
    assert source == ["[measured](../../results.md#photos), 5\N{NO-BREAK SPACE}%\n"]


def test_the_page_of_results_holds_every_file_and_its_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(course, "RESULTS", tmp_path)
    (tmp_path / "speed.md").write_text("# Speed\n\n[lines](speed.csv), [paper](https://arxiv.org)\n", "utf-8")
    source = ["# What was measured\n"]
    course.read_source(None, "results", source)
    added = "\n(speed)=\n## Speed\n\n[lines](../benchmarks/results/speed.csv), [paper](https://arxiv.org)\n"
    assert source == ["# What was measured\n" + added]


def test_a_folder_without_pages_is_left_out_of_the_contents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(course, "DOCS", tmp_path)
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / "one.md").touch()
    source = ["training\nnotebooks/*\nexamples/*\n"]
    course.read_source(None, "index", source)
    assert source == ["training\nexamples/*\n"]


def test_a_chinese_sentence_has_no_space_where_its_line_ends() -> None:
    source = ["先看问题，\n再看思路。\n\nAlexNet\n赢了\n"]
    course.read_source(None, "zh/course/alexnet", source)
    assert source == ["先看问题，再看思路。\n\nAlexNet\n赢了\n"]
