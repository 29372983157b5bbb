"""The pages of `audit labels` in a real browser: keys decide, undo, and every decision stands in corrections.csv."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from browser import barriers, chromium, opened, overflow
from classicnets.audit.suspects import LabelAudit, Suspect
from classicnets.data.corrections import Correction, read_corrections
from local_pages import correcting
from photos import write_photos

LOOKS = [(1280, False), (390, True)]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as made:
        yield made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A saved audit of nine photos with four suspects."""
    write_photos(tmp_path / "photos", 3)
    alike = ("disc/001.jpg", "disc/002.jpg"), ("square/000.jpg", "square/001.jpg")
    suspects = tuple(Suspect(f"{kind}/000.jpg", kind, other, 0.9, *alike) for kind, other in
                     [("disc", "square"), ("square", "disc"), ("stripes", "disc")])  # fmt: skip
    audit = LabelAudit(
        data="photos", source=str(tmp_path / "photos"), part="train", classes=("disc", "square", "stripes"),
        num_images=9, expected_wrong=2.0, agreement=0.8, method="by hand",
        suspects=(*suspects, Suspect("stripes/gone.jpg", "stripes", "disc", 0.6)),
    )  # fmt: skip
    return audit.save(tmp_path / "audit")


@pytest.fixture
def address(folder: Path) -> Iterator[str]:
    with correcting(folder) as server:
        yield server.url


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    with opened(browser, address) as made:
        at(made, 1)
        yield made


def at(page: Page, number: int) -> None:
    """Wait until a suspect is shown."""
    expect(page.locator("#progress")).to_contain_text(f"{number} of 4")


def test_keys_decide_and_the_file_has_it(page: Page, folder: Path) -> None:
    expect(page.locator("#path")).to_have_text("disc/000.jpg")
    expect(page.locator("#picture")).to_have_attribute("src", re.compile("^data:image/"))
    page.keyboard.press("Enter")
    at(page, 2)
    page.keyboard.press("k")
    at(page, 3)
    page.keyboard.press("d")
    at(page, 4)
    expect(page.locator("#problem")).to_have_text("This image is gone or cannot be read.")
    assert read_corrections(folder / "corrections.csv") == {
        "disc/000.jpg": Correction("relabel", "square"),
        "square/000.jpg": Correction("keep"),
        "stripes/000.jpg": Correction("drop"),
    }


def test_undo_takes_back_the_last_decision_and_then_the_one_before(page: Page, folder: Path) -> None:
    page.keyboard.press("k")
    at(page, 2)
    page.keyboard.press("d")
    at(page, 3)
    page.keyboard.press("u")
    at(page, 2)
    expect(page.locator("#decision")).to_have_text("not decided yet")
    assert read_corrections(folder / "corrections.csv") == {"disc/000.jpg": Correction("keep")}
    page.keyboard.press("u")
    at(page, 1)
    assert read_corrections(folder / "corrections.csv") == {}


def test_another_class_by_its_first_letters(page: Page, folder: Path) -> None:
    page.keyboard.press("o")
    expect(page.locator("#filter")).to_be_focused()
    assert barriers(page) == []
    page.keyboard.type("str")
    expect(page.locator("#matches button")).to_have_text(["stripes"])
    page.keyboard.press("Enter")
    at(page, 2)
    assert read_corrections(folder / "corrections.csv") == {"disc/000.jpg": Correction("relabel", "stripes")}
    page.keyboard.press("o")
    page.keyboard.press("Escape")
    expect(page.locator("#classes")).to_be_hidden()
    page.keyboard.press("d")
    at(page, 3)


def test_arrows_go_to_and_fro_and_decide_nothing(page: Page, folder: Path) -> None:
    page.keyboard.press("ArrowRight")
    at(page, 2)
    page.keyboard.press("n")
    at(page, 3)
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("b")
    at(page, 1)
    page.keyboard.press("b")
    at(page, 1)
    assert not (folder / "corrections.csv").exists()


def test_buttons_do_what_the_keys_do_and_a_visit_later_goes_on(browser: Browser, page: Page, address: str) -> None:
    page.get_by_role("button", name="relabel square").click()
    at(page, 2)
    page.get_by_role("button", name="undo").click()
    at(page, 1)
    page.get_by_role("button", name="keep label").focus()
    page.keyboard.press("Enter")  # presses the button, and does not relabel
    at(page, 2)
    with opened(browser, address) as later:
        at(later, 2)
        expect(later.locator("#progress")).to_contain_text("1 decided")


@pytest.mark.parametrize(("width", "dark"), LOOKS)
def test_nothing_keeps_people_out(browser: Browser, address: str, folder: Path, width: int, dark: bool) -> None:
    with opened(browser, address, width=width, dark=dark) as page:
        at(page, 1)
        expect(page.locator("#like-proposed img")).to_have_count(2)
        assert barriers(page) == []
        assert overflow(page) <= 0
    with opened(browser, (folder / "labels.html").as_uri(), width=width, dark=dark) as page:
        expect(page.locator("h1")).to_contain_text("photos")
        assert barriers(page) == []
        assert overflow(page) <= 0
