"""The page in a real browser: one image, from everywhere that it may come."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, Request, expect

from browser import barriers, drop, image_file, opened, overflow, paste
from classicnets.serving.models import Served
from servers import Server, png, running


@pytest.fixture(scope="module")
def served(trusted: Path) -> Iterator[Server]:
    with running([Served("colours", trusted)], body=200_000) as made:
        yield made


@pytest.fixture
def page(browser: Browser, served: Server) -> Iterator[Page]:
    with opened(browser, address(served)) as made:
        yield made


def address(server: Server) -> str:
    return f"http://127.0.0.1:{server.port}/"


def answered(page: Page, label: str) -> None:
    """Wait until the page's only answer is `label`."""
    expect(page.locator(".answer .best strong")).to_have_text(label)
    expect(page.locator(".answer")).not_to_have_attribute("aria-busy", "true")


def sent_by(page: Page, path: str, work) -> Request:
    with page.expect_request(lambda request: path in request.url) as waiting:
        work()
    return waiting.value


class TestWays:
    def test_a_file_goes_to_the_server_as_it_is(self, page: Page) -> None:
        expect(page.get_by_role("heading", level=1)).to_have_text("Red, green or blue?")
        content = png(1) + b"its own bytes"
        request = sent_by(page, "/v1/predict", lambda: choose(page, image_file("green.png", content)))
        answered(page, "green")
        assert request.post_data_buffer == content
        expect(page.locator("#photo-name")).to_have_text("green.png")
        assert [text.strip() for text in page.locator(".bars .name").all_inner_texts()] == ["green", "red", "blue"]
        expect(page.locator(".answer .score").first).to_have_text("99.9 %")
        expect(page.locator("#status")).to_have_text("green, 99.9 %.")

    def test_drop(self, page: Page) -> None:
        drop(page, image_file("blue.png", png(2)))
        answered(page, "blue")

    def test_paste(self, page: Page) -> None:
        paste(page, image_file("image.png", png(0)))
        answered(page, "red")

    def test_an_example(self, page: Page) -> None:
        page.get_by_role("button", name="Example 3").click()
        answered(page, "blue")

    def test_the_camera(self, page: Page) -> None:
        page.get_by_role("button", name="Use the camera").click()
        expect(page.get_by_role("button", name="Take the picture")).to_be_focused()
        page.wait_for_function("document.querySelector('#video').videoWidth > 0")
        request = sent_by(page, "/v1/predict", lambda: page.get_by_role("button", name="Take the picture").click())
        assert Image.open(io.BytesIO(request.post_data_buffer)).format == "JPEG"
        expect(page.locator("#photo-name")).to_have_text("camera.jpg")
        expect(page.locator("#camera")).to_be_hidden()
        assert page.evaluate("document.querySelector('#video').srcObject") is None

    def test_the_camera_live(self, page: Page) -> None:
        page.get_by_role("button", name="Use the camera").click()
        page.wait_for_function("document.querySelector('#video').videoWidth > 0")
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        page.get_by_role("button", name="Answer live").click()
        expect(page.locator(".answer .best")).to_be_visible()
        page.wait_for_function(
            "performance.getEntriesByType('resource').filter(({name}) => /predict/.test(name)).length > 2"
        )
        page.get_by_role("button", name="Close the camera").click()
        expect(page.locator("#photo-name")).to_have_text("camera.jpg")
        page.wait_for_timeout(300)
        sent = len(asked)
        page.wait_for_timeout(500)
        assert len(asked) == sent

    def test_the_preview_is_turned_as_the_server_turns_it(self, page: Page) -> None:
        out = io.BytesIO()
        image = Image.new("RGB", (40, 20), (200, 40, 40))
        image.save(out, "JPEG", exif=_turned(image))
        choose(page, image_file("turned.jpg", out.getvalue(), "image/jpeg"))
        answered(page, "red")
        size = page.evaluate("(({naturalWidth, naturalHeight}) => [naturalWidth, naturalHeight])(photo)")
        assert size == [20, 40]


class TestKeyboard:
    def test_every_control_is_reached_in_order(self, page: Page) -> None:
        expect(page.get_by_role("button", name="Example 3")).to_be_visible()
        names = []
        for _ in range(13):
            page.keyboard.press("Tab")
            names.append(page.evaluate("document.activeElement.ariaLabel || document.activeElement.innerText.trim()"))
        assert names[:11] == [
            "classicnets", "Try it", "About", "Code", "API", "Choose images", "Use the camera", "Example 1",
            "Example 2", "Example 3", "none\n80 %\n90 %\n95 %",
        ]  # fmt: skip
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"

    def test_an_image_from_the_keyboard(self, page: Page) -> None:
        page.get_by_role("button", name="Choose images").focus()
        with page.expect_file_chooser() as chooser:
            page.keyboard.press("Enter")
        chooser.value.set_files(image_file("red.png", png(0)))
        answered(page, "red")
        page.get_by_role("button", name="Clear").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("button", name="Choose images")).to_be_focused()
        expect(page.locator("#empty")).to_be_visible()
        expect(page.locator(".answer .hint")).to_contain_text("The answer appears here")

    def test_escape_closes_the_camera(self, page: Page) -> None:
        page.get_by_role("button", name="Use the camera").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("button", name="Take the picture")).to_be_focused()
        page.keyboard.press("Escape")
        expect(page.get_by_role("button", name="Use the camera")).to_be_focused()


class TestDoubt:
    def test_the_score_in_words(self, page: Page) -> None:
        choose(page, image_file("red.png", png(0)))
        expect(page.locator(".doubt")).to_have_text("Of 100 answers with such a score, nearly all are right.")

    def test_the_set_of_classes(self, page: Page) -> None:
        page.get_by_label("Name all possible classes").select_option("0.9")
        choose(page, image_file("red.png", png(0)))
        expect(page.locator(".doubt.set")).to_have_text("At 90 % coverage, only red remains.")
        choose(page, image_file("grey.png", grey()))
        expect(page.locator(".doubt.set")).to_have_text("At 90 % coverage, no class can be ruled out.")

    def test_an_image_unlike_the_training_images(self, page: Page) -> None:
        page.route("**/v1/predict*", _unlike)
        choose(page, image_file("red.png", png(0)))
        expect(page.locator(".doubt")).to_have_text(
            "This image is unlike the training images, so its classes mean little."
        )


class TestMistakes:
    def test_a_file_that_is_no_image(self, browser: Browser, served: Server) -> None:
        with opened(browser, address(served), expected=["400"]) as page:
            choose(page, image_file("notes.txt", b"some text", "text/plain"))
            expect(page.locator(".answer .problem")).to_contain_text("notes.txt: this is not an image")
            expect(page.locator("#photo-name")).to_have_text("notes.txt: this browser cannot show it.")
            choose(page, image_file("red.png", png(0)))
            answered(page, "red")
            expect(page.locator("#photo")).to_be_visible()

    def test_a_file_that_is_too_large_is_not_sent(self, page: Page) -> None:
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        choose(page, image_file("large.tif", bytes(300_000), "image/tiff"))
        expect(page.locator(".answer .problem")).to_have_text(
            "large.tif has 0.3 MiB, and this server takes 0.2 MiB at most."
        )
        assert not [url for url in asked if "/v1/" in url]

    def test_a_busy_server_is_asked_again(self, browser: Browser, served: Server) -> None:
        with opened(browser, address(served), expected=["503"]) as page:
            served.state.admission.inside += 1000
            choose(page, image_file("red.png", png(0)))
            expect(page.locator("#status")).to_have_text("The server is busy. Asking again in 1 s.")
            served.state.admission.inside -= 1000
            answered(page, "red")

    def test_a_server_that_is_gone(self, browser: Browser, served: Server) -> None:
        with opened(browser, address(served), expected=["ERR_INTERNET_DISCONNECTED"]) as page:
            page.context.set_offline(True)
            choose(page, image_file("red.png", png(0)))
            expect(page.locator(".answer .problem")).to_contain_text("The server does not answer.")

    def test_nothing_useful_is_pasted_or_dropped(self, page: Page) -> None:
        paste(page)
        expect(page.get_by_role("alert")).to_contain_text("The clipboard has no image.")
        drop(page)
        expect(page.get_by_role("alert")).to_contain_text("No image file was dropped.")

    def test_no_camera(self, page: Page) -> None:
        page.evaluate(
            "navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('', 'NotFoundError'))"
        )
        page.get_by_role("button", name="Use the camera").click()
        expect(page.get_by_role("alert")).to_have_text("There is no camera on this device. Choose an image instead.")


def test_a_question_that_is_superseded_is_ended(page: Page) -> None:
    ended, held = [], []
    page.on("requestfailed", lambda request: ended.append(request.failure))
    page.route("**/v1/predict*", lambda route: route.continue_() if held else held.append(route))
    choose(page, image_file("red.png", png(0)))
    page.wait_for_function("document.querySelector('.answer').ariaBusy === 'true'")
    choose(page, image_file("blue.png", png(2)))
    answered(page, "blue")
    assert ended == ["net::ERR_ABORTED"]


def test_pictures_are_freed(browser: Browser, served: Server) -> None:
    with opened(browser, address(served)) as page:
        expect(page.get_by_role("button", name="Example 3")).to_be_visible()
        page.evaluate(
            """for (const [name, step] of [["createObjectURL", 1], ["revokeObjectURL", -1]]) {
              const before = URL[name];
              URL[name] = (given) => { window.kept = (window.kept ?? 0) + step; return before.call(URL, given); };
            }"""
        )
        for k in (0, 1, 2, 0, 1):
            choose(page, image_file(f"{k}.png", png(k)))
            answered(page, ("red", "green", "blue")[k])
        assert page.evaluate("kept") == 1


class TestLooks:
    @pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
    def test_nothing_keeps_people_out(self, browser: Browser, served: Server, dark: bool) -> None:
        with opened(browser, address(served), dark=dark) as page:
            expect(page.get_by_role("button", name="Example 3")).to_be_visible()
            paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert paper == ("rgb(22, 25, 29)" if dark else "rgb(255, 255, 255)")
            assert barriers(page) == []
            choose(page, image_file("red.png", png(0)))
            answered(page, "red")
            assert barriers(page) == []

    def test_a_phone(self, browser: Browser, served: Server) -> None:
        with opened(browser, address(served), width=390, height=800) as page:
            expect(page.get_by_role("button", name="Example 3")).to_be_visible()
            assert overflow(page) == 0
            choose(page, image_file("a-name-that-is-much-longer-than-a-phone-is-wide-" * 3 + ".png", png(0)))
            answered(page, "red")
            assert overflow(page) == 0

    def test_without_motion(self, browser: Browser, served: Server) -> None:
        with opened(browser, address(served), reduced_motion="reduce") as page:
            assert page.evaluate("getComputedStyle(stage).transitionDuration") == "0s"


def choose(page: Page, *files) -> None:
    page.locator("#files").set_input_files(list(files))


def grey() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8), (90, 90, 90)).save(out, "PNG")
    return out.getvalue()


def _turned(image: Image.Image) -> Image.Exif:
    exif = image.getexif()
    exif[0x0112] = 6
    return exif


def _unlike(route) -> None:
    response = route.fetch()
    body = response.json()
    body["answers"][0]["unlike_training"] = True
    route.fulfill(response=response, json=body)
