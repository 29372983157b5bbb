"""The documentation: every command prints what its page shows, links lead somewhere, and every page can be found."""

from __future__ import annotations

import re
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

import classicnets as cn
from classicnets.studies import CLAIMS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
sys.path.append(str(DOCS))

import try_it  # noqa: E402

PAGES = [page for page in sorted(DOCS.rglob("*.md")) if "_build" not in page.parts]
NAMES = [page.relative_to(DOCS).as_posix() for page in PAGES]
STEPS = {page.relative_to(DOCS).as_posix(): try_it.steps(page.read_text("utf-8")) for page in try_it.pages()}
FAST = [name for name, steps in STEPS.items() if not all(step.slow for step in steps)]
SLOW = [name for name, steps in STEPS.items() if any(step.slow for step in steps)]
CHINESE = [name for name in NAMES if name.startswith("zh/") and name != "zh/index.md"]
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def run_page(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, *, slow: bool) -> None:
    """Run the steps of a page, in order, in an empty folder."""
    monkeypatch.chdir(folder)
    names: dict[str, object] = {}
    with try_it.servers_ended():
        for step in STEPS[name]:
            if not slow and step.slow:
                continue
            printed = try_it.run(step, names)
            assert try_it.same(step, printed), f"{step.text}shown:\n{step.shown}\nprinted:\n{printed}"


@pytest.mark.parametrize("name", FAST)
def test_what_a_page_shows_is_what_its_commands_print(name: str, tmp_path: Path, monkeypatch) -> None:
    run_page(name, tmp_path, monkeypatch, slow=False)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", SLOW)
def test_trainings_of_a_page_print_what_it_shows(name: str, tmp_path: Path, monkeypatch) -> None:
    run_page(name, tmp_path, monkeypatch, slow=True)


def test_another_output_is_noticed() -> None:
    (step,) = try_it.steps("```console\n$ classicnets models\nalexnet  62,378,344\n...\ntwo\n```\n")
    assert try_it.same(step, "alexnet  62,378,344\none\ntwo\n")
    assert not try_it.same(step, "alexnet  62,378,345\none\ntwo\n")
    assert not try_it.same(step, "alexnet  62,378,344\none\n")


def test_a_shortened_output_is_recorded_at_the_same_length() -> None:
    (step,) = try_it.steps("```console slow\n$ classicnets train a b\ntop-1 98.10%\n...\nreport: x\n```\n")
    assert try_it.shortened(step, "top-1 97.21%\none\ntwo\nreport: x\n") == "top-1 97.21%\n...\nreport: x\n"
    assert try_it.shortened(step, "error: no b\n") == "error: no b\n"


def test_only_what_varies_in_a_training_may_differ() -> None:
    page = "```console slow\n$ classicnets train a b\nepoch 1/4  train 44.46%  554 images/s  0:03\n```\n"
    (step,) = try_it.steps(page)
    assert try_it.same(step, "epoch 1/4  train 45.01%  1,210 images/s  0:13\n")
    assert not try_it.same(step, "epoch 2/4  train 44.46%  554 images/s  0:03\n")
    assert not try_it.same(step._replace(slow=False), "epoch 1/4  train 45.01%  554 images/s  0:03\n")


@pytest.mark.parametrize("name", CHINESE)
def test_a_chinese_page_shows_the_steps_of_the_english_one(name: str) -> None:
    chinese, english = (try_it.steps((DOCS / page).read_text("utf-8")) for page in (name, name.removeprefix("zh/")))
    assert chinese == english
    assert chinese


def test_every_page_of_the_course_is_there_in_chinese() -> None:
    english = {name for name in NAMES if name.startswith("course/") and name != "course/index.md"}
    assert len(english) == 6
    assert {f"zh/{name}" for name in english} <= set(CHINESE)


READMES = ["README.md", "README.zh-CN.md", "CONTRIBUTING.md"]
NOTEBOOKS = [f"docs/notebooks/{path.name}" for path in sorted((DOCS / "notebooks").glob("*.ipynb"))]


@pytest.mark.parametrize("page", [*(f"docs/{name}" for name in NAMES), *NOTEBOOKS, *READMES])
def test_relative_links_lead_to_files(page: str) -> None:
    path = ROOT / page
    text = FENCE.sub("", path.read_text("utf-8"))
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)
    relative = [link.partition("#")[0] for link in links if not re.match(r"https?:|#", link)]
    assert [link for link in relative if not (path.parent / link).exists()] == []


def test_every_page_is_in_one_table_of_contents() -> None:
    entries: list[str] = []
    for page, name in zip(PAGES, NAMES, strict=True):
        folder = name.rpartition("/")[0]
        for block in re.findall(r"^```\{toctree\}\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL):
            lines = [line for line in block.splitlines() if line and not line.startswith(":")]
            entries += [f"{folder}/{line}.md".lstrip("/") for line in lines]
    found = {name: sum(fnmatchcase(name, entry) for entry in entries) for name in NAMES if name != "index.md"}
    assert {name: times for name, times in found.items() if times != 1} == {}


@pytest.mark.parametrize("language", ["", "zh/"])
def test_the_course_shows_every_study_once(language: str) -> None:
    shown: list[str] = []
    for page in (DOCS / language / "course").glob("*.md"):
        for names in re.findall(r"^```\{study\} (.*)$", page.read_text("utf-8"), re.MULTILINE):
            shown += names.split()
    assert sorted(shown) == sorted(CLAIMS)


def test_the_reference_names_everything_public() -> None:
    text = (DOCS / "reference.md").read_text("utf-8")
    public = [name for name in cn.__all__ if name not in ("__version__", "ClassicNetsError")]
    assert [name for name in public if not re.search(rf"classicnets\.{name}$", text, re.MULTILINE)] == []
    assert "classicnets.errors" in text


@pytest.mark.slow
def test_the_documentation_builds_without_warnings(tmp_path: Path) -> None:
    options = ["--fail-on-warning", "--keep-going", "--quiet"]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, str(DOCS), str(tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "course" / "alexnet.html").read_text("utf-8")
    assert "37,752,832" in page or "62,378,344" in page
    assert "drawings/alexnet_2012-dark.svg" in page
    assert (tmp_path / "drawings" / "alexnet_2012-dark.svg").exists()
    assert '<html class="no-js" lang="zh-CN"' in (tmp_path / "zh" / "course" / "alexnet.html").read_text("utf-8")
