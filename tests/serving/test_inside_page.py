"""The page that looks inside, in a real browser: with pointer and keys, light and dark, wide and narrow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from browser import barriers, image_file, opened, overflow
from classicnets.classifier import Classifier
from classicnets.models.catalog import create
from classicnets.preprocess import Preprocess
from classicnets.serving.models import Served
from photos import encode, make_photo
from servers import Server, running
from smaller import BARE, switches

PHOTO = encode(make_photo("disc", 3))


@pytest.fixture(scope="module")
def served(network: Path, bundle: Path) -> Iterator[Server]:
    with running([Served("pets", network), Served("tiny", bundle)]) as made:
        yield made


def address(server: Server, model: str = "pets") -> str:
    return f"http://127.0.0.1:{server.port}/inside?model={model}"


@pytest.fixture
def page(browser: Browser, served: Server) -> Iterator[Page]:
    with opened(browser, address(served)) as made:
        look_at(made)
        yield made


def look_at(page: Page) -> None:
    """Choose a photo, and wait for the first unit."""
    expect(page.locator("#start")).to_be_visible()
    page.set_input_files("#files", image_file("disc.jpg", PHOTO, "image/jpeg"))
    settled(page)


def settled(page: Page) -> None:
    """Wait until the numbers of a unit are shown."""
    expect(page.locator("#value-title")).to_contain_text("is the value of channel")
    expect(page.locator("#value")).not_to_have_attribute("aria-busy", "true")


def total(page: Page) -> float:
    """The sum of the lines of the convolution, as they are shown."""
    rows = page.locator("#value-steps tr").all()
    parts = []
    for row in rows:
        cells = row.locator("td").all_inner_texts()
        if cells[0] == "convolution":
            return sum(parts) - number(cells[2])
        parts.append(number(cells[2]))
    pytest.fail("there is no convolution")


def number(text: str) -> float:
    return float(text.replace("−", "-"))


def test_stages_channels_and_a_unit(page: Page) -> None:
    assert page.locator("#stages button").count() == 4
    assert page.locator("#channels button").count() == 16
    expect(page.locator("#channels-title")).to_have_text("16 channels of conv1, the strongest first")
    assert page.locator(".window").count() == 3, "red, green and blue"
    assert page.locator(".window .name").first.inner_text() in ("Red", "Green", "Blue")
    assert abs(total(page)) < 0.02
    page.get_by_role("radio", name="conv3").click()
    expect(page.locator("#channels-title")).to_have_text("32 channels of conv3, the strongest first")
    settled(page)
    expect(page.locator("#value-lead")).to_contain_text("Of its 32 input channels, these 4 add most.")
    assert abs(total(page)) < 0.02
    names = page.locator("#value-steps td:first-child").all_inner_texts()
    assert names[-5:] == ["convolution", "batch norm", "shortcut", "ReLU", "value of the unit"]


def test_the_pointer_chooses_a_unit_and_a_click_keeps_it(page: Page) -> None:
    box = page.locator("#map").bounding_box()
    assert box is not None
    cell = box["width"] / 12
    page.mouse.move(box["x"] + 2.5 * cell, box["y"] + 7.5 * cell)
    expect(page.locator("#value-title")).to_contain_text("row 7, column 2")
    expect(page.locator("#field-text")).to_contain_text("3 × 3 pixels: rows 6 to 8, columns 1 to 3")
    page.mouse.click(box["x"] + 2.5 * cell, box["y"] + 7.5 * cell)
    page.mouse.move(box["x"] + 9.5 * cell, box["y"] + 3.5 * cell)
    expect(page.locator("#map")).to_have_class("picture map kept")
    expect(page.locator("#value-title")).to_contain_text("row 7, column 2")


def test_the_receptive_field_lies_over_the_photo(page: Page) -> None:
    page.locator("#map").press("Home")
    expect(page.locator("#value-title")).to_contain_text("column 0")
    picture, field = page.locator("#picture").bounding_box(), page.locator("#field").bounding_box()
    assert picture is not None
    assert field is not None
    assert field["x"] == pytest.approx(picture["x"], abs=1), "clipped at the edge"
    assert field["width"] == pytest.approx(picture["width"] * 2 / 12, abs=1)


def test_a_cell_says_what_is_multiplied(page: Page) -> None:
    page.locator(".window").first.locator("table").nth(1).locator("td").nth(4).hover()
    expect(page.locator("#cell")).to_contain_text("×")
    assert page.locator("td.at").count() == 3, "in patch, kernel and products"


def test_switching_off_moves_the_answer(page: Page) -> None:
    page.get_by_role("radio", name="conv4").click()
    settled(page)
    expect(page.locator("#moved")).to_have_text("")
    page.get_by_label("this channel").check()
    expect(page.locator("#moved")).to_contain_text("Without channel")
    expect(page.locator("#answer .number").first).to_contain_text("→")
    page.get_by_label("this unit").check()
    expect(page.locator("#moved")).to_contain_text("Without this unit")
    page.get_by_label("nothing").check()
    expect(page.locator("#answer .number").first).not_to_contain_text("→")


def test_the_keyboard_is_enough(browser: Browser, served: Server) -> None:
    with opened(browser, address(served)) as page:
        look_at(page)
        page.locator("#stages button[aria-checked=true]").focus()
        page.keyboard.press("ArrowRight")
        expect(page.locator("#channels-title")).to_contain_text("conv2")
        page.keyboard.press("End")
        expect(page.locator("#channels-title")).to_contain_text("64 channels of conv4")
        settled(page)
        page.keyboard.press("Tab")
        page.keyboard.press("ArrowRight")
        expect(page.locator("#channels button").nth(1)).to_be_focused()
        expect(page.locator("#channels button").nth(1)).to_have_attribute("aria-checked", "true")
        while not page.evaluate("document.activeElement.id === 'map'"):
            page.keyboard.press("Tab")
        for key in ("ArrowUp", "ArrowUp", "ArrowRight", "ArrowRight"):
            page.keyboard.press(key)
        expect(page.locator("#value-title")).to_contain_text("row 0, column 2")
        expect(page.locator("#status")).to_contain_text("row 0, column 2")


def test_a_pool_marks_its_largest_value(browser: Browser, tmp_path: Path) -> None:
    net = create("alexnet_cifar", num_classes=2, **switches("alexnet_cifar", BARE)).eval()
    preprocess = Preprocess(input_size=(16, 16), mean=(0.5,) * 3, std=(0.2,) * 3)
    folder = Classifier(model=net, model_name="alexnet_cifar", classes=("a", "b"), preprocess=preprocess).save(tmp_path)
    with running([Served("net", folder)]) as server, opened(browser, address(server, "net")) as page:
        look_at(page)
        page.get_by_role("radio", name="pool1").click()
        expect(page.locator("#value-lead")).to_contain_text("It comes from the 3 × 3 max pool")
        largest = page.locator("td.largest")
        assert largest.count() == 1
        assert number(largest.inner_text()) == max(
            number(text) for text in page.locator(".numbers td").all_inner_texts() if text
        )
        sizes = page.locator(".numbers td").evaluate_all(
            "cells => new Set(cells.map((cell) => cell.offsetHeight)).size"
        )
        assert sizes == 1, "no other style reaches it"


def test_a_bundle_says_why(browser: Browser, served: Server) -> None:
    with opened(browser, address(served, "tiny")) as page:
        expect(page.locator("#problem")).to_contain_text("tiny is a bundle, which keeps no network to look into.")
        expect(page.locator("#start")).to_be_hidden()
        page.get_by_label("Model").select_option("pets")
        expect(page.locator("#start")).to_be_visible()
        expect(page.locator("#problem")).to_have_text("")


def test_what_is_not_an_image(browser: Browser, served: Server) -> None:
    with opened(browser, address(served), expected=["400"]) as page:
        page.set_input_files("#files", image_file("notes.txt", b"text", "text/plain"))
        expect(page.locator("#problem")).to_contain_text("notes.txt: this is not an image")
        expect(page.locator("#inside")).to_be_hidden()


def test_the_page_at_the_root_leads_here(browser: Browser, served: Server) -> None:
    with opened(browser, f"http://127.0.0.1:{served.port}/") as page:
        page.get_by_role("link", name="Look inside this network").click()
        expect(page).to_have_url(address(served))
        expect(page.locator("#lead")).to_contain_text("The network of pets is resnet20_cifar")


def test_a_server_with_a_key(browser: Browser, network: Path) -> None:
    with running([Served("pets", network)], key="secret") as server:
        url = address(server)
        with opened(browser, url, expected=["401"]) as page:
            expect(page.locator("#problem")).to_contain_text("This server needs a key.")
            page.get_by_role("link", name="the first page").click()
            page.get_by_label("Key").fill("secret")
            page.get_by_role("button", name="Use this key").click()
            page.get_by_role("link", name="Look inside this network").click()
            look_at(page)


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_nothing_keeps_people_out(browser: Browser, served: Server, width: int, dark: bool) -> None:
    with opened(browser, address(served), width=width, dark=dark) as page:
        expect(page.locator("#start")).to_be_visible()
        assert barriers(page) == []
        look_at(page)
        page.get_by_role("radio", name="conv3").click()
        page.get_by_label("this channel").check()
        expect(page.locator("#moved")).to_contain_text("Without channel")
        assert barriers(page) == []
        assert overflow(page) <= 0
